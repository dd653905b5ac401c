//! LiteLLM's router settings under the names of its `config.yaml`, as far as the emulation reads them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stormproof_router::core::{Duration, Settings};
use thiserror::Error;

use super::failure::Kind;
use super::version::Version;

/// The settings of one emulated router. Names, meanings and defaults are LiteLLM's; what it does not have is marked.
///
/// A *group* is a model of the [`Settings`] with the deployments of its first tier. Later tiers are never used:
/// fallbacks are only those that stand here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Which release. (Not LiteLLM's: a comparison names it as its `router`.)
    #[serde(rename = "router")]
    pub version: Version,
    /// How long a deployment is benched.
    pub cooldown_time: Seconds,
    /// Whether nothing is ever benched.
    pub disable_cooldowns: bool,
    /// Failures that a deployment may have before it is benched; replaces the percent rule.
    pub allowed_fails: Option<u32>,
    /// The same by exception.
    pub allowed_fails_policy: Option<AllowedFailsPolicy>,
    /// Attempts in one group after the first.
    pub num_retries: u32,
    /// Attempts after the first, by exception.
    pub retry_policy: Option<RetryPolicy>,
    /// The same for one group, by its name; wins over `retry_policy`.
    pub model_group_retry_policy: BTreeMap<String, RetryPolicy>,
    /// Shortest pause before a retry that pauses at all.
    pub retry_after: Seconds,
    /// Which groups are tried, in order, when this group has failed.
    pub fallbacks: BTreeMap<String, Vec<String>>,
    /// The same for every group that has no entry in `fallbacks`.
    pub default_fallbacks: Vec<String>,
    /// The same when the prompt did not fit.
    pub context_window_fallbacks: BTreeMap<String, Vec<String>>,
    /// The same when a safety rule blocked the answer.
    pub content_policy_fallbacks: BTreeMap<String, Vec<String>>,
    /// Depth at which fallbacks of fallbacks end.
    pub max_fallbacks: u32,
    /// Limit on one attempt.
    pub timeout: Seconds,
    /// Limit on the silence of a stream; `timeout` when not set.
    pub stream_timeout: Option<Seconds>,
    /// What stands under `litellm_params` of every deployment of a group, by the group's name.
    pub litellm_params: BTreeMap<String, LiteLlmParams>,
    /// `model_info.id` of a deployment, by its key's name; made up from the key's fingerprint otherwise. It stands in
    /// error texts only.
    pub deployment_ids: BTreeMap<String, String>,
    /// Providers that LiteLLM reaches through the OpenAI SDK, by name: the SDK retries underneath, streams are opened
    /// eagerly, and a `Retry-After` header is seen. (Not LiteLLM's: there it follows from the model's prefix.)
    pub openai_like: Vec<String>,
    /// Whether 1.66's habit of quoting its own error texts in the next ones, until it hangs, is emulated. (Not LiteLLM's.)
    pub feedback_loop: bool,
}

/// Settings of a group's deployments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LiteLlmParams {
    /// How long such a deployment is benched.
    pub cooldown_time: Option<Seconds>,
}

/// Attempts after the first, by exception.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
pub struct RetryPolicy {
    /// 400.
    pub bad_request_error_retries: Option<u32>,
    /// 401.
    pub authentication_error_retries: Option<u32>,
    /// 408 and every timeout.
    pub timeout_error_retries: Option<u32>,
    /// 429.
    pub rate_limit_error_retries: Option<u32>,
    /// A safety rule.
    pub content_policy_violation_error_retries: Option<u32>,
    /// 404; 1.66 does not know it.
    pub not_found_error_retries: Option<u32>,
    /// 500, and Gemini's overload; 1.66 never reads it.
    pub internal_server_error_retries: Option<u32>,
    /// 503; 1.66 does not know it.
    pub service_unavailable_error_retries: Option<u32>,
    /// Every other exception; 1.66 does not know it.
    pub default_retries: Option<u32>,
}

/// Failures that a deployment may have before it is benched, by exception.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
pub struct AllowedFailsPolicy {
    /// 400.
    pub bad_request_error_allowed_fails: Option<u32>,
    /// 401.
    pub authentication_error_allowed_fails: Option<u32>,
    /// 408 and every timeout.
    pub timeout_error_allowed_fails: Option<u32>,
    /// 429.
    pub rate_limit_error_allowed_fails: Option<u32>,
    /// A safety rule.
    pub content_policy_violation_error_allowed_fails: Option<u32>,
    /// 404; 1.66 does not know it.
    pub not_found_error_allowed_fails: Option<u32>,
    /// 500, and Gemini's overload; 1.66 never reads it.
    pub internal_server_error_allowed_fails: Option<u32>,
    /// 503; 1.66 does not know it.
    pub service_unavailable_error_allowed_fails: Option<u32>,
    /// 502; 1.66 does not know it.
    pub bad_gateway_error_allowed_fails: Option<u32>,
}

