//! What an attempt's end looks like to LiteLLM: which exception it becomes, with which status, and who is told.

use serde::{Deserialize, Serialize};
use stormproof_router::core::{Cause, Duration, Ending, Facts, Finished, ProviderId, Reason, Transport};

use super::text::Size;

/// The exceptions that its rules tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// 400.
    BadRequest,
    /// 400: the prompt does not fit.
    ContextWindow,
    /// 400: a safety rule.
    ContentPolicy,
    /// 401.
    Authentication,
    /// 404.
    NotFound,
    /// 408, and every timeout.
    Timeout,
    /// 429.
    RateLimit,
    /// 500, and Gemini's 503.
    InternalServer,
    /// 502.
    BadGateway,
    /// 503.
    ServiceUnavailable,
    /// No HTTP answer. Never benches anything.
    Connection,
    /// Any other status, and what reaches the rules unmapped.
    Other,
    /// No deployment is left: `RouterRateLimitError`.
    NoDeployments,
}

/// An exception on its way through retries and fallbacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// The status that the exception carries.
    pub(super) status: u16,
    /// The `Retry-After` header, as far as LiteLLM sees one.
    pub(super) retry_after: Option<Duration>,
    /// Whether the exception carries an answer's headers.
    pub(super) has_headers: bool,
    /// Whether its text contains "No deployments available", which makes it a 429 whatever it was.
    pub(super) mentions_no_deployments: bool,
    /// The text that the client is shown.
    pub(super) text: Size,
}

/// What a provider's error text is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub(super) provider: ProviderId,
    /// The status on the wire; 0 where there was no answer.
    pub(super) status: u16,
    pub(super) kind: Kind,
    /// Whether the exception is shown as it came, unmapped.
    pub(super) raw: bool,
}

/// Which mapping an attempt's error goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) provider: ProviderId,
    pub(super) openai_like: bool,
    pub(super) raw: bool,
}

impl Kind {
    /// The exception's class name.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequestError",
            Self::ContextWindow => "ContextWindowExceededError",
            Self::ContentPolicy => "ContentPolicyViolationError",
            Self::Authentication => "AuthenticationError",
            Self::NotFound => "NotFoundError",
            Self::Timeout => "Timeout",
            Self::RateLimit => "RateLimitError",
            Self::InternalServer => "InternalServerError",
            Self::BadGateway => "BadGatewayError",
            Self::ServiceUnavailable => "ServiceUnavailableError",
            Self::Connection => "APIConnectionError",
            Self::Other => "APIError",
            Self::NoDeployments => "RouterRateLimitError",
        }
    }

    /// The same in our vocabulary, for notes and refusals.
    pub(super) const fn cause(self, status: u16) -> Cause {
        match self {
            Self::BadRequest => Cause::Request,
            Self::ContextWindow => Cause::ContextWindow,
            Self::ContentPolicy => Cause::ContentBlocked,
            Self::Authentication => Cause::Auth,
            Self::NotFound => Cause::NotFound,
            Self::RateLimit => Cause::RateUnknown,
            Self::Timeout | Self::BadGateway | Self::Connection => Cause::Server,
            Self::InternalServer | Self::ServiceUnavailable | Self::Other | Self::NoDeployments => match status {
                429 => Cause::RateUnknown,
                503 | 529 => Cause::Overload,
                401 | 403 => Cause::Auth,
                404 => Cause::NotFound,
                400..=499 => Cause::Request,
                _ => Cause::Server,
            },
        }
    }
}

/// The exception that an attempt's end raises, with the facts that its text is made of. `None` for a success, and for
/// an attempt that nobody wanted any more.
pub(super) fn failure_of(finished: &Finished, mapping: Mapping) -> Option<(Failure, Origin)> {
    let facts = &finished.facts;
    let (wire_status, has_headers) = match finished.ending {
        Ending::Status(status) if status < 400 => return None,
        Ending::Transport(Transport::Abandoned) => return None,
        Ending::Status(status) => (status, true),
        Ending::Transport(Transport::ErrorEvent) => (facts.inner_status.unwrap_or(500), true),
        Ending::Transport(Transport::Malformed) => (500, true),
        Ending::Transport(transport) => return Some(without_answer(transport, mapping)),
    };
    let (kind, status) = map(wire_status, facts, mapping);
    let origin = Origin { provider: mapping.provider, status: wire_status, kind, raw: mapping.raw };
    // Google sends no such header; its hint in the body is not read.
    let retry_after = facts.retry_after.filter(|_| mapping.openai_like);
    Some((Failure { retry_after, has_headers, ..Failure::new(kind, status) }, origin))
}

/// A failure without an HTTP answer.
fn without_answer(transport: Transport, mapping: Mapping) -> (Failure, Origin) {
    let (kind, status) = match transport {
        Transport::FirstByteTimeout | Transport::IdleTimeout | Transport::TotalTimeout => (Kind::Timeout, 408),
        Transport::Connect
        | Transport::Reset
        | Transport::ReusedConnection
        | Transport::Cut
        | Transport::ErrorEvent
        | Transport::Malformed
        | Transport::Abandoned => (Kind::Connection, 500),
    };
    (Failure::new(kind, status), Origin { provider: mapping.provider, status: 0, kind, raw: mapping.raw })
}

/// Exception and status for an HTTP error.
fn map(status: u16, facts: &Facts, mapping: Mapping) -> (Kind, u16) {
    if mapping.raw {
        return (Kind::Other, status);
    }
    match (status, facts.reason) {
        (400, Some(Reason::ContextWindow)) => (Kind::ContextWindow, 400),
        (400, Some(Reason::ContentBlocked)) => (Kind::ContentPolicy, 400),
        (400, Some(Reason::KeyInvalid)) => (Kind::Authentication, 401),
        (400, _) => (Kind::BadRequest, 400),
        (401, _) => (Kind::Authentication, 401),
        (404, _) => (Kind::NotFound, 404),
        (408, _) => (Kind::Timeout, 408),
        (429, _) => (Kind::RateLimit, 429),
        (500, _) => (Kind::InternalServer, 500),
        (502, _) => (Kind::BadGateway, 502),
        (503, _) if mapping.openai_like => (Kind::ServiceUnavailable, 503),
        (503, _) => (Kind::InternalServer, 500),
        (other, _) => (Kind::Other, other),
    }
}

impl Failure {
    /// An exception without headers and with its text still to come.
    pub(super) const fn new(kind: Kind, status: u16) -> Self {
        Self { kind, status, retry_after: None, has_headers: false, mentions_no_deployments: false, text: Size::EMPTY }
    }

    /// The status that the client sees.
    pub(super) const fn client_status(&self) -> u16 {
        if self.mentions_no_deployments { 429 } else { self.status }
    }
}
