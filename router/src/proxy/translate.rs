//! A client's call, read once: what the router needs to know of it, and its words for whoever answers.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderValue;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::upstream::{Target, Verb};
use crate::core::{Endpoint, TokenEstimate, TurnId, Usage, WallTime, mix};
use crate::wire::{
    self, Asked, ClientError, Dialect, Failure, Fetched, Framing, Front, Identity, Malformed, Peek, Refusal, Stream,
    embeddings,
};

/// Which API a client calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    /// OpenAI's `/v1/chat/completions`.
    Chat,
    /// OpenAI's `/v1/responses`.
    Responses,
    /// OpenAI's `/v1/embeddings`.
    Embeddings,
    /// Gemini's `generateContent`.
    Generate,
    /// Gemini's `streamGenerateContent`.
    GenerateStream(Framing),
    /// Gemini's `embedContent`.
    EmbedContent,
    /// Gemini's `batchEmbedContents`.
    BatchEmbed,
    /// Gemini's `countTokens`.
    CountTokens,
}

/// A call, read.
#[derive(Clone, Debug)]
pub(super) struct Question {
    surface: Surface,
    body: Bytes,
    peek: Peek<'static>,
    /// The public name that was asked for.
    model: String,
    stream: bool,
    /// When it was read, and its checksum: what tells it from others.
    wall: WallTime,
    checksum: u32,
}

/// A call in the words of one target.
pub(super) struct Prepared {
    pub(super) body: Bytes,
    /// The client wants its embeddings in base64.
    base64: bool,
}

/// A provider's stream on its way to becoming the client's.
#[derive(Debug)]
pub(super) struct StreamReader {
    stream: Stream,
    front: Front,
    framing: Framing,
    /// What the client may be sent.
    out: Vec<u8>,
    /// The client has been sent something.
    sent: bool,
}

impl Surface {
    /// How the client speaks.
    pub(super) fn front(self) -> Front {
        match self {
            Self::Chat | Self::Embeddings => Front::Chat,
            Self::Responses => Front::Responses,
            Self::Generate | Self::GenerateStream(_) | Self::EmbedContent | Self::BatchEmbed | Self::CountTokens => {
                Front::Gemini
            }
        }
    }
}

impl Question {
    /// Reads a call. `model` is the name in the address, where that is where it stands; `wall` is when translated
    /// answers say that they were made, and makes their ids differ.
    ///
    /// # Errors
    /// What the client has to mend.
    pub(super) fn read(surface: Surface, model: Option<&str>, body: Bytes, wall: WallTime) -> Result<Self, Refusal> {
        let peek = match surface.front() {
            Front::Chat | Front::Responses => Peek::open_ai(&body)?,
            Front::Gemini => Peek::gemini(&body)?,
        };
        let named = peek.model.as_deref().or(model).unwrap_or_default();
        let model = named.strip_prefix("models/").unwrap_or(named).to_owned();
        let peek = Peek { model: None, ..peek };
        let stream = peek.stream || matches!(surface, Surface::GenerateStream(_));
        let checksum = crc32c::crc32c(&body);
        Ok(Self { surface, peek, model, stream, wall, checksum, body })
    }

    /// What a translated answer of this target is called; one that is not translated has a name.
    fn identity(&self, target: &Target) -> Identity {
        if self.front().is_native(target.dialect()) {
            return Identity::default();
        }
        let (wall, id) = (self.wall.as_nanos(), mix(self.wall.as_nanos() ^ u64::from(self.checksum)));
        Identity { id: format!("{id:016x}"), created: wall / 1_000_000_000, model: self.model.clone() }
    }

    /// Bytes of its body.
    pub(super) fn len(&self) -> usize {
        self.body.len()
    }

    /// The public name that was asked for.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// Whether the answer is to be a stream.
    pub(super) fn stream(&self) -> bool {
        self.stream
    }

