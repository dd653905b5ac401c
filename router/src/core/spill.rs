//! When a cheap attempt is worth making although a dearer tier would answer at once.
//!
//! In units of the dearer answer's price, an attempt is worth the money it is likely to save, `1 - failure`, less what
//! its quota unit would save later, less the price of the delay it brings. The quota unit's shadow price is nothing
//! while the day's quota covers the forecast demand, and nearly a whole answer once it does not: then cheap quota is
//! spent where it succeeds, and an overload is left to the dearer tier but for a few probes.

use serde::{Deserialize, Serialize};

use super::knobs::Knobs;
use super::time::{Duration, Timestamp};

/// Share of the next tier's price that one unit of starved quota is worth, beside the chance that it succeeds.
const STARVED_SHARE: f64 = 0.95;
/// How far back a demand forecast looks: 60 slots of 10 s.
const SLOT: Duration = Duration::from_secs(10);
const SLOTS: usize = 60;
/// Shortest span that a rate is taken over, so that the first arrivals are not a flood.
const SPAN_MIN: f64 = 60.0;

/// A rate over the trailing ten minutes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Trailing {
    /// What was counted in the running slot, and when it ends; [`Timestamp::ZERO`] before the first.
    newest: u64,
    ends: Timestamp,
    /// The slots before it, each at its number's remainder, and their sum.
    slots: Vec<u64>,
    sum: u64,
    /// When counting began.
    since: Timestamp,
}

/// What the spill rule weighs. Shares are of the next tier's price.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scales {
    /// Estimated probability that a cheap attempt fails.
    pub(super) failure: f64,
    /// Shadow price of the quota unit that it takes.
    pub(super) quota: f64,
    /// The delay that it brings, on average, in seconds.
    pub(super) delay: f64,
    /// How much dearer money is than its face value, because a day budget runs short: the controller's lambda.
    pub(super) dearth: f64,
}

impl Trailing {
    /// Counts `amount` at `now`.
    #[inline]
    pub(super) fn add(&mut self, now: Timestamp, amount: u64) {
        self.advance(now);
        self.newest += amount;
    }

    /// Amount per second.
    pub(super) fn per_second(&mut self, now: Timestamp) -> f64 {
        if self.ends == Timestamp::ZERO {
            return 0.0;
        }
        self.advance(now);
        // The newest slot has only begun.
        let whole = (SLOTS - 1) as f64 * SLOT.as_secs_f64();
        let begun = (now.as_nanos() % SLOT.as_nanos()) as f64 / 1e9;
        let span = now.since(self.since).as_secs_f64().min(whole + begun).max(SPAN_MIN);
        (self.sum + self.newest) as f64 / span
    }

    #[inline]
    fn advance(&mut self, now: Timestamp) {
        if now >= self.ends {
            self.begin_slot(now);
        }
    }

    /// Puts the running slot behind the others, and empties all up to that of `now`.
    #[cold]
    fn begin_slot(&mut self, now: Timestamp) {
        if self.ends == Timestamp::ZERO {
            self.since = now;
        }
        let place = |slot: u64| (slot % SLOTS as u64) as usize;
        let slot = now.as_nanos() / SLOT.as_nanos();
        let begins = self.ends.as_nanos() / SLOT.as_nanos();
        self.slots[place(begins.saturating_sub(1))] = self.newest;
        self.sum += std::mem::take(&mut self.newest);
        for step in 0..(slot + 1 - begins).min(SLOTS as u64) {
            self.sum -= std::mem::take(&mut self.slots[place(slot - step)]);
        }
        self.ends = Timestamp::from_nanos((slot + 1).saturating_mul(SLOT.as_nanos()));
    }
}

impl Default for Trailing {
    fn default() -> Self {
        Self { newest: 0, ends: Timestamp::ZERO, slots: vec![0; SLOTS], sum: 0, since: Timestamp::ZERO }
    }
}

impl Scales {
    /// Nothing was weighed.
    pub(super) const NONE: Self = Self { failure: 0.0, quota: 0.0, delay: 0.0, dearth: 0.0 };

    /// Whether the cheap attempt is worth making.
    pub(super) fn worth(&self, knobs: &Knobs) -> bool {
        let price = 1.0 + self.dearth;
        let delay = knobs.spend_latency_weight * self.delay;
        (1.0 - self.failure) * price > self.quota * price + delay
    }
}

/// Shadow price of one unit of a starved quota.
pub(super) fn starved_price(failure_in_health: f64) -> f64 {
    STARVED_SHARE * (1.0 - failure_in_health)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn a_rate_forgets_what_is_older_than_ten_minutes() {
        let mut trailing = Trailing::default();
        for second in 0..600 {
            trailing.add(at(second), 2);
        }
        assert!((trailing.per_second(at(600)) - 2.0).abs() < 0.05);
        assert!(trailing.per_second(at(900)) < 1.1);
        assert!(trailing.per_second(at(2000)).abs() < 1e-12);
    }

    #[test]
    fn the_first_arrivals_are_not_a_flood() {
        let mut trailing = Trailing::default();
        trailing.add(at(1000), 6);
        assert!((trailing.per_second(at(1001)) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn overload_is_tried_while_quota_is_plenty_and_left_alone_when_it_is_not() {
        let knobs = Knobs::default();
        let delay = 2.0;
        let overloaded = Scales { failure: 0.9, quota: 0.0, delay, dearth: 0.0 };
        assert!(overloaded.worth(&knobs));
        let starved = Scales { quota: starved_price(0.01), ..overloaded };
        assert!(!starved.worth(&knobs));
        assert!(Scales { failure: 0.01, ..starved }.worth(&knobs), "in health a starved quota is still used");
        let hopeless = Scales { failure: 0.995, ..overloaded };
        assert!(!hopeless.worth(&knobs));
        assert!(Scales { dearth: 2.0, ..hopeless }.worth(&knobs), "scarce money makes patience cheap");
    }
}
