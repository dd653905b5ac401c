//! From names in a scenario to the indexes of its settings.

use stormproof_router::config::{At, Config, Report, Zone, suggest};
use stormproof_router::core::{Duration, KeyId, ModelId, ProviderId, Settings, TierId, UpstreamId, WallTime};

use super::quantity::Clock;

/// What every part of a scenario is resolved against.
pub(super) struct Scene<'a> {
    pub(super) config: &'a Config,
    pub(super) settings: &'a Settings,
    pub(super) clock: Clock,
}

impl<'a> Scene<'a> {
    pub(super) fn new(config: &'a Config, settings: &'a Settings, start: (WallTime, Zone), duration: Duration) -> Self {
        Self { config, settings, clock: Clock { start: start.0, zone: start.1, duration } }
    }

    /// An upstream model by its name, or as `provider/model` where two providers serve one of that name.
    pub(super) fn upstream(&self, name: &At<String>, report: &mut Report) -> Option<UpstreamId> {
        let upstreams = &self.settings.upstreams;
        let full = |index: usize| {
            let upstream = &upstreams[index];
            format!("{}/{}", self.settings.providers[upstream.provider.index()].name, upstream.model)
        };
        let found: Vec<usize> = (0..upstreams.len())
            .filter(|index| upstreams[*index].model == name.value || full(*index) == name.value)
            .collect();
        match found.as_slice() {
            [one] => Some(UpstreamId::new(u16::try_from(*one).unwrap_or(u16::MAX))),
            [] => {
                let known = upstreams.iter().map(|upstream| upstream.model.as_str());
                let message = format!("there is no upstream model `{}`; {}", name.value, suggest(name, known));
                report.say(name.spot, message);
                None
            }
            [first, ..] => {
                let message =
                    format!("several providers serve `{}`; write `{}`, or the other", name.value, full(*first));
                report.say(name.spot, message);
                None
            }
        }
    }

    pub(super) fn model(&self, name: &At<String>, report: &mut Report) -> Option<ModelId> {
        let found = self.settings.model_named(name);
        if found.is_none() {
            let known = self.settings.models.iter().map(|model| model.name.as_str());
            report.say(name.spot, format!("there is no model `{}`; {}", name.value, suggest(name, known)));
        }
        found
    }

    pub(super) fn tier(&self, name: &At<String>, report: &mut Report) -> Option<TierId> {
        let found = self.settings.tier_named(name);
        if found.is_none() {
            let known = self.settings.tiers.iter().map(|tier| tier.name.as_str());
            report.say(name.spot, format!("there is no tier `{}`; {}", name.value, suggest(name, known)));
        }
        found
    }

    pub(super) fn key(&self, name: &At<String>, report: &mut Report) -> Option<KeyId> {
        let found = self.settings.keys.iter().position(|key| key.name == name.value);
        if found.is_none() {
            let known = self.settings.keys.iter().map(|key| key.name.as_str());
            report.say(name.spot, format!("there is no key `{}`; {}", name.value, suggest(name, known)));
        }
        Some(KeyId::new(u32::try_from(found?).unwrap_or(u32::MAX)))
    }

    pub(super) fn provider(&self, name: &At<String>, report: &mut Report) -> Option<ProviderId> {
        let found = self.config.providers.position(name);
        if found.is_none() {
            let message =
                format!("there is no provider `{}`; {}", name.value, suggest(name, self.config.providers.names()));
            report.say(name.spot, message);
        }
        Some(ProviderId::new(u16::try_from(found?).unwrap_or(u16::MAX)))
    }

    /// The indexes of a group's keys: those called `GROUP-01` and so on.
    pub(super) fn group(&self, name: &str) -> Vec<usize> {
        let numbered = |key: &str| {
            let number = key.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
            number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let keys = self.settings.keys.iter().enumerate();
        keys.filter(|(_, key)| numbered(&key.name)).map(|(index, _)| index).collect()
    }
}
