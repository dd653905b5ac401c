//! What a world is made of, resolved to indexes: keys and upstreams are numbered as in the router's settings, projects
//! by the world itself, because the router may be wrong about who shares one.

use std::sync::Arc;

use stormproof_router::core::{Duration, Ending, Facts, KeyId, ProviderId, Reason, Timestamp, UpstreamId};

use super::recorded::Recorded;
use super::wording::Wording;
use crate::draws::Shape;

/// The providers as they really are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spec {
    /// The true quota-day resets, ascending.
    pub resets: Vec<Timestamp>,
    /// Credentials, by [`KeyId`].
    pub keys: Vec<Key>,
    /// The true quota buckets.
    pub projects: Vec<Project>,
    /// Upstream models, by [`UpstreamId`].
    pub upstreams: Vec<Upstream>,
    /// Throttles on whole addresses.
    pub throttles: Vec<Throttle>,
    /// Replies that are fixed beforehand; the first that matches wins over everything else.
    pub script: Vec<Scripted>,
    /// Answers that are on record: given again where they still hold.
    pub recorded: Option<Arc<Recorded>>,
}

/// One credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// Index into [`Spec::projects`]: whose quota it really spends.
    pub project: u32,
    /// When and how it stops working.
    pub deaths: Vec<Death>,
}

/// A key, or its access to one model, stops working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// Since when.
    pub from: Timestamp,
    /// Until when; [`Timestamp::MAX`] is for good.
    pub until: Timestamp,
    /// Only for this upstream model, or for all.
    pub upstream: Option<UpstreamId>,
    /// What the provider says.
    pub reason: Reason,
}

/// One true quota bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Project {
    /// Its quota by [`UpstreamId`]; upstreams beyond the end are unlimited.
    pub quotas: Vec<Quota>,
}

/// Quota of one project for one upstream model, with what is used of it when the run begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Requests in any 60 s.
    pub rpm: Option<u32>,
    /// Input tokens in any 60 s.
    pub tpm: Option<u32>,
    /// Requests per quota day.
    pub rpd: Option<u32>,
    /// Input tokens per quota day.
    pub tpd: Option<u32>,
    /// Requests of the running day that were made before the run.
    pub used_requests: u32,
    /// Input tokens of the running day that were spent before the run.
    pub used_tokens: u32,
}

/// One upstream model at one provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Whose it is.
    pub provider: ProviderId,
    /// How its errors are worded, and which facts they carry.
    pub wording: Wording,
    /// When it is overloaded.
    pub weather: Weather,
    /// How long a good answer takes.
    pub latency: Latency,
    /// How a streamed answer arrives.
    pub pace: Pace,
    /// How long a refusal takes.
    pub refusals: Refusals,
    /// Which failures consume request quota.
    pub charged: Charged,
    /// What else goes wrong.
    pub faults: Faults,
}

/// When a model answers 503 to everybody.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weather {
    /// Probability of a 503 at any time.
    pub noise: f64,
    /// Episodes that are fixed beforehand.
    pub episodes: Vec<Episode>,
    /// Episodes that are drawn from the seed.
    pub process: Option<Process>,
    /// Shares another upstream's episodes.
    pub follows: Option<Follows>,
}

/// One overload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Episode {
    /// It begins.
    pub from: Timestamp,
    /// It is over.
    pub until: Timestamp,
    /// Probability of a 503 in between.
    pub p503: f64,
}

/// Healthy and overloaded phases in turn, healthy first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// Length of a healthy phase.
    pub healthy: Shape,
    /// Length of an episode.
    pub episode: Shape,
    /// Probability of a 503 during one episode, drawn once an episode.
    pub p503: Shape,
}

/// The same episodes as another upstream, weaker or stronger.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Follows {
    /// Whose episodes. That upstream's own `follows` is not looked at.
    pub upstream: UpstreamId,
    /// Its probability of a 503 is multiplied by this.
    pub factor: f64,
}

/// How long a good answer takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// From call to end, or to the begin of the generation when `tokens_per_s` is given.
    pub shape: Shape,
    /// Answer tokens per second, for answers whose length matters.
    pub tokens_per_s: Option<f64>,
    /// How often it is drawn.
    pub per: Per,
}

