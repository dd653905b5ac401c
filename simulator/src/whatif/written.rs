//! Settings as the configuration that they came from, without secrets: keys are put into groups again.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};
use stormproof_router::core::{Duration, KeyId, Limits, Price, Settings, Tier, Timeouts, TokenPrice, Usd};

use super::scenario::{knobs, priority};
use super::yaml::section;

/// How settings are written, as far as names go.
pub(super) struct Configuration {
    groups: Vec<Group>,
}

/// Keys that serve the same tiers in the same way.
struct Group {
    name: String,
    provider: String,
    keys: Vec<KeyId>,
    /// The tiers, with the weight and order that its keys have there.
    serves: Vec<(usize, u32, u8)>,
}

impl Configuration {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for (index, key) in settings.keys.iter().enumerate() {
            let id = KeyId::new(index as u32);
            let own = settings.deployments.iter().filter(|deployment| deployment.key == id);
            let serves: Vec<(usize, u32, u8)> =
                own.map(|deployment| (deployment.tier.index(), deployment.weight, deployment.order)).collect();
            if serves.is_empty() {
                continue;
            }
            let provider = &settings.providers[settings.projects[key.project.index()].provider.index()].name;
            let stem = stem(&key.name);
            let like = |group: &&mut Group| group.serves == serves && group.provider == *provider;
            if let Some(group) = groups.iter_mut().find(like) {
                group.keys.push(id);
                continue;
            }
            let taken = groups.iter().filter(|group| group.name.starts_with(stem)).count();
            let name = if taken == 0 { stem.to_owned() } else { format!("{stem}-{}", taken + 1) };
            groups.push(Group { name, provider: provider.clone(), keys: vec![id], serves });
        }
        Self { groups }
    }

    /// The name that a key gets.
    pub(super) fn key(&self, id: KeyId) -> Option<String> {
        self.groups.iter().find_map(|group| {
            let place = group.keys.iter().position(|key| *key == id)?;
            let digits = group.keys.len().to_string().len().max(2);
            Some(format!("{}-{:0digits$}", group.name, place + 1))
        })
    }

    /// Writes the configuration below `config:`. `openai` says which providers speak that dialect.
    pub(super) fn write(&self, out: &mut String, settings: &Settings, openai: &[bool]) {
        let providers = settings.providers.iter().zip(openai).map(|(provider, openai)| {
            let entry = match openai {
                true => json!({"dialect": "openai", "base_url": format!("https://{}.invalid/v1", provider.name)}),
                false => json!({"dialect": "gemini"}),
            };
            (provider.name.clone(), entry)
        });
        section(out, 2, "providers", &providers.collect());
        let keys = self.groups.iter().map(|group| (group.name.clone(), group.entry(settings)));
        section(out, 2, "keys", &keys.collect());
        let tiers = settings.tiers.iter().enumerate();
        let tiers = tiers.filter(|(index, _)| self.groups.iter().any(|group| group.serve(*index).is_some()));
        section(
            out,
            2,
            "tiers",
            &tiers.map(|(index, tier)| (tier.name.clone(), self.tier(settings, index, tier))).collect(),
        );
        section(out, 2, "models", &models(settings));
        section(out, 2, "clients", &clients(settings));
        section(out, 2, "knobs", &knobs(&settings.knobs));
        let retries = settings.retries;
        let retries = [
            ("overload", retries.overload),
            ("server", retries.server),
            ("rate", retries.rate),
            ("auth", retries.auth),
        ];
        let retries = retries.into_iter().filter_map(|(name, most)| Some((name.to_owned(), Value::from(most?))));
        let retries: Map<String, Value> = retries.collect();
        if !retries.is_empty() {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "  retries: {}", super::yaml::flow(&retries.into()));
        }
    }

    fn tier(&self, settings: &Settings, index: usize, tier: &Tier) -> Value {
        let uses = self.groups.iter().filter_map(|group| Some((group, group.serve(index)?)));
        let uses: Vec<Value> = uses
            .map(|(group, (weight, order))| match (weight, order) {
                (1, 0) => Value::from(group.name.clone()),
                (weight, order) => json!({"group": group.name, "weight": weight, "order": order}),
            })
            .collect();
        let mut entry = Map::new();
        entry.insert("keys".to_owned(), if uses.len() == 1 { uses[0].clone() } else { uses.into() });
        entry.insert("upstream".to_owned(), settings.upstreams[tier.upstream.index()].model.clone().into());
        entry.insert("limits".to_owned(), limits(&tier.limits));
        entry.insert("price".to_owned(), price(&tier.price));
        if let Some(budget) = tier.budget {
            entry.insert("budget".to_owned(), format!("{budget}/day").into());
        }
        for (name, most) in [("input_max", tier.input_max), ("output_max", tier.output_max)] {
            if let Some(most) = most {
                entry.insert(name.to_owned(), most.get().into());
            }
        }
        let timeouts = timeouts(&tier.timeouts);
        if !timeouts.is_empty() {
            entry.insert("timeouts".to_owned(), timeouts.into());
        }
        entry.into()
    }
}

