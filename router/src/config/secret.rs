//! Secrets: where a file says they are, how they are read, and the table in which they stay apart from the settings.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use crate::core::{ClientId, Fingerprint, KeyId};

/// Where secrets are. Each place may hold several, separated by commas, white space or line ends.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// In an environment variable.
    Env(String),
    /// In a file; a relative path is relative to the configuration.
    File(PathBuf),
    /// In the configuration itself: allowed, and warned about.
    Inline(Vec<SecretString>),
}

/// Where secrets are read from: the process, or a test's own world.
pub trait Environment {
    /// The environment variable of that name.
    fn variable(&self, name: &str) -> Option<String>;

    /// The content of a file.
    ///
    /// # Errors
    /// As the file system reports them.
    fn file(&self, path: &Path) -> io::Result<String>;

    /// Where that file lies in the file system, to be watched; `None` when it lies elsewhere.
    fn place(&self, _path: &Path) -> Option<PathBuf> {
        None
    }
}

/// The environment of this process.
#[derive(Clone, Debug)]
pub struct ProcessEnvironment {
    /// What relative paths start from: the folder of the configuration.
    pub base: PathBuf,
}

/// An environment in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryEnvironment {
    /// Variables by name.
    pub variables: BTreeMap<String, String>,
    /// Files by path.
    pub files: BTreeMap<PathBuf, String>,
}

/// The secrets of one configuration, by the ids of its [`Settings`](crate::core::Settings). Printing it shows none.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    pub(super) keys: Vec<SecretString>,
    pub(super) tokens: Vec<Vec<TokenDigest>>,
    pub(super) admin: Option<SecretString>,
}

/// The SHA-256 of a client's token. Compare in constant time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenDigest(pub [u8; 32]);

impl Secrets {
    /// The credential of a key; `None` for a key of other settings.
    pub fn key(&self, key: KeyId) -> Option<&SecretString> {
        self.keys.get(key.index())
    }

    /// Every credential, by key.
    pub fn keys(&self) -> &[SecretString] {
        &self.keys
    }

    /// The tokens by which a client is known; none for the anonymous one.
    pub fn tokens(&self, client: ClientId) -> &[TokenDigest] {
        self.tokens.get(client.index()).map_or(&[], Vec::as_slice)
    }

    /// The token of the admin listener.
    pub fn admin(&self) -> Option<&SecretString> {
        self.admin.as_ref()
    }
}

impl SecretSource {
    /// Reads all secrets that stand there.
    ///
    /// # Errors
    /// A sentence that says what is missing. It never holds a secret.
    pub(super) fn read(&self, environment: &dyn Environment) -> Result<Vec<SecretString>, String> {
        let (text, place) = match self {
            Self::Inline(secrets) => return Ok(secrets.clone()),
            Self::Env(name) => {
                let text = environment.variable(name).ok_or_else(|| {
                    format!("the environment variable `{name}` is not set; set it to the secrets, separated by commas")
                })?;
                (text, format!("the environment variable `{name}`"))
            }
            Self::File(path) => {
                let text = environment
                    .file(path)
                    .map_err(|error| format!("the file `{}` cannot be read: {error}", path.display()))?;
                (text, format!("the file `{}`", path.display()))
            }
        };
        let secrets = split(&text);
        if secrets.is_empty() {
            return Err(format!("{place} is empty; put the secrets there, separated by commas"));
        }
        Ok(secrets)
    }

    /// Reads the one secret that stands there.
    pub(super) fn read_one(&self, environment: &dyn Environment) -> Result<SecretString, String> {
        let mut secrets = self.read(environment)?;
        match (secrets.pop(), secrets.len()) {
            (Some(secret), 0) => Ok(secret),
            (_, others) => Err(format!("{} secrets stand there; this place takes one", others + 1)),
        }
    }
}

impl TokenDigest {
    /// The digest of a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Reads 64 hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(digest))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

/// The name that a key has in logs: the first 8 bytes of SHA-256(salt || secret). The salt belongs to the log's
/// folder, so that fingerprints of two installations cannot be compared.
pub fn fingerprint(salt: &[u8], secret: &SecretString) -> Fingerprint {
    first_eight(Sha256::new().chain_update(salt).chain_update(secret.expose_secret().as_bytes()))
}

/// The fingerprint of a key that exists only in a rehearsal: made of its name.
pub(super) fn rehearsed_fingerprint(name: &str) -> Fingerprint {
    first_eight(Sha256::new().chain_update(b"rehearsed key ").chain_update(name.as_bytes()))
}

fn first_eight(hash: Sha256) -> Fingerprint {
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = hash.finalize().into();
    Fingerprint::new([a, b, c, d, e, f, g, h])
}

fn split(text: &str) -> Vec<SecretString> {
    let separator = |c: char| c == ',' || c.is_whitespace();
    text.split(separator).filter(|part| !part.is_empty()).map(SecretString::from).collect()
}

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(self.base.join(path))
    }

    fn place(&self, path: &Path) -> Option<PathBuf> {
        Some(self.base.join(path))
    }
}

