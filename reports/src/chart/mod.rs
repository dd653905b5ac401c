//! What each picture shows; how pictures look in general is `picture`'s matter.

mod heat_map;
mod key_lanes;
mod labels;
mod latency;
mod storm_strip;
mod success_spend;
mod sweep_lines;

use stormproof_simulator::study::summary::Summary;

pub(crate) use heat_map::{Heat, heat_map};
pub(crate) use sweep_lines::sweep_lines;

use crate::Error;
use crate::picture::Picture;

/// Every picture that the summary has data for, in the order of a report: the storm strip, success against spend, the
/// key lanes, the latencies.
///
/// # Errors
/// When one cannot be drawn.
pub fn pictures(summary: &Summary) -> Result<Vec<Picture>, Error> {
    let mut pictures = Vec::new();
    let policies = &summary.trace.policies;
    if policies.iter().any(|policy| !policy.strip.is_empty()) {
        pictures.push(storm_strip::storm_strip(summary)?);
    }
    if summary.runs.iter().any(|run| run.turns > 0.0) {
        pictures.push(success_spend::success_spend(summary)?);
    }
    if policies.iter().any(|policy| !policy.lanes.is_empty()) {
        pictures.push(key_lanes::key_lanes(summary)?);
    }
    if summary.runs.iter().any(|run| !run.latency_bins.is_empty()) {
        pictures.push(latency::latency(summary)?);
    }
    Ok(pictures)
}

/// Where the first seed's numbers come from, in one line.
fn source_of_trace(summary: &Summary) -> String {
    format!("Simulated: scenario {}, seed {} of {}.", summary.scenario, summary.trace.seed, summary.seeds)
}

/// How long a picture over time is: the simulated time, or what the buckets cover if that is longer.
fn duration(summary: &Summary) -> f64 {
    let buckets = summary.trace.policies.iter().map(|policy| policy.strip.len()).max().unwrap_or(0);
    summary.duration_s.max(buckets as f64 * summary.trace.bucket_s).max(1.0)
}

/// The same stretches of time without overlaps, ascending.
fn union(spans: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut spans: Vec<(f64, f64)> = spans.filter(|(from, to)| from < to).collect();
    spans.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut joined: Vec<(f64, f64)> = Vec::new();
    for (from, to) in spans {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            Some(_) | None => joined.push((from, to)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_spans_become_one() {
        let spans = [(5.0, 9.0), (0.0, 3.0), (2.0, 4.0), (7.0, 7.0)];
        assert_eq!(union(spans.into_iter()), [(0.0, 4.0), (5.0, 9.0)]);
    }
}
