//! From what is written to what it means: names become indexes, keys become fingerprints, secrets go apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::Schema;

use super::calendar::quota_resets;
use super::decode::decode;
use super::file::{Auth, Config, Dialect, KeyUse, KeyUseWord, LimitsWord, Model, PriceWord, Tier};
use super::graph;
use super::node::Node;
use super::placed::{At, Named};
use super::problem::{Errors, Problem, Report};
use super::secret::{Environment, Secrets};
use super::written::{Count, Dollars};
use crate::core::{
    self, Deployment, KeyId, Limits, ModelId, Price, ProjectId, ProviderId, Retries, Settings, TierId, Timeouts,
    TokenPrice, Tokens, Upstream, UpstreamId, Usd, WallTime,
};

/// A configuration with its meaning.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What the router works with.
    pub settings: Settings,
    /// What it must not know.
    pub secrets: Secrets,
    /// Where providers are, by [`ProviderId`].
    pub endpoints: Vec<Endpoint>,
    /// What is allowed but unwise.
    pub warnings: Vec<Problem>,
}

/// Where a provider is and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// How it speaks.
    pub dialect: Dialect,
    /// What paths are appended to; no slash at its end.
    pub base_url: String,
    /// How a key is shown.
    pub auth: Auth,
    /// Vertex: the Google Cloud project and region that paths name; `None` with express keys.
    pub vertex: Option<(String, String)>,
}

impl Config {
    /// Reads a configuration; `origin` is what messages call it.
    ///
    /// # Errors
    /// Whatever is not readable, with its places.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Errors> {
        let origin = origin.into();
        Self::read(&Node::parse(text, &origin)?, &origin)
    }

    /// Reads a configuration that stands in a part of another file.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn read(node: &Node, origin: &Arc<str>) -> Result<Self, Errors> {
        let mut config: Self = decode(node, origin)?;
        config.origin = Arc::clone(origin);
        Ok(config)
    }

    /// This configuration with other models: those of the same name are replaced, others are added behind. What they
    /// leave unused is no mistake. `origin` is the file in which they stand.
    #[must_use]
    pub fn with_models(&self, models: &Named<Model>, origin: &Arc<str>) -> Self {
        let mut config = self.clone();
        for (name, model) in models.iter() {
            match config.models.position(name) {
                Some(index) => config.models.0[index] = (name.clone(), model.clone()),
                None => config.models.0.push((name.clone(), model.clone())),
            }
        }
        if !models.is_empty() {
            config.origin = Arc::clone(origin);
            config.partial = true;
        }
        config
    }

    /// What messages call this file.
    pub fn origin(&self) -> &Arc<str> {
        &self.origin
    }

    /// The schema of the file, for editors.
    pub fn schema() -> Schema {
        schemars::schema_for!(Self)
    }

    /// The meaning of this configuration in a process that calls providers, from `now` on. `salt` makes fingerprints
    /// incomparable between installations; it belongs to the log's folder.
    ///
    /// # Errors
    /// Names that lead nowhere, graphs that cannot work, and secrets that are not there; all of them.
    pub fn resolve(&self, environment: &dyn Environment, salt: &[u8], now: WallTime) -> Result<Resolved, Errors> {
        self.build(&Keys::Read { environment, salt }, now)
    }

    /// The settings of this configuration where nothing is called: no secret is read, and every group has as many
    /// made-up keys as it expects.
    ///
    /// # Errors
    /// As [`Config::resolve`], without the secrets.
    pub fn rehearse(&self, now: WallTime) -> Result<Settings, Errors> {
        self.build(&Keys::MadeUp, now).map(|resolved| resolved.settings)
    }

    fn build(&self, keys: &Keys<'_>, now: WallTime) -> Result<Resolved, Errors> {
        let mut builder = Builder {
            config: self,
            report: Report::new(&self.origin),
            warnings: Report::new(&self.origin),
            settings: Settings { seed: self.seed, resets: quota_resets(now), ..Settings::default() },
            secrets: Secrets::default(),
            groups: BTreeMap::new(),
            projects: BTreeMap::new(),
        };
        graph::check(self, &mut builder.report);
        let endpoints = builder.providers();
        builder.keys(keys);
        builder.tiers();
        builder.models();
        builder.clients(keys);
        builder.access(keys);
        self.knobs.apply(&mut builder.settings.knobs, &mut builder.report);
        let Builder { report, warnings, settings, secrets, .. } = builder;
        report.finish()?;
        self.defend(&settings)?;
        Ok(Resolved { settings, secrets, endpoints, warnings: warnings.into_problems() })
    }

    /// The router's own check, which knows no places. It finds what [`graph`] has missed, if anything.
    fn defend(&self, settings: &Settings) -> Result<(), Errors> {
        if self.partial {
            return Ok(());
        }
        let problem = |error: &core::GraphError| Problem::new(&self.origin, None, error.to_string());
        let problems = settings.check().err().unwrap_or_default().iter().map(problem).collect();
        Errors::of(problems).map_or(Ok(()), Err)
    }
}

