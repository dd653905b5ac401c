//! Google's envelope, `google.rpc.Status`, in the wordings that were seen between April 2025 and 2026.

use serde::Serialize;

use super::{About, Rendered, Surface, Voice, Wording, floor_to_second, names_zero, status_name, statuses};
use crate::core::{Duration, Facts, Reason, Violation, Violations};
use crate::wire::quota::Quota;

const DOMAIN: &str = "generativelanguage.googleapis.com";

/// See [`Voice::tells`].
pub(super) fn tells(voice: Voice, status: u16, facts: Facts) -> Facts {
    let effective = facts.inner_status.unwrap_or(status);
    let reason = reason_told(voice, effective, &facts);
    let mut told = Facts { reason, violations: Violations::default(), retry_after: None, ..facts };
    if effective != 429 || matches!(reason, Some(Reason::AddressThrottled)) {
        return told;
    }
    match voice.surface {
        Surface::Gemini | Surface::GeminiCompat => {
            told.violations = match reason {
                Some(Reason::Overloaded) => Violations::default(),
                Some(_) | None => values_told(voice.wording, facts.violations),
            };
            told.retry_after = delay_told(voice.wording, &told, facts.retry_after);
        }
        Surface::Vertex => match voice.wording {
            Wording::April2025 if facts.violations.requests_minute != Violation::None => {
                told.violations.requests_minute = Violation::Unvalued;
            }
            Wording::April2025 | Wording::Mid2025 | Wording::Late2025 => {}
            Wording::Year2026 => told.retry_after = facts.retry_after,
        },
        Surface::CodeAssist => {
            told.retry_after = if told.reason.is_none() { facts.retry_after } else { None };
        }

        Surface::OpenAi | Surface::Mistral => {}
    }
    told
}

/// The reason, if Google has a sentence for it under this status.
fn reason_told(voice: Voice, status: u16, facts: &Facts) -> Option<Reason> {
    let api_key = matches!(voice.surface, Surface::Gemini | Surface::GeminiCompat);
    if status == 429 && api_key && names_zero(&facts.violations) {
        return Some(Reason::NoFreeTier);
    }
    let reason = facts.reason.filter(|reason| statuses(*reason).contains(&status))?;
    let told = match reason {
        Reason::Overloaded => status == 503 || status == 429 && voice.surface == Surface::CodeAssist,
        Reason::KeyInvalid => status == 400,
        Reason::KeySuspended | Reason::KeyLeaked | Reason::ServiceDisabled => true,
        Reason::NoFreeTier => api_key,
        Reason::ClosedToNewUsers
        | Reason::ModelNotFound
        | Reason::AddressThrottled
        | Reason::ContextWindow
        | Reason::Credential => true,
        Reason::LocationUnsupported => status == 400,
        // A blocked prompt is a 200 without candidates, and money is billed afterwards.
        Reason::ContentBlocked | Reason::OutOfFunds => false,
    };
    told.then_some(reason)
}

/// Limits are told from mid 2025 on.
fn values_told(wording: Wording, mut violations: Violations) -> Violations {
    for quota in Quota::ALL {
        let slot = quota.of_mut(&mut violations);
        *slot = match (wording, *slot) {
            (Wording::April2025, Violation::Limit(_)) => Violation::Unvalued,
            (Wording::April2025 | Wording::Mid2025 | Wording::Late2025 | Wording::Year2026, told) => told,
        };
    }
    violations
}

fn delay_told(wording: Wording, told: &Facts, delay: Option<Duration>) -> Option<Duration> {
    let detailed = told.violations.any() || told.reason.is_some();
    let spent_day = told.violations.any_day() && told.reason.is_none();
    match wording {
        Wording::April2025 if spent_day => None,
        Wording::April2025 | Wording::Mid2025 => delay.filter(|_| detailed).map(floor_to_second),
        Wording::Late2025 | Wording::Year2026 => delay.filter(|_| detailed),
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: Status<'a>,
}

#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Inner>,
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail<'a>>,
}

/// What Code Assist adds, in the manner of Google's older APIs.
#[derive(Serialize)]
struct Inner {
    message: String,
    domain: &'static str,
    reason: &'static str,
}

