//! What a study found, as plain data: the JSON document of `simulate` and `sweep`, and all that a report may know.
//!
//! Field names are a contract with whoever reads the JSON; fields are added, never renamed. In a [`Run`] counts, money,
//! rates, gaps and recoveries are means of the per-seed values, which [`Run::per_seed`] holds; percentiles and the
//! maximum are over the turns of all seeds together. A `pass` expression names a field without its unit suffix.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::trace::Trace;

/// One scenario under several routers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The scenario's name: its file name without the extension.
    pub scenario: String,
    /// What the scenario asks, in its author's words.
    #[serde(default)]
    pub about: String,
    /// How many seeds were run: 1 to this number.
    pub seeds: u32,
    /// What was assumed and not known, one sentence each; stands on every table and picture.
    pub assumed: Vec<String>,
    /// When the simulated time starts, with offset and zone: `2025-04-18T22:10:00-07:00[America/Los_Angeles]`.
    #[serde(default)]
    pub start: String,
    /// How much time was simulated.
    #[serde(default)]
    pub duration_s: f64,
    /// One entry a router, in the scenario's order.
    pub runs: Vec<Run>,
    /// What the scenario says must hold, and whether it does.
    pub pass: Vec<PassResult>,
    /// What the first seed looked like; the pictures are drawn from it. Not part of the JSON document.
    #[serde(skip)]
    pub trace: Trace,
}

/// One router over all seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The router's name in the scenario.
    pub policy: String,
    /// Which router that is and what is particular about its settings: `LiteLLM 1.66, cooldown_time 2000`.
    #[serde(default)]
    pub about: String,
    /// Turns that began.
    #[serde(serialize_with = "whole_where_whole")]
    pub turns: f64,
    /// Turns with a complete answer within their patience.
    #[serde(serialize_with = "whole_where_whole")]
    pub succeeded: f64,
    /// `succeeded / turns`.
    pub success_rate: f64,
    /// 95 % interval of the mean over seeds.
    pub success_rate_ci95: [f64; 2],
    /// Calls that clients made, their own retries included.
    #[serde(serialize_with = "whole_where_whole")]
    pub client_calls: f64,
    /// Time to the complete answer, from the turn's intended start.
    pub latency_ms: Latency,
    /// The distribution behind `latency_ms`: ascending, empty bins left out.
    #[serde(default)]
    pub latency_bins: Vec<LatencyBin>,
    /// Longest time with turns waiting and none answered.
    pub longest_gap_s: f64,
    /// From the end of the last overload to the first answer after which success is back at its healthy level; up to
    /// the end of the run where that never happened, 0 where there was no overload.
    pub recovery_s: f64,
    /// Seeds in which success was not back at its healthy level before the end.
    #[serde(default)]
    pub unrecovered_seeds: u32,
    /// Turns answered by a tier after the model's first.
    pub fallback_answers: f64,
    /// Money spent on tiers after the first, failed attempts included.
    pub fallback_spend_usd: f64,
    /// 95 % interval of the mean over seeds.
    pub fallback_spend_usd_ci95: [f64; 2],
    /// Money spent on all tiers.
    pub total_spend_usd: f64,
    /// Calls made to providers.
    #[serde(serialize_with = "whole_where_whole")]
    pub upstream_attempts: f64,
    /// `upstream_attempts / turns`.
    pub attempts_per_turn: f64,
    /// Attempts by HTTP status, or by the name of a transport error (`reset`, `first_byte_timeout`).
    #[serde(serialize_with = "whole_values")]
    pub upstream_statuses: BTreeMap<String, f64>,
    /// Client calls by the HTTP status that the client saw.
    #[serde(serialize_with = "whole_values")]
    pub client_statuses: BTreeMap<String, f64>,
    /// Turns without success by what became of their last call; `deadline` and `refused` are always present.
    #[serde(serialize_with = "whole_values")]
    pub failures: BTreeMap<String, f64>,
    /// Sixteen hexadecimal digits: the seeds' decision hashes, folded in order.
    pub decision_hash: String,
    /// The replications, in the order of their seeds.
    pub per_seed: Vec<PerSeed>,
}

/// One router under one seed. The fields mean what they mean in [`Run`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a field of the same name in `Run` says what it is")]
pub struct PerSeed {
    pub seed: u64,
    pub turns: u64,
    pub succeeded: u64,
    pub success_rate: f64,
    pub client_calls: u64,
    pub latency_ms: Latency,
    pub longest_gap_s: f64,
    pub recovery_s: f64,
    /// Whether success was back at its healthy level before the end.
    pub recovered: bool,
    pub fallback_answers: u64,
    pub fallback_spend_usd: f64,
    pub total_spend_usd: f64,
    pub upstream_attempts: u64,
    pub attempts_per_turn: f64,
    pub upstream_statuses: BTreeMap<String, u64>,
    pub client_statuses: BTreeMap<String, u64>,
    pub failures: BTreeMap<String, u64>,
    pub decision_hash: String,
}

/// Percentiles of the latency in milliseconds. A failed turn counts with its whole patience, so that fast failures
/// never look fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50: u64,
    /// 90 of 100 turns were at most this long.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1000.
    #[serde(rename = "p99.9")]
    pub p99_9: u64,
    /// The longest.
    pub max: u64,
}