/// A length of time that files give as a number of seconds, or as people write it: `2000`, `0.5`, `33m20s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Duration);

/// A model that options name and settings do not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{option}` names `{model}`, but there is no such model; there are {known}")]
pub struct UnknownModel {
    /// Where it stands.
    pub option: &'static str,
    /// What it names.
    pub model: String,
    /// What it may name.
    pub known: String,
}

impl Options {
    /// The defaults of one release.
    pub fn new(version: Version) -> Self {
        Self {
            version,
            cooldown_time: Seconds(Duration::from_secs(5)),
            disable_cooldowns: false,
            allowed_fails: None,
            allowed_fails_policy: None,
            num_retries: 2,
            retry_policy: None,
            model_group_retry_policy: BTreeMap::new(),
            retry_after: Seconds::default(),
            fallbacks: BTreeMap::new(),
            default_fallbacks: Vec::new(),
            context_window_fallbacks: BTreeMap::new(),
            content_policy_fallbacks: BTreeMap::new(),
            max_fallbacks: 5,
            timeout: Seconds(Duration::from_secs(6000)),
            stream_timeout: None,
            litellm_params: BTreeMap::new(),
            deployment_ids: BTreeMap::new(),
            openai_like: ["mistral", "openai"].map(str::to_owned).to_vec(),
            feedback_loop: true,
        }
    }

    /// Every model that these options name and `settings` do not have.
    pub fn unknown_models(&self, settings: &Settings) -> Vec<UnknownModel> {
        let maps = [
            ("fallbacks", &self.fallbacks),
            ("context_window_fallbacks", &self.context_window_fallbacks),
            ("content_policy_fallbacks", &self.content_policy_fallbacks),
        ];
        let listed = maps.into_iter().flat_map(|(option, map)| {
            map.iter().flat_map(move |(from, to)| {
                let from = Some(from).filter(|name| *name != "*");
                from.into_iter().chain(to).map(move |name| (option, name))
            })
        });
        let defaults = self.default_fallbacks.iter().map(|name| ("default_fallbacks", name));
        let policies = self.model_group_retry_policy.keys().map(|name| ("model_group_retry_policy", name));
        let params = self.litellm_params.keys().map(|name| ("litellm_params", name));
        let mut unknown: Vec<UnknownModel> = listed
            .chain(defaults)
            .chain(policies)
            .chain(params)
            .filter(|(_, name)| settings.model_named(name).is_none())
            .map(|(option, name)| UnknownModel { option, model: name.clone(), known: known_models(settings) })
            .collect();
        unknown.dedup();
        unknown
    }
}

/// The models of `settings` as a message lists them.
fn known_models(settings: &Settings) -> String {
    let names: Vec<String> = settings.models.iter().map(|model| format!("`{}`", model.name)).collect();
    names.join(", ")
}

impl Default for Options {
    fn default() -> Self {
        Self::new(Version::default())
    }
}

impl RetryPolicy {
    /// Retries after this exception, where the policy says.
    pub(super) fn retries(&self, kind: Kind) -> Option<u32> {
        match kind {
            Kind::BadRequest => self.bad_request_error_retries,
            Kind::Authentication => self.authentication_error_retries,
            Kind::Timeout => self.timeout_error_retries,
            Kind::RateLimit => self.rate_limit_error_retries,
            Kind::ContentPolicy => self.content_policy_violation_error_retries,
            Kind::NotFound => self.not_found_error_retries,
            Kind::InternalServer => self.internal_server_error_retries,
            Kind::ServiceUnavailable => self.service_unavailable_error_retries,
            Kind::BadGateway | Kind::ContextWindow | Kind::Connection | Kind::Other | Kind::NoDeployments => None,
        }
    }
}

