//! Whoever watches a run: the event log, a picture, a test. A run without one costs nothing.

use stormproof_router::core::{AttemptId, DeploymentId, Ending, Input, Observer, Output, RequestId, Route, Timestamp};

/// Sees everything that happens in a run, in the order in which it happens. Every method has an empty default.
///
/// For each input: [`Witness::input`], then the router's notes (see [`Observer`]), then [`Witness::output`] for each
/// output, then [`Witness::settled`].
pub trait Witness: Observer {
    /// The router is about to handle this.
    fn input(&mut self, _now: Timestamp, _input: &Input) {}

    /// The router wants this done.
    fn output(&mut self, _now: Timestamp, _output: &Output) {}

    /// All outputs of an input are drained; the moment for a checkpoint.
    fn settled<R: Route>(&mut self, _now: Timestamp, _router: &R) {}

    /// A turn was answered, or its user went away or was told of its failure.
    fn turn(&mut self, _turn: TurnSeen) {}

    /// A client call ended.
    fn call(&mut self, _now: Timestamp, _answered: bool) {}

    /// A call to a provider ended.
    fn attempt(&mut self, _attempt: AttemptSeen) {}
}

impl Witness for () {}

/// The end of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnSeen {
    /// Index in the order of arrival.
    pub turn: u32,
    /// Its intended arrival.
    pub from: Timestamp,
    /// When it ended.
    pub to: Timestamp,
    /// Whether it was answered in time.
    pub answered: bool,
    /// Whether a tier that is not its model's first gave the answer.
    pub fallback: bool,
}

/// The end of a call to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptSeen {
    /// Its name.
    pub attempt: AttemptId,
    /// For whom it was made.
    pub request: RequestId,
    /// Where it went.
    pub deployment: DeploymentId,
    /// Dispatched.
    pub from: Timestamp,
    /// Finished.
    pub to: Timestamp,
    /// How it ended.
    pub ending: Ending,
}
