//! What the router wants done, and why.

use serde::{Deserialize, Serialize};

use super::ids::{AttemptId, DeploymentId, RequestId, TierId};
use super::settings::Timeouts;
use super::time::{Duration, Timestamp};
use super::units::Usd;

/// One thing to do. Drain all of them after every input, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Output {
    /// Call this deployment for this request.
    Dispatch(Dispatch),
    /// From here the client sees this attempt: no retry after it.
    Relay {
        /// For whom.
        request: RequestId,
        /// Which.
        attempt: AttemptId,
    },
    /// Nobody waits for this attempt any more: stop it, then report it as finished.
    Abandon {
        /// Which.
        attempt: AttemptId,
    },
    /// The request's one outcome.
    Close {
        /// Which.
        request: RequestId,
        /// What the client is told.
        verdict: Verdict,
    },
    /// Hand in [`Input::Woke`](super::Input::Woke) at this time. Replaces every earlier wish;
    /// [`Timestamp::MAX`] withdraws it.
    WakeAt(Timestamp),
}

/// One upstream call to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// For whom.
    pub request: RequestId,
    /// The name under which its end is reported.
    pub attempt: AttemptId,
    /// Where to.
    pub deployment: DeploymentId,
    /// Limits on time, already cut to the request's deadline.
    pub timeouts: Timeouts,
    /// Why now, and why there.
    pub why: Why,
}

/// Why an attempt was started, with the numbers it rests on. Shares are parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// The request's first attempt, on the model's first usable tier, at once.
    First,
    /// Its turn came in the waiting list.
    Waited {
        /// How long it had waited for this attempt.
        waited: Duration,
    },
    /// An earlier attempt failed.
    Retry {
        /// Attempts before this one.
        before: u16,
    },
    /// A dearer tier was worth it.
    Spill {
        /// What spoke for it.
        cause: Spill,
        /// Estimated probability that a cheap attempt fails, in parts per million.
        failure_ppm: u32,
        /// Price of the tier that was passed over's quota unit, relative to this tier's answer, in parts per million.
        quota_ppm: u32,
    },
    /// A degraded or half-open scope is being tried with this request.
    Probe {
        /// Estimated probability of failure, in parts per million.
        failure_ppm: u32,
    },
    /// Too little was usable, so soft cooldowns were ignored.
    Panic {
        /// Share of deployments that was usable, in parts per million.
        usable_ppm: u32,
    },
}

/// What made a request leave a cheaper tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Spill {
    /// Nothing in the cheaper tier could start before the latest safe start.
    Exhausted,
    /// The wait was, or was predicted to be, longer than the patience.
    Patience,
    /// The cheaper tier's model is degraded and an attempt there is not worth its quota.
    Degraded,
    /// The cheaper tier's quota is worth more to later requests.
    Starved,
    /// An operator said so.
    Operator,
    /// The cheaper tier does not serve such a request.
    Unsuited,
}

/// How a request ended for its client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What became of it.
    pub outcome: Outcome,
    /// The HTTP status that the client sees (0 when it had gone).
    pub status: u16,
    /// True remaining time until a repeat makes sense, uncapped; `None` when it never does, or when it was answered.
    pub retry_after: Option<Duration>,
    /// Attempts dispatched for it.
    pub attempts: u16,
    /// Money spent on it, all attempts together.
    pub spend: Usd,
    /// Why nothing else was tried: one entry a tier of the model. Empty when answered.
    pub causes: Box<[TierCause]>,
    /// What a baseline's client sees beside the status; `None` for our router.
    pub foreign: Option<Foreign>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// A complete answer.
    Answered,
    /// The deadline came first.
    Deadline,
    /// No start before the latest safe start existed, or the client's own rate or budget forbade one.
    Refused,
    /// The provider's verdict on the request itself (400, 413, safety) was passed on, or all retries failed.
    Failed,
    /// The answer broke off after the client had seen its beginning.
    Cut,
    /// The client went away.
    Cancelled,
}

/// What was wrong with one tier when a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierCause {
    /// Which.
    pub tier: TierId,
    /// Deployments that no hard fact forbade.
    pub usable: u32,
    /// Deployments in all.
    pub total: u32,
    /// The reason that binds the most of them.
    pub cause: Cause,
    /// When the first of them comes back, if it does.
    pub until: Option<Timestamp>,
}

/// Why a deployment, tier or request could not be served. The vocabulary of refusals, cooldowns and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// Nothing is wrong.
    None,
    /// Requests per minute are used up, by our count or the provider's word.
    RateMinute,
    /// Tokens per minute are used up.
    TokensMinute,
    /// The day quota is used up.
    RateDay,
    /// A 429 that does not say which quota.
    RateUnknown,
    /// The model is overloaded.
    Overload,
    /// Server or connection failures.
    Server,
    /// 401 or 403.
    Auth,
    /// The key, or its access to this model, is retired.
    Dead,
    /// The model is not served under this name.
    NotFound,
    /// The request itself is at fault.
    Request,
    /// The answer broke off.
    StreamCut,
    /// The tier's day budget is spent or reserved.
    Budget,
    /// The client's own rate.
    ClientRate,
    /// The client's own day budget.
    ClientBudget,
    /// The client may not ask for this model.
    ClientModel,
    /// The retry budget is used up.
    RetryBudget,
    /// The request's own attempts are used up.
    Attempts,
    /// An operator skipped, drained or stopped it.
    Operator,
    /// The prompt does not fit.
    ContextWindow,
    /// A safety rule blocked it.
    ContentBlocked,
    /// The provider throttles our address.
    Address,
    /// No start before the latest safe start.
    Deadline,
}

/// What a baseline's client sees: facts about texts that are rendered on request and never built in the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    /// An error event inside an HTTP 200 stream.
    pub error_in_stream: bool,
    /// Bytes of the error text that the original would have sent.
    pub text_bytes: u64,
}

impl Verdict {
    /// A verdict with nothing but an outcome and a status.
    pub fn new(outcome: Outcome, status: u16) -> Self {
        Self {
            outcome,
            status,
            retry_after: None,
            attempts: 0,
            spend: Usd::ZERO,
            causes: Box::default(),
            foreign: None,
        }
    }
}
