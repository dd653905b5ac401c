//! A scenario as it is written. What it means is worked out beside, part by part.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use stormproof_router::config::{
    At, Config, Count, KnobTexts, Model, Named, Node, Period, PriorityWord, Projects, Rate, RetriesWord, Share,
};
use stormproof_router::core::{Endpoint, Reason, Transport};

use super::quantity::{Drawn, Moment};
use crate::baselines::litellm::Options;
use crate::world::Wording;

/// One question: clients, a world, the routers to compare, and what must pass.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScenarioFile {
    /// What the scenario asks, in a few sentences.
    pub about: String,
    /// The configuration under rehearsal: a path relative to this file, or the configuration itself. Secrets are not
    /// read.
    #[schemars(with = "ConfigWord")]
    pub config: At<Node>,
    /// When the day begins: `2025-04-18 22:10 America/Los_Angeles`.
    pub start: At<String>,
    /// How long new turns begin.
    pub duration: At<Period>,
    /// Replications; 30 unless set.
    #[serde(default = "default_seeds")]
    pub seeds: At<u32>,
    /// What is assumed and not known: parts of this file by their path (`world.latency`), or sentences. Stands on every
    /// table and picture.
    #[serde(default)]
    pub assumed: Vec<At<String>>,
    /// Who asks.
    pub clients: At<Vec<Client>>,
    /// Day quota used before the start, by tier: a share of each project's, or a number of requests.
    #[serde(default)]
    pub used_today: Named<At<UsedWord>>,
    /// Whether our router knows of that use, as it does when it ran before; on unless set.
    #[serde(default = "yes")]
    pub used_is_known: bool,
    /// The providers as they really are.
    #[serde(default)]
    pub world: World,
    /// The routers to compare, by the names that results show.
    #[schemars(with = "BTreeMap<String, Contender>")]
    pub compare: Named<At<Node>>,
    /// What must hold: `stormproof: success_rate >= 99.9%`.
    #[serde(default)]
    pub pass: Vec<At<String>>,
}

/// How `config` is written, for editors.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it exists for its schema; reading keeps the tree, for sweeps change parts of it")]
enum ConfigWord {
    Path(String),
    Inline(Box<Config>),
}

/// How an entry of `compare` is written, for editors.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it exists for its schema; which fields an entry has depends on its router")]
enum Contender {
    Stormproof(Stormproof),
    LiteLlm(Box<Options>),
}

/// Our router, with settings that differ from the configuration's. Knobs may also stand here by name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stormproof {
    /// Which router.
    pub router: StormproofWord,
    /// Models that replace the configuration's of the same name, or are added to them.
    #[serde(default)]
    pub models: Named<Model>,
    /// The router's knobs, by dotted name or nested.
    #[serde(default)]
    pub knobs: KnobTexts,
    /// Retries by class of failure, in place of the configuration's.
    #[serde(default)]
    pub retries: Option<RetriesWord>,
}

/// The name of our router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StormproofWord {
    /// Ours.
    Stormproof,
}

/// A group of clients that behave alike. `turns`, `users` or `trace` says when their turns begin.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its name in the configuration; nobody in particular unless set.
    #[serde(default)]
    pub client: Option<At<String>>,
    /// What it asks for.
    pub model: At<String>,
    /// Which kind of call; `generate` unless set.
    #[serde(default)]
    pub endpoint: EndpointWord,
    /// Whether answers are streamed; off unless set.
    #[serde(default)]
    pub stream: bool,
    /// Who gives way first; as the configuration says of this client unless set.
    #[serde(default)]
    pub priority: Option<PriorityWord>,
    /// Turns that begin independently of the answers: a rate, or a list of rates with the moment from which each holds.
    #[serde(default)]
    pub turns: Option<At<TurnsWord>>,
    /// How such turns are spread: at random (`poisson`, unless set) or `even`.
    #[serde(default)]
    pub spread: Spread,
    /// Users who think, ask, and think again when their turn has ended.
    #[serde(default)]
    pub users: Option<At<u32>>,
    /// How long those users think; 30s unless set.
    #[serde(default)]
    pub think: Option<Drawn<Period>>,
    /// Recorded arrivals: a CSV file with the columns `at`, and optionally `input`, `output` and `leaves` (how
    /// long after `at` the user goes away).
    #[serde(default)]
    pub trace: Option<At<String>>,
    /// How large turns are.
    #[serde(default)]
    pub tokens: Tokens,
    /// How long a turn is worth an answer, through all retries; as `deadline` unless set.
    #[serde(default)]
    pub patience: Option<At<Period>>,
    /// How long the client waits for one call; as the model's unless set.
    #[serde(default)]
    pub deadline: Option<At<Period>>,
    /// What it does about a failed call; nothing unless set.
    #[serde(default)]
    pub retries: RetryWord,
}

