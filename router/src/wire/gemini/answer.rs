//! A `generateContent` answer, whole or one event of a stream.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::request::Content;
use crate::wire::json::{Json, Present, null_is_default};
use crate::wire::usage::GeminiCounts;

/// The answer. Members stand in the order in which Google writes them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::wire) struct Answer<'a> {
    #[serde(borrow, default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub(in crate::wire) candidates: Vec<Candidate<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) prompt_feedback: Option<PromptFeedback<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) usage_metadata: Option<GeminiCounts>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) model_version: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) response_id: Option<Cow<'a, str>>,
    /// An event that reports a failure in the middle of a stream.
    #[serde(default, skip_serializing)]
    pub(in crate::wire) error: Present,
}

/// One of the answers asked for.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::wire) struct Candidate<'a> {
    /// Absent, `{}` or without parts where nothing was generated.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) content: Option<Content<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) finish_reason: Option<Cow<'a, str>>,
    /// Absent in some replies that have one candidate only.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(in crate::wire) index: u32,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) logprobs_result: Option<Json<'a>>,
}

/// What became of the prompt.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::wire) struct PromptFeedback<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) block_reason: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) block_reason_message: Option<Cow<'a, str>>,
}

/// `finish_reason` in OpenAI's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wire) enum Finish {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
}

impl Finish {
    /// From Gemini's reason and whether tools were called. A tool call ends with plain `STOP` there.
    pub(in crate::wire) fn of_gemini(reason: &str, tools_called: bool) -> Self {
        match reason {
            "MAX_TOKENS" => Self::Length,
            "SAFETY"
            | "RECITATION"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "LANGUAGE"
            | "OTHER"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION"
            | "IMAGE_OTHER"
            | "MODEL_ARMOR"
            | "JAILBREAK" => Self::ContentFilter,
            _ if tools_called => Self::ToolCalls,
            // STOP, MALFORMED_FUNCTION_CALL, and what may come: the answer is over, and nothing held it back.
            _ => Self::Stop,
        }
    }

    /// From OpenAI's `finish_reason`.
    pub(in crate::wire) fn of_open_ai(reason: &str) -> Self {
        match reason {
            "length" | "model_length" => Self::Length,
            "content_filter" => Self::ContentFilter,
            "tool_calls" | "function_call" => Self::ToolCalls,
            _ => Self::Stop,
        }
    }

    pub(in crate::wire) fn open_ai(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
        }
    }

    pub(in crate::wire) fn gemini(self) -> &'static str {
        match self {
            Self::Stop | Self::ToolCalls => "STOP",
            Self::Length => "MAX_TOKENS",
            Self::ContentFilter => "SAFETY",
        }
    }
}
