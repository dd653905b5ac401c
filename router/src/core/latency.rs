//! How long answers take, learnt: what the latest safe start and the chance to make a deadline rest on.
//!
//! Answers fall into fixed logarithmic buckets of integer weight, eight to an octave from 64 ms to 17 minutes; when
//! the total grows past [`MEMORY`], every bucket forgets half. A lognormal prior stands in until answers come. Calls
//! that were cut, abandoned or are still running are censored: they say "longer than this", and the product-limit
//! estimate (Kaplan and Meier, 1958) uses exactly that. Leaving them out would make the distribution look quick just
//! when the provider is slow.

use serde::{Deserialize, Serialize};

use super::input::Endpoint;
use super::knobs::Knobs;
use super::time::Duration;

/// Integer weight of one answer.
const UNIT: u32 = 1024;
/// Answers after which half is forgotten.
const MEMORY: u32 = 1024 * UNIT;
const STEPS: u32 = 8;
const OCTAVES: u32 = 14;
/// One bucket below the scale and one above it beside the steps.
const BUCKETS: usize = (STEPS * OCTAVES) as usize + 2;
/// The scale begins at 2^26 ns, about 67 ms.
const FIRST_OCTAVE: u32 = 26;

/// A learnt distribution of one latency. It answers nothing until its prior is laid out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Latency {
    ended: Vec<u32>,
    censored: Vec<u32>,
    total: u32,
    /// Observations since `chance` was computed.
    fresh: u32,
    /// Probability to be over at each bucket's upper edge; what questions are answered from.
    chance: Vec<f64>,
    /// The last question, and its answer: most are the same.
    #[serde(skip)]
    asked: Option<(Duration, f64, Duration)>,
}

/// What is assumed before any answer was seen: a lognormal shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prior {
    /// In seconds.
    median: f64,
    sigma: f64,
    /// In answers.
    weight: f64,
}

impl Prior {
    /// As the knobs say; embeddings and counts take about a twentieth of what an answer takes.
    pub(super) fn of(endpoint: Endpoint, knobs: &Knobs) -> Self {
        let share = match endpoint {
            Endpoint::Generate => 1.0,
            Endpoint::Embed | Endpoint::Count => 0.05,
        };
        let median = (knobs.latency_prior_median.as_secs_f64() * share).max(1e-9);
        Self { median, sigma: knobs.latency_prior_sigma, weight: knobs.latency_prior_weight }
    }
}

impl Latency {
    /// An answer took so long.
    pub(super) fn ended(&mut self, after: Duration) {
        self.ended[bucket(after)] += UNIT;
        self.observed();
    }

    /// A call was given up after so long.
    pub(super) fn censored(&mut self, after: Duration) {
        self.censored[bucket(after)] += UNIT;
        self.observed();
    }

    /// Whether enough has been seen, against `running` calls that a refresh has to look at, to compute anew.
    pub(super) fn is_stale(&self, running: usize) -> bool {
        self.fresh >= 16 && self.fresh as usize >= running / 4
    }

    /// Computes the distribution anew, with the ages of calls that are still running.
    pub(super) fn refresh(&mut self, running: impl Iterator<Item = Duration>) {
        (self.fresh, self.asked) = (0, None);
        let mut censored = [0u64; BUCKETS];
        for (sum, weight) in censored.iter_mut().zip(&self.censored) {
            *sum = u64::from(*weight);
        }
        let mut at_risk = u64::from(self.total);
        for age in running {
            censored[bucket(age)] += u64::from(UNIT);
            at_risk += u64::from(UNIT);
        }
        let mut survives = 1.0;
        for ((chance, ended), censored) in self.chance.iter_mut().zip(&self.ended).zip(censored) {
            let ended = u64::from(*ended);
            if ended > 0 {
                survives *= 1.0 - ended as f64 / at_risk as f64;
            }
            at_risk -= ended + censored;
            *chance = 1.0 - survives;
        }
    }

    /// Probability that an answer is there after `time`.
    pub(super) fn chance(&self, time: Duration) -> f64 {
        let index = bucket(time);
        let below = if index == 0 { 0.0 } else { self.chance[index - 1] };
        let (low, high) = edges(index);
        let share = (time.as_nanos().saturating_sub(low)) as f64 / (high - low) as f64;
        below + (self.chance[index] - below) * share.min(1.0)
    }

    /// Keeps the answer to [`Latency::needed`] at hand.
    pub(super) fn ask(&mut self, all: Duration, risk: f64) {
        if !self.asked.is_some_and(|asked| (asked.0, asked.1) == (all, risk)) {
            self.asked = Some((all, risk, self.needed(all, risk)));
        }
    }

    /// The shortest time in which the chance of an answer is at most `risk` below its chance within `all`. The latest safe
    /// start leaves so much: the longest wait that costs at most the risk of the chance to be in time.
    pub(super) fn needed(&self, all: Duration, risk: f64) -> Duration {
        match self.asked {
            Some(asked) if (asked.0, asked.1) == (all, risk) => return asked.2,
            Some(_) | None => {}
        }
        let goal = self.chance(all) - risk;
        if goal <= 0.0 {
            return Duration::ZERO;
        }
        let index = self.chance.partition_point(|chance| *chance < goal).min(BUCKETS - 1);
        let below = if index == 0 { 0.0 } else { self.chance[index - 1] };
        let (low, high) = edges(index);
        let step = self.chance[index] - below;
        let share = if step > 0.0 { ((goal - below) / step).clamp(0.0, 1.0) } else { 1.0 };
        Duration::from_nanos(low + ((high - low) as f64 * share) as u64).min(all)
    }