impl Environment for MemoryEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        self.files.get(path).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SourceVisitor;

        impl<'de> Visitor<'de> for SourceVisitor {
            type Value = SecretSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`{env: NAME}` or `{file: PATH}`")
            }
            fn visit_str<E>(self, text: &str) -> Result<SecretSource, E> {
                Ok(SecretSource::Inline(split(text)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<SecretSource, A::Error> {
                let mut secrets = Vec::new();
                while let Some(item) = items.next_element::<String>()? {
                    secrets.push(SecretString::from(item));
                }
                Ok(SecretSource::Inline(secrets))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<SecretSource, A::Error> {
                let wrong = || de::Error::custom("write `{env: NAME}` or `{file: PATH}`, one of them");
                let key: String = entries.next_key()?.ok_or_else(wrong)?;
                let source = match key.as_str() {
                    "env" => SecretSource::Env(entries.next_value()?),
                    "file" => SecretSource::File(entries.next_value()?),
                    _ => return Err(wrong()),
                };
                match entries.next_key::<de::IgnoredAny>()? {
                    None => Ok(source),
                    Some(_) => Err(wrong()),
                }
            }
        }

        deserializer.deserialize_any(SourceVisitor)
    }
}

impl JsonSchema for SecretSource {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SecretSource".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let reference = |name: &str, description: &str| {
            json_schema!({
                "type": "object",
                "properties": {name: {"type": "string", "description": description}},
                "required": [name],
                "additionalProperties": false,
            })
        };
        json_schema!({
            "description": "Where secrets are: several are separated by commas. Inline ones are allowed, and warned about.",
            "anyOf": [
                reference("env", "The environment variable that holds them"),
                reference("file", "The file that holds them"),
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}},
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str, value: &str) -> MemoryEnvironment {
        MemoryEnvironment { variables: [(name.to_owned(), value.to_owned())].into(), files: BTreeMap::new() }
    }

    #[test]
    fn secrets_are_lists_and_never_printed() {
        let environment = environment("KEYS", " a1,b2 ,\n c3\n");
        let secrets = SecretSource::Env("KEYS".into()).read(&environment).expect("set");
        let exposed: Vec<&str> = secrets.iter().map(|secret| secret.expose_secret()).collect();
        assert_eq!(exposed, ["a1", "b2", "c3"]);
        let table = Secrets { keys: secrets, ..Secrets::default() };
        assert!(!format!("{table:?}").contains("b2"));
    }

    #[test]
    fn what_is_missing_is_named_and_its_content_is_not() {
        let environment = environment("EMPTY", " , ");
        let error = |source: SecretSource| source.read(&environment).expect_err("nothing there");
        assert!(error(SecretSource::Env("NONE".into())).starts_with("the environment variable `NONE` is not set"));
        assert!(error(SecretSource::Env("EMPTY".into())).starts_with("the environment variable `EMPTY` is empty"));
        assert!(error(SecretSource::File("k.txt".into())).starts_with("the file `k.txt` cannot be read"));
        let two = SecretSource::Inline(split("s3cret,s3cret2")).read_one(&environment).expect_err("two");
        assert_eq!(two, "2 secrets stand there; this place takes one");
    }

    /// `printf 'saltsecret' | sha256sum`
    #[test]
    fn fingerprints_are_salted_sha256() {
        assert_eq!(fingerprint(b"salt", &SecretString::from("secret")).to_string(), "bede90386d450cea");
        assert_ne!(fingerprint(b"salu", &SecretString::from("secret")).to_string(), "bede90386d450cea");
    }

    #[test]
    fn token_digests_are_64_hexadecimal_digits() {
        let hex = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        assert_eq!(TokenDigest::parse(hex), Some(TokenDigest::of("secret")));
        assert_eq!(TokenDigest::parse(&hex[1..]), None);
        assert_eq!(TokenDigest::parse(&hex.replace('2', "g")), None);
    }
}
