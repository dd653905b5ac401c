//! Days in numbers, and how sure those are.

use serde::Serialize;
use stormproof_router::core::{Duration, Usd};

use super::clients::Crowd;
use super::evidence::Evidence;
use crate::engine::Tally;
use crate::study::{interval95, mean};

/// One day under one policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Turns that began.
    pub turns: u64,
    /// Turns with a complete answer within their patience.
    pub succeeded: u64,
    /// `succeeded / turns`.
    pub success_rate: f64,
    /// Money spent on tiers after a model's first.
    pub fallback_spend_usd: f64,
    /// Money spent.
    pub total_spend_usd: f64,
    /// Calls made to providers.
    pub upstream_attempts: u64,
    /// Median time to the complete answer; a turn that failed counts with its whole patience.
    pub p50_ms: u64,
    /// The same for 99 of 100 turns.
    pub p99_ms: u64,
}

/// A figure over many guesses at a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean guess.
    pub mean: f64,
    /// Where the figure of the day itself lies, with 95 of 100: an interval of prediction, not of the mean.
    pub interval95: [f64; 2],
}

/// The figures of [`Figures`] over many guesses at one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "a field of the same name in `Figures` says what it is")]
pub struct Estimates {
    pub success_rate: Estimate,
    pub fallback_spend_usd: Estimate,
    pub total_spend_usd: Estimate,
    pub upstream_attempts: Estimate,
    pub p50_ms: Estimate,
    pub p99_ms: Estimate,
}

impl Figures {
    /// Of a simulated day.
    pub fn of(tally: &Tally) -> Self {
        let mut latencies: Vec<Duration> = tally.turns.iter().map(|turn| turn.end.since(turn.at)).collect();
        let money = (tally.fallback_spend, tally.total_spend);
        Self::new(&mut latencies, tally.succeeded(), money, tally.attempts)
    }

    /// Of the day on record.
    pub(super) fn recorded(evidence: &Evidence, crowd: &Crowd) -> Self {
        let mut succeeded = 0;
        let turns = evidence.turns.iter().zip(&crowd.patience).map(|(turn, patience)| {
            let took = turn.answered().map(|at| at.since(turn.at())).filter(|took| took <= patience);
            succeeded += u64::from(took.is_some());
            took.unwrap_or(*patience)
        });
        let mut latencies: Vec<Duration> = turns.collect();
        let total = evidence.calls.iter().map(|call| call.spend).sum();
        let fallback = evidence.calls.iter().filter(|call| call.fallback).map(|call| call.spend).sum();
        Self::new(&mut latencies, succeeded, (fallback, total), evidence.calls.len() as u64)
    }

    fn new(latencies: &mut [Duration], succeeded: u64, (fallback, total): (Usd, Usd), attempts: u64) -> Self {
        latencies.sort_unstable();
        let turns = latencies.len() as u64;
        let quantile = |share: f64| {
            let rank = (share * turns as f64) as usize;
            latencies.get(rank.min(latencies.len().saturating_sub(1))).map_or(0, |length| length.as_millis())
        };
        Self {
            turns,
            succeeded,
            success_rate: if turns == 0 { 0.0 } else { succeeded as f64 / turns as f64 },
            fallback_spend_usd: fallback.as_f64(),
            total_spend_usd: total.as_f64(),
            upstream_attempts: attempts,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
        }
    }
}

impl Estimate {
    /// Of one figure over guesses.
    pub fn new(values: &[f64]) -> Self {
        Self { mean: mean(values), interval95: prediction95(values) }
    }

    /// Whether a day's figure is what was predicted. Rounding does not count.
    pub fn covers(&self, truth: f64) -> bool {
        let [low, high] = self.interval95;
        let slack = 1e-9 * truth.abs();
        low - slack <= truth && truth <= high + slack
    }
}

