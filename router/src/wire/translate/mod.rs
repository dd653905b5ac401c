//! From one dialect to the other: requests, answers and streams.
//!
//! The chat completion is the form in the middle: a `/v1/responses` request becomes one, Gemini's answers are read as
//! its replies. Where client and provider speak the same dialect nothing is translated and the bytes go through, except
//! the model's name.

mod chat_to_gemini;
mod contents;
pub mod embeddings;
mod family;
mod gemini_answers;
mod gemini_to_chat;
mod gemini_writer;
mod media;
pub mod models;
mod responses_request;
mod responses_writer;
mod schema;
mod stream;

use std::borrow::Cow;

use serde::Deserialize;
use thiserror::Error;

use self::gemini_answers::GeminiAnswers;
pub use self::stream::{Failure, Stream};
use super::dialect::Dialect;
use super::gemini::Answer;
use super::json::{Present, Refusal, null_is_default, to_vec};
use super::open_ai::{Choice, Reply};
use super::peek::{Peek, open_ai_for};
use super::usage::{GeminiCounts, OpenAiCounts};
use crate::core::Usage;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// OpenAI's `/v1/chat/completions`.
    Chat,
    /// OpenAI's `/v1/responses`.
    Responses,
    /// Gemini's `generateContent` and `streamGenerateContent`.
    Gemini,
}

impl Front {
    /// Whether these clients speak the upstream's own language, so that nothing has to be translated.
    pub fn is_native(self, upstream: Dialect) -> bool {
        match self {
            Self::Chat => !upstream.is_gemini(),
            Self::Responses => false,
            Self::Gemini => upstream.is_gemini(),
        }
    }
}

/// Whose idea of a chat completion an upstream has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavor {
    /// OpenAI's.
    #[default]
    OpenAi,
    /// Mistral's: other names for a few members, and an error for unknown ones.
    Mistral,
}

/// What a request is translated for.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The upstream's name for the model.
    pub model: &'a str,
    /// What was seen of the request.
    pub peek: &'a Peek<'a>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// Whether an OpenAI stream may be asked for its usage although its client did not.
    pub count_usage: bool,
    /// For OpenAI-compatible upstreams.
    pub flavor: Flavor,
    /// What [`Refusal::NeedsFetching`] asked for.
    pub fetched: &'a [Fetched],
}

/// Something that stood as an address in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The address as it stood there.
    pub url: String,
    /// What the server called it.
    pub mime_type: String,
    /// What it is.
    pub bytes: Vec<u8>,
}

/// What an answer is called. The driver makes it; the same one for all attempts of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Unique, letters and digits: the request's id.
    pub id: String,
    /// Seconds since the Unix epoch.
    pub created: u64,
    /// The model as the client knows it.
    pub model: String,
}

/// A 200 whose body is not what its dialect promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the provider answered with something that is no answer")]
pub struct Malformed;

/// A complete answer, ready for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered<'a> {
    /// Its body.
    pub body: Cow<'a, [u8]>,
    /// What the provider counted.
    pub usage: Option<Usage>,
}

/// The request's body as the upstream wants it.
pub fn request<'a>(
    front: Front,
    upstream: Dialect,
    body: &'a [u8],
    asked: &Asked<'_>,
) -> Result<Cow<'a, [u8]>, Refusal> {
    match (front, upstream.is_gemini()) {
        (Front::Chat, true) => chat_to_gemini::request(body, asked).map(Cow::Owned),
        (Front::Chat, false) => Ok(Cow::Owned(open_ai_for(body, asked.peek, asked.model, asked.count_usage))),
        (Front::Responses, true) => {
            let chat = responses_request::request(body, asked)?;
            chat_to_gemini::request(&chat, asked).map(Cow::Owned)
        }
        (Front::Responses, false) => responses_request::request(body, asked).map(Cow::Owned),
        (Front::Gemini, true) => Ok(Cow::Borrowed(body)),
        (Front::Gemini, false) => gemini_to_chat::request(body, asked).map(Cow::Owned),
    }
}

