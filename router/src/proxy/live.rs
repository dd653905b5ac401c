//! One version of the settings with everything that the network needs beside them: addresses, credentials, tokens and
//! the rules of the front door. It is replaced as a whole and never changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;
use secrecy::SecretString;
use subtle::ConstantTimeEq;

use super::images::ImageRules;
use super::upstream::Target;
use crate::core::{ClientId, DeploymentId, Duration, ModelId, Settings};

/// The index that anonymous clients have in every settings.
const ANONYMOUS: ClientId = ClientId::new(0);

/// Settings in force, with their secrets. Its `Debug` shows none.
#[derive(Debug)]
pub struct Live {
    /// What the router knows.
    pub settings: Arc<Settings>,
    /// The rules of the front door.
    pub rules: Rules,
    /// By deployment.
    targets: Vec<Target>,
    /// What clients are told of who served them, by deployment.
    labels: Vec<Label>,
    /// What must be redacted wherever it turns up.
    secrets: Vec<SecretString>,
    admin: Option<SecretString>,
    models: BTreeMap<String, ModelId>,
    tokens: Vec<Token>,
}

/// What the front door demands and allows.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The header that names a request's deadline, in lower case.
    pub deadline_header: http::HeaderName,
    /// No request gets less.
    pub deadline_min: Duration,
    /// No request gets more.
    pub deadline_max: Duration,
    /// The largest request body, in bytes.
    pub body_max: usize,
    /// When to send the head of an OpenAI stream though no provider has answered yet.
    pub early_stream: Option<Duration>,
    /// Which images are fetched for providers that want their bytes; `None` is none.
    pub images: Option<ImageRules>,
}

/// The names of a deployment, as headers have them; `None` where a name can stand in none.
#[derive(Clone, Debug)]
pub(super) struct Label {
    pub(super) tier: Option<HeaderValue>,
    /// `tier/key`.
    pub(super) deployment: Option<HeaderValue>,
}

/// What a client shows, as a SHA-256, and who it is then.
#[derive(Clone)]
pub struct Token {
    /// The digest of the token.
    pub sha256: [u8; 32],
    /// Whose.
    pub client: ClientId,
}

impl Live {
    /// Puts settings and network together: `targets` by deployment, `tokens` in any order. Without tokens everybody is
    /// the anonymous client.
    pub fn new(
        settings: Arc<Settings>,
        targets: Vec<Target>,
        secrets: Vec<SecretString>,
        tokens: Vec<Token>,
        rules: Rules,
    ) -> Self {
        let models = settings.models.iter().enumerate();
        let models = models.map(|(index, model)| (model.name.clone(), ModelId::new(index as u16))).collect();
        let mut live = Self { settings, rules, targets, labels: Vec::new(), secrets, admin: None, models, tokens };
        let deployments = 0..live.settings.deployments.len();
        live.labels = deployments.map(|index| live.named(DeploymentId::new(index as u32))).collect();
        live
    }

    fn named(&self, deployment: DeploymentId) -> Label {
        let tier = self.settings.deployments.get(deployment.index()).map(|deployment| deployment.tier);
        let tier = tier.and_then(|tier| self.settings.tiers.get(tier.index()));
        Label {
            tier: tier.and_then(|tier| HeaderValue::from_str(&tier.name).ok()),
            deployment: self.deployment_name(deployment).and_then(|name| HeaderValue::from_str(&name).ok()),
        }
    }

    /// The same, with a token for operators.
    pub fn with_admin(mut self, token: Option<SecretString>) -> Self {
        self.secrets.extend(token.clone());
        self.admin = token;
        self
    }

    /// The model of that public name; Gemini's `models/` before it does no harm.
    pub(super) fn model(&self, name: &str) -> Option<ModelId> {
        self.models.get(name.strip_prefix("models/").unwrap_or(name)).copied()
    }

    /// Where a deployment's calls go.
    pub(super) fn target(&self, deployment: DeploymentId) -> Option<&Target> {
        self.targets.get(deployment.index())
    }

    /// What clients are told of a deployment.
    pub(super) fn label(&self, deployment: DeploymentId) -> Option<&Label> {
        self.labels.get(deployment.index())
    }

    /// What operators show, if there is a listener for them.
    pub(super) fn admin_token(&self) -> Option<&SecretString> {
        self.admin.as_ref()
    }

    /// What must never leave.
    pub(super) fn secrets(&self) -> &[SecretString] {
        &self.secrets
    }

    /// Every target, by deployment.
    pub(super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The name of a deployment, `tier/key`: what clients and operators are told.
    pub(super) fn deployment_name(&self, deployment: DeploymentId) -> Option<String> {
        let deployment = self.settings.deployments.get(deployment.index())?;
        let (tier, key) = (&self.settings.tiers[deployment.tier.index()], &self.settings.keys[deployment.key.index()]);
        Some(format!("{}/{}", tier.name, key.name))
    }

    /// Whether clients must say who they are.
    pub(super) fn knows_clients(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Who shows a token with this digest. Takes the same time whoever it is, and if it is nobody.
    pub(super) fn client(&self, shown: Option<&[u8; 32]>) -> Option<ClientId> {
        if self.tokens.is_empty() {
            return Some(ANONYMOUS);
        }
        let shown = shown?;
        self.tokens.iter().fold(
            None,
            |found, token| {
                if bool::from(token.sha256.ct_eq(shown)) { Some(token.client) } else { found }
            },
        )
    }

    /// Whether a client may ask for a model.
    pub(super) fn allows(&self, client: ClientId, model: ModelId) -> bool {
        let models = self.settings.clients.get(client.index()).and_then(|client| client.models.as_ref());
        models.is_none_or(|models| models.contains(&model))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token of client {}", self.client)
    }
}
