//! How soon and how often a failed call is repeated.
//!
//! The back-off doubles and is jittered, so that requests which failed together do not come back together. The retry
//! budget of an upstream model caps what retries add to first attempts there: a second storm must not be of our own
//! making. Both are as in Finagle's `RetryBudget` and the "full jitter" of AWS, with half of the wait kept certain.

use serde::{Deserialize, Serialize};

use super::fade::Faded;
use super::knobs::Knobs;
use super::time::{Duration, Timestamp};

/// Retries per second that are always allowed.
const FLOOR: f64 = 0.1;
/// How long first attempts vouch for retries.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// Mean life of a count that fades by that half-life: half-life / ln 2, in seconds.
const MEAN_LIFE: f64 = 86.561_702_453_337_8;

/// First attempts and retries of late, on one upstream model.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct RetryBudget {
    first: f64,
    retries: f64,
    faded: Faded,
}

impl RetryBudget {
    /// Counts an attempt.
    pub(super) fn count(&mut self, now: Timestamp, is_retry: bool) {
        let left = self.faded.fade(now, HALF_LIFE);
        self.first *= left;
        self.retries *= left;
        if is_retry {
            self.retries += 1.0;
        } else {
            self.first += 1.0;
        }
    }

    /// From when one more retry fits.
    pub(super) fn allows_at(&self, now: Timestamp, knobs: &Knobs) -> Timestamp {
        let room = FLOOR * MEAN_LIFE - 1.0;
        let excess = self.retries - knobs.retry_budget * self.first;
        // Time only makes it less.
        if excess <= room {
            return now;
        }
        // Both counts fade alike.
        self.faded.left_at(room / excess, HALF_LIFE).max(now)
    }
}

/// The wait before the next try after `failures` in a row; `chance` is a uniform number in [0, 1).
pub(super) fn back_off(failures: u16, chance: f64, knobs: &Knobs) -> Duration {
    // Doubling stops mattering long before it overflows.
    let doubled = knobs.retry_backoff_base.saturating_mul(1 << failures.saturating_sub(1).min(30));
    doubled.min(knobs.retry_backoff_max).mul_f64(0.5 + 0.5 * chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_to_its_cap_and_never_loses_more_than_half_to_jitter() {
        let knobs = Knobs::default();
        let waits: Vec<u64> = (1..=5).map(|failures| back_off(failures, 1.0, &knobs).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 4000]);
        assert_eq!(back_off(2, 0.0, &knobs).as_millis(), 500);
        assert_eq!(back_off(u16::MAX, 0.0, &knobs).as_millis(), 2000);
    }

    #[test]
    fn retries_are_paid_for_by_first_attempts_and_a_floor() {
        let knobs = Knobs { retry_budget: 2.0, ..Knobs::default() };
        let mut budget = RetryBudget::default();
        let now = Timestamp::ZERO + Duration::from_secs(100);
        let spend = |budget: &mut RetryBudget| {
            let mut retries = 0;
            while budget.allows_at(now, &knobs) <= now {
                budget.count(now, true);
                retries += 1;
            }
            retries
        };
        assert_eq!(spend(&mut budget), 8, "the floor over its mean life");
        (0..5).for_each(|_| budget.count(now, false));
        assert_eq!(spend(&mut budget), 10);
        let later = budget.allows_at(now, &knobs);
        assert!(later > now && budget.allows_at(later, &knobs) <= later);
    }
}