#[derive(Serialize)]
#[serde(tag = "@type")]
enum Detail<'a> {
    #[serde(rename = "type.googleapis.com/google.rpc.QuotaFailure")]
    QuotaFailure { violations: Vec<QuotaViolation<'a>> },
    #[serde(rename = "type.googleapis.com/google.rpc.Help")]
    Help { links: [Link; 1] },
    #[serde(rename = "type.googleapis.com/google.rpc.RetryInfo", rename_all = "camelCase")]
    RetryInfo { retry_delay: String },
    #[serde(rename = "type.googleapis.com/google.rpc.ErrorInfo")]
    ErrorInfo {
        reason: &'static str,
        domain: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<Metadata>,
    },
    #[serde(rename = "type.googleapis.com/google.rpc.LocalizedMessage")]
    LocalizedMessage { locale: &'static str, message: String },
}

#[derive(Serialize)]
struct Link {
    description: &'static str,
    url: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    service: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QuotaViolation<'a> {
    quota_metric: String,
    quota_id: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota_dimensions: Option<Dimensions<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota_value: Option<String>,
}

#[derive(Serialize)]
struct Dimensions<'a> {
    location: &'static str,
    model: &'a str,
}

/// See [`Voice::render`]; `facts` are what the voice tells.
pub(super) fn render(voice: Voice, status: u16, facts: &Facts, about: About<'_>) -> Rendered {
    let code = facts.inner_status.unwrap_or(status);
    if facts.reason == Some(Reason::AddressThrottled) && facts.inner_status.is_none() {
        let body = "<html><head><title>Sorry...</title></head><body>We're sorry... but your computer or network may be \
                    sending automated queries. To protect our users, we can't process your request right now.</body></html>\n";
        return Rendered {
            status,
            headers: vec![("content-type", "text/html; charset=UTF-8".into())],
            body: body.into(),
        };
    }
    let mut error = Status {
        code,
        message: message(voice, code, facts, about),
        errors: Vec::new(),
        status: match facts.reason {
            Some(Reason::LocationUnsupported) => "FAILED_PRECONDITION",
            Some(_) | None => status_name(code),
        },
        details: details(voice, code, facts, about),
    };
    let array = match voice.surface {
        Surface::CodeAssist => {
            let reason = if code == 429 { "rateLimitExceeded" } else { "backendError" };
            error.errors.push(Inner { message: error.message.clone(), domain: "global", reason });
            true
        }
        Surface::GeminiCompat => true,
        Surface::Gemini | Surface::Vertex | Surface::OpenAi | Surface::Mistral => false,
    };
    let body = Body { error };
    let text = if array { serde_json::to_string_pretty(&[body]) } else { serde_json::to_string_pretty(&body) };
    Rendered {
        status,
        headers: vec![("content-type", "application/json; charset=UTF-8".into())],
        // Only numbers and text inside: serialising cannot fail.
        body: text.unwrap_or_default() + "\n",
    }
}

fn message(voice: Voice, code: u16, facts: &Facts, about: About<'_>) -> String {
    let model = about.model;
    if let Some(reason) = facts.reason {
        return match reason {
            Reason::Overloaded => overloaded(voice).into(),
            Reason::KeyInvalid => "API key not valid. Please pass a valid API key.".into(),
            Reason::KeySuspended => format!("Permission denied: Consumer 'api_key:{}' has been suspended.", about.key),
            Reason::KeyLeaked => "Your API key was reported as leaked. Please use another API key.".into(),
            Reason::NoFreeTier => no_free_tier(voice, facts, about),
            Reason::ClosedToNewUsers => format!("This model models/{model} is no longer available to new users."),
            Reason::ServiceDisabled => "Generative Language API has not been used in project 0 before or it is disabled. \
                Enable it by visiting https://console.developers.google.com/apis/api/generativelanguage.googleapis.com/overview then retry."
                .into(),
            Reason::ModelNotFound => {
                let list = if voice.wording == Wording::Year2026 { "ModelService.ListModels" } else { "ListModels" };
                format!(
                    "models/{model} is not found for API version v1beta, or is not supported for generateContent. \
                     Call {list} to see the list of available models and their supported methods."
                )
            }
            Reason::LocationUnsupported => "User location is not supported for the API use.".into(),
            Reason::AddressThrottled => {
                "We're sorry... but your computer or network may be sending automated queries.".into()
            }
            Reason::ContextWindow => {
                "The input token count exceeds the maximum number of tokens allowed 1048576.".into()
            }
            Reason::Credential if code == 403 => "Method doesn't allow unregistered callers (callers without established \
                identity). Please use API Key or other form of API consumer identity to call this API."
                .into(),
            Reason::Credential => "Request had invalid authentication credentials. Expected OAuth 2 access token, login \
                cookie or other valid authentication credential."
                .into(),
            Reason::OutOfFunds | Reason::ContentBlocked => plain(code).into(),
        };
    }
    match (code, voice.surface) {
        (429, Surface::Vertex) if facts.violations.any() => format!(
            "Quota exceeded for aiplatform.googleapis.com/generate_content_requests_per_minute_per_project_per_base_model \
             with base model: {model}. Please submit a quota increase request."
        ),
        (429, Surface::Vertex) => "Resource exhausted. Please try again later. Please refer to \
            https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more details."
            .into(),
        (429, _) if facts.violations.any() => quota_exceeded(voice, facts, about),
        (_, _) => plain(code).into(),
    }
}

