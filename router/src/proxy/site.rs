//! From a configuration to what the proxy works with.

use std::sync::Arc;

use http::HeaderName;
use thiserror::Error;

use super::images::ImageRules;
use super::live::{Live, Rules, Token};
use super::upstream::{Credential, Target, TargetError};
use crate::config::{Auth, Config, Dialect as Written, Endpoint, Environment, Errors, Problem, Resolved};
use crate::core::{ClientId, Deployment, Settings, WallTime};
use crate::wire::Dialect;

/// A configuration that cannot be put in force.
#[derive(Debug, Error)]
pub enum SiteError {
    /// It cannot be read, or does not make sense.
    #[error(transparent)]
    Config(#[from] Errors),
    /// A provider cannot be called as it is written.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The header that names deadlines is none.
    #[error("`{0}` cannot be a header's name; use letters, digits and dashes")]
    Header(String),
}

/// Works out what `config` means from `now` on, with the secrets that `environment` holds, and what is unwise in it.
///
/// # Errors
/// Whatever is wrong with it.
pub fn live(
    config: &Config,
    environment: &dyn Environment,
    salt: &[u8],
    now: WallTime,
) -> Result<(Live, Vec<Problem>), SiteError> {
    let Resolved { settings, secrets, endpoints, warnings } = config.resolve(environment, salt, now)?;
    let targets = settings
        .deployments
        .iter()
        .map(|deployment| target(&settings, *deployment, &endpoints, &secrets))
        .collect::<Result<Vec<Target>, TargetError>>()?;
    let clients = (0..settings.clients.len()).map(|index| ClientId::new(index as u16));
    let tokens = clients
        .flat_map(|client| secrets.tokens(client).iter().map(move |digest| Token { sha256: digest.0, client }))
        .collect();
    let live = Live::new(Arc::new(settings), targets, secrets.keys().to_vec(), tokens, rules(config)?);
    Ok((live.with_admin(secrets.admin().cloned()), warnings))
}

fn target(
    settings: &Settings,
    deployment: Deployment,
    endpoints: &[Endpoint],
    secrets: &crate::config::Secrets,
) -> Result<Target, TargetError> {
    let upstream = &settings.upstreams[settings.tiers[deployment.tier.index()].upstream.index()];
    let key = &settings.keys[deployment.key.index()];
    let endpoint = &endpoints[upstream.provider.index()];
    let credential = match endpoint.auth {
        Auth::ApiKey => Credential::GoogleKey,
        Auth::Bearer => Credential::Bearer,
    };
    let dialect = match endpoint.dialect {
        Written::Gemini => Dialect::Gemini,
        Written::Vertex => Dialect::Vertex,
        Written::Openai => Dialect::OpenAi,
    };
    // The configuration checks that every key has its secret.
    let secret = secrets.key(deployment.key).cloned().unwrap_or_default();
    Target::new(dialect, &base(endpoint), &upstream.model, credential, &key.name, &secret)
}

/// Where a provider's methods begin: its address with the version that we speak, unless the address names one.
fn base(endpoint: &Endpoint) -> String {
    let version = match endpoint.dialect {
        Written::Openai => return endpoint.base_url.clone(),
        Written::Gemini => "v1beta",
        Written::Vertex => "v1beta1",
    };
    let named = ["/v1", "/v1beta", "/v1beta1", "/v1alpha"].iter().any(|version| endpoint.base_url.ends_with(version));
    let base = if named { endpoint.base_url.clone() } else { format!("{}/{version}", endpoint.base_url) };
    match &endpoint.vertex {
        Some((project, location)) => format!("{base}/projects/{project}/locations/{location}"),
        None => base,
    }
}

fn rules(config: &Config) -> Result<Rules, SiteError> {
    let header = config.deadlines.header.as_str();
    let deadline_header = HeaderName::from_bytes(header.to_ascii_lowercase().as_bytes())
        .map_err(|_not_a_name| SiteError::Header(header.to_owned()))?;
    Ok(Rules {
        deadline_header,
        deadline_min: config.deadlines.min.0,
        deadline_max: config.deadlines.max.0,
        body_max: usize::try_from(config.body_max.0).unwrap_or(usize::MAX),
        early_stream: config.early_stream.map(|early| early.0),
        images: config.images.as_ref().filter(|images| images.fetch).map(|images| ImageRules {
            size_max: usize::try_from(images.size_max.0).unwrap_or(usize::MAX),
            timeout: images.timeout.0.into(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MemoryEnvironment;

    const CONFIG: &str = "
providers:
  gemini: {dialect: gemini}
  cloud: {dialect: vertex, project: p-1, location: europe-west4}
  mistral: {dialect: openai, base_url: \"https://api.mistral.example/v1/\"}
keys:
  free: {provider: gemini, secrets: {env: FREE}, projects: separate}
  cloud: {provider: cloud, secrets: {env: CLOUD}, projects: shared}
  mistral: {provider: mistral, secrets: {env: MISTRAL}, projects: shared}
tiers:
  free: {keys: free, upstream: g-pro, price: free}
  cloud: {keys: cloud, upstream: g-pro, price: {input: 1, output: 2}}
  mistral: {keys: mistral, upstream: m-large, price: {input: 1, output: 2}}
models:
  pro: {tiers: [free, cloud, mistral]}
";

    #[test]
    fn every_deployment_has_its_address_and_no_secret_shows() {
        let variables = [("FREE", "hush-1,hush-2"), ("CLOUD", "hush-3"), ("MISTRAL", "hush-4")];
        let environment = MemoryEnvironment {
            variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..MemoryEnvironment::default()
        };
        let config = Config::parse(CONFIG, "test.yaml").expect("a good file");
        let now = WallTime::from_nanos(1_745_040_057_000_000_000);
        let (live, _) = live(&config, &environment, b"salt", now).expect("it makes sense");
        let targets: Vec<String> = live.targets().iter().map(|target| format!("{target:?}")).collect();
        assert_eq!(
            targets,
            [
                "https://generativelanguage.googleapis.com/v1beta g-pro (x-goog-api-key)",
                "https://generativelanguage.googleapis.com/v1beta g-pro (x-goog-api-key)",
                "https://europe-west4-aiplatform.googleapis.com/v1beta1/projects/p-1/locations/europe-west4 g-pro (authorization)",
                "https://api.mistral.example/v1 m-large (authorization)",
            ]
        );
        assert!(!format!("{live:?}").contains("hush"));
    }
}
