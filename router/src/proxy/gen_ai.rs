//! How long calls take and how many tokens they use, by upstream model, under the names of OpenTelemetry's conventions
//! for generative AI.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::core::{Duration, Usage};

/// Upper bounds of durations in seconds, as the conventions advise.
const SECONDS: [f64; 14] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// Upper bounds of token counts, as the conventions advise.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Observations by upstream model.
#[derive(Debug, Default)]
pub(super) struct GenAi(Mutex<BTreeMap<Arc<str>, Model>>);

/// Observations of one upstream model.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// From the dispatch of an attempt to its end, failed ones included.
    pub(super) seconds: Histogram,
    /// Tokens of prompts, where the provider counted them.
    pub(super) input: Histogram,
    /// Tokens of answers.
    pub(super) output: Histogram,
}

/// Observations of one quantity.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    pub(super) sum: f64,
    pub(super) count: u64,
    /// Observations up to each bound and above the one before; the last is above all bounds.
    buckets: [u64; SECONDS.len() + 1],
}

impl GenAi {
    /// An attempt on this upstream model is over.
    pub(super) fn observe(&self, model: &str, took: Duration, usage: Option<Usage>) {
        let mut models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !models.contains_key(model) {
            models.insert(model.into(), Model::default());
        }
        let Some(seen) = models.get_mut(model) else { return };
        seen.seconds.observe(took.as_secs_f64(), &SECONDS);
        if let Some(usage) = usage {
            seen.input.observe(f64::from(usage.input.get()), &TOKENS);
            seen.output.observe(f64::from(usage.output.get()), &TOKENS);
        }
    }

    /// Everything so far.
    pub(super) fn models(&self) -> BTreeMap<Arc<str>, Model> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Histogram {
    fn observe(&mut self, value: f64, bounds: &[f64]) {
        self.sum += value;
        self.count += 1;
        let place = bounds.partition_point(|bound| *bound < value);
        self.buckets[place.min(bounds.len())] += 1;
    }

    /// Durations with their upper bounds, as Prometheus wants them.
    pub(super) fn seconds(&self) -> Vec<(f64, u64)> {
        self.bounded(&SECONDS)
    }

    /// Token counts with their upper bounds.
    pub(super) fn tokens(&self) -> Vec<(f64, u64)> {
        self.bounded(&TOKENS)
    }

    fn bounded(&self, bounds: &[f64]) -> Vec<(f64, u64)> {
        bounds.iter().copied().chain([f64::MAX]).zip(self.buckets).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Tokens;

    #[test]
    fn observations_fall_at_or_below_their_bound() {
        let seen = GenAi::default();
        let usage = Usage { input: Tokens::new(16), output: Tokens::new(17), ..Usage::default() };
        seen.observe("m", Duration::from_secs(100), Some(usage));
        seen.observe("m", Duration::from_millis(10), None);
        let models = seen.models();
        let model = &models["m"];
        assert_eq!((model.seconds.count, model.input.count), (2, 1));
        let filled = |buckets: Vec<(f64, u64)>| {
            buckets.into_iter().filter(|(_, count)| *count > 0).map(|(bound, _)| bound).collect::<Vec<_>>()
        };
        assert_eq!(filled(model.seconds.seconds()), [0.01, f64::MAX]);
        assert_eq!((filled(model.input.tokens()), filled(model.output.tokens())), (vec![16.0], vec![64.0]));
    }
}
