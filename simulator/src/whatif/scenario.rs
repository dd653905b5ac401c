//! A recorded day as a scenario: the configuration that was in force, the turns as traces, the providers as they were
//! fitted. Everything that is not on record is listed as assumed.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};
use stormproof_router::core::{
    Duration, Endpoint, KNOBS, KeyId, Knobs, Priority, Reason, Settings, Timestamp, WallTime,
};

use super::ask::RecordedDay;
use super::evidence::Evidence;
use super::model::{Fit, Model};
use super::sky::consensus;
use super::written::Configuration;
use super::yaml::{flow, list, section};
use crate::clients::{Arrivals, Retries, Spec};
use crate::draws::Shape;
use crate::import::moment;
use crate::study::Policy;
use crate::world::{Death, Episode, Faults, Quota, Wording};

/// A scenario with the files that it names, which belong beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The scenario.
    pub text: String,
    /// Names and texts of the recorded arrivals.
    pub traces: Vec<(String, String)>,
}

/// Guesses at the weather, of which a scenario gets what most agree on.
const GUESSES: u32 = 40;
const MINUTE: u64 = 60_000_000_000;

impl RecordedDay {
    /// The day as a scenario. Names of files that it needs begin with `name`.
    pub fn scenario(&self, name: &str) -> Written {
        let evidence = &self.evidence;
        let model = Model::new(evidence, GUESSES);
        let settings = evidence.universe.renumber(&evidence.first.settings, &evidence.first.numbers);
        let from = evidence.from.as_nanos();
        let wall = evidence.epoch.as_nanos().saturating_add(from);
        let start = WallTime::from_nanos(wall / MINUTE * MINUTE);
        let writing = Writing {
            evidence,
            model: &model,
            configuration: Configuration::new(&settings),
            settings: &settings,
            start,
            zero: start.since(evidence.epoch),
        };
        let traces: Vec<(String, String)> = model
            .crowd
            .specs
            .iter()
            .enumerate()
            .map(|(index, spec)| (format!("{name}-{}.csv", index + 1), writing.trace(spec)))
            .collect();
        let text = writing.text(&self.policy(), &traces);
        Written { text, traces }
    }
}

struct Writing<'a> {
    evidence: &'a Evidence,
    model: &'a Model,
    settings: &'a Settings,
    configuration: Configuration,
    start: WallTime,
    /// From the log's epoch to the scenario's start; negative never, for a log's first event comes after its epoch.
    zero: Duration,
}

