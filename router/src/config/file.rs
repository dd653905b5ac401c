//! `stormproof.yaml` as it is written. What it means is worked out in [`resolve`](super::resolve).

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::knobs::KnobTexts;
use super::placed::{At, Named, OneOrMany};
use super::secret::SecretSource;
use super::written::{Address, Bytes, Count, DayMoney, Dollars, Period, Share};
use crate::core::{Duration, Priority, Usd};

/// One configuration: what the live proxy serves and what a scenario rehearses.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where clients connect; `127.0.0.1:4000` unless set. Any address but the machine's own requires `clients`.
    #[serde(default = "default_listen")]
    pub listen: At<Address>,
    /// Serve TLS. Without it, put a proxy that does in front of any listener that others can reach.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// The operators' listener. There is none unless this is set.
    #[serde(default)]
    pub admin: Option<Admin>,
    /// The event log.
    #[serde(default)]
    pub log: Log,
    /// Who may ask. Without any, everyone who reaches the listener may.
    #[serde(default)]
    pub clients: Named<Client>,
    /// Upstream APIs.
    pub providers: Named<Provider>,
    /// Named groups of credentials.
    pub keys: Named<KeyGroup>,
    /// Named sets of keys serving one upstream model, with their limits, price and budget.
    pub tiers: Named<Tier>,
    /// What clients may ask for.
    pub models: Named<Model>,
    /// The router's knobs, by dotted name or nested. Each has a default.
    #[serde(default)]
    pub knobs: KnobTexts,
    /// The most retries of one request by class of failure; what is not named is bounded by `retry.max_attempts` and
    /// the deadline alone.
    #[serde(default)]
    pub retries: RetriesWord,
    /// Where a request's deadline comes from, and what it may be.
    #[serde(default)]
    pub deadlines: Deadlines,
    /// The largest request body; 32MiB unless set.
    #[serde(default = "default_body_max")]
    pub body_max: Bytes,
    /// For load balancers that cut idle connections: send headers and comments of an OpenAI stream after this time,
    /// while still retrying. Off unless set.
    #[serde(default)]
    pub early_stream: Option<Period>,
    /// How long a shutdown waits for requests in flight; 30s unless set.
    #[serde(default = "default_drain")]
    pub drain: Period,
    /// Fetching of remote images that requests name. Off unless set.
    #[serde(default)]
    pub images: Option<Images>,
    /// Seeds every draw of the router.
    #[serde(default)]
    pub seed: u64,
    /// What messages call this file.
    #[serde(skip)]
    pub(super) origin: Arc<str>,
    /// Whether it may hold what nothing uses: its models have been replaced.
    #[serde(skip)]
    pub(super) partial: bool,
}

/// Certificate and key of a listener, PEM.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The operators' listener.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Where operators connect, not the clients' listener; `127.0.0.1:4001` unless set.
    #[serde(default = "default_admin_listen")]
    pub listen: At<Address>,
    /// What an operator must show.
    pub token: At<SecretSource>,
}

/// The event log.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Its folder; `log` unless set.
    pub dir: PathBuf,
    /// How long closed segments are kept; 30d unless set.
    pub keep: Period,
    /// What happens to requests when it cannot be written; `refuse` unless set.
    pub when_full: WhenFull,
    /// Longest time between a write and its way to the disk; 50ms unless set. `0` brings every write to the disk before
    /// anything comes of it.
    pub sync: Period,
    /// The share of every limit and budget that may be used before the disk has the record; 5% unless set. What would
    /// be more waits for the disk. After a power loss so much counts as used.
    pub at_risk: Share,
    /// Size at which a segment is closed; 64MiB unless set.
    pub segment: Bytes,
}

/// What happens when the log cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// New requests are refused: nothing is spent that is not on record.
    Refuse,
    /// Requests go on, an alarm is raised, and the log gets a gap that says so.
    Drop,
}

/// Who may ask.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Client {
    /// SHA-256 of the client's token, 64 hexadecimal digits; several while a token is being replaced.
    /// `printf %s TOKEN | sha256sum` prints it.
    pub token_sha256: Option<At<SecretSource>>,
    /// Who gives way first when not all can be served.
    pub priority: PriorityWord,
    /// Money per quota day.
    pub budget: Option<DayMoney>,
    /// Requests per minute.
    pub rpm: Option<At<Count>>,
    /// Input tokens per minute.
    pub tpm: Option<At<Count>>,
    /// The models it may ask for; all unless set.
    pub models: Option<Vec<At<String>>>,
}

