//! Asks every key for its models: whether it is good, and whether it may use what the configuration gives it.

use http_body_util::BodyExt;
use tokio::time::Instant;

use super::clock::wall_now;
use super::live::Live;
use super::start::StartError;
use super::upstream::{Limits, Target, Upstream, Verb};
use crate::core::{Deployment, Facts, Transport};
use crate::wire::{self, models};

/// How long one key may take to answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);

/// What a key said.
#[derive(Clone, Debug)]
pub struct KeyCheck {
    /// The key's name.
    pub key: String,
    /// The upstream model that it is to serve.
    pub upstream: String,
    /// What came of it.
    pub finding: Finding,
}

/// What came of asking a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is good, and lists the model.
    Good,
    /// It is good, but does not list the model.
    ModelMissing,
    /// It was refused.
    Refused {
        /// With this status.
        status: u16,
        /// And these facts.
        facts: Facts,
    },
    /// There was no answer.
    Unreachable(Transport),
    /// The answer was no list of models.
    Unreadable,
}

/// Asks every deployment's key for its models, one after the other, so that no provider takes it for an attack.
///
/// # Errors
/// When TLS is not usable.
pub async fn check_keys(live: &Live, roots: Option<rustls::RootCertStore>) -> Result<Vec<KeyCheck>, StartError> {
    let upstream = Upstream::new(roots)?;
    let mut checks = Vec::new();
    for (deployment, target) in live.settings.deployments.iter().zip(live.targets()) {
        checks.push(KeyCheck {
            key: key_name(live, *deployment),
            upstream: target.model().to_owned(),
            finding: ask(&upstream, target).await,
        });
    }
    Ok(checks)
}

fn key_name(live: &Live, deployment: Deployment) -> String {
    live.settings.keys.get(deployment.key.index()).map_or_else(|| "?".to_owned(), |key| key.name.clone())
}

async fn ask(upstream: &Upstream, target: &Target) -> Finding {
    let Ok(request) = target.request(Verb::Models, bytes::Bytes::new()) else { return Finding::Unreadable };
    let until = Instant::now() + PATIENCE;
    let (head, body) = match upstream.send(request, Limits { connect: until, first_byte: until }).await {
        Ok(answer) => answer.into_parts(),
        Err(transport) => return Finding::Unreachable(transport),
    };
    let body = match tokio::time::timeout_at(until, body.collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) | Err(_) => return Finding::Unreachable(Transport::Cut),
    };
    let status = head.status.as_u16();
    if !head.status.is_success() {
        return Finding::Refused { status, facts: wire::facts(status, &head.headers, &body, wall_now()) };
    }
    match models::names_in(&body) {
        Ok((names, more)) => {
            // What stands on another page cannot be called missing.
            let listed = more.is_some() || names.iter().any(|name| name == target.model());
            if listed { Finding::Good } else { Finding::ModelMissing }
        }
        Err(_malformed) => Finding::Unreadable,
    }
}
