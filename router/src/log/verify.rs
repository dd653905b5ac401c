//! Verifying a recorded day: the recorded inputs go to a router that begins as the recorded one began, and every decision
//! and every checkpoint must come out as recorded.
//!
//! What another policy version decided is read all the same, and reported as not verified.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::difference::{Difference, Sides};
use super::event::{Beginning, Checkpoint, Event, Gap, Opened, What};
use super::reader::{Place, ReadError, Reader};
use crate::core::{Output, RestoreError, Route, Timestamp};

/// What was verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events read.
    pub events: u64,
    /// Inputs handed to the router.
    pub inputs: u64,
    /// Decisions found to be equal.
    pub decisions: u64,
    /// Checkpoints whose state hash was found to be equal.
    pub checkpoints: u64,
    /// Events that are known to be missing; verification went on from the checkpoint after them.
    pub missing: u64,
    /// Events read with nothing to verify them against: before the first checkpoint of a log whose beginning has been
    /// removed, and those that another policy version decided.
    pub unverified: u64,
    /// Those policy versions.
    pub others: BTreeSet<String>,
    /// Time of the last event.
    pub end: Timestamp,
}

/// Why a log is not verified.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Another version decided. It can be read, printed, summarised and asked "what if".
    #[error("{log} was decided by {recorded} and this is {ours}: it can be read, but not verified")]
    OtherPolicy {
        /// Which log.
        log: PathBuf,
        /// Who decided.
        recorded: String,
        /// Who was to decide again.
        ours: &'static str,
    },
    /// A checkpoint cannot be restored.
    #[error("the checkpoint at event {sequence} cannot be restored: {source}")]
    Restore {
        /// Its place.
        sequence: u64,
        /// Why.
        source: RestoreError,
    },
    /// The log says one thing and the router another.
    #[error("{0}")]
    Different(Box<Difference>),
}

/// Feeds a log to a router of type `R`, event by event.
pub struct Verifier<R: Route> {
    log: PathBuf,
    reader: Reader,
    /// The router in the recorded state; `None` while that is not known: before the first checkpoint when the beginning is
    /// gone, and between a gap and its checkpoint.
    router: Option<R>,
    /// Decisions that the log has not been asked about yet.
    decided: VecDeque<Output>,
    report: Report,
}

