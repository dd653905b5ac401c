//! What is compared: one day, and the routers that are tried on it.

use std::sync::Arc;

use stormproof_router::core::Settings;

use crate::baselines::litellm::Options;
use crate::engine::Day;

/// A day with everything that is needed to read its results.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Case {
    /// Its name: the scenario's.
    pub name: String,
    /// What happens.
    pub day: Day,
    /// Settings as configured: names and prices for results. Every policy's settings use the same indexes.
    pub settings: Arc<Settings>,
    /// Which parts of the scenario are assumptions, as its author marked them.
    pub assumed: Vec<String>,
}

/// A router with its settings, under the name by which results show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Contender {
    /// Its name in the scenario.
    pub name: String,
    /// What it is.
    pub policy: Policy,
}

/// Which router, with which settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Policy {
    /// Ours.
    Stormproof(Arc<Settings>),
    /// A LiteLLM proxy with these deployments and its own options.
    LiteLlm {
        /// Whose models are its groups.
        settings: Arc<Settings>,
        /// Which release, and how it is set.
        options: Arc<Options>,
    },
}
