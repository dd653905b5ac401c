//! Settings compiled for deciding, and the register that keeps state with its owner across settings.
//!
//! Ids of the settings are positions and change with them. State lives in arenas that only grow: each name, key
//! fingerprint or pair of them gets an index once and keeps it, so a key that leaves drains, a key that returns finds
//! its counts, and reordering a file moves nothing to another key.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::budget::likely_cost;
use super::graph::TIERS_MAX;
use super::ids::{ClientId, DeploymentId, Fingerprint, KeyId, ModelId, ProjectId, TierId, UpstreamId};
use super::input::{Endpoint, Scope, TokenEstimate};
use super::knobs::Strategy;
use super::settings::{Price, Settings, Tier};
use super::state::{Attempt, Sent};
use super::units::{Tokens, Usd};

/// Arena index of one owner of state.
type Owner = u32;

/// How many kinds of calls have quotas and health of their own.
pub(super) const ENDPOINTS: u32 = 3;

/// Which owner has which index. Names are found by walking: it happens only when settings change.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Register {
    providers: Roll<String>,
    upstreams: Roll<(Owner, String)>,
    projects: Roll<(Owner, String)>,
    keys: Roll<Fingerprint>,
    quotas: Roll<(Owner, Owner)>,
    sites: Roll<(Owner, Owner)>,
    tiers: Roll<String>,
    clients: Roll<String>,
    /// Prices that were ever in force: attempts in flight may still go by an earlier one.
    prices: Roll<Price>,
    /// Ways that were ever open: attempts in flight may have gone one that is closed.
    ways: Roll<Way>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Roll<T>(Vec<T>);

/// Where an attempt goes, by arena indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The key serving this upstream model.
    pub(super) site: u32,
    /// The key.
    pub(super) key: u32,
    /// The project's quota for this upstream model and kind of call.
    pub(super) quota: u32,
    /// The upstream model, for this kind of call.
    pub(super) node: u32,
    /// The provider.
    pub(super) provider: u32,
}

/// A way to a provider: what all attempts of one kind of call on one deployment have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Way {
    /// Where it leads.
    pub(super) place: Place,
    /// What the settings of that time call it.
    pub(super) deployment: DeploymentId,
    /// Arena index of the tier whose money it may cost.
    pub(super) tier: u32,
    /// Its price, in the register.
    pub(super) price: u32,
}

/// The settings in force.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) settings: Arc<Settings>,
    /// For the first kind of call, by `DeploymentId`.
    pub(super) places: Vec<Place>,
    /// By kind of call, and for each by `DeploymentId`.
    starts: Vec<Start>,
    /// By `TierId`.
    pub(super) tiers: Vec<TierPlan>,
    /// By `ModelId`: its tiers in the order of preference, and the longest prompt that suits them all.
    pub(super) models: Vec<Vec<TierId>>,
    /// Arena indexes of these tiers.
    pub(super) owners: Vec<Vec<u32>>,
    suits_all: Vec<Tokens>,
    /// Arena indexes by `KeyId`, `ClientId` and `ProviderId`.
    pub(super) keys: Vec<u32>,
    pub(super) clients: Vec<u32>,
    pub(super) providers: Vec<u32>,
    /// Whether any client has limits of its own.
    pub(super) limits_clients: bool,
    /// Node of the first kind of call, by `UpstreamId`.
    pub(super) nodes: Vec<u32>,
    /// Arena indexes by `ProjectId`.
    projects: Vec<u32>,
}

/// What the start of an attempt on one deployment needs to know.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) place: Place,
    /// In the register.
    pub(super) way: u32,
    /// Place in its tier of the deployment behind it, for taking turns.
    pub(super) next: u32,
}

/// One tier, compiled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TierPlan {
    /// Arena index of its money and demand.
    pub(super) owner: u32,
    /// Its deployments, by `order`.
    pub(super) deployments: Vec<DeploymentId>,
    /// Their quotas, each once: several keys may share one.
    pub(super) quotas: Vec<u32>,
    /// Node of its upstream model, for the first kind of call.
    pub(super) node: u32,
    /// Arena index of its provider.
    pub(super) provider: u32,
    /// What a typical answer costs, to compare tiers by.
    pub(super) typical: Usd,
    /// Its price in the register, and whether that is nothing.
    pub(super) price: u32,
    pub(super) free: bool,
}

/// How many owners of each kind there are.
pub(super) struct Population {
    pub(super) providers: usize,
    pub(super) nodes: usize,
    pub(super) keys: usize,
    pub(super) quotas: usize,
    pub(super) sites: usize,
    pub(super) tiers: usize,
    pub(super) clients: usize,
}

/// What each kind of call adds to the index of a node or quota.
pub(super) fn endpoint_offset(endpoint: Endpoint) -> u32 {
    match endpoint {
        Endpoint::Generate => 0,
        Endpoint::Embed => 1,
        Endpoint::Count => 2,
    }
}

/// The first kind of call's quota or node, of any kind's.
pub(super) fn first_kind(index: u32) -> u32 {
    index - index % ENDPOINTS
}

