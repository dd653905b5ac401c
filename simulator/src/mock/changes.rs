//! Changes of the world while it runs, in a scenario's own words: what stands there under `world` stands here, with
//! `for` in the place of `from` and `until`. YAML, and so JSON too.
//!
//! ```yaml
//! weather: [{upstream: gemini-2.5-pro, p503: 90%, for: 10m}]
//! faults: {gemini-2.5-pro: {cut: 20%, hang: 5%}}
//! latency: {gemini-2.5-pro: {p50: 20s, p99: 80s}}
//! limits: {gemini-2.5-pro: {rpm: 2}}
//! deaths: [{key: free-03, reason: key-suspended}]
//! revivals: [free-03]
//! script: [{key: free-01, times: 1, after: 0s, answer: 429, violated: [rpd], retry_after: 33s}]
//! manners: {error_event: raw-tail, cut: clean-end, malformed: html}
//! ```

use std::sync::Arc;

use serde::Deserialize;
use stormproof_router::config::{At, Errors, Named, Node, Period, Report, Share, Spot, decode, suggest};
use stormproof_router::core::{
    Duration, Ending, Facts, KeyId, Reason, Settings, Timestamp, UpstreamId, Violation, Violations,
};

use super::manners::Manners;
use crate::scenario::file::{AnswerWord, Faults, Latency, Quota, QuotaWord, ReasonWord, ViolatedWord};
use crate::scenario::{resolve_faults, resolve_latency};
use crate::world::{self, Change, Death, Episode, Reply, Scripted, Spec};

/// A document of changes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Document {
    weather: Vec<Weather>,
    faults: Named<At<Faults>>,
    latency: Named<At<Latency>>,
    limits: Named<Quota>,
    deaths: Vec<Dying>,
    revivals: Vec<At<String>>,
    script: Vec<Scripting>,
    manners: Option<Manners>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weather {
    upstream: At<String>,
    p503: Share,
    /// Until further notice unless set.
    #[serde(default, rename = "for")]
    lasts: Option<Period>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dying {
    key: At<String>,
    #[serde(default)]
    upstream: Option<At<String>>,
    reason: ReasonWord,
    /// For good unless set.
    #[serde(default, rename = "for")]
    lasts: Option<Period>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scripting {
    #[serde(default)]
    key: Option<At<String>>,
    #[serde(default)]
    upstream: Option<At<String>>,
    /// Always unless set.
    #[serde(default)]
    times: Option<u32>,
    /// 1s unless set.
    #[serde(default)]
    after: Option<Period>,
    answer: AnswerWord,
    #[serde(default)]
    reason: Option<ReasonWord>,
    #[serde(default)]
    retry_after: Option<Period>,
    #[serde(default)]
    violated: Vec<ViolatedWord>,
}

/// What a document asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Changes {
    /// Changes of the world, in order.
    pub(super) world: Vec<Change>,
    /// How failures look from now on.
    pub(super) manners: Option<Manners>,
}

/// Reads a document, for the world as it is `now`.
///
/// # Errors
/// Everything that is wrong with it; then nothing of it is to be done.
pub(super) fn read(text: &str, settings: &Settings, spec: &Spec, now: Timestamp) -> Result<Changes, Errors> {
    let origin: Arc<str> = "changes".into();
    let document: Document = decode(&Node::parse(text, &origin)?, &origin)?;
    let mut reading = Reading { settings, spec, now, report: Report::new(&origin), changes: Vec::new() };
    reading.all(&document);
    reading.report.finish()?;
    Ok(Changes { world: reading.changes, manners: document.manners })
}

struct Reading<'a> {
    settings: &'a Settings,
    spec: &'a Spec,
    now: Timestamp,
    report: Report,
    changes: Vec<Change>,
}