impl Estimates {
    /// Of days that are guesses at one.
    pub fn new(days: &[Figures]) -> Self {
        let over = |figure: fn(&Figures) -> f64| Estimate::new(&days.iter().map(figure).collect::<Vec<f64>>());
        let mut success_rate = over(|day| day.success_rate);
        success_rate.interval95 = success_rate.interval95.map(|edge| edge.min(1.0));
        Self {
            success_rate,
            fallback_spend_usd: over(|day| day.fallback_spend_usd),
            total_spend_usd: over(|day| day.total_spend_usd),
            upstream_attempts: over(|day| day.upstream_attempts as f64),
            p50_ms: over(|day| day.p50_ms as f64),
            p99_ms: over(|day| day.p99_ms as f64),
        }
    }

    /// Whether the guesses agree well enough for their mean to be a forecast: one that can be expected to be right within
    /// 1 point of success and 10 % of the fallback's spend. The mean of a normal variable is off by 0.41 of the half
    /// width of its 95 % interval.
    pub fn agree(&self) -> bool {
        const MEAN_ERROR: f64 = 0.41;
        let off = |estimate: &Estimate| MEAN_ERROR * (estimate.interval95[1] - estimate.interval95[0]) / 2.0;
        off(&self.success_rate) <= 0.01 && off(&self.fallback_spend_usd) <= 0.1 * self.fallback_spend_usd.mean
    }
}

/// Where one more value of the same kind lies with 95 of 100. By ranks, of which there are enough from 39 values on; with
/// fewer also by Student's t, whichever is wider. None of our figures is ever negative.
fn prediction95(values: &[f64]) -> [f64; 2] {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (Some(least), Some(most)) = (sorted.first().copied(), sorted.last().copied()) else { return [0.0, 0.0] };
    let count = sorted.len() as f64;
    let ranked = |share: f64| {
        // One more value falls below the k-th of n with probability k / (n + 1).
        let rank = share * (count + 1.0) - 1.0;
        let below = (rank.max(0.0) as usize).min(sorted.len() - 1);
        let above = (below + 1).min(sorted.len() - 1);
        let part = (rank - below as f64).clamp(0.0, 1.0);
        sorted[below] + (sorted[above] - sorted[below]) * part
    };
    if 0.025 * (count + 1.0) >= 1.0 {
        return [ranked(0.025), ranked(0.975)];
    }
    let [low, high] = interval95(values);
    let (centre, half) = ((low + high) / 2.0, (high - low) / 2.0 * (count + 1.0).sqrt());
    [(centre - half).min(least).max(0.0), (centre + half).max(most)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::whatif::chance::Chance;

    #[test]
    fn one_more_value_falls_in_with_95_of_100() {
        for count in [5, 20, 39, 100] {
            let mut chance = Chance::new(7, count);
            let mut covered = 0;
            for _ in 0..2000 {
                let values: Vec<f64> = (0..count).map(|_| 50.0 + chance.normal()).collect();
                covered += u32::from(Estimate::new(&values).covers(50.0 + chance.normal()));
            }
            assert!((1860..1970).contains(&covered), "{covered} of 2000 with {count} values");
        }
    }

    #[test]
    fn guesses_agree_where_their_mean_is_a_forecast() {
        let guesses = |success: f64, spend: f64| {
            let day = |side: f64| Figures {
                success_rate: 0.9 + side * success,
                fallback_spend_usd: 100.0 * (1.0 + side * spend),
                ..Figures::default()
            };
            Estimates::new(&[day(1.0), day(-1.0)].repeat(50))
        };
        assert!(guesses(0.02, 0.2).agree());
        assert!(!guesses(0.03, 0.2).agree(), "1.2 points of success");
        assert!(!guesses(0.02, 0.3).agree(), "12 % of the spend");
        assert!(Estimates::new(&[Figures::default(); 40]).agree(), "nothing spent, and all agree");
    }

    #[test]
    fn days_that_are_all_the_same_are_sure() {
        let day = Figures { turns: 10, succeeded: 10, success_rate: 1.0, ..Figures::default() };
        let estimates = Estimates::new(&[day; 40]);
        assert_eq!(estimates.success_rate, Estimate { mean: 1.0, interval95: [1.0, 1.0] });
        assert!(estimates.success_rate.covers(1.0) && !estimates.success_rate.covers(0.9));
    }
}
