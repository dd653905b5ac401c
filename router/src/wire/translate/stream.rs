//! Streams: watched where the dialects agree, translated where they do not.

use thiserror::Error;

use super::gemini_answers::GeminiAnswers;
use super::gemini_writer::GeminiWriter;
use super::responses_writer::ResponsesWriter;
use super::{Front, Glimpse, Identity, Malformed};
use crate::core::{Facts, Reason, Usage, WallTime};
use crate::wire::dialect::Dialect;
use crate::wire::errors::facts;
use crate::wire::gemini::Answer;
use crate::wire::json::write_value;
use crate::wire::open_ai::{Message, Reply};
use crate::wire::sse::{Event, Framing, Splitter, Unframed, last_event};
use crate::wire::usage::{GeminiCounts, OpenAiCounts};

/// One upstream stream on its way to a client.
///
/// Feed it every piece with [`Stream::push`] and send on what it appends; when the upstream is through, call
/// [`Stream::end`]. Events go on whole. An event that reports a failure, and whatever follows it, never goes on: the
/// driver learns of it, and either tries elsewhere or, when the client has seen something already, closes the stream
/// with an error event of its own.
#[derive(Debug)]
pub struct Stream {
    splitter: Splitter,
    relay: Relay,
    failed: Option<Failure>,
}

/// Why a stream is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The provider reported an error inside the stream.
    #[error("the provider reported an error inside the stream")]
    Error(Facts),
    /// Something came that is no event of the dialect.
    #[error("the stream holds something that is no event")]
    Malformed,
    /// It ended without saying that the answer was over.
    #[error("the stream ended before the answer did")]
    Cut,
}

/// Where a stream goes, and how.
#[derive(Debug)]
struct Relay {
    from_gemini: bool,
    framing: Framing,
    mode: Mode,
    good: bool,
    blocked: bool,
    finished: bool,
    usage: Option<Usage>,
    include_usage: bool,
    hide_usage: bool,
}

#[derive(Debug)]
enum Mode {
    Pass,
    GeminiToChat(GeminiAnswers),
    GeminiToResponses(GeminiAnswers, ResponsesWriter),
    ChatToResponses(ResponsesWriter),
    ChatToGemini(GeminiWriter),
}

impl From<Unframed> for Failure {
    fn from(_: Unframed) -> Self {
        Self::Malformed
    }
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Stream {
    /// A stream from `upstream`, which sends it in `framing`, to a client that speaks `front`. A Gemini client gets the
    /// same framing. `include_usage` is what an OpenAI client said of it; where it said nothing and the upstream was
    /// asked nevertheless, say `hide_usage`.
    pub fn new(front: Front, upstream: Dialect, framing: Framing, identity: Identity) -> Self {
        let from_gemini = upstream.is_gemini();
        let mode = match (front, from_gemini) {
            (Front::Chat, false) | (Front::Gemini, true) => Mode::Pass,
            (Front::Chat, true) => Mode::GeminiToChat(GeminiAnswers::new(identity)),
            (Front::Responses, true) => {
                Mode::GeminiToResponses(GeminiAnswers::new(identity.clone()), ResponsesWriter::new(identity))
            }
            (Front::Responses, false) => Mode::ChatToResponses(ResponsesWriter::new(identity)),
            (Front::Gemini, false) => Mode::ChatToGemini(GeminiWriter::new(identity, framing)),
        };
        // OpenAI's dialect knows no other framing, whatever the client is to get.
        let arriving = if from_gemini { framing } else { Framing::Sse };
        let relay = Relay {
            from_gemini,
            framing: arriving,
            mode,
            good: false,
            blocked: false,
            finished: false,
            usage: None,
            include_usage: false,
            hide_usage: false,
        };
        Self { splitter: Splitter::new(arriving), relay, failed: None }
    }

    /// The chat client wants a last chunk with the usage.
    pub fn include_usage(mut self, wanted: bool) -> Self {
        self.relay.include_usage = wanted;
        self
    }

    /// The upstream sends a chunk with the usage that the client did not ask for.
    pub fn hide_usage(mut self, hidden: bool) -> Self {
        self.relay.hide_usage = hidden;
        self
    }

    /// Takes the next piece and appends to `out` what the client gets of it. After a failure nothing is taken any more.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        if let Some(failure) = self.failed {
            return Err(failure);
        }
        let Self { splitter, relay, failed } = self;
        let result = splitter.push(piece, |event, raw| relay.event(event, raw, out));
        *failed = result.err();
        result
    }

    /// Whether a good event has come: the provider has accepted the call, and what is in `out` may be shown.
    pub fn is_good(&self) -> bool {
        self.relay.good
    }

    /// Whether the first event says that a safety rule held the answer back: there is nothing more to come.
    pub fn is_blocked(&self) -> bool {
        self.relay.blocked
    }

    /// The counts so far; the provider's last word is the one that holds.
    pub fn usage(&self) -> Option<Usage> {
        self.relay.usage
    }

    /// The upstream is through. Appends what closes the client's stream, or says why it must not be closed cleanly.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        if let Some(failure) = self.failed {
            return Err(failure);
        }
        let rest = self.splitter.rest();
        let result = self.relay.rest(&rest, out).and_then(|()| self.relay.end(out));
        self.failed = result.err();
        result
    }
}

