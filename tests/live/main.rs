//! The simulator's days over real sockets: `serve` in front of the mock, both faster than the world, and clients that
//! behave as the simulated ones do.

mod arms;
mod callers;
mod command;
#[path = "../../simulator/tests/mock/http.rs"]
mod http;
mod incident;
mod stage;
mod storm;

/// Days on a fast clock must not fight for the processor: they are run one after the other.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
