//! What a driver tells about a run, step by step. `()` listens to nothing and costs nothing.

use std::path::Path;

use super::event::InFlight;
use super::options::Options;
use super::storage::Disk;
use super::writer::{Opening, WriteError, Writer};
use crate::core::{Input, Output, Route, Timestamp};

/// Hears every input before it is handled and every decision after it, in order.
pub trait Recorder {
    /// Whether anything is heard; a driver need not call otherwise.
    const RECORDS: bool = true;

    /// This is about to happen to the router.
    fn record(&mut self, now: Timestamp, input: &Input);

    /// The router decided this in answer.
    fn decided(&mut self, output: &Output);

    /// The step is complete: the last input has all its decisions.
    fn commit(&mut self);

    /// Whether [`Recorder::checkpoint`] is wanted, after a commit.
    fn checkpoint_due(&self) -> bool;

    /// The router's state now, and what the driver has in its hands.
    fn checkpoint<R: Route>(&mut self, now: Timestamp, router: &R, in_flight: InFlight);
}

impl Recorder for () {
    const RECORDS: bool = false;

    fn record(&mut self, _now: Timestamp, _input: &Input) {}

    fn decided(&mut self, _output: &Output) {}

    fn commit(&mut self) {}

    fn checkpoint_due(&self) -> bool {
        false
    }

    fn checkpoint<R: Route>(&mut self, _now: Timestamp, _router: &R, _in_flight: InFlight) {}
}

/// The recording of one simulated run in a folder of its own. A failure ends the recording, not the run:
/// [`Recording::finish`] tells. (The live proxy, which may not act on what is not on record, uses the [`Writer`].)
pub struct Recording {
    writer: Writer<Disk>,
    failure: Option<WriteError>,
}

impl Recording {
    /// Begins a recording.
    ///
    /// # Errors
    /// When the folder cannot be made or holds a log already.
    pub fn create(directory: &Path, opening: Opening, options: Options) -> Result<Self, WriteError> {
        let wall = opening.epoch;
        let (mut writer, recovery) = Writer::open(directory, opening, options)?;
        if recovery.last.is_some() {
            return Err(WriteError::NotEmpty { directory: directory.to_path_buf() });
        }
        writer.begin(Timestamp::ZERO, wall, None);
        Ok(Self { writer, failure: None })
    }

    /// Ends it at `now`; the number of events on record.
    ///
    /// # Errors
    /// The first failure since it was begun.
    pub fn finish(self, now: Timestamp) -> Result<u64, WriteError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let events = self.writer.sequence() + 1;
        self.writer.close(now)?;
        Ok(events)
    }
}

impl Recorder for Recording {
    fn record(&mut self, now: Timestamp, input: &Input) {
        if self.failure.is_none() {
            self.writer.record(now, input);
        }
    }

    fn decided(&mut self, output: &Output) {
        if self.failure.is_none() {
            self.writer.decided(output);
        }
    }

    fn commit(&mut self) {
        if self.failure.is_none() {
            self.failure = self.writer.commit().err();
        }
    }

    fn checkpoint_due(&self) -> bool {
        self.failure.is_none() && self.writer.checkpoint_due()
    }

    fn checkpoint<R: Route>(&mut self, now: Timestamp, router: &R, in_flight: InFlight) {
        if self.failure.is_none() {
            self.failure = self.writer.checkpoint(now, router, in_flight).err();
        }
    }
}