/// How often a quantity is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Per {
    /// Once for a turn: long questions are long for every attempt and every model.
    Turn,
    /// Anew for every attempt.
    #[default]
    Attempt,
}

/// How a streamed answer arrives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Share of the latency that passes before the first chunk, in 0 to 1.
    pub first_byte: f64,
    /// Answer tokens in one chunk.
    pub chunk_tokens: u32,
}

/// How long a refusal takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refusals {
    /// A 503, a 500 or a reset.
    pub overload: Shape,
    /// A 429.
    pub limit: Shape,
    /// Everything that is the caller's fault, and calls that do not generate.
    pub request: Shape,
}

/// Which failures consume request quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charged {
    /// 503s and other server errors.
    pub overload: bool,
    /// 429s.
    pub limit: bool,
}

/// Probabilities that a call which would have been answered goes wrong in this way. Their sum is at most 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// No connection.
    pub connect: f64,
    /// The connection dies before the answer's head.
    pub reset: f64,
    /// 500.
    pub server: f64,
    /// 504.
    pub timeout: f64,
    /// A 200 whose body is not what the dialect promises.
    pub malformed: f64,
    /// A stream breaks off half-way; a plain answer dies like a reset.
    pub cut: f64,
    /// A stream ends half-way with an error event that says 503; a plain answer is a 503.
    pub error_event: f64,
    /// Nothing ever comes.
    pub hang: f64,
    /// A stream stops half-way and stays open; a plain answer hangs.
    pub stall: f64,
    /// A stream takes ten times as long after its first chunk; a plain answer as a whole.
    pub slow: f64,
    /// A 429 without details although the quota is not used up.
    pub spurious_limit: f64,
    /// A safety rule blocks the answer.
    pub blocked: f64,
}

/// A limit on all calls from one address to one provider, whichever key they carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// Who throttles.
    pub provider: ProviderId,
    /// Since when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Calls in any 60 s that still pass.
    pub rpm: u32,
    /// Whether the answer says that it is the address.
    pub says_so: bool,
}

/// A reply that is fixed beforehand, for replaying an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Scripted {
    /// Calls made from here on
    pub from: Timestamp,
    /// and before this
    pub until: Timestamp,
    /// with this key, or any,
    pub key: Option<KeyId>,
    /// to this upstream, or any,
    pub upstream: Option<UpstreamId>,
    /// are answered so, this many times; `None` is always.
    pub times: Option<u32>,
    /// The answer.
    pub reply: Reply,
}

/// A fixed reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// How long after the call it ends.
    pub after: Duration,
    /// How it ends.
    pub ending: Ending,
    /// What it says.
    pub facts: Facts,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            provider: ProviderId::new(0),
            wording: Wording::default(),
            weather: Weather::default(),
            latency: Latency::default(),
            pace: Pace::default(),
            refusals: Refusals::default(),
            charged: Charged::default(),
            faults: Faults::default(),
        }
    }
}

impl Default for Latency {
    /// Median 20 s with a long tail: a reasoning model on an everyday prompt.
    fn default() -> Self {
        Self { shape: Shape::LogNormal { median: 20.0, sigma: 0.6 }, tokens_per_s: None, per: Per::Attempt }
    }
}

impl Default for Pace {
    /// Gemini 2.5 streams about 25 tokens a chunk, and its headers come with the first one, after the thinking.
    fn default() -> Self {
        Self { first_byte: 0.4, chunk_tokens: 25 }
    }
}

impl Default for Refusals {
    /// 503s come back in one to three seconds, 429s at once.
    fn default() -> Self {
        Self {
            overload: Shape::LogNormal { median: 1.2, sigma: 0.6 },
            limit: Shape::Fixed(0.3),
            request: Shape::Fixed(0.1),
        }
    }
}

impl Default for Charged {
    /// As users report it: an overload consumes quota, a rejected call does not.
    fn default() -> Self {
        Self { overload: true, limit: false }
    }
}
