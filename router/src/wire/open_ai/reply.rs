//! An answer, or a chunk of a stream: one has a `message`, the other a `delta`, and all else is the same.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::wire::json::{Json, Present, null_is_default};
use crate::wire::usage::OpenAiCounts;

/// `chat.completion` or `chat.completion.chunk`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::wire) struct Reply<'a> {
    #[serde(borrow, default)]
    pub(in crate::wire) id: Cow<'a, str>,
    #[serde(default, skip_deserializing)]
    pub(in crate::wire) object: &'static str,
    /// Seconds since the Unix epoch.
    #[serde(default)]
    pub(in crate::wire) created: u64,
    #[serde(borrow, default)]
    pub(in crate::wire) model: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "null_is_default")]
    pub(in crate::wire) choices: Vec<Choice<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) usage: Option<OpenAiCounts>,
    /// An event that reports a failure in the middle of a stream.
    #[serde(default, skip_serializing)]
    pub(in crate::wire) error: Present,
}

/// One of the answers asked for.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::wire) struct Choice<'a> {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(in crate::wire) index: u32,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) message: Option<Message<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) delta: Option<Message<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) logprobs: Option<Json<'a>>,
    #[serde(borrow, default)]
    pub(in crate::wire) finish_reason: Option<Cow<'a, str>>,
}

/// What the model says, or a piece of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::wire) struct Message<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) role: Option<Cow<'a, str>>,
    /// A string; a list of parts at some servers.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) content: Option<Json<'a>>,
    /// Thoughts, where a server shows them. Not OpenAI's, but the name that its followers agree on.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) reasoning_content: Option<Json<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) refusal: Option<Json<'a>>,
    /// Generated pictures as data addresses, in the form that gateways agree on.
    #[serde(default, skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::wire) images: Vec<Json<'a>>,
    #[serde(borrow, default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub(in crate::wire) tool_calls: Vec<ToolCall<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) extra_content: Option<ExtraContent<'a>>,
}

/// A tool is to be called. In a stream only the first piece has `id` and `name`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::wire) struct ToolCall<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) index: Option<u32>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) id: Option<Cow<'a, str>>,
    #[serde(default, rename = "type", skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) kind: Option<&'static str>,
    #[serde(borrow, default, deserialize_with = "null_is_default")]
    pub(in crate::wire) function: Function<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) extra_content: Option<ExtraContent<'a>>,
}

/// Which, and with what.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::wire) struct Function<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) name: Option<Cow<'a, str>>,
    /// JSON text, or a piece of it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) arguments: Option<Cow<'a, str>>,
}

/// Where Google's compatibility endpoint keeps what OpenAI has no place for.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::wire) struct ExtraContent<'a> {
    #[serde(borrow, default)]
    pub(in crate::wire) google: GoogleExtra<'a>,
}

/// See [`ExtraContent`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::wire) struct GoogleExtra<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) thought_signature: Option<Json<'a>>,
}

impl<'a> ExtraContent<'a> {
    /// With this signature.
    pub(in crate::wire) fn signed(thought_signature: Json<'a>) -> Self {
        Self { google: GoogleExtra { thought_signature: Some(thought_signature) } }
    }
}

/// The signature in a message's or a call's `extra_content`, which clients send back as they got it.
pub(in crate::wire) fn signature_in<'a>(extra_content: &'a serde_json::value::RawValue) -> Option<Json<'a>> {
    let extra: ExtraContent<'a> = serde_json::from_str(extra_content.get()).ok()?;
    extra.google.thought_signature
}
