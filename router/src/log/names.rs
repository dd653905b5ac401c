//! What ids are called, and when things were, for people.

use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;

use crate::core::{
    Cause, ClientId, DeploymentId, Duration, KeyId, ModelId, Outcome, ProjectId, ProviderId, Scope, Settings, Spill,
    TierId, Timestamp, UpstreamId, WallTime,
};

/// Names under one set of settings. An id that these settings do not know is shown by its number.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a>(pub &'a Settings);

impl<'a> Names<'a> {
    /// A key.
    pub fn key(self, id: KeyId) -> String {
        named(self.0.keys.get(id.index()).map(|key| &key.name), "key", id)
    }

    /// A tier.
    pub fn tier(self, id: TierId) -> String {
        named(self.0.tiers.get(id.index()).map(|tier| &tier.name), "tier", id)
    }

    /// A model that clients ask for.
    pub fn model(self, id: ModelId) -> String {
        named(self.0.models.get(id.index()).map(|model| &model.name), "model", id)
    }

    /// A client.
    pub fn client(self, id: ClientId) -> String {
        named(self.0.clients.get(id.index()).map(|client| &client.name), "client", id)
    }

    /// A model at a provider.
    pub fn upstream(self, id: UpstreamId) -> String {
        named(self.0.upstreams.get(id.index()).map(|upstream| &upstream.model), "upstream", id)
    }

    /// A provider.
    pub fn provider(self, id: ProviderId) -> String {
        named(self.0.providers.get(id.index()).map(|provider| &provider.name), "provider", id)
    }

    /// A project: by its name, or by its one key.
    pub fn project(self, id: ProjectId) -> String {
        let mut keys = self.0.keys.iter().filter(|key| key.project == id);
        match (keys.next(), keys.next()) {
            (Some(only), None) => only.name.clone(),
            (Some(_), Some(_)) | (None, _) => {
                named(self.0.projects.get(id.index()).map(|project| &project.name), "project", id)
            }
        }
    }

    /// Key and tier of a deployment.
    pub fn deployment(self, id: DeploymentId) -> Option<(KeyId, TierId)> {
        self.0.deployments.get(id.index()).map(|deployment| (deployment.key, deployment.tier))
    }

    /// The key of a deployment.
    pub fn deployment_key(self, id: DeploymentId) -> String {
        self.deployment(id).map_or_else(|| format!("deployment {id}"), |(key, _)| self.key(key))
    }

    /// What a cooldown covers.
    pub fn scope(self, scope: Scope) -> String {
        match scope {
            Scope::Key(key) => self.key(key),
            Scope::ProjectModel(project, upstream) => {
                format!("{} on {}", self.project(project), self.upstream(upstream))
            }
            Scope::Upstream(upstream) => self.upstream(upstream),
            Scope::Provider(provider) => self.provider(provider),
        }
    }
}

fn named(name: Option<&String>, kind: &str, id: impl std::fmt::Display) -> String {
    name.map_or_else(|| format!("{kind} {id}"), String::clone)
}

/// When things were on the wall clock.
#[derive(Clone, Debug)]
pub struct Calendar {
    epoch: WallTime,
    zone: TimeZone,
}

impl Calendar {
    /// With the log's epoch, in this zone.
    pub fn new(epoch: WallTime, zone: TimeZone) -> Self {
        Self { epoch, zone }
    }

    /// `2025-04-18T22:20:50.123-07:00`.
    pub fn date(&self, at: Timestamp) -> String {
        self.instant(at).map_or_else(
            || "beyond all dates".to_owned(),
            |instant| instant.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string(),
        )
    }

    /// `22:20:50`, rounded up to the second: when something is over.
    pub fn until(&self, at: Timestamp) -> String {
        let whole = Timestamp::from_nanos(at.as_nanos().saturating_add(999_999_999));
        self.format(whole, "%H:%M:%S")
    }

    /// `22:20:50.123`.
    pub fn time(&self, at: Timestamp) -> String {
        self.format(at, "%H:%M:%S%.3f")
    }

    /// `2025-04-18`.
    pub fn day(&self, at: Timestamp) -> String {
        self.format(at, "%Y-%m-%d")
    }

    fn format(&self, at: Timestamp, format: &str) -> String {
        self.instant(at).map_or_else(
            || "for ever".to_owned(),
            |instant| instant.to_zoned(self.zone.clone()).strftime(format).to_string(),
        )
    }

