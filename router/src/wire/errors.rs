//! One answer's status, headers and body, reduced to [`Facts`]: the only way in which an error reaches a decision.
//!
//! Nothing here depends on which provider was asked. Gateways, compatibility endpoints and regional front ends wrap
//! and mix the shapes freely, so every shape is understood everywhere.

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
/// A success without an error in it gives [`Facts::default`]. So does a body that says nothing we know: the status
/// alone then decides.
pub fn facts(status: u16, headers: &impl Headers, body: &[u8], now: WallTime) -> Facts {
    let success = (200..300).contains(&status);
    let body = &body[..body.len().min(BODY_MAX)];
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let envelope = parsed.as_ref().and_then(|body| Envelope::find(body, success));
    if success && envelope.is_none() {
        return Facts::default();
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
