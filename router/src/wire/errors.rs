//! One answer's status, headers and body, reduced to [`Facts`]: the only way in which an error reaches a decision.
//!
//! Nothing here depends on which provider was asked. Gateways, compatibility endpoints and regional front ends wrap
//! and mix the shapes freely, so every shape is understood everywhere.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde_json::Value;

use super::envelope::{BODY_MAX, Envelope};
use super::{quota, reasons, retry_after};
use crate::core::{Duration, Facts, Reason, WallTime};

/// Access to an answer's headers, whatever the driver keeps them in.
pub trait Headers {
    /// The first value of the header with this lower-case name, if there is one and it is text.
    fn value(&self, name: &str) -> Option<&str>;
}

impl<N: AsRef<str>, V: AsRef<str>> Headers for [(N, V)] {
    fn value(&self, name: &str) -> Option<&str> {
        self.iter().find(|(own, _)| own.as_ref().eq_ignore_ascii_case(name)).map(|(_, value)| value.as_ref())
    }
}

impl<N: AsRef<str>, V: AsRef<str>, const COUNT: usize> Headers for [(N, V); COUNT] {
    fn value(&self, name: &str) -> Option<&str> {
        self.as_slice().value(name)
    }
}

impl<N: AsRef<str>, V: AsRef<str>> Headers for Vec<(N, V)> {
    fn value(&self, name: &str) -> Option<&str> {
        self.as_slice().value(name)
    }
}

#[cfg(feature = "proxy")]
impl Headers for http::HeaderMap {
    fn value(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str().ok()
    }
}

/// What an answer says. `status` is HTTP's; for an error event inside a stream it is the stream's 200, and the
/// event's own status is reported as [`Facts::inner_status`]. `now` is needed for a `Retry-After` that is a date.
///
/// A success without an error in it gives [`Facts::default`], unless a safety rule held the whole of it back: providers
/// answer such a prompt with a 200 that holds no answer. A body that says nothing we know gives it too: the status alone
/// then decides.
pub fn facts(status: u16, headers: &impl Headers, body: &[u8], now: WallTime) -> Facts {
    let success = (200..300).contains(&status);
    let body = &body[..body.len().min(BODY_MAX)];
    if success && !may_say_something(body) {
        return Facts::default();
    }
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let envelope = parsed.as_ref().and_then(|body| Envelope::find(body, success));
    if success && envelope.is_none() {
        let reason = parsed.as_ref().is_some_and(is_blocked).then_some(Reason::ContentBlocked);
        return Facts { reason, ..Facts::default() };
    }
    let raw = match &parsed {
        Some(_) => "".into(),
        None => String::from_utf8_lossy(body),
    };
    let message = envelope.map_or(&*raw, Envelope::message);
    let inner = envelope.and_then(|envelope| inner_status(envelope, success));
    let effective = inner.unwrap_or(status);

    let said = if effective == 429 { quota::said(envelope, message, headers) } else { quota::Said::default() };
    let reason = if said.zero { Some(Reason::NoFreeTier) } else { reasons::reason(effective, envelope, message) };
    Facts {
        inner_status: inner.filter(|inner| *inner != status),
        violations: said.violations,
        retry_after: retry_after(envelope, message, effective, headers, now),
        reason,
    }
}

/// Whether a success has to be read for what is wrong in it. All that could be wrong has one of these words for a member
/// or a value, and answers without any of them are by far the most; in the others they may be part of the text.
fn may_say_something(body: &[u8]) -> bool {
    static WORDS: LazyLock<[Finder<'static>; 3]> =
        LazyLock::new(|| ["\"error\"", "\"blockReason\"", "\"content_filter\""].map(Finder::new));
    WORDS.iter().any(|word| word.find(body).is_some())
}

/// Whether a success holds nothing because a safety rule blocked the prompt: Gemini sends no candidates and says why,
/// OpenAI's followers send an empty message that ends with `content_filter`.
fn is_blocked(body: &Value) -> bool {
    let is_empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(_) | Value::Bool(_) | Value::Number(_)) => false,
    };
    let reason = body.pointer("/promptFeedback/blockReason");
    if reason.and_then(Value::as_str).is_some_and(|reason| reason != "BLOCK_REASON_UNSPECIFIED") {
        return is_empty(body.get("candidates"));
    }
    let Some(choices) = body.get("choices").and_then(Value::as_array) else { return false };
    let held_back = |choice: &Value| {
        let message = choice.get("message").or_else(|| choice.get("delta"));
        let says = |name| !is_empty(message.and_then(|message| message.get(name)));
        choice.get("finish_reason").and_then(Value::as_str) == Some("content_filter")
            && !says("content")
            && !says("tool_calls")
    };
    !choices.is_empty() && choices.iter().all(held_back)
}

