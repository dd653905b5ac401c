//! A provider's stream on its way to becoming the client's.

use std::collections::VecDeque;

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::events::{Events, data, is_bare_json};
use crate::core::{Facts, Transport, Usage};
use crate::proxy::fault::{Fault, Speech};
use crate::wire;

/// How the client wants a stream framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Framing {
    /// Server-sent events, lines ending with LF, closed by `[DONE]`.
    OpenAi,
    /// Server-sent events, lines ending with CRLF, without comments and without `[DONE]`.
    GeminiEvents,
    /// One JSON array, element by element.
    GeminiArray,
}

/// Reads a provider's stream and writes the client's. It gives on whole events as soon as they are there, and holds
/// back an error until the driver has decided what becomes of it.
#[derive(Debug)]
pub(in crate::proxy) struct StreamReader {
    events: Events,
    framing: Framing,
    ready: VecDeque<Bytes>,
    begun: bool,
    /// The client has been sent something.
    written: bool,
    /// The provider has said that the answer is complete.
    complete: bool,
    /// The last event that holds counts.
    counted: Option<Bytes>,
    error: Option<Bytes>,
    /// What the error was, for the client.
    told: Option<Fault>,
}

impl StreamReader {
    /// A reader at the start of a stream whose dialect is the client's own.
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            events: Events::default(),
            framing,
            ready: VecDeque::new(),
            begun: false,
            written: false,
            complete: false,
            counted: None,
            error: None,
            told: None,
        }
    }

    /// Takes what has arrived.
    pub(in crate::proxy) fn push(&mut self, chunk: Bytes) {
        if self.events.push(chunk).is_err() {
            self.error = Some(Bytes::from_static(b"an event longer than any provider sends"));
        }
        while self.error.is_none() {
            let Some(event) = self.events.pull() else { return };
            self.take(event);
        }
    }

    /// Nothing more arrives.
    pub(in crate::proxy) fn end(&mut self) {
        let rest = self.events.rest();
        if !rest.trim_ascii().is_empty() && self.error.is_none() {
            // A last event without its empty line is whole if its JSON is.
            let whole = data(&rest).is_some_and(|data| is_done(&data) || is_json(&data));
            if whole || is_bare_json(&rest) {
                self.take(rest);
            }
        }
        if self.complete && self.framing == Framing::GeminiArray {
            self.ready.push_back(Bytes::from_static(b"\n]\n"));
        }
    }

    fn take(&mut self, event: Bytes) {
        let Some(data) = data(&event) else {
            if is_bare_json(&event) {
                self.error = Some(event);
            } else if self.framing == Framing::OpenAi {
                self.ready.push_back(event);
            }
            return;
        };
        if is_done(&data) {
            self.complete = true;
            if self.framing == Framing::OpenAi {
                self.ready.push_back(event);
            }
            return;
        }
        if is_error(&data) {
            self.error = Some(data);
            return;
        }
        self.begun = true;
        if memmem::find(&data, b"\"usage").is_some() {
            self.counted = Some(data.clone());
        }
        self.complete |= says_complete(&data, self.framing);
        match self.framing {
            Framing::OpenAi | Framing::GeminiEvents => self.ready.push_back(event),
            Framing::GeminiArray => {
                self.ready.push_back(Bytes::from_static(if self.written { b"\n,\r\n" } else { b"[" }));
                self.ready.push_back(data);
            }
        }
        self.written = true;
    }

    /// What the client may be sent next.
    pub(in crate::proxy) fn pull(&mut self) -> Option<Bytes> {
        self.ready.pop_front()
    }

    /// Whether a good event has been seen.
    pub(in crate::proxy) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the provider has said that its answer is complete.
    pub(in crate::proxy) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The error that the stream holds, once.
    pub(in crate::proxy) fn take_error(&mut self) -> Option<Bytes> {
        let error = self.error.take()?;
        let status = wire::facts(200, &http::HeaderMap::new(), &error, crate::core::WallTime::default()).inner_status;
        let text = String::from_utf8_lossy(&error);
        let message = super::question::message_of(&text).unwrap_or_else(|| "The provider failed".to_owned());
        self.told = Some(Fault::new(status.unwrap_or(502), "upstream_failed", wire::redact(&message, []).into_owned()));
        Some(error)
    }

    /// What the provider has counted so far.
    pub(in crate::proxy) fn usage(&self) -> Option<Usage> {
        wire::usage(self.counted.as_ref()?)
    }

    /// The stream has failed after the client had seen its beginning: writes the error event of the client's dialect.
    pub(in crate::proxy) fn fail(&mut self, transport: Transport, _facts: Facts) {
        let fault = self
            .told
            .take()
            .unwrap_or_else(|| Fault::new(502, "stream_cut", format!("The answer broke off: {}", words(transport))));
        let mut event = Vec::new();
        match self.framing {
            Framing::OpenAi => {
                event.extend_from_slice(b"data: ");
                event.extend_from_slice(&fault.body(Speech::OpenAi));
                event.extend_from_slice(b"\n\n");
            }
            Framing::GeminiEvents => {
                event.extend_from_slice(b"data: ");
                event.extend_from_slice(&fault.body(Speech::Gemini));
                event.extend_from_slice(b"\r\n\r\n");
            }
            Framing::GeminiArray => {
                event.extend_from_slice(if self.written { b"\n,\r\n" } else { b"[" });
                event.extend_from_slice(&fault.body(Speech::Gemini));
                event.extend_from_slice(b"\n]\n");
            }
        }
        self.ready.push_back(event.into());
    }
}

