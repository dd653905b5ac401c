//! The shapes in which providers wrap an error.
//!
//! | shape | who |
//! |---|---|
//! | `{"error": {code, message, status, details}}` | Gemini, Vertex; inside SSE events too |
//! | `[{"error": {…}}]` | Gemini's OpenAI-compatible endpoint, Code Assist |
//! | `{"error": {message, type, param, code}}` | OpenAI and most of its followers |
//! | `{"message", "type", "code", "raw_status_code"}` | Mistral; in early 2025 `message` alone |
//! | `{"detail": …}`, `{"error": "…"}` | FastAPI servers and small gateways |

use serde_json::{Map, Value};

/// Only this much of an error body is read. The longest ones seen are below 4 KiB; a longer body is cut, fails to
/// parse, and is searched as text.
pub(super) const BODY_MAX: usize = 64 * 1024;

/// Of an array of errors, or of details, only so many are looked at.
const ITEMS_MAX: usize = 32;

/// The object that holds an error's members.
#[derive(Clone, Copy)]
pub(super) struct Envelope<'v>(&'v Map<String, Value>);

impl<'v> Envelope<'v> {
    /// Finds the error in a parsed body. In a body that came with a success only what calls itself an error counts,
    /// since a legitimate answer may well have a member called `message`.
    pub(super) fn find(body: &'v Value, success: bool) -> Option<Self> {
        match body {
            Value::Object(object) => Self::find_in(object, success),
            Value::Array(items) => {
                items.iter().take(ITEMS_MAX).filter_map(Value::as_object).find_map(|item| Self::find_in(item, success))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }

    fn find_in(object: &'v Map<String, Value>, success: bool) -> Option<Self> {
        match object.get("error") {
            Some(Value::Object(error)) => Some(Self(error)),
            Some(Value::String(_)) => Some(Self(object)),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) | None => {
                let flat = ["message", "detail"].iter().any(|name| object.contains_key(*name));
                let declared = object.get("object").and_then(Value::as_str) == Some("error");
                (flat && (declared || !success)).then_some(Self(object))
            }
        }
    }

    fn text(self, name: &str) -> &'v str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The sentence for humans; empty when there is none.
    pub(super) fn message(self) -> &'v str {
        ["message", "error", "detail"]
            .into_iter()
            .map(|name| self.text(name))
            .find(|text| !text.is_empty())
            .unwrap_or("")
    }

    /// The HTTP status that the body itself claims: by number, by Mistral's `raw_status_code`, or by the name of a
    /// `google.rpc.Code`.
    pub(super) fn status(self) -> Option<u16> {
        ["code", "raw_status_code", "status", "status_code"]
            .into_iter()
            .filter_map(|name| self.0.get(name))
            .filter_map(number)
            .find(|status| (400..=599).contains(status))
            .or_else(|| status_of_name(self.text("status")))
    }

    /// The short machine-readable labels: `ErrorInfo.reason`, OpenAI's `code` and `type`, Code Assist's
    /// `errors[].reason`.
    pub(super) fn labels(self) -> impl Iterator<Item = &'v str> {
        let infos = self.details("google.rpc.ErrorInfo").filter_map(|info| info.get("reason")?.as_str());
        let own = ["code", "type"].into_iter().filter_map(move |name| self.0.get(name)?.as_str());
        let inner = self.items("errors").filter_map(|item| item.get("reason")?.as_str());
        infos.chain(own).chain(inner)
    }

    /// The `details` of one type, named without its `type.googleapis.com/`.
    pub(super) fn details(self, kind: &'static str) -> impl Iterator<Item = &'v Map<String, Value>> {
        self.items("details")
            .filter(move |item| item.get("@type").and_then(Value::as_str).is_some_and(|name| name.ends_with(kind)))
    }

    fn items(self, name: &str) -> impl Iterator<Item = &'v Map<String, Value>> {
        self.0.get(name).and_then(Value::as_array).into_iter().flatten().take(ITEMS_MAX).filter_map(Value::as_object)
    }
}

/// The objects of `value[name]`, at most as many as any provider sends.
pub(super) fn objects<'v>(value: &'v Map<String, Value>, name: &str) -> impl Iterator<Item = &'v Map<String, Value>> {
    value.get(name).and_then(Value::as_array).into_iter().flatten().take(ITEMS_MAX).filter_map(Value::as_object)
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        Value::String(digits) => digits.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The HTTP status of a `google.rpc.Code`, as google/rpc/code.proto assigns it.
fn status_of_name(name: &str) -> Option<u16> {
    Some(match name {
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => 400,
        "UNAUTHENTICATED" => 401,
        "PERMISSION_DENIED" => 403,
        "NOT_FOUND" => 404,
        "ABORTED" | "ALREADY_EXISTS" => 409,
        "RESOURCE_EXHAUSTED" => 429,
        "CANCELLED" => 499,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" => 500,
        "UNIMPLEMENTED" => 501,
        "UNAVAILABLE" => 503,
        "DEADLINE_EXCEEDED" => 504,
        _ => return None,
    })
}
