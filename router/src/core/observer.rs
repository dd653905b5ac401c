//! The full story, for whoever asks: what was seen, what it meant, what was passed over and why.
//!
//! A router tells its story only to an [`Observer`]. The live proxy and plain simulations pass `()`, so the hot path
//! and the log stay small; reports and `log explain` run again with one that listens.

use serde::{Deserialize, Serialize};

use super::ids::{AttemptId, ClientId, DeploymentId, RequestId, TierId, UpstreamId};
use super::input::Scope;
use super::output::{Cause, Spill};
use super::time::{Duration, Timestamp};
use super::unrecorded::PowerLoss;

/// Listens to a router's story.
pub trait Observer {
    /// Whether anything is listened to; a router need not prepare notes otherwise.
    const LISTENS: bool = true;

    /// One note, in the order of events.
    fn note(&mut self, now: Timestamp, note: Note);
}

impl Observer for () {
    const LISTENS: bool = false;

    fn note(&mut self, _now: Timestamp, _note: Note) {}
}

impl Observer for Vec<(Timestamp, Note)> {
    fn note(&mut self, now: Timestamp, note: Note) {
        self.push((now, note));
    }
}

/// One step of the story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Note {
    /// An attempt's end was classified.
    Classified {
        /// Whose.
        request: RequestId,
        /// Which.
        attempt: AttemptId,
        /// Where it had gone.
        deployment: DeploymentId,
        /// What it means.
        class: Cause,
        /// What it is held against.
        scope: Option<Scope>,
    },
    /// A scope is not used until a time.
    Cooled {
        /// What.
        scope: Scope,
        /// Why.
        cause: Cause,
        /// Until when; [`Timestamp::MAX`] for retired.
        until: Timestamp,
        /// Where the time comes from.
        provenance: Provenance,
    },
    /// A cooldown ended early.
    Cleared {
        /// What.
        scope: Scope,
    },
    /// A deployment was looked at for a request and passed over.
    Skipped {
        /// For whom.
        request: RequestId,
        /// Which.
        deployment: DeploymentId,
        /// Why.
        cause: Cause,
        /// Used and limit, where it is a matter of counting.
        count: Option<(u32, u32)>,
        /// When it comes back, if it does.
        until: Option<Timestamp>,
    },
    /// A request is queued.
    Waits {
        /// Which.
        request: RequestId,
        /// For which tier.
        tier: TierId,
        /// The first event that may free it.
        until: Timestamp,
        /// Its latest safe start.
        latest_start: Timestamp,
        /// Why it cannot start now.
        cause: Cause,
    },
    /// A request left a tier for a dearer one.
    Spilled {
        /// Which.
        request: RequestId,
        /// From.
        from: TierId,
        /// To.
        to: TierId,
        /// Why.
        cause: Spill,
    },
    /// An upstream model became degraded, or healthy again.
    Degraded {
        /// Which.
        upstream: UpstreamId,
        /// From now on.
        degraded: bool,
        /// Estimated probability of failure, in parts per million.
        failure_ppm: u32,
    },
    /// A limit was learnt from an error body.
    Learnt {
        /// Whose.
        scope: Scope,
        /// Which quota.
        cause: Cause,
        /// The new limit.
        limit: u32,
    },
    /// Retries are held back by the retry budget until a time.
    BackedOff {
        /// Which.
        request: RequestId,
        /// Until when.
        until: Timestamp,
        /// How long in all.
        delay: Duration,
    },
    /// Someone must look at this.
    Alert {
        /// What.
        scope: Scope,
        /// Why.
        cause: Cause,
    },
    /// The power failed before all was on disk: what may have been spent unseen counts as used.
    PowerLost {
        /// How much that is.
        loss: PowerLoss,
    },
    /// A client was turned away by its own limits.
    Limited {
        /// Who.
        client: ClientId,
        /// By which.
        cause: Cause,
    },
}

/// Where a cooldown's length comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provenance {
    /// The provider said so: `RetryInfo`, `Retry-After` or a day quota. Only a marked probe may contradict it.
    Authoritative,
    /// A rule of ours inferred it; may be probed early.
    Inferred,
    /// An operator said so.
    Operator,
}