/// Who gives way first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PriorityWord {
    /// Gives way first.
    Low,
    /// Unless told otherwise.
    #[default]
    Normal,
    /// Served before all others.
    High,
}

/// One upstream API.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// How it speaks.
    pub dialect: Dialect,
    /// Where it is; each dialect knows its vendor's own address.
    #[serde(default)]
    pub base_url: Option<At<String>>,
    /// Vertex: the Google Cloud project. Without it the keys are express keys.
    #[serde(default)]
    pub project: Option<At<String>>,
    /// Vertex: the region; `global` unless set.
    #[serde(default)]
    pub location: Option<At<String>>,
    /// How a key is shown: each dialect knows.
    #[serde(default)]
    pub auth: Option<Auth>,
}

/// How a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Google AI Studio's `generateContent`.
    Gemini,
    /// The same on Google Cloud.
    Vertex,
    /// OpenAI's chat completions and whatever is compatible with them.
    Openai,
}

/// How a key is shown to its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// `x-goog-api-key: KEY`
    ApiKey,
    /// `authorization: Bearer KEY`
    Bearer,
}

/// A named group of credentials; the keys are called `NAME-01`, `NAME-02` and so on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyGroup {
    /// Whose keys they are.
    pub provider: At<String>,
    /// Where they are. A scenario needs none: it makes `expect` keys up.
    #[serde(default)]
    pub secrets: Option<At<SecretSource>>,
    /// How many there are: catches a truncated variable.
    #[serde(default)]
    pub expect: Option<At<Count>>,
    /// Which quota buckets they spend: `separate` (each key its own), `shared` (all one), or one project's name for
    /// each key. Required, since a wrong guess is wrong by the number of keys.
    #[serde(default)]
    pub projects: Option<At<Projects>>,
}

/// Which quota buckets the keys of a group spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Projects {
    /// Each key its own.
    Separate,
    /// All one.
    Shared,
    /// One name for each key, in order; keys with one name share.
    Named(Vec<String>),
}

/// A named set of keys serving one upstream model.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Whose keys: a group, or several.
    pub keys: OneOrMany<At<KeyUseWord>>,
    /// The provider's name for the model.
    pub upstream: At<String>,
    /// Quota per project: `learn` (unless set), `none`, or numbers; what is not named is unlimited.
    #[serde(default)]
    pub limits: At<LimitsWord>,
    /// `free`, `10 USD/answer`, or dollars per million tokens.
    pub price: At<PriceWord>,
    /// Money per quota day, over all its keys.
    #[serde(default)]
    pub budget: Option<At<DayMoney>>,
    /// The longest prompt it takes, in tokens.
    #[serde(default)]
    pub input_max: Option<At<Count>>,
    /// The longest answer its model gives, in tokens.
    #[serde(default)]
    pub output_max: Option<At<Count>>,
    /// Timeouts of one attempt.
    #[serde(default)]
    pub timeouts: TimeoutsWord,
}

/// One key group of a tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyUseWord {
    /// By its name alone.
    Group(String),
    /// With its weight and order.
    Use(KeyUse),
}

/// One key group of a tier, with its weight and order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyUse {
    /// Its name.
    pub group: String,
    /// Its keys' weight, for the strategies that weigh; 1 unless set.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// Lower orders are used first; 0 unless set.
    #[serde(default)]
    pub order: u8,
}

/// Quota as it is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum LimitsWord {
    /// Not known: learn them from error bodies.
    #[default]
    Learn,
    /// Unlimited.
    None,
    /// These.
    Known(KnownLimits),
}

/// Quota of one project for one upstream model. What is not named is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KnownLimits {
    /// Requests per minute.
    pub rpm: Option<At<Count>>,
    /// Input tokens per minute.
    pub tpm: Option<At<Count>>,
    /// Requests per quota day, which ends at midnight in California.
    pub rpd: Option<At<Count>>,
}

/// A price as it is written.
#[derive(Clone, Debug, PartialEq)]
pub enum PriceWord {
    /// Costs nothing.
    Free,
    /// Money per successful answer.
    Answer(Usd),
    /// Dollars per million tokens.
    Tokens(TokenPrices),
}

