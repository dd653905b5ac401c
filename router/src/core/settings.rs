//! What the router is told to work with: everything that a configuration says, resolved to indexes, without a secret.
//!
//! Settings are data. A change of settings is one more input ([`Input::Configured`](super::Input::Configured)); state
//! follows key fingerprints and names, never positions.

use serde::{Deserialize, Serialize};

use super::ids::{ClientId, Fingerprint, KeyId, ModelId, ProjectId, ProviderId, TierId, UpstreamId};
use super::knobs::Knobs;
use super::time::{Duration, WallTime};
use super::units::{Tokens, Usd};

/// The full settings of one router. Build it through `config`, which checks the graph; [`Settings::check`] is the
/// last line of defence.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Seeds every draw that the router makes (jitter, ties).
    pub seed: u64,
    /// The coming quota-day resets, ascending; day quotas and budgets begin anew at each.
    pub resets: Vec<WallTime>,
    /// Upstream APIs.
    pub providers: Vec<Provider>,
    /// Upstream models, each at one provider: what limits, overload and prices belong to.
    pub upstreams: Vec<Upstream>,
    /// Quota buckets at the providers.
    pub projects: Vec<Project>,
    /// Credentials.
    pub keys: Vec<Key>,
    /// Named sets of deployments of one upstream model.
    pub tiers: Vec<Tier>,
    /// Keys serving upstream models.
    pub deployments: Vec<Deployment>,
    /// What clients may ask for.
    pub models: Vec<Model>,
    /// Who may ask. Index 0 is the anonymous client.
    pub clients: Vec<Client>,
    /// The vocabulary's knobs.
    pub knobs: Knobs,
    /// Retries by class of failure.
    pub retries: Retries,
}

/// The most retries that one request may spend after failures of one class; `None` leaves it to `retry.max_attempts`
/// and the deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// After the model was overloaded.
    pub overload: Option<u16>,
    /// After a server or connection failure, or an answer that broke off before the client saw any of it.
    pub server: Option<u16>,
    /// After a 429 of any kind.
    pub rate: Option<u16>,
    /// After a key was refused.
    pub auth: Option<u16>,
}

/// One upstream API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// Its name in the configuration.
    pub name: String,
}

/// One upstream model at one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Who serves it.
    pub provider: ProviderId,
    /// The provider's name for it.
    pub model: String,
}

/// A quota bucket at a provider; several keys may share one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// Unique together with the provider. A project that is known only by its one key is named after its fingerprint.
    pub name: String,
    /// Where.
    pub provider: ProviderId,
}

/// One credential, in one project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// What people call it: `free-07`.
    pub name: String,
    /// What state is bound to.
    pub fingerprint: Fingerprint,
    /// Whose quota it spends.
    pub project: ProjectId,
}

/// A named set of deployments of one upstream model, used together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// Its name in the configuration.
    pub name: String,
    /// What its deployments serve.
    pub upstream: UpstreamId,
    /// Quota per project.
    pub limits: Limits,
    /// What an answer costs.
    pub price: Price,
    /// Money per quota day, over all its keys.
    pub budget: Option<Usd>,
    /// The longest prompt it takes.
    pub input_max: Option<Tokens>,
    /// The longest answer its model gives: the worst case where a request names none.
    pub output_max: Option<Tokens>,
    /// Timeouts of one attempt.
    pub timeouts: Timeouts,
}

/// Quota of one project for one upstream model. `None` is unlimited, or not known yet where `learn` is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Requests per minute.
    pub rpm: Option<u32>,
    /// Input tokens per minute.
    pub tpm: Option<u32>,
    /// Requests per quota day.
    pub rpd: Option<u32>,
    /// The limits are not known: learn them from error bodies alone. (Limits that differ from what is configured are
    /// learnt in any case.)
    pub learn: bool,
}

/// What a call costs. All zero is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Prices per token.
    pub tokens: TokenPrice,
    /// Prices per token that replace `tokens` for the *whole* call when its input is longer than the threshold.
    pub above: Option<(Tokens, TokenPrice)>,
    /// Money per successful answer, whatever its length.
    pub answer: Usd,
}

/// Money per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenPrice {
    /// Input that was not cached.
    pub input: Usd,
    /// Input that was.
    pub cached: Usd,
    /// Answer and thinking tokens.
    pub output: Usd,
}

/// Timeouts of one attempt; the driver enforces them and reports which one struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// From dispatch to the first byte of the answer. No timeout outlives the request's deadline, so one that is as long
    /// as `total` leaves it to the deadline.
    pub first_byte: Duration,
    /// Between two chunks of a stream.
    pub idle: Duration,
    /// From dispatch to the end of the answer.
    pub total: Duration,
}

/// A key serving one upstream model. The pair (key, upstream) stands at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The tier it belongs to.
    pub tier: TierId,
    /// The key it uses.
    pub key: KeyId,
    /// For `weighted-shuffle` and `headroom`; 1 unless told.
    pub weight: u32,
    /// Lower orders of a tier are used first; 0 unless told.
    pub order: u8,
}

/// What clients ask for: tiers in order of preference. Those after the first are the fallback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// The public name.
    pub name: String,
    /// At least one, none twice.
    pub tiers: Vec<TierId>,
    /// For requests that bring none.
    pub deadline: Duration,
    /// Used instead when the prompt is too long for every tier.
    pub context_fallback: Option<ModelId>,
    /// Used instead when a safety rule blocks the answer.
    pub content_fallback: Option<ModelId>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its name in the configuration.
    pub name: String,
    /// Who gives way first.
    pub priority: Priority,
    /// Money per quota day.
    pub budget: Option<Usd>,
    /// Requests per minute.
    pub rpm: Option<u32>,
    /// Estimated input tokens per minute.
    pub tpm: Option<u32>,
    /// Which models it may ask for; `None` is all.
    pub models: Option<Vec<ModelId>>,
}

/// Who gives way first when not all can be served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Priority {
    /// Gives way first.
    Low,
    /// Unless told otherwise.
    #[default]
    Normal,
    /// Served before all others.
    High,
}

impl Settings {
    /// The key, and through it the project, that a deployment spends.
    pub fn project_of(&self, deployment: Deployment) -> ProjectId {
        self.keys[deployment.key.index()].project
    }

    /// The tier of that name.
    pub fn tier_named(&self, name: &str) -> Option<TierId> {
        self.tiers.iter().position(|tier| tier.name == name).map(|index| TierId::new(index as u16))
    }

    /// The model of that name.
    pub fn model_named(&self, name: &str) -> Option<ModelId> {
        self.models.iter().position(|model| model.name == name).map(|index| ModelId::new(index as u16))
    }

    /// The client of that name.
    pub fn client_named(&self, name: &str) -> Option<ClientId> {
        self.clients.iter().position(|client| client.name == name).map(|index| ClientId::new(index as u16))
    }
}

impl Default for Timeouts {
    /// How long a good answer may take depends on the question, so the deadline alone decides how long its first byte
    /// is waited for: a fixed limit below it would cut long answers short and pay for them again.
    fn default() -> Self {
        let total = Duration::from_secs(600);
        Self { connect: Duration::from_secs(5), first_byte: total, idle: Duration::from_secs(60), total }
    }
}
