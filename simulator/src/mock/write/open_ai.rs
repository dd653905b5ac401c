//! Chat completions, whole and as streams.

use serde_json::{Map, Value, json};

use super::{Label, gemini, pieces};
use crate::mock::said::{Call, Counts, Finish, Said, What};

/// Whose idea of a chat completion it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mock) enum Style {
    /// OpenAI's.
    OpenAi,
    /// Mistral's: fewer members, and the counts always in the last chunk.
    Mistral,
    /// Gemini's own compatibility endpoint: counts without thoughts; in a stream, calls have neither index nor id and
    /// end with "stop".
    Compat,
}

/// A stream as it goes over the wire.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::mock) struct Chunks {
    /// One entry for each moment at which something is sent.
    pub(in crate::mock) pieces: Vec<Vec<u8>>,
    /// What follows when the answer is over.
    pub(in crate::mock) tail: Vec<u8>,
}

/// A whole answer.
pub(in crate::mock) fn whole(said: &Said, label: &Label, style: Style) -> Value {
    let choice = |index: u32| {
        let mut message = Map::new();
        message.insert("role".to_owned(), "assistant".into());
        message.insert("content".to_owned(), text_in(&said.what));
        if style == Style::OpenAi {
            message.insert("refusal".to_owned(), Value::Null);
        }
        if let What::Calls(calls) = &said.what {
            message.insert("tool_calls".to_owned(), tool_calls(calls, label, style, false));
        }
        choice(index, "message", Value::Object(message), Some(finish(said, style, false)))
    };
    let choices = (0..said.answers).map(choice).collect();
    reply("chat.completion", choices, Some(usage(said.counts, style)), label, style)
}

/// The answer of a provider whose filter did not let it through.
pub(in crate::mock) fn blocked(input: u32, label: &Label, style: Style) -> Value {
    let message = json!({"role": "assistant", "content": ""});
    let usage = usage(Counts { input, ..Counts::default() }, style);
    reply("chat.completion", vec![choice(0, "message", message, Some("content_filter"))], Some(usage), label, style)
}

/// The same as a stream.
pub(in crate::mock) fn blocked_chunks(input: u32, label: &Label, style: Style) -> Chunks {
    let usage = usage(Counts { input, ..Counts::default() }, style);
    let delta = json!({"role": "assistant", "content": ""});
    let chunk = reply(CHUNK, vec![choice(0, "delta", delta, Some("content_filter"))], Some(usage), label, style);
    Chunks { pieces: vec![frame(&chunk)], tail: DONE.to_vec() }
}

/// A stream of about `count` pieces. Unless it is `complete`, nothing in it says that the answer is over.
pub(in crate::mock) fn chunks(
    said: &Said,
    label: &Label,
    style: Style,
    count: usize,
    include_usage: bool,
    complete: bool,
) -> Chunks {
    let chunk = |delta: Value, finish: Option<&str>, usage: Option<Value>| {
        let choices = (0..said.answers).map(|index| choice(index, "delta", delta.clone(), finish)).collect();
        frame(&reply(CHUNK, choices, usage, label, style))
    };
    let mut deltas: Vec<Value> = match &said.what {
        What::Text(text) => pieces(text, count.max(1)).map(|piece| json!({ "content": piece })).collect(),
        What::Calls(calls) => vec![json!({"tool_calls": tool_calls(calls, label, style, true)})],
        What::Picture | What::Nothing => vec![json!({"content": ""})],
    };
    let mut sent: Vec<Vec<u8>> = Vec::new();
    if style == Style::OpenAi {
        let opening = chunk(json!({"role": "assistant", "content": "", "refusal": null}), None, None);
        sent.push(opening);
    } else if let Some(Value::Object(first)) = deltas.first_mut() {
        first.insert("role".to_owned(), "assistant".into());
    }
    let opening = sent.pop().unwrap_or_default();
    let mut pieces: Vec<Vec<u8>> = deltas.into_iter().map(|delta| chunk(delta, None, None)).collect();
    if let Some(first) = pieces.first_mut() {
        first.splice(..0, opening);
    }
    if !complete {
        return Chunks { pieces, tail: Vec::new() };
    }
    let counts = usage(said.counts, style);
    let in_last = (style == Style::Mistral).then(|| counts.clone());
    let last = chunk(json!({}), Some(finish(said, style, true)), in_last);
    if let Some(piece) = pieces.last_mut() {
        piece.extend(last);
    }
    let mut tail = Vec::new();
    if include_usage && style != Style::Mistral {
        tail.extend(frame(&reply(CHUNK, Vec::new(), Some(counts), label, style)));
    }
    tail.extend_from_slice(DONE);
    Chunks { pieces, tail }
}

