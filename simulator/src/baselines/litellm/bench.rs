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

#[cfg(test)]
mod tests {
    use super::super::options::AllowedFailsPolicy;
    use super::super::version::Version;
    use super::*;

    const GROUP: Surroundings = Surroundings { single: false, has_fallbacks: false, own_time: None };
    const ALONE: Surroundings = Surroundings { single: true, ..GROUP };
    const VERSIONS: [Version; 2] = [Version::V1_66, Version::V1_109];

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    fn failure(status: u16) -> Failure {
        let kind = match status {
            400 => Kind::BadRequest,
            401 => Kind::Authentication,
            429 => Kind::RateLimit,
            500 => Kind::InternalServer,
            _ => Kind::Other,
        };
        Failure { has_headers: true, ..Failure::new(kind, status) }
    }

    /// The cooldown that follows `fails` failures after `successes` successes, one a second.
    fn after(version: Version, successes: u64, fails: u64, status: u16, around: Surroundings) -> Option<Duration> {
        let (options, rules) = (Options::new(version), version.rules());
        let mut bench = Bench::default();
        (0..successes).for_each(|second| bench.succeed(at(second), rules));
        let cooled = (0..fails).map(|n| bench.fail(at(successes + n), &failure(status), around, &options, rules));
        cooled.last().flatten()
    }

    #[test]
    fn a_majority_of_failures_cools_and_the_later_version_wants_five_calls() {
        for successes in 0..8 {
            assert!(after(Version::V1_66, successes, successes, 500, GROUP).is_none());
            assert!(after(Version::V1_66, successes, successes + 1, 500, GROUP).is_some());
            let fails = (successes + 1).max(5 - successes.min(5));
            assert!(after(Version::V1_109, successes, fails - 1, 500, GROUP).is_none());
            assert!(after(Version::V1_109, successes, fails, 500, GROUP).is_some());
        }
    }

    #[test]
    fn a_429_cools_at_once_unless_the_deployment_is_alone() {
        for version in VERSIONS {
            assert!(after(version, 50, 1, 429, GROUP).is_some());
            assert!(after(version, 0, 20, 429, ALONE).is_none());
            assert!(after(version, 0, 20, 500, ALONE).is_none());
        }
    }

    #[test]
    fn statuses_that_repeating_does_not_cure() {
        for version in VERSIONS {
            for status in [401, 404] {
                assert!(after(version, 50, 1, status, ALONE).is_some());
            }
            for status in [400, 403, 413, 422] {
                assert!(after(version, 0, 20, status, GROUP).is_none());
            }
            assert_eq!(after(version, 50, 1, 402, GROUP).is_some(), version == Version::V1_109);
            assert!(after(version, 0, 20, 402, ALONE).is_none());
        }
    }

    #[test]
    fn a_thousand_failures_in_the_window_cool_even_a_lonely_deployment() {
        for version in VERSIONS {
            let (options, rules) = (Options::new(version), version.rules());
            let mut bench = Bench::default();
            let mut fails = (0..1000).map(|_| bench.fail(at(0), &failure(500), ALONE, &options, rules));
            assert!(fails.by_ref().take(999).all(|cooled| cooled.is_none()));
            assert!(fails.next().flatten().is_some());
        }
    }

    #[test]
    fn failures_without_an_answer_never_cool() {
        for version in VERSIONS {
            let mut bench = Bench::default();
            let lost = Failure::new(Kind::Connection, 500);
            let cooled = |_| bench.fail(at(0), &lost, GROUP, &Options::new(version), version.rules());
            assert!((0..20).map(cooled).all(|cooled| cooled.is_none()));
        }
    }

    /// A success every 50 s: the early version counts them all, the later one those of its fixed minute.
    #[test]
    fn the_window_slides_or_it_does_not() {
        for (version, kept) in [(Version::V1_66, 10), (Version::V1_109, 2)] {
            let mut counter = Counter::default();
            (0..10).for_each(|n| counter.increment(at(n * 50), WINDOW, version.rules().window));
            assert_eq!(counter.value(at(451)), kept, "{version:?}");
            assert_eq!(counter.value(at(600)), 0);
        }
    }

