//! Errors as a client's SDK understands them.
//!
//! SDKs retry by what they read: OpenAI's obey `Retry-After`, `retry-after-ms` and `x-should-retry`, Gemini's show
//! `RetryInfo`. Old ones cap the first at 60 seconds and then retry far too early, so the figure is never cut down to
//! please them.

use serde_json::{Map, Value, json};

use super::json::Refusal;
use super::render::{self, Rendered};
use super::sse::Framing;
use super::translate::Front;
use crate::core::Duration;

/// What goes wrong, for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientError {
    /// The HTTP status.
    pub status: u16,
    /// What happened and what to do, in one sentence or more. Must be redacted already.
    pub message: String,
    /// A label for programs, if there is a well-known one: `insufficient_quota`, `context_length_exceeded`.
    pub code: Option<&'static str>,
    /// The member of the request that is at fault.
    pub param: Option<String>,
    /// When a repeat makes sense.
    pub retry_after: Option<Duration>,
    /// Whether a repeat makes sense at all; `None` leaves it to the client's own rules.
    pub should_retry: Option<bool>,
}

impl ClientError {
    /// An error with nothing but a status and a message.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), code: None, param: None, retry_after: None, should_retry: None }
    }

    /// The answer with this error in it.
    pub fn render(&self, front: Front) -> Rendered {
        let mut headers = vec![("content-type", "application/json; charset=UTF-8".to_owned())];
        if let Some(delay) = self.retry_after {
            headers.push(("retry-after", delay.as_secs_ceil().to_string()));
            headers.push(("retry-after-ms", delay.as_nanos().div_ceil(1_000_000).to_string()));
        }
        if let Some(should) = self.should_retry {
            headers.push(("x-should-retry", should.to_string()));
        }
        Rendered { status: self.status, headers, body: pretty(&self.body(front)) }
    }

    /// What ends a stream that has begun already. OpenAI's readers take it as an error and need no `[DONE]` after it;
    /// Gemini's know neither comments nor `[DONE]`. `begun` says
    /// whether anything of the stream went out before.
    pub fn event(&self, front: Front, framing: Framing, begun: bool) -> Vec<u8> {
        let body = self.body(front);
        let text = match (front, framing) {
            (Front::Chat, _) => format!("data: {body}\n\n"),
            (Front::Responses, _) => {
                let (message, code) = (&self.message, self.code.unwrap_or(self.kind()));
                let event = json!({"type": "error", "code": code, "message": message, "param": self.param, "sequence_number": 0});
                format!("event: error\ndata: {event}\n\n")
            }
            (Front::Gemini, Framing::Sse) => format!("data: {body}\r\n\r\n"),
            (Front::Gemini, Framing::Array) if begun => format!("\n,\r\n{body}\n]\n"),
            (Front::Gemini, Framing::Array) => format!("[{body}\n]\n"),
        };
        text.into_bytes()
    }

    fn body(&self, front: Front) -> Value {
        match front {
            Front::Chat | Front::Responses => json!({"error": {
                "message": self.message,
                "type": self.kind(),
                "param": self.param,
                "code": self.code.or_else(|| (self.status == 429).then_some("rate_limit_exceeded")),
            }}),
            Front::Gemini => {
                let mut error = Map::new();
                error.insert("code".to_owned(), self.status.into());
                error.insert("message".to_owned(), self.message.as_str().into());
                error.insert("status".to_owned(), render::status_name(self.status).into());
                let details = self.details();
                if !details.is_empty() {
                    error.insert("details".to_owned(), Value::Array(details));
                }
                json!({ "error": error })
            }
        }
    }

    fn details(&self) -> Vec<Value> {
        let mut details = Vec::new();
        if let Some(field) = &self.param {
            details.push(json!({
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": field, "description": self.message}],
            }));
        }
        if let Some(delay) = self.retry_after {
            details.push(json!({
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": format!("{}s", delay.as_secs_ceil()),
            }));
        }
        details
    }

    /// OpenAI's `type`.
    fn kind(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            503 => "service_unavailable",
            _ => "server_error",
        }
    }
}

impl From<&Refusal> for ClientError {
    fn from(refusal: &Refusal) -> Self {
        let param = match refusal {
            Refusal::BadRequest { param, .. } => Some(param.clone()),
            Refusal::NeedsFetching(_) => None,
        };
        Self { param, should_retry: Some(false), ..Self::new(400, refusal.to_string()) }
    }
}

fn pretty(body: &Value) -> String {
    // A tree of ours: serialising cannot fail.
    serde_json::to_string_pretty(body).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Facts, WallTime};
    use crate::wire::facts;

    fn refusal() -> ClientError {
        ClientError {
            retry_after: Some(Duration::from_millis(90_250)),
            should_retry: Some(false),
            ..ClientError::new(503, "free-pro: 0 of 21 usable, day quota until 07:00:00Z")
        }
    }

    #[test]
    fn hints_are_never_shorter_than_the_truth() {
        for front in [Front::Chat, Front::Responses, Front::Gemini] {
            let answer = refusal().render(front);
            let header =
                |name: &str| answer.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str());
            assert_eq!(header("retry-after"), Some("91"));
            assert_eq!(header("retry-after-ms"), Some("90250"));
            assert_eq!(header("x-should-retry"), Some("false"));
            let read = facts(answer.status, &answer.headers, answer.body.as_bytes(), WallTime::default());
            let least = Duration::from_millis(90_250);
            assert!(read.retry_after.is_some_and(|delay| delay >= least), "{front:?}: {read:?}");
        }
    }

    #[test]
    fn our_events_are_read_as_errors() {
        for (front, framing) in
            [(Front::Chat, Framing::Sse), (Front::Gemini, Framing::Sse), (Front::Gemini, Framing::Array)]
        {
            let event = String::from_utf8(refusal().event(front, framing, false)).unwrap();
            let data = event.trim_start_matches("data: ").trim();
            let read = facts(200, &[("", ""); 0], data.as_bytes(), WallTime::default());
            assert_eq!(read.inner_status, Some(503), "{event}");
        }
    }

    #[test]
    fn a_refused_member_is_named() {
        let refusal = Refusal::BadRequest { param: "messages[0].content".into(), problem: "is required".into() };
        let answer = ClientError::from(&refusal).render(Front::Gemini);
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains("\"field\": \"messages[0].content\""), "{}", answer.body);
        let read = facts(answer.status, &answer.headers, answer.body.as_bytes(), WallTime::default());
        assert_eq!(read, Facts::default());
    }
}
