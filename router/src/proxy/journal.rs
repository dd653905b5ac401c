//! Where the driver writes down what happened and what was decided, before anything of it takes effect.

use std::io;

use crate::core::{Input, Output, Route, Timestamp};

/// A record of inputs and decisions. The live proxy writes the event log; tests may write nothing, or fail on purpose.
pub trait Journal: Send + 'static {
    /// Notes one thing that happened.
    fn input(&mut self, now: Timestamp, input: &Input);

    /// Notes one decision, right after the input that it answers.
    fn output(&mut self, now: Timestamp, output: &Output);

    /// Hands everything noted so far to the operating system, with one write. `router` is the state after it, for
    /// checkpoints.
    ///
    /// # Errors
    /// When the storage refuses. What was noted is kept and is part of the next commit.
    fn commit<R: Route>(&mut self, now: Timestamp, router: &R) -> io::Result<()>;

    /// Writes what ends an orderly run, and waits until it is durable.
    ///
    /// # Errors
    /// When the storage refuses.
    fn close<R: Route>(&mut self, now: Timestamp, router: &R) -> io::Result<()>;
}

/// No record at all: for a proxy that is told to keep none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn input(&mut self, _now: Timestamp, _input: &Input) {}

    fn output(&mut self, _now: Timestamp, _output: &Output) {}

    fn commit<R: Route>(&mut self, _now: Timestamp, _router: &R) -> io::Result<()> {
        Ok(())
    }

    fn close<R: Route>(&mut self, _now: Timestamp, _router: &R) -> io::Result<()> {
        Ok(())
    }
}
