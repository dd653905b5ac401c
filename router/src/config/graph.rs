//! Whether a configuration can work: every name leads somewhere, everything is reachable, nothing runs in circles.
//! Which requests end up without an answer is then a matter of quota and weather, not of a typing error.

use std::collections::BTreeSet;
use std::fmt;

use super::file::{Config, Dialect, KeyUse, Model, Provider};
use super::placed::{At, Named};
use super::problem::{Report, Spot, suggest};
use super::resolve::key_use;
use super::written::Count;
use crate::core::{Duration, Usd};

/// The most entries of one kind: far more than anyone writes, and few enough for 16-bit ids.
const ENTRIES_MAX: usize = 10_000;

/// Reports everything in the graph that cannot work.
pub(super) fn check(config: &Config, report: &mut Report) {
    kinds(config, report);
    references(config, report);
    check_loops(config, "context_fallback", |model| model.context_fallback.as_ref(), report);
    check_loops(config, "content_fallback", |model| model.content_fallback.as_ref(), report);
    check_listeners(config, report);
    // What a misspelt name left unused is no second mistake.
    if report.is_empty() && !config.partial {
        uses(config, report);
    }
}

/// Everything that an entry says by itself or about another.
fn references(config: &Config, report: &mut Report) {
    for (name, provider) in config.providers.iter() {
        check_provider(name, provider, report);
    }
    for (name, group) in config.keys.iter() {
        refer("provider", &group.provider, &config.providers, report);
        if group.projects.is_none() {
            let message = format!(
                "`keys.{}` does not say whose quota its keys spend; write `projects: separate` (each key its own), `shared` (all one), or a list of names",
                name.value
            );
            report.say(name.spot, message);
        }
    }
    for (name, _) in config.tiers.iter() {
        check_tier(config, name, report);
    }
    for (name, model) in config.models.iter() {
        check_model(config, name, model, report);
    }
    for (name, client) in config.clients.iter() {
        if name.value == "anonymous" {
            report.say(name.spot, "`anonymous` is the name of those who bring no token; choose another");
        }
        for model in client.models.iter().flatten() {
            refer("model", model, &config.models, report);
        }
        if client.models.as_ref().is_some_and(Vec::is_empty) {
            report.say(
                name.spot,
                format!("`clients.{}` may ask for no model; leave `models` out to allow all", name.value),
            );
        }
    }
}

/// Every kind of entry exists, in numbers that make sense.
fn kinds(config: &Config, report: &mut Report) {
    count("providers", &config.providers, report);
    count("keys", &config.keys, report);
    count("tiers", &config.tiers, report);
    count("models", &config.models, report);
}

/// Every entry is used.
fn uses(config: &Config, report: &mut Report) {
    let uses: Vec<KeyUse> = config.tiers.iter().flat_map(|(_, tier)| tier.keys.0.iter().map(key_use)).collect();
    let providers: BTreeSet<&str> = config.keys.iter().map(|(_, group)| group.provider.as_str()).collect();
    let groups: BTreeSet<&str> = uses.iter().map(|one| one.group.as_str()).collect();
    let tiers: BTreeSet<&str> =
        config.models.iter().flat_map(|(_, model)| model.tiers.iter().map(|tier| tier.as_str())).collect();
    unused("provider", &config.providers, &providers, "no key group", report);
    unused("key group", &config.keys, &groups, "no tier", report);
    unused("tier", &config.tiers, &tiers, "no model", report);
}

fn count<T>(kind: &str, named: &Named<T>, report: &mut Report) {
    if named.is_empty() {
        report.say(Spot { line: 1, column: 1 }, format!("`{kind}` is empty; without any nothing can be answered"));
    }
    if let Some((name, _)) = named.iter().nth(ENTRIES_MAX) {
        report.say(name.spot, format!("more than {ENTRIES_MAX} `{kind}` are not supported"));
    }
}

fn unused<T>(kind: &str, named: &Named<T>, used: &BTreeSet<&str>, user: &str, report: &mut Report) {
    for (name, _) in named.iter().filter(|(name, _)| !used.contains(name.as_str())) {
        report.say(name.spot, format!("the {kind} `{}` is used by {user}; use it or take it out", name.value));
    }
}

/// A name must be one of these.
fn refer<T>(kind: &str, name: &At<String>, known: &Named<T>, report: &mut Report) {
    if known.named(name).is_none() {
        report.say(name.spot, format!("there is no {kind} `{}`; {}", name.value, suggest(name, known.names())));
    }
}

