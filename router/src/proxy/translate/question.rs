//! A client's call, read once: what the router needs to know of it, and its words for whoever answers.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderValue;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

use super::reader::{Framing, StreamReader};
use crate::core::{Endpoint, TokenEstimate, Tokens, TurnId, Usage, mix};
use crate::proxy::fault::{Fault, Speech};
use crate::proxy::upstream::{Target, Verb};
use crate::wire::{self, Dialect};

/// Which API a client calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Surface {
    /// OpenAI's `/v1/chat/completions`.
    Chat,
    /// OpenAI's `/v1/embeddings`.
    Embeddings,
    /// Gemini's `generateContent`.
    Generate,
    /// Gemini's `streamGenerateContent`, as events or as an array.
    GenerateStream { events: bool },
    /// Gemini's `embedContent`.
    EmbedContent,
    /// Gemini's `batchEmbedContents`.
    BatchEmbed,
    /// Gemini's `countTokens`.
    CountTokens,
}

/// A call, read.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Question {
    surface: Surface,
    body: Bytes,
    /// The public name that was asked for.
    pub(in crate::proxy) model: String,
    pub(in crate::proxy) stream: bool,
    pub(in crate::proxy) tokens: TokenEstimate,
    /// Where the model's name stands in an OpenAI body, quotes included.
    model_at: std::ops::Range<usize>,
}

/// This provider's dialect has no place for something in the request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub(in crate::proxy) struct NoPlace(String);

/// An answer that is not what its dialect promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the answer is not what its dialect promises")]
pub(in crate::proxy) struct Malformed;

/// What is read of an OpenAI body.
#[derive(Deserialize)]
struct OpenAiHead<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    max_tokens: Option<u32>,
    #[serde(default)]
    max_completion_tokens: Option<u32>,
}

/// What is read of a Gemini body.
#[derive(Deserialize)]
struct GeminiHead {
    #[serde(default, rename = "generationConfig", alias = "generation_config")]
    generation: Option<GenerationHead>,
}

#[derive(Deserialize)]
struct GenerationHead {
    #[serde(default, rename = "maxOutputTokens", alias = "max_output_tokens")]
    output_max: Option<u32>,
}

impl Surface {
    /// How its errors are said.
    pub(in crate::proxy) fn speech(self) -> Speech {
        match self {
            Self::Chat | Self::Embeddings => Speech::OpenAi,
            Self::Generate
            | Self::GenerateStream { .. }
            | Self::EmbedContent
            | Self::BatchEmbed
            | Self::CountTokens => Speech::Gemini,
        }
    }
}

impl Question {
    /// Reads a call. `model` is the name in the address, where that is where it stands.
    ///
    /// # Errors
    /// What the client has to mend.
    pub(in crate::proxy) fn read(surface: Surface, model: Option<&str>, body: Bytes) -> Result<Self, Fault> {
        let unreadable = |error: serde_json::Error| Fault::bad(format!("The body is not what it should be: {error}"));
        let input = estimate(&body);
        match surface.speech() {
            Speech::OpenAi => {
                let head: OpenAiHead<'_> = serde_json::from_slice(&body).map_err(unreadable)?;
                let name: Cow<'_, str> =
                    serde_json::from_str(head.model.get()).map_err(|_not_text| Fault::bad("`model` must be a text"))?;
                let start = head.model.get().as_ptr() as usize - body.as_ptr() as usize;
                let model_at = start..start + head.model.get().len();
                let output_max = head.max_completion_tokens.or(head.max_tokens).map(Tokens::new);
                let (model, stream) = (name.into_owned(), head.stream == Some(true));
                Ok(Self { surface, model, stream, tokens: TokenEstimate { input, output_max }, model_at, body })
            }
            Speech::Gemini => {
                let head: GeminiHead = serde_json::from_slice(&body).map_err(unreadable)?;
                let output_max = head.generation.and_then(|generation| generation.output_max).map(Tokens::new);
                let stream = matches!(surface, Surface::GenerateStream { .. });
                let model = model.unwrap_or_default().to_owned();
                Ok(Self { surface, model, stream, tokens: TokenEstimate { input, output_max }, model_at: 0..0, body })
            }
        }
    }

    /// How the client speaks.
    pub(in crate::proxy) fn speech(&self) -> Speech {
        self.surface.speech()
    }

    /// Which kind of call it is.
    pub(in crate::proxy) fn endpoint(&self) -> Endpoint {
        match self.surface {
            Surface::Chat | Surface::Generate | Surface::GenerateStream { .. } => Endpoint::Generate,
            Surface::Embeddings | Surface::EmbedContent | Surface::BatchEmbed => Endpoint::Embed,
            Surface::CountTokens => Endpoint::Count,
        }
    }

