//! Settings and options resolved to indexes: groups, the deployments in them, and where a group falls back to.

use std::collections::BTreeMap;

use stormproof_router::core::{DeploymentId, Duration, Fingerprint, KeyId, ModelId, ProviderId, Settings, TierId, mix};

use super::options::{Options, RetryPolicy};
use super::version::Rules;

/// Index of a deployment within its group's router: the same key in two groups is two of them.
pub(super) type Slot = usize;

/// Everything that follows from settings and options alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    /// By model.
    pub(super) groups: Vec<Group>,
    /// In the order of the groups: LiteLLM's `model_list`.
    pub(super) slots: Vec<Deployed>,
}

/// All deployments under one model name.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) tier: Option<TierId>,
    /// Its range of slots.
    pub(super) first: Slot,
    pub(super) len: usize,
    /// Distinct orders, ascending.
    pub(super) orders: Vec<u8>,
    /// Where to when it has failed; `None` when nothing is configured for it, which is not the same as an empty list.
    pub(super) fallbacks: Option<Vec<ModelId>>,
    /// The same when the prompt did not fit; only where `context_window_fallbacks` is set at all.
    pub(super) context_fallbacks: Option<Vec<ModelId>>,
    /// The same when a safety rule blocked the answer.
    pub(super) content_fallbacks: Option<Vec<ModelId>>,
    pub(super) retry_policy: Option<RetryPolicy>,
}

/// One deployment in one group.
#[derive(Clone, Debug)]
pub(super) struct Deployed {
    pub(super) group: ModelId,
    pub(super) deployment: DeploymentId,
    pub(super) key: KeyId,
    pub(super) provider: ProviderId,
    pub(super) openai_like: bool,
    pub(super) weight: u32,
    pub(super) order: u8,
    /// What error texts call it.
    pub(super) id: String,
    /// `litellm_params.cooldown_time`.
    pub(super) cooldown_time: Option<Duration>,
}

impl Graph {
    /// Resolves `options` against `settings`. Names that the settings do not know lead nowhere.
    pub(super) fn new(options: &Options, settings: &Settings) -> Self {
        let mut graph = Self::default();
        for (index, model) in settings.models.iter().enumerate() {
            let group = ModelId::new(index as u16);
            let first = graph.slots.len();
            if let Some(&tier) = model.tiers.first() {
                graph.slots.extend(deployed(options, settings, group, tier));
            }
            let mut orders: Vec<u8> = graph.slots[first..].iter().map(|slot| slot.order).collect();
            orders.sort_unstable();
            orders.dedup();
            graph.groups.push(Group {
                name: model.name.clone(),
                tier: model.tiers.first().copied(),
                first,
                len: graph.slots.len() - first,
                orders,
                fallbacks: resolve(settings, &options.fallbacks, &options.default_fallbacks, &model.name),
                context_fallbacks: resolve(settings, &options.context_window_fallbacks, &[], &model.name),
                content_fallbacks: resolve(settings, &options.content_policy_fallbacks, &[], &model.name),
                retry_policy: options
                    .model_group_retry_policy
                    .get(&model.name)
                    .or(options.retry_policy.as_ref())
                    .cloned(),
            });
        }
        graph
    }

    /// The slots of a group.
    pub(super) fn slots_of(&self, group: ModelId) -> std::ops::Range<Slot> {
        let group = &self.groups[group.index()];
        group.first..group.first + group.len
    }
}

impl Group {
    /// The group's orders that a hop on `current` (the lowest when `None`) fails over to.
    pub(super) fn orders_after(&self, current: Option<u8>, rules: &Rules) -> &[u8] {
        if !rules.orders {
            return &[];
        }
        let done = match current {
            Some(order) => self.orders.partition_point(|other| *other <= order),
            None => self.orders.len().min(1),
        };
        &self.orders[done..]
    }
}

/// The deployments of one group.
fn deployed(options: &Options, settings: &Settings, group: ModelId, tier: TierId) -> impl Iterator<Item = Deployed> {
    let provider = settings.upstreams[settings.tiers[tier.index()].upstream.index()].provider;
    let provider_name = &settings.providers[provider.index()].name;
    let openai_like = options.openai_like.contains(provider_name);
    let params = options.litellm_params.get(&settings.models[group.index()].name);
    let cooldown_time = params.and_then(|params| params.cooldown_time).map(|seconds| seconds.0);
    let of_tier = settings.deployments.iter().enumerate().filter(move |(_, deployment)| deployment.tier == tier);
    of_tier.map(move |(index, deployment)| {
        let key = &settings.keys[deployment.key.index()];
        Deployed {
            group,
            deployment: DeploymentId::new(index as u32),
            key: deployment.key,
            provider,
            openai_like,
            weight: deployment.weight,
            order: deployment.order,
            id: options.deployment_ids.get(&key.name).cloned().unwrap_or_else(|| made_up_id(key.fingerprint, group)),
            cooldown_time,
        }
    })
}

/// An id of the length that LiteLLM's have (a SHA-256 in hexadecimal), so that texts come out as long as they were.
fn made_up_id(fingerprint: Fingerprint, group: ModelId) -> String {
    let mut word = u64::from_le_bytes(fingerprint.bytes()) ^ u64::from(group.get());
    let mut id = String::with_capacity(64);
    for _ in 0..4 {
        word = mix(word);
        id.push_str(&format!("{word:016x}"));
    }
    id
}

/// Where `name` falls back to: its own entry, else the one under its name without a provider prefix, else `*`.
fn resolve(
    settings: &Settings,
    lists: &BTreeMap<String, Vec<String>>,
    defaults: &[String],
    name: &str,
) -> Option<Vec<ModelId>> {
    let bare = name.split_once('/').map_or(name, |(_provider, bare)| bare);
    let defaults = Some(defaults).filter(|defaults| !defaults.is_empty());
    let any = lists.get("*").map(Vec::as_slice).or(defaults);
    let list = lists.get(name).or_else(|| lists.get(bare)).map(Vec::as_slice).or(any)?;
    Some(list.iter().filter_map(|target| settings.model_named(target)).collect())
}
