//! Keys, clients and operators: what they are called, whose quota they spend, and their secrets, which go into a table
//! apart from the settings.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::file::{Client, Config, KeyGroup, Projects};
use super::placed::At;
use super::resolve::{Builder, Keys, narrow};
use super::secret::{Environment, SecretSource, TokenDigest, fingerprint, rehearsed_fingerprint};
use crate::core::{self, Fingerprint, Key, ModelId, Project, ProjectId, ProviderId};

/// The most keys in one group. Far above any pool, and low enough that a typing error costs no memory.
const KEYS_MAX: u32 = 10_000;

impl Config {
    /// The files that hold credentials and clients' tokens.
    pub fn secret_files(&self) -> impl Iterator<Item = &Path> {
        let keys = self.keys.iter().filter_map(|(_, group)| group.secrets.as_ref());
        let tokens = self.clients.iter().filter_map(|(_, client)| client.token_sha256.as_ref());
        keys.chain(tokens).filter_map(|source| match &source.value {
            SecretSource::File(path) => Some(path.as_path()),
            SecretSource::Env(_) | SecretSource::Inline(_) => None,
        })
    }
}

impl<'a> Builder<'a> {
    pub(super) fn keys(&mut self, keys: &Keys<'_>) {
        let mut owners: BTreeMap<Fingerprint, String> = BTreeMap::new();
        for (group_name, group) in self.config.keys.iter() {
            let Some(provider) = self.config.providers.position(&group.provider) else { continue };
            let provider = ProviderId::new(narrow(provider));
            let Some(secrets) = self.group_secrets(group_name, group, keys) else { continue };
            let digits = secrets.len().to_string().len().max(2);
            let first = self.settings.keys.len();
            for (index, secret) in secrets.into_iter().enumerate() {
                let name = format!("{}-{:0digits$}", group_name.value, index + 1);
                let fingerprint = match keys {
                    Keys::Read { salt, .. } => fingerprint(salt, &secret),
                    Keys::MadeUp => rehearsed_fingerprint(&name),
                };
                if let Some(owner) = owners.insert(fingerprint, name.clone()) {
                    let spot = group.secrets.as_ref().map_or(group_name.spot, |source| source.spot);
                    let message = format!("`{name}` is the same secret as `{owner}`; its quota would be counted twice");
                    self.report.say(spot, message);
                }
                let project = match group.projects.as_deref() {
                    Some(Projects::Named(names)) => names.get(index).cloned().unwrap_or_default(),
                    Some(Projects::Shared) => group_name.value.clone(),
                    Some(Projects::Separate) | None => fingerprint.to_string(),
                };
                let project = self.project(provider, project);
                self.settings.keys.push(Key { name, fingerprint, project });
                self.secrets.keys.push(secret);
            }
            let wide = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
            self.groups.insert(&group_name.value, wide(first)..wide(self.settings.keys.len()));
        }
    }

    /// The secrets of one group, as many as it expects; `None` when that fails.
    fn group_secrets(&mut self, name: &At<String>, group: &KeyGroup, keys: &Keys<'_>) -> Option<Vec<SecretString>> {
        let expected = group.expect.as_ref().map(|expect| expect.value.0);
        if let Some(expect) = group.expect.as_ref().filter(|expect| !(1..=KEYS_MAX).contains(&expect.value.0)) {
            self.report
                .say(expect.spot, format!("a group has from 1 to {KEYS_MAX} keys; this expects {}", expect.value.0));
            return None;
        }
        let secrets = match keys {
            Keys::Read { environment, .. } => {
                let Some(source) = &group.secrets else {
                    let message =
                        format!("`keys.{}` has no `secrets`; say where they are: `secrets: {{env: NAME}}`", name.value);
                    self.report.say(name.spot, message);
                    return None;
                };
                self.read_secrets(name, source, expected, *environment)?
            }
            Keys::MadeUp => {
                let inline = match group.secrets.as_deref() {
                    Some(SecretSource::Inline(secrets)) => u32::try_from(secrets.len()).ok(),
                    Some(SecretSource::Env(_) | SecretSource::File(_)) | None => None,
                };
                let Some(count) = expected.or(inline) else {
                    let message = format!(
                        "a rehearsal reads no secrets, so `keys.{}` must say how many keys to `expect`",
                        name.value
                    );
                    self.report.say(name.spot, message);
                    return None;
                };
                vec![SecretString::from(""); usize::try_from(count).unwrap_or_default()]
            }
        };
        if let Some(At { value: Projects::Named(names), spot }) = &group.projects
            && names.len() != secrets.len()
        {
            let message = format!(
                "the keys are {1} and the projects named for them {0}; name one for each key, in order",
                names.len(),
                secrets.len()
            );
            self.report.say(*spot, message);
            return None;
        }
        Some(secrets)
    }

