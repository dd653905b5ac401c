//! Counts of late: what is in them fades, and half of it is left after every half-life.
//!
//! Counts fade in [`STEPS`] steps to a half-life, at moments that all counts of one half-life share. So what was added
//! to one can be taken out again exactly; a count is never too large by more than 1.1 %; and between two steps, which
//! is where nearly all calls of a busy model fall, there is nothing to compute.

use serde::{Deserialize, Serialize};

use super::time::{Duration, Timestamp};

/// Steps to a half-life.
const STEPS: u32 = 64;

/// What each number of steps below a half-life leaves.
const LEFT: [f64; STEPS as usize] = {
    // 2^(-1/64).
    let step = 0.989_228_013_193_975_5;
    let mut left = [1.0; STEPS as usize];
    let mut steps = 1;
    while steps < STEPS as usize {
        left[steps] = left[steps - 1] * step;
        steps += 1;
    }
    left
};

/// How far some counts have faded.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Faded {
    /// When the next step comes. Steps are counted from the one before, which takes one division.
    next: Timestamp,
}

impl Faded {
    /// The share of the counts that is left at `now`.
    pub(super) fn left(&self, now: Timestamp, half_life: Duration) -> f64 {
        if now < self.next { 1.0 } else { left_after(now.since(self.last(half_life)).as_nanos() / length(half_life)) }
    }

    /// The same, for counts that are multiplied by it at once.
    #[inline]
    pub(super) fn fade(&mut self, now: Timestamp, half_life: Duration) -> f64 {
        if now < self.next {
            return 1.0;
        }
        let last = self.last(half_life);
        let steps = now.since(last).as_nanos() / length(half_life);
        self.next = after(last, steps + 1, half_life);
        left_after(steps)
    }

    /// Whatever fades now, the next step is one of this half-life.
    pub(super) fn begin(&mut self, now: Timestamp, half_life: Duration) {
        self.next = after(Timestamp::ZERO, step(now, half_life) + 1, half_life);
    }

    /// When no more than `share` of the counts will be left.
    pub(super) fn left_at(&self, share: f64, half_life: Duration) -> Timestamp {
        // At least one step, or whoever asks again then would be told the same.
        let mut steps = (libm::log2(1.0 / share) * f64::from(STEPS)).max(1.0) as u64;
        while left_after(steps) > share {
            steps += 1;
        }
        after(self.last(half_life), steps, half_life)
    }

    /// The step before the next one.
    fn last(&self, half_life: Duration) -> Timestamp {
        Timestamp::from_nanos(self.next.as_nanos().saturating_sub(length(half_life)))
    }
}

/// The share that is left at `now` of what was counted at `then`.
pub(super) fn left(then: Timestamp, now: Timestamp, half_life: Duration) -> f64 {
    left_after(step(now, half_life).saturating_sub(step(then, half_life)))
}

fn left_after(steps: u64) -> f64 {
    let halved = steps / u64::from(STEPS);
    // Two to the power of -1 022 is the last one of full precision.
    let halves = if halved <= 1022 { f64::from_bits((1023 - halved) << 52) } else { 0.0 };
    LEFT[(steps % u64::from(STEPS)) as usize] * halves
}

/// How many steps there have been.
fn step(now: Timestamp, half_life: Duration) -> u64 {
    now.as_nanos() / length(half_life)
}

/// So many steps later.
fn after(then: Timestamp, steps: u64, half_life: Duration) -> Timestamp {
    Timestamp::from_nanos(then.as_nanos().saturating_add(steps.saturating_mul(length(half_life))))
}

fn length(half_life: Duration) -> u64 {
    (half_life.as_nanos() / u64::from(STEPS)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_LIFE: Duration = Duration::from_secs(64);

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn half_is_left_after_a_half_life_however_often_it_is_looked_at() {
        let mut faded = Faded::default();
        let count = (0..=640).fold(1024.0, |count, second| count * faded.fade(at(second), HALF_LIFE));
        assert!((count - 1.0).abs() < 1e-9, "{count}");
        for steps in [0, 1, 17, 63, 64, 65, 1000, 70_000] {
            assert!((left_after(steps) - libm::exp2(-(steps as f64) / 64.0)).abs() < 1e-14, "{steps} steps");
        }
        assert_eq!(left_after(u64::MAX), 0.0);
    }

    #[test]
    fn counts_fade_at_moments_that_all_of_one_half_life_share() {
        let (mut early, mut late) = (Faded::default(), Faded::default());
        early.fade(at(7) + Duration::from_millis(900), HALF_LIFE);
        late.begin(at(7) + Duration::from_millis(100), HALF_LIFE);
        let just_before = Timestamp::from_nanos(at(8).as_nanos() - 1);
        for faded in [early, late] {
            assert_eq!(faded.left(just_before, HALF_LIFE), 1.0);
            assert_eq!(faded.left(at(8), HALF_LIFE), left(at(7), at(8), HALF_LIFE));
        }
        late.begin(at(7), HALF_LIFE + HALF_LIFE);
        assert_eq!(late.left(at(8), HALF_LIFE + HALF_LIFE), left(at(6), at(8), HALF_LIFE + HALF_LIFE));
    }

    #[test]
    fn a_share_is_left_at_the_first_step_that_leaves_no_more() {
        let mut faded = Faded::default();
        faded.fade(at(10) + Duration::from_millis(300), HALF_LIFE);
        assert_eq!(faded.left_at(0.5, HALF_LIFE), at(74));
        for share in [1.0, 0.999_999, 0.99, 0.7, 0.1, 1e-9] {
            let then = faded.left_at(share, HALF_LIFE);
            let just_before = Timestamp::from_nanos(then.as_nanos() - 1);
            assert!(faded.left(then, HALF_LIFE) <= share, "{share}");
            assert!(faded.left(just_before, HALF_LIFE) > share || share == 1.0, "{share}");
        }
    }
}