impl Reading<'_> {
    fn all(&mut self, document: &Document) {
        for weather in &document.weather {
            let until = self.until(weather.lasts);
            let episode = Episode { from: self.now, until, p503: weather.p503.0 };
            if let Some(upstream) = self.upstream(&weather.upstream) {
                self.changes.push(Change::Overload { upstream, episode });
            }
        }
        for (name, faults) in document.faults.iter() {
            let faults = resolve_faults(faults, &mut self.report);
            if let Some(upstream) = self.upstream(name) {
                self.changes.push(Change::Faults { upstream, faults });
            }
        }
        for (name, latency) in document.latency.iter() {
            let latency = resolve_latency(latency, &mut self.report);
            if let Some(upstream) = self.upstream(name) {
                self.changes.push(Change::Latency { upstream, latency });
            }
        }
        for (name, quota) in document.limits.iter() {
            if let Some(upstream) = self.upstream(name) {
                self.limits(upstream, quota);
            }
        }
        for dying in &document.deaths {
            let upstream = dying.upstream.as_ref().and_then(|name| self.upstream(name));
            let (from, until) = (self.now, self.until(dying.lasts));
            let death = Death { from, until, upstream, reason: dying.reason.into() };
            if let Some(key) = self.key(&dying.key) {
                self.changes.push(Change::Death { key, death });
            }
        }
        for name in &document.revivals {
            if let Some(key) = self.key(name) {
                self.changes.push(Change::Revival { key });
            }
        }
        for scripting in &document.script {
            let scripted = self.scripted(scripting);
            self.changes.push(Change::Reply { scripted });
        }
    }

    /// The new limits of every true project that serves a model.
    fn limits(&mut self, upstream: UpstreamId, quota: &Quota) {
        let correct = |limit: Option<u32>, word: Option<QuotaWord>| match word {
            None => limit,
            Some(QuotaWord::None) => None,
            Some(QuotaWord::Limit(number)) => Some(number),
        };
        let tiers = &self.settings.tiers;
        let serving = self.settings.deployments.iter().filter(|one| tiers[one.tier.index()].upstream == upstream);
        let mut projects: Vec<u32> = serving.map(|one| self.spec.keys[one.key.index()].project).collect();
        projects.sort_unstable();
        projects.dedup();
        for project in projects {
            let known = self.spec.projects[project as usize].quotas.get(upstream.index()).copied().unwrap_or_default();
            let quota = world::Quota {
                rpm: correct(known.rpm, quota.rpm),
                tpm: correct(known.tpm, quota.tpm),
                rpd: correct(known.rpd, quota.rpd),
                tpd: correct(known.tpd, quota.tpd),
                ..known
            };
            self.changes.push(Change::Limits { project, upstream, quota });
        }
    }

    fn scripted(&mut self, written: &Scripting) -> Scripted {
        let named = |word| match written.violated.contains(&word) {
            true => Violation::Unvalued,
            false => Violation::None,
        };
        let (ending, usual) = match written.answer {
            AnswerWord::Status(status) => (Ending::Status(status), (status == 503).then_some(Reason::Overloaded)),
            AnswerWord::Broken(transport) => (Ending::Transport(transport), None),
        };
        let facts = Facts {
            inner_status: None,
            violations: Violations {
                requests_minute: named(ViolatedWord::Rpm),
                requests_day: named(ViolatedWord::Rpd),
                tokens_minute: named(ViolatedWord::Tpm),
                tokens_day: named(ViolatedWord::Tpd),
            },
            retry_after: written.retry_after.map(|after| after.0),
            reason: written.reason.map(Reason::from).or(usual),
        };
        let after = written.after.map_or(Duration::from_secs(1), |after| after.0);
        Scripted {
            from: self.now,
            until: Timestamp::MAX,
            key: written.key.as_ref().and_then(|name| self.key(name)),
            upstream: written.upstream.as_ref().and_then(|name| self.upstream(name)),
            times: written.times,
            reply: Reply { after, ending, facts },
        }
    }

    fn until(&self, lasts: Option<Period>) -> Timestamp {
        lasts.map_or(Timestamp::MAX, |period| self.now + period.0)
    }

    /// A model by its name, or by its provider's and its own.
    fn upstream(&mut self, name: &At<String>) -> Option<UpstreamId> {
        let settings = self.settings;
        let full = |index: usize| {
            let upstream = &settings.upstreams[index];
            format!("{}/{}", settings.providers[upstream.provider.index()].name, upstream.model)
        };
        let is_it = |index: &usize| settings.upstreams[*index].model == name.value || full(*index) == name.value;
        let found: Vec<usize> = (0..settings.upstreams.len()).filter(is_it).collect();
        match found[..] {
            [one] => Some(UpstreamId::new(one as u16)),
            [] => {
                let known = settings.upstreams.iter().map(|upstream| upstream.model.as_str());
                self.unknown(name.spot, "model", &name.value, known)
            }
            [_, ..] => {
                let message = format!("several providers have a model `{0}`; write PROVIDER/{0}", name.value);
                self.report.say(name.spot, message);
                None
            }
        }
    }

    fn key(&mut self, name: &At<String>) -> Option<KeyId> {
        let settings = self.settings;
        match settings.keys.iter().position(|key| key.name == name.value) {
            Some(index) => Some(KeyId::new(index as u32)),
            None => {
                let known = settings.keys.iter().map(|key| key.name.as_str());
                self.unknown(name.spot, "key", &name.value, known)
            }
        }
    }

    fn unknown<'n, T>(
        &mut self,
        spot: Spot,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'n str> + Clone,
    ) -> Option<T> {
        self.report.say(spot, format!("there is no {what} `{name}`; {}", suggest(name, known)));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::families;

    fn changes(text: &str) -> Result<Changes, String> {
        let case = families::family("c").expect("a family").case();
        let now = Timestamp::ZERO + Duration::from_secs(60);
        read(text, &case.settings, &case.day.world, now).map_err(|errors| errors.to_string())
    }

    #[test]
    fn everything_can_be_changed_in_a_scenarios_words() {
        let read = changes(
            "weather: [{upstream: cheap, p503: 90%, for: 10m}]\n\
             faults: {gemini/dear: {cut: 20%}}\n\
             latency: {cheap: {p50: 20s, p99: 80s}}\n\
             limits: {dear: {rpm: none, rpd: 7}}\n\
             deaths: [{key: free-03, reason: key-suspended, for: 1h}]\n\
             revivals: [free-03]\n\
             script: [{key: free-01, times: 1, answer: 503}, {answer: cut, after: 0s}]\n\
             manners: {cut: clean-end}",
        )
        .expect("a good document");
        let kinds: Vec<String> = read
            .world
            .iter()
            .map(|change| format!("{change:?}").split([' ', '{']).next().unwrap_or("").into())
            .collect();
        let limits = ["Limits"; 2];
        assert_eq!(
            kinds,
            [&["Overload", "Faults", "Latency"], &limits[..], &["Death", "Revival", "Reply", "Reply"]].concat()
        );
        let minute = |minutes: u64| Timestamp::ZERO + Duration::from_secs(minutes * 60);
        let Change::Overload { episode, .. } = read.world[0] else { panic!("{:?}", read.world[0]) };
        assert_eq!(episode, Episode { from: minute(1), until: minute(11), p503: 0.9 });
        let Change::Limits { quota, .. } = read.world[3] else { panic!("{:?}", read.world[3]) };
        assert_eq!((quota.rpm, quota.rpd), (None, Some(7)));
        assert_eq!(read.manners.and_then(|manners| manners.cut), Some(super::super::CutManner::CleanEnd));
    }

    #[test]
    fn every_mistake_is_told_and_nothing_is_done() {
        let told = changes("weather: [{upstream: cheep, p503: 90%}]\nrevivals: [free-99]").expect_err("unknown names");
        assert!(told.contains("`cheep`") && told.contains("cheap") && told.contains("`free-99`"), "{told}");
        assert!(changes("wether: []").is_err());
        assert!(changes("script: [{answer: 99}]").is_err());
    }
}