impl Writing<'_> {
    fn text(&self, policy: &Policy, traces: &[(String, String)]) -> String {
        let Self { evidence, settings, .. } = self;
        let mut out = String::new();
        let _ = writeln!(
            out,
            "# Fitted to a log of {}: {} turns, {} calls to providers.\nabout: >-\n  A day on record, from {}. Turns \
             are as they were; providers are as they were fitted to what calls met.\n",
            evidence.policy,
            evidence.turns.len(),
            evidence.calls.len(),
            moment(self.start),
        );
        let _ = writeln!(out, "start: {}", moment(self.start));
        let length = (self.model.duration.saturating_sub(self.zero)).as_secs_ceil() + 1;
        let _ = writeln!(out, "duration: {}", Duration::from_secs(length));
        let assumed: Vec<Value> = self.assumed().into_iter().map(Value::from).collect();
        list(&mut out, 0, "assumed", &assumed);
        out.push_str("\nconfig:\n");
        self.configuration.write(&mut out, settings, &self.dialects());
        let clients = self.model.crowd.specs.iter().zip(traces).map(|(spec, (trace, _))| self.client(spec, trace));
        out.push('\n');
        list(&mut out, 0, "clients", &clients.collect::<Vec<_>>());
        section(&mut out, 0, "used_today", &self.used_today());
        self.world(&mut out);
        out.push_str("\ncompare:\n");
        let recorded = match policy {
            Policy::Stormproof(_) => json!({"router": "stormproof"}),
            Policy::LiteLlm { options, .. } => litellm(options),
        };
        let name = recorded["router"].as_str().unwrap_or("recorded").to_owned();
        let _ = writeln!(out, "  {name}: {}", flow(&recorded));
        if name != "stormproof" {
            out.push_str("  stormproof: {router: stormproof}\n");
        }
        out
    }

    fn assumed(&self) -> Vec<String> {
        let mut all = vec!["world.upstreams".to_owned()];
        let tables = self.evidence.universe.tables();
        let names = tables.upstreams.iter().zip(&self.model.upstreams);
        if names.clone().any(|(_, fit)| !self.episodes(fit).is_empty()) {
            all.push("world.weather".to_owned());
        }
        for (upstream, fit) in names.filter(|(_, fit)| fit.watch.dark > 0.005) {
            all.push(format!(
                "the weather of {} in {:.0}% of the time, in which nothing was seen of it",
                upstream.model,
                100.0 * fit.watch.dark
            ));
        }
        all.extend(super::assumed::sentences(self.evidence, self.model).into_iter().skip(1));
        for (index, tier) in self.settings.tiers.iter().enumerate() {
            let counts = self.quotas(index);
            let keys: usize = counts.iter().map(|(_, count)| count).sum();
            let others = keys - counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
            if others > 0 {
                let name = &tier.name;
                all.push(format!(
                    "{others} of the {keys} keys of {name} have the limits, and the use before, of the others"
                ));
            }
        }
        all.push("the providers' dialects".to_owned());
        for (count, what) in [
            (self.evidence.later.len(), "changes of the settings during the day are left out"),
            (self.evidence.orders.len(), "operators' orders about keys and quotas are left out"),
        ] {
            if count > 0 {
                all.push(format!("{count} {what}"));
            }
        }
        all
    }

    /// The moment as a scenario says it.
    fn offset(&self, at: Timestamp) -> Duration {
        let since = at.since(Timestamp::ZERO).saturating_sub(self.zero);
        Duration::from_millis((since.as_nanos() + 500_000) / 1_000_000)
    }

    fn trace(&self, spec: &Spec) -> String {
        let mut out = "at,input,output,leaves\n".to_owned();
        let Arrivals::Trace(turns) = &spec.arrivals else { return out };
        for turn in turns {
            let at = turn.at.since(Timestamp::ZERO).saturating_sub(self.zero);
            let count = |tokens: Option<stormproof_router::core::Tokens>| {
                tokens.map_or(String::new(), |tokens| tokens.get().to_string())
            };
            let leaves = turn.leaves.map_or(String::new(), |after| after.to_string());
            let _ = writeln!(out, "{at},{},{},{leaves}", count(turn.input), count(turn.output));
        }
        out
    }

    fn client(&self, spec: &Spec, trace: &str) -> Value {
        let settings = &self.evidence.first.settings;
        let universe = &self.evidence.universe;
        let mut entry = Map::new();
        let client = universe.client_in(settings, spec.client);
        if client.index() > 0 {
            entry.insert("client".to_owned(), settings.clients[client.index()].name.clone().into());
        }
        let model = universe.model_in(settings, spec.model).map(|model| settings.models[model.index()].name.as_str());
        entry.insert("model".to_owned(), model.unwrap_or_else(|name| name).into());
        match spec.endpoint {
            Endpoint::Generate => {}
            Endpoint::Embed => drop(entry.insert("endpoint".to_owned(), "embed".into())),
            Endpoint::Count => drop(entry.insert("endpoint".to_owned(), "count".into())),
        }
        if spec.stream {
            entry.insert("stream".to_owned(), true.into());
        }
        entry.insert("priority".to_owned(), priority(spec.priority).into());
        entry.insert("trace".to_owned(), trace.into());
        let mut tokens = Map::new();
        tokens.insert("output".to_owned(), drawn(&spec.sizes.output, ""));
        if let Some(max) = spec.sizes.output_max {
            tokens.insert("output_max".to_owned(), max.get().into());
        }
        if spec.sizes.estimate != 1.0 {
            tokens.insert("estimate".to_owned(), rounded(spec.sizes.estimate));
        }
        entry.insert("tokens".to_owned(), tokens.into());
        entry.insert("patience".to_owned(), spec.patience.to_string().into());
        entry.insert("deadline".to_owned(), spec.deadline.to_string().into());
        let retries = match spec.retries {
            Retries { ladder: Some(_), .. } => "aider",
            Retries { sdk: Some(_), .. } => "sdk",
            Retries { .. } => "none",
        };
        if retries != "none" {
            entry.insert("retries".to_owned(), retries.into());
        }
        entry.into()
    }

    /// Providers that speak OpenAI's dialect, as far as their refusals tell.
    fn dialects(&self) -> Vec<bool> {
        let upstreams = &self.settings.upstreams;
        let openai = |index: usize| {
            let of = |one: usize| upstreams[one].provider.index() == index;
            (0..upstreams.len()).any(|one| of(one) && self.model.upstreams[one].wording == Wording::OpenAi)
        };
        (0..self.settings.providers.len()).map(openai).collect()
    }

    /// The commonest quota of a tier's projects.
    fn quota(&self, tier: usize) -> Option<Quota> {
        self.quotas(tier).into_iter().max_by_key(|(_, count)| *count).map(|(quota, _)| quota)
    }

    /// The quotas of a tier's projects, each with the number of keys that have it.
    fn quotas(&self, tier: usize) -> Vec<(Quota, usize)> {
        let settings = self.settings;
        let upstream = settings.tiers[tier].upstream.index();
        let mut counts: Vec<(Quota, usize)> = Vec::new();
        for deployment in settings.deployments.iter().filter(|deployment| deployment.tier.index() == tier) {
            let project = settings.keys[deployment.key.index()].project.index();
            let quota = self.model.fences.projects[project].quotas[upstream];
            match counts.iter_mut().find(|(known, _)| *known == quota) {
                Some((_, count)) => *count += 1,
                None => counts.push((quota, 1)),
            }
        }
        counts
    }

    fn used_today(&self) -> Map<String, Value> {
        let tiers = self.settings.tiers.iter().enumerate();
        let used = tiers.filter_map(|(index, tier)| {
            let used = self.quota(index)?.used_requests;
            (used > 0).then(|| (tier.name.clone(), used.into()))
        });
        used.collect()
    }

    fn world(&self, out: &mut String) {
        let mut limits = Map::new();
        for (index, tier) in self.settings.tiers.iter().enumerate() {
            let Some(truth) = self.quota(index) else { continue };
            let mut differing = Map::new();
            for (name, configured, found) in [
                ("rpm", tier.limits.rpm, truth.rpm),
                ("tpm", tier.limits.tpm, truth.tpm),
                ("rpd", tier.limits.rpd, truth.rpd),
                ("tpd", None, truth.tpd),
            ] {
                if configured != found {
                    differing.insert(name.to_owned(), found.map_or(Value::Null, Value::from));
                }
            }
            if !differing.is_empty() {
                limits.insert(self.upstream(tier.upstream.index()), differing.into());
            }
        }
        out.push_str("\nworld:\n");
        section(out, 2, "limits", &limits);
        let fits = self.model.upstreams.iter().enumerate().take(self.settings.upstreams.len());
        let upstreams = fits.clone().map(|(index, fit)| (self.upstream(index), self.fitted(index, fit)));
        section(out, 2, "upstreams", &upstreams.collect());
        let weather = fits.flat_map(|(index, fit)| {
            let name = self.upstream(index);
            let entry = move |episode: Episode| {
                json!({
                    "upstream": name,
                    "from": self.offset(episode.from).to_string(),
                    "until": self.offset(episode.until).to_string(),
                    "p503": percent(episode.p503),
                })
            };
            self.episodes(fit).into_iter().map(entry)
        });
        list(out, 2, "weather", &weather.collect::<Vec<_>>());
        let keys = self.model.fences.keys.iter().enumerate();
        let deaths = keys.flat_map(|(key, fence)| {
            fence.deaths.iter().filter_map(move |death| self.death(KeyId::new(key as u32), death))
        });
        list(out, 2, "deaths", &deaths.collect::<Vec<_>>());
    }

    /// What most guesses agree on, where it is long enough to be written.
    fn episodes(&self, fit: &Fit) -> Vec<Episode> {
        let mut episodes = consensus(&fit.watch.skies);
        episodes.retain(|episode| self.offset(episode.until) > self.offset(episode.from) + Duration::from_secs(10));
        episodes
    }

    fn fitted(&self, index: usize, fit: &Fit) -> Value {
        let refusals = fit.refusals();
        let charged = self.model.fences.charged[index];
        let noise = fit.watch.skies.iter().map(|sky| sky.noise).sum::<f64>() / fit.watch.skies.len().max(1) as f64;
        let wording = match fit.wording {
            Wording::GeminiSpring2025 => "gemini-spring-2025",
            Wording::GeminiSummer2025 => "gemini-summer-2025",
            Wording::GeminiLate2025 => "gemini-late-2025",
            Wording::GeminiBare => "gemini-bare",
            Wording::Vertex => "vertex",
            Wording::OpenAi => "openai",
            Wording::Mistral => "mistral",
            Wording::MistralLate2025 => "mistral-late-2025",
            Wording::Gemini2026 => "gemini-2026",
        };
        let mut entry = json!({
            "charged": {"503": charged.overload, "429": charged.limit},
            "latency": {"time": drawn(&fit.latency.shape(), "s"), "per": "turn"},
            "refusals": {
                "overload": drawn(&refusals.overload, "s"),
                "limit": drawn(&refusals.limit, "s"),
                "request": drawn(&refusals.request, "s"),
            },
            "pace": {"first_byte": percent(fit.pace.first_byte)},
            "noise": percent(noise),
            "wording": wording,
        });
        let faults = faults(&fit.faults);
        if !faults.is_empty() {
            entry["faults"] = faults.into();
        }
        entry
    }

    fn death(&self, key: KeyId, death: &Death) -> Option<Value> {
        let mut entry = json!({"key": self.configuration.key(key)?});
        if death.from > Timestamp::ZERO {
            entry["from"] = self.offset(death.from).to_string().into();
        }
        if death.until < Timestamp::MAX {
            entry["until"] = self.offset(death.until).to_string().into();
        }
        if let Some(upstream) = death.upstream {
            entry["upstream"] = self.upstream(upstream.index()).into();
        }
        entry["reason"] = reason(death.reason)?.into();
        Some(entry)
    }

    /// The name of an upstream model, with its provider's where it alone does not say which.
    fn upstream(&self, index: usize) -> String {
        let upstream = &self.settings.upstreams[index];
        let same = self.settings.upstreams.iter().filter(|other| other.model == upstream.model).count();
        if same == 1 {
            return upstream.model.clone();
        }
        format!("{}/{}", self.settings.providers[upstream.provider.index()].name, upstream.model)
    }
}

