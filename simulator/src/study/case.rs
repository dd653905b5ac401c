//! What is compared: one day, and the routers that are tried on it.

use std::sync::Arc;

use stormproof_router::core::Settings;

use crate::baselines::litellm::{Options, Version};
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

impl Policy {
    /// The settings under which it runs.
    pub fn settings(&self) -> &Arc<Settings> {
        match self {
            Self::Stormproof(settings) | Self::LiteLlm { settings, .. } => settings,
        }
    }

    /// What it is, for a reader of results.
    pub fn about(&self) -> String {
        match self {
            Self::Stormproof(_) => "Stormproof".to_owned(),
            Self::LiteLlm { options, .. } => {
                let release = match options.version {
                    Version::V1_66 => "1.66",
                    Version::V1_109 => "1.109",
                };
                let cooldown = options.cooldown_time.0.as_secs_f64();
                format!("LiteLLM {release}, cooldown_time {cooldown}, num_retries {}", options.num_retries)
            }
        }
    }
}