    #[test]
    fn failing_again_while_cooling_extends_or_it_does_not() {
        let cooldown = |since| Cooldown {
            since: at(since),
            until: at(since + 100),
            cooldown_time: Duration::from_secs(100),
            status: 500,
            cause: Cause::Server,
            received: Received::Selection(Size::EMPTY),
            size: Size::EMPTY,
        };
        for (version, until) in [(Version::V1_66, 150), (Version::V1_109, 100)] {
            let mut bench = Bench::default();
            bench.cool(cooldown(0), version.rules());
            bench.cool(cooldown(50), version.rules());
            assert!(!bench.healthy(at(until - 1)) && bench.healthy(at(until)), "{version:?}");
            bench.cool(cooldown(200), version.rules());
            assert!(!bench.healthy(at(299)), "an ended cooldown is no obstacle to a new one");
        }
    }

    #[test]
    fn how_long_depends_on_who_spoke() {
        let secs = Duration::from_secs;
        let own = |own_time| Surroundings { own_time, ..GROUP };
        let told = |after| Failure { retry_after: after, ..failure(429) };
        let silent = Failure { has_headers: false, ..failure(500) };
        let time = |version: Version, failure: Failure, own_time, router| {
            let options = Options { cooldown_time: Duration::from_secs(router).into(), ..Options::new(version) };
            Bench::default().fail(
                at(0),
                &failure,
                own(own_time),
                &options,
                &Rules { percent_minimum: 1, ..*version.rules() },
            )
        };
        let early = |failure, own_time, router| time(Version::V1_66, failure, own_time, router);
        assert_eq!(early(told(Some(secs(7))), Some(secs(3)), 9), Some(secs(7)));
        assert_eq!(early(told(None), Some(secs(3)), 9), Some(secs(9)), "headers hide the deployment's own time");
        assert_eq!(early(silent, Some(secs(3)), 9), Some(secs(3)));
        assert_eq!(early(told(Some(secs(0))), None, 9), Some(secs(9)));
        assert_eq!(early(told(None), None, 0), Some(secs(5)), "zero is not set");
        let late = |failure, own_time, router| time(Version::V1_109, failure, own_time, router);
        assert_eq!(late(told(Some(secs(7))), Some(secs(3)), 9), Some(secs(3)));
        assert_eq!(late(told(Some(secs(7))), None, 9), Some(secs(7)));
        assert_eq!(late(told(None), None, 9), Some(secs(9)));
        assert_eq!(late(told(None), None, 0), None, "zero is none");
    }

    #[test]
    fn allowed_fails_replaces_the_other_rules() {
        let cools_at = |version: Version, options: &Options, status| {
            let mut bench = Bench::default();
            (1..=10).find(|n| bench.fail(at(*n), &failure(status), GROUP, options, version.rules()).is_some())
        };
        for version in VERSIONS {
            let base = Options { cooldown_time: Duration::from_secs(60).into(), ..Options::new(version) };
            let five = Options { allowed_fails: Some(5), ..base.clone() };
            assert_eq!(cools_at(version, &five, 429), Some(6));
            let three = Options { allowed_fails: Some(3), ..base.clone() };
            let seen = if version == Version::V1_66 { 1 } else { 4 };
            assert_eq!(cools_at(version, &three, 429), Some(seen), "{version:?}: is 3 the default or a choice?");
            let policy = AllowedFailsPolicy {
                rate_limit_error_allowed_fails: Some(0),
                internal_server_error_allowed_fails: Some(7),
                ..AllowedFailsPolicy::default()
            };
            let policy = Options { allowed_fails_policy: Some(policy), allowed_fails: Some(1), ..base };
            let (rate, server) = if version == Version::V1_66 { (2, 2) } else { (1, 8) };
            assert_eq!(cools_at(version, &policy, 429), Some(rate), "{version:?}: a policy of 0");
            assert_eq!(cools_at(version, &policy, 500), Some(server), "{version:?}: a type that 1.66 never reads");
        }
    }

    #[test]
    fn cooldowns_can_be_switched_off() {
        for version in VERSIONS {
            let options = Options { disable_cooldowns: true, ..Options::new(version) };
            assert_eq!(Bench::default().fail(at(0), &failure(429), GROUP, &options, version.rules()), None);
        }
    }
}
