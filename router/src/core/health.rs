//! How likely a call to one upstream model is to fail, pooled over all its keys.
//!
//! The estimate is a fading count of failures and accepted calls beside a healthy prior. A call counts as accepted
//! when its first byte comes or when it has lived for `health.accept_after`: failures come back within a second or
//! two, answers after twenty, so counting at the end would see only failures at the start of every window.
//!
//! Above `trip.ratio` the model is *degraded*: never closed, but throttled to a multiple of its nominal capacity, and
//! requests no longer wait for it. Every attempt that the throttle lets through is a real request and a probe at once.

use serde::{Deserialize, Serialize};

use super::fade::{Faded, left};
use super::knobs::Knobs;
use super::time::{Duration, Timestamp};

/// Failure probability that the prior assumes, and the slow estimate starts with.
const HEALTHY_FAILURE: f64 = 0.01;
/// Weight of that start in the slow estimate, in calls.
const HEALTHY_WEIGHT: f64 = 100.0;
/// Calls after which the slow estimate forgets half.
const HEALTHY_MEMORY: f64 = 2000.0;

/// The health of one upstream model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Health {
    failures: f64,
    accepted: f64,
    faded: Faded,
    /// The last two failures, newer first: what the trip rule looks at beside the ratio.
    last_failures: [Option<Timestamp>; 2],
    degraded: bool,
    calm: Calm,
    /// Mean time that a failing call takes, in seconds, of whole nanoseconds.
    failure_delay: f64,
    /// The throttle of degraded mode.
    throttle: Throttle,
    /// Single probes, where the throttle lets nothing through or an attempt is not worth its quota.
    pub(super) probing: Probing,
}

/// Failures and calls outside degraded mode: what is normal here.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Calm {
    failures: f64,
    calls: f64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Throttle {
    tokens: f64,
    at: Timestamp,
}

/// When the next single probe may go.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Probing {
    next: Timestamp,
    in_flight: u32,
    failed_in_row: u16,
    expires: Timestamp,
}

impl Health {
    /// Estimated probability that a call fails.
    pub(super) fn failure(&self, now: Timestamp, knobs: &Knobs) -> f64 {
        let left = self.faded.left(now, knobs.health_half_life);
        let (failures, accepted) = (self.failures * left, self.accepted * left);
        let prior = knobs.health_prior_weight;
        (failures + prior * HEALTHY_FAILURE) / (failures + accepted + prior)
    }

    /// No less than [`Health::failure`], and quicker: without time's pull towards the prior.
    pub(super) fn failure_at_most(&self, knobs: &Knobs) -> f64 {
        let prior = knobs.health_prior_weight;
        let undecayed = (self.failures + prior * HEALTHY_FAILURE) / (self.failures + self.accepted + prior);
        undecayed.max(HEALTHY_FAILURE)
    }

    /// Probability of failure in health, learnt slowly outside degraded mode.
    pub(super) fn failure_in_health(&self) -> f64 {
        self.calm.failures / self.calm.calls
    }

    /// Mean time that a failing call takes, in seconds.
    pub(super) fn failure_delay(&self) -> f64 {
        self.failure_delay
    }

    /// Whether the model is degraded.
    pub(super) fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// A call failed; `weight` is how much of it is the model's doing.
    pub(super) fn failed(&mut self, now: Timestamp, weight: f64, after: Duration, knobs: &Knobs) {
        self.fade(now, knobs);
        self.failures += weight;
        if weight >= 0.5 {
            self.last_failures = [Some(now), self.last_failures[0]];
        }
        self.failure_delay += 0.1 * (after.as_secs_f64() - self.failure_delay);
        self.note_calm(weight, weight);
    }

    /// A call was accepted.
    pub(super) fn accept(&mut self, now: Timestamp, knobs: &Knobs) {
        self.fade(now, knobs);
        self.accepted += 1.0;
        self.note_calm(0.0, 1.0);
    }

    /// A call that was accepted at `then` failed after all: its acceptance is taken back.
    pub(super) fn retract(&mut self, now: Timestamp, then: Timestamp, knobs: &Knobs) {
        self.fade(now, knobs);
        self.accepted = (self.accepted - left(then, now, knobs.health_half_life)).max(0.0);
    }