/// The status that the body claims. Inside a 200 an OpenAI-style event has no number, so its label must do.
fn inner_status(envelope: Envelope<'_>, success: bool) -> Option<u16> {
    let by_label = || {
        envelope.labels().find_map(|label| match label {
            "invalid_request_error" => Some(400),
            "authentication_error" | "invalid_api_key" => Some(401),
            "permission_error" | "request_forbidden" => Some(403),
            "not_found_error" | "model_not_found" => Some(404),
            "rate_limit_exceeded"
            | "rate_limit_error"
            | "rate_limited"
            | "insufficient_quota"
            | "tokens"
            | "requests" => Some(429),
            "server_error" | "api_error" | "internal_server_error" => Some(500),
            "service_unavailable" | "service_unavailable_error" | "overloaded_error" => Some(503),
            "timeout" | "timeout_error" => Some(504),
            _ => None,
        })
    };
    envelope.status().or_else(|| if success { by_label() } else { None })
}

fn retry_after(
    envelope: Option<Envelope<'_>>,
    message: &str,
    status: u16,
    headers: &impl Headers,
    now: WallTime,
) -> Option<Duration> {
    let retry_info = envelope
        .into_iter()
        .flat_map(|envelope| envelope.details("google.rpc.RetryInfo"))
        .find_map(|detail| retry_after::from_retry_info(detail.get("retryDelay")?.as_str()?));
    // Only these statuses ask for patience in words; in others the words may be the client's.
    let sentence = if matches!(status, 429 | 503) { retry_after::from_message(message) } else { None };
    let header = || {
        let millis = headers.value("retry-after-ms").and_then(retry_after::from_millis_header);
        millis.or_else(|| headers.value("retry-after").and_then(|text| retry_after::from_header(text, now)))
    };
    match retry_info {
        Some(_) => retry_after::from_body(retry_info, sentence),
        None => header().or(sentence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(body: &str) -> Option<Reason> {
        facts(200, &[("", ""); 0], body.as_bytes(), WallTime::default()).reason
    }

    #[test]
    fn a_success_without_an_answer_says_that_the_prompt_was_blocked() {
        let gemini =
            r#"{"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 4}}"#;
        let chat = r#"{"choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "content_filter"}]}"#;
        let chunk = r#"{"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": "content_filter"}]}"#;
        for blocked in [gemini, chat, chunk] {
            assert_eq!(reason(blocked), Some(Reason::ContentBlocked), "{blocked}");
        }
    }

    #[test]
    fn what_was_answered_is_an_answer_however_it_ended() {
        let rated = r#"{"promptFeedback": {"safetyRatings": []}, "candidates": [{"finishReason": "STOP"}]}"#;
        let held_back = r#"{"candidates": [{"content": {}, "finishReason": "SAFETY"}]}"#;
        let both = r#"{"promptFeedback": {"blockReason": "OTHER"}, "candidates": [{"finishReason": "STOP"}]}"#;
        let begun = r#"{"choices": [{"message": {"content": "It is"}, "finish_reason": "content_filter"}]}"#;
        let called = r#"{"choices": [{"message": {"tool_calls": [{"id": "a"}]}, "finish_reason": "content_filter"}]}"#;
        let usage = r#"{"choices": [], "usage": {"prompt_tokens": 4}}"#;
        for answered in [rated, held_back, both, begun, called, usage, "{}", "[]", "7"] {
            assert_eq!(reason(answered), None, "{answered}");
        }
    }
}