/// Where keys come from.
pub(super) enum Keys<'a> {
    Read { environment: &'a dyn Environment, salt: &'a [u8] },
    MadeUp,
}

pub(super) struct Builder<'a> {
    pub(super) config: &'a Config,
    pub(super) report: Report,
    pub(super) warnings: Report,
    pub(super) settings: Settings,
    pub(super) secrets: Secrets,
    /// The keys of every group.
    pub(super) groups: BTreeMap<&'a str, std::ops::Range<u32>>,
    pub(super) projects: BTreeMap<(ProviderId, String), ProjectId>,
}

/// An index as an id's number. Files are bounded to far fewer than 65 536 entries of a kind by `graph::check`.
pub(super) fn narrow(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

impl<'a> Builder<'a> {
    fn providers(&mut self) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        for (name, provider) in self.config.providers.iter() {
            self.settings.providers.push(core::Provider { name: name.value.clone() });
            let location = provider.location.as_ref().map_or("global", |location| location.as_str());
            let vertex = provider.project.as_ref().map(|project| (project.value.clone(), location.to_owned()));
            let vendor = match provider.dialect {
                Dialect::Gemini => "https://generativelanguage.googleapis.com".to_owned(),
                Dialect::Openai => "https://api.openai.com/v1".to_owned(),
                Dialect::Vertex if location == "global" => "https://aiplatform.googleapis.com".to_owned(),
                Dialect::Vertex => format!("https://{location}-aiplatform.googleapis.com"),
            };
            let base_url = provider.base_url.as_ref().map_or(vendor, |url| url.trim_end_matches('/').to_owned());
            let auth = provider.auth.unwrap_or(match provider.dialect {
                Dialect::Gemini => Auth::ApiKey,
                Dialect::Openai => Auth::Bearer,
                Dialect::Vertex if vertex.is_some() => Auth::Bearer,
                Dialect::Vertex => Auth::ApiKey,
            });
            endpoints.push(Endpoint { dialect: provider.dialect, base_url, auth, vertex });
        }
        endpoints
    }

    fn tiers(&mut self) {
        // What each project has been promised for each upstream, by which tier.
        let mut promised: BTreeMap<(ProjectId, UpstreamId), (Limits, &'a str)> = BTreeMap::new();
        let mut serving: BTreeMap<(KeyId, UpstreamId), &'a str> = BTreeMap::new();
        for (name, tier) in self.config.tiers.iter() {
            let tier_id = TierId::new(narrow(self.settings.tiers.len()));
            let limits = self.limits(&tier.limits);
            let uses: Vec<KeyUse> = tier.keys.0.iter().map(key_use).collect();
            let provider = uses.iter().find_map(|one| self.config.keys.named(&one.group));
            let provider = provider.and_then(|group| self.config.providers.position(&group.provider));
            let upstream = self.upstream(ProviderId::new(narrow(provider.unwrap_or_default())), &tier.upstream);
            for one in uses {
                let Some(range) = self.groups.get(one.group.as_str()).cloned() else { continue };
                for key in range.map(KeyId::new) {
                    if let Some(other) = serving.insert((key, upstream), &name.value) {
                        let message = format!(
                            "`{}` and `{other}` both serve `{}` with the keys of `{}`: one quota would be counted twice; name one tier in both models instead",
                            name.value, tier.upstream.value, one.group
                        );
                        self.report.say(name.spot, message);
                        break;
                    }
                    let project = self.settings.keys[key.index()].project;
                    let (other_limits, other) = *promised.entry((project, upstream)).or_insert((limits, &name.value));
                    if other_limits != limits {
                        let message = format!(
                            "`{}` and `{other}` have different limits for `{}` in one project; a project has one quota per model",
                            name.value, tier.upstream.value
                        );
                        self.report.say(tier.limits.spot, message);
                        break;
                    }
                    let deployment = Deployment { tier: tier_id, key, weight: one.weight, order: one.order };
                    self.settings.deployments.push(deployment);
                }
            }
            let (price, timeouts) = (self.price(tier), self.timeouts(tier));
            self.settings.tiers.push(core::Tier {
                name: name.value.clone(),
                upstream,
                limits,
                price,
                budget: tier.budget.map(|budget| budget.value.0),
                input_max: tier.input_max.map(|max| Tokens::new(max.value.0)),
                output_max: tier.output_max.map(|max| Tokens::new(max.value.0)),
                timeouts,
            });
        }
    }

    fn upstream(&mut self, provider: ProviderId, model: &At<String>) -> UpstreamId {
        let upstreams = &mut self.settings.upstreams;
        let known =
            upstreams.iter().position(|upstream| upstream.provider == provider && upstream.model == model.value);
        let index = known.unwrap_or_else(|| {
            upstreams.push(Upstream { provider, model: model.value.clone() });
            upstreams.len() - 1
        });
        UpstreamId::new(narrow(index))
    }

    fn limits(&mut self, word: &LimitsWord) -> Limits {
        match word {
            LimitsWord::Learn => Limits { learn: true, ..Limits::default() },
            LimitsWord::None => Limits::default(),
            LimitsWord::Known(known) => Limits {
                rpm: self.positive(known.rpm, "requests per minute"),
                tpm: self.positive(known.tpm, "tokens per minute"),
                rpd: self.positive(known.rpd, "requests per day"),
                learn: false,
            },
        }
    }

    pub(super) fn positive(&mut self, count: Option<At<Count>>, what: &str) -> Option<u32> {
        let count = count?;
        if count.value.0 == 0 {
            let message =
                format!("a limit of no {what} leaves nothing to use; take the tier out, or leave the limit out");
            self.report.say(count.spot, message);
        }
        Some(count.value.0)
    }

    fn price(&mut self, tier: &Tier) -> Price {
        let prices = |input: Dollars, cached: Option<Dollars>, output: Dollars| TokenPrice {
            input: input.0,
            cached: cached.unwrap_or(input).0,
            output: output.0,
        };
        match &tier.price.value {
            PriceWord::Free => Price::default(),
            PriceWord::Answer(answer) => {
                if *answer == Usd::ZERO {
                    self.report.say(tier.price.spot, "an answer for nothing is written `free`");
                }
                Price { answer: *answer, ..Price::default() }
            }
            PriceWord::Tokens(written) => Price {
                tokens: prices(written.input, written.cached, written.output),
                above: written
                    .above
                    .map(|above| (Tokens::new(above.tokens.0), prices(above.input, above.cached, above.output))),
                answer: Usd::ZERO,
            },
        }
    }

    fn timeouts(&mut self, tier: &Tier) -> Timeouts {
        let defaults = Timeouts::default();
        let mut pick = |written: Option<At<super::written::Period>>, default| match written {
            None => default,
            Some(period) => {
                if period.value.0 == core::Duration::ZERO {
                    self.report
                        .say(period.spot, "a timeout of no time ends every attempt; write a duration such as `5s`");
                }
                period.value.0
            }
        };
        let written = &tier.timeouts;
        Timeouts {
            connect: pick(written.connect, defaults.connect),
            first_byte: pick(written.first_byte, defaults.first_byte),
            idle: pick(written.idle, defaults.idle),
            total: pick(written.total, defaults.total),
        }
    }

    fn models(&mut self) {
        let config = self.config;
        let tier_id = |name: &At<String>| config.tiers.position(name).map(|index| TierId::new(narrow(index)));
        let model_id = |name: &At<String>| config.models.position(name).map(|index| ModelId::new(narrow(index)));
        for (name, Model { tiers, deadline, context_fallback, content_fallback }) in config.models.iter() {
            self.settings.models.push(core::Model {
                name: name.value.clone(),
                tiers: tiers.iter().filter_map(tier_id).collect(),
                deadline: deadline.value.0,
                context_fallback: context_fallback.as_ref().and_then(model_id),
                content_fallback: content_fallback.as_ref().and_then(model_id),
            });
        }
        let retries = config.retries;
        self.settings.retries =
            Retries { overload: retries.overload, server: retries.server, rate: retries.rate, auth: retries.auth };
    }
}

/// A key group of a tier, with its defaults.
pub(super) fn key_use(word: &At<KeyUseWord>) -> KeyUse {
    match &word.value {
        KeyUseWord::Group(group) => KeyUse { group: group.clone(), weight: 1, order: 0 },
        KeyUseWord::Use(one) => one.clone(),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::super::secret::{MemoryEnvironment, TokenDigest};
    use super::*;
    use crate::core::Duration;

    /// Everything that the file format can say, at least once.
    const FULL: &str = include_str!("full.yaml");

    fn environment() -> MemoryEnvironment {
        let numbered = |prefix: &str, count: u32| {
            (1..=count).map(|number| format!("{prefix}{number}")).collect::<Vec<_>>().join(",")
        };
        let variables = [
            ("GEMINI_FREE_KEYS", numbered("free-secret-", 21)),
            ("GEMINI_PAID_KEYS", numbered("paid-secret-", 2)),
            ("MISTRAL_KEYS", numbered("mistral-secret-", 2)),
            ("STORMPROOF_ADMIN", "admin-secret".to_owned()),
            ("AIDER_SHA256", "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b".to_owned()),
        ];
        MemoryEnvironment {
            variables: variables.map(|(name, value)| (name.to_owned(), value)).into(),
            files: [("vertex.txt".into(), "vertex-a vertex-b\nvertex-c".to_owned())].into(),
        }
    }

    fn now() -> WallTime {
        super::super::calendar::moment("2025-04-18 22:10 America/Los_Angeles").expect("a moment").0
    }

    fn resolved() -> Resolved {
        let config = Config::parse(FULL, "full.yaml").unwrap_or_else(|errors| panic!("{errors}"));
        config.resolve(&environment(), b"salt", now()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn tiers_become_deployments_of_every_key() {
        let settings = resolved().settings;
        let free = settings.tier_named("free-pro").expect("a tier");
        let mine: Vec<&Deployment> = settings.deployments.iter().filter(|one| one.tier == free).collect();
        assert_eq!(mine.len(), 21);
        let limits = Limits { rpm: Some(5), tpm: Some(250_000), rpd: Some(25), learn: false };
        assert_eq!(settings.tiers[free.index()].limits, limits);
        let projects: std::collections::BTreeSet<_> = mine.iter().map(|one| settings.project_of(**one)).collect();
        assert_eq!(projects.len(), 21, "separate projects");
        assert_eq!(settings.keys[mine[20].key.index()].name, "free-21");
        assert_eq!(settings.resets.first(), Some(&WallTime::from_nanos(1_745_046_000_000_000_000)));
    }

    #[test]
    fn shared_and_named_projects_are_one_bucket() {
        let settings = resolved().settings;
        let project = |name: &str| settings.keys.iter().find(|key| key.name == name).map(|key| key.project);
        assert_eq!(project("paid-01"), project("paid-02"));
        assert_eq!(project("vertex-01"), project("vertex-03"));
        assert_ne!(project("vertex-01"), project("vertex-02"));
    }

    #[test]
    fn secrets_stay_out_of_the_settings() {
        let Resolved { settings, secrets, .. } = resolved();
        assert_eq!(secrets.key(KeyId::new(20)).map(ExposeSecret::expose_secret), Some("free-secret-21"));
        assert_eq!(secrets.admin().map(ExposeSecret::expose_secret), Some("admin-secret"));
        let aider = settings.client_named("aider").expect("a client");
        assert_eq!(secrets.tokens(aider), [TokenDigest::of("secret")]);
        for text in [format!("{settings:?}"), format!("{secrets:?}")] {
            assert!(!text.contains("-secret"), "{text}");
        }
    }

    #[test]
    fn fingerprints_follow_the_secret_and_the_salt() {
        let config = Config::parse(FULL, "full.yaml").expect("readable");
        let keys = |salt: &[u8], environment: &MemoryEnvironment| {
            let resolved = config.resolve(environment, salt, now()).expect("resolvable");
            resolved.settings.keys.into_iter().map(|key| key.fingerprint).collect::<Vec<_>>()
        };
        let mut swapped = environment();
        swapped.variables.insert("GEMINI_PAID_KEYS".into(), "paid-secret-2,paid-secret-1".into());
        let (before, after) = (keys(b"salt", &environment()), keys(b"salt", &swapped));
        assert_eq!([before[21], before[22]], [after[22], after[21]]);
        assert_ne!(before, keys(b"another salt", &environment()));
    }

    #[test]
    fn a_rehearsal_has_the_same_shape_without_secrets() {
        let config = Config::parse(FULL, "full.yaml").expect("readable");
        let rehearsed = config.rehearse(now()).expect("resolvable");
        let real = resolved().settings;
        assert_eq!(rehearsed.deployments, real.deployments);
        assert_eq!(rehearsed.tiers, real.tiers);
        assert_eq!(rehearsed, config.rehearse(now()).expect("resolvable"));
    }

    #[test]
    fn endpoints_know_their_vendors() {
        let Resolved { settings, endpoints, warnings, .. } = resolved();
        let of = |name: &str| {
            let index = settings.providers.iter().position(|provider| provider.name == name).expect("a provider");
            (endpoints[index].base_url.clone(), endpoints[index].auth)
        };
        assert_eq!(of("gemini"), ("https://generativelanguage.googleapis.com".into(), Auth::ApiKey));
        assert_eq!(of("vertex"), ("https://us-central1-aiplatform.googleapis.com".into(), Auth::Bearer));
        assert_eq!(of("mistral"), ("https://api.mistral.ai/v1".into(), Auth::Bearer));
        assert!(warnings.is_empty());
    }

    #[test]
    fn prices_deadlines_and_knobs_arrive() {
        let settings = resolved().settings;
        let tier = |name: &str| &settings.tiers[settings.tier_named(name).expect("a tier").index()];
        let paid = tier("paid-pro");
        assert_eq!(paid.price.tokens.cached, Usd::from_micros(310_000));
        assert_eq!(
            paid.price.above.map(|(tokens, price)| (tokens.get(), price.input.as_micros())),
            Some((200_000, 2_500_000))
        );
        assert_eq!(paid.budget, Some(Usd::from_micros(50_000_000)));
        assert_eq!(tier("vertex-pro").price.answer, Usd::from_micros(100_000));
        assert_eq!(tier("vertex-pro").timeouts.first_byte, Duration::from_secs(45));
        assert!(tier("mistral").limits.learn);
        assert_eq!(settings.knobs.value("trip.ratio").as_deref(), Some("0.2"));
        assert_eq!(settings.knobs.value("health.half_life").as_deref(), Some("30s"));
        assert_eq!(settings.retries.overload, Some(12));
        let model = &settings.models[settings.model_named("gemini-2.5-pro").expect("a model").index()];
        assert_eq!((model.deadline, model.tiers.len()), (Duration::from_secs(180), 2));
    }
}
