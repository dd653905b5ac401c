//! Where the driver writes down what happened and what was decided, before anything of it takes effect.

use crate::core::{Input, Output, Route, Timestamp};
use crate::log::{Condition, InFlight, Storage, WriteError, Writer};

/// A record of inputs and decisions. The live proxy writes the event log; tests may write nothing, or fail on purpose.
pub trait Journal: Send + 'static {
    /// Notes one thing that happened, before the router handles it.
    fn record(&mut self, now: Timestamp, input: &Input);

    /// Notes one decision: an answer to the last input.
    fn decided(&mut self, output: &Output);

    /// Hands everything noted so far to the operating system, with one write.
    ///
    /// # Errors
    /// When the storage refuses. What was noted is kept and is part of the next commit; nothing may be spent on it
    /// before.
    fn commit(&mut self) -> Result<(), WriteError>;

    /// Whether the router's state should be noted, after a commit.
    fn checkpoint_due(&self) -> bool;

    /// Notes the router's state, and what the driver has in its hands.
    ///
    /// # Errors
    /// As [`Journal::commit`].
    fn checkpoint<R: Route>(&mut self, now: Timestamp, router: &R, in_flight: InFlight) -> Result<(), WriteError>;

    /// How many things that happened are missing from the record at present, because the storage takes no more and
    /// the proxy is told to go on without.
    fn dropped(&self) -> u64;

    /// The sequence of the next record.
    fn sequence(&self) -> u64;

    /// Records that a power loss does not touch: those before this sequence.
    fn durable(&self) -> u64;

    /// Brings everything committed to the disk before it returns.
    ///
    /// # Errors
    /// As [`Journal::commit`].
    fn sync(&mut self) -> Result<(), WriteError>;

    /// When [`Journal::tick`] has something to do.
    fn tick_due(&self) -> Option<Timestamp>;

    /// Starts what is due in the background.
    fn tick(&mut self, now: Timestamp);

    /// Ends the record in order and waits until it is durable.
    ///
    /// # Errors
    /// As [`Journal::commit`].
    fn close(self, now: Timestamp) -> Result<(), WriteError>;
}

impl<S> Journal for Writer<S>
where
    S: Storage + Send + 'static,
    S::File: Send,
{
    fn record(&mut self, now: Timestamp, input: &Input) {
        Self::record(self, now, input);
    }

    fn decided(&mut self, output: &Output) {
        Self::decided(self, output);
    }

    fn commit(&mut self) -> Result<(), WriteError> {
        Self::commit(self).map(drop)
    }

    fn checkpoint_due(&self) -> bool {
        Self::checkpoint_due(self)
    }

    fn checkpoint<R: Route>(&mut self, now: Timestamp, router: &R, in_flight: InFlight) -> Result<(), WriteError> {
        Self::checkpoint(self, now, router, in_flight).map(drop)
    }

    fn dropped(&self) -> u64 {
        match self.condition() {
            Condition::Dropping { events, .. } => events,
            Condition::Writing | Condition::Refusing { .. } => 0,
        }
    }

    fn sequence(&self) -> u64 {
        Self::sequence(self)
    }

    fn durable(&self) -> u64 {
        Self::durable(self)
    }

    fn sync(&mut self) -> Result<(), WriteError> {
        Self::sync(self)
    }

    fn tick_due(&self) -> Option<Timestamp> {
        self.sync_due()
    }

    fn tick(&mut self, now: Timestamp) {
        Self::tick(self, now);
    }

    fn close(self, now: Timestamp) -> Result<(), WriteError> {
        Self::close(self, now)
    }
}

/// No record at all: for a proxy that is told to keep none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn record(&mut self, _now: Timestamp, _input: &Input) {}

    fn decided(&mut self, _output: &Output) {}

    fn commit(&mut self) -> Result<(), WriteError> {
        Ok(())
    }

    fn checkpoint_due(&self) -> bool {
        false
    }

    fn checkpoint<R: Route>(&mut self, _now: Timestamp, _router: &R, _in_flight: InFlight) -> Result<(), WriteError> {
        Ok(())
    }

    fn dropped(&self) -> u64 {
        0
    }

    fn sequence(&self) -> u64 {
        0
    }

    fn durable(&self) -> u64 {
        u64::MAX
    }

    fn sync(&mut self) -> Result<(), WriteError> {
        Ok(())
    }

    fn tick_due(&self) -> Option<Timestamp> {
        None
    }

    fn tick(&mut self, _now: Timestamp) {}

    fn close(self, _now: Timestamp) -> Result<(), WriteError> {
        Ok(())
    }
}