impl Place {
    /// The same for another kind of call than the first.
    fn of(self, endpoint: Endpoint) -> Self {
        let offset = endpoint_offset(endpoint);
        Self { quota: self.quota + offset, node: self.node + offset, ..self }
    }
}

impl Register {
    /// Compiles settings, giving an index to every owner that is new.
    pub(super) fn compile(&mut self, settings: Arc<Settings>) -> Plan {
        let providers: Vec<u32> =
            settings.providers.iter().map(|provider| self.providers.index(provider.name.clone())).collect();
        let upstreams: Vec<u32> = settings
            .upstreams
            .iter()
            .map(|upstream| self.upstreams.index((providers[upstream.provider.index()], upstream.model.clone())))
            .collect();
        let projects: Vec<u32> = settings
            .projects
            .iter()
            .map(|project| self.projects.index((providers[project.provider.index()], project.name.clone())))
            .collect();
        let keys: Vec<u32> = settings.keys.iter().map(|key| self.keys.index(key.fingerprint)).collect();
        let places: Vec<Place> = settings
            .deployments
            .iter()
            .map(|deployment| {
                let upstream_id = settings.tiers[deployment.tier.index()].upstream;
                let upstream = upstreams[upstream_id.index()];
                let key = keys[deployment.key.index()];
                let project = projects[settings.project_of(*deployment).index()];
                Place {
                    site: self.sites.index((key, upstream)),
                    key,
                    quota: self.quotas.index((project, upstream)) * ENDPOINTS,
                    node: upstream * ENDPOINTS,
                    provider: providers[settings.upstreams[upstream_id.index()].provider.index()],
                }
            })
            .collect();
        let tiers: Vec<TierPlan> = settings
            .tiers
            .iter()
            .enumerate()
            .map(|(index, tier)| TierPlan {
                owner: self.tiers.index(tier.name.clone()),
                node: upstreams[tier.upstream.index()] * ENDPOINTS,
                provider: providers[settings.upstreams[tier.upstream.index()].provider.index()],
                typical: typical_cost(tier),
                price: self.prices.index(tier.price),
                free: tier.price.is_free(),
                ..TierPlan::members(&settings, TierId::new(index as u16), &places)
            })
            .collect();
        let models: Vec<Vec<TierId>> =
            settings.models.iter().map(|model| preferred(&settings, &tiers, &model.tiers)).collect();
        let owners = models.iter().map(|own| own.iter().map(|tier| tiers[tier.index()].owner).collect()).collect();
        let suits_all = models.iter().map(|tiers| suits_all(&settings, tiers)).collect();
        let mut clients: Vec<u32> =
            settings.clients.iter().map(|client| self.clients.index(client.name.clone())).collect();
        if clients.is_empty() {
            clients.push(self.clients.index(String::new()));
        }
        let limits_clients = settings
            .clients
            .iter()
            .any(|client| client.models.is_some() || client.rpm.is_some() || client.tpm.is_some());
        let nodes = upstreams.iter().map(|upstream| upstream * ENDPOINTS).collect();
        let mut next = vec![0; places.len()];
        for members in tiers.iter().map(|tier| &tier.deployments) {
            for (place, deployment) in members.iter().enumerate() {
                next[deployment.index()] = ((place + 1) % members.len()) as u32;
            }
        }
        // One kind of call after the other, because nearly all calls are of one.
        let starts = Endpoint::ALL
            .iter()
            .flat_map(|endpoint| (0..).zip(&places).map(move |(index, place)| (index, place.of(*endpoint))))
            .map(|(index, place)| {
                let deployment = DeploymentId::new(index);
                let TierPlan { owner, price, .. } = tiers[settings.deployments[deployment.index()].tier.index()];
                let way = Way { place, deployment, tier: owner, price };
                Start { place, way: self.ways.index(way), next: next[deployment.index()] }
            })
            .collect();
        Plan {
            places,
            starts,
            tiers,
            models,
            owners,
            suits_all,
            keys,
            clients,
            providers,
            limits_clients,
            nodes,
            projects,
            settings,
        }
    }

    /// How many owners there are: as long as the arenas must be.
    pub(super) fn population(&self) -> Population {
        Population {
            providers: self.providers.0.len(),
            nodes: self.upstreams.0.len() * ENDPOINTS as usize,
            keys: self.keys.0.len(),
            quotas: self.quotas.0.len() * ENDPOINTS as usize,
            sites: self.sites.0.len(),
            tiers: self.tiers.0.len(),
            clients: self.clients.0.len(),
        }
    }

    /// Where an attempt went.
    pub(super) fn place(&self, attempt: &Attempt) -> &Place {
        &self.ways.0[attempt.way as usize].place
    }

    /// An attempt with all that is known of where it went.
    pub(super) fn sent(&self, attempt: &Attempt) -> Sent {
        Sent::new(*attempt, self.ways.0[attempt.way as usize])
    }

    /// A price that an attempt was made at.
    pub(super) fn price(&self, index: u32) -> Price {
        self.prices.0.get(index as usize).copied().unwrap_or_default()
    }

