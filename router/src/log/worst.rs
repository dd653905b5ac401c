//! Which requests are worth reading about.

use std::collections::BTreeMap;
use std::path::Path;

use super::event::What;
use super::names::{Calendar, cause, length, outcome};
use super::reader::{ReadError, Reader};
use crate::core::{Cause, Duration, Input, Outcome, Output, RequestId, Timestamp, Usd};

/// A request worth reading about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worst {
    /// Which.
    pub request: RequestId,
    /// When it came.
    pub at: Timestamp,
    /// How long it took to its outcome.
    pub took: Duration,
    /// What became of it.
    pub outcome: Outcome,
    /// The status that its client saw.
    pub status: u16,
    /// Why it was not served by its first tier, where it was not answered.
    pub cause: Option<Cause>,
    /// Attempts made for it.
    pub attempts: u16,
    /// What it cost.
    pub spend: Usd,
    /// Whether that client got its error inside a stream that had begun well.
    pub in_stream: bool,
    /// So many others went wrong in the same way; told of the worst of them only.
    pub alike: u64,
}

impl Worst {
    /// One line about it: `request 17  05:22:41.500  refused with 503 after 12 ms and no attempt: overloaded`.
    pub fn line(&self, calendar: &Calendar) -> String {
        let Self { request, at, took, outcome: what, status, cause: why, attempts, spend, in_stream, alike } = self;
        let count = match attempts {
            0 => "no attempt".to_owned(),
            1 => "1 attempt".to_owned(),
            more => format!("{more} attempts"),
        };
        let why = why.map(|why| format!(": {}", cause(why))).unwrap_or_default();
        let paid = if *spend == Usd::ZERO { String::new() } else { format!(", {spend}") };
        let status = match (status, in_stream) {
            (0, _) => String::new(),
            (status, false) => format!(" with {status}"),
            (status, true) => format!(" with an error inside a {status} stream"),
        };
        let alike = if *alike == 0 { String::new() } else { format!(" ({alike} more like it)") };
        format!(
            "request {request}  {}  {}{status} after {} and {count}{paid}{why}{alike}",
            calendar.time(*at),
            outcome(*what),
            length(*took),
        )
    }

    /// Requests that went wrong in the same way.
    fn way(&self) -> (u8, u16, Option<Cause>) {
        // What is worse for the user comes first.
        let rank = match self.outcome {
            Outcome::Deadline => 0,
            Outcome::Refused => 1,
            Outcome::Failed => 2,
            Outcome::Cut => 3,
            Outcome::Cancelled => 4,
            Outcome::Answered => 5,
        };
        (rank, self.status, self.cause)
    }

    /// How bad it was among those: attempts first, then time.
    fn badness(&self) -> (u16, Duration) {
        (self.attempts, self.took)
    }
}

/// So many requests worth reading about: the worst of each way in which requests went wrong, then the second worst, and so
/// on; answered ones last. One bad minute can fill a log with refusals that all read alike, and this does not show only
/// them.
///
/// # Errors
/// When the log cannot be read.
pub fn worst(log: &Path, count: usize) -> Result<Vec<Worst>, ReadError> {
    let mut reader = Reader::open(log)?;
    let mut arrivals: BTreeMap<RequestId, Timestamp> = BTreeMap::new();
    let mut ways: BTreeMap<_, (u64, Vec<Worst>)> = BTreeMap::new();
    while let Some(event) = reader.read()? {
        match event.what {
            What::Input(Input::Arrived(arrived)) => {
                arrivals.insert(arrived.request, event.at);
            }
            What::Output(Output::Close { request, verdict }) => {
                let Some(at) = arrivals.remove(&request) else { continue };
                let worst = Worst {
                    request,
                    at,
                    took: event.at.since(at),
                    outcome: verdict.outcome,
                    status: verdict.status,
                    cause: verdict.causes.first().map(|cause| cause.cause),
                    attempts: verdict.attempts,
                    spend: verdict.spend,
                    in_stream: verdict.foreign.is_some_and(|foreign| foreign.error_in_stream),
                    alike: 0,
                };
                let (found, way) = ways.entry(worst.way()).or_default();
                *found += 1;
                let place = way.partition_point(|other| other.badness() >= worst.badness());
                if place < count {
                    way.insert(place, worst);
                    way.truncate(count);
                }
            }
            What::Input(_)
            | What::Output(_)
            | What::Opened(_)
            | What::Boot(_)
            | What::Closed
            | What::Checkpoint(_)
            | What::Gap(_) => {}
        }
    }
    for (found, way) in ways.values_mut() {
        if let Some(first) = way.first_mut().filter(|first| first.outcome != Outcome::Answered) {
            first.alike = *found - 1;
        }
    }
    let answered = |way: &(u8, u16, Option<Cause>)| way.0 == 5;
    let (fine, wrong): (Vec<_>, Vec<_>) = ways.into_iter().partition(|(way, _)| answered(way));
    let mut found = in_turn(wrong.into_iter().map(|(_, (_, way))| way).collect(), count);
    let left = count - found.len();
    found.extend(in_turn(fine.into_iter().map(|(_, (_, way))| way).collect(), left));
    Ok(found)
}

/// The first of each list, then the second of each, up to so many.
fn in_turn(lists: Vec<Vec<Worst>>, count: usize) -> Vec<Worst> {
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|place| lists.iter().filter_map(move |list| list.get(place).copied())).take(count).collect()
}
