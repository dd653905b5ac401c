//! What differs between the emulated versions, as data: every rule that changed is a field here, and the rest of the
//! emulation asks the table and never the version.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::failure::Kind;

/// An emulated release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Version {
    /// 1.66.2 of April 2025.
    #[default]
    #[serde(rename = "litellm-1.66")]
    V1_66,
    /// 1.109.1 of November 2026.
    #[serde(rename = "litellm-1.109")]
    V1_109,
}

/// The rules of one version.
#[derive(Debug)]
pub(super) struct Rules {
    /// The name under which decisions are recorded.
    pub(super) policy: &'static str,
    /// 4xx statuses that may cool a deployment; every other status outside 400..500 may, too.
    pub(super) eligible_4xx: &'static [u16],
    /// Failures and successes that the percent rule needs before it applies.
    pub(super) percent_minimum: u32,
    /// What a counter's 60 s run from.
    pub(super) window: Window,
    /// What a failure does to a deployment that is cooling already.
    pub(super) recooling: Recooling,
    /// Cooldowns kept at once; one more pushes out the earliest-ending.
    pub(super) cooldowns_max: Option<usize>,
    /// Which of the configured and announced lengths a cooldown has.
    pub(super) lengths: Lengths,
    /// Statuses that cool even the only deployment of a group.
    pub(super) cools_single: &'static [u16],
    /// Whether `allowed_fails: 3` counts as set; it cannot be told from the default otherwise.
    pub(super) allowed_fails_3_is_set: bool,
    /// Whether an allowed number of 0 in `allowed_fails_policy` is obeyed; it falls through to `allowed_fails` otherwise.
    pub(super) allows_zero_fails: bool,
    /// Whether the `allowed_fails` rule spares the only deployment of a group that has no fallback.
    pub(super) allowed_fails_spares_single: bool,
    /// Exceptions that the `..._policy` options are read for.
    pub(super) policy_kinds: &'static [Kind],
    /// Which failures of a request reach the cooldown rules.
    pub(super) counted: Counted,
    /// Whether "No deployments available" is itself held against the deployment that the request tried last.
    pub(super) selection_failure_counts: bool,
    /// Whether the upstream call of a Gemini stream is made after retries and fallbacks are over.
    pub(super) lazy_streams: bool,
    /// Whether a retry policy is asked before the test that ends retries early, and so overrules it.
    pub(super) retry_policy_first: bool,
    /// Whether that test is repeated after every retry.
    pub(super) retests: bool,
    /// Refusals that may be retried although repeating does not cure them; all of them when `None`.
    pub(super) retried_refusals: Option<&'static [u16]>,
    /// Statuses that end retries in a group of one deployment.
    pub(super) hopeless_alone: &'static [u16],
    /// Whether a retry avoids deployments that answered with a status that repeating does not cure.
    pub(super) avoids_refusers: bool,
    /// How long to sleep before a retry.
    pub(super) backoff: Backoff,
    /// Whether it sleeps once more after the last failed retry.
    pub(super) sleeps_after_last: bool,
    /// Which exception's headers set the sleep, and which exception a group raises in the end.
    pub(super) raised: Raised,
    /// Whether a malformed request goes to the fallbacks, too.
    pub(super) bad_request_falls_back: bool,
    /// Whether groups that were tried already are skipped as fallback targets.
    pub(super) skips_visited: bool,
    /// Whether `order` is obeyed without pre-call checks, with a fail-over to the next order before the fallbacks.
    pub(super) orders: bool,
    /// Whether the error text quotes the whole cooldown list; ids only otherwise.
    pub(super) quotes_cooldowns: bool,
    /// Bytes of a fallback's error text that are appended to the original's.
    pub(super) appended_max: u64,
    /// Whether "No deployments available" carries a `retry-after` (the configured cooldown time, not what is left).
    pub(super) tells_retry_after: bool,
    /// Whether a stream's error before its first chunk keeps the provider's status; it is mapped otherwise.
    pub(super) raw_stream_status: bool,
    /// HTTP calls that the SDK underneath makes for one attempt at an OpenAI-like provider.
    pub(super) sdk_calls: u32,
}

