//! One set of numbers for everything that a log ever knew, and for what is asked about: the world of a recorded day is
//! numbered by it, whatever the settings of the hour called things.
//!
//! A key is the same by its fingerprint, or else by its name: a scenario makes its keys up, under the names that the
//! configuration gives them.

use std::collections::BTreeSet;

use stormproof_router::core::{
    Action, ClientId, Deployment, DeploymentId, KeyId, ModelId, ProjectId, ProviderId, Settings, UpstreamId,
};

/// Providers, upstream models, projects and keys, numbered once and for all.
#[derive(Clone, Debug, Default)]
pub(super) struct Universe {
    /// Only the four tables are used.
    tables: Settings,
    /// Names of models that were asked for.
    models: Vec<String>,
    /// Names of clients.
    clients: Vec<String>,
}

/// What the numbers of some settings are called here.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    upstreams: Vec<UpstreamId>,
    projects: Vec<ProjectId>,
    keys: Vec<KeyId>,
    models: Vec<ModelId>,
    clients: Vec<ClientId>,
    /// Key and upstream model of each deployment.
    deployments: Vec<(KeyId, UpstreamId)>,
}

impl Universe {
    /// Everything that is numbered so far.
    pub(super) fn tables(&self) -> &Settings {
        &self.tables
    }

    /// Numbers whatever in these settings has no number yet.
    pub(super) fn number(&mut self, settings: &Settings) -> Numbers {
        let tables = &mut self.tables;
        let providers = settings.providers.iter().map(|provider| {
            ProviderId::new(place(&mut tables.providers, provider, |known| known.name == provider.name) as u16)
        });
        let providers: Vec<ProviderId> = providers.collect();
        let upstreams = settings.upstreams.iter().map(|upstream| {
            let mut upstream = upstream.clone();
            upstream.provider = providers[upstream.provider.index()];
            UpstreamId::new(place(&mut tables.upstreams, &upstream, |known| *known == upstream) as u16)
        });
        let upstreams: Vec<UpstreamId> = upstreams.collect();
        let mut projects = vec![None; settings.projects.len()];
        let keys = settings.keys.iter().map(|key| {
            let same = |known: &stormproof_router::core::Key| known.fingerprint == key.fingerprint;
            let known = tables.keys.iter().position(same);
            let known = known.or_else(|| tables.keys.iter().position(|known| known.name == key.name));
            if let Some(known) = known {
                // A known key says which project is meant.
                projects[key.project.index()].get_or_insert(tables.keys[known].project);
                return KeyId::new(known as u32);
            }
            let project = *projects[key.project.index()].get_or_insert_with(|| {
                let mut project = settings.projects[key.project.index()].clone();
                project.provider = providers[project.provider.index()];
                ProjectId::new(place(&mut tables.projects, &project, |known| *known == project) as u32)
            });
            let mut fresh = key.clone();
            fresh.project = project;
            tables.keys.push(fresh);
            KeyId::new(tables.keys.len() as u32 - 1)
        });
        let keys: Vec<KeyId> = keys.collect();
        let projects = projects.into_iter().map(Option::unwrap_or_default).collect();
        let called =
            |one: &Deployment| (keys[one.key.index()], upstreams[settings.tiers[one.tier.index()].upstream.index()]);
        let deployments = settings.deployments.iter().map(called).collect();
        let named = |names: &mut Vec<String>, name: &String| place(names, name, |known| known == name) as u16;
        let models = settings.models.iter().map(|model| ModelId::new(named(&mut self.models, &model.name)));
        let clients = settings.clients.iter().map(|client| ClientId::new(named(&mut self.clients, &client.name)));
        Numbers { upstreams, projects, keys, models: models.collect(), clients: clients.collect(), deployments }
    }

    /// What these settings call a model.
    pub(super) fn model_in(&self, settings: &Settings, model: ModelId) -> Result<ModelId, &str> {
        let name = self.models.get(model.index()).map_or("", String::as_str);
        settings.model_named(name).ok_or(name)
    }

    /// What these settings call a client; nobody in particular where they do not know it.
    pub(super) fn client_in(&self, settings: &Settings, client: ClientId) -> ClientId {
        let name = self.clients.get(client.index());
        name.and_then(|name| settings.client_named(name)).unwrap_or_default()
    }

    /// These settings in the numbers of the universe. Number them first, and everything else that is to be in it.
    pub(super) fn renumber(&self, settings: &Settings, numbers: &Numbers) -> Settings {
        let mut renumbered = settings.clone();
        renumbered.providers.clone_from(&self.tables.providers);
        renumbered.upstreams.clone_from(&self.tables.upstreams);
        renumbered.projects.clone_from(&self.tables.projects);
        renumbered.keys.clone_from(&self.tables.keys);
        for tier in &mut renumbered.tiers {
            tier.upstream = numbers.upstreams[tier.upstream.index()];
        }
        for deployment in &mut renumbered.deployments {
            deployment.key = numbers.keys[deployment.key.index()];
        }
        renumbered
    }
}

impl Numbers {
    /// Key and upstream model of a deployment, if the settings have it.
    pub(super) fn deployment(&self, id: DeploymentId) -> Option<(KeyId, UpstreamId)> {
        self.deployments.get(id.index()).copied()
    }

    /// A model and a client.
    pub(super) fn asked(&self, model: ModelId, client: ClientId) -> (ModelId, ClientId) {
        let of = |model: ModelId| self.models.get(model.index()).copied().unwrap_or(model);
        (of(model), self.clients.get(client.index()).copied().unwrap_or(client))
    }

    /// Whether this key serves this upstream model.
    pub(super) fn has(&self, key: KeyId, upstream: UpstreamId) -> bool {
        self.deployments.contains(&(key, upstream))
    }

    /// The keys that serve anything.
    pub(super) fn serving(&self) -> BTreeSet<KeyId> {
        self.deployments.iter().map(|(key, _)| *key).collect()
    }

    /// What an operator did, if it was about keys and their quota: facts about the world, not about the router.
    pub(super) fn fact(&self, action: &Action) -> Option<Action> {
        Some(match action {
            Action::DrainKey { key, until } => Action::DrainKey { key: *self.keys.get(key.index())?, until: *until },
            Action::RetireKey { key } => Action::RetireKey { key: *self.keys.get(key.index())? },
            Action::RestoreKey { key } => Action::RestoreKey { key: *self.keys.get(key.index())? },
            Action::SetUsed { project, upstream, requests } => Action::SetUsed {
                project: *self.projects.get(project.index())?,
                upstream: *self.upstreams.get(upstream.index())?,
                requests: *requests,
            },
            // The power failed whatever the settings.
            Action::PowerLost { at_risk, since } => Action::PowerLost { at_risk: *at_risk, since: *since },
            Action::ClearCooldown { .. }
            | Action::SkipTier { .. }
            | Action::PinTier { .. }
            | Action::FreeTier { .. }
            | Action::StopPaid { .. }
            | Action::SetBudget { .. }
            | Action::SetClientBudget { .. }
            | Action::ForgetLimits { .. } => return None,
        })
    }
}

/// The place of what `is_same` finds, or of `fresh` behind all others.
fn place<T: Clone>(table: &mut Vec<T>, fresh: &T, is_same: impl Fn(&T) -> bool) -> usize {
    table.iter().position(is_same).unwrap_or_else(|| {
        table.push(fresh.clone());
        table.len() - 1
    })
}
