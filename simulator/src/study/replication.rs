//! One run as numbers, and many runs as their means.

use std::collections::BTreeMap;

use hdrhistogram::{CreationError, Histogram};

use super::recovery::{overloads, recovery};
use super::stats::{interval95, mean, share_interval95};
use super::summary::{Latency, LatencyBin, PerSeed, Run};
use crate::engine::{FAILURES, Statuses, TRANSPORTS, Tally, fold_runs};
use crate::world::World;

/// Latencies in milliseconds with three digits, kept apart for turns that were answered and turns that were not.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    answered: Histogram<u64>,
    failed: Histogram<u64>,
    /// Exact, where the histograms round.
    longest: u64,
}

/// Longer latencies count as this: 24 days.
const LATENCY_MS_MAX: u64 = 1 << 31;

/// Bins of the printed distribution for each doubling of the latency.
const BINS_PER_DOUBLING: i32 = 4;

impl Latencies {
    pub(super) fn new() -> Result<Self, CreationError> {
        let empty = Histogram::new_with_bounds(1, LATENCY_MS_MAX, 3)?;
        Ok(Self { answered: empty.clone(), failed: empty, longest: 0 })
    }

    /// Adds the turns of one run.
    pub(super) fn record(&mut self, tally: &Tally) {
        for turn in &tally.turns {
            let latency = turn.end.since(turn.at).as_millis();
            let histogram = if turn.answered { &mut self.answered } else { &mut self.failed };
            histogram.saturating_record(latency);
            self.longest = self.longest.max(latency);
        }
    }

    /// Percentiles over all turns; failed ones are among them with their whole patience.
    pub(super) fn percentiles(&self) -> Latency {
        let mut all = self.answered.clone();
        // Both have the same bounds, which is all that could keep them apart.
        if all.add(&self.failed).is_err() {
            return Latency::default();
        }
        let at = |share: f64| all.value_at_quantile(share).min(self.longest);
        Latency { p50: at(0.5), p90: at(0.9), p99: at(0.99), p99_9: at(0.999), max: self.longest }
    }

    fn bins(&self) -> Vec<LatencyBin> {
        let mut bins: BTreeMap<i32, LatencyBin> = BTreeMap::new();
        let mut count = |histogram: &Histogram<u64>, part: fn(&mut LatencyBin) -> &mut u64| {
            for value in histogram.iter_recorded() {
                let bin = bin_of(value.value_iterated_to());
                let entry =
                    bins.entry(bin).or_insert_with(|| LatencyBin { up_to_ms: edge(bin), ..LatencyBin::default() });
                *part(entry) += value.count_at_value();
            }
        };
        count(&self.answered, |bin| &mut bin.answered);
        count(&self.failed, |bin| &mut bin.failed);
        bins.into_values().collect()
    }
}

/// The bin whose upper edge is the first that is not below.
fn bin_of(ms: u64) -> i32 {
    let estimate = (libm::log2(ms.max(1) as f64) * f64::from(BINS_PER_DOUBLING)) as i32;
    (estimate..).find(|bin| edge(*bin) >= ms).unwrap_or(estimate)
}

fn edge(bin: i32) -> u64 {
    libm::exp2(f64::from(bin) / f64::from(BINS_PER_DOUBLING)) as u64
}

/// The numbers of one run.
pub(super) fn per_seed(seed: u64, tally: &Tally, world: &World, latencies: &Latencies) -> PerSeed {
    let turns = tally.turns.len() as u64;
    let succeeded = tally.succeeded();
    let share = |part: u64| if turns == 0 { 0.0 } else { part as f64 / turns as f64 };
    let (recovery, recovered) = recovery(&tally.turns, &overloads(world), tally.end);
    PerSeed {
        seed,
        turns,
        succeeded,
        success_rate: share(succeeded),
        client_calls: tally.client_calls,
        latency_ms: latencies.percentiles(),
        longest_gap_s: tally.longest_gap.as_secs_f64(),
        recovery_s: recovery.as_secs_f64(),
        recovered,
        fallback_answers: tally.fallback_answers,
        fallback_spend_usd: tally.fallback_spend.as_f64(),
        total_spend_usd: tally.total_spend.as_f64(),
        upstream_attempts: tally.attempts,
        attempts_per_turn: share(tally.attempts),
        upstream_statuses: upstream_statuses(tally),
        client_statuses: by_status(&tally.client_statuses),
        failures: failures(tally),
        decision_hash: format!("{:016x}", tally.decision_hash),
    }
}

fn by_status(statuses: &Statuses) -> BTreeMap<String, u64> {
    statuses.seen().map(|(status, count)| (status.to_string(), count)).collect()
}

fn upstream_statuses(tally: &Tally) -> BTreeMap<String, u64> {
    let transports = TRANSPORTS.iter().zip(tally.transports).filter(|(_, count)| *count > 0);
    let mut all = by_status(&tally.upstream_statuses);
    all.extend(transports.map(|(name, count)| ((*name).to_owned(), count)));
    all
}

fn failures(tally: &Tally) -> BTreeMap<String, u64> {
    let always = ["deadline", "refused"];
    let named = FAILURES.iter().zip(tally.failures).filter(|(name, count)| *count > 0 || always.contains(name));
    named.map(|(name, count)| ((*name).to_owned(), count)).collect()
}

