//! A `/v1/responses` request as a chat completion. State that only OpenAI keeps (`previous_response_id`, conversations,
//! stored prompts, background runs) and its hosted tools are refused.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Asked, Flavor};
use crate::wire::json::{
    At, Fields, Json, Members, Refusal, elements, is_array, is_empty, is_object, is_string, string, to_vec,
};

/// Rewrites the body.
pub(super) fn request(body: &[u8], asked: &Asked<'_>) -> Result<Vec<u8>, Refusal> {
    let fields = Fields::of_body(body)?;
    let mut out = Members::of([("model", Json::Text(Cow::Borrowed(asked.model)))]);
    let mut messages = Vec::new();
    if let Some(instructions) = fields.get("instructions") {
        messages.push(Json::object([("role", Json::constant("system")), ("content", Json::Raw(instructions))]));
    }
    input(fields.need("input", &At::ROOT)?, &mut messages)?;
    out.set("messages", Json::List(messages));
    for (name, value) in fields.iter() {
        let at = At::ROOT.field(name);
        match name {
            "model" | "input" | "instructions" | "stream" | "stream_options" => {}
            "max_output_tokens" => out.set(asked.flavor.answer_limit(), Json::Raw(value)),
            "temperature" => out.set("temperature", Json::Raw(value)),
            "top_p" => out.set("top_p", Json::Raw(value)),
            "top_logprobs" => {
                out.set("logprobs", Json::tree(true));
                out.set("top_logprobs", Json::Raw(value));
            }
            "tools" => out.set("tools", tools(value, &at)?),
            "tool_choice" => out.set("tool_choice", tool_choice(value, &at)?),
            "text" => text(value, &mut out, &at)?,
            "reasoning" => {
                let effort = Fields::of(value, &at)?.get("effort");
                if let Some(effort) = effort.filter(|_| asked.flavor.thinks()) {
                    out.set("reasoning_effort", Json::Raw(effort));
                }
            }
            // Bookkeeping of the client, and hints that the answer does not depend on.
            "store"
            | "user"
            | "metadata"
            | "parallel_tool_calls"
            | "include"
            | "service_tier"
            | "safety_identifier"
            | "prompt_cache_key"
            | "prompt_cache_retention" => {}
            "truncation" if value.get() == "\"disabled\"" => {}
            _ if is_empty(value) => {}
            _ => return Err(at.no_place()),
        }
    }
    if asked.stream {
        out.set("stream", Json::tree(true));
        if asked.flavor == Flavor::OpenAi {
            out.set("stream_options", Json::object([("include_usage", Json::tree(true))]));
        }
    }
    Ok(to_vec(&out))
}

/// A text, or a list of items.
fn input<'a>(value: &'a RawValue, messages: &mut Vec<Json<'a>>) -> Result<(), Refusal> {
    let at = At::ROOT.field("input");
    if is_string(value) {
        messages.push(Json::object([("role", Json::constant("user")), ("content", Json::Raw(value))]));
        return Ok(());
    }
    // Calls in a row are one assistant message.
    let mut calls: Vec<Json<'a>> = Vec::new();
    for (index, item) in elements(value, &at)?.into_iter().enumerate() {
        let at = at.index(index);
        let item = Fields::of(item, &at)?;
        let kind = match item.get("type") {
            Some(kind) => string(kind, &at.field("type"))?,
            None => Cow::Borrowed("message"),
        };
        if kind != "function_call" {
            write_calls(&mut calls, messages);
        }
        match &*kind {
            "message" => messages.push(message(&item, &at)?),
            "function_call" => {
                let function = [("name", raw(&item, "name", &at)?), ("arguments", raw(&item, "arguments", &at)?)];
                calls.push(Json::object([
                    ("id", raw(&item, "call_id", &at)?),
                    ("type", Json::constant("function")),
                    ("function", Json::object(function)),
                ]));
            }
            "function_call_output" => messages.push(Json::object([
                ("role", Json::constant("tool")),
                ("tool_call_id", raw(&item, "call_id", &at)?),
                ("content", content(item.need("output", &at)?, &at.field("output"))?),
            ])),
            // What the model thought before; it thinks anew.
            "reasoning" => {}
            _ => return Err(at.field("type").refuse("must be message, function_call or function_call_output")),
        }
    }
    write_calls(&mut calls, messages);
    Ok(())
}