impl Relay {
    fn event(&mut self, event: Event<'_>, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        match event {
            Event::Data(data) => self.data(&data, raw, out),
            Event::Filler => {
                self.pass(raw, out);
                Ok(())
            }
            Event::Stray => {
                // Unknown fields are to be ignored, but what failed servers print looks like unknown fields.
                fail_if_error(raw)?;
                self.pass(raw, out);
                Ok(())
            }
        }
    }

    fn pass(&self, raw: &[u8], out: &mut Vec<u8>) {
        match self.mode {
            Mode::Pass => out.extend_from_slice(raw),
            Mode::GeminiToChat(_) | Mode::GeminiToResponses(..) | Mode::ChatToResponses(_) | Mode::ChatToGemini(_) => {}
        }
    }

    fn data(&mut self, data: &[u8], raw: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        if data.trim_ascii() == b"[DONE]" {
            self.finished |= !self.from_gemini;
            self.pass(raw, out);
            return Ok(());
        }
        if !self.good {
            self.blocked = said(data).reason == Some(Reason::ContentBlocked);
        }
        match &mut self.mode {
            Mode::Pass => {
                let glimpse = Glimpse::of(data)?;
                if glimpse.error.is_some() || (!glimpse.is_answer() && glimpse.usage().is_none()) {
                    fail_if_error(data)?;
                }
                self.finished |= glimpse.is_end();
                self.usage = glimpse.usage().or(self.usage);
                if !(self.hide_usage && glimpse.is_only_usage()) {
                    out.extend_from_slice(raw);
                }
            }
            Mode::GeminiToChat(answers) => {
                let answer = gemini_event(data, &mut self.usage)?;
                self.finished |= answers.event(answer, |reply| write_chunk(&reply, out));
            }
            Mode::GeminiToResponses(answers, writer) => {
                let answer = gemini_event(data, &mut self.usage)?;
                self.finished |= answers.event(answer, |reply| writer.chunk(&reply, out));
                if let Some(counts) = answers.counts() {
                    writer.count(counts);
                }
            }
            Mode::ChatToResponses(writer) => {
                let reply = chat_event(data, &mut self.usage, &mut self.finished)?;
                writer.chunk(&reply, out);
            }
            Mode::ChatToGemini(writer) => {
                let reply = chat_event(data, &mut self.usage, &mut self.finished)?;
                writer.chunk(reply, out);
            }
        }
        self.good = true;
        Ok(())
    }

    /// What was left without its end: a last event that lacks its empty line, or a raw error.
    fn rest(&mut self, rest: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        if rest.trim_ascii().is_empty() {
            self.pass(rest, out);
            return Ok(());
        }
        match self.framing {
            Framing::Sse => {
                if matches!(last_event(rest), Event::Data(_)) && self.finished {
                    // Nothing that matters any more, and nothing that could be trusted to be whole.
                    let _ignored = self.event(last_event(rest), rest, out);
                    return Ok(());
                }
                self.event(last_event(rest), rest, out)
            }
            Framing::Array => fail_if_error(rest),
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        if !self.finished {
            return Err(Failure::Cut);
        }
        match &mut self.mode {
            Mode::Pass => {}
            Mode::GeminiToChat(answers) => {
                if self.include_usage {
                    let mut last = Reply { usage: answers.counts(), ..answers.empty_chunk() };
                    last.usage.get_or_insert_default();
                    write_chunk(&last, out);
                }
                out.extend_from_slice(b"data: [DONE]\n\n");
            }
            Mode::GeminiToResponses(_, writer) | Mode::ChatToResponses(writer) => writer.end(out),
            Mode::ChatToGemini(writer) => writer.end(out),
        }
        Ok(())
    }
}

