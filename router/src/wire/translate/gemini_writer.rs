//! OpenAI's answers, whole or chunk by chunk, as Gemini's.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Identity;
use super::gemini_answers::joined;
use crate::wire::gemini::{Answer, Candidate, Content, Finish, FunctionCall, MODEL, Part};
use crate::wire::json::{At, Fields, Json, elements, is_array, is_string, string, to_vec, write_event};
use crate::wire::open_ai::{Choice, Message, Reply};
use crate::wire::sse::Framing;
use crate::wire::usage::{GeminiCounts, OpenAiCounts};

/// A complete answer; `None` if it holds no choice.
pub(super) fn whole(reply: Reply<'_>, identity: &Identity) -> Option<Vec<u8>> {
    if reply.choices.is_empty() {
        return None;
    }
    let candidates = reply
        .choices
        .into_iter()
        .map(|choice| {
            let message = choice.message.unwrap_or_default();
            let mut parts = text_parts(&message);
            let mut malformed = false;
            for call in message.tool_calls {
                let function = call.function;
                let (part, ok) = call_part(
                    call.id.unwrap_or_default(),
                    function.name.unwrap_or_default(),
                    function.arguments.as_deref().unwrap_or_default(),
                );
                malformed |= !ok;
                parts.push(part);
            }
            candidate(choice.index, parts, choice.finish_reason.as_deref().or(Some("stop")), malformed)
        })
        .collect();
    let answer = answer(candidates, reply.usage.as_ref(), identity);
    Some(to_vec(&answer))
}

/// Turns chunks into events. Text goes on at once; a tool call is held until it is whole, since Gemini never sends
/// pieces of one; the end is held until the counts have come, which OpenAI sends behind it.
#[derive(Debug)]
pub(super) struct GeminiWriter {
    identity: Identity,
    framing: Framing,
    events: u64,
    /// Calls under way, by choice and by their place in it.
    calls: BTreeMap<(u32, u32), Call>,
    finished: BTreeMap<u32, String>,
    counts: Option<OpenAiCounts>,
}

#[derive(Debug, Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

impl GeminiWriter {
    pub(super) fn new(identity: Identity, framing: Framing) -> Self {
        let (calls, finished) = (BTreeMap::new(), BTreeMap::new());
        Self { identity, framing, events: 0, calls, finished, counts: None }
    }

    /// Takes one chunk and writes what can go on.
    pub(super) fn chunk(&mut self, reply: Reply<'_>, out: &mut Vec<u8>) {
        if reply.usage.is_some() {
            self.counts = reply.usage;
        }
        for choice in reply.choices {
            self.choice(choice, out);
        }
    }

    fn choice(&mut self, choice: Choice<'_>, out: &mut Vec<u8>) {
        let delta = choice.delta.or(choice.message).unwrap_or_default();
        let parts = text_parts(&delta);
        if !parts.is_empty() {
            let event = answer(vec![candidate(choice.index, parts, None, false)], None, &self.identity);
            let event = to_vec(&event);
            self.write(&event, out);
        }
        for (place, call) in delta.tool_calls.into_iter().enumerate() {
            // Servers that leave the index out send whole calls.
            let place = call.index.unwrap_or(place as u32);
            let held = self.calls.entry((choice.index, place)).or_default();
            if let Some(id) = call.id.filter(|id| !id.is_empty()) {
                held.id = id.into_owned();
            }
            if let Some(name) = call.function.name {
                held.name.push_str(&name);
            }
            held.arguments.push_str(&call.function.arguments.unwrap_or_default());
        }
        if let Some(reason) = choice.finish_reason {
            self.finished.insert(choice.index, reason.into_owned());
        }
    }

    /// Writes the held calls and ends, and closes the framing.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        let mut parts: BTreeMap<u32, (Vec<Part<'_>>, bool)> = BTreeMap::new();
        let calls = std::mem::take(&mut self.calls);
        for ((choice, _), call) in calls {
            let (part, ok) = call_part(Cow::Owned(call.id), Cow::Owned(call.name), &call.arguments);
            let (parts, malformed) = parts.entry(choice).or_default();
            parts.push(part);
            *malformed |= !ok;
        }
        let finished = std::mem::take(&mut self.finished);
        let mut candidates: Vec<Candidate<'_>> = finished
            .iter()
            .map(|(index, reason)| {
                let (parts, malformed) = parts.remove(index).unwrap_or_default();
                candidate(*index, parts, Some(reason), malformed)
            })
            .collect();
        // Servers that end with `[DONE]` alone.
        let unsaid =
            parts.into_iter().map(|(index, (parts, malformed))| candidate(index, parts, Some("stop"), malformed));
        candidates.extend(unsaid);
        let last = to_vec(&answer(candidates, self.counts.as_ref(), &self.identity));
        self.write(&last, out);
        if self.framing == Framing::Array {
            out.extend_from_slice(b"\n]\n");
        }
    }

    fn write(&mut self, event: &[u8], out: &mut Vec<u8>) {
        let begun = self.events > 0;
        self.events += 1;
        let (before, after): (&[u8], &[u8]) = match (self.framing, begun) {
            (Framing::Sse, _) => (b"data: ", b"\r\n\r\n"),
            (Framing::Array, false) => (b"[", b""),
            (Framing::Array, true) => (b"\n,\r\n", b""),
        };
        write_event(out, before, event, after);
    }
}