/// Which kind of call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EndpointWord {
    /// Chat and completions.
    #[default]
    Generate,
    /// Embeddings.
    Embed,
    /// Counting tokens.
    Count,
}

/// How turns are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Spread {
    /// At random, independently of each other.
    #[default]
    Poisson,
    /// One every 1 / rate.
    Even,
}

/// Turns per second: one rate, or a list of rates over time.
#[derive(Clone, Debug, PartialEq)]
pub enum TurnsWord {
    /// All day.
    Steady(Rate),
    /// Each from its moment on.
    Steps(Vec<RateFrom>),
}

/// A rate from a moment on.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateFrom {
    /// From here to the next entry, or to the end.
    pub from: At<Moment>,
    /// Turns per time; `none` where nobody asks.
    pub rate: RateWord,
}

/// A rate, or none at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateWord(pub f64);

/// How large turns are, in tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tokens {
    /// Prompt; 1000 unless set.
    pub input: Option<Drawn<Count>>,
    /// Answer; 500 unless set.
    pub output: Option<Drawn<Count>>,
    /// The longest answer that the client allows; it says nothing unless set.
    pub output_max: Option<Count>,
    /// What the router estimates of the prompt, as a multiple of the truth; 1 unless set.
    pub estimate: Option<At<f64>>,
}

/// What a client does about a failed call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RetryWord {
    /// Nothing.
    #[default]
    None,
    /// What the OpenAI libraries do: three calls in all.
    Sdk,
    /// What aider does over that library: 0.25 s doubling to 32 s, so up to 27 calls for one turn.
    Aider,
}

/// Day quota used before the start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UsedWord {
    /// A part of each project's day quota.
    Share(f64),
    /// Requests of each project.
    Requests(u32),
}

/// The providers as they really are. Where nothing is said they are as the configuration says.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct World {
    /// True quota: `as-configured`, or by upstream model where it differs.
    pub limits: LimitsTruth,
    /// Who really shares a quota bucket, by key group, where it differs: `shared`, `separate`, one name for each key,
    /// or the number of buckets that the keys are dealt to.
    pub projects: Named<At<ProjectsTruth>>,
    /// What all upstream models have in common, unless `upstreams` says otherwise of one.
    #[serde(default)]
    pub charged: Option<Charged>,
    /// How long a good answer takes.
    pub latency: Option<At<Latency>>,
    /// How long a refusal takes.
    pub refusals: Option<Refusals>,
    /// How a streamed answer arrives.
    pub pace: Option<Pace>,
    /// What else goes wrong.
    pub faults: Option<At<Faults>>,
    /// Probability of a 503 at any time.
    pub noise: Option<Share>,
    /// How errors are worded; as the provider worded them at the time of `start` unless set.
    pub wording: Option<WordingWord>,
    /// One upstream model in particular.
    pub upstreams: Named<Upstream>,
    /// When models are overloaded.
    pub weather: Vec<Weather>,
    /// Throttles on our whole address.
    pub throttles: Vec<Throttle>,
    /// Keys that stop working.
    pub deaths: Vec<Death>,
    /// Replies that are fixed beforehand; the first that matches wins over everything else.
    pub script: Vec<Scripted>,
}

