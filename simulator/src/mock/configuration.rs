//! The scenario's configuration as `stormproof serve` can use it in front of a mock: the mock's address in the place of
//! the providers', and the made-up keys in the place of secrets.

use std::net::SocketAddr;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use stormproof_router::config::{Errors, Node};
use stormproof_router::core::Settings;

use super::keys::secret;

/// The token of a client, or of the admin listener under the name `admin`, in such a configuration.
pub fn token(name: &str) -> String {
    secret(name)
}

/// `config`, a scenario's configuration, changed to call a mock at `address`. `settings` are what it resolved to: they
/// know the keys' names.
///
/// # Errors
/// When a name of the configuration cannot be written.
pub fn configuration(config: &Node, settings: &Settings, address: SocketAddr) -> Result<Node, Errors> {
    let mut changed = config.unplaced();
    for (name, _, provider) in config.entry("providers").into_iter().flat_map(Node::entries) {
        let base = match provider.entry("dialect").and_then(Node::text) {
            Some("openai") => format!("http://{address}/v1"),
            _ => format!("http://{address}"),
        };
        changed.set(&format!("providers.{name}.base_url"), text(&base)?);
    }
    for (name, _, _) in config.entry("keys").into_iter().flat_map(Node::entries) {
        let lead = format!("{name}-");
        let is_its = |key: &str| key.strip_prefix(&lead).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
        let keys = settings.keys.iter().map(|key| key.name.as_str()).filter(|key| is_its(key));
        let secrets: Vec<String> = keys.map(secret).collect();
        changed.set(&format!("keys.{name}.secrets"), text(&secrets.join(","))?);
    }
    for (name, _, _) in config.entry("clients").into_iter().flat_map(Node::entries) {
        let digest: [u8; 32] = Sha256::digest(token(name)).into();
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        changed.set(&format!("clients.{name}.token_sha256"), text(&digits)?);
    }
    if config.entry("admin").is_some() {
        changed.set("admin.token", text(&token("admin"))?);
    }
    Ok(changed)
}

/// A text as a node.
fn text(text: &str) -> Result<Node, Errors> {
    let origin: Arc<str> = "the mock's configuration".into();
    Node::parse(&format!("\"{text}\""), &origin)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use stormproof_router::config::{Config, MemoryEnvironment};

    use super::*;
    use crate::scenario::built_in;

    #[test]
    fn it_is_a_configuration_without_any_secret_of_ours() {
        let document = built_in("expected-rotation").expect("built in").expect("good");
        let case = document.scenario().expect("good").case;
        let address = ([127, 0, 0, 1], 8080).into();
        let written = configuration(document.config(), &case.settings, address).expect("good names").to_json();
        let config = Config::parse(&written, "written").expect("a configuration");
        let resolved = config.resolve(&MemoryEnvironment::default(), b"salt", case.day.start).expect("no variable");
        assert_eq!(resolved.settings.keys.len(), 25);
        assert_eq!(resolved.settings.tiers, case.settings.tiers, "the same limits and prices");
        assert!(resolved.endpoints.iter().all(|endpoint| endpoint.base_url.starts_with("http://127.0.0.1:8080")));
        assert_eq!(config.log.dir, PathBuf::from("./log"));
    }
}
