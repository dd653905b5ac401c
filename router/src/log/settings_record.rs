//! Settings as format 1 writes them. Knobs and other single values stand by name and text, so that a new one needs no new
//! record; whatever else a later version adds becomes a new record.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::mirror::{Nanos, priority_code, priority_of};
use crate::core::{
    Client, Deployment, Fingerprint, GraphError, KNOBS, Key, KeyId, Knobs, Limits, Model, ModelId, Price, Project,
    ProjectId, Provider, ProviderId, Retries, Settings, Tier, TierId, Timeouts, TokenPrice, Tokens, Upstream,
    UpstreamId, Usd, WallTime,
};

/// What the retry limits are called.
const RETRIES: [&str; 4] = ["retries.overload", "retries.server", "retries.rate", "retries.auth"];

/// The full settings of one router, without a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SettingsRecord {
    seed: u64,
    resets: Vec<u64>,
    providers: Vec<String>,
    upstreams: Vec<(u16, String)>,
    projects: Vec<(u16, String)>,
    keys: Vec<KeyRecord>,
    tiers: Vec<TierRecord>,
    deployments: Vec<DeploymentRecord>,
    models: Vec<ModelRecord>,
    clients: Vec<ClientRecord>,
    /// Name and value of every knob, and of every retry limit that there is.
    named: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeyRecord {
    name: String,
    fingerprint: [u8; 8],
    project: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TierRecord {
    name: String,
    upstream: u16,
    rpm: Option<u32>,
    tpm: Option<u32>,
    rpd: Option<u32>,
    learn: bool,
    price: TokenPriceRecord,
    above: Option<(u32, TokenPriceRecord)>,
    answer: i64,
    budget: Option<i64>,
    input_max: Option<u32>,
    output_max: Option<u32>,
    /// Connect, first byte, idle, total.
    timeouts: [Nanos; 4],
}

/// Micro-dollars per million tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TokenPriceRecord {
    input: i64,
    cached: i64,
    output: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct DeploymentRecord {
    tier: u16,
    key: u32,
    weight: u32,
    order: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ModelRecord {
    name: String,
    tiers: Vec<u16>,
    deadline: Nanos,
    context_fallback: Option<u16>,
    content_fallback: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ClientRecord {
    name: String,
    priority: u8,
    budget: Option<i64>,
    rpm: Option<u32>,
    tpm: Option<u32>,
    models: Option<Vec<u16>>,
}

/// Why recorded settings cannot be used by this build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SettingsRecordError(String);

impl fmt::Display for SettingsRecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&Settings> for SettingsRecord {
    fn from(settings: &Settings) -> Self {
        #[rustfmt::skip]
        let Settings {
            seed, resets, providers, upstreams, projects, keys, tiers, deployments, models, clients, knobs, retries,
        } = settings;
        let Retries { overload, server, rate, auth } = *retries;
        let limits = RETRIES.into_iter().zip([overload, server, rate, auth]);
        let knob = |name: &str| knobs.value(name).map(|value| (name.to_owned(), value));
        Self {
            seed: *seed,
            resets: resets.iter().map(|reset| reset.as_nanos()).collect(),
            providers: providers.iter().map(|Provider { name }| name.clone()).collect(),
            upstreams: upstreams.iter().map(|Upstream { provider, model }| (provider.get(), model.clone())).collect(),
            projects: projects.iter().map(|Project { name, provider }| (provider.get(), name.clone())).collect(),
            keys: keys.iter().map(KeyRecord::from).collect(),
            tiers: tiers.iter().map(TierRecord::from).collect(),
            deployments: deployments.iter().map(DeploymentRecord::from).collect(),
            models: models.iter().map(ModelRecord::from).collect(),
            clients: clients.iter().map(ClientRecord::from).collect(),
            named: (KNOBS.iter().filter_map(|each| knob(each.name)))
                .chain(limits.filter_map(|(name, limit)| Some((name.to_owned(), limit?.to_string()))))
                .collect(),
        }
    }
}

impl TryFrom<SettingsRecord> for Settings {
    type Error = SettingsRecordError;

    fn try_from(record: SettingsRecord) -> Result<Self, SettingsRecordError> {
        let mut knobs = Knobs::default();
        let mut retries = Retries::default();
        for (name, value) in &record.named {
            let limit = [&mut retries.overload, &mut retries.server, &mut retries.rate, &mut retries.auth];
            match RETRIES.iter().zip(limit).find(|(each, _)| *each == name) {
                Some((_, limit)) => {
                    let number =
                        value.parse().map_err(|_| SettingsRecordError(format!("`{name}` cannot be `{value}`")));
                    *limit = Some(number?);
                }
                None => knobs.set(name, value).map_err(|error| SettingsRecordError(error.to_string()))?,
            }
        }
        let clients = record.clients.into_iter().map(Client::try_from).collect::<Result<_, _>>()?;
        let settings = Self {
            seed: record.seed,
            resets: record.resets.into_iter().map(WallTime::from_nanos).collect(),
            providers: record.providers.into_iter().map(|name| Provider { name }).collect(),
            upstreams: (record.upstreams.into_iter())
                .map(|(provider, model)| Upstream { provider: ProviderId::new(provider), model })
                .collect(),
            projects: (record.projects.into_iter())
                .map(|(provider, name)| Project { name, provider: ProviderId::new(provider) })
                .collect(),
            keys: record.keys.into_iter().map(Key::from).collect(),
            tiers: record.tiers.into_iter().map(Tier::from).collect(),
            deployments: record.deployments.into_iter().map(Deployment::from).collect(),
            models: record.models.into_iter().map(Model::from).collect(),
            clients,
            knobs,
            retries,
        };
        // Whoever reads a log relies on it that every index of the settings points somewhere. That they make a good
        // configuration is not asked: other builds had other rules.
        let problems = settings.check().err().unwrap_or_default();
        match problems.iter().find(|problem| matches!(problem, GraphError::Dangling { .. })) {
            Some(dangling) => Err(SettingsRecordError(dangling.to_string())),
            None => Ok(settings),
        }
    }
}

impl From<&Key> for KeyRecord {
    fn from(key: &Key) -> Self {
        let Key { name, fingerprint, project } = key;
        Self { name: name.clone(), fingerprint: fingerprint.bytes(), project: project.get() }
    }
}

impl From<KeyRecord> for Key {
    fn from(record: KeyRecord) -> Self {
        Self {
            name: record.name,
            fingerprint: Fingerprint::new(record.fingerprint),
            project: ProjectId::new(record.project),
        }
    }
}

impl From<&Tier> for TierRecord {
    fn from(tier: &Tier) -> Self {
        let Tier { name, upstream, limits, price, budget, input_max, output_max, timeouts } = tier;
        let Limits { rpm, tpm, rpd, learn } = *limits;
        let Price { tokens, above, answer } = *price;
        let Timeouts { connect, first_byte, idle, total } = *timeouts;
        Self {
            name: name.clone(),
            upstream: upstream.get(),
            rpm,
            tpm,
            rpd,
            learn,
            price: tokens.into(),
            above: above.map(|(threshold, price)| (threshold.get(), price.into())),
            answer: answer.as_micros(),
            budget: budget.map(Usd::as_micros),
            input_max: input_max.map(Tokens::get),
            output_max: output_max.map(Tokens::get),
            timeouts: [connect, first_byte, idle, total].map(Nanos::from),
        }
    }
}

impl From<TierRecord> for Tier {
    fn from(record: TierRecord) -> Self {
        let [connect, first_byte, idle, total] = record.timeouts.map(Into::into);
        Self {
            name: record.name,
            upstream: UpstreamId::new(record.upstream),
            limits: Limits { rpm: record.rpm, tpm: record.tpm, rpd: record.rpd, learn: record.learn },
            price: Price {
                tokens: record.price.into(),
                above: record.above.map(|(threshold, price)| (Tokens::new(threshold), price.into())),
                answer: Usd::from_micros(record.answer),
            },
            budget: record.budget.map(Usd::from_micros),
            input_max: record.input_max.map(Tokens::new),
            output_max: record.output_max.map(Tokens::new),
            timeouts: Timeouts { connect, first_byte, idle, total },
        }
    }
}

impl From<TokenPrice> for TokenPriceRecord {
    fn from(price: TokenPrice) -> Self {
        let TokenPrice { input, cached, output } = price;
        Self { input: input.as_micros(), cached: cached.as_micros(), output: output.as_micros() }
    }
}

impl From<TokenPriceRecord> for TokenPrice {
    fn from(record: TokenPriceRecord) -> Self {
        Self {
            input: Usd::from_micros(record.input),
            cached: Usd::from_micros(record.cached),
            output: Usd::from_micros(record.output),
        }
    }
}

impl From<&Deployment> for DeploymentRecord {
    fn from(deployment: &Deployment) -> Self {
        let Deployment { tier, key, weight, order } = *deployment;
        Self { tier: tier.get(), key: key.get(), weight, order }
    }
}

impl From<DeploymentRecord> for Deployment {
    fn from(record: DeploymentRecord) -> Self {
        let DeploymentRecord { tier, key, weight, order } = record;
        Self { tier: TierId::new(tier), key: KeyId::new(key), weight, order }
    }
}

impl From<&Model> for ModelRecord {
    fn from(model: &Model) -> Self {
        let Model { name, tiers, deadline, context_fallback, content_fallback } = model;
        Self {
            name: name.clone(),
            tiers: tiers.iter().map(|tier| tier.get()).collect(),
            deadline: (*deadline).into(),
            context_fallback: context_fallback.map(ModelId::get),
            content_fallback: content_fallback.map(ModelId::get),
        }
    }
}

impl From<ModelRecord> for Model {
    fn from(record: ModelRecord) -> Self {
        Self {
            name: record.name,
            tiers: record.tiers.into_iter().map(TierId::new).collect(),
            deadline: record.deadline.into(),
            context_fallback: record.context_fallback.map(ModelId::new),
            content_fallback: record.content_fallback.map(ModelId::new),
        }
    }
}

impl From<&Client> for ClientRecord {
    fn from(client: &Client) -> Self {
        let Client { name, priority, budget, rpm, tpm, models } = client;
        Self {
            name: name.clone(),
            priority: priority_code(*priority),
            budget: budget.map(Usd::as_micros),
            rpm: *rpm,
            tpm: *tpm,
            models: models.as_ref().map(|models| models.iter().map(|model| model.get()).collect()),
        }
    }
}

impl TryFrom<ClientRecord> for Client {
    type Error = SettingsRecordError;

    fn try_from(record: ClientRecord) -> Result<Self, SettingsRecordError> {
        let priority = priority_of(record.priority).ok_or_else(|| {
            SettingsRecordError(format!("client `{}` has the unknown priority {}", record.name, record.priority))
        })?;
        Ok(Self {
            name: record.name,
            priority,
            budget: record.budget.map(Usd::from_micros),
            rpm: record.rpm,
            tpm: record.tpm,
            models: record.models.map(|models| models.into_iter().map(ModelId::new).collect()),
        })
    }
}