fn overloaded(voice: Voice) -> &'static str {
    match voice.wording {
        Wording::April2025 | Wording::Mid2025 | Wording::Late2025 => "The model is overloaded. Please try again later.",
        Wording::Year2026 => {
            "This model is currently experiencing high demand. Spikes in demand are usually temporary. Please try again later."
        }
    }
}

fn no_free_tier(voice: Voice, facts: &Facts, about: About<'_>) -> String {
    match voice.wording {
        Wording::April2025 | Wording::Mid2025 => "Gemini 2.5 Pro Preview doesn't have a free quota tier. Please use \
            Gemini 2.5 Pro Experimental (models/gemini-2.5-pro-exp-03-25) instead."
            .into(),
        Wording::Late2025 | Wording::Year2026 if names_zero(&facts.violations) => quota_exceeded(voice, facts, about),
        Wording::Late2025 | Wording::Year2026 => {
            format!("{} doesn't have a free quota tier.{}", about.model, retry_sentence(facts))
        }
    }
}

fn quota_exceeded(voice: Voice, facts: &Facts, about: About<'_>) -> String {
    const GENERAL: &str = "You exceeded your current quota, please check your plan and billing details. For more information \
        on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.";
    let monitor = match voice.wording {
        Wording::April2025 => {
            return "You exceeded your current quota. Please migrate to Gemini 2.5 Pro Preview \
                    (models/gemini-2.5-pro-preview-03-25) for higher quota limits."
                .into();
        }
        Wording::Mid2025 => return GENERAL.into(),
        Wording::Late2025 => "https://ai.dev/usage?tab=rate-limit",
        Wording::Year2026 => "https://ai.dev/rate-limit",
    };
    let mut text = format!("{GENERAL} To monitor your current usage, head to: {monitor}. ");
    for quota in Quota::ALL {
        let limit = match quota.of(&facts.violations) {
            Violation::None => continue,
            Violation::Unvalued => String::new(),
            Violation::Limit(limit) => format!("limit: {limit}, "),
        };
        let (_, metric) = names(quota, about.free_tier);
        text += &format!("\n* Quota exceeded for metric: {DOMAIN}/{metric}, {limit}model: {}", about.model);
    }
    text + &retry_sentence(facts)
}

fn retry_sentence(facts: &Facts) -> String {
    facts.retry_after.map(|delay| format!("\nPlease retry in {}.", seconds(delay))).unwrap_or_default()
}

/// What Google says when it says nothing in particular.
fn plain(code: u16) -> &'static str {
    match code {
        401 => "Request is unauthenticated.",
        403 => "The caller does not have permission",
        404 => "Requested entity was not found.",
        429 => "Resource has been exhausted (e.g. check quota).",
        499 => "The operation was cancelled.",
        503 => "The service is currently unavailable.",
        504 => "Deadline expired before operation could complete.",
        400..=498 => "Request contains an invalid argument.",
        _ => "Internal error encountered.",
    }
}

