//! Fingerprints of secrets: how a key is known where its value must not be.
//!
//! The salt lies in the log's directory, in a file of its own that is not part of the log: whoever is given a log can
//! tell keys apart but cannot try out guesses against it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::core::Fingerprint;

const FILE: &str = "salt";

/// What makes the fingerprints of one installation its own.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt([u8; 32]);

impl Salt {
    /// The salt with these bytes: for scenarios and tests, where secrets are made up.
    pub const fn fixed(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The salt of a log directory, made from `entropy` if there is none yet.
    ///
    /// # Errors
    /// Those of the file system; also when the file has not 32 bytes. It must then be restored: a new salt would
    /// detach every key from its history.
    pub fn of(directory: &Path, entropy: impl FnOnce() -> io::Result<[u8; 32]>) -> io::Result<Self> {
        let path = directory.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => bytes.try_into().map(Self).map_err(|bytes: Vec<u8>| {
                let found = bytes.len();
                io::Error::new(io::ErrorKind::InvalidData, format!("{}: {found} bytes, not 32", path.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let salt = Self(entropy()?);
                salt.store(directory, &path)?;
                Ok(salt)
            }
            Err(error) => Err(error),
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The first 8 bytes of SHA-256 over salt and secret.
    pub fn fingerprint(&self, secret: &str) -> Fingerprint {
        let hash = Sha256::new().chain_update(self.0).chain_update(secret).finalize();
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash[..8]);
        Fingerprint::new(bytes)
    }

    /// All of it or nothing: a torn salt would be a lost one.
    fn store(&self, directory: &Path, path: &Path) -> io::Result<()> {
        let draft = directory.join("salt.new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&draft)?;
        file.write_all(&self.0)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_is_made_once_and_kept() {
        let directory = tempfile::tempdir().expect("a folder");
        let first = Salt::of(directory.path(), || Ok([7; 32])).expect("made");
        let again = Salt::of(directory.path(), || Ok([8; 32])).expect("read");
        assert!(first == again);
        assert_eq!(first.fingerprint("secret"), again.fingerprint("secret"));
        assert_ne!(first.fingerprint("secret"), Salt::fixed([8; 32]).fingerprint("secret"));
    }

    #[test]
    fn a_damaged_salt_is_not_replaced() {
        let directory = tempfile::tempdir().expect("a folder");
        fs::write(directory.path().join(FILE), b"short").expect("written");
        let error = Salt::of(directory.path(), || Ok([7; 32])).err().expect("refused");
        assert!(error.to_string().ends_with("salt: 5 bytes, not 32"), "{error}");
    }
}