/// US dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenPrices {
    /// Input that was not cached.
    pub input: Dollars,
    /// Input that was; as `input` unless set.
    #[serde(default)]
    pub cached: Option<Dollars>,
    /// Answer and thinking tokens.
    pub output: Dollars,
    /// Prices of the whole call where its input is longer than a threshold.
    #[serde(default)]
    pub above: Option<AbovePrices>,
}

/// US dollars per million tokens of a call whose input is longer than `tokens`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AbovePrices {
    /// The threshold.
    pub tokens: Count,
    /// Input that was not cached.
    pub input: Dollars,
    /// Input that was; as `input` unless set.
    #[serde(default)]
    pub cached: Option<Dollars>,
    /// Answer and thinking tokens.
    pub output: Dollars,
}

/// Timeouts of one attempt.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsWord {
    /// Until the connection stands; 5s unless set.
    pub connect: Option<At<Period>>,
    /// From dispatch to the first byte; as long as the request's deadline allows unless set.
    pub first_byte: Option<At<Period>>,
    /// Between two chunks of a stream; 60s unless set.
    pub idle: Option<At<Period>>,
    /// From dispatch to the end; 600s unless set.
    pub total: Option<At<Period>>,
}

/// What clients may ask for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Tiers in order of preference; those after the first are the fallback.
    pub tiers: At<Vec<At<String>>>,
    /// For requests that bring none; 180s unless set.
    #[serde(default = "default_deadline")]
    pub deadline: At<Period>,
    /// The model used instead when the prompt is too long for every tier.
    #[serde(default)]
    pub context_fallback: Option<At<String>>,
    /// The model used instead when a safety rule blocks the answer.
    #[serde(default)]
    pub content_fallback: Option<At<String>>,
}

/// The most retries of one request by class of failure.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetriesWord {
    /// After the model was overloaded.
    pub overload: Option<u16>,
    /// After a server or connection failure.
    pub server: Option<u16>,
    /// After a 429 of any kind.
    pub rate: Option<u16>,
    /// After a key was refused.
    pub auth: Option<u16>,
}

/// Where a request's deadline comes from, and what it may be.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Deadlines {
    /// The header that names it, `x-stormproof-deadline` unless set; `X-Server-Timeout` and `x-stainless-read-timeout` are read in any case.
    pub header: At<String>,
    /// No request gets less; 1s unless set.
    pub min: Period,
    /// No request gets more; 1h unless set.
    pub max: At<Period>,
}

/// Fetching of remote images; never from private addresses.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// Whether to; off unless set.
    pub fetch: bool,
    /// The largest image; 20MB unless set.
    pub size_max: Bytes,
    /// The longest fetch; 10s unless set.
    pub timeout: Period,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("log"),
            keep: Period(Duration::from_secs(30 * 86_400)),
            when_full: WhenFull::Refuse,
            sync: Period(Duration::from_millis(50)),
            at_risk: Share(0.05),
            segment: Bytes(64 << 20),
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            header: At::unplaced("x-stormproof-deadline".to_owned()),
            min: Period(Duration::from_secs(1)),
            max: At::unplaced(Period(Duration::from_secs(3_600))),
        }
    }
}

impl Default for Images {
    fn default() -> Self {
        Self { fetch: false, size_max: Bytes(20_000_000), timeout: Period(Duration::from_secs(10)) }
    }
}

impl From<PriorityWord> for Priority {
    fn from(word: PriorityWord) -> Self {
        match word {
            PriorityWord::Low => Self::Low,
            PriorityWord::Normal => Self::Normal,
            PriorityWord::High => Self::High,
        }
    }
}

fn default_listen() -> At<Address> {
    At::unplaced(Address(([127, 0, 0, 1], 4000).into()))
}

fn default_admin_listen() -> At<Address> {
    At::unplaced(Address(([127, 0, 0, 1], 4001).into()))
}

fn default_body_max() -> Bytes {
    Bytes(32 << 20)
}

fn default_drain() -> Period {
    Period(Duration::from_secs(30))
}

fn default_deadline() -> At<Period> {
    At::unplaced(Period(Duration::from_secs(180)))
}

const fn default_weight() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `BLESS=1 cargo test -p stormproof-router schema` writes it anew.
    #[test]
    fn the_committed_schema_is_true() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/stormproof.schema.json");
        let schema = serde_json::to_string_pretty(&Config::schema()).expect("a schema is JSON") + "\n";
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, &schema).expect("written");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == schema, "{path} is out of date: run this test with BLESS=1");
    }
}