    /// How large it is.
    pub(super) fn tokens(&self) -> TokenEstimate {
        self.peek.tokens
    }

    /// How the client speaks.
    pub(super) fn front(&self) -> Front {
        self.surface.front()
    }

    /// How the client wants a stream framed.
    pub(super) fn framing(&self) -> Framing {
        match self.surface {
            Surface::GenerateStream(framing) => framing,
            Surface::Chat
            | Surface::Responses
            | Surface::Embeddings
            | Surface::Generate
            | Surface::EmbedContent
            | Surface::BatchEmbed
            | Surface::CountTokens => Framing::Sse,
        }
    }

    /// Which kind of call it is.
    pub(super) fn endpoint(&self) -> Endpoint {
        match self.surface {
            Surface::Chat | Surface::Responses | Surface::Generate | Surface::GenerateStream(_) => Endpoint::Generate,
            Surface::Embeddings | Surface::EmbedContent | Surface::BatchEmbed => Endpoint::Embed,
            Surface::CountTokens => Endpoint::Count,
        }
    }

    /// The intention behind it: libraries repeat a call byte for byte.
    pub(super) fn turn(&self, client: u16) -> TurnId {
        let (crc, length) = (u64::from(self.checksum), self.body.len() as u64);
        TurnId::new(mix(mix(u64::from(client)) ^ (crc << 32 | length & 0xffff_ffff)).max(1))
    }

    /// The content type of a stream to this client.
    pub(super) fn stream_type(&self) -> HeaderValue {
        HeaderValue::from_static(match self.framing() {
            Framing::Sse => "text/event-stream",
            Framing::Array => "application/json",
        })
    }

    /// What a provider of this dialect is asked to do.
    pub(super) fn verb(&self, dialect: Dialect) -> Verb {
        match (self.surface, dialect) {
            (Surface::GenerateStream(Framing::Array), Dialect::Gemini | Dialect::Vertex) => Verb::StreamArray,
            (Surface::Chat | Surface::Responses | Surface::Generate | Surface::GenerateStream(_), _) => {
                if self.stream {
                    Verb::Stream
                } else {
                    Verb::Generate
                }
            }
            (Surface::Embeddings, Dialect::Vertex) => Verb::Predict,
            (Surface::Embeddings | Surface::BatchEmbed, _) => Verb::Embed,
            (Surface::EmbedContent, _) => Verb::EmbedOne,
            (Surface::CountTokens, _) => Verb::Count,
        }
    }

    /// The call in the words of this target.
    ///
    /// # Errors
    /// When the client is at fault, the target's dialect has no place for something, or wants what stands at an address
    /// and is not among `fetched`.
    pub(super) fn prepare(&self, target: &Target, fetched: &[Fetched]) -> Result<Prepared, Refusal> {
        let (dialect, model) = (target.dialect(), target.model());
        let (body, base64) = match (self.surface, dialect) {
            (Surface::Chat | Surface::Responses | Surface::Generate | Surface::GenerateStream(_), _)
            | (Surface::Embeddings, Dialect::OpenAi) => {
                let asked = Asked {
                    model,
                    peek: &self.peek,
                    stream: self.stream,
                    count_usage: self.counts_usage(target),
                    flavor: target.flavor(),
                    fetched,
                };
                (wire::request(self.front(), dialect, &self.body, &asked)?, false)
            }
            (Surface::Embeddings, Dialect::Gemini) => owned(embeddings::open_ai_to_gemini(&self.body, model)?),
            (Surface::Embeddings, Dialect::Vertex) => owned(embeddings::open_ai_to_vertex(&self.body)?),
            (Surface::EmbedContent | Surface::BatchEmbed, Dialect::OpenAi) => {
                let (body, _batch) = embeddings::gemini_to_open_ai_request(&self.body, model)?;
                (Cow::Owned(body), false)
            }
            (Surface::CountTokens, Dialect::OpenAi) => {
                let problem = "this model's provider counts no tokens".to_owned();
                return Err(Refusal::BadRequest { param: "countTokens".to_owned(), problem });
            }
            (Surface::EmbedContent | Surface::BatchEmbed | Surface::CountTokens, Dialect::Gemini | Dialect::Vertex) => {
                (wire::gemini_for(&self.body, model)?, false)
            }
        };
        Ok(Prepared { body: self.bytes(body, &self.body), base64 })
    }

