//! A log in numbers.

use std::collections::BTreeMap;
use std::path::Path;

use super::event::{Event, What};
use super::filter::Kind;
use super::names::outcome;
use super::reader::{ReadError, Reader, Torn};
use super::segment;
use crate::core::{Ending, Finished, Input, Output, Timestamp, Usd};

/// What a log amounts to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events, by kind.
    pub kinds: BTreeMap<Kind, u64>,
    /// Requests that came in.
    pub requests: u64,
    /// Requests that ended, by outcome.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// What clients saw: requests that ended, by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Attempts that ended, by status; by the name of what went wrong where there was none.
    pub attempts: BTreeMap<String, u64>,
    /// Money spent.
    pub spend: Usd,
    /// Time of the first and the last event.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Segments.
    pub segments: usize,
    /// Bytes on disk.
    pub bytes: u64,
    /// Events that are known to be missing.
    pub missing: u64,
    /// What a crash left at the end.
    pub torn: Option<Torn>,
}

impl Stats {
    /// Of a whole log.
    ///
    /// # Errors
    /// When it cannot be read to its end.
    pub fn of(log: &Path) -> Result<Self, ReadError> {
        let mut stats = Self::default();
        let mut reader = Reader::open(log)?;
        while let Some(event) = reader.read()? {
            stats.count(&event);
        }
        stats.torn = reader.torn().cloned();
        let trouble = |source| ReadError::Io { path: log.to_path_buf(), source };
        for segment in segment::list(log).map_err(trouble)? {
            stats.segments += 1;
            stats.bytes += segment.size().map_err(trouble)?;
        }
        Ok(stats)
    }

    /// Events on record.
    pub fn events(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// Bytes on disk for each event.
    pub fn bytes_per_event(&self) -> f64 {
        self.bytes as f64 / self.events().max(1) as f64
    }

    /// One more event.
    pub fn count(&mut self, event: &Event) {
        *self.kinds.entry(event.kind()).or_default() += 1;
        self.span = Some((self.span.map_or(event.at, |(first, _)| first), event.at));
        match &event.what {
            What::Input(Input::Arrived(_)) => self.requests += 1,
            What::Input(Input::Finished(Finished { ending, .. })) => {
                let name = match ending {
                    Ending::Status(status) => status.to_string(),
                    Ending::Transport(transport) => format!("{transport:?}"),
                };
                *self.attempts.entry(name).or_default() += 1;
            }
            What::Output(Output::Close { verdict, .. }) => {
                *self.outcomes.entry(outcome(verdict.outcome)).or_default() += 1;
                *self.statuses.entry(verdict.status).or_default() += 1;
                self.spend += verdict.spend;
            }
            What::Gap(gap) => self.missing += gap.events,
            What::Input(
                Input::Configured { .. }
                | Input::Clock { .. }
                | Input::FirstByte { .. }
                | Input::Cancelled { .. }
                | Input::Operator { .. }
                | Input::Woke,
            )
            | What::Output(Output::Dispatch(_) | Output::Relay { .. } | Output::Abandon { .. } | Output::WakeAt(_))
            | What::Opened(_)
            | What::Boot(_)
            | What::Closed
            | What::Checkpoint(_) => {}
        }
    }
}
