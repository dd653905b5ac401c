//! The routers that a scenario compares, each with its own settings.

use std::sync::Arc;

use stormproof_router::config::{At, Config, Errors, KnobTexts, Model, Named, Node, Report, Spot, decode, suggest};
use stormproof_router::core::{KNOBS, Settings, WallTime};

use super::file::Stormproof;
use crate::baselines::litellm::Options;
use crate::study::{Contender, Policy};

/// The routers that an entry may name.
const ROUTERS: [&str; 3] = ["stormproof", "litellm-1.66", "litellm-1.109"];

/// Fields of our router's entries that are no knobs.
const SECTIONS: [&str; 4] = ["router", "models", "knobs", "retries"];

/// What every entry is resolved against.
struct Base<'a> {
    config: &'a Config,
    start: WallTime,
    /// The scenario, as messages call it.
    origin: &'a Arc<str>,
}

/// Resolves every entry.
pub(super) fn contenders(
    config: &Config,
    start: WallTime,
    compare: &Named<At<Node>>,
    origin: &Arc<str>,
) -> Result<Vec<Contender>, Errors> {
    let base = Base { config, start, origin };
    let mut report = Report::new(origin);
    let mut contenders = Vec::new();
    if compare.is_empty() {
        report.say(Spot { line: 1, column: 1 }, "`compare` is empty; name at least one router");
    }
    for (name, At { value: entry, .. }) in compare.iter() {
        let router = entry.entry("router").and_then(Node::text).unwrap_or_default();
        let policy = match router {
            "stormproof" => base.stormproof(entry),
            "litellm-1.66" | "litellm-1.109" => base.litellm(entry),
            _ => {
                let spot = entry.entry("router").map_or(name.spot, Node::spot);
                report.say(spot, format!("there is no router `{router}`; {}", suggest(router, ROUTERS)));
                continue;
            }
        };
        match policy {
            Ok(policy) => contenders.push(Contender { name: name.value.clone(), policy }),
            Err(errors) => report.extend(errors.into_problems()),
        }
        if name.value.contains([':', ' ', '*']) {
            report.say(name.spot, "a router's name has no space, `:` or `*`, since `pass` names it");
        }
    }
    report.finish().map(|()| contenders)
}

impl Base<'_> {
    /// Our router. Knobs stand in their section, or by name in the entry itself.
    fn stormproof(&self, entry: &Node) -> Result<Policy, Errors> {
        let mut loose = KnobTexts::default();
        let mut report = Report::new(self.origin);
        let is_section = |name: &str| SECTIONS.contains(&name);
        for (name, spot, value) in entry.entries().filter(|(name, ..)| !is_section(name)) {
            let groups = || KNOBS.iter().filter_map(|knob| knob.name.split('.').next());
            if !name.contains('.') && !groups().any(|group| group == name) {
                let known = SECTIONS.iter().copied().chain(KNOBS.iter().map(|knob| knob.name));
                report.say(spot, format!("there is no field or knob `{name}` here; {}", suggest(name, known)));
            } else if let Err(message) = loose.flatten(&At { value: name.to_owned(), spot }, value) {
                report.say(spot, message);
            }
        }
        let knobs: Vec<&str> = entry.entries().map(|(name, ..)| name).filter(|name| !is_section(name)).collect();
        let problems = report.into_problems();
        let written: Stormproof =
            decode(&entry.without(&knobs), self.origin).map_err(|errors| errors.and(problems.clone()))?;
        let mut config = self.config.with_models(&written.models, self.origin);
        config.retries = written.retries.unwrap_or(config.retries);
        let mut settings = config.rehearse(self.start).map_err(|errors| errors.and(problems.clone()))?;
        let mut report = Report::new(self.origin);
        report.extend(problems);
        report.extend(written.knobs.set(&mut settings.knobs, self.origin));
        report.extend(loose.set(&mut settings.knobs, self.origin));
        report.finish()?;
        Ok(Policy::Stormproof(Arc::new(settings)))
    }

    /// LiteLLM: its own options, which are read as its configuration spells them.
    fn litellm(&self, entry: &Node) -> Result<Policy, Errors> {
        let options: Options = decode(&entry.without(&["models"]), self.origin)?;
        let settings = self.models(entry.entry("models"))?;
        let mut report = Report::new(self.origin);
        for unknown in options.unknown_models(&settings) {
            let spot = entry.entry(unknown.option).map_or(entry.spot(), Node::spot);
            report.say(spot, unknown.to_string());
        }
        report.finish()?;
        Ok(Policy::LiteLlm { settings: Arc::new(settings), options: Arc::new(options) })
    }

    /// The settings with these models instead of the configuration's.
    fn models(&self, node: Option<&Node>) -> Result<Settings, Errors> {
        let models: Named<Model> = node.map_or(Ok(Named::default()), |node| decode(node, self.origin))?;
        self.config.with_models(&models, self.origin).rehearse(self.start)
    }
}
