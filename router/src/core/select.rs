//! Which deployment of a tier serves: every strategy is a score, the highest wins, and a seeded lot decides between
//! equals.

use super::draw::{mix, unit};
use super::ids::DeploymentId;
use super::knobs::Strategy;
use super::quota::Quota;
use super::state::Site;

/// One decision between the deployments of a tier.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ballot {
    /// What counts.
    pub(super) strategy: Strategy,
    /// The decision's own bits.
    pub(super) lot: u64,
    /// Place of the deployment whose turn it is.
    pub(super) cursor: u32,
    /// How many deployments the tier has.
    pub(super) members: u32,
    /// Whether failed calls are taken to count.
    pub(super) count_errors: bool,
}

/// What a strategy may look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    /// Which.
    pub(super) deployment: DeploymentId,
    /// Its place in the tier.
    pub(super) index: usize,
    /// Share of the load that it should take; at least 1.
    pub(super) weight: f64,
    /// Its project's quota.
    pub(super) quota: &'a Quota,
    /// Its load and latency.
    pub(super) site: &'a Site,
}

impl Ballot {
    /// How good a choice a candidate is: `headroom` is its share of room, times its weight. The candidate itself is asked
    /// for only where it counts.
    #[inline]
    pub(super) fn score<'a>(&self, headroom: f64, candidate: impl FnOnce() -> Candidate<'a>) -> f64 {
        match self.strategy {
            // All deployments of a tier cost the same: there `lowest-cost` orders the tiers of a model instead.
            Strategy::Headroom | Strategy::LowestCost => headroom,
            Strategy::RoundRobin => {
                let turn = candidate().index as u32 + self.members - self.cursor.min(self.members);
                -f64::from(turn % self.members.max(1))
            }
            // The largest of u^(1/weight) falls on each in proportion to the weights (Efraimidis and Spirakis, 2006).
            Strategy::WeightedShuffle => {
                let Candidate { deployment, weight, .. } = candidate();
                let bits = mix(self.lot ^ u64::from(deployment.get()));
                libm::log(unit(bits).max(f64::MIN_POSITIVE)) / weight
            }
            Strategy::LeastBusy => {
                let Candidate { site, weight, .. } = candidate();
                -f64::from(site.in_flight) / weight
            }
            // 0 while unknown, so that the unknown is tried.
            Strategy::LowestLatency => -candidate().site.latency.as_secs_f64(),
            Strategy::LowestUsage => -(candidate().quota.tokens_used(self.count_errors) as f64),
        }
    }
}

/// Whether headroom alone is the score.
pub(super) fn is_by_headroom(strategy: Strategy) -> bool {
    matches!(strategy, Strategy::Headroom | Strategy::LowestCost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::quota::Rules;
    use crate::core::time::{Duration, Timestamp};

    fn ballot(strategy: Strategy, lot: u64) -> Ballot {
        Ballot { strategy, lot, cursor: 3, members: 9, count_errors: true }
    }

    #[test]
    fn each_strategy_prefers_what_its_name_says() {
        let site = Site { in_flight: 3, latency: Duration::from_secs(2), ..Site::default() };
        let idle = Site { in_flight: 1, ..site };
        let quick = Site { latency: Duration::from_millis(500), ..site };
        let (mut quota, unused) = (Quota::default(), Quota::default());
        let rules = Rules { window: Duration::from_secs(60), day: 0, day_ends: Timestamp::MAX };
        quota.reserve(Timestamp::ZERO, 500, &rules);
        let deployment = DeploymentId::new(7);
        let even = Candidate { deployment, index: 7, weight: 1.0, quota: &quota, site: &site };
        let cases = [
            (Strategy::Headroom, 1.5, even),
            (Strategy::RoundRobin, 1.0, Candidate { index: 3, ..even }),
            (Strategy::LeastBusy, 1.0, Candidate { site: &idle, ..even }),
            (Strategy::LeastBusy, 1.0, Candidate { weight: 2.0, ..even }),
            (Strategy::LowestLatency, 1.0, Candidate { site: &quick, ..even }),
            (Strategy::LowestUsage, 1.0, Candidate { quota: &unused, ..even }),
            (Strategy::LowestCost, 1.5, even),
        ];
        for (strategy, headroom, better) in cases {
            let ballot = ballot(strategy, 1);
            assert!(ballot.score(headroom, || better) > ballot.score(1.0, || even), "{strategy:?}");
        }
    }

    #[test]
    fn the_shuffle_follows_the_weights() {
        let (quota, site) = (Quota::default(), Site::default());
        let wins = (0..30_000u64)
            .filter(|lot| {
                let ballot = ballot(Strategy::WeightedShuffle, mix(*lot));
                let score = |deployment, weight| {
                    let deployment = DeploymentId::new(deployment);
                    let (quota, site) = (&quota, &site);
                    ballot.score(0.0, || Candidate { deployment, index: 0, weight, quota, site })
                };
                score(0, 3.0) > score(1, 1.0)
            })
            .count();
        // Binomial: 22 500, three sigma are 225.
        assert!((22_275..22_725).contains(&wins), "{wins}");
    }
}