    fn read_secrets(
        &mut self,
        name: &At<String>,
        source: &At<SecretSource>,
        expected: Option<u32>,
        environment: &dyn Environment,
    ) -> Option<Vec<SecretString>> {
        if matches!(source.value, SecretSource::Inline(_)) {
            let message = "the secrets stand in the file itself; `{env: NAME}` or `{file: PATH}` keeps them out of backups and of version control";
            self.warnings.say(source.spot, message);
        }
        let secrets = match source.read(environment) {
            Ok(secrets) => secrets,
            Err(message) => {
                self.report.say(source.spot, message);
                return None;
            }
        };
        let found = secrets.len();
        if let Some(expected) = expected.filter(|expected| usize::try_from(*expected) != Ok(found)) {
            let message =
                format!("`keys.{}` expects {expected} keys, but {found} stand there; is the list cut off?", name.value);
            self.report.say(source.spot, message);
            return None;
        }
        if found == 0 || found > KEYS_MAX as usize {
            self.report.say(source.spot, format!("a group has from 1 to {KEYS_MAX} keys; {found} stand there"));
            return None;
        }
        Some(secrets)
    }

    fn project(&mut self, provider: ProviderId, name: String) -> ProjectId {
        let next = ProjectId::new(u32::try_from(self.settings.projects.len()).unwrap_or(u32::MAX));
        let id = *self.projects.entry((provider, name.clone())).or_insert(next);
        if id == next {
            self.settings.projects.push(Project { name, provider });
        }
        id
    }

    pub(super) fn clients(&mut self, keys: &Keys<'_>) {
        self.settings.clients.push(core::Client {
            name: "anonymous".to_owned(),
            priority: core::Priority::Normal,
            budget: None,
            rpm: None,
            tpm: None,
            models: None,
        });
        self.secrets.tokens.push(Vec::new());
        let mut owners: BTreeMap<TokenDigest, &'a str> = BTreeMap::new();
        for (name, client) in self.config.clients.iter() {
            let models = client.models.as_ref().map(|models| {
                let position = |name: &At<String>| self.config.models.position(name);
                models.iter().filter_map(position).map(|index| ModelId::new(narrow(index))).collect()
            });
            let (rpm, tpm) =
                (self.positive(client.rpm, "requests per minute"), self.positive(client.tpm, "tokens per minute"));
            self.settings.clients.push(core::Client {
                name: name.value.clone(),
                priority: client.priority.into(),
                budget: client.budget.map(|budget| budget.0),
                rpm,
                tpm,
                models,
            });
            let digests = self.digests(name, client, keys);
            for digest in &digests {
                if let Some(other) = owners.insert(*digest, &name.value).filter(|other| *other != name.value) {
                    let message = format!("`{}` has the same token as `{other}`; give each client its own", name.value);
                    self.report.say(name.spot, message);
                }
            }
            self.secrets.tokens.push(digests);
        }
    }

    fn digests(&mut self, name: &At<String>, client: &Client, keys: &Keys<'_>) -> Vec<TokenDigest> {
        let Keys::Read { environment, .. } = keys else { return Vec::new() };
        let Some(source) = &client.token_sha256 else {
            let message =
                format!("`clients.{}` has no `token_sha256`; `printf %s TOKEN | sha256sum` prints it", name.value);
            self.report.say(name.spot, message);
            return Vec::new();
        };
        let texts = match source.read(*environment) {
            Ok(texts) => texts,
            Err(message) => {
                self.report.say(source.spot, message);
                return Vec::new();
            }
        };
        let digests: Vec<TokenDigest> =
            texts.iter().filter_map(|text| TokenDigest::parse(text.expose_secret())).collect();
        if digests.is_empty() || digests.len() < texts.len() {
            let message = "a token's SHA-256 has 64 hexadecimal digits; `printf %s TOKEN | sha256sum` prints it (the token itself does not belong here)";
            self.report.say(source.spot, message);
        }
        digests
    }

    /// The listeners: who may reach them, and with what.
    pub(super) fn access(&mut self, keys: &Keys<'_>) {
        let Keys::Read { environment, .. } = keys else { return };
        let Some(admin) = &self.config.admin else { return };
        if matches!(admin.token.value, SecretSource::Inline(_)) {
            self.warnings.say(
                admin.token.spot,
                "the token stands in the file itself; `{env: NAME}` or `{file: PATH}` keeps it apart",
            );
        }
        match admin.token.read_one(*environment) {
            Ok(token) => self.secrets.admin = Some(token),
            Err(message) => self.report.say(admin.token.spot, message),
        }
    }
}
