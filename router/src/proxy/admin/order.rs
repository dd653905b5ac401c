//! What an operator may order, in names: `{"do": "skip-tier", "tier": "paid-pro", "for": "1h", "author": "mia"}`.

use serde::{Deserialize, Serialize};

use crate::core::{
    Action, ClientId, Duration, KeyId, ProjectId, ProviderId, Scope, Settings, TierId, Timestamp, UpstreamId, Usd,
};

/// An order, and who gives it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Who.
    pub author: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What is ordered. `for` is a duration such as `1h`; without it an order holds until it is taken back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum What {
    /// Forget a cooldown: of a key, of a key's project for an upstream model, or of a provider.
    ClearCooldown {
        /// A key's name.
        #[serde(default)]
        key: Option<String>,
        /// An upstream model's name; alone it means all keys.
        #[serde(default)]
        upstream: Option<String>,
        /// A provider's name.
        #[serde(default)]
        provider: Option<String>,
    },
    /// No new attempts on a key.
    DrainKey {
        /// Its name.
        key: String,
        /// For how long.
        #[serde(default, rename = "for")]
        period: Option<String>,
    },
    /// A key is dead.
    RetireKey {
        /// Its name.
        key: String,
    },
    /// Take a drained or retired key back.
    RestoreKey {
        /// Its name.
        key: String,
    },
    /// So many requests of the day are used, whatever was counted.
    SetUsed {
        /// A key of the project.
        key: String,
        /// The upstream model.
        upstream: String,
        /// How many.
        requests: u32,
    },
    /// Do not use a tier.
    SkipTier {
        /// Its name.
        tier: String,
        /// For how long.
        #[serde(default, rename = "for")]
        period: Option<String>,
    },
    /// Use only a tier, for every model that has it.
    PinTier {
        /// Its name.
        tier: String,
        /// For how long.
        #[serde(default, rename = "for")]
        period: Option<String>,
    },
    /// Take orders about a tier back.
    FreeTier {
        /// Its name.
        tier: String,
    },
    /// Use no tier that costs money.
    StopPaid {
        /// For how long.
        #[serde(default, rename = "for")]
        period: Option<String>,
    },
    /// Use tiers that cost money again.
    ResumePaid,
    /// Another budget for a tier, today.
    SetBudget {
        /// Its name.
        tier: String,
        /// In dollars.
        usd: f64,
    },
    /// Another budget for a client, today.
    SetClientBudget {
        /// Its name.
        client: String,
        /// In dollars.
        usd: f64,
    },
    /// Believe the configured limits again.
    ForgetLimits {
        /// A key of the project.
        key: String,
        /// The upstream model.
        upstream: String,
    },
}

impl Order {
    /// What is wrong with an order that says how long, where that makes no sense. `text` is the order as it came.
    pub(super) fn pointless_period(&self, text: &str) -> Option<String> {
        let said: serde_json::Value = serde_json::from_str(text).ok()?;
        let read = serde_json::to_value(self).ok()?;
        said.get("for").filter(|_| read.get("for").is_none())?;
        let name = said.get("do").and_then(serde_json::Value::as_str).unwrap_or_default();
        Some(format!("`{name}` holds until it is taken back: leave out `for`"))
    }

    /// The action, in the ids of these settings.
    ///
    /// # Errors
    /// A sentence that says which name is unknown, or which quantity cannot be read.
    pub fn spell(&self, settings: &Settings, now: Timestamp) -> Result<Action, String> {
        Ok(match &self.what {
            What::ClearCooldown { key, upstream, provider } => Action::ClearCooldown {
                scope: scope(settings, key.as_deref(), upstream.as_deref(), provider.as_deref())?,
            },
            What::DrainKey { key, period } => {
                Action::DrainKey { key: key_named(settings, key)?, until: until(now, period.as_deref())? }
            }
            What::RetireKey { key } => Action::RetireKey { key: key_named(settings, key)? },
            What::RestoreKey { key } => Action::RestoreKey { key: key_named(settings, key)? },
            What::SetUsed { key, upstream, requests } => {
                let (project, upstream) = quota(settings, key, upstream)?;
                Action::SetUsed { project, upstream, requests: *requests }
            }
            What::SkipTier { tier, period } => {
                Action::SkipTier { tier: tier_named(settings, tier)?, until: until(now, period.as_deref())? }
            }
            What::PinTier { tier, period } => {
                Action::PinTier { tier: tier_named(settings, tier)?, until: until(now, period.as_deref())? }
            }
            What::FreeTier { tier } => Action::FreeTier { tier: tier_named(settings, tier)? },
            What::StopPaid { period } => Action::StopPaid { until: until(now, period.as_deref())? },
            What::ResumePaid => Action::StopPaid { until: Timestamp::ZERO },
            What::SetBudget { tier, usd } => {
                Action::SetBudget { tier: tier_named(settings, tier)?, budget: amount(*usd)? }
            }
            What::SetClientBudget { client, usd } => {
                let client: ClientId = settings.client_named(client).ok_or_else(|| unknown("client", client))?;
                Action::SetClientBudget { client, budget: amount(*usd)? }
            }
            What::ForgetLimits { key, upstream } => {
                let (project, upstream) = quota(settings, key, upstream)?;
                Action::ForgetLimits { project, upstream }
            }
        })
    }
}