    /// Applies the trip rule; says when the mode changed.
    pub(super) fn review(&mut self, now: Timestamp, knobs: &Knobs) -> Option<bool> {
        let recent = |failure: &Option<Timestamp>| failure.is_some_and(|at| now.since(at) <= knobs.scope_window);
        // Checked first: it spares the healthy majority of calls the estimate.
        let degraded = self.last_failures.iter().all(recent) && self.failure(now, knobs) > knobs.trip_ratio;
        (degraded != self.degraded).then(|| {
            self.degraded = degraded;
            degraded
        })
    }

    /// When degraded mode lets the next attempt through: now or before, later, or [`Timestamp::MAX`] with a share of
    /// nothing. `nominal` is the model's capacity per second, `burst` how much may come at once.
    pub(super) fn throttled_until(&mut self, now: Timestamp, nominal: f64, knobs: &Knobs) -> Timestamp {
        let rate = nominal * knobs.degraded_share;
        if rate <= 0.0 {
            return Timestamp::MAX;
        }
        let burst = (rate * knobs.probe_interval.as_secs_f64()).max(1.0);
        let refill = now.since(self.throttle.at).as_secs_f64() * rate;
        self.throttle = Throttle { tokens: (self.throttle.tokens + refill).min(burst), at: now };
        if self.throttle.tokens >= 1.0 {
            return now;
        }
        // Rounded up: a wake-up a nanosecond early would find nothing and ask again.
        now + Duration::from_secs_f64((1.0 - self.throttle.tokens) / rate) + Duration::from_nanos(1)
    }

    /// An attempt went through the throttle.
    pub(super) fn take(&mut self) {
        self.throttle.tokens -= 1.0;
    }

    fn note_calm(&mut self, failures: f64, calls: f64) {
        if self.degraded {
            return;
        }
        self.calm.failures += failures;
        self.calm.calls += calls;
        if self.calm.calls > HEALTHY_MEMORY {
            self.calm = Calm { failures: self.calm.failures / 2.0, calls: self.calm.calls / 2.0 };
        }
    }

    /// From now on the estimate forgets as `new` says.
    pub(super) fn change_pace(&mut self, now: Timestamp, old: &Knobs, new: &Knobs) {
        if old.health_half_life != new.health_half_life {
            self.fade(now, old);
            self.faded.begin(now, new.health_half_life);
        }
    }

    fn fade(&mut self, now: Timestamp, knobs: &Knobs) {
        let left = self.faded.fade(now, knobs.health_half_life);
        self.failures *= left;
        self.accepted *= left;
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            failures: 0.0,
            accepted: 0.0,
            faded: Faded::default(),
            last_failures: [None; 2],
            degraded: false,
            calm: Calm { failures: HEALTHY_FAILURE * HEALTHY_WEIGHT, calls: HEALTHY_WEIGHT },
            failure_delay: 1.5,
            throttle: Throttle { tokens: 0.0, at: Timestamp::ZERO },
            probing: Probing::default(),
        }
    }
}

impl Probing {
    /// When the next probe may go: now or before means at once.
    pub(super) fn due(&self, now: Timestamp, knobs: &Knobs) -> Timestamp {
        if self.in_flight >= knobs.probe_concurrent && now < self.expires {
            return self.expires;
        }
        self.next
    }

    /// A probe is on its way; its slot is lost after `expires` if nobody gives it back.
    pub(super) fn sent(&mut self, now: Timestamp, expires: Timestamp, knobs: &Knobs) {
        if now >= self.expires {
            self.in_flight = 0;
        }
        self.in_flight += 1;
        self.expires = self.expires.max(expires);
        self.next = now + knobs.probe_interval;
    }

    /// A probe was accepted: the next may follow at once.
    pub(super) fn accepted(&mut self, now: Timestamp) {
        self.returned();
        self.failed_in_row = 0;
        self.next = now;
    }

    /// A probe failed: while it is quota that is short, every failure doubles the wait for the next one.
    pub(super) fn failed(&mut self, now: Timestamp, knobs: &Knobs) {
        self.returned();
        let growth = libm::pow(knobs.cooldown_growth, f64::from(self.failed_in_row));
        self.failed_in_row = self.failed_in_row.saturating_add(1);
        self.next = now + knobs.probe_interval.mul_f64(growth).min(knobs.cooldown_max.max(knobs.probe_interval));
    }

