//! Who sits on the bench: the counters of one deployment, the rules that cool it, and for how long.
//!
//! Nothing ever probes a cooled deployment, no success clears it, and there is no half-open state: a cooldown is a key
//! with a time to live.

use serde::{Deserialize, Serialize};
use stormproof_router::core::{Cause, Duration, Timestamp};

use super::failure::{Failure, Kind};
use super::options::Options;
use super::text::{Received, Size};
use super::version::{Lengths, Recooling, Rules, Window};

/// Length of the counters' window.
const WINDOW: Duration = Duration::from_secs(60);
/// What a cooldown time of zero falls back to where zero means "not set".
const DEFAULT_COOLDOWN: Duration = Duration::from_secs(5);
/// Failed requests in the window that cool a deployment when none succeeded, the only one of a group included.
const ALL_FAILED: u32 = 1000;
/// `allowed_fails` where nothing sets it.
const DEFAULT_ALLOWED_FAILS: u32 = 3;

/// The state of one deployment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Bench {
    fails: Counter,
    successes: Counter,
    /// The count of the `allowed_fails` rule, which lives as long as a cooldown.
    allowed: Counter,
    cooldown: Option<Cooldown>,
}

/// A count with a time to live.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Counter {
    count: u32,
    until: Timestamp,
}

/// Why and how long a deployment is not used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cooldown {
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    /// The length that it was given, which is what error texts speak of.
    pub(super) cooldown_time: Duration,
    pub(super) status: u16,
    pub(super) cause: Cause,
    pub(super) received: Received,
    /// Size of its entry in the list.
    pub(super) size: Size,
}

/// What the rules want to know about the group of a deployment that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    /// Whether it is the only deployment under its model's name.
    pub(super) single: bool,
    /// Whether a fallback is configured for the group.
    pub(super) has_fallbacks: bool,
    /// The deployment's own `cooldown_time`.
    pub(super) own_time: Option<Duration>,
}

impl Bench {
    /// The cooldown in force at `now`.
    pub(super) fn cooldown(&self, now: Timestamp) -> Option<&Cooldown> {
        self.cooldown.as_ref().filter(|cooldown| now < cooldown.until)
    }

    /// Whether it may be selected.
    pub(super) fn healthy(&self, now: Timestamp) -> bool {
        self.cooldown(now).is_none()
    }

    /// Counts a success.
    pub(super) fn succeed(&mut self, now: Timestamp, rules: &Rules) {
        self.successes.increment(now, WINDOW, rules.window);
    }

    /// Counts a failure and says how long the deployment is to be cooled for it, if it is.
    pub(super) fn fail(
        &mut self,
        now: Timestamp,
        failure: &Failure,
        around: Surroundings,
        options: &Options,
        rules: &Rules,
    ) -> Option<Duration> {
        self.fails.increment(now, WINDOW, rules.window);
        if options.disable_cooldowns || !eligible(failure, rules) {
            return None;
        }
        let time = cooldown_time(failure, around.own_time, options, rules)?;
        self.should_cool(now, failure, around, time, options, rules).then_some(time)
    }

    /// Puts it on the bench. Does nothing where a cooldown in force stands.
    pub(super) fn cool(&mut self, cooldown: Cooldown, rules: &Rules) -> bool {
        let stands = rules.recooling == Recooling::Keeps && !self.healthy(cooldown.since);
        if !stands {
            self.cooldown = Some(cooldown);
        }
        !stands
    }

    /// Takes it off the bench: its entry was pushed out of the store.
    pub(super) fn forget(&mut self) {
        self.cooldown = None;
    }

    fn should_cool(
        &mut self,
        now: Timestamp,
        failure: &Failure,
        around: Surroundings,
        time: Duration,
        options: &Options,
        rules: &Rules,
    ) -> bool {
        let unset = |fails: &u32| *fails == DEFAULT_ALLOWED_FAILS && !rules.allowed_fails_3_is_set;
        let allowed_fails = options.allowed_fails.filter(|fails| !unset(fails));
        if options.allowed_fails_policy.is_some() || allowed_fails.is_some() {
            if around.single && !around.has_fallbacks && rules.allowed_fails_spares_single {
                return false;
            }
            let policy = options.allowed_fails_policy.as_ref().filter(|_| rules.policy_kinds.contains(&failure.kind));
            let by_kind = policy.and_then(|policy| policy.allowed(failure.kind));
            let by_kind = by_kind.filter(|fails| *fails > 0 || rules.allows_zero_fails);
            self.allowed.increment(now, time, Window::Sliding);
            return self.allowed.count > by_kind.or(allowed_fails).unwrap_or(DEFAULT_ALLOWED_FAILS);
        }
        let (fails, successes) = (self.fails.value(now), self.successes.value(now));
        let total = fails + successes;
        if failure.status == 429 && !around.single {
            return true;
        }
        if successes == 0 && total >= ALL_FAILED {
            return true;
        }
        if fails > successes && total >= rules.percent_minimum && !around.single {
            return true;
        }
        !repeatable(failure.status) && (!around.single || rules.cools_single.contains(&failure.status))
    }
}

impl Counter {
    fn increment(&mut self, now: Timestamp, ttl: Duration, window: Window) {
        let expired = now >= self.until;
        if expired {
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        match window {
            Window::Sliding => self.until = now + ttl,
            Window::Fixed if expired => self.until = now + ttl,
            Window::Fixed => {}
        }
    }

    fn value(&self, now: Timestamp) -> u32 {
        if now < self.until { self.count } else { 0 }
    }
}

/// Whether the rules look at this failure at all.
fn eligible(failure: &Failure, rules: &Rules) -> bool {
    match (failure.kind, failure.status) {
        (Kind::Connection, _) => false,
        (_, 400..=499) => rules.eligible_4xx.contains(&failure.status),
        (_, _) => true,
    }
}

/// Whether a repeat may help against this status.
pub(super) fn repeatable(status: u16) -> bool {
    matches!(status, 408 | 409 | 429 | 500..)
}

/// How long this failure cools. `None`: not at all.
fn cooldown_time(failure: &Failure, own_time: Option<Duration>, options: &Options, rules: &Rules) -> Option<Duration> {
    let router = options.cooldown_time.0;
    let set = |time: &Duration| *time > Duration::ZERO;
    match rules.lengths {
        // An answer's headers hide the deployment's own time even when they say nothing of a retry.
        Lengths::HeadersHideOwn => {
            let time = if failure.has_headers { failure.retry_after } else { own_time };
            time.filter(set).or(Some(router).filter(set)).or(Some(DEFAULT_COOLDOWN))
        }
        Lengths::OwnFirst => Some(own_time.or(failure.retry_after).unwrap_or(router)).filter(set),
    }
}