/// How many turns, over all seeds, took longer than the bin before says and at most `up_to_ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyBin {
    /// The bin's upper edge, inclusive.
    pub up_to_ms: u64,
    /// Turns that were answered in time.
    pub answered: u64,
    /// Turns that were not; they count with their whole patience.
    pub failed: u64,
}

/// What became of one expression of the scenario's `pass` list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassResult {
    /// As written: `stormproof: success_rate >= 99.9%`.
    pub expression: String,
    /// Whether it holds.
    pub passed: bool,
    /// What was found instead or as well, as people write it with its unit: `99.97%`.
    #[serde(default)]
    pub measured: String,
}

/// One scenario over one or two settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// As in [`Summary`].
    pub scenario: String,
    /// As in [`Summary`].
    #[serde(default)]
    pub about: String,
    /// Seeds for every point; the same ones, so that points may be compared in pairs.
    pub seeds: u32,
    /// As in [`Summary`].
    pub assumed: Vec<String>,
    /// What was varied: one or two settings.
    pub axes: Vec<Axis>,
    /// One entry a combination of values, the last axis varying fastest.
    pub points: Vec<SweepPoint>,
}

/// A setting that a sweep varies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// Its name as given to `--vary`.
    pub knob: String,
    /// Its unit where the values are numbers that have one: `s`, `USD`. Empty otherwise.
    #[serde(default)]
    pub unit: String,
    /// In the order given.
    pub values: Vec<AxisValue>,
}

/// One value of a varied setting.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AxisValue {
    /// As given: `2000s`, `headroom`.
    pub text: String,
    /// The same in the axis' unit, if it is a number. An axis whose values all are is drawn to scale.
    pub number: Option<f64>,
}

/// All routers at one combination of values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SweepPoint {
    /// For each axis, the index of its value.
    pub at: Vec<usize>,
    /// One entry a router, in the same order at every point. `per_seed` and `latency_bins` may be empty.
    pub runs: Vec<Run>,
}

impl Summary {
    /// The run of that policy.
    pub fn run(&self, policy: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.policy == policy)
    }

    /// Whether everything that the scenario says must hold does.
    pub fn passed(&self) -> bool {
        self.pass.iter().all(|result| result.passed)
    }
}

/// A mean of counts is printed as the count where all agree, as it is with one seed: 120 and not 120.0.
fn whole_where_whole<S: Serializer>(mean: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    Number(*mean).serialize(serializer)
}

fn whole_values<S: Serializer>(means: &BTreeMap<String, f64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(means.iter().map(|(name, mean)| (name, Number(*mean))))
}

struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Up to here every whole number has its own float.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if self.0.trunc() == self.0 && (0.0..EXACT).contains(&self.0) {
            serializer.serialize_u64(self.0 as u64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document that programs read, name by name: a rename here breaks them.
    #[test]
    fn the_contract_is_readable_and_complete() {
        let document = r#"{"scenario":"logged-outage","seeds":30,"assumed":["overload lasts 14 min"],"runs":[{
            "policy":"stormproof","turns":120,"succeeded":118.5,"success_rate":0.9875,"success_rate_ci95":[0.98,0.99],
            "client_calls":130,"latency_ms":{"p50":1,"p90":2,"p99":3,"p99.9":4,"max":5},"longest_gap_s":1.5,
            "recovery_s":2.0,"fallback_answers":3.5,"fallback_spend_usd":0.25,"fallback_spend_usd_ci95":[0.2,0.3],
            "total_spend_usd":0.5,"upstream_attempts":140,"attempts_per_turn":1.25,
            "upstream_statuses":{"200":118.5,"503":7},"client_statuses":{"200":119},
            "failures":{"deadline":1,"refused":0.5},"decision_hash":"00ff00ff00ff00ff","per_seed":[]}],
            "pass":[{"expression":"stormproof: success_rate >= 99%","passed":false}]}"#;
        let summary: Summary = serde_json::from_str(document).unwrap();
        let run = summary.run("stormproof").unwrap();
        assert_eq!((run.turns, run.succeeded, run.latency_ms.p99_9), (120.0, 118.5, 4));
        assert!(!summary.passed());

        let written: serde_json::Value = serde_json::to_value(&summary).unwrap();
        let expected: serde_json::Value = serde_json::from_str(document).unwrap();
        let (run, expected_run) = (&written["runs"][0], &expected["runs"][0]);
        for (name, value) in expected_run.as_object().unwrap() {
            assert_eq!(&run[name], value, "{name}");
        }
        for name in ["scenario", "seeds", "assumed"] {
            assert_eq!(written[name], expected[name], "{name}");
        }
        assert!(written.get("trace").is_none());
    }

    #[test]
    fn a_mean_of_counts_is_whole_only_where_it_is() {
        let text = |mean: f64| serde_json::to_string(&Number(mean)).unwrap();
        assert_eq!([text(0.0), text(120.0), text(0.5), text(1e300)], ["0", "120", "0.5", "1e+300"]);
    }
}