fn answer<'a>(candidates: Vec<Candidate<'a>>, counts: Option<&OpenAiCounts>, identity: &'a Identity) -> Answer<'a> {
    Answer {
        candidates,
        usage_metadata: counts.map(GeminiCounts::from),
        model_version: Some(Cow::Borrowed(&identity.model)),
        response_id: Some(Cow::Borrowed(&identity.id)),
        ..Answer::default()
    }
}

fn candidate<'a>(index: u32, parts: Vec<Part<'a>>, reason: Option<&str>, malformed: bool) -> Candidate<'a> {
    let finish_reason = reason.map(|reason| match malformed {
        true => Cow::Borrowed("MALFORMED_FUNCTION_CALL"),
        false => Cow::Borrowed(Finish::of_open_ai(reason).gemini()),
    });
    let content = Some(Content { parts, role: Some(Cow::Borrowed(MODEL)) });
    Candidate { content, finish_reason, index, ..Candidate::default() }
}

/// Thoughts and text. Content is a string, or at some servers a list of `text` and `thinking` parts.
fn text_parts<'a>(message: &Message<'a>) -> Vec<Part<'a>> {
    let thought = |text: Json<'a>| Part { thought: true, ..Part::text(text) };
    let mut parts: Vec<Part<'a>> =
        message.reasoning_content.clone().into_iter().filter(|text| is_text(text)).map(thought).collect();
    match &message.content {
        Some(Json::Raw(list)) if is_array(list) => {
            for (thinking, text) in listed(list, true) {
                parts.push(if thinking { thought(text) } else { Part::text(text) });
            }
        }
        Some(text) if is_text(text) => parts.push(Part::text(text.clone())),
        Some(_) | None => {}
    }
    if parts.iter().all(|part| part.thought) {
        parts.extend(message.refusal.clone().into_iter().filter(|text| is_text(text)).map(Part::text));
    }
    parts
}

fn is_text(json: &Json<'_>) -> bool {
    match json {
        Json::Raw(raw) => is_string(raw) && !json.is_empty_text(),
        Json::Text(text) => !text.is_empty(),
        Json::Own(_) | Json::Tree(_) | Json::List(_) | Json::Members(_) => false,
    }
}

/// The texts in a list of parts, and which of them are thoughts: `{"type":"thinking","thinking":[{"type":"text",…}]}`.
/// What cannot be read is left out.
fn listed<'a>(list: &'a RawValue, outermost: bool) -> Vec<(bool, Json<'a>)> {
    let at = At::ROOT;
    let mut texts = Vec::new();
    for part in elements(list, &at).unwrap_or_default() {
        let Ok(fields) = Fields::of(part, &at) else { continue };
        let kind = fields.get("type").and_then(|kind| string(kind, &at).ok()).unwrap_or_default();
        match (&*kind, fields.get("text"), fields.get("thinking")) {
            ("thinking", _, Some(thinking)) if is_array(thinking) && outermost => {
                let inner = listed(thinking, false).into_iter().map(|(_, text)| text).collect();
                texts.extend(joined(inner).map(|text| (true, text)));
            }
            ("thinking", _, Some(thinking)) if is_string(thinking) => texts.push((true, Json::Raw(thinking))),
            (_, Some(text), _) if is_string(text) => texts.push((false, Json::Raw(text))),
            (_, _, _) => {}
        }
    }
    texts
}

/// A call, and whether its arguments were an object.
fn call_part<'a>(id: Cow<'a, str>, name: Cow<'a, str>, arguments: &str) -> (Part<'a>, bool) {
    let empty = arguments.trim().is_empty();
    let args = if empty { None } else { Json::object_in(arguments) };
    let ok = empty || args.is_some();
    let call = FunctionCall {
        id: Some(Json::Text(id)).filter(|id| !id.is_empty_text()),
        name: Json::Text(name),
        args: Some(args.unwrap_or_else(|| Json::Tree(Value::Object(Map::new())))),
    };
    (Part { function_call: Some(call), ..Part::default() }, ok)
}