impl Group {
    fn entry(&self, settings: &Settings) -> Value {
        let mut names: BTreeMap<u32, usize> = BTreeMap::new();
        for key in &self.keys {
            *names.entry(settings.keys[key.index()].project.get()).or_default() += 1;
        }
        let projects = if names.len() == self.keys.len() {
            Value::from("separate")
        } else if names.len() == 1 {
            Value::from("shared")
        } else {
            let name = |key: &KeyId| Value::from(format!("p{}", settings.keys[key.index()].project));
            self.keys.iter().map(name).collect::<Vec<Value>>().into()
        };
        json!({"provider": self.provider, "expect": self.keys.len(), "projects": projects})
    }

    /// Weight and order in a tier, if it serves it.
    fn serve(&self, tier: usize) -> Option<(u32, u8)> {
        self.serves.iter().find(|(index, ..)| *index == tier).map(|(_, weight, order)| (*weight, *order))
    }
}

/// A key's name without its number.
fn stem(name: &str) -> &str {
    let stem = name.trim_end_matches(|character: char| character.is_ascii_digit()).trim_end_matches('-');
    if stem.is_empty() { "keys" } else { stem }
}

fn models(settings: &Settings) -> Map<String, Value> {
    let named = |id: stormproof_router::core::ModelId| settings.models[id.index()].name.clone();
    let models = settings.models.iter().map(|model| {
        let tiers: Vec<Value> =
            model.tiers.iter().map(|tier| settings.tiers[tier.index()].name.clone().into()).collect();
        let mut entry = json!({"tiers": tiers, "deadline": model.deadline.to_string()});
        if let Some(fallback) = model.context_fallback {
            entry["context_fallback"] = named(fallback).into();
        }
        if let Some(fallback) = model.content_fallback {
            entry["content_fallback"] = named(fallback).into();
        }
        (model.name.clone(), entry)
    });
    models.collect()
}

/// Every client but the anonymous one, which is always there.
fn clients(settings: &Settings) -> Map<String, Value> {
    let clients = settings.clients.iter().skip(1).map(|client| {
        let mut entry = json!({"priority": priority(client.priority)});
        if let Some(budget) = client.budget {
            entry["budget"] = format!("{budget}/day").into();
        }
        for (name, limit) in [("rpm", client.rpm), ("tpm", client.tpm)] {
            if let Some(limit) = limit {
                entry[name] = limit.into();
            }
        }
        if let Some(models) = &client.models {
            let names = models.iter().map(|model| Value::from(settings.models[model.index()].name.clone()));
            entry["models"] = names.collect::<Vec<Value>>().into();
        }
        (client.name.clone(), entry)
    });
    clients.collect()
}

fn limits(limits: &Limits) -> Value {
    let named = [("rpm", limits.rpm), ("tpm", limits.tpm), ("rpd", limits.rpd)];
    let known: Map<String, Value> =
        named.into_iter().filter_map(|(name, limit)| Some((name.to_owned(), limit?.into()))).collect();
    match (known.is_empty(), limits.learn) {
        (false, _) => known.into(),
        (true, true) => "learn".into(),
        (true, false) => Value::Null,
    }
}

fn price(price: &Price) -> Value {
    if *price == Price::default() {
        return "free".into();
    }
    let Price { tokens, above, answer } = price;
    if *tokens == TokenPrice::default() && above.is_none() {
        return format!("{answer}/answer").into();
    }
    let dollars = |amount: Usd| Value::from(amount.as_f64());
    let parts = |price: &TokenPrice| json!({"input": dollars(price.input), "cached": dollars(price.cached), "output": dollars(price.output)});
    let mut entry = parts(tokens);
    if let Some((threshold, price)) = above {
        let mut dearer = parts(price);
        dearer["tokens"] = threshold.get().into();
        entry["above"] = dearer;
    }
    entry
}

fn timeouts(timeouts: &Timeouts) -> Map<String, Value> {
    let usual = Timeouts::default();
    let differing: [(&str, Duration, Duration); 4] = [
        ("connect", timeouts.connect, usual.connect),
        ("first_byte", timeouts.first_byte, usual.first_byte),
        ("idle", timeouts.idle, usual.idle),
        ("total", timeouts.total, usual.total),
    ];
    let entries = differing.into_iter().filter(|(_, own, usual)| own != usual);
    entries.map(|(name, own, _)| (name.to_owned(), Value::from(own.to_string()))).collect()
}