/// What a counter's 60 s run from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// From its last increment: under traffic it never resets.
    Sliding,
    /// From its first.
    Fixed,
}

/// What a failure does to a deployment that is cooling already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recooling {
    /// Its time begins anew.
    Extends,
    /// The first end stands.
    Keeps,
}

/// Which of the configured and announced lengths a cooldown has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lengths {
    /// `Retry-After`, else the router's, where there was an answer; else the deployment's own, else the router's. Zero
    /// is "not set".
    HeadersHideOwn,
    /// The deployment's own, else `Retry-After`, else the router's. Zero is "no cooldown".
    OwnFirst,
}

/// Which failures of a request reach the cooldown rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// Every failed attempt.
    Every,
    /// The first failed attempt in each group; none of a Gemini stream that fails before its first chunk.
    FirstInGroup,
}

/// How the pause before a retry grows: 0.5 s doubled for each retry done, 8 s at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backoff {
    /// Multiplied by U(0, 0.75), never below `retry_after`.
    Scaled,
    /// Never below `retry_after` (itself capped at 8 s), plus U(0, 0.75) s; a header's value gets the same added.
    Added,
}

/// Which of a group's exceptions counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raised {
    /// The first attempt's.
    First,
    /// The last attempt's.
    Last,
}

impl Version {
    /// The version's rules.
    pub(super) const fn rules(self) -> &'static Rules {
        match self {
            Self::V1_66 => &V1_66,
            Self::V1_109 => &V1_109,
        }
    }
}

static V1_66: Rules = Rules {
    policy: "litellm-1.66/1",
    eligible_4xx: &[401, 404, 408, 429],
    percent_minimum: 1,
    window: Window::Sliding,
    recooling: Recooling::Extends,
    cooldowns_max: None,
    lengths: Lengths::HeadersHideOwn,
    cools_single: &[401, 404],
    allowed_fails_3_is_set: false,
    allows_zero_fails: false,
    allowed_fails_spares_single: false,
    policy_kinds: &[Kind::BadRequest, Kind::Authentication, Kind::Timeout, Kind::RateLimit, Kind::ContentPolicy],
    counted: Counted::Every,
    selection_failure_counts: true,
    lazy_streams: true,
    retry_policy_first: false,
    retests: false,
    retried_refusals: None,
    hopeless_alone: &[401],
    avoids_refusers: false,
    backoff: Backoff::Scaled,
    sleeps_after_last: true,
    raised: Raised::First,
    bad_request_falls_back: true,
    skips_visited: false,
    orders: false,
    quotes_cooldowns: true,
    appended_max: u64::MAX,
    tells_retry_after: false,
    raw_stream_status: false,
    sdk_calls: 3,
};

static V1_109: Rules = Rules {
    policy: "litellm-1.109/1",
    eligible_4xx: &[401, 402, 404, 408, 429],
    percent_minimum: 5,
    window: Window::Fixed,
    recooling: Recooling::Keeps,
    cooldowns_max: Some(200),
    lengths: Lengths::OwnFirst,
    cools_single: &[401, 404],
    allowed_fails_3_is_set: true,
    allows_zero_fails: true,
    allowed_fails_spares_single: true,
    policy_kinds: &[
        Kind::BadRequest,
        Kind::Authentication,
        Kind::Timeout,
        Kind::RateLimit,
        Kind::ContentPolicy,
        Kind::NotFound,
        Kind::InternalServer,
        Kind::ServiceUnavailable,
        Kind::BadGateway,
    ],
    counted: Counted::FirstInGroup,
    selection_failure_counts: false,
    lazy_streams: false,
    retry_policy_first: true,
    retests: true,
    retried_refusals: Some(&[401, 403]),
    hopeless_alone: &[401, 403],
    avoids_refusers: true,
    backoff: Backoff::Added,
    sleeps_after_last: false,
    raised: Raised::Last,
    bad_request_falls_back: false,
    skips_visited: true,
    orders: true,
    quotes_cooldowns: false,
    appended_max: 2_000,
    tells_retry_after: true,
    raw_stream_status: true,
    sdk_calls: 1,
};