fn raw<'a>(fields: &Fields<'a>, name: &str, at: &At<'_>) -> Result<Json<'a>, Refusal> {
    fields.need(name, at).map(Json::Raw)
}

fn write_calls<'a>(calls: &mut Vec<Json<'a>>, messages: &mut Vec<Json<'a>>) {
    if calls.is_empty() {
        return;
    }
    let calls = std::mem::take(calls);
    messages.push(Json::object([
        ("role", Json::constant("assistant")),
        ("content", Json::NULL),
        ("tool_calls", Json::List(calls)),
    ]));
}

fn message<'a>(item: &Fields<'a>, at: &At<'_>) -> Result<Json<'a>, Refusal> {
    let content = content(item.need("content", at)?, &at.field("content"))?;
    Ok(Json::object([("role", raw(item, "role", at)?), ("content", content)]))
}

/// A text, or a list of parts.
fn content<'a>(value: &'a RawValue, at: &At<'_>) -> Result<Json<'a>, Refusal> {
    if !is_array(value) {
        return Ok(Json::Raw(value));
    }
    let mut parts = Vec::new();
    for (index, part) in elements(value, at)?.into_iter().enumerate() {
        let at = at.index(index);
        let part = Fields::of(part, &at)?;
        let text = |name: &str| Ok(Json::object([("type", Json::constant("text")), ("text", raw(&part, name, &at)?)]));
        parts.push(match &*string(part.need("type", &at)?, &at.field("type"))? {
            "input_text" | "output_text" | "text" => text("text")?,
            "refusal" => text("refusal")?,
            "input_image" => {
                let url = part.get("image_url").ok_or_else(|| at.field("image_url").refuse("is required"))?;
                let url = [("url", Json::Raw(url))];
                Json::object([("type", Json::constant("image_url")), ("image_url", Json::object(url))])
            }
            "input_file" => {
                let data = part.get("file_data").ok_or_else(|| at.field("file_data").refuse("is required"))?;
                let mut file = Members::of([("file_data", Json::Raw(data))]);
                if let Some(name) = part.get("filename") {
                    file.set("filename", Json::Raw(name));
                }
                Json::object([("type", Json::constant("file")), ("file", Json::Members(file))])
            }
            _ => return Err(at.field("type").refuse("must be input_text, input_image or input_file")),
        });
    }
    Ok(Json::List(parts))
}

fn tools<'a>(value: &'a RawValue, at: &At<'_>) -> Result<Json<'a>, Refusal> {
    let mut tools = Vec::new();
    for (index, tool) in elements(value, at)?.into_iter().enumerate() {
        let at = at.index(index);
        let tool = Fields::of(tool, &at)?;
        if string(tool.need("type", &at)?, &at.field("type"))? != "function" {
            return Err(at.field("type").refuse("must be function: hosted tools run at OpenAI only"));
        }
        let mut function = Members::of([("name", raw(&tool, "name", &at)?)]);
        for name in ["description", "parameters", "strict"] {
            if let Some(value) = tool.get(name) {
                function.set(name, Json::Raw(value));
            }
        }
        tools.push(Json::object([("type", Json::constant("function")), ("function", Json::Members(function))]));
    }
    Ok(Json::List(tools))
}

fn tool_choice<'a>(value: &'a RawValue, at: &At<'_>) -> Result<Json<'a>, Refusal> {
    if !is_object(value) {
        return Ok(Json::Raw(value));
    }
    let name = raw(&Fields::of(value, at)?, "name", at)?;
    Ok(Json::object([("type", Json::constant("function")), ("function", Json::object([("name", name)]))]))
}

/// `text.format` is `response_format` without its inner object.
fn text<'a>(value: &'a RawValue, out: &mut Members<'a>, at: &At<'_>) -> Result<(), Refusal> {
    let fields = Fields::of(value, at)?;
    let Some(format) = fields.get("format") else { return Ok(()) };
    let at = at.field("format");
    let fields = Fields::of(format, &at)?;
    if string(fields.need("type", &at)?, &at.field("type"))? != "json_schema" {
        out.set("response_format", Json::Raw(format));
        return Ok(());
    }
    let mut inner = Members::default();
    for name in ["name", "description", "schema", "strict"] {
        if let Some(value) = fields.get(name) {
            inner.set(name, Json::Raw(value));
        }
    }
    let format = [("type", Json::constant("json_schema")), ("json_schema", Json::Members(inner))];
    out.set("response_format", Json::object(format));
    Ok(())
}
