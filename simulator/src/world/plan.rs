//! One call to the world, and what will come of it.

use stormproof_router::core::{Duration, Ending, Endpoint, Facts, KeyId, Source, Timestamp, Tokens, UpstreamId, Usage};

use crate::draws::Stream;

/// One upstream call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// With which key.
    pub key: KeyId,
    /// To which upstream model.
    pub upstream: UpstreamId,
    /// Which kind of call.
    pub endpoint: Endpoint,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// The prompt's true length.
    pub input: Tokens,
    /// The length that the answer will have.
    pub output: Tokens,
    /// From which of our addresses.
    pub address: u16,
    /// Its fortune.
    pub luck: Luck,
}

/// The drawn bits that decide over a call; nothing else is random.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Luck {
    /// The same for all attempts of one turn.
    pub turn: u64,
    /// This attempt's own.
    pub attempt: u64,
}

/// All the luck of one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fortune {
    turns: Source,
    attempts: Source,
}

impl Fortune {
    /// The luck of this seed.
    pub fn new(seed: u64) -> Self {
        Self { turns: Stream::Turn.of(seed), attempts: Stream::Attempt.of(seed) }
    }

    /// The luck of a turn's `nth` attempt at an upstream model, counted from 0.
    pub fn luck(&self, turn: u64, upstream: UpstreamId, nth: u32) -> Luck {
        let index = u64::from(upstream.get()) << 32 | u64::from(nth);
        Luck { turn: self.turns.draw(turn, 0), attempt: self.attempts.draw(turn, index) }
    }
}

/// What will come of a call, if nobody stops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When the first good chunk of a stream is there; `None` when none comes, and for answers that are not streamed.
    pub first_byte: Option<Timestamp>,
    /// Good chunks that arrive, evenly spaced from the first byte to the end; 0 without a first byte.
    pub chunks: u32,
    /// Silence in the middle of the stream begins after the last chunk here; `None` when it never falls silent.
    pub silent_from: Option<Timestamp>,
    /// When it ends; [`Timestamp::MAX`] when it never does.
    pub end: Timestamp,
    /// How it ends.
    pub ending: Ending,
    /// What the answer says. A plain success says nothing.
    pub facts: Option<Facts>,
    /// What the provider counts.
    pub usage: Option<Usage>,
}

/// A call that has been made: what the world needs to know when it is stopped early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    /// [`Timestamp::MAX`] when none comes.
    pub(super) first_byte: Timestamp,
    pub(super) end: Timestamp,
    pub(super) input: Tokens,
    pub(super) output: Tokens,
}

impl Plan {
    /// A plan that ends at one moment and streams nothing.
    pub(super) fn at(end: Timestamp, ending: Ending, facts: Facts) -> Self {
        Self { first_byte: None, chunks: 0, silent_from: None, end, ending, facts: Some(facts), usage: None }
    }

    /// What is needed to stop the call that this plan was made for.
    pub fn ticket(&self, call: &Call) -> Ticket {
        let first_byte = self.first_byte.unwrap_or(Timestamp::MAX);
        Ticket { first_byte, end: self.end, input: call.input, output: call.output }
    }

    /// The time between two chunks; zero for fewer than two.
    pub fn chunk_gap(&self) -> Duration {
        match (self.first_byte, self.chunks) {
            (None, _) | (_, 0 | 1) => Duration::ZERO,
            (Some(first), chunks) => {
                let last = self.silent_from.unwrap_or(self.end);
                Duration::from_nanos(last.since(first).as_nanos() / u64::from(chunks - 1))
            }
        }
    }
}