/// What is particular about one upstream model.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Which failures consume request quota.
    pub charged: Option<Charged>,
    /// How long a good answer takes.
    pub latency: Option<At<Latency>>,
    /// How long a refusal takes.
    pub refusals: Option<Refusals>,
    /// How a streamed answer arrives.
    pub pace: Option<Pace>,
    /// What else goes wrong.
    pub faults: Option<At<Faults>>,
    /// Probability of a 503 at any time.
    pub noise: Option<Share>,
    /// How errors are worded.
    pub wording: Option<WordingWord>,
}

/// The true quota of projects.
#[derive(Clone, Debug, Default)]
pub enum LimitsTruth {
    /// What the configuration says.
    #[default]
    AsConfigured,
    /// By upstream model, where it differs.
    Differing(Named<Quota>),
}

/// The true quota of one project for one upstream model. What is not named is as configured; `none` is unlimited.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// Requests in any 60 s.
    pub rpm: Option<QuotaWord>,
    /// Input tokens in any 60 s.
    pub tpm: Option<QuotaWord>,
    /// Requests per quota day.
    pub rpd: Option<QuotaWord>,
    /// Input tokens per quota day.
    pub tpd: Option<QuotaWord>,
}

/// A limit, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaWord {
    /// Unlimited.
    None,
    /// This many.
    Limit(u32),
}

/// Who really shares a quota bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectsTruth {
    /// Said in the way of the configuration.
    Named(Projects),
    /// So many buckets, to which the keys are dealt in turn.
    Number(u32),
}

/// Which failures consume request quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Charged {
    /// Overloads and other server errors; on unless set.
    #[serde(rename = "503")]
    pub overload: Option<bool>,
    /// Rejected calls; off unless set.
    #[serde(rename = "429")]
    pub limit: Option<bool>,
}

/// How long a good answer takes: one value, a distribution, or `{time: ..., tokens_per_s: ..., per: turn}`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Latency {
    /// From call to end, drawn anew for every attempt.
    Time(Drawn<Period>),
    /// With more to say.
    Detailed(DetailedLatency),
}

/// How long a good answer takes, in detail.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetailedLatency {
    /// From call to end, or to the begin of the generation when `tokens_per_s` is given.
    pub time: Drawn<Period>,
    /// Answer tokens per second, for answers whose length matters.
    #[serde(default)]
    pub tokens_per_s: Option<At<f64>>,
    /// How often it is drawn; `attempt` unless set.
    #[serde(default)]
    pub per: Per,
}

/// How often a quantity is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// Once for a turn: long questions are long for every attempt and every model.
    Turn,
    /// Anew for every attempt.
    #[default]
    Attempt,
}

/// How long a refusal takes.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Refusals {
    /// A 503, a 500 or a reset; median 1.2s unless set.
    pub overload: Option<Drawn<Period>>,
    /// A 429; 0.3s unless set.
    pub limit: Option<Drawn<Period>>,
    /// What is the caller's fault; 0.1s unless set.
    pub request: Option<Drawn<Period>>,
}

/// How a streamed answer arrives.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pace {
    /// Share of the latency that passes before the first chunk; 40% unless set.
    pub first_byte: Option<Share>,
    /// Answer tokens in one chunk; 25 unless set.
    pub chunk_tokens: Option<Count>,
}

/// Probabilities that a call which would have been answered goes wrong in this way; together at most 100%.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// No connection.
    pub connect: Option<Share>,
    /// The connection dies before the answer's head.
    pub reset: Option<Share>,
    /// 500.
    pub server: Option<Share>,
    /// 504.
    pub timeout: Option<Share>,
    /// A 200 whose body is not what the dialect promises.
    pub malformed: Option<Share>,
    /// A stream breaks off half-way; a plain answer dies like a reset.
    pub cut: Option<Share>,
    /// A stream ends half-way with an error event that says 503; a plain answer is a 503.
    pub error_event: Option<Share>,
    /// Nothing ever comes.
    pub hang: Option<Share>,
    /// A stream stops half-way and stays open; a plain answer hangs.
    pub stall: Option<Share>,
    /// A stream takes ten times as long after its first chunk; a plain answer as a whole.
    pub slow: Option<Share>,
    /// A 429 without details although the quota is not used up.
    pub spurious_limit: Option<Share>,
    /// A safety rule blocks the answer.
    pub blocked: Option<Share>,
}