/// A complete answer as the client wants it.
pub fn answer<'a>(
    front: Front,
    upstream: Dialect,
    body: &'a [u8],
    identity: &Identity,
) -> Result<Answered<'a>, Malformed> {
    match (front, upstream.is_gemini()) {
        (Front::Chat, false) | (Front::Gemini, true) => {
            let glimpse = Glimpse::of(body)?;
            if !glimpse.is_answer() {
                return Err(Malformed);
            }
            Ok(Answered { body: Cow::Borrowed(body), usage: glimpse.usage() })
        }
        (Front::Chat | Front::Responses, true) => {
            let read: Answer<'_> = serde_json::from_slice(body).map_err(|_unreadable| Malformed)?;
            let usage = read.usage_metadata.as_ref().and_then(GeminiCounts::usage);
            let mut answers = GeminiAnswers::new(identity.clone());
            let reply = answers.whole(read).ok_or(Malformed)?;
            let body = match front {
                Front::Responses => responses_writer::whole(&reply, identity),
                Front::Chat | Front::Gemini => to_vec(&reply),
            };
            Ok(Answered { body: Cow::Owned(body), usage })
        }
        (Front::Responses | Front::Gemini, false) => {
            let reply: Reply<'_> = serde_json::from_slice(body).map_err(|_unreadable| Malformed)?;
            let usage = reply.usage.as_ref().and_then(OpenAiCounts::usage);
            if reply.choices.is_empty() {
                return Err(Malformed);
            }
            let body = match front {
                Front::Gemini => gemini_writer::whole(reply, identity).ok_or(Malformed)?,
                Front::Chat | Front::Responses => responses_writer::whole(&reply, identity),
            };
            Ok(Answered { body: Cow::Owned(body), usage })
        }
    }
}

impl Identity {
    fn reply<'a>(&'a self, object: &'static str, choices: Vec<Choice<'a>>) -> Reply<'a> {
        Reply {
            id: Cow::Owned(format!("chatcmpl-{}", self.id)),
            object,
            created: self.created,
            model: Cow::Borrowed(&self.model),
            choices,
            ..Reply::default()
        }
    }

    /// An id for a tool call, unique as long as the identity is.
    fn call_id(&self, number: u32) -> String {
        format!("call_{}_{number}", self.id)
    }
}

impl Flavor {
    /// The flavor spoken at an address.
    pub fn of_base_url(url: &str) -> Self {
        let host = url.split("://").nth(1).unwrap_or(url).split(['/', ':']).next().unwrap_or_default();
        if host == "mistral.ai" || host.ends_with(".mistral.ai") { Self::Mistral } else { Self::OpenAi }
    }

    /// "Some tool must be called".
    fn any_tool(self) -> &'static str {
        match self {
            Self::OpenAi => "required",
            Self::Mistral => "any",
        }
    }

    fn seed(self) -> &'static str {
        match self {
            Self::OpenAi => "seed",
            Self::Mistral => "random_seed",
        }
    }

    fn answer_limit(self) -> &'static str {
        match self {
            Self::OpenAi => "max_completion_tokens",
            Self::Mistral => "max_tokens",
        }
    }

    /// Whether a tool call may have this id. Mistral takes nine letters or digits, and nothing else.
    fn takes_call_id(self, id: &str) -> bool {
        match self {
            Self::OpenAi => !id.is_empty(),
            Self::Mistral => id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        }
    }

    /// Whether `reasoning_effort` is known.
    fn thinks(self) -> bool {
        match self {
            Self::OpenAi => true,
            Self::Mistral => false,
        }
    }
}

/// As much of an answer, or of a stream's event, as it takes to pass it on knowingly. In either dialect.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Glimpse {
    #[serde(default, deserialize_with = "null_is_default")]
    candidates: Vec<GlimpsedCandidate>,
    #[serde(default)]
    prompt_feedback: Option<GlimpsedFeedback>,
    #[serde(default)]
    usage_metadata: Option<GeminiCounts>,
    #[serde(default, deserialize_with = "null_is_default")]
    choices: Vec<GlimpsedChoice>,
    #[serde(default)]
    usage: Option<OpenAiCounts>,
    #[serde(default)]
    error: Present,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GlimpsedCandidate {
    #[serde(default)]
    finish_reason: Present,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GlimpsedFeedback {
    #[serde(default)]
    block_reason: Present,
}

#[derive(Debug, Deserialize)]
struct GlimpsedChoice {
    #[serde(default)]
    finish_reason: Present,
}

impl Glimpse {
    fn of(body: &[u8]) -> Result<Self, Malformed> {
        serde_json::from_slice(body).map_err(|_unreadable| Malformed)
    }

    fn is_blocked(&self) -> bool {
        self.prompt_feedback.as_ref().is_some_and(|feedback| feedback.block_reason.is_some())
    }

    fn is_answer(&self) -> bool {
        self.error.is_none() && (!self.candidates.is_empty() || !self.choices.is_empty() || self.is_blocked())
    }

    /// Whether it says that the answer is over.
    fn is_end(&self) -> bool {
        self.candidates.iter().any(|candidate| candidate.finish_reason.is_some())
            || self.choices.iter().any(|choice| choice.finish_reason.is_some())
            || self.is_blocked()
    }

    /// Whether it carries nothing but counts, as OpenAI's last chunk does.
    fn is_only_usage(&self) -> bool {
        self.usage.is_some() && self.choices.is_empty()
    }

    fn usage(&self) -> Option<Usage> {
        let gemini = self.usage_metadata.as_ref().and_then(GeminiCounts::usage);
        gemini.or_else(|| self.usage.as_ref().and_then(OpenAiCounts::usage))
    }
}
