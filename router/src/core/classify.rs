//! The one place where the end of an attempt gets its meaning: outcome to class, class to scope, cooldown, health and
//! next step. Everything that the wire formats can say passes through [`classify`], so no path forgets a rule.
//!
//! Who is at fault decides what happens. An overload is the model's and cools nobody; a rate belongs to a project's
//! quota; a refused credential is the key's; a request that no key would serve goes back to whoever sent it.

use super::facts::{Ending, Facts, Reason, Transport, Violation, Violations};
use super::knobs::OverloadScope;
use super::output::Cause;
use super::time::Duration;

/// Longest `RetryInfo` that still speaks of a minute quota.
const MINUTE_QUOTA_DELAY_MAX: Duration = Duration::from_secs(300);
/// A refused credential, a missing model: long enough not to hammer, short enough to notice a repair.
const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// What the end of an attempt means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ruling {
    /// Its class; [`Cause::None`] is a good answer.
    pub(super) class: Cause,
    /// What it is held against.
    pub(super) scope: Held,
    /// How long that rests.
    pub(super) rest: Rest,
    /// Failures to add to the model's health estimate.
    pub(super) blame: f64,
    /// What the request does next.
    pub(super) next: Next,
    /// Whether the provider's quota was consumed.
    pub(super) quota: Quota,
    /// Whether somebody must look at it.
    pub(super) alert: bool,
}

/// What a failure is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Nothing lasting.
    Nothing,
    /// The credential.
    Key,
    /// The project's quota for this upstream model.
    ProjectModel,
    /// The upstream model.
    Model,
    /// Everything at the provider.
    Provider,
    /// The key or the model, whichever the evidence says.
    Inferred,
}

/// How long a scope rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Not at all.
    None,
    /// `cooldown.base`, growing.
    Soft,
    /// From this length on, doubling with each repeat.
    Growing(Duration),
    /// This long, then one probe.
    Fixed(Duration),
    /// As long as the provider says.
    Told(Duration),
    /// Until the minute window has room again.
    Window,
    /// Until the next quota-day reset, or this long if that is longer. With `contradicted`, the provider also named a
    /// short delay: one probe after it may overturn the day.
    Day {
        /// What the provider said beside.
        at_least: Option<Duration>,
        /// A short delay beside a day quota.
        contradicted: Option<Duration>,
    },
    /// Until an operator or a new configuration says otherwise.
    Retired,
}

/// What the request does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is answered.
    Done,
    /// The answer, though no success, is the client's.
    Return,
    /// Another model that the configuration names for this case, else as `Return`.
    Elsewhere,
    /// The next tier if there is one, else another key.
    OtherTier,
    /// Again after a back-off, on any key of the model or on another tier.
    BackOff,
    /// Again at once, on another key or project.
    OtherKey,
    /// The same, and it does not count as a retry: the request had no part in it.
    OtherKeyFree,
}

/// Whether a call consumed quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quota {
    /// It did, or may have.
    Charged,
    /// It did not.
    Refunded,
    /// As `rate.charge_errors` says.
    AsErrors,
}

impl Ruling {
    const ANSWERED: Self = Self {
        class: Cause::None,
        scope: Held::Nothing,
        rest: Rest::None,
        blame: 0.0,
        next: Next::Done,
        quota: Quota::Charged,
        alert: false,
    };

    const fn of(class: Cause, scope: Held, rest: Rest, next: Next) -> Self {
        Self { class, scope, rest, blame: 0.0, next, quota: Quota::Charged, alert: false }
    }

    const fn overload(scope: OverloadScope) -> Self {
        let (held, rest, blame) = match scope {
            OverloadScope::Model => (Held::Model, Rest::None, 1.0),
            OverloadScope::Key => (Held::Key, Rest::Soft, 0.0),
            OverloadScope::Infer => (Held::Inferred, Rest::Soft, 0.0),
        };
        Self { blame, quota: Quota::AsErrors, ..Self::of(Cause::Overload, held, rest, Next::BackOff) }
    }

    const fn server() -> Self {
        Self::of(Cause::Server, Held::Inferred, Rest::Soft, Next::BackOff)
    }

    const fn refused_key() -> Self {
        Self { alert: true, ..Self::of(Cause::Auth, Held::Key, Rest::Fixed(HOUR), Next::OtherKeyFree) }
    }

