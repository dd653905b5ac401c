//! The sans-IO router: no sockets, no clock, no threads. Time is an argument, one input is one mutation, then the
//! outputs are drained.
//!
//! [`Route`] states the contract. Bodies and secrets never enter: ids, sizes, statuses and classified facts do.

mod draw;
mod facts;
mod ids;
mod input;
mod knobs;
mod observer;
mod output;
mod route;
mod settings;
mod time;
mod units;

pub use draw::{draw, mix, unit};
pub use facts::{Ending, Facts, Reason, Transport, Usage, Violation, Violations};
pub use ids::{
    AttemptId, ClientId, DeploymentId, Fingerprint, KeyId, ModelId, ProjectId, ProviderId, RequestId, TierId, TurnId,
    UpstreamId,
};
pub use input::{Action, Arrived, Endpoint, Finished, Input, Scope, TokenEstimate};
pub use knobs::{ChargeErrors, KNOBS, Knob, KnobError, Knobs, OverloadScope, Range, Strategy, Tune};
pub use observer::{Note, Observer, Provenance};
pub use output::{Cause, Dispatch, Foreign, Outcome, Output, Spill, TierCause, Verdict, Why};
pub use route::{RestoreError, Route};
pub use settings::{
    Client, Deployment, Key, Limits, Model, Price, Priority, Project, Provider, Retries, Settings, Tier, Timeouts,
    TokenPrice, Upstream,
};
pub use time::{Duration, DurationError, Timestamp, WallTime};
pub use units::{Tokens, Usd};