/// When a model is overloaded: one episode (`from`, `until` or `for`, `p503`), episodes that are drawn (`healthy`, `episode`,
/// `p503`), or another model's episodes (`follows`, `factor`).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Weather {
    /// Which model, or which of them.
    pub upstream: At<String>,
    /// One episode: it begins.
    #[serde(default)]
    pub from: Option<At<Moment>>,
    /// It is over.
    #[serde(default)]
    pub until: Option<At<Moment>>,
    /// How long it lasts, in place of `until`.
    #[serde(default, rename = "for")]
    pub lasts: Option<At<Period>>,
    /// Probability of a 503 in an episode; drawn once an episode where it is a distribution.
    #[serde(default)]
    pub p503: Option<At<Drawn<Share>>>,
    /// Episodes that are drawn: length of a healthy phase. The day begins healthy.
    #[serde(default)]
    pub healthy: Option<Drawn<Period>>,
    /// Length of an episode.
    #[serde(default)]
    pub episode: Option<Drawn<Period>>,
    /// The model whose episodes this one shares.
    #[serde(default)]
    pub follows: Option<At<String>>,
    /// What the probability of a 503 there is multiplied by here; 1 unless set.
    #[serde(default)]
    pub factor: Option<At<f64>>,
}

/// A limit on all calls from our address to one provider, whichever key they carry.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// Who throttles.
    pub provider: At<String>,
    /// Since when; the start unless set.
    #[serde(default)]
    pub from: Option<At<Moment>>,
    /// Until when; the end unless set.
    #[serde(default)]
    pub until: Option<At<Moment>>,
    /// Calls in any 60 s that still pass.
    pub rpm: Count,
    /// Whether the answer says that it is the address; off unless set.
    #[serde(default)]
    pub says_so: bool,
}

/// A key that stops working.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Death {
    /// Its name: `free-03`.
    pub key: At<String>,
    /// Since when; the start unless set.
    #[serde(default)]
    pub from: Option<At<Moment>>,
    /// Until when; for good unless set.
    #[serde(default)]
    pub until: Option<At<Moment>>,
    /// For this upstream model only; for all unless set.
    #[serde(default)]
    pub upstream: Option<At<String>>,
    /// What the provider says.
    pub reason: ReasonWord,
}

/// A reply that is fixed beforehand.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scripted {
    /// Calls made from here on; from the start unless set.
    #[serde(default)]
    pub from: Option<At<Moment>>,
    /// Calls made before this; to the end unless set.
    #[serde(default)]
    pub until: Option<At<Moment>>,
    /// Calls with this key; with any unless set.
    #[serde(default)]
    pub key: Option<At<String>>,
    /// Calls to this upstream model; to any unless set.
    #[serde(default)]
    pub upstream: Option<At<String>>,
    /// How often; always unless set.
    #[serde(default)]
    pub times: Option<u32>,
    /// How long after the call the reply ends; 1s unless set.
    #[serde(default)]
    pub after: Option<Period>,
    /// The reply: an HTTP status, or how the call breaks.
    pub answer: At<AnswerWord>,
    /// What the reply says beside its status; a 503 says that the model is overloaded unless set.
    #[serde(default)]
    pub reason: Option<ReasonWord>,
    /// When the reply says that a repeat makes sense.
    #[serde(default)]
    pub retry_after: Option<Period>,
    /// The quotas that the reply names as violated.
    #[serde(default)]
    pub violated: Vec<ViolatedWord>,
}

/// A reply: an HTTP status, or how the call breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerWord {
    /// This status.
    Status(u16),
    /// No complete answer.
    Broken(Transport),
}

/// A quota that a reply names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ViolatedWord {
    /// Requests per minute.
    Rpm,
    /// Input tokens per minute.
    Tpm,
    /// Requests per day.
    Rpd,
    /// Input tokens per day.
    Tpd,
}

