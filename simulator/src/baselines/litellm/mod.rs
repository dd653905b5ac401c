//! LiteLLM's router: the incumbent, and the baseline of every comparison.
//!
//! [`LiteLlm`] emulates two releases behind [`Route`], for `simple-shuffle` on one worker without Redis. It decides
//! what the originals were seen to decide: which failures bench a deployment and for how long, what is retried where,
//! which group follows, and what the client is told. What changed between the releases is a table of data
//! (`version.rs`); nothing else knows that there are two.
//!
//! * A group is a model with the deployments of its first tier; fallbacks are those of [`Options`] and no others.
//!   Limits, budgets and knobs of the settings are not read: the original knows none of them.
//! * The original has no deadline over a request. Here a client that stops waiting ends it, be it by
//!   [`Input::Cancelled`] or at its deadline: the attempt in flight is abandoned and counts as neither failure nor
//!   success. Attempts are cut by the original's own timeouts alone.
//! * Where 1.66 hangs, requests that bring no deadline wait for ever.
//! * There is no way to act on the original's cooldowns: [`Input::Operator`] is ignored. New settings mean a restart,
//!   which forgets all state and breaks what is in flight.
//! * Not emulated: the other strategies, pre-call checks and tags, `max_parallel_requests`, health-check routing,
//!   Redis, and mid-stream continuation.

mod bench;
mod call;
mod course;
mod failure;
mod graph;
mod options;
mod penalty;
mod router;
mod telling;
mod text;
mod version;

pub use options::{AllowedFailsPolicy, LiteLlmParams, Options, RetryPolicy, Seconds, UnknownModel};
pub use router::LiteLlm;
pub use version::Version;

#[cfg(doc)]
use stormproof_router::core::{Input, Route};