fn write_chunk(reply: &Reply<'_>, out: &mut Vec<u8>) {
    write_value(out, b"data: ", reply, b"\n\n");
}

fn gemini_event<'a>(data: &'a [u8], usage: &mut Option<Usage>) -> Result<Answer<'a>, Failure> {
    let answer: Answer<'a> = match serde_json::from_slice(data) {
        Ok(answer) => answer,
        Err(_unreadable) => return Err(fail_if_error(data).err().unwrap_or(Failure::Malformed)),
    };
    if answer.error.is_some() || (answer.candidates.is_empty() && answer.usage_metadata.is_none()) {
        fail_if_error(data)?;
    }
    *usage = answer.usage_metadata.as_ref().and_then(GeminiCounts::usage).or(*usage);
    Ok(answer)
}

fn chat_event<'a>(data: &'a [u8], usage: &mut Option<Usage>, finished: &mut bool) -> Result<Reply<'a>, Failure> {
    let mut reply: Reply<'a> = match serde_json::from_slice(data) {
        Ok(reply) => reply,
        Err(_unreadable) => return Err(fail_if_error(data).err().unwrap_or(Failure::Malformed)),
    };
    if reply.error.is_some() || (reply.choices.is_empty() && reply.usage.is_none()) {
        fail_if_error(data)?;
    }
    *usage = reply.usage.as_ref().and_then(OpenAiCounts::usage).or(*usage);
    *finished |= reply.choices.iter().any(|choice| choice.finish_reason.is_some());
    // Some servers end with a chunk whose delta is missing altogether.
    for choice in &mut reply.choices {
        choice.delta.get_or_insert_with(Message::default);
    }
    Ok(reply)
}

/// Fails if `data` is an error in any of its shapes.
fn fail_if_error(data: &[u8]) -> Result<(), Failure> {
    #[derive(serde::Deserialize)]
    struct Declared {
        #[serde(default)]
        error: crate::wire::json::Present,
        #[serde(default)]
        object: Option<String>,
        /// All that Mistral said in early 2025. No event of an answer has it.
        #[serde(default)]
        message: crate::wire::json::Present,
    }
    let said = said(data);
    let declared = match serde_json::from_slice::<Declared>(data) {
        Ok(Declared { error, object, message }) => match object {
            Some(object) => object == "error" || error.is_some(),
            None => error.is_some() || message.is_some(),
        },
        Err(_no_object) => false,
    };
    // A blocked prompt is an answer, if an empty one.
    let fails = said.reason != Some(Reason::ContentBlocked) && said != Facts::default();
    if declared || fails { Err(Failure::Error(said)) } else { Ok(()) }
}

/// The facts in an event. Neither the clock nor a header matters for what stands in one.
fn said(data: &[u8]) -> Facts {
    facts(200, &[("", ""); 0], data, WallTime::default())
}