    /// A probe ended and said nothing.
    pub(super) fn returned(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    const QUICK: Duration = Duration::from_secs(1);

    #[test]
    fn one_failure_in_a_quiet_pool_does_not_trip_and_two_do() {
        let knobs = Knobs::default();
        let mut health = Health::default();
        health.failed(at(10), 1.0, QUICK, &knobs);
        assert_eq!(health.review(at(10), &knobs), None);
        health.failed(at(12), 1.0, QUICK, &knobs);
        assert_eq!(health.review(at(12), &knobs), Some(true));
        assert!(health.failure(at(12), &knobs) > 0.7);
    }

    #[test]
    fn accepted_calls_and_time_both_heal() {
        let knobs = Knobs::default();
        let mut health = Health::default();
        health.failed(at(0), 1.0, QUICK, &knobs);
        health.failed(at(0), 1.0, QUICK, &knobs);
        health.review(at(0), &knobs);
        let mut answered = health.clone();
        for _ in 0..12 {
            answered.accept(at(4), &knobs);
        }
        assert_eq!(answered.review(at(4), &knobs), Some(false));
        assert_eq!(health.review(at(50), &knobs), None, "two half-lives leave 0.5 of 1.1 samples");
        assert_eq!(health.review(at(61), &knobs), Some(false), "no failure inside the window any more");
    }

    #[test]
    fn no_age_makes_failure_likelier_than_its_bound() {
        let knobs = Knobs::default();
        let mut health = Health::default();
        let holds = |health: &Health| {
            (0..200).all(|age| health.failure(at(10 + age), &knobs) <= health.failure_at_most(&knobs))
        };
        assert!(holds(&health), "of a model that nobody has called");
        (0..20).for_each(|_| health.accept(at(10), &knobs));
        assert!(holds(&health) && health.failure_at_most(&knobs) < 0.05, "of one in health, and the bound is of use");
        (0..20).for_each(|_| health.failed(at(10), 1.0, QUICK, &knobs));
        assert!(holds(&health) && health.failure_at_most(&knobs) < 0.55, "of one that fails half the time");
    }

    #[test]
    fn an_acceptance_that_turns_out_wrong_leaves_no_trace() {
        let knobs = Knobs::default();
        let mut health = Health::default();
        health.accept(at(4), &knobs);
        health.retract(at(20), at(4), &knobs);
        assert!(health.accepted.abs() < 1e-12);
    }

    #[test]
    fn a_new_half_life_holds_from_now_on() {
        let old = Knobs { health_half_life: Duration::from_secs(64), ..Knobs::default() };
        let new = Knobs { health_half_life: Duration::from_secs(100), ..Knobs::default() };
        let mut health = Health::default();
        (0..8).for_each(|_| health.accept(at(64), &old));
        health.change_pace(at(128), &old, &new);
        health.accept(at(328), &new);
        assert!((health.accepted - 2.0).abs() < 0.05, "{}", health.accepted);
        health.retract(at(428), at(328), &new);
        assert!((health.accepted - 0.5).abs() < 0.05, "{}", health.accepted);
    }

    #[test]
    fn the_throttle_lets_its_share_through_and_a_share_of_nothing_nothing() {
        let knobs = Knobs { degraded_share: 0.5, ..Knobs::default() };
        let mut health = Health::default();
        let mut passed = 0;
        for second in 1..=120 {
            while health.throttled_until(at(second), 1.0, &knobs) <= at(second) {
                health.take();
                passed += 1;
            }
        }
        assert!((60..=63).contains(&passed), "{passed} of 120 at half a call per second");
        let none = Knobs { degraded_share: 0.0, ..knobs };
        assert_eq!(health.throttled_until(at(200), 1.0, &none), Timestamp::MAX);
    }

    #[test]
    fn failing_probes_grow_rare_and_a_good_one_brings_the_next_at_once() {
        let knobs = Knobs::default();
        let mut probing = Probing::default();
        assert!(probing.due(at(1), &knobs) <= at(1));
        probing.sent(at(1), at(100), &knobs);
        assert_eq!(probing.due(at(2), &knobs), at(100), "one at once");
        probing.failed(at(2), &knobs);
        assert_eq!(probing.due(at(2), &knobs), at(7));
        probing.sent(at(7), at(100), &knobs);
        probing.failed(at(8), &knobs);
        assert_eq!(probing.due(at(8), &knobs), at(18));
        probing.sent(at(18), at(100), &knobs);
        probing.accepted(at(22));
        assert_eq!(probing.due(at(22), &knobs), at(22));
    }
}
