//! What came back from a provider, reduced to what a decision may rest on.
//!
//! Bodies stay outside: `wire` reads them once and reports facts. Which class a set of facts belongs to is decided in
//! one place, `classify`.

use serde::{Deserialize, Serialize};

use super::time::Duration;
use super::units::Tokens;

/// How one upstream call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The provider answered with this HTTP status and the answer was read to its end. An error that arrives inside a
    /// 200 stream ends the attempt with [`Transport::ErrorEvent`] instead.
    Status(u16),
    /// The call did not end with a complete HTTP answer.
    Transport(Transport),
}

/// Why a call has no complete HTTP answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// No connection: refused, unreachable, TLS or name failure, or the `connect` timeout. The call did not run.
    Connect,
    /// The connection died before the answer's head. The call may have run.
    Reset,
    /// A reused connection died before the answer's head: most likely closed while idle. The call may have run.
    ReusedConnection,
    /// The `first_byte` timeout.
    FirstByteTimeout,
    /// The `idle` timeout between two chunks.
    IdleTimeout,
    /// The `total` timeout.
    TotalTimeout,
    /// The answer broke off after its first byte, or ended without saying that it was finished.
    Cut,
    /// An error event inside a stream that began with 200; the facts say which.
    ErrorEvent,
    /// A 200 whose body is not what the dialect promises.
    Malformed,
    /// The driver was told to abandon the attempt, or its client went away.
    Abandoned,
}

/// One quota that an error body names as violated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Violation {
    /// Not named.
    #[default]
    None,
    /// Named without a value.
    Unvalued,
    /// Named with its limit (`quotaValue`). Zero means that this project has no such quota at all.
    Limit(u32),
}

/// The set of quotas that one error body names, by what they count and over which window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violations {
    /// Requests per minute.
    pub requests_minute: Violation,
    /// Requests per day.
    pub requests_day: Violation,
    /// Input tokens per minute.
    pub tokens_minute: Violation,
    /// Input tokens per day.
    pub tokens_day: Violation,
}

/// A reason that an error body gives beside its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The model is overloaded or in high demand, whatever the status says.
    Overloaded,
    /// The key is not valid, not found or expired.
    KeyInvalid,
    /// The key's consumer has been suspended.
    KeySuspended,
    /// The key was reported as leaked.
    KeyLeaked,
    /// This project has no free tier for this model (`limit: 0`).
    NoFreeTier,
    /// This model is closed to new users, and this project is one.
    ClosedToNewUsers,
    /// The API is disabled in the key's project, or its billing is.
    ServiceDisabled,
    /// The account has no money left (`insufficient_quota`).
    OutOfFunds,
    /// The model does not exist here, or not for this method.
    ModelNotFound,
    /// The provider does not serve this location: a fact about our address.
    LocationUnsupported,
    /// Our address is throttled, whichever key calls.
    AddressThrottled,
    /// The prompt is longer than the model's window.
    ContextWindow,
    /// Prompt or answer blocked by a safety rule.
    ContentBlocked,
    /// The credential itself was missing or of the wrong kind: the driver's fault.
    Credential,
}

/// What an answer's body and headers say. All zero for a plain success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The status inside the body, where it differs from the HTTP status (an error event in a 200 stream).
    pub inner_status: Option<u16>,
    /// The quotas named as violated.
    pub violations: Violations,
    /// `RetryInfo.retryDelay`, else `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The reason beside the status.
    pub reason: Option<Reason>,
}

/// What the provider counted for one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens, cached ones included.
    pub input: Tokens,
    /// The cached part of `input`.
    pub cached: Tokens,
    /// Answer and thinking tokens.
    pub output: Tokens,
}

impl Violations {
    /// Whether any quota is named.
    pub fn any(&self) -> bool {
        [self.requests_minute, self.requests_day, self.tokens_minute, self.tokens_day]
            .iter()
            .any(|violation| *violation != Violation::None)
    }

    /// Whether a day quota is named.
    pub fn any_day(&self) -> bool {
        self.requests_day != Violation::None || self.tokens_day != Violation::None
    }

    /// Whether a minute quota is named.
    pub fn any_minute(&self) -> bool {
        self.requests_minute != Violation::None || self.tokens_minute != Violation::None
    }
}