/// How a stream failed, for its client.
fn words(transport: Transport) -> &'static str {
    match transport {
        Transport::IdleTimeout => "the provider fell silent",
        Transport::TotalTimeout => "the provider took too long",
        Transport::Cut | Transport::Reset | Transport::ReusedConnection | Transport::Connect => {
            "the provider closed the connection"
        }
        Transport::FirstByteTimeout | Transport::ErrorEvent | Transport::Malformed | Transport::Abandoned => {
            "the provider failed"
        }
    }
}

fn is_json(data: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(data).is_ok()
}

fn is_done(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]"
}

/// Whether an event is an error. Nearly no answer holds the word, so nearly none is parsed.
fn is_error(data: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Shape {
        #[serde(default)]
        error: Option<IgnoredAny>,
    }
    memmem::find(data, b"\"error\"").is_some()
        && serde_json::from_slice::<Shape>(data).is_ok_and(|shape| shape.error.is_some())
}

/// Whether an event says that the answer is complete.
fn says_complete(data: &[u8], framing: Framing) -> bool {
    match framing {
        Framing::OpenAi => memmem::find_iter(data, b"\"finish_reason\"").any(|at| {
            let value = data[at + b"\"finish_reason\"".len()..].trim_ascii_start();
            value.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"\""))
        }),
        Framing::GeminiEvents | Framing::GeminiArray => {
            memmem::find(data, b"\"finishReason\"").is_some() || memmem::find(data, b"\"blockReason\"").is_some()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(framing: Framing, pieces: &[&str]) -> (String, StreamReader) {
        let mut reader = StreamReader::new(framing);
        for piece in pieces {
            reader.push(Bytes::copy_from_slice(piece.as_bytes()));
        }
        reader.end();
        let mut text = String::new();
        while let Some(bytes) = reader.pull() {
            text.push_str(std::str::from_utf8(&bytes).expect("text"));
        }
        (text, reader)
    }

    const HELLO: &str = "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"hi\"}]}}]}\r\n\r\n";
    const END: &str = "data: {\"candidates\": [{\"finishReason\": \"STOP\"}],\"usageMetadata\": {\"promptTokenCount\": 3,\"candidatesTokenCount\": 2,\"totalTokenCount\": 5}}\r\n\r\n";

    #[test]
    fn a_stream_in_the_clients_dialect_passes_byte_for_byte() {
        let (text, reader) = read(Framing::GeminiEvents, &[HELLO, END]);
        assert_eq!(text, format!("{HELLO}{END}"));
        assert!(reader.is_complete());
        assert_eq!(reader.usage().map(|usage| usage.output.get()), Some(2));
        let chat = "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n: hush\n\ndata: [DONE]\n\n";
        assert_eq!(read(Framing::OpenAi, &[&chat[..30], &chat[30..]]).0, chat);
    }

    #[test]
    fn an_array_holds_the_same_elements() {
        let (text, _) = read(Framing::GeminiArray, &[HELLO, END]);
        let elements: Vec<serde_json::Value> = serde_json::from_str(&text).expect("an array");
        assert_eq!(elements.len(), 2);
    }

    #[test]
    fn gemini_clients_never_see_comments() {
        let (text, _) = read(Framing::GeminiEvents, &[": ping\n\n", HELLO, "data: [DONE]\n\n"]);
        assert_eq!(text, HELLO);
    }

    #[test]
    fn an_error_is_held_back_in_whatever_shape_it_comes() {
        for error in [
            "data: {\"error\": {\"code\": 503, \"message\": \"overloaded\"}}\r\n\r\n",
            "{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"overloaded\"\n  }\n}\n",
        ] {
            let (text, mut reader) = read(Framing::GeminiEvents, &[HELLO, error]);
            assert_eq!(text, HELLO);
            assert!(reader.take_error().is_some(), "{error}");
            assert!(!reader.is_complete());
            reader.fail(Transport::ErrorEvent, Facts::default());
            let event = reader.pull().expect("an error event");
            assert!(event.starts_with(b"data: {\"error\":") && event.ends_with(b"\r\n\r\n"), "{event:?}");
            assert!(memmem::find(&event, b"overloaded").is_some(), "{event:?}");
        }
    }

    #[test]
    fn the_word_error_in_an_answer_is_no_error() {
        let talk = "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"an \\\"error\\\"\"}]}}], \"error\": null}\r\n\r\n";
        assert!(read(Framing::GeminiEvents, &[talk]).1.take_error().is_none());
    }

    #[test]
    fn a_stream_that_stops_early_is_not_complete() {
        assert!(!read(Framing::GeminiEvents, &[HELLO]).1.is_complete());
        assert!(!read(Framing::GeminiEvents, &[HELLO, &END[..40]]).1.is_complete());
        assert!(!read(Framing::OpenAi, &["data: {\"choices\":[{\"finish_reason\":null}]}\n\n"]).1.is_complete());
    }
}