fn check_provider(name: &At<String>, provider: &Provider, report: &mut Report) {
    if let Some(url) = &provider.base_url {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let plain = rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', '?', '#', ' ']));
        if !plain {
            let message = "a base address begins with `https://` or `http://` and has no credentials, query or spaces";
            report.say(url.spot, message);
        }
    }
    let vertex_only = [("project", &provider.project), ("location", &provider.location)];
    for (field, value) in vertex_only {
        if let Some(value) = value.as_ref().filter(|_| provider.dialect != Dialect::Vertex) {
            let message = format!("only `dialect: vertex` has a `{field}`; `providers.{}` speaks another", name.value);
            report.say(value.spot, message);
        }
    }
}

fn check_tier(config: &Config, name: &At<String>, report: &mut Report) {
    let Some(tier) = config.tiers.named(name) else { return };
    if tier.keys.0.is_empty() {
        report.say(name.spot, format!("`tiers.{}` has no keys; name a key group", name.value));
    }
    let mut provider: Option<&str> = None;
    for word in &tier.keys.0 {
        let one = key_use(word);
        let Some(group) = config.keys.named(&one.group) else {
            let message =
                format!("there is no key group `{}`; {}", one.group, suggest(&one.group, config.keys.names()));
            report.say(word.spot, message);
            continue;
        };
        if one.weight == 0 {
            report.say(word.spot, "a weight of 0 is never chosen; leave the group out instead");
        }
        let first = *provider.get_or_insert(&group.provider);
        if first != group.provider.value {
            let message = format!(
                "the keys of one tier belong to one provider; `{}` is of `{}`, those before it of `{first}`",
                one.group, group.provider.value
            );
            report.say(word.spot, message);
        }
    }
    if tier.upstream.is_empty() {
        report.say(tier.upstream.spot, "the upstream model has no name");
    }
    if let Some(budget) = tier.budget.filter(|budget| budget.value.0 == Usd::ZERO) {
        report.say(budget.spot, "a budget of nothing is never spent; take the tier out, or leave the budget out");
    }
    for max in [tier.input_max, tier.output_max].into_iter().flatten() {
        if max.value == Count(0) {
            report.say(max.spot, "a length of no tokens suits no request; leave it out where there is no limit");
        }
    }
}

fn check_model(config: &Config, name: &At<String>, model: &Model, report: &mut Report) {
    if model.tiers.is_empty() {
        report.say(model.tiers.spot, format!("`models.{}` has no tiers; name at least one", name.value));
    }
    let mut seen = BTreeSet::new();
    for tier in model.tiers.iter() {
        refer("tier", tier, &config.tiers, report);
        if !seen.insert(tier.as_str()) {
            report.say(
                tier.spot,
                format!("`{}` stands twice in `models.{}`; keep its first place", tier.value, name.value),
            );
        }
    }
    for fallback in [&model.context_fallback, &model.content_fallback].into_iter().flatten() {
        refer("model", fallback, &config.models, report);
    }
    let (min, max) = (config.deadlines.min.0, config.deadlines.max.value.0);
    if !(min..=max).contains(&model.deadline.value.0) || model.deadline.value.0 == Duration::ZERO {
        let message = format!("a deadline of {} is outside of `deadlines`, {min} to {max}", model.deadline.value.0);
        report.say(model.deadline.spot, message);
    }
}

/// A model that falls back to itself, at once or through others, would never end.
fn check_loops(config: &Config, field: &str, next: impl Fn(&Model) -> Option<&At<String>>, report: &mut Report) {
    for (start, model) in config.models.iter() {
        let mut path = vec![start.as_str()];
        let mut step = next(model);
        while let Some(name) = step {
            if name.value == start.value {
                path.push(name);
                // Everyone on the circle would report it; the first in the file does.
                let first = path.iter().filter_map(|name| config.models.position(name)).min();
                if first == config.models.position(start) {
                    let spot = next(model).map_or(start.spot, |name| name.spot);
                    report.say(spot, format!("`{field}` runs in a circle: {}; break it", Arrows(&path)));
                }
                break;
            }
            if path.contains(&name.as_str()) {
                break;
            }
            path.push(name);
            step = config.models.named(name).and_then(&next);
        }
    }
}

struct Arrows<'a>(&'a [&'a str]);

impl fmt::Display for Arrows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" -> "))
    }
}

fn check_listeners(config: &Config, report: &mut Report) {
    let listen = config.listen.value.0;
    if !listen.ip().is_loopback() && config.clients.is_empty() {
        let message = format!(
            "{listen} can be reached by others, and without `clients` everyone may spend; add `clients`, or listen on 127.0.0.1"
        );
        report.say(config.listen.spot, message);
    }
    if let Some(admin) = config.admin.as_ref().filter(|admin| admin.listen.value.0 == listen) {
        let message = format!("operators and clients cannot share {listen}; give `admin` a port of its own");
        report.say(admin.listen.spot, message);
    }
    let Some(max) = Some(config.deadlines.max).filter(|max| max.value.0 < config.deadlines.min.0) else { return };
    report.say(max.spot, format!("`max` is below `min`, {}", config.deadlines.min.0));
}