    const fn dead(scope: Held) -> Self {
        Self { alert: true, ..Self::of(Cause::Dead, scope, Rest::Retired, Next::OtherKeyFree) }
    }

    const fn request(class: Cause, next: Next) -> Self {
        Self::of(class, Held::Nothing, Rest::None, next)
    }

    const fn rate(class: Cause, rest: Rest) -> Self {
        Self { quota: Quota::Refunded, ..Self::of(class, Held::ProjectModel, rest, Next::OtherKey) }
    }
}

/// What the end of an attempt means. `scope_overload` is the knob: whom an overload is held against.
pub(super) fn classify(ending: Ending, facts: &Facts, scope_overload: OverloadScope) -> Ruling {
    match ending {
        Ending::Status(status) => classify_answer(facts.inner_status.unwrap_or(status), facts, scope_overload),
        Ending::Transport(Transport::ErrorEvent) => match facts.inner_status {
            Some(status) if status >= 300 => classify_answer(status, facts, scope_overload),
            Some(_) | None if says_why(facts) => classify_answer(500, facts, scope_overload),
            Some(_) | None => cut(),
        },
        // The call did not run, so it cost nothing.
        Ending::Transport(Transport::Connect) => Ruling { quota: Quota::Refunded, ..Ruling::server() },
        // A connection that was closed while idle says nothing about provider or key.
        Ending::Transport(Transport::ReusedConnection) => {
            Ruling::of(Cause::Server, Held::Nothing, Rest::None, Next::OtherKey)
        }
        Ending::Transport(
            Transport::Reset | Transport::FirstByteTimeout | Transport::TotalTimeout | Transport::Malformed,
        ) => Ruling::server(),
        Ending::Transport(Transport::Cut | Transport::IdleTimeout) => cut(),
        Ending::Transport(Transport::Abandoned) => Ruling::of(Cause::None, Held::Nothing, Rest::None, Next::BackOff),
    }
}

/// The answer broke off: the model's doing, and no reason to bench anybody.
const fn cut() -> Ruling {
    Ruling { blame: 1.0, ..Ruling::of(Cause::StreamCut, Held::Model, Rest::None, Next::BackOff) }
}

fn says_why(facts: &Facts) -> bool {
    facts.reason.is_some() || facts.violations.any()
}

/// A complete HTTP answer. The reason in the body wins over the status, named quotas over the delay beside them.
fn classify_answer(status: u16, facts: &Facts, scope_overload: OverloadScope) -> Ruling {
    match facts.reason {
        Some(Reason::Overloaded) => return Ruling::overload(scope_overload),
        Some(Reason::KeyInvalid | Reason::KeySuspended | Reason::KeyLeaked) => return Ruling::dead(Held::Key),
        Some(Reason::NoFreeTier) => return Ruling { quota: Quota::Refunded, ..Ruling::dead(Held::ProjectModel) },
        Some(Reason::ClosedToNewUsers) => return Ruling::dead(Held::ProjectModel),
        Some(Reason::ServiceDisabled | Reason::OutOfFunds | Reason::Credential) => return Ruling::refused_key(),
        Some(Reason::ModelNotFound) => return not_found(),
        Some(Reason::LocationUnsupported) => {
            let ruling = Ruling::of(Cause::Address, Held::Provider, Rest::Fixed(HOUR), Next::OtherKeyFree);
            return Ruling { alert: true, ..ruling };
        }
        Some(Reason::AddressThrottled) => {
            let rest = facts.retry_after.map_or(Rest::Fixed(MINUTE), Rest::Told);
            let ruling = Ruling::of(Cause::Address, Held::Provider, rest, Next::OtherKey);
            return Ruling { quota: Quota::Refunded, ..ruling };
        }
        Some(Reason::ContextWindow) => return Ruling::request(Cause::ContextWindow, Next::Elsewhere),
        Some(Reason::ContentBlocked) => return Ruling::request(Cause::ContentBlocked, Next::Elsewhere),
        None => {}
    }
    match status {
        200..=299 => Ruling::ANSWERED,
        429 => classify_rate(facts),
        401 | 403 => Ruling::refused_key(),
        404 => not_found(),
        503 | 529 => Ruling::overload(scope_overload),
        // 408 is the server's: it gave up waiting. 499 is what Google calls a call that was cancelled on its side.
        408 | 499 => Ruling::server(),
        400..=498 => Ruling::request(Cause::Request, Next::Return),
        // Other 5xx, and what no provider should send.
        _ => Ruling::server(),
    }
}