impl AllowedFailsPolicy {
    /// Failures with this exception that are allowed, where the policy says.
    pub(super) fn allowed(&self, kind: Kind) -> Option<u32> {
        match kind {
            Kind::BadRequest => self.bad_request_error_allowed_fails,
            Kind::Authentication => self.authentication_error_allowed_fails,
            Kind::Timeout => self.timeout_error_allowed_fails,
            Kind::RateLimit => self.rate_limit_error_allowed_fails,
            Kind::ContentPolicy => self.content_policy_violation_error_allowed_fails,
            Kind::NotFound => self.not_found_error_allowed_fails,
            Kind::InternalServer => self.internal_server_error_allowed_fails,
            Kind::ServiceUnavailable => self.service_unavailable_error_allowed_fails,
            Kind::BadGateway => self.bad_gateway_error_allowed_fails,
            Kind::ContextWindow | Kind::Connection | Kind::Other | Kind::NoDeployments => None,
        }
    }
}

impl From<Duration> for Seconds {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(&self.0) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(SecondsVisitor)
        } else {
            Duration::deserialize(deserializer).map(Self)
        }
    }
}

struct SecondsVisitor;

impl Visitor<'_> for SecondsVisitor {
    type Value = Seconds;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds, or a duration such as `5s` or `33m20s`")
    }

    fn visit_u64<E: de::Error>(self, secs: u64) -> Result<Seconds, E> {
        Ok(Seconds(Duration::from_secs(secs)))
    }

    fn visit_i64<E: de::Error>(self, secs: i64) -> Result<Seconds, E> {
        match u64::try_from(secs) {
            Ok(secs) => self.visit_u64(secs),
            Err(_negative) => Err(E::invalid_value(de::Unexpected::Signed(secs), &self)),
        }
    }

    fn visit_f64<E: de::Error>(self, secs: f64) -> Result<Seconds, E> {
        if secs.is_finite() && secs >= 0.0 {
            Ok(Seconds(Duration::from_secs_f64(secs)))
        } else {
            Err(E::invalid_value(de::Unexpected::Float(secs), &self))
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Seconds, E> {
        text.parse().map(Seconds).map_err(|_unreadable| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl JsonSchema for Seconds {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Seconds")
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of seconds, or a duration such as `350ms`, `18s`, `2m30s`",
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_read_as_a_scenario_writes_them() {
        let text = r#"{"router": "litellm-1.109", "cooldown_time": 2000, "retry_after": "1.5s", "allowed_fails": 1,
            "fallbacks": {"a": ["b"]}, "retry_policy": {"RateLimitErrorRetries": 4, "DefaultRetries": 1},
            "allowed_fails_policy": {"TimeoutErrorAllowedFails": 2}, "litellm_params": {"a": {"cooldown_time": 0.5}}}"#;
        let options: Options = serde_json::from_str(text).expect("it is well formed");
        assert_eq!(options.version, Version::V1_109);
        assert_eq!(options.cooldown_time, Seconds(Duration::from_secs(2000)));
        assert_eq!(options.retry_after, Seconds(Duration::from_millis(1500)));
        assert_eq!(options.litellm_params["a"].cooldown_time, Some(Seconds(Duration::from_millis(500))));
        let policy = options.retry_policy.as_ref().expect("it is set");
        assert_eq!([Kind::RateLimit, Kind::Timeout].map(|kind| policy.retries(kind)), [Some(4), None]);
        assert_eq!((policy.default_retries, options.num_retries, options.max_fallbacks), (Some(1), 2, 5));
        let again = serde_json::to_string(&options).expect("it can be written");
        assert_eq!(serde_json::from_str::<Options>(&again).expect("and read again"), options);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (text, complaint) in [
            (r#"{"cooldown_tim": 5}"#, "unknown field `cooldown_tim`"),
            (r#"{"retry_policy": {"RateLimitRetries": 5}}"#, "unknown field `RateLimitRetries`"),
            (r#"{"router": "litellm-2"}"#, "unknown variant `litellm-2`"),
            (r#"{"cooldown_time": -1}"#, "expected a number of seconds, or a duration such as `5s` or `33m20s`"),
            (r#"{"cooldown_time": "soon"}"#, "expected a number of seconds, or a duration such as `5s` or `33m20s`"),
        ] {
            let error = serde_json::from_str::<Options>(text).expect_err(text).to_string();
            assert!(error.contains(complaint), "{error}");
        }
    }

    #[test]
    fn models_that_do_not_exist_are_named() {
        let settings = Settings::default();
        let mut options = Options::new(Version::V1_66);
        options.fallbacks.insert("*".to_owned(), vec!["b".to_owned()]);
        options.default_fallbacks.push("c".to_owned());
        let unknown: Vec<(&str, String)> =
            options.unknown_models(&settings).into_iter().map(|unknown| (unknown.option, unknown.model)).collect();
        assert_eq!(unknown, [("fallbacks", "b".to_owned()), ("default_fallbacks", "c".to_owned())]);
    }
}