impl<R: Route> Verifier<R> {
    /// Of the whole log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn new(log: &Path) -> Result<Self, VerifyError> {
        Ok(Self::of(log, Reader::open(log)?))
    }

    /// From the checkpoint nearest before a place.
    ///
    /// # Errors
    /// As [`Verifier::new`].
    pub fn from(log: &Path, place: Place) -> Result<Self, VerifyError> {
        Ok(Self::of(log, Reader::at_checkpoint(log, place)?))
    }

    fn of(log: &Path, reader: Reader) -> Self {
        Self { log: log.to_path_buf(), reader, router: None, decided: VecDeque::new(), report: Report::default() }
    }

    /// Verifies to the end of the log.
    ///
    /// # Errors
    /// At the first difference, and when the log cannot be read on.
    pub fn run(mut self) -> Result<Report, VerifyError> {
        while self.step(u64::MAX)? {}
        Ok(self.report)
    }

    /// Verifies so many events; `false` at the end of the log.
    ///
    /// # Errors
    /// As [`Verifier::run`].
    pub fn step(&mut self, events: u64) -> Result<bool, VerifyError> {
        for _ in 0..events {
            let Some(event) = self.reader.read()? else {
                self.none_left(self.reader.sequence(), self.report.end)?;
                return Ok(false);
            };
            self.report.events += 1;
            self.report.end = event.at;
            self.check(event)?;
        }
        Ok(true)
    }

    /// What has been verified so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Where the verification is.
    pub fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    fn check(&mut self, event: Event) -> Result<(), VerifyError> {
        let Event { sequence, at, what } = event;
        match what {
            What::Output(_) if self.router.is_none() => self.report.unverified += 1,
            What::Output(recorded) => {
                let replayed = self.decided.pop_front();
                if replayed.as_ref() != Some(&recorded) {
                    let sides = Sides::Decision { recorded: Some(recorded), replayed };
                    return Err(self.difference(sequence, at, sides));
                }
                self.report.decisions += 1;
            }
            What::Input(input) => {
                self.none_left(sequence, at)?;
                let Some(router) = &mut self.router else {
                    self.report.unverified += 1;
                    return Ok(());
                };
                self.report.inputs += 1;
                router.handle(at, input);
                while let Some(output) = router.poll_output() {
                    self.decided.push_back(output);
                }
            }
            What::Opened(Opened { router, .. }) => {
                self.none_left(sequence, at)?;
                match router {
                    Beginning::New(snapshot) => self.begin(sequence, &snapshot)?,
                    Beginning::Carried(recorded) => self.check_state(sequence, at, recorded)?,
                }
            }
            What::Boot(_) | What::Closed => self.none_left(sequence, at)?,
            What::Gap(Gap { events, .. }) => {
                self.none_left(sequence, at)?;
                self.report.missing += events;
                self.router = None;
            }
            What::Checkpoint(Checkpoint { state_hash, snapshot, .. }) => {
                self.none_left(sequence, at)?;
                if self.router.is_none() {
                    self.begin(sequence, &snapshot)?;
                }
                self.check_state(sequence, at, state_hash)?;
                self.report.checkpoints += u64::from(self.router.is_some());
            }
        }
        Ok(())
    }

    /// Begins with a recorded router; with none where another policy version recorded it.
    fn begin(&mut self, sequence: u64, snapshot: &[u8]) -> Result<(), VerifyError> {
        self.router = match restore(&self.reader, sequence, snapshot) {
            Ok(router) => Some(router),
            Err(VerifyError::OtherPolicy { recorded, .. }) => {
                self.report.others.insert(recorded);
                None
            }
            Err(error) => return Err(error),
        };
        Ok(())
    }

    fn check_state(&self, sequence: u64, at: Timestamp, recorded: u64) -> Result<(), VerifyError> {
        match self.router.as_ref().map(R::state_hash) {
            Some(replayed) if replayed != recorded => {
                Err(self.difference(sequence, at, Sides::State { recorded, replayed }))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// All decisions must have been on record by now.
    fn none_left(&mut self, sequence: u64, at: Timestamp) -> Result<(), VerifyError> {
        match self.decided.pop_front() {
            None => Ok(()),
            replayed => Err(self.difference(sequence, at, Sides::Decision { recorded: None, replayed })),
        }
    }

    fn difference(&self, sequence: u64, at: Timestamp, sides: Sides) -> VerifyError {
        VerifyError::Different(Box::new(Difference::new(&self.log, sequence, at, sides)))
    }
}

/// Verifies a whole log against a router of type `R`, which begins as the recorded one began.
///
/// # Errors
/// At the first difference, and when the log cannot be read.
pub fn verify<R: Route>(log: &Path) -> Result<Report, VerifyError> {
    Verifier::<R>::new(log)?.run()
}

/// The router of a recorded snapshot, if it is of the policy version that `R` is.
pub(super) fn restore<R: Route>(reader: &Reader, sequence: u64, snapshot: &[u8]) -> Result<R, VerifyError> {
    let recorded = &reader.header().policy;
    let other = |ours| VerifyError::OtherPolicy { log: reader.log().to_path_buf(), recorded: recorded.clone(), ours };
    match R::restore(snapshot) {
        Ok(router) if router.policy() == recorded => Ok(router),
        Ok(router) => Err(other(router.policy())),
        Err(source) if source.policy == recorded => Err(VerifyError::Restore { sequence, source }),
        Err(source) => Err(other(source.policy)),
    }
}