fn not_found() -> Ruling {
    Ruling { alert: true, ..Ruling::of(Cause::NotFound, Held::ProjectModel, Rest::Fixed(HOUR), Next::OtherTier) }
}

/// A 429. A named day quota wins over any delay (the delay beside it is 16 to 58 s although the quota comes back at
/// midnight); a limit of zero means that there is no such quota at all.
fn classify_rate(facts: &Facts) -> Ruling {
    let Violations { requests_minute, requests_day, tokens_minute, tokens_day } = facts.violations;
    let named = [requests_minute, requests_day, tokens_minute, tokens_day];
    if named.contains(&Violation::Limit(0)) {
        return Ruling { quota: Quota::Refunded, ..Ruling::dead(Held::ProjectModel) };
    }
    let short = facts.retry_after.filter(|delay| *delay <= MINUTE_QUOTA_DELAY_MAX);
    if facts.violations.any_day() {
        let at_least = facts.retry_after.filter(|delay| *delay > MINUTE_QUOTA_DELAY_MAX);
        return Ruling::rate(Cause::RateDay, Rest::Day { at_least, contradicted: short });
    }
    let class = if requests_minute == Violation::None && tokens_minute != Violation::None {
        Cause::TokensMinute
    } else {
        Cause::RateMinute
    };
    match (facts.retry_after, short) {
        (_, Some(delay)) => Ruling::rate(class, Rest::Told(delay)),
        (Some(delay), None) if !facts.violations.any_minute() => {
            Ruling::rate(Cause::RateDay, Rest::Day { at_least: Some(delay), contradicted: None })
        }
        (Some(delay), None) => Ruling::rate(class, Rest::Told(delay)),
        (None, None) if facts.violations.any_minute() => Ruling::rate(class, Rest::Window),
        (None, None) => {
            let rest = Rest::Growing(Duration::from_secs(5));
            let ruling = Ruling::of(Cause::RateUnknown, Held::Key, rest, Next::OtherKey);
            Ruling { blame: 0.25, quota: Quota::Refunded, ..ruling }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruling(status: u16, facts: Facts) -> Ruling {
        classify(Ending::Status(status), &facts, OverloadScope::Model)
    }

    fn because(reason: Reason) -> Facts {
        Facts { reason: Some(reason), ..Facts::default() }
    }

    fn violating(violations: Violations, retry_after: Option<u64>) -> Facts {
        Facts { violations, retry_after: retry_after.map(Duration::from_secs), ..Facts::default() }
    }

    /// The error table of Gemini and its relatives, row by row.
    #[test]
    fn every_known_answer_has_its_class_and_scope() {
        use Cause::{
            Address, Auth, ContentBlocked, ContextWindow, Dead, NotFound, Overload, RateUnknown, Request, Server,
        };
        let plain = Facts::default();
        let cases = [
            (200, plain, Cause::None, Held::Nothing),
            (503, plain, Overload, Held::Model),
            (529, plain, Overload, Held::Model),
            (429, because(Reason::Overloaded), Overload, Held::Model),
            (429, plain, RateUnknown, Held::Key),
            (500, plain, Server, Held::Inferred),
            (502, plain, Server, Held::Inferred),
            (504, plain, Server, Held::Inferred),
            (499, plain, Server, Held::Inferred),
            (400, because(Reason::KeyInvalid), Dead, Held::Key),
            (400, plain, Request, Held::Nothing),
            (413, plain, Request, Held::Nothing),
            (400, because(Reason::ContextWindow), ContextWindow, Held::Nothing),
            (200, because(Reason::ContentBlocked), ContentBlocked, Held::Nothing),
            (400, because(Reason::LocationUnsupported), Address, Held::Provider),
            (429, because(Reason::AddressThrottled), Address, Held::Provider),
            (403, because(Reason::KeySuspended), Dead, Held::Key),
            (403, because(Reason::KeyLeaked), Dead, Held::Key),
            (403, plain, Auth, Held::Key),
            (403, because(Reason::ServiceDisabled), Auth, Held::Key),
            (401, because(Reason::Credential), Auth, Held::Key),
            (429, because(Reason::OutOfFunds), Auth, Held::Key),
            (404, plain, NotFound, Held::ProjectModel),
            (404, because(Reason::ClosedToNewUsers), Dead, Held::ProjectModel),
            (429, because(Reason::NoFreeTier), Dead, Held::ProjectModel),
        ];
        for (status, facts, class, scope) in cases {
            let found = ruling(status, facts);
            assert_eq!((found.class, found.scope), (class, scope), "{status} {facts:?}");
        }
    }

    #[test]
    fn a_day_quota_wins_over_the_short_delay_beside_it() {
        let day = Violations { requests_day: Violation::Limit(25), ..Violations::default() };
        let found = ruling(429, violating(day, Some(46)));
        let contradicted = Some(Duration::from_secs(46));
        assert_eq!((found.class, found.rest), (Cause::RateDay, Rest::Day { at_least: None, contradicted }));
        let both = Violations { requests_minute: Violation::Limit(5), ..day };
        assert_eq!(ruling(429, violating(both, Some(46))).class, Cause::RateDay, "several violations are a set");
        let old = ruling(429, violating(day, None));
        assert_eq!(old.rest, Rest::Day { at_least: None, contradicted: None }, "as in April 2025, without RetryInfo");
    }

    #[test]
    fn a_delay_without_a_quota_says_which_window_it_means() {
        let none = Violations::default();
        assert_eq!(ruling(429, violating(none, Some(300))).class, Cause::RateMinute);
        let long = ruling(429, violating(none, Some(301)));
        let at_least = Some(Duration::from_secs(301));
        assert_eq!((long.class, long.rest), (Cause::RateDay, Rest::Day { at_least, contradicted: None }));
    }

    #[test]
    fn minute_quotas_are_told_apart() {
        let tokens = Violations { tokens_minute: Violation::Limit(250_000), ..Violations::default() };
        assert_eq!(ruling(429, violating(tokens, None)).class, Cause::TokensMinute);
        let requests = Violations { requests_minute: Violation::Unvalued, ..Violations::default() };
        let found = ruling(429, violating(requests, None));
        assert_eq!((found.class, found.rest, found.quota), (Cause::RateMinute, Rest::Window, Quota::Refunded));
    }

    #[test]
    fn a_limit_of_zero_is_no_quota_at_all() {
        let zero = Violations { requests_day: Violation::Limit(0), ..Violations::default() };
        let found = ruling(429, violating(zero, Some(33)));
        assert_eq!((found.class, found.scope, found.rest), (Cause::Dead, Held::ProjectModel, Rest::Retired));
    }

    #[test]
    fn an_error_inside_a_stream_is_what_it_says_and_a_cut_is_the_models() {
        let event = |inner_status, facts: Facts| {
            let facts = Facts { inner_status, ..facts };
            classify(Ending::Transport(Transport::ErrorEvent), &facts, OverloadScope::Model).class
        };
        assert_eq!(event(Some(503), Facts::default()), Cause::Overload);
        assert_eq!(event(Some(429), Facts::default()), Cause::RateUnknown);
        assert_eq!(event(None, because(Reason::Overloaded)), Cause::Overload);
        assert_eq!(event(None, Facts::default()), Cause::StreamCut);
        let cut = classify(Ending::Transport(Transport::Cut), &Facts::default(), OverloadScope::Model);
        assert_eq!((cut.class, cut.scope, cut.rest), (Cause::StreamCut, Held::Model, Rest::None));
    }

    #[test]
    fn an_overload_cools_a_key_only_where_the_settings_insist() {
        let plain = Facts::default();
        let of = |scope| classify(Ending::Status(503), &plain, scope);
        assert_eq!((of(OverloadScope::Model).scope, of(OverloadScope::Model).rest), (Held::Model, Rest::None));
        assert_eq!((of(OverloadScope::Key).scope, of(OverloadScope::Key).rest), (Held::Key, Rest::Soft));
        assert_eq!(of(OverloadScope::Infer).scope, Held::Inferred);
    }
}
