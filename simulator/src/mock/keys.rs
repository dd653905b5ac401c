//! The credentials of a mock: made up from the keys' names, so that a configuration can hold them beforehand.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use stormproof_router::core::{Fingerprint, KeyId, Settings};

/// The secret of the key of that name, at every mock: `mock-free-01` for `free-01`.
pub fn secret(name: &str) -> String {
    format!("mock-{name}")
}

/// All credentials that this mock knows.
#[derive(Debug)]
pub(super) struct KeyRing {
    keys: BTreeMap<String, KeyId>,
    /// Makes the fingerprints of unknown keys incomparable between runs: somebody may send a real one by mistake.
    salt: [u8; 16],
}

impl KeyRing {
    pub(super) fn new(settings: &Settings, salt: [u8; 16]) -> Self {
        let keys = settings.keys.iter().zip(0..).map(|(key, id)| (secret(&key.name), KeyId::new(id)));
        Self { keys: keys.collect(), salt }
    }

    /// The key with this secret.
    pub(super) fn find(&self, secret: &str) -> Option<KeyId> {
        self.keys.get(secret).copied()
    }

    /// What an unknown secret is called in the records.
    pub(super) fn stranger(&self, secret: &str) -> String {
        let digest: [u8; 32] = Sha256::new().chain_update(self.salt).chain_update(secret).finalize().into();
        let mut head = [0; 8];
        head.copy_from_slice(&digest[..8]);
        format!("unknown {}", Fingerprint::new(head))
    }
}

#[cfg(test)]
mod tests {
    use stormproof_router::core::Key;

    use super::*;

    #[test]
    fn keys_are_found_by_secret_and_strangers_are_not_shown() {
        let key = |name: &str| Key { name: name.to_owned(), ..key() };
        let settings = Settings { keys: vec![key("free-01"), key("paid-01")], ..Settings::default() };
        let ring = KeyRing::new(&settings, [7; 16]);
        assert_eq!(ring.find("mock-paid-01"), Some(KeyId::new(1)));
        assert_eq!(ring.find("paid-01"), None);
        let shown = ring.stranger("a-real-secret");
        assert!(shown.starts_with("unknown ") && !shown.contains("secret"), "{shown}");
        assert_ne!(shown, KeyRing::new(&settings, [8; 16]).stranger("a-real-secret"));
    }

    fn key() -> Key {
        Key { name: String::new(), fingerprint: Fingerprint::default(), project: Default::default() }
    }
}
