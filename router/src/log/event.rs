//! What a reader gives: one thing on record, in the core's own types.

use std::collections::BTreeSet;

use super::boot::Boot;
use crate::core::{AttemptId, Input, Output, RequestId, Timestamp, WallTime};

/// One thing on record.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its place among everything that happened, from 0. A [`Gap`] stands where some are missing.
    pub sequence: u64,
    /// When. A decision has the time of the input that it answers.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// What is on record.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// What happened to the router.
    Input(Input),
    /// What it decided: the answers to the input before them, in order.
    Output(Output),
    /// A process began to write.
    Opened(Opened),
    /// Under which boot of the machine it writes; said again with every checkpoint.
    Boot(Boot),
    /// It stopped in order. A log that ends without this was cut off.
    Closed,
    /// The router's state.
    Checkpoint(Checkpoint),
    /// Something is missing here, and is known to be.
    Gap(Gap),
}

/// A process began to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The wall clock then.
    pub wall: WallTime,
    /// The router that it began with.
    pub router: Beginning,
}

/// The router that a process begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// A new one, by its snapshot: a router may have options that are in no settings.
    New(Vec<u8>),
    /// One that was rebuilt from this log, by its state hash.
    Carried(u64),
}

/// The router's whole state after everything before this place. Forks and restarts begin here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// [`Route::state_hash`](crate::core::Route::state_hash).
    pub state_hash: u64,
    /// [`Route::snapshot`](crate::core::Route::snapshot).
    pub snapshot: Vec<u8>,
    /// What the driver had in its hands.
    pub in_flight: InFlight,
}

/// What a driver has in its hands, and must report as lost if it dies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// Requests without an outcome, ascending.
    pub requests: Vec<RequestId>,
    /// Attempts without an end, ascending.
    pub attempts: Vec<AttemptId>,
}

/// Events that were decided but not written, because the storage would not take them. A [`Checkpoint`] follows, so no
/// count is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How many.
    pub events: u64,
    /// From when on.
    pub since: Timestamp,
}

/// What a driver has in its hands while a log is followed: sets, for thousands of calls may be under way.
#[derive(Debug, Default)]
pub(super) struct Hands {
    requests: BTreeSet<RequestId>,
    attempts: BTreeSet<AttemptId>,
}

impl Hands {
    /// Keeps up with an event.
    pub(super) fn follow(&mut self, what: &What) {
        match what {
            What::Input(Input::Arrived(arrived)) => drop(self.requests.insert(arrived.request)),
            What::Input(Input::Finished(finished)) => drop(self.attempts.remove(&finished.attempt)),
            What::Output(Output::Dispatch(dispatch)) => drop(self.attempts.insert(dispatch.attempt)),
            What::Output(Output::Close { request, .. }) => drop(self.requests.remove(request)),
            What::Checkpoint(Checkpoint { in_flight: InFlight { requests, attempts }, .. }) => {
                self.requests = requests.iter().copied().collect();
                self.attempts = attempts.iter().copied().collect();
            }
            What::Opened(Opened { router: Beginning::New(_), .. }) => *self = Self::default(),
            What::Input(
                Input::Configured { .. }
                | Input::Clock { .. }
                | Input::FirstByte { .. }
                | Input::Cancelled { .. }
                | Input::Operator { .. }
                | Input::Woke,
            )
            | What::Output(Output::Relay { .. } | Output::Abandon { .. } | Output::WakeAt(_))
            | What::Opened(Opened { router: Beginning::Carried(_), .. })
            | What::Boot(_)
            | What::Closed
            | What::Gap(_) => {}
        }
    }

    /// What it is at last.
    pub(super) fn held(self) -> InFlight {
        InFlight { requests: self.requests.into_iter().collect(), attempts: self.attempts.into_iter().collect() }
    }
}
