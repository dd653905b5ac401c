//! The check of a configuration's graph: everything that would make a model unable to answer, or count one quota twice,
//! is an error before anything starts.

use thiserror::Error;

use super::ids::{KeyId, ModelId, TierId, UpstreamId};
use super::settings::{Limits, Settings};

/// A model's tiers are told apart by the bits of one word.
pub(super) const TIERS_MAX: usize = u32::BITS as usize;

/// What is wrong with a graph of models, tiers and keys. Names are those of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GraphError {
    /// An index points outside its list; only a program can make this mistake.
    #[error("{what} {index} does not exist")]
    Dangling {
        /// The kind of thing.
        what: &'static str,
        /// The index.
        index: usize,
    },
    /// Two things of one kind share a name, and state could not be told apart.
    #[error("two {what} are called `{name}`: give one another name")]
    SameName {
        /// The kind of thing.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Two keys have the same secret.
    #[error("keys `{first}` and `{second}` are the same secret: it would be counted as two")]
    SameSecret {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// A model has nothing that could answer.
    #[error("model `{model}` has no tiers: it could never answer")]
    NoTiers {
        /// Which.
        model: String,
    },
    /// A model has more tiers than are told apart.
    #[error("model `{model}` has {tiers} tiers: at most {most} are possible", most = TIERS_MAX)]
    TooManyTiers {
        /// Which.
        model: String,
        /// How many.
        tiers: usize,
    },
    /// A model names a tier twice.
    #[error("model `{model}` names tier `{tier}` twice")]
    TierTwice {
        /// Which model.
        model: String,
        /// Which tier.
        tier: String,
    },
    /// A tier has no keys.
    #[error("tier `{tier}` has no keys: nothing could be sent there")]
    NoKeys {
        /// Which.
        tier: String,
    },
    /// No model leads to a tier.
    #[error("no model uses tier `{tier}`: add it to a model or remove it")]
    Unreachable {
        /// Which.
        tier: String,
    },
    /// A key serves one upstream model twice.
    #[error("key `{key}` serves `{upstream}` twice (tiers `{first}` and `{second}`): its quota would be counted twice")]
    PairTwice {
        /// The key.
        key: String,
        /// The upstream model.
        upstream: String,
        /// One tier.
        first: String,
        /// The other, or the same.
        second: String,
    },
    /// Two tiers give one project's quota for one upstream model different limits.
    #[error(
        "tiers `{first}` and `{second}` give project `{project}` different limits for `{upstream}`: it has one quota"
    )]
    TwoLimits {
        /// The project.
        project: String,
        /// The upstream model.
        upstream: String,
        /// One tier.
        first: String,
        /// The other.
        second: String,
    },
    /// A key is at another provider than the upstream model that it is to serve.
    #[error("tier `{tier}` serves `{upstream}` with key `{key}` of another provider")]
    OtherProvider {
        /// The tier.
        tier: String,
        /// The upstream model.
        upstream: String,
        /// The key.
        key: String,
    },
    /// A chain of fallbacks comes back to where it began.
    #[error("the {kind} fallbacks of model `{model}` come back to it")]
    Loop {
        /// `context` or `content`.
        kind: &'static str,
        /// Where it was noticed.
        model: String,
    },
}

impl Settings {
    /// Checks the graph and gives everything that is wrong with it, in the order of the settings.
    ///
    /// # Errors
    /// All [`GraphError`]s; dangling indexes alone, if there are any, for the rest rests on them.
    pub fn check(&self) -> Result<(), Vec<GraphError>> {
        let dangling = self.dangling();
        if !dangling.is_empty() {
            return Err(dangling);
        }
        let mut errors = self.same_names();
        errors.extend(self.check_models());
        errors.extend(self.check_tiers());
        errors.extend(self.check_deployments());
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn dangling(&self) -> Vec<GraphError> {
        let mut errors = Vec::new();
        let mut within = |what, index: usize, length: usize| {
            if index >= length {
                errors.push(GraphError::Dangling { what, index });
            }
        };
        self.upstreams.iter().for_each(|it| within("provider", it.provider.index(), self.providers.len()));
        self.projects.iter().for_each(|it| within("provider", it.provider.index(), self.providers.len()));
        self.keys.iter().for_each(|it| within("project", it.project.index(), self.projects.len()));
        self.tiers.iter().for_each(|it| within("upstream", it.upstream.index(), self.upstreams.len()));
        for deployment in &self.deployments {
            within("tier", deployment.tier.index(), self.tiers.len());
            within("key", deployment.key.index(), self.keys.len());
        }
        for model in &self.models {
            model.tiers.iter().for_each(|tier| within("tier", tier.index(), self.tiers.len()));
            let fallbacks = model.context_fallback.iter().chain(&model.content_fallback);
            fallbacks.for_each(|next| within("model", next.index(), self.models.len()));
        }
        for client in &self.clients {
            client.models.iter().flatten().for_each(|model| within("model", model.index(), self.models.len()));
        }
        errors
    }

    fn same_names(&self) -> Vec<GraphError> {
        let mut errors = Vec::new();
        let mut distinct = |what: &'static str, names: Vec<String>| {
            for (index, name) in names.iter().enumerate() {
                if names[..index].contains(name) {
                    errors.push(GraphError::SameName { what, name: name.clone() });
                }
            }
        };
        distinct("providers", self.providers.iter().map(|it| it.name.clone()).collect());
        distinct("keys", self.keys.iter().map(|it| it.name.clone()).collect());
        distinct("tiers", self.tiers.iter().map(|it| it.name.clone()).collect());
        distinct("models", self.models.iter().map(|it| it.name.clone()).collect());
        distinct("clients", self.clients.iter().map(|it| it.name.clone()).collect());
        for (index, key) in self.keys.iter().enumerate() {
            if let Some(other) = self.keys[..index].iter().find(|other| other.fingerprint == key.fingerprint) {
                errors.push(GraphError::SameSecret { first: other.name.clone(), second: key.name.clone() });
            }
        }
        errors
    }