/// Knobs that differ from their defaults.
pub(super) fn knobs(knobs: &Knobs) -> Map<String, Value> {
    let usual = Knobs::default();
    let set = KNOBS.iter().filter_map(|knob| {
        let value = knobs.value(knob.name)?;
        (usual.value(knob.name).as_ref() != Some(&value)).then(|| (knob.name.to_owned(), Value::from(value)))
    });
    set.collect()
}

/// LiteLLM's options that differ from their defaults.
fn litellm(options: &crate::baselines::litellm::Options) -> Value {
    let plain = |options| serde_json::to_value(options).unwrap_or_default();
    let (mut entry, usual) = (plain(options), plain(&crate::baselines::litellm::Options::new(options.version)));
    if let Some(entries) = entry.as_object_mut() {
        entries.retain(|name, value| name == "router" || !value.is_null() && usual.get(name) != Some(value));
    }
    entry
}

pub(super) fn priority(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "low",
        Priority::Normal => "normal",
        Priority::High => "high",
    }
}

/// A reason as scenarios call it, for those that say a key is dead.
fn reason(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::KeyInvalid | Reason::Credential => "key-invalid",
        Reason::KeySuspended => "key-suspended",
        Reason::KeyLeaked => "key-leaked",
        Reason::NoFreeTier => "no-free-tier",
        Reason::ClosedToNewUsers => "closed-to-new-users",
        Reason::ServiceDisabled => "service-disabled",
        Reason::OutOfFunds => "out-of-funds",
        Reason::ModelNotFound => "model-not-found",
        Reason::Overloaded
        | Reason::LocationUnsupported
        | Reason::AddressThrottled
        | Reason::ContextWindow
        | Reason::ContentBlocked => return None,
    })
}

