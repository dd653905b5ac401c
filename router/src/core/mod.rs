//! The sans-IO router: no sockets, no clock, no threads. Time is an argument, one input is one mutation, then the
//! outputs are drained.
//!
//! [`Route`] states the contract. Bodies and secrets never enter: ids, sizes, statuses and classified facts do.

mod budget;
mod calendar;
mod classify;
mod cooldown;
mod decide;
mod draw;
mod explain;
mod facts;
mod fade;
mod finish;
mod graph;
mod hashing;
mod health;
mod ids;
mod input;
mod knobs;
mod latency;
mod observer;
mod operator;
mod output;
mod plan;
mod quota;
mod retry;
mod route;
mod router;
mod scan;
mod select;
mod settings;
mod slab;
mod spill;
mod state;
mod time;
mod timers;
mod top;
mod units;
mod unrecorded;
mod view;
mod waiting;
mod window;

pub use draw::{Source, draw, mix, unit};
pub use facts::{Ending, Facts, Reason, Transport, Usage, Violation, Violations};
pub use graph::GraphError;
pub use ids::{
    AttemptId, ClientId, DeploymentId, Fingerprint, KeyId, ModelId, ProjectId, ProviderId, RequestId, TierId, TurnId,
    UpstreamId,
};
pub use input::{Action, Arrived, Endpoint, Finished, Input, Scope, TokenEstimate};
pub use knobs::{ChargeErrors, KNOBS, Knob, KnobError, Knobs, OverloadScope, Range, Strategy, Tune};
pub use observer::{Note, Observer, Provenance};
pub use output::{Cause, Dispatch, Foreign, Outcome, Output, Spill, TierCause, Verdict, Why};
pub use route::{RestoreError, Route};
pub use router::Router;
pub use settings::{
    Client, Deployment, Key, Limits, Model, Price, Priority, Project, Provider, Retries, Settings, Tier, Timeouts,
    TokenPrice, Upstream,
};
pub use time::{Duration, DurationError, Timestamp, WallTime};
pub use units::{Tokens, Usd};
pub use unrecorded::{AtRisk, Limited, PowerLoss, Stake};
pub use view::{ClientView, CooldownView, LoadView, TierView};