    /// Whether a stream is asked for its counts though its client did not ask. Mistral sends them unasked, and refuses
    /// the question.
    fn counts_usage(&self, target: &Target) -> bool {
        match target.flavor() {
            wire::Flavor::OpenAi => self.stream,
            wire::Flavor::Mistral => false,
        }
    }

    /// A provider's whole answer in the client's words, and what it counted.
    ///
    /// # Errors
    /// When it is not what its dialect promises.
    pub(super) fn answer(
        &self,
        target: &Target,
        prepared: &Prepared,
        body: &Bytes,
    ) -> Result<(Bytes, Option<Usage>), Malformed> {
        let dialect = target.dialect();
        match (self.surface, dialect.is_gemini()) {
            (Surface::Chat | Surface::Responses | Surface::Generate | Surface::GenerateStream(_), _) => {
                let answered = wire::answer(self.front(), dialect, body, &self.identity(target))?;
                Ok((self.bytes(answered.body, body), answered.usage))
            }
            (Surface::Embeddings, true) => {
                let input = self.peek.tokens.input;
                let answer = embeddings::gemini_to_open_ai(body, &self.model, prepared.base64, input)?;
                Ok((answer.into(), wire::usage(body)))
            }
            (Surface::EmbedContent | Surface::BatchEmbed, false) => {
                let answer = embeddings::open_ai_to_gemini_answer(body, self.surface == Surface::BatchEmbed)?;
                Ok((answer.into(), wire::usage(body)))
            }
            (Surface::Embeddings, false)
            | (Surface::EmbedContent | Surface::BatchEmbed, true)
            | (Surface::CountTokens, _) => {
                serde_json::from_slice::<IgnoredAny>(body).map_err(|_not_json| Malformed)?;
                Ok((body.clone(), wire::usage(body)))
            }
        }
    }

    /// A reader for a stream from this target.
    pub(super) fn reader(&self, target: &Target) -> StreamReader {
        let hidden = self.counts_usage(target) && self.peek.include_usage.is_none();
        let stream = Stream::new(self.front(), target.dialect(), self.framing(), self.identity(target))
            .include_usage(self.peek.include_usage == Some(true))
            .hide_usage(hidden && target.dialect() == Dialect::OpenAi);
        let (front, framing) = (self.front(), self.framing());
        StreamReader { stream, front, framing, out: Vec::new(), sent: false }
    }

    /// A provider's error, cleaned of secrets, in the client's words.
    pub(super) fn error(&self, status: u16, text: &str) -> Bytes {
        let body: Option<Value> = serde_json::from_str(text).ok();
        let error = body.as_ref().and_then(|body| body.get("error")).and_then(Value::as_object);
        let is_gemini = error.map(|error| error.get("code").is_some_and(Value::is_u64));
        if is_gemini == Some(self.front() == Front::Gemini) {
            return Bytes::copy_from_slice(text.as_bytes());
        }
        let message = body.as_ref().and_then(message_in).unwrap_or("The provider refused the request");
        ClientError::new(status, message).render(self.front()).body.into()
    }

    /// What was borrowed from `source` without a copy, and what was not as it is.
    fn bytes(&self, text: Cow<'_, [u8]>, source: &Bytes) -> Bytes {
        match text {
            Cow::Borrowed(part) => source.slice_ref(part),
            Cow::Owned(bytes) => bytes.into(),
        }
    }
}

fn owned<'a>((body, base64): (Vec<u8>, bool)) -> (Cow<'a, [u8]>, bool) {
    (Cow::Owned(body), base64)
}