fn faults(faults: &Faults) -> Map<String, Value> {
    let Faults {
        connect,
        reset,
        server,
        timeout,
        malformed,
        cut,
        error_event,
        hang,
        stall,
        slow,
        spurious_limit,
        blocked,
    } = *faults;
    let all: BTreeMap<&str, f64> = BTreeMap::from([
        ("connect", connect),
        ("reset", reset),
        ("server", server),
        ("timeout", timeout),
        ("malformed", malformed),
        ("cut", cut),
        ("error_event", error_event),
        ("hang", hang),
        ("stall", stall),
        ("slow", slow),
        ("spurious_limit", spurious_limit),
        ("blocked", blocked),
    ]);
    all.into_iter().filter(|(_, share)| *share > 0.0).map(|(name, share)| (name.to_owned(), percent(share))).collect()
}

/// A distribution as it is written, in this unit.
fn drawn(shape: &Shape, unit: &str) -> Value {
    let value = |value: f64| match unit {
        "" => Value::from((value + 0.5) as u64),
        _ => Value::from(format!("{value:.4}{unit}")),
    };
    match *shape {
        Shape::Fixed(only) => value(only),
        Shape::Uniform { min, max } => json!({"min": value(min), "max": value(max)}),
        Shape::Exponential { mean } => json!({"mean": value(mean)}),
        Shape::LogNormal { median, sigma } => json!({"median": value(median), "sigma": rounded(sigma)}),
    }
}

fn rounded(value: f64) -> Value {
    Value::from((value * 1e4 + 0.5).floor() / 1e4)
}

fn percent(share: f64) -> Value {
    Value::from(format!("{:.2}%", 100.0 * share.clamp(0.0, 1.0)))
}
