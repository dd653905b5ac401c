//! `generateContent` answers, whole and as streams.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use stormproof_router::wire::Framing;

use super::{Label, pieces, pretty, reached, spaced};
use crate::mock::said::{Counts, Finish, Said, What};

/// A picture of one transparent point.
const PICTURE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

/// How Gemini's own API and Vertex differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mock) enum House {
    /// `generativelanguage.googleapis.com`.
    Gemini,
    /// `aiplatform.googleapis.com`: says when, and counts only in the last event.
    Vertex,
}

/// A whole answer.
pub(in crate::mock) fn whole(said: &Said, label: &Label, house: House) -> Value {
    let mut parts = Vec::new();
    if !said.thoughts.is_empty() {
        parts.push(thought(&said.thoughts));
    }
    parts.extend(content(&said.what, label));
    answer(said, parts, Some(said.finish), usage(said.counts, label, house, true), label, house)
}

/// The events of a stream of about `count` pieces. Unless it is `complete`, none of them says that the answer is over.
pub(in crate::mock) fn events(said: &Said, label: &Label, house: House, count: usize, complete: bool) -> Vec<Value> {
    let of_thoughts = match said.thoughts.is_empty() {
        true => 0,
        false => (count * said.counts.thoughts as usize / said.counts.output().max(1) as usize).max(1),
    };
    let count = count.saturating_sub(of_thoughts).max(1);
    let mut bodies: Vec<(Vec<Value>, Counts)> = Vec::new();
    for (number, piece) in pieces(&said.thoughts, of_thoughts).enumerate() {
        let thoughts = reached(said.counts.thoughts, number + 1, of_thoughts);
        bodies.push((vec![thought(piece)], Counts { thoughts, answer: 0, ..said.counts }));
    }
    match &said.what {
        What::Text(text) => {
            for (number, piece) in pieces(text, count).enumerate() {
                let answer = reached(said.counts.answer, number + 1, count);
                bodies.push((vec![json!({ "text": piece })], Counts { answer, ..said.counts }));
            }
        }
        What::Calls(_) | What::Picture | What::Nothing => bodies.push((content(&said.what, label), said.counts)),
    }
    // Since the third generation a call is followed by an empty text that ends the answer.
    if matches!(said.what, What::Calls(_)) && label.model.contains("gemini-3") {
        bodies.push((vec![json!({"text": ""})], said.counts));
    }
    let last = bodies.len() - 1;
    let event = |(index, (parts, counts)): (usize, (Vec<Value>, Counts))| {
        let finish = Some(said.finish).filter(|_| complete && index == last);
        answer(said, parts, finish, usage(counts, label, house, index == last), label, house)
    };
    bodies.into_iter().enumerate().map(event).collect()
}

/// What is said when the prompt is blocked: a success without an answer.
pub(in crate::mock) fn blocked(input: u32, label: &Label, house: House) -> Value {
    let counts = Counts { input, ..Counts::default() };
    let mut answer = Map::new();
    answer.insert("promptFeedback".to_owned(), json!({"blockReason": "PROHIBITED_CONTENT"}));
    answer.insert("usageMetadata".to_owned(), usage(counts, label, house, true));
    close(answer, label, house)
}

/// An event as it goes over the wire; `index` is its place in the stream.
pub(in crate::mock) fn frame(event: &Value, framing: Framing, index: usize) -> Vec<u8> {
    match framing {
        Framing::Sse => [b"data: ".as_slice(), &spaced(event), b"\r\n\r\n"].concat(),
        Framing::Array => {
            let lead: &[u8] = if index == 0 { b"[" } else { b"\n,\r\n" };
            [lead, pretty(event).trim_ascii_end()].concat()
        }
    }
}

/// What ends a stream.
pub(in crate::mock) fn end(framing: Framing) -> &'static [u8] {
    match framing {
        Framing::Sse => b"",
        Framing::Array => b"\n]\n",
    }
}

fn thought(text: &str) -> Value {
    json!({"text": text, "thought": true})
}

fn content(what: &What, label: &Label) -> Vec<Value> {
    match what {
        What::Text(text) => vec![json!({ "text": text })],
        What::Nothing => Vec::new(),
        What::Picture => vec![json!({"inlineData": {"mimeType": "image/png", "data": PICTURE}})],
        What::Calls(calls) => {
            let mut parts: Vec<Value> =
                calls.iter().map(|call| json!({"functionCall": {"name": call.name, "args": call.arguments}})).collect();
            if let Some(Value::Object(first)) = parts.first_mut() {
                first.insert("thoughtSignature".to_owned(), signature(label).into());
            }
            parts
        }
    }
}

/// What stands for the model's opaque state.
pub(super) fn signature(label: &Label) -> String {
    STANDARD.encode(format!("signature of {}", label.id))
}

fn answer(said: &Said, parts: Vec<Value>, finish: Option<Finish>, usage: Value, label: &Label, house: House) -> Value {
    let content = if parts.is_empty() { json!({"role": "model"}) } else { json!({"parts": parts, "role": "model"}) };
    let candidate = |index: u32| {
        let mut candidate = Map::new();
        candidate.insert("content".to_owned(), content.clone());
        if let Some(finish) = finish {
            let reason = match finish {
                Finish::Stop => "STOP",
                Finish::Length => "MAX_TOKENS",
            };
            candidate.insert("finishReason".to_owned(), reason.into());
        }
        // Vertex leaves the index of a single candidate out.
        if said.answers > 1 || house == House::Gemini {
            candidate.insert("index".to_owned(), index.into());
        }
        Value::Object(candidate)
    };
    let mut answer = Map::new();
    answer.insert("candidates".to_owned(), (0..said.answers).map(candidate).collect());
    answer.insert("usageMetadata".to_owned(), usage);
    close(answer, label, house)
}

fn close(mut answer: Map<String, Value>, label: &Label, house: House) -> Value {
    answer.insert("modelVersion".to_owned(), label.model.as_str().into());
    if house == House::Vertex {
        let seconds = i64::try_from(label.created).unwrap_or(0);
        let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
        answer.insert("createTime".to_owned(), time.to_string().into());
    }
    answer.insert("responseId".to_owned(), label.id.as_str().into());
    Value::Object(answer)
}

fn usage(counts: Counts, label: &Label, house: House, last: bool) -> Value {
    let mut usage = Map::new();
    if house == House::Gemini || last {
        usage.insert("promptTokenCount".to_owned(), counts.input.into());
        if counts.answer > 0 {
            usage.insert("candidatesTokenCount".to_owned(), counts.answer.into());
        }
        usage.insert("totalTokenCount".to_owned(), counts.total().into());
        let details = json!([{"modality": "TEXT", "tokenCount": counts.input}]);
        usage.insert("promptTokensDetails".to_owned(), details);
        if counts.thoughts > 0 {
            usage.insert("thoughtsTokenCount".to_owned(), counts.thoughts.into());
        }
    }
    if house == House::Vertex {
        usage.insert("trafficType".to_owned(), "ON_DEMAND".into());
    } else if label.tells_tier {
        usage.insert("serviceTier".to_owned(), "standard".into());
    }
    Value::Object(usage)
}