    fn check_models(&self) -> Vec<GraphError> {
        let mut errors = Vec::new();
        for (index, model) in self.models.iter().enumerate() {
            let name = || model.name.clone();
            match model.tiers.len() {
                0 => errors.push(GraphError::NoTiers { model: name() }),
                1..=TIERS_MAX => {}
                tiers => errors.push(GraphError::TooManyTiers { model: name(), tiers }),
            }
            for (place, tier) in model.tiers.iter().enumerate() {
                if model.tiers[..place].contains(tier) {
                    errors.push(GraphError::TierTwice { model: name(), tier: self.tiers[tier.index()].name.clone() });
                }
            }
            let start = ModelId::new(index as u16);
            if self.comes_back(start, |model| self.models[model.index()].context_fallback) {
                errors.push(GraphError::Loop { kind: "context", model: name() });
            }
            if self.comes_back(start, |model| self.models[model.index()].content_fallback) {
                errors.push(GraphError::Loop { kind: "content", model: name() });
            }
        }
        errors
    }

    fn comes_back(&self, start: ModelId, next: impl Fn(ModelId) -> Option<ModelId>) -> bool {
        let mut at = start;
        for _ in 0..self.models.len() {
            match next(at) {
                Some(model) if model == start => return true,
                Some(model) => at = model,
                None => return false,
            }
        }
        false
    }

    fn check_tiers(&self) -> Vec<GraphError> {
        let mut errors = Vec::new();
        for (index, tier) in self.tiers.iter().enumerate() {
            let id = TierId::new(index as u16);
            if !self.deployments.iter().any(|deployment| deployment.tier == id) {
                errors.push(GraphError::NoKeys { tier: tier.name.clone() });
            }
            if !self.models.iter().any(|model| model.tiers.contains(&id)) {
                errors.push(GraphError::Unreachable { tier: tier.name.clone() });
            }
        }
        errors
    }

    fn check_deployments(&self) -> Vec<GraphError> {
        let mut errors = Vec::new();
        let mut pairs: Vec<(KeyId, UpstreamId, TierId)> = Vec::new();
        let mut quotas: Vec<(usize, UpstreamId, TierId, Limits)> = Vec::new();
        for deployment in &self.deployments {
            let (tier, key) = (&self.tiers[deployment.tier.index()], &self.keys[deployment.key.index()]);
            let upstream = &self.upstreams[tier.upstream.index()];
            if self.projects[key.project.index()].provider != upstream.provider {
                errors.push(GraphError::OtherProvider {
                    tier: tier.name.clone(),
                    upstream: upstream.model.clone(),
                    key: key.name.clone(),
                });
            }
            let known = pairs.iter().find(|(known, serves, _)| (*known, *serves) == (deployment.key, tier.upstream));
            if let Some((_, _, first)) = known {
                errors.push(GraphError::PairTwice {
                    key: key.name.clone(),
                    upstream: upstream.model.clone(),
                    first: self.tiers[first.index()].name.clone(),
                    second: tier.name.clone(),
                });
            } else {
                pairs.push((deployment.key, tier.upstream, deployment.tier));
            }
            let project = key.project.index();
            match quotas.iter().find(|(known, of, ..)| (*known, *of) == (project, tier.upstream)) {
                None => quotas.push((project, tier.upstream, deployment.tier, tier.limits)),
                Some((_, _, first, limits)) if *limits != tier.limits && *first != deployment.tier => {
                    let error = GraphError::TwoLimits {
                        project: self.projects[project].name.clone(),
                        upstream: upstream.model.clone(),
                        first: self.tiers[first.index()].name.clone(),
                        second: tier.name.clone(),
                    };
                    if !errors.contains(&error) {
                        errors.push(error);
                    }
                }
                Some(_) => {}
            }
        }
        errors
    }
}
