//! Answers that are on record. A world that has some gives them again to the same attempt, as long as they still hold:
//! what an attempt met is known, and so is how its coin fell under the weather of that moment. Under other weather the
//! same coin may fall on the other side; then, and for attempts that were never made, the world draws as usual.

use std::sync::Arc;

use stormproof_router::core::{Duration, Ending, Facts, Timestamp, UpstreamId, Usage, unit};

use super::plan::{Fortune, Luck, Plan};
use super::spec::Latency;
use super::weather::{Forecast, strikes};
use crate::draws::{Shape, normal_quantile, normal_share, split};

/// Everything that is on record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// What attempts met.
    pub answers: Vec<Answer>,
    /// How long answers to turns take.
    pub spans: Vec<Span>,
    /// When something was seen of each upstream, from and until; ascending.
    pub lit: Vec<Vec<(Timestamp, Timestamp)>>,
}

/// What one attempt met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The key of its turn, as luck hangs on it.
    pub turn: u64,
    /// Where it went.
    pub upstream: UpstreamId,
    /// How many attempts of that turn had gone there before.
    pub nth: u16,
    /// When it was made.
    pub at: Timestamp,
    /// What came of it.
    pub met: Met,
}

/// What an attempt that no limit and no dead key stopped can meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// An overloaded model.
    Overload(Reply),
    /// A model that took it.
    Served(Reply),
    /// A model that took it; the end was not waited for.
    Taken,
}

/// An answer with its times, counted from the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The first good chunk of a stream.
    pub first_byte: Option<Duration>,
    /// Its end.
    pub after: Duration,
    /// How it ended.
    pub ending: Ending,
    /// What it said.
    pub facts: Facts,
    /// What it cost.
    pub usage: Option<Usage>,
}

/// How long a good answer to one turn takes, whoever gives it: long questions are long everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The key of the turn.
    pub turn: u64,
    /// Who was asked.
    pub upstream: UpstreamId,
    /// So long,
    pub length: Duration,
    /// or longer: the answer was not waited for.
    pub is_cut: bool,
}

/// How many answers came from the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reuse {
    /// Given as they are on record.
    pub recorded: u64,
    /// Drawn.
    pub modelled: u64,
    /// Calls, of all, that came while nothing was seen of their model.
    pub dark: u64,
}

/// The record as one seed's world looks it up: by luck, which is different for every attempt.
#[derive(Clone, Debug, Default)]
pub(super) struct Recall {
    recorded: Arc<Recorded>,
    /// The luck of an attempt, its coin, and its place in the record; ascending.
    attempts: Vec<(u64, f64, u32)>,
    /// The luck of a turn, and where among all answers its own stands, as a normal score; ascending.
    scores: Vec<(u64, f64)>,
    calls: u64,
    reused: u64,
    dark: u64,
}

/// Purposes of bits, apart from those of an attempt that was drawn.
const COIN: u64 = 21;
const TAIL: u64 = 22;

impl Recall {
    /// The record under the weather that one seed says there was.
    pub(super) fn new(recorded: &Arc<Recorded>, seed: u64, forecasts: &[Forecast], latencies: &[Latency]) -> Self {
        let fortune = Fortune::new(seed);
        let attempts = recorded.answers.iter().zip(0..).map(|(answer, place)| {
            let bits = fortune.luck(answer.turn, answer.upstream, u32::from(answer.nth)).attempt;
            let p = forecasts[answer.upstream.index()].at(answer.at);
            let fresh = unit(split(bits, COIN));
            // The part of all coins that fell as this one did.
            let coin = match answer.met {
                Met::Overload(_) => fresh * p,
                Met::Served(_) | Met::Taken => p + fresh * (1.0 - p),
            };
            (bits, coin, place)
        });
        let scores = recorded.spans.iter().filter_map(|span| {
            let bits = fortune.luck(span.turn, span.upstream, 0).turn;
            score(&latencies[span.upstream.index()].shape, span, split(bits, TAIL)).map(|score| (bits, score))
        });
        let (mut attempts, mut scores): (Vec<_>, Vec<_>) = (attempts.collect(), scores.collect());
        attempts.sort_unstable_by_key(|(bits, ..)| *bits);
        scores.sort_unstable_by_key(|(bits, _)| *bits);
        Self { recorded: Arc::clone(recorded), attempts, scores, calls: 0, reused: 0, dark: 0 }
    }

    /// Whether the weather strikes this attempt; what is on record about what it then meets; and, where that is not, how
    /// long an answer to its turn takes.
    pub(super) fn meet(
        &mut self,
        luck: Luck,
        p503: f64,
        fresh: u64,
        shape: &Shape,
    ) -> (bool, Option<Reply>, Option<Duration>) {
        let Ok(place) = self.attempts.binary_search_by_key(&luck.attempt, |(bits, ..)| *bits) else {
            return (strikes(fresh, p503), None, self.latency(luck, shape));
        };
        let (_, coin, place) = self.attempts[place];
        let overloaded = coin < p503;
        match (self.recorded.answers[place as usize].met, overloaded) {
            (Met::Overload(reply), true) | (Met::Served(reply), false) => {
                self.reused += 1;
                (overloaded, Some(reply), None)
            }
            (Met::Overload(_), false) | (Met::Served(_), true) | (Met::Taken, _) => {
                (overloaded, None, self.latency(luck, shape))
            }
        }
    }

    /// How long the answer to this turn takes if the record tells, where latencies have this shape.
    fn latency(&self, luck: Luck, shape: &Shape) -> Option<Duration> {
        let Shape::LogNormal { median, sigma } = *shape else { return None };
        let place = self.scores.binary_search_by_key(&luck.turn, |(bits, _)| *bits).ok()?;
        Some(Duration::from_secs_f64(median * libm::exp(sigma * self.scores[place].1)))
    }

    /// Counts a call.
    pub(super) fn count(&mut self, now: Timestamp, upstream: UpstreamId) {
        self.calls += 1;
        let is_lit = self.recorded.lit.get(upstream.index()).is_none_or(|lit| {
            let next = lit.partition_point(|(from, _)| *from <= now);
            next > 0 && now < lit[next - 1].1
        });
        self.dark += u64::from(!is_lit);
    }

    pub(super) fn reuse(&self) -> Reuse {
        Reuse { recorded: self.reused, modelled: self.calls - self.reused, dark: self.dark }
    }
}

/// The normal score of a turn's answer; of one that was cut, a score drawn from those above.
fn score(shape: &Shape, span: &Span, bits: u64) -> Option<f64> {
    let Shape::LogNormal { median, sigma } = *shape else { return None };
    let least = libm::log(span.length.as_secs_f64() / median) / sigma;
    if !span.is_cut {
        return Some(least).filter(|score| score.is_finite());
    }
    // Beyond eight deviations nothing is left to draw from.
    let below = normal_share(least.clamp(-8.0, 8.0));
    Some(normal_quantile((below + (1.0 - below) * unit(bits)).clamp(1e-15, 1.0 - 1e-15)).max(least))
}

impl Reply {
    /// The answer to a call made now.
    pub(super) fn plan(&self, now: Timestamp, chunks: u32) -> Plan {
        let first_byte = self.first_byte.map(|after| now + after);
        Plan {
            first_byte,
            chunks: if first_byte.is_some() { chunks } else { 0 },
            usage: self.usage,
            ..Plan::at(now + self.after, self.ending, self.facts)
        }
    }
}
