//! Which deployment of a tier serves: every strategy is a score, the highest wins, and a seeded hash breaks ties.

use super::draw::{mix, unit};
use super::knobs::Strategy;

/// What a strategy may look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// `min(rpm left, tpm left) / limit + rpd left / limit`.
    pub(super) headroom: f64,
    /// Share of the load that it should take.
    pub(super) weight: u32,
    /// Attempts in flight.
    pub(super) in_flight: u32,
    /// Moving mean of its latency in seconds; 0 while unknown, so that the unknown is tried.
    pub(super) latency: f64,
    /// Tokens of the last minute.
    pub(super) tokens: u64,
    /// Its place behind the deployment used last, counted round the tier.
    pub(super) turn: u32,
    /// Its own bits for this decision.
    pub(super) bits: u64,
}

impl Candidate {
    /// How good a choice it is under a strategy.
    pub(super) fn score(&self, strategy: Strategy) -> f64 {
        let weight = f64::from(self.weight.max(1));
        match strategy {
            // All deployments of a tier cost the same: there `lowest-cost` orders the tiers of a model instead.
            Strategy::Headroom | Strategy::LowestCost => self.headroom * weight,
            Strategy::RoundRobin => -f64::from(self.turn),
            // The largest of u^(1/weight) falls on each in proportion to the weights (Efraimidis and Spirakis, 2006).
            Strategy::WeightedShuffle => libm::log(unit(self.bits).max(f64::MIN_POSITIVE)) / weight,
            Strategy::LeastBusy => -f64::from(self.in_flight) / weight,
            Strategy::LowestLatency => -self.latency,
            Strategy::LowestUsage => -(self.tokens as f64),
        }
    }
}

/// Bits for one candidate of one decision.
pub(super) fn bits(decision: u64, deployment: u32) -> u64 {
    mix(decision ^ u64::from(deployment))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVEN: Candidate =
        Candidate { headroom: 1.0, weight: 1, in_flight: 3, latency: 2.0, tokens: 500, turn: 4, bits: 1 << 63 };

    #[test]
    fn each_strategy_prefers_what_its_name_says() {
        let cases = [
            (Strategy::Headroom, Candidate { headroom: 1.5, ..EVEN }),
            (Strategy::Headroom, Candidate { weight: 2, ..EVEN }),
            (Strategy::RoundRobin, Candidate { turn: 0, ..EVEN }),
            (Strategy::LeastBusy, Candidate { in_flight: 1, ..EVEN }),
            (Strategy::LowestLatency, Candidate { latency: 0.5, ..EVEN }),
            (Strategy::LowestUsage, Candidate { tokens: 0, ..EVEN }),
            (Strategy::LowestCost, Candidate { headroom: 1.5, ..EVEN }),
        ];
        for (strategy, better) in cases {
            assert!(better.score(strategy) > EVEN.score(strategy), "{strategy:?}");
        }
    }

    #[test]
    fn the_shuffle_follows_the_weights() {
        let wins = (0..30_000u64)
            .filter(|decision| {
                let score = |deployment, weight| {
                    let bits = bits(mix(*decision), deployment);
                    Candidate { weight, bits, ..EVEN }.score(Strategy::WeightedShuffle)
                };
                score(0, 3) > score(1, 1)
            })
            .count();
        // Binomial: 22 500, three sigma are 225.
        assert!((22_275..22_725).contains(&wins), "{wins}");
    }
}