/// What a provider says beside its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReasonWord {
    /// The model is overloaded.
    Overloaded,
    /// The key is not valid.
    KeyInvalid,
    /// The key has been suspended.
    KeySuspended,
    /// The key was reported as leaked.
    KeyLeaked,
    /// No free tier for this model.
    NoFreeTier,
    /// The model is closed to new users.
    ClosedToNewUsers,
    /// The API is disabled in the key's project.
    ServiceDisabled,
    /// The account has no money left.
    OutOfFunds,
    /// The model does not exist here.
    ModelNotFound,
    /// This location is not served.
    LocationUnsupported,
    /// Our address is throttled.
    AddressThrottled,
    /// A safety rule blocks the answer.
    ContentBlocked,
}

/// How a provider words its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WordingWord {
    /// Gemini in April 2025: quotas named without values, no retry delay.
    #[serde(rename = "gemini-spring-2025")]
    GeminiSpring2025,
    /// Gemini in mid 2025: one quota with its value and a retry delay.
    #[serde(rename = "gemini-summer-2025")]
    GeminiSummer2025,
    /// Gemini since late 2025: every violated quota, and a retry delay that is short even for a day quota.
    #[serde(rename = "gemini-late-2025")]
    GeminiLate2025,
    /// Gemini in 2026: "high demand" instead of "overloaded".
    #[serde(rename = "gemini-2026")]
    Gemini2026,
    /// No details at all, as paid Gemini keys see it.
    GeminiBare,
    /// Vertex with dynamic shared quota: no details.
    Vertex,
    /// OpenAI-compatible, with a `Retry-After` header.
    Openai,
    /// Mistral's of April 2025: one sentence, no details.
    Mistral,
    /// Mistral's since mid 2025: with a type and a code.
    #[serde(rename = "mistral-late-2025")]
    MistralLate2025,
}

const fn yes() -> bool {
    true
}

fn default_seeds() -> At<u32> {
    At::unplaced(30)
}

impl From<EndpointWord> for Endpoint {
    fn from(word: EndpointWord) -> Self {
        match word {
            EndpointWord::Generate => Self::Generate,
            EndpointWord::Embed => Self::Embed,
            EndpointWord::Count => Self::Count,
        }
    }
}

impl From<ReasonWord> for Reason {
    fn from(word: ReasonWord) -> Self {
        match word {
            ReasonWord::Overloaded => Self::Overloaded,
            ReasonWord::KeyInvalid => Self::KeyInvalid,
            ReasonWord::KeySuspended => Self::KeySuspended,
            ReasonWord::KeyLeaked => Self::KeyLeaked,
            ReasonWord::NoFreeTier => Self::NoFreeTier,
            ReasonWord::ClosedToNewUsers => Self::ClosedToNewUsers,
            ReasonWord::ServiceDisabled => Self::ServiceDisabled,
            ReasonWord::OutOfFunds => Self::OutOfFunds,
            ReasonWord::ModelNotFound => Self::ModelNotFound,
            ReasonWord::LocationUnsupported => Self::LocationUnsupported,
            ReasonWord::AddressThrottled => Self::AddressThrottled,
            ReasonWord::ContentBlocked => Self::ContentBlocked,
        }
    }
}

impl From<WordingWord> for Wording {
    fn from(word: WordingWord) -> Self {
        match word {
            WordingWord::GeminiSpring2025 => Self::GeminiSpring2025,
            WordingWord::GeminiSummer2025 => Self::GeminiSummer2025,
            WordingWord::GeminiLate2025 => Self::GeminiLate2025,
            WordingWord::Gemini2026 => Self::Gemini2026,
            WordingWord::GeminiBare => Self::GeminiBare,
            WordingWord::Vertex => Self::Vertex,
            WordingWord::Openai => Self::OpenAi,
            WordingWord::Mistral => Self::Mistral,
            WordingWord::MistralLate2025 => Self::MistralLate2025,
        }
    }
}