    fn observed(&mut self) {
        self.total += UNIT;
        self.fresh += 1;
        if self.total > MEMORY {
            for weight in self.ended.iter_mut().chain(&mut self.censored) {
                *weight /= 2;
            }
            self.total = self.ended.iter().chain(&self.censored).sum();
        }
    }

    /// Takes over a distribution that knows nothing but its prior, unless there is one.
    pub(super) fn begin(&mut self, fresh: &Self) {
        if self.chance.is_empty() {
            self.clone_from(fresh);
        }
    }

    /// One that knows nothing but its prior.
    pub(super) fn fresh(prior: Prior) -> Self {
        let mut fresh =
            Self { ended: vec![0; BUCKETS], censored: vec![0; BUCKETS], chance: vec![0.0; BUCKETS], ..Self::default() };
        let scale = prior.sigma * core::f64::consts::SQRT_2;
        let weight = prior.weight * f64::from(UNIT);
        let mut below = 0.0;
        for (index, ended) in fresh.ended.iter_mut().enumerate() {
            let edge = edges(index).1 as f64 / 1e9;
            let chance = 0.5 * (1.0 + libm::erf(libm::log(edge / prior.median) / scale));
            let chance = if index + 1 == BUCKETS { 1.0 } else { chance };
            *ended = (weight * (chance - below)) as u32;
            below = chance;
        }
        fresh.total = fresh.ended.iter().sum();
        fresh.refresh(std::iter::empty());
        fresh
    }
}

fn bucket(time: Duration) -> usize {
    let nanos = time.as_nanos();
    let octave = nanos.checked_ilog2().unwrap_or(0);
    if octave < FIRST_OCTAVE {
        return 0;
    }
    let step = (nanos >> (octave - 3)) as u32 & (STEPS - 1);
    (((octave - FIRST_OCTAVE) * STEPS + step) as usize + 1).min(BUCKETS - 1)
}

/// Lower and upper edge of a bucket in nanoseconds.
fn edges(index: usize) -> (u64, u64) {
    let edge = |index: usize| {
        let (octave, step) = (FIRST_OCTAVE + index as u32 / STEPS, u64::from(index as u32 % STEPS));
        (u64::from(STEPS) + step) << (octave - 3)
    };
    match index {
        0 => (0, edge(0)),
        _ => (edge(index - 1), edge(index)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn fresh() -> Latency {
        Latency::fresh(Prior::of(Endpoint::Generate, &Knobs::default()))
    }

    #[test]
    fn every_time_lies_between_the_edges_of_its_bucket() {
        for nanos in [0, 1, 67_108_863, 67_108_864, 1_000_000_000, 20_000_000_001, 3_000_000_000_000] {
            let index = bucket(Duration::from_nanos(nanos));
            let (low, high) = edges(index);
            assert!(low <= nanos && (nanos < high || index == BUCKETS - 1), "{nanos} in {low}..{high}");
        }
    }

    #[test]
    fn the_prior_alone_gives_the_lognormal_waits() {
        // Lognormal, median 20 s, sigma 0.6: F(60 s) = 0.9664, F(180 s) = 0.99987; at a risk of 1 % that leaves 55.8 s
        // and 77.1 s for the answer.
        let latency = fresh();
        let close = |found: Duration, wanted: f64| (found.as_secs_f64() - wanted).abs() < 0.05 * wanted;
        assert!((latency.chance(secs(60)) - 0.9664).abs() < 0.002);
        assert!(close(latency.needed(secs(60), 0.01), 55.8));
        assert!(close(latency.needed(secs(180), 0.01), 80.4));
        assert_eq!(latency.needed(secs(1), 0.01), Duration::ZERO, "nothing is lost by waiting in vain");
    }

    #[test]
    fn answers_outweigh_the_prior() {
        let mut latency = fresh();
        for _ in 0..3000 {
            latency.ended(secs(2));
        }
        assert!(latency.is_stale(0));
        latency.refresh(std::iter::empty());
        assert!(latency.chance(secs(3)) > 0.99);
        assert!(latency.needed(secs(60), 0.01) < secs(3));
    }

    #[test]
    fn an_answer_at_hand_is_that_of_the_newest_estimate() {
        let mut latency = fresh();
        latency.ask(secs(60), 0.01);
        let before = latency.needed(secs(60), 0.01);
        assert_eq!(before, fresh().needed(secs(60), 0.01));
        assert_ne!(latency.needed(secs(180), 0.01), before, "another question has another answer");
        (0..3000).for_each(|_| latency.ended(secs(2)));
        assert_eq!(latency.needed(secs(60), 0.01), before);
        latency.refresh(std::iter::empty());
        assert!(latency.needed(secs(60), 0.01) < secs(3));
    }

    #[test]
    fn censored_calls_make_it_slower_but_are_not_counted_as_answers() {
        let mut latency = fresh();
        for _ in 0..500 {
            latency.ended(secs(10));
            latency.ended(secs(40));
        }
        latency.refresh(std::iter::empty());
        let before = latency.chance(secs(20));
        // As many again, still running after 20 s: they belong to the slow half.
        latency.refresh((0..500).map(|_| secs(20)));
        let after = latency.chance(secs(20));
        assert!((before - 0.5).abs() < 0.03 && (after - 0.33).abs() < 0.03, "{before} {after}");
        assert!(latency.chance(secs(50)) > 0.97);
    }
}
