//! OpenAI's envelope and Mistral's flat one.

use serde::Serialize;

use super::{About, Rendered, Surface, Voice, Wording, names_zero, statuses};
use crate::core::{Duration, Facts, Reason, Violation, Violations};
use crate::wire::quota::Quota;

/// See [`Voice::tells`].
pub(super) fn tells(voice: Voice, status: u16, facts: Facts) -> Facts {
    let inner_status = facts.inner_status.and_then(|inner| in_stream(voice, inner));
    let effective = inner_status.unwrap_or(status);
    let in_event = inner_status.is_some();
    let reason = facts.reason.filter(|reason| {
        let sayable = match voice.surface {
            Surface::OpenAi => open_ai(*reason, "").is_some(),
            Surface::Mistral => mistral(*reason, "").is_some() && voice.wording != Wording::April2025,
            Surface::Gemini | Surface::GeminiCompat | Surface::Vertex | Surface::CodeAssist => false,
        };
        let labelled = voice.surface != Surface::OpenAi || !in_event || status_of(*reason) == Some(effective);
        sayable && labelled && statuses(*reason).contains(&effective)
    });
    let nameable = effective == 429 && reason.is_none();
    let violations = match voice.surface {
        Surface::OpenAi if nameable => first(facts.violations),
        // In headers, which an event in a stream has no more.
        Surface::Mistral if nameable && !in_event => Violations {
            requests_minute: facts.violations.requests_minute,
            tokens_minute: facts.violations.tokens_minute,
            ..Violations::default()
        },
        Surface::OpenAi | Surface::Mistral => Violations::default(),
        Surface::Gemini | Surface::GeminiCompat | Surface::Vertex | Surface::CodeAssist => Violations::default(),
    };
    // A limit of zero is a reason by itself, whoever says it.
    let reason = if names_zero(&violations) { Some(Reason::NoFreeTier) } else { reason };
    Facts {
        inner_status,
        retry_after: facts.retry_after.filter(|_| !in_event && matches!(effective, 429 | 503)),
        violations,
        reason,
    }
}

/// The status as an event inside a stream can say it: OpenAI's has only labels, Mistral's early one has nothing.
fn in_stream(voice: Voice, inner: u16) -> Option<u16> {
    match voice.surface {
        Surface::Mistral if voice.wording == Wording::April2025 => None,
        Surface::OpenAi => Some(match inner {
            401 | 403 | 404 | 429 | 503 => inner,
            400..=499 => 400,
            _ => 500,
        }),
        Surface::Mistral | Surface::Gemini | Surface::GeminiCompat | Surface::Vertex | Surface::CodeAssist => {
            Some(inner)
        }
    }
}

/// The status that OpenAI's labels for a reason imply, where there is no other.
fn status_of(reason: Reason) -> Option<u16> {
    match reason {
        Reason::ContextWindow | Reason::ContentBlocked => Some(400),
        Reason::KeyInvalid | Reason::Credential => Some(401),
        Reason::LocationUnsupported => Some(403),
        Reason::ModelNotFound => Some(404),
        Reason::OutOfFunds => Some(429),
        Reason::Overloaded => Some(503),
        Reason::KeySuspended
        | Reason::KeyLeaked
        | Reason::NoFreeTier
        | Reason::ClosedToNewUsers
        | Reason::ServiceDisabled
        | Reason::AddressThrottled => None,
    }
}

/// One error names one quota: the first violated one.
fn first(violations: Violations) -> Violations {
    let mut one = Violations::default();
    if let Some(quota) = Quota::ALL.into_iter().find(|quota| quota.of(&violations) != Violation::None) {
        *quota.of_mut(&mut one) = quota.of(&violations);
    }
    one
}

#[derive(Serialize)]
struct Body {
    error: Inner,
}

