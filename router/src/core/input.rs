//! What happens to the router.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::facts::{Ending, Facts, Usage};
use super::ids::{AttemptId, ClientId, KeyId, ModelId, ProjectId, ProviderId, RequestId, TierId, TurnId, UpstreamId};
use super::settings::{Priority, Settings};
use super::time::{Timestamp, WallTime};
use super::units::{Tokens, Usd};
use super::unrecorded::AtRisk;

/// One thing that happened. Every input is handled completely, at one time, before the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// These settings are in force from now on: every id that the router names from here is theirs. The first input
    /// of every run.
    Configured {
        /// The full settings.
        settings: Arc<Settings>,
    },
    /// The wall clock says this. The second input of every run, and again when it drifts from the router's time by
    /// more than 50 ms.
    Clock {
        /// The wall time of this very moment.
        wall: WallTime,
    },
    /// A client asks.
    Arrived(Arrived),
    /// The provider accepted the attempt; of a stream the first good chunk is there.
    FirstByte {
        /// Which.
        attempt: AttemptId,
    },
    /// An attempt is over: exactly one for each dispatched attempt, abandoned ones included. Others are ignored.
    Finished(Finished),
    /// The client went away.
    Cancelled {
        /// Which call it had made.
        request: RequestId,
    },
    /// An operator acts.
    Operator {
        /// What is to be done.
        action: Action,
        /// Who said so.
        author: Arc<str>,
    },
    /// The time of the last [`WakeAt`](super::Output::WakeAt) has come.
    Woke,
}

/// A client's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrived {
    /// Its number, higher than every one before.
    pub request: RequestId,
    /// The intention behind it.
    pub turn: TurnId,
    /// Who asks.
    pub client: ClientId,
    /// For what.
    pub model: ModelId,
    /// Which kind of call.
    pub endpoint: Endpoint,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// How large, as far as can be told beforehand.
    pub tokens: TokenEstimate,
    /// Who gives way first.
    pub priority: Priority,
    /// When the client stops caring. On a stream it governs the first byte only.
    pub deadline: Timestamp,
}

/// How large a call is, as far as can be told beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenEstimate {
    /// The prompt, estimated.
    pub input: Tokens,
    /// The longest answer that the client allows, if it says.
    pub output_max: Option<Tokens>,
}

/// Which kind of call. Overload touches only [`Endpoint::Generate`]; quotas of the others are their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Endpoint {
    /// Chat and completions.
    #[default]
    Generate,
    /// Embeddings.
    Embed,
    /// Counting tokens.
    Count,
}

impl Endpoint {
    /// Every kind of call.
    pub const ALL: [Self; 3] = [Self::Generate, Self::Embed, Self::Count];
}

/// The end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// Which.
    pub attempt: AttemptId,
    /// How.
    pub ending: Ending,
    /// What the answer said.
    pub facts: Facts,
    /// What the provider counted, where it said.
    pub usage: Option<Usage>,
}

/// What an operator may do. Times are absolute; `until: Timestamp::MAX` is "until told otherwise".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Forget a cooldown now; an authoritative one too: the operator knows better.
    ClearCooldown {
        /// Where.
        scope: Scope,
    },
    /// No new attempts on this key; those in flight go on.
    DrainKey {
        /// Which.
        key: KeyId,
        /// Until when.
        until: Timestamp,
    },
    /// This key is dead.
    RetireKey {
        /// Which.
        key: KeyId,
    },
    /// Take a drained or retired key back.
    RestoreKey {
        /// Which.
        key: KeyId,
    },
    /// So much of the day quota is used, whatever we counted.
    SetUsed {
        /// Whose quota.
        project: ProjectId,
        /// For which upstream model.
        upstream: UpstreamId,
        /// Requests of this quota day.
        requests: u32,
    },
    /// Do not use this tier.
    SkipTier {
        /// Which.
        tier: TierId,
        /// Until when.
        until: Timestamp,
    },
    /// Use only this tier, for every model that has it.
    PinTier {
        /// Which.
        tier: TierId,
        /// Until when.
        until: Timestamp,
    },
    /// Undo `SkipTier`, `PinTier` and `StopPaid` for this tier.
    FreeTier {
        /// Which.
        tier: TierId,
    },
    /// Use no tier that costs money.
    StopPaid {
        /// Until when; [`Timestamp::ZERO`] lifts it.
        until: Timestamp,
    },
    /// Replace a tier's day budget until the next reset.
    SetBudget {
        /// Which.
        tier: TierId,
        /// The budget of the running quota day.
        budget: Usd,
    },
    /// Replace a client's day budget until the next reset.
    SetClientBudget {
        /// Which.
        client: ClientId,
        /// The budget of the running quota day.
        budget: Usd,
    },
    /// Believe the configured limits again.
    ForgetLimits {
        /// Whose quota.
        project: ProjectId,
        /// For which upstream model.
        upstream: UpstreamId,
    },
    /// The power failed before all that was written was on disk: what may have been at stake counts as used. A driver
    /// says so when it starts, before anything else.
    PowerLost {
        /// The share of every limit that was allowed to be at stake.
        at_risk: AtRisk,
        /// The last moment on record; [`Timestamp::ZERO`] when there is none.
        since: Timestamp,
    },
}

/// What a cooldown covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// One credential, whatever model.
    Key(KeyId),
    /// One quota bucket for one upstream model.
    ProjectModel(ProjectId, UpstreamId),
    /// One upstream model, whatever key.
    Upstream(UpstreamId),
    /// Everything at one provider.
    Provider(ProviderId),
}
