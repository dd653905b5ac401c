//! What a mock has seen: one record for each call, never a credential.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use stormproof_router::core::{Ending, Timestamp, Transport};

/// Records kept; the oldest go first.
const KEPT: usize = 100_000;

/// One call. Times are seconds since the beginning of the scenario's day.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// Counts up from 1 in the order in which calls arrived.
    pub number: u64,
    /// When it arrived.
    pub at_s: f64,
    /// The key's name; of an unknown one a fingerprint, of none at all nothing.
    pub key: Option<String>,
    /// The model that was asked for.
    pub model: Option<String>,
    /// What was asked for: `Generate`, `Chat`, `Models`, ...
    pub what: String,
    /// Whether a stream was wanted.
    pub stream: bool,
    /// Which repetition of its library this call said it was (`x-stainless-retry-count`).
    pub retry: Option<u32>,
    /// What was planned for it: an HTTP status, or how the call breaks.
    pub answer: Answer,
    /// Prompt tokens.
    pub input: u32,
    /// Answer tokens, thoughts included.
    pub output: u32,
    /// When it was over, if it is.
    pub end_s: Option<f64>,
    /// Whether the caller left before that.
    pub left: bool,
}

/// What was planned for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// An HTTP status.
    Status(u16),
    /// No complete answer.
    Broken(&'static str),
}

impl From<Ending> for Answer {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Status(status) => Self::Status(status),
            Ending::Transport(transport) => Self::Broken(match transport {
                Transport::Connect => "connect",
                Transport::Reset | Transport::ReusedConnection => "reset",
                Transport::FirstByteTimeout => "first-byte-timeout",
                Transport::IdleTimeout => "idle-timeout",
                Transport::TotalTimeout => "total-timeout",
                Transport::Cut => "cut",
                Transport::ErrorEvent => "error-event",
                Transport::Malformed => "malformed",
                Transport::Abandoned => "abandoned",
            }),
        }
    }
}

/// All that was seen.
#[derive(Debug, Default)]
pub(super) struct Records {
    kept: VecDeque<Record>,
    seen: u64,
    totals: BTreeMap<(String, Answer), u64>,
}

impl Records {
    /// Adds a call and gives it its number.
    pub(super) fn add(&mut self, mut record: Record) -> u64 {
        self.seen += 1;
        record.number = self.seen;
        *self.totals.entry((record.key.clone().unwrap_or_default(), record.answer)).or_default() += 1;
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(record);
        self.seen
    }

    /// A call is over.
    pub(super) fn end(&mut self, number: u64, at: Timestamp, left: bool) {
        let oldest = self.seen - self.kept.len() as u64 + 1;
        let place = number.checked_sub(oldest).and_then(|place| usize::try_from(place).ok());
        if let Some(record) = place.and_then(|place| self.kept.get_mut(place)) {
            (record.end_s, record.left) = (Some(at.as_secs_f64()), left);
        }
    }

    /// Every kept record after that number, at most `most`.
    pub(super) fn since(&self, number: u64, most: usize) -> Vec<Record> {
        let start = self.kept.partition_point(|record| record.number <= number);
        self.kept.iter().skip(start).take(most).cloned().collect()
    }

    /// How many calls there were, and how many of them each key had of each answer.
    pub(super) fn totals(&self) -> (u64, &BTreeMap<(String, Answer), u64>) {
        (self.seen, &self.totals)
    }
}

#[cfg(test)]
mod tests {
    use stormproof_router::core::Duration;

    use super::*;

    fn record(key: &str) -> Record {
        Record {
            number: 0,
            at_s: 0.0,
            key: Some(key.to_owned()),
            model: None,
            what: "Generate".to_owned(),
            stream: false,
            retry: None,
            answer: Answer::Status(200),
            input: 1,
            output: 1,
            end_s: None,
            left: false,
        }
    }

    #[test]
    fn the_oldest_go_first_and_are_still_counted() {
        let mut records = Records::default();
        for _ in 0..KEPT + 5 {
            records.add(record("a"));
        }
        let at = Timestamp::ZERO + Duration::from_secs(2);
        records.end(3, at, true);
        records.end(6, at, true);
        let kept = records.since(0, 2);
        assert_eq!((kept[0].number, kept[0].end_s, kept[0].left), (6, Some(2.0), true));
        assert_eq!(kept.len(), 2);
        assert_eq!(records.since(KEPT as u64 + 4, 10).len(), 1);
        assert_eq!(records.totals().1.get(&("a".to_owned(), Answer::Status(200))), Some(&(KEPT as u64 + 5)));
    }
}