/// All replications of one router as one entry of the summary.
pub(super) fn combined(policy: &str, about: &str, seeds: Vec<PerSeed>, hashes: &[u64], latencies: &Latencies) -> Run {
    let values = |field: fn(&PerSeed) -> f64| seeds.iter().map(field).collect::<Vec<f64>>();
    let mean_of = |field: fn(&PerSeed) -> f64| mean(&values(field));
    let success = values(|seed| seed.success_rate);
    let spend = values(|seed| seed.fallback_spend_usd);
    Run {
        policy: policy.to_owned(),
        about: about.to_owned(),
        turns: mean_of(|seed| seed.turns as f64),
        succeeded: mean_of(|seed| seed.succeeded as f64),
        success_rate: mean(&success),
        success_rate_ci95: share_interval95(&success),
        client_calls: mean_of(|seed| seed.client_calls as f64),
        latency_ms: latencies.percentiles(),
        latency_bins: latencies.bins(),
        longest_gap_s: mean_of(|seed| seed.longest_gap_s),
        recovery_s: mean_of(|seed| seed.recovery_s),
        unrecovered_seeds: seeds.iter().filter(|seed| !seed.recovered).count() as u32,
        fallback_answers: mean_of(|seed| seed.fallback_answers as f64),
        fallback_spend_usd: mean(&spend),
        fallback_spend_usd_ci95: interval95(&spend),
        total_spend_usd: mean_of(|seed| seed.total_spend_usd),
        upstream_attempts: mean_of(|seed| seed.upstream_attempts as f64),
        attempts_per_turn: mean_of(|seed| seed.attempts_per_turn),
        upstream_statuses: means(&seeds, |seed| &seed.upstream_statuses),
        client_statuses: means(&seeds, |seed| &seed.client_statuses),
        failures: means(&seeds, |seed| &seed.failures),
        decision_hash: format!("{:016x}", hashes.iter().fold(0, |hash, run| fold_runs(hash, *run))),
        per_seed: seeds,
    }
}

/// Means by name; a name that a seed lacks counts as zero there.
fn means(seeds: &[PerSeed], field: fn(&PerSeed) -> &BTreeMap<String, u64>) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for (name, count) in seeds.iter().flat_map(field) {
        *sums.entry(name.clone()).or_default() += *count as f64;
    }
    sums.into_iter().map(|(name, sum)| (name, sum / seeds.len() as f64)).collect()
}

/// Adds one run's latencies to those of all runs.
pub(super) fn merge(all: &mut Latencies, run: &Latencies) {
    // Both come from one template, so neither addition can fail.
    let added = all.answered.add(&run.answered).and(all.failed.add(&run.failed));
    debug_assert!(added.is_ok());
    all.longest = all.longest.max(run.longest);
}

#[cfg(test)]
mod tests {
    use stormproof_router::core::{Duration, Timestamp};

    use super::*;
    use crate::engine::TurnEnd;

    fn tally(latencies: &[(u64, bool)]) -> Tally {
        let turn = |(ms, answered): &(u64, bool)| TurnEnd {
            at: Timestamp::ZERO,
            end: Timestamp::ZERO + Duration::from_millis(*ms),
            answered: *answered,
        };
        Tally { turns: latencies.iter().map(turn).collect(), ..Tally::default() }
    }

    #[test]
    fn failed_turns_count_with_their_patience() {
        let mut latencies = Latencies::new().unwrap();
        latencies.record(&tally(&[(1000, true), (2000, true), (3000, true), (180_000, false)]));
        let found = latencies.percentiles();
        assert_eq!((found.p50, found.max), (2000, 180_000));
        assert!(found.p99.abs_diff(180_000) < 180);
    }

    #[test]
    fn bins_are_ascending_and_hold_every_turn() {
        let mut latencies = Latencies::new().unwrap();
        let values: Vec<(u64, bool)> = (0..1000).map(|i| (i * i, i % 3 == 0)).collect();
        latencies.record(&tally(&values));
        let bins = latencies.bins();
        assert!(bins.windows(2).all(|pair| pair[0].up_to_ms < pair[1].up_to_ms));
        assert_eq!(bins.iter().map(|bin| bin.answered).sum::<u64>(), 334);
        assert_eq!(bins.iter().map(|bin| bin.failed).sum::<u64>(), 666);
        // The histogram's three digits may carry a value over an edge, but not further.
        for bin in &bins {
            let below = values.iter().filter(|(ms, _)| *ms as f64 <= bin.up_to_ms as f64 * 0.999).count() as u64;
            let counted: u64 = bins.iter().filter(|b| b.up_to_ms <= bin.up_to_ms).map(|b| b.answered + b.failed).sum();
            assert!(counted >= below, "up to {} ms", bin.up_to_ms);
        }
    }

    #[test]
    fn means_count_a_missing_name_as_zero() {
        let seed = |statuses: &[(&str, u64)]| PerSeed {
            upstream_statuses: statuses.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            ..PerSeed::default()
        };
        let found = means(&[seed(&[("200", 4), ("503", 2)]), seed(&[("200", 6)])], |seed| &seed.upstream_statuses);
        assert_eq!(found, BTreeMap::from([("200".to_owned(), 5.0), ("503".to_owned(), 1.0)]));
    }
}