/// The sentence for people in an error body of any shape.
fn message_in(body: &Value) -> Option<&str> {
    let body = body.as_array().and_then(|errors| errors.first()).unwrap_or(body);
    let places = [body.pointer("/error/message"), body.get("error"), body.get("message"), body.get("detail")];
    places.into_iter().flatten().find_map(Value::as_str)
}

impl StreamReader {
    /// Takes what has arrived.
    ///
    /// # Errors
    /// When the stream is of no more use.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Failure> {
        // Hardly anything becomes longer than it was.
        self.out.reserve(piece.len());
        self.stream.push(piece, &mut self.out)
    }

    /// Nothing more arrives.
    ///
    /// # Errors
    /// When the client's stream must not end cleanly.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        self.stream.end(&mut self.out)
    }

    /// What the client may be sent next.
    pub(super) fn pull(&mut self) -> Option<Bytes> {
        if self.out.is_empty() {
            return None;
        }
        self.sent = true;
        Some(std::mem::take(&mut self.out).into())
    }

    /// Whether a good event has been seen.
    pub(super) fn has_begun(&self) -> bool {
        self.stream.is_good()
    }

    /// Whether the first event says that a safety rule held the answer back.
    pub(super) fn is_blocked(&self) -> bool {
        self.stream.is_blocked()
    }

    /// What the provider has counted so far.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.stream.usage()
    }

    /// The stream has failed after the client had seen its beginning: writes the error event of the client's dialect.
    pub(super) fn fail(&mut self, error: &ClientError) {
        let begun = self.sent || !self.out.is_empty();
        self.out.extend_from_slice(&error.event(self.front, self.framing, begun));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Credential;

    /// 2025-04-19T05:20:57Z.
    const WALL: WallTime = WallTime::from_nanos(1_745_040_057_644_000_000);

    #[test]
    fn a_translated_answer_is_dated() {
        let secret = secrecy::SecretString::from("s");
        let base = "https://g.example/v1beta";
        let gemini = Target::new(Dialect::Gemini, base, "g", Credential::GoogleKey, "k", &secret).expect("a target");
        let question = read(Surface::Chat, r#"{"model":"a","messages":[]}"#);
        assert_eq!(question.identity(&gemini).created, 1_745_040_057);
    }

    fn read(surface: Surface, body: &'static str) -> Question {
        Question::read(surface, Some("models/m"), Bytes::from_static(body.as_bytes()), WALL).expect("good")
    }

    #[test]
    fn a_repeated_call_is_the_same_turn() {
        let first = read(Surface::Chat, r#"{"model":"a","messages":[]}"#);
        let again = read(Surface::Chat, r#"{"model":"a","messages":[]}"#);
        let other = read(Surface::Chat, r#"{"model":"a","messages":[1]}"#);
        assert_eq!(first.turn(1), again.turn(1));
        assert_ne!(first.turn(1), first.turn(2), "another client's turn is another");
        assert_ne!(first.turn(1), other.turn(1));
    }

    #[test]
    fn a_providers_error_reaches_every_client_in_its_own_envelope() {
        let google = r#"{"error":{"code":400,"message":"no such field","status":"INVALID_ARGUMENT"}}"#;
        let mistral = r#"{"object":"error","message":"no such field","type":"invalid","code":"3051"}"#;
        let gemini = read(Surface::Generate, "{}");
        let chat = read(Surface::Chat, r#"{"model":"m"}"#);
        assert_eq!(gemini.error(400, google), google, "byte for byte in its own dialect");
        for (question, text) in [(&gemini, mistral), (&chat, mistral), (&chat, google)] {
            let body: Value = serde_json::from_slice(&question.error(400, text)).expect("JSON");
            assert_eq!(body["error"]["message"], "no such field");
            assert_eq!(body["error"].get("status").is_some(), question.front() == Front::Gemini);
        }
    }
}