    fn instant(&self, at: Timestamp) -> Option<Instant> {
        let nanos = i128::from(self.epoch.as_nanos()) + i128::from(at.as_nanos());
        Instant::from_nanosecond(nanos).ok()
    }
}

/// Why something could not be served, as the end of "skipped: ...".
pub(super) fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::None => "nothing is wrong",
        Cause::RateMinute => "requests per minute used up",
        Cause::TokensMinute => "tokens per minute used up",
        Cause::RateDay => "day quota used up",
        Cause::RateUnknown => "a 429 that names no quota",
        Cause::Overload => "overloaded",
        Cause::Server => "server or connection failures",
        Cause::Auth => "key refused",
        Cause::Dead => "retired",
        Cause::NotFound => "model not found",
        Cause::Request => "the request itself is at fault",
        Cause::StreamCut => "the answer broke off",
        Cause::Budget => "day budget spent",
        Cause::ClientRate => "the client's own rate used up",
        Cause::ClientBudget => "the client's own budget spent",
        Cause::ClientModel => "the client may not ask for this model",
        Cause::RetryBudget => "retry budget used up",
        Cause::Attempts => "attempts used up",
        Cause::Operator => "an operator said so",
        Cause::ContextWindow => "the prompt does not fit",
        Cause::ContentBlocked => "blocked by a safety rule",
        Cause::Address => "our address is throttled",
        Cause::Deadline => "no start in time",
    }
}

/// Why a request left a tier for the next one.
pub(super) fn spill(cause: Spill, from: &str) -> String {
    match cause {
        Spill::Exhausted => format!("nothing of {from} could start in time"),
        Spill::Patience => format!("the wait for {from} would be longer than the patience"),
        Spill::Degraded => format!("{from} fails too often to be worth an attempt"),
        Spill::Starved => format!("the quota of {from} is worth more to later requests"),
        Spill::Operator => format!("an operator took {from} out"),
        Spill::Unsuited => format!("{from} does not serve such requests"),
    }
}

/// What became of a request.
pub(super) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered => "answered",
        Outcome::Deadline => "deadline",
        Outcome::Refused => "refused",
        Outcome::Failed => "failed",
        Outcome::Cut => "cut",
        Outcome::Cancelled => "cancelled",
    }
}

/// A share in parts per million, as a percentage.
pub(super) fn percent(ppm: u32) -> String {
    let tenths = (ppm + 500) / 1_000;
    if tenths.is_multiple_of(10) { format!("{} %", tenths / 10) } else { format!("{}.{} %", tenths / 10, tenths % 10) }
}

/// `350 ms`, `1.2 s`, `180 s`, `33 min 20 s`.
pub(super) fn length(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..100_000 if millis % 1_000 >= 50 && millis % 1_000 < 950 => format!("{:.1} s", duration.as_secs_f64()),
        1_000..600_000 => format!("{} s", (millis + 500) / 1_000),
        600_000..86_400_000 => format!("{} min {} s", millis / 60_000, millis / 1_000 % 60),
        86_400_000.. => format!("{:.1} days", duration.as_secs_f64() / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_never_shown_before_it() {
        let calendar = Calendar::new(WallTime::from_nanos(1_744_953_662_000_000_000), TimeZone::UTC);
        assert_eq!(calendar.until(Timestamp::ZERO), "05:21:02");
        assert_eq!(calendar.until(Timestamp::from_nanos(1)), "05:21:03");
        assert_eq!(calendar.time(Timestamp::from_nanos(1_500_000)), "05:21:02.001");
        assert_eq!(calendar.date(Timestamp::from_nanos(120_000_000)), "2025-04-18T05:21:02.12+00:00");
        assert_eq!(calendar.until(Timestamp::from_nanos(1_500_000_000)), "05:21:04");
    }

    #[test]
    fn shares_are_percentages() {
        for (ppm, text) in [(0, "0 %"), (620_000, "62 %"), (15_400, "1.5 %"), (1_000_000, "100 %")] {
            assert_eq!(percent(ppm), text);
        }
    }

    #[test]
    fn lengths_are_said_as_people_say_them() {
        for (millis, text) in [
            (350, "350 ms"),
            (1_200, "1.2 s"),
            (2_000, "2 s"),
            (1_970, "2 s"),
            (180_400, "180 s"),
            (2_000_000, "33 min 20 s"),
            (129_600_000, "1.5 days"),
        ] {
            assert_eq!(length(Duration::from_millis(millis)), text);
        }
    }
}