fn details<'a>(voice: Voice, code: u16, facts: &Facts, about: About<'a>) -> Vec<Detail<'a>> {
    let info = |reason, consumer| Detail::ErrorInfo {
        reason,
        domain: "googleapis.com",
        metadata: Some(Metadata { service: DOMAIN, consumer }),
    };
    let localized = |message: String| Detail::LocalizedMessage { locale: "en-US", message };
    if let Some(reason) = facts.reason {
        match reason {
            Reason::KeyInvalid => {
                let text = message(voice, code, facts, about);
                return vec![info("API_KEY_INVALID", None), localized(text)];
            }
            Reason::KeySuspended => {
                let text = message(voice, code, facts, about);
                return vec![info("CONSUMER_SUSPENDED", Some(format!("api_key:{}", about.key))), localized(text)];
            }
            Reason::ServiceDisabled => return vec![help(), info("SERVICE_DISABLED", None)],
            Reason::Credential if code == 401 => return vec![info("ACCESS_TOKEN_TYPE_UNSUPPORTED", None)],
            Reason::Overloaded if voice.surface == Surface::CodeAssist && code == 429 => {
                return vec![Detail::ErrorInfo {
                    reason: "MODEL_CAPACITY_EXHAUSTED",
                    domain: "cloudcode-pa.googleapis.com",
                    metadata: None,
                }];
            }
            Reason::Overloaded
            | Reason::KeyLeaked
            | Reason::NoFreeTier
            | Reason::ClosedToNewUsers
            | Reason::OutOfFunds
            | Reason::ModelNotFound
            | Reason::LocationUnsupported
            | Reason::AddressThrottled
            | Reason::ContextWindow
            | Reason::ContentBlocked
            | Reason::Credential => {}
        }
    }
    let mut details = Vec::new();
    if facts.violations.any() && voice.surface != Surface::Vertex {
        let failure = Detail::QuotaFailure { violations: violations(voice, facts, about) };
        match voice.wording {
            Wording::April2025 | Wording::Mid2025 => details.extend([failure, help()]),
            Wording::Late2025 | Wording::Year2026 => details.extend([help(), failure]),
        }
    }
    details.extend(facts.retry_after.map(|delay| Detail::RetryInfo {
        retry_delay: match voice.wording {
            Wording::April2025 | Wording::Mid2025 => seconds(delay),
            // Rounded down while the sentence keeps the fraction. Where there is no such sentence nothing is lost.
            Wording::Late2025 if facts.violations.any() || facts.reason.is_some() => seconds(floor_to_second(delay)),
            Wording::Late2025 | Wording::Year2026 => seconds(delay),
        },
    }));
    details
}

fn help() -> Detail<'static> {
    Detail::Help {
        links: [Link {
            description: "Learn more about Gemini API quotas",
            url: "https://ai.google.dev/gemini-api/docs/rate-limits",
        }],
    }
}

fn violations<'a>(voice: Voice, facts: &Facts, about: About<'a>) -> Vec<QuotaViolation<'a>> {
    let violation = |quota: Quota| {
        let limit = match quota.of(&facts.violations) {
            Violation::None => return None,
            Violation::Unvalued => None,
            Violation::Limit(limit) => Some(limit),
        };
        let (quota_id, metric) = names(quota, about.free_tier);
        Some(QuotaViolation {
            quota_metric: format!("{DOMAIN}/{metric}"),
            quota_id,
            quota_dimensions: (voice.wording != Wording::April2025)
                .then_some(Dimensions { location: "global", model: about.model }),
            // A limit of zero is left out here; only the sentence has it, from late 2025 on.
            quota_value: limit
                .filter(|limit| *limit > 0 || voice.wording == Wording::Mid2025)
                .map(|limit| limit.to_string()),
        })
    };
    Quota::ALL.into_iter().filter_map(violation).collect()
}

/// `quotaId` and the last part of `quotaMetric`.
fn names(quota: Quota, free_tier: bool) -> (&'static str, &'static str) {
    match (quota, free_tier) {
        (Quota::RequestsMinute, true) => {
            ("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "generate_content_free_tier_requests")
        }
        (Quota::RequestsDay, true) => {
            ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "generate_content_free_tier_requests")
        }
        (Quota::TokensMinute, true) => {
            ("GenerateContentInputTokensPerModelPerMinute-FreeTier", "generate_content_free_tier_input_token_count")
        }
        (Quota::TokensDay, true) => {
            ("GenerateContentInputTokensPerModelPerDay-FreeTier", "generate_content_free_tier_input_token_count")
        }
        (Quota::RequestsMinute, false) => {
            ("GenerateRequestsPerMinutePerProjectPerModel", "generate_requests_per_model")
        }
        (Quota::RequestsDay, false) => {
            ("GenerateRequestsPerDayPerProjectPerModel", "generate_requests_per_model_per_day")
        }
        (Quota::TokensMinute, false) => {
            ("GenerateContentPaidTierInputTokensPerModelPerMinute", "generate_content_paid_tier_input_token_count")
        }
        (Quota::TokensDay, false) => {
            ("GenerateContentPaidTierInputTokensPerModelPerDay", "generate_content_paid_tier_input_token_count")
        }
    }
}

/// A protobuf duration: seconds with as many decimals as it takes.
fn seconds(delay: Duration) -> String {
    let (whole, nanos) = (delay.as_nanos() / 1_000_000_000, delay.as_nanos() % 1_000_000_000);
    if nanos == 0 {
        return format!("{whole}s");
    }
    format!("{whole}.{}s", format!("{nanos:09}").trim_end_matches('0'))
}