#[derive(Serialize)]
struct Inner {
    message: String,
    r#type: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

/// Mistral's body since mid 2025.
#[derive(Serialize)]
struct Flat {
    object: &'static str,
    message: String,
    r#type: &'static str,
    param: Option<&'static str>,
    code: &'static str,
    raw_status_code: u16,
}

/// Mistral's body before.
#[derive(Serialize)]
struct Bare {
    message: String,
}

/// See [`Voice::render`]; `facts` are what the voice tells.
pub(super) fn render(voice: Voice, status: u16, facts: &Facts, about: About<'_>) -> Rendered {
    let code = facts.inner_status.unwrap_or(status);
    let mut headers = vec![("content-type", "application/json".to_owned())];
    if let Some(delay) = facts.retry_after {
        headers.push(("retry-after", delay.as_secs_ceil().to_string()));
        if !delay.as_nanos().is_multiple_of(1_000_000_000) {
            headers.push(("retry-after-ms", millis(delay)));
        }
    }
    let body = match voice.surface {
        Surface::Mistral => {
            mistral_headers(facts, &mut headers);
            mistral_body(voice, code, facts, about)
        }
        Surface::OpenAi | Surface::Gemini | Surface::GeminiCompat | Surface::Vertex | Surface::CodeAssist => {
            let (message, r#type, code) = match facts.reason.and_then(|reason| open_ai(reason, about.model)) {
                Some(said) => said,
                None => plain(code, facts, about.model),
            };
            serde_json::to_string_pretty(&Body { error: Inner { message, r#type, param: None, code } })
        }
    };
    // Only numbers and text inside: serialising cannot fail.
    Rendered { status, headers, body: body.unwrap_or_default() }
}

fn mistral_headers(facts: &Facts, headers: &mut Vec<(&'static str, String)>) {
    for (violation, remaining, limit) in [
        (facts.violations.requests_minute, "x-ratelimit-remaining-req-minute", "x-ratelimit-limit-req-minute"),
        (facts.violations.tokens_minute, "x-ratelimit-remaining-tokens-minute", "x-ratelimit-limit-tokens-minute"),
    ] {
        match violation {
            Violation::None => continue,
            Violation::Unvalued => {}
            Violation::Limit(value) => headers.push((limit, value.to_string())),
        }
        headers.push((remaining, "0".into()));
    }
}

fn mistral_body(voice: Voice, status: u16, facts: &Facts, about: About<'_>) -> serde_json::Result<String> {
    let (message, r#type, code) = match facts.reason.and_then(|reason| mistral(reason, about.model)) {
        Some(said) => said,
        None => match (status, voice.wording) {
            (429, Wording::April2025) => ("Requests rate limit exceeded".into(), "rate_limited", "1300"),
            (429, Wording::Mid2025 | Wording::Late2025 | Wording::Year2026) => {
                ("Rate limit exceeded".into(), "rate_limited", "1300")
            }
            (401, _) => ("Unauthorized".into(), "unauthorized", "1000"),
            (400..=499, _) => ("Invalid request".into(), "invalid_request_body", "1501"),
            (_, _) => ("Internal server error".into(), "internal_error", "3000"),
        },
    };
    match voice.wording {
        Wording::April2025 => serde_json::to_string(&Bare { message }),
        Wording::Mid2025 | Wording::Late2025 | Wording::Year2026 => serde_json::to_string(&Flat {
            object: "error",
            message,
            r#type,
            param: None,
            code,
            raw_status_code: status,
        }),
    }
}

/// Message, `type` and `code`.
type Said<C> = (String, &'static str, C);

fn open_ai(reason: Reason, model: &str) -> Option<Said<Option<&'static str>>> {
    Some(match reason {
        Reason::Overloaded => ("The model is overloaded. Please try again later.".into(), "overloaded_error", None),
        Reason::KeyInvalid => ("Incorrect API key provided.".into(), "invalid_request_error", Some("invalid_api_key")),
        Reason::OutOfFunds => (
            "You exceeded your current quota, please check your plan and billing details.".into(),
            "insufficient_quota",
            Some("insufficient_quota"),
        ),
        Reason::ModelNotFound => (
            format!("The model `{model}` does not exist or you do not have access to it."),
            "invalid_request_error",
            Some("model_not_found"),
        ),
        Reason::ContextWindow => (
            "This model's maximum context length is 128000 tokens.".into(),
            "invalid_request_error",
            Some("context_length_exceeded"),
        ),
        Reason::ContentBlocked => (
            "Your request was rejected by the safety system.".into(),
            "invalid_request_error",
            Some("content_policy_violation"),
        ),
        Reason::LocationUnsupported => (
            "Country, region, or territory not supported".into(),
            "request_forbidden",
            Some("unsupported_country_region_territory"),
        ),
        Reason::Credential => ("You didn't provide an API key.".into(), "authentication_error", None),
        Reason::KeySuspended
        | Reason::KeyLeaked
        | Reason::NoFreeTier
        | Reason::ClosedToNewUsers
        | Reason::ServiceDisabled
        | Reason::AddressThrottled => return None,
    })
}

fn mistral(reason: Reason, model: &str) -> Option<Said<&'static str>> {
    Some(match reason {
        Reason::Overloaded => {
            ("Service tier capacity exceeded for this model.".into(), "service_tier_capacity_exceeded", "3505")
        }
        Reason::ModelNotFound => (format!("Invalid model: {model}"), "invalid_model", "1500"),
        Reason::ContextWindow => (
            "Prompt contains too many tokens: too large for model with 131072 maximum context length".into(),
            "invalid_request_message_order",
            "3051",
        ),
        Reason::KeyInvalid
        | Reason::KeySuspended
        | Reason::KeyLeaked
        | Reason::NoFreeTier
        | Reason::ClosedToNewUsers
        | Reason::ServiceDisabled
        | Reason::OutOfFunds
        | Reason::LocationUnsupported
        | Reason::AddressThrottled
        | Reason::ContentBlocked
        | Reason::Credential => return None,
    })
}

fn plain(status: u16, facts: &Facts, model: &str) -> Said<Option<&'static str>> {
    match status {
        401 => ("Authentication failed.".into(), "authentication_error", None),
        403 => ("Permission denied.".into(), "permission_error", None),
        404 => ("Not found.".into(), "not_found_error", None),
        429 => (rate_limited(facts, model), "requests", Some("rate_limit_exceeded")),
        503 => ("The server had a problem. Please retry.".into(), "service_unavailable", None),
        400..=499 => ("Invalid request.".into(), "invalid_request_error", None),
        _ => ("The server had an error while processing your request.".into(), "server_error", None),
    }
}

fn rate_limited(facts: &Facts, model: &str) -> String {
    for (quota, name) in [
        (Quota::RequestsMinute, "requests per min (RPM)"),
        (Quota::RequestsDay, "requests per day (RPD)"),
        (Quota::TokensMinute, "tokens per min (TPM)"),
        (Quota::TokensDay, "tokens per day (TPD)"),
    ] {
        let limit = match quota.of(&facts.violations) {
            Violation::None => continue,
            Violation::Unvalued => String::new(),
            Violation::Limit(limit) => format!(": Limit {limit}"),
        };
        return format!("Rate limit reached for {model} in organization org-0 on {name}{limit}.");
    }
    format!("Rate limit reached for {model}.")
}

/// Milliseconds with as many decimals as it takes.
fn millis(delay: Duration) -> String {
    let (whole, nanos) = (delay.as_nanos() / 1_000_000, delay.as_nanos() % 1_000_000);
    format!("{whole}.{nanos:06}").trim_end_matches('0').trim_end_matches('.').to_owned()
}