fn scope(
    settings: &Settings,
    key: Option<&str>,
    upstream: Option<&str>,
    provider: Option<&str>,
) -> Result<Scope, String> {
    match (key, upstream, provider) {
        (Some(key), Some(upstream), None) => {
            let (project, upstream) = quota(settings, key, upstream)?;
            Ok(Scope::ProjectModel(project, upstream))
        }
        (Some(key), None, None) => key_named(settings, key).map(Scope::Key),
        (None, Some(upstream), None) => upstream_named(settings, upstream).map(Scope::Upstream),
        (None, None, Some(name)) => {
            let place = settings.providers.iter().position(|provider| provider.name == name);
            let place = place.ok_or_else(|| unknown("provider", name))?;
            Ok(Scope::Provider(ProviderId::new(place as u16)))
        }
        (None, None, None) | (_, _, Some(_)) => {
            Err("name one of: `key`, `upstream`, `key` with `upstream`, `provider`".to_owned())
        }
    }
}

fn quota(settings: &Settings, key: &str, upstream: &str) -> Result<(ProjectId, UpstreamId), String> {
    let key = key_named(settings, key)?;
    Ok((settings.keys[key.index()].project, upstream_named(settings, upstream)?))
}

fn key_named(settings: &Settings, name: &str) -> Result<KeyId, String> {
    let place = settings.keys.iter().position(|key| key.name == name);
    place.map(|place| KeyId::new(place as u32)).ok_or_else(|| unknown("key", name))
}

fn tier_named(settings: &Settings, name: &str) -> Result<TierId, String> {
    settings.tier_named(name).ok_or_else(|| unknown("tier", name))
}

fn upstream_named(settings: &Settings, name: &str) -> Result<UpstreamId, String> {
    let place = settings.upstreams.iter().position(|upstream| upstream.model == name);
    place.map(|place| UpstreamId::new(place as u16)).ok_or_else(|| unknown("upstream model", name))
}

fn until(now: Timestamp, period: Option<&str>) -> Result<Timestamp, String> {
    match period {
        None => Ok(Timestamp::MAX),
        Some(text) => {
            text.parse::<Duration>().map(|period| now + period).map_err(|error| format!("`for` is `{text}`: {error}"))
        }
    }
}

fn amount(usd: f64) -> Result<Usd, String> {
    if usd.is_finite() && (0.0..1e12).contains(&usd) {
        Ok(Usd::from_micros((usd * 1e6) as i64))
    } else {
        Err(format!("{usd} USD is no budget"))
    }
}

fn unknown(kind: &str, name: &str) -> String {
    format!("there is no {kind} `{name}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Fingerprint, Key, Project, Provider, Upstream};

    fn settings() -> Settings {
        Settings {
            providers: vec![Provider { name: "gemini".into() }],
            upstreams: vec![Upstream { provider: ProviderId::new(0), model: "g-pro".into() }],
            projects: vec![Project { name: "p".into(), provider: ProviderId::new(0) }],
            keys: vec![Key { name: "free-01".into(), fingerprint: Fingerprint::default(), project: ProjectId::new(0) }],
            ..Settings::default()
        }
    }

    fn spelt(text: &str) -> Result<Action, String> {
        let order: Order = serde_json::from_str(text).map_err(|error| error.to_string())?;
        order.spell(&settings(), Timestamp::from_nanos(5))
    }

    #[test]
    fn orders_name_things_and_actions_number_them() {
        let hour = Timestamp::from_nanos(5) + Duration::from_secs(3600);
        let (key, upstream) = (KeyId::new(0), UpstreamId::new(0));
        let drain = r#"{"author":"mia","do":"drain-key","key":"free-01","for":"1h"}"#;
        assert_eq!(spelt(drain), Ok(Action::DrainKey { key, until: hour }));
        let clear = r#"{"author":"mia","do":"clear-cooldown","key":"free-01","upstream":"g-pro"}"#;
        let scope = Scope::ProjectModel(ProjectId::new(0), upstream);
        assert_eq!(spelt(clear), Ok(Action::ClearCooldown { scope }));
        let stop = r#"{"author":"mia","do":"stop-paid"}"#;
        assert_eq!(spelt(stop), Ok(Action::StopPaid { until: Timestamp::MAX }));
    }

    #[test]
    fn what_is_unknown_is_named() {
        let unknown = r#"{"author":"mia","do":"retire-key","key":"free-02"}"#;
        assert_eq!(spelt(unknown), Err("there is no key `free-02`".to_owned()));
        let period = r#"{"author":"mia","do":"stop-paid","for":"soon"}"#;
        assert!(spelt(period).is_err_and(|problem| problem.starts_with("`for` is `soon`")));
        let nothing = r#"{"author":"mia","do":"clear-cooldown"}"#;
        assert!(spelt(nothing).is_err_and(|problem| problem.starts_with("name one of")));
        assert!(spelt(r#"{"author":"mia","do":"dance"}"#).is_err());
        let pointless = |text: &str| serde_json::from_str::<Order>(text).expect("an order").pointless_period(text);
        assert!(pointless(r#"{"author":"mia","do":"retire-key","key":"free-01","for":"1h"}"#).is_some());
        assert_eq!(pointless(r#"{"author":"mia","do":"drain-key","key":"free-01","for":"1h"}"#), None);
    }
}