    /// The quota of a project for an upstream model, if any deployment ever had it.
    pub(super) fn quota(&self, plan: &Plan, project: ProjectId, upstream: UpstreamId) -> Option<u32> {
        let pair = (*plan.projects.get(project.index())?, *plan.nodes.get(upstream.index())? / ENDPOINTS);
        self.quotas.0.iter().position(|known| *known == pair).map(|index| index as u32 * ENDPOINTS)
    }
}

impl Plan {
    /// The start of an attempt on a deployment.
    pub(super) fn start(&self, deployment: DeploymentId, endpoint: Endpoint) -> Start {
        self.starts[endpoint_offset(endpoint) as usize * self.places.len() + deployment.index()]
    }

    /// The key's id in the settings in force.
    pub(super) fn key_scope(&self, key: u32) -> Option<Scope> {
        position(&self.keys, key).map(|index| Scope::Key(KeyId::new(index)))
    }

    /// The upstream model's id in the settings in force.
    pub(super) fn upstream(&self, node: u32) -> Option<UpstreamId> {
        position(&self.nodes, first_kind(node)).map(|index| UpstreamId::new(index as u16))
    }

    /// Project and upstream model of a place, in the settings in force.
    pub(super) fn quota_scope(&self, place: &Place) -> Option<Scope> {
        let index = self.places.iter().position(|known| known.quota == first_kind(place.quota))?;
        let deployment = *self.settings.deployments.get(index)?;
        let upstream = self.settings.tiers.get(deployment.tier.index())?.upstream;
        Some(Scope::ProjectModel(self.settings.project_of(deployment), upstream))
    }

    /// The provider's id in the settings in force.
    pub(super) fn provider_scope(&self, provider: u32) -> Option<Scope> {
        position(&self.providers, provider).map(|index| Scope::Provider(super::ids::ProviderId::new(index as u16)))
    }

    /// The tiers that take a prompt of this length, as bits by their place among the model's.
    pub(super) fn suited(&self, model: ModelId, input: Tokens) -> u32 {
        let tiers = self.models.get(model.index()).map_or(&[][..], Vec::as_slice);
        if self.suits_all.get(model.index()).is_some_and(|longest| input <= *longest) {
            return u32::MAX.checked_shr(TIERS_MAX.saturating_sub(tiers.len()) as u32).unwrap_or(0);
        }
        let takes = |tier: &TierId| self.settings.tiers[tier.index()].input_max.is_none_or(|longest| input <= longest);
        tiers.iter().take(TIERS_MAX).enumerate().fold(0, |bits, (index, tier)| bits | u32::from(takes(tier)) << index)
    }

    /// The client's arena index; requests of clients that are not configured count as the anonymous one's.
    pub(super) fn client(&self, client: ClientId) -> Option<u32> {
        self.clients.get(client.index()).or_else(|| self.clients.first()).copied()
    }
}

impl TierPlan {
    fn members(settings: &Settings, tier: TierId, places: &[Place]) -> Self {
        let mut deployments: Vec<DeploymentId> = settings
            .deployments
            .iter()
            .enumerate()
            .filter(|(_, deployment)| deployment.tier == tier)
            .map(|(index, _)| DeploymentId::new(index as u32))
            .collect();
        deployments.sort_by_key(|deployment| settings.deployments[deployment.index()].order);
        let mut quotas: Vec<u32> = deployments.iter().map(|deployment| places[deployment.index()].quota).collect();
        quotas.sort_unstable();
        quotas.dedup();
        Self { owner: 0, deployments, quotas, node: 0, provider: 0, typical: Usd::ZERO, price: 0, free: true }
    }
}

impl<T: PartialEq> Roll<T> {
    fn index(&mut self, owner: T) -> Owner {
        if let Some(index) = self.0.iter().position(|known| *known == owner) {
            return index as Owner;
        }
        self.0.push(owner);
        self.0.len() as Owner - 1
    }
}

impl<T> Default for Roll<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// A model's tiers as they are tried: as configured, or cheapest first where the strategy says so.
fn preferred(settings: &Settings, plans: &[TierPlan], tiers: &[TierId]) -> Vec<TierId> {
    let mut tiers = tiers.to_vec();
    if settings.knobs.select_strategy == Strategy::LowestCost {
        tiers.sort_by_key(|tier| plans[tier.index()].typical);
    }
    tiers
}

/// The longest prompt that every one of these tiers takes.
fn suits_all(settings: &Settings, tiers: &[TierId]) -> Tokens {
    let longest = tiers.iter().filter_map(|tier| settings.tiers[tier.index()].input_max).min();
    longest.unwrap_or(Tokens::new(u32::MAX))
}

/// A call of a coding assistant: 8 000 tokens in, 1 000 out.
fn typical_cost(tier: &Tier) -> Usd {
    likely_cost(tier, TokenEstimate { input: Tokens::new(8_000), output_max: Some(Tokens::new(4_000)) })
}

fn position(owners: &[u32], owner: u32) -> Option<u32> {
    owners.iter().position(|known| *known == owner).map(|index| index as u32)
}