/// One server-sent event.
pub(in crate::mock) fn frame(value: &Value) -> Vec<u8> {
    format!("data: {value}\n\n").into_bytes()
}

const CHUNK: &str = "chat.completion.chunk";
const DONE: &[u8] = b"data: [DONE]\n\n";

fn choice(index: u32, name: &str, message: Value, finish: Option<&str>) -> Value {
    let mut choice = Map::new();
    choice.insert("index".to_owned(), index.into());
    choice.insert(name.to_owned(), message);
    choice.insert("logprobs".to_owned(), Value::Null);
    choice.insert("finish_reason".to_owned(), finish.map_or(Value::Null, Value::from));
    Value::Object(choice)
}

fn reply(object: &str, choices: Vec<Value>, usage: Option<Value>, label: &Label, style: Style) -> Value {
    let mut reply = Map::new();
    let id = if style == Style::OpenAi { format!("chatcmpl-{}", label.id) } else { label.id.clone() };
    reply.insert("id".to_owned(), id.into());
    reply.insert("object".to_owned(), object.into());
    reply.insert("created".to_owned(), label.created.into());
    reply.insert("model".to_owned(), label.model.as_str().into());
    reply.insert("choices".to_owned(), choices.into());
    if let Some(usage) = usage {
        reply.insert("usage".to_owned(), usage);
    }
    if style == Style::OpenAi {
        reply.insert("service_tier".to_owned(), "default".into());
        reply.insert("system_fingerprint".to_owned(), "fp_mock".into());
    }
    Value::Object(reply)
}

fn text_in(what: &What) -> Value {
    match what {
        What::Text(text) => text.as_str().into(),
        What::Calls(_) => Value::Null,
        What::Picture | What::Nothing => "".into(),
    }
}

fn finish(said: &Said, style: Style, stream: bool) -> &'static str {
    match (said.finish, &said.what) {
        (Finish::Length, _) => "length",
        (Finish::Stop, What::Calls(_)) if style == Style::Compat && stream => "stop",
        (Finish::Stop, What::Calls(_)) => "tool_calls",
        (Finish::Stop, What::Text(_) | What::Picture | What::Nothing) => "stop",
    }
}

fn tool_calls(calls: &[Call], label: &Label, style: Style, stream: bool) -> Value {
    let call = |(number, call): (usize, &Call)| {
        let mut made = Map::new();
        if stream && style != Style::Compat {
            made.insert("index".to_owned(), number.into());
        }
        let id = match style {
            Style::OpenAi => format!("call_{}{number}", label.id),
            // Nine letters and digits.
            Style::Mistral => format!("{:.8}{}", label.id, number % 10),
            Style::Compat if stream => String::new(),
            Style::Compat => format!("function-call-{}{number}", label.id),
        };
        made.insert("id".to_owned(), id.into());
        made.insert("type".to_owned(), "function".into());
        let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
        made.insert("function".to_owned(), function);
        if style == Style::Compat && number == 0 {
            let signature = gemini::signature(label);
            made.insert("extra_content".to_owned(), json!({"google": {"thought_signature": signature}}));
        }
        Value::Object(made)
    };
    calls.iter().enumerate().map(call).collect()
}

fn usage(counts: Counts, style: Style) -> Value {
    match style {
        Style::OpenAi => json!({
            "prompt_tokens": counts.input,
            "completion_tokens": counts.output(),
            "total_tokens": counts.total(),
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": counts.thoughts},
        }),
        Style::Mistral => json!({
            "prompt_tokens": counts.input,
            "completion_tokens": counts.output(),
            "total_tokens": counts.total(),
        }),
        Style::Compat => json!({
            "prompt_tokens": counts.input,
            "completion_tokens": counts.answer,
            "total_tokens": counts.total(),
        }),
    }
}