    /// The intention behind it: libraries repeat a call byte for byte.
    pub(in crate::proxy) fn turn(&self, client: u16) -> TurnId {
        let (crc, length) = (u64::from(crc32c::crc32c(&self.body)), self.body.len() as u64);
        TurnId::new(mix(mix(u64::from(client)) ^ (crc << 32 | length & 0xffff_ffff)).max(1))
    }

    /// The content type of a stream to this client.
    pub(in crate::proxy) fn stream_type(&self) -> HeaderValue {
        HeaderValue::from_static(match self.surface {
            Surface::GenerateStream { events: false } => "application/json",
            Surface::Chat
            | Surface::Embeddings
            | Surface::Generate
            | Surface::GenerateStream { events: true }
            | Surface::EmbedContent
            | Surface::BatchEmbed
            | Surface::CountTokens => "text/event-stream",
        })
    }

    /// What a provider of this dialect is asked to do.
    pub(in crate::proxy) fn verb(&self, _dialect: Dialect) -> Verb {
        match self.surface {
            Surface::Chat if self.stream => Verb::Stream,
            Surface::Chat | Surface::Generate => Verb::Generate,
            Surface::GenerateStream { .. } => Verb::Stream,
            Surface::Embeddings | Surface::BatchEmbed => Verb::Embed,
            Surface::EmbedContent => Verb::EmbedOne,
            Surface::CountTokens => Verb::Count,
        }
    }

    /// The call in the words of this target.
    ///
    /// # Errors
    /// When its dialect has no place for something.
    pub(in crate::proxy) fn body_for(&self, target: &Target) -> Result<Bytes, NoPlace> {
        match (self.speech(), target.dialect().is_gemini()) {
            (Speech::Gemini, true) => Ok(self.body.clone()),
            (Speech::OpenAi, false) => Ok(self.with_model(target.model())),
            (Speech::Gemini, false) | (Speech::OpenAi, true) => {
                Err(NoPlace("this provider does not speak the client's dialect".into()))
            }
        }
    }

    /// The body with another model's name in it, all else byte for byte.
    fn with_model(&self, model: &str) -> Bytes {
        let (before, after) = (&self.body[..self.model_at.start], &self.body[self.model_at.end..]);
        [before, Value::from(model).to_string().as_bytes(), after].concat().into()
    }

    /// A provider's whole answer, in the client's words, and what it counted.
    ///
    /// # Errors
    /// When it is not what its dialect promises.
    pub(in crate::proxy) fn answer(&self, _target: &Target, body: &Bytes) -> Result<(Bytes, Option<Usage>), Malformed> {
        serde_json::from_slice::<serde::de::IgnoredAny>(body).map_err(|_not_json| Malformed)?;
        Ok((body.clone(), wire::usage(body)))
    }

    /// A reader for a stream from this target.
    pub(in crate::proxy) fn reader(&self, _target: &Target) -> StreamReader {
        StreamReader::new(self.framing())
    }

    /// How the client wants a stream framed.
    pub(in crate::proxy) fn framing(&self) -> Framing {
        match (self.surface, self.speech()) {
            (Surface::GenerateStream { events: false }, _) => Framing::GeminiArray,
            (_, Speech::Gemini) => Framing::GeminiEvents,
            (_, Speech::OpenAi) => Framing::OpenAi,
        }
    }

    /// A provider's error, cleaned of secrets, in the client's words.
    pub(in crate::proxy) fn error(&self, status: u16, text: &str) -> Bytes {
        let own =
            serde_json::from_str::<Value>(text).ok().filter(|body| body.get("error").is_some_and(Value::is_object));
        let is_gemini = own.as_ref().is_some_and(|body| body["error"]["code"].is_u64());
        match own {
            Some(_) if is_gemini == (self.speech() == Speech::Gemini) => Bytes::copy_from_slice(text.as_bytes()),
            Some(_) | None => {
                let message = message_of(text).unwrap_or_else(|| "The provider refused the request".to_owned());
                Fault::new(status, "upstream_refused", message).body(self.speech())
            }
        }
    }
}

/// The sentence for people in an error body of any shape.
pub(super) fn message_of(text: &str) -> Option<String> {
    let body: Value = serde_json::from_str(text.trim()).ok()?;
    let body = match &body {
        Value::Array(items) => items.first()?,
        Value::Object(_) => &body,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    };
    let places = [body.pointer("/error/message"), body.get("error"), body.get("message"), body.get("detail")];
    places.into_iter().flatten().find_map(Value::as_str).map(str::to_owned)
}

/// Tokens of a prompt, from its size: about 4 bytes each. Inline images are text too and make it too high, never low.
fn estimate(body: &[u8]) -> Tokens {
    Tokens::new(u32::try_from(body.len() / 4).unwrap_or(u32::MAX))
}
