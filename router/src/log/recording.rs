//! The recording of one simulated run.

use std::path::Path;

use super::event::InFlight;
use super::options::Options;
use super::storage::Disk;
use super::writer::{Opening, WriteError, Writer};
use crate::core::{Input, Output, Route, Timestamp};

/// The recording of one simulated run in a folder of its own. A failure ends the recording, not the run:
/// [`Recording::finish`] tells. (The live proxy may not act on what is not on record; it uses the [`Writer`] itself,
/// which has the same methods.)
pub struct Recording {
    writer: Writer<Disk>,
    failure: Option<WriteError>,
}

impl Recording {
    /// Begins a recording of this router, which is new.
    ///
    /// # Errors
    /// When the folder cannot be made or holds a log already.
    pub fn create<R: Route>(
        directory: &Path,
        opening: Opening,
        options: Options,
        router: &R,
    ) -> Result<Self, WriteError> {
        let wall = opening.epoch;
        let (mut writer, recovery) = Writer::open(directory, opening, options)?;
        if recovery.last.is_some() {
            return Err(WriteError::NotEmpty { directory: directory.to_path_buf() });
        }
        writer.begin(Timestamp::ZERO, wall, router, true);
        Ok(Self { writer, failure: None })
    }

    /// This is about to happen to the router.
    #[inline]
    pub fn record(&mut self, now: Timestamp, input: &Input) {
        if self.failure.is_none() {
            self.writer.record(now, input);
        }
    }

    /// The router decided this in answer.
    #[inline]
    pub fn decided(&mut self, output: &Output) {
        if self.failure.is_none() {
            self.writer.decided(output);
        }
    }

    /// The step is complete: the last input has all its decisions. Takes a checkpoint when one is due; `in_flight` is
    /// what the driver then has in its hands.
    #[inline]
    pub fn commit<R: Route>(&mut self, now: Timestamp, router: &R, in_flight: impl FnOnce() -> InFlight) {
        if self.failure.is_some() {
            return;
        }
        if let Err(failure) = self.writer.commit() {
            self.failure = Some(failure);
        } else if self.writer.checkpoint_due() {
            self.checkpoint(now, router, in_flight());
        }
    }

    #[cold]
    fn checkpoint<R: Route>(&mut self, now: Timestamp, router: &R, in_flight: InFlight) {
        self.failure = self.writer.checkpoint(now, router, in_flight).err();
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
