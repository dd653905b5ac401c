//! The contract between a router and whoever drives it.

use thiserror::Error;

use super::ids::AttemptId;
use super::input::Input;
use super::observer::Observer;
use super::output::Output;
use super::time::Timestamp;
use super::unrecorded::{AtRisk, Stake};

/// A router as a state machine: no I/O, no clock, no threads. Time is an argument; one call to [`Route::handle`] is
/// exactly one mutation, after which [`Route::poll_output`] is drained until it gives `None`.
///
/// * `now` never goes back. The first `handle` at or after a request's deadline closes that request before any other
///   effect, unless it is already relayed.
/// * Every request has exactly one [`Output::Close`]; every dispatched attempt wants exactly one
///   [`Input::Finished`], abandoned ones included. Unknown, late and duplicate inputs are ignored.
/// * The same inputs give the same outputs, on every platform and build.
///
/// Implemented by our router and by every baseline, and driven by the simulator and by the live proxy.
pub trait Route: Clone + Send {
    /// Lets one thing happen at `now`, telling the story to `observer`.
    fn observe<O: Observer>(&mut self, now: Timestamp, input: Input, observer: &mut O);

    /// Lets one thing happen at `now`.
    fn handle(&mut self, now: Timestamp, input: Input) {
        self.observe(now, input, &mut ());
    }

    /// The next thing to do, until `None`.
    fn poll_output(&mut self) -> Option<Output>;

    /// The whole state as bytes; meaningful to the same policy version only.
    fn snapshot(&self) -> Vec<u8>;

    /// The router whose [`Route::snapshot`] this is.
    ///
    /// # Errors
    /// When the bytes are not a snapshot of this policy version.
    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError>;

    /// A hash of everything that future decisions depend on.
    fn state_hash(&self) -> u64;

    /// [`Route::snapshot`] and [`Route::state_hash`] at once, which may cost less than one after the other.
    fn checkpoint(&self) -> (Vec<u8>, u64) {
        (self.snapshot(), self.state_hash())
    }

    /// Which policy this is, and its version, such as `stormproof/3`. Decisions can be verified by the same version only.
    fn policy(&self) -> &'static str;

    /// What an attempt that was just dispatched takes of limits, and how much of each may be at stake while it is not
    /// on disk. Nothing for routers that are never driven live.
    fn stake(&self, _attempt: AttemptId, _at_risk: AtRisk) -> [Option<Stake>; 4] {
        [None; 4]
    }
}

/// Bytes that are not a snapshot of this policy version.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a snapshot of {policy}: {reason}")]
pub struct RestoreError {
    /// Who tried to read it.
    pub policy: &'static str,
    /// What was wrong.
    pub reason: String,
}
