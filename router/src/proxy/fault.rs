//! Errors of our own, in the words of the client's dialect.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;

use super::body::Body;
use crate::core::Duration;

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    /// `{"error": {"message", "type", "param", "code"}}`
    OpenAi,
    /// `{"error": {"code", "message", "status", "details"}}`
    Gemini,
}

/// Something that a client is told instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The HTTP status.
    pub(super) status: u16,
    /// A short label for programs, as OpenAI's `code`.
    pub(super) code: &'static str,
    /// A sentence for people. It holds no secret.
    pub(super) message: String,
    /// When a repeat makes sense.
    pub(super) retry: Retry,
}

/// When a repeat makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// Nothing is said about it.
    Unsaid,
    /// After this time; the client's library may well do it.
    After(Duration),
    /// After this time, which is longer than a library waits.
    Later(Duration),
    /// Never, as it stands.
    Never,
}

impl Fault {
    /// A fault about which nothing is to be said but its status and a sentence.
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry: Retry::Unsaid }
    }

    /// The request is not understood.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request", message)
    }

    /// The body in the client's dialect.
    pub(super) fn body(&self, speech: Speech) -> Bytes {
        let value = match speech {
            Speech::OpenAi => json!({"error": {
                "message": self.message,
                "type": kind(self.status),
                "param": null,
                "code": self.code,
            }}),
            Speech::Gemini => {
                let mut error = json!({"code": self.status, "message": self.message, "status": rpc(self.status)});
                if let Retry::After(wait) | Retry::Later(wait) = self.retry {
                    error["details"] = json!([{
                        "@type": "type.googleapis.com/google.rpc.RetryInfo",
                        "retryDelay": format!("{}s", decimal(wait)),
                    }]);
                }
                json!({"error": error})
            }
        };
        Bytes::from(value.to_string())
    }

    /// The whole answer in the client's dialect.
    pub(super) fn response(&self, speech: Speech) -> Response<Body> {
        let mut response = Response::new(Body::whole(self.body(speech)));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Retry::After(wait) | Retry::Later(wait) = self.retry {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs_ceil()));
            headers.insert(RETRY_AFTER_MS, HeaderValue::from(wait.as_nanos().div_ceil(1_000_000)));
        }
        match self.retry {
            Retry::Later(_) | Retry::Never => {
                headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
            }
            Retry::Unsaid | Retry::After(_) => {}
        }
        response
    }
}

/// OpenAI's `type`.
fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

/// The `google.rpc.Code` that Google sends with an HTTP status (google/rpc/code.proto).
fn rpc(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        400..=498 => "INVALID_ARGUMENT",
        501 => "UNIMPLEMENTED",
        502 | 503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    }
}

/// Seconds with as many decimals as there are: `12`, `1.25`.
fn decimal(wait: Duration) -> String {
    let (secs, nanos) = (wait.as_nanos() / 1_000_000_000, wait.as_nanos() % 1_000_000_000);
    if nanos == 0 {
        return secs.to_string();
    }
    format!("{secs}.{nanos:09}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(retry: Retry) -> Fault {
        Fault { retry, ..Fault::new(503, "no_capacity", "free: 0 of 2 usable") }
    }

    #[test]
    fn a_refusal_says_when_in_every_place_that_is_read() {
        let soon = refused(Retry::After(Duration::from_millis(1_250)));
        let headers = soon.response(Speech::OpenAi).headers().clone();
        assert_eq!(headers["retry-after"], "2");
        assert_eq!(headers["retry-after-ms"], "1250");
        assert!(!headers.contains_key("x-should-retry"));
        let gemini: serde_json::Value = serde_json::from_slice(&soon.body(Speech::Gemini)).expect("JSON");
        assert_eq!(gemini["error"]["details"][0]["retryDelay"], "1.25s");
        assert_eq!(gemini["error"]["status"], "UNAVAILABLE");

        let tomorrow = refused(Retry::Later(Duration::from_secs(40_000))).response(Speech::Gemini);
        assert_eq!(tomorrow.headers()["retry-after"], "40000", "never capped");
        assert_eq!(tomorrow.headers()["x-should-retry"], "false");
        let never = refused(Retry::Never).response(Speech::OpenAi);
        assert!(!never.headers().contains_key("retry-after"));
        assert_eq!(never.headers()["x-should-retry"], "false");
    }

    #[test]
    fn every_dialect_gets_its_own_envelope() {
        let open_ai: serde_json::Value =
            serde_json::from_slice(&Fault::bad("no `model`").body(Speech::OpenAi)).expect("JSON");
        assert_eq!(open_ai["error"]["type"], "invalid_request_error");
        assert_eq!(open_ai["error"]["message"], "no `model`");
        let gemini: serde_json::Value =
            serde_json::from_slice(&Fault::bad("no `contents`").body(Speech::Gemini)).expect("JSON");
        assert_eq!(gemini["error"]["code"], 400);
        assert!(gemini["error"].get("details").is_none(), "absent, not empty");
    }
}
