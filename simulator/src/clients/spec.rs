//! What a group of like clients does, resolved to indexes.

use stormproof_router::core::{ClientId, Duration, Endpoint, ModelId, Priority, Timestamp, Tokens};

use crate::draws::Shape;

/// A group of clients that behave alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Who asks.
    pub client: ClientId,
    /// For what.
    pub model: ModelId,
    /// Which kind of call.
    pub endpoint: Endpoint,
    /// Whether answers are streamed.
    pub stream: bool,
    /// Who gives way first.
    pub priority: Priority,
    /// When turns begin.
    pub arrivals: Arrivals,
    /// How large they are.
    pub sizes: Sizes,
    /// How long a turn is worth an answer, from its intended arrival through all retries. Then its user goes away.
    pub patience: Duration,
    /// How long the client waits for one call.
    pub deadline: Duration,
    /// What it does about a failed call.
    pub retries: Retries,
}

/// When turns begin.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// Independently of the answers, at random: a Poisson process whose rate changes over time.
    Poisson(Vec<Rate>),
    /// Independently of the answers, evenly: one every 1 / rate.
    Even(Vec<Rate>),
    /// Each user thinks, asks, and thinks again when the turn has ended.
    Closed {
        /// How many users.
        users: u32,
        /// How long they think, in seconds; also before the first turn.
        think: Shape,
    },
    /// As recorded, in ascending order.
    Trace(Vec<TraceTurn>),
}

/// Turns per second from a moment on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// From here to the next entry, or to the end.
    pub from: Timestamp,
    /// Turns per second.
    pub per_s: f64,
}

/// One recorded turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceTurn {
    /// Its intended arrival.
    pub at: Timestamp,
    /// Its prompt; `None` draws it.
    pub input: Option<Tokens>,
    /// Its answer; `None` draws it.
    pub output: Option<Tokens>,
    /// How long after the arrival its user goes away, if that is before the group's patience ends.
    pub leaves: Option<Duration>,
}

/// How large turns are, in tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
    /// Prompt.
    pub input: Shape,
    /// Answer.
    pub output: Shape,
    /// The longest answer that the client allows, if it says.
    pub output_max: Option<Tokens>,
    /// What the router's estimate of the prompt is, as a multiple of the truth.
    pub estimate: f64,
}

/// What a client does about a failed call. Every further call is a new request of the same turn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Retries {
    /// The library's own retries, inside each attempt of the program.
    pub sdk: Option<Sdk>,
    /// The program's retries.
    pub ladder: Option<Ladder>,
}

/// A client library's retries: statuses 408, 409, 429 and 5xx, but not an error inside a 200 stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sdk {
    /// Calls in all.
    pub calls: u32,
    /// First gap; doubles.
    pub base: Duration,
    /// Longest gap.
    pub max: Duration,
    /// Up to this share is taken off a gap, at random.
    pub jitter: f64,
    /// `Retry-After` is obeyed up to this.
    pub obeys_up_to: Duration,
}

/// A program's retries: pauses that double until one would be too long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ladder {
    /// First pause.
    pub first: Duration,
    /// Longest pause that it still makes.
    pub last: Duration,
}

impl Spec {
    /// Clients that ask once for this model, and wait as long for the answer as the turn is worth.
    pub fn simple(model: ModelId, arrivals: Arrivals, patience: Duration) -> Self {
        Self {
            client: ClientId::new(0),
            model,
            endpoint: Endpoint::Generate,
            stream: false,
            priority: Priority::Normal,
            arrivals,
            sizes: Sizes::default(),
            patience,
            deadline: patience,
            retries: Retries::default(),
        }
    }
}

impl Default for Sizes {
    /// A short question and its answer.
    fn default() -> Self {
        Self { input: Shape::Fixed(1000.0), output: Shape::Fixed(500.0), output_max: None, estimate: 1.0 }
    }
}

impl Sdk {
    /// The OpenAI libraries: three calls, 0.5 and 1 s apart less up to a quarter, `Retry-After` up to a minute.
    pub const OPENAI: Self = Self {
        calls: 3,
        base: Duration::from_millis(500),
        max: Duration::from_secs(8),
        jitter: 0.25,
        obeys_up_to: Duration::from_secs(60),
    };
}

impl Ladder {
    /// aider: 0.25 s doubling to 32 s, so nine attempts; it ignores `Retry-After`.
    pub const AIDER: Self = Self { first: Duration::from_millis(250), last: Duration::from_secs(32) };
}

impl Retries {
    /// aider over the OpenAI library: up to 27 calls for one turn.
    pub const AIDER: Self = Self { sdk: Some(Sdk::OPENAI), ladder: Some(Ladder::AIDER) };
}
