//! Chat replies, whole or chunk by chunk, as `/v1/responses` answers and events.

use serde_json::{Value, json};

use super::Identity;
use crate::wire::json::Json;
use crate::wire::open_ai::{Choice, Message, Reply};
use crate::wire::usage::OpenAiCounts;

/// A complete answer. The API has one answer each; of several choices the first is it.
pub(super) fn whole(reply: &Reply<'_>, identity: &Identity) -> Vec<u8> {
    let mut writer = ResponsesWriter::new(identity.clone());
    let mut unsent = Vec::new();
    writer.counts = reply.usage;
    if let Some(choice) = reply.choices.first() {
        writer.choice(choice, choice.message.as_ref(), &mut unsent);
    }
    writer.close_item(&mut unsent);
    writer.response(writer.status()).to_string().into_bytes()
}

/// Writes the events of a response. Items (a message, a function call) come one after the other; each is opened, filled
/// and closed.
#[derive(Debug)]
pub(super) struct ResponsesWriter {
    identity: Identity,
    sequence: u64,
    begun: bool,
    done: Vec<Value>,
    open: Option<Item>,
    finish: Option<String>,
    counts: Option<OpenAiCounts>,
}

#[derive(Debug)]
enum Item {
    Message { text: String },
    Call { place: Option<u32>, id: String, name: String, arguments: String },
}

impl ResponsesWriter {
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity, sequence: 0, begun: false, done: Vec::new(), open: None, finish: None, counts: None }
    }

    /// The provider's last word on usage.
    pub(super) fn count(&mut self, counts: OpenAiCounts) {
        self.counts = Some(counts);
    }

    /// Takes one chunk and writes its events.
    pub(super) fn chunk(&mut self, reply: &Reply<'_>, out: &mut Vec<u8>) {
        self.begin(out);
        if reply.usage.is_some() {
            self.counts = reply.usage;
        }
        for choice in reply.choices.iter().filter(|choice| choice.index == 0) {
            self.choice(choice, choice.delta.as_ref(), out);
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        for kind in ["response.created", "response.in_progress"] {
            let response = self.response("in_progress");
            self.event(kind, json!({ "response": response }), out);
        }
    }

    fn choice(&mut self, choice: &Choice<'_>, message: Option<&Message<'_>>, out: &mut Vec<u8>) {
        let Some(message) = message else { return };
        for text in [&message.content, &message.refusal].into_iter().flatten().filter_map(Json::text) {
            self.text(&text, out);
        }
        for call in &message.tool_calls {
            let id = call.id.as_deref().unwrap_or_default();
            let name = call.function.name.as_deref().unwrap_or_default();
            self.call(call.index, id, name, call.function.arguments.as_deref().unwrap_or_default(), out);
        }
        if let Some(reason) = &choice.finish_reason {
            self.finish = Some(reason.to_string());
        }
    }

    fn text(&mut self, piece: &str, out: &mut Vec<u8>) {
        if piece.is_empty() {
            return;
        }
        if !matches!(self.open, Some(Item::Message { .. })) {
            self.close_item(out);
            let item = self.message("in_progress", None);
            self.event("response.output_item.added", json!({"output_index": self.done.len(), "item": item}), out);
            self.open = Some(Item::Message { text: String::new() });
            let part = json!({"type": "output_text", "text": "", "annotations": []});
            self.part_event("response.content_part.added", json!({ "part": part }), out);
        }
        if let Some(Item::Message { text }) = &mut self.open {
            text.push_str(piece);
        }
        self.part_event("response.output_text.delta", json!({"delta": piece, "logprobs": []}), out);
    }

    fn call(&mut self, place: Option<u32>, id: &str, name: &str, arguments: &str, out: &mut Vec<u8>) {
        let goes_on = match &self.open {
            Some(Item::Call { place: open, .. }) => place.is_some() && *open == place,
            Some(Item::Message { .. }) | None => false,
        };
        if !goes_on {
            self.close_item(out);
            let id = if id.is_empty() { self.identity.call_id(self.done.len() as u32) } else { id.to_owned() };
            let item = self.function_call("in_progress", &id, name, "");
            self.event("response.output_item.added", json!({"output_index": self.done.len(), "item": item}), out);
            self.open = Some(Item::Call { place, id, name: name.to_owned(), arguments: String::new() });
        }
        if let Some(Item::Call { arguments: known, .. }) = &mut self.open {
            known.push_str(arguments);
        }
        if !arguments.is_empty() {
            self.item_event("response.function_call_arguments.delta", json!({ "delta": arguments }), out);
        }
    }

    fn close_item(&mut self, out: &mut Vec<u8>) {
        let item = match self.open.take() {
            None => return,
            Some(Item::Message { text }) => {
                self.part_event("response.output_text.done", json!({"text": text, "logprobs": []}), out);
                let part = json!({"type": "output_text", "text": text, "annotations": []});
                self.part_event("response.content_part.done", json!({ "part": part }), out);
                self.message("completed", Some(&text))
            }
            Some(Item::Call { id, name, arguments, .. }) => {
                let body = json!({"name": name, "arguments": arguments});
                self.item_event("response.function_call_arguments.done", body, out);
                self.function_call("completed", &id, &name, &arguments)
            }
        };
        self.event("response.output_item.done", json!({"output_index": self.done.len(), "item": item}), out);
        self.done.push(item);
    }

    /// Closes what is open and writes the last event.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        self.close_item(out);
        let status = self.status();
        let response = self.response(status);
        self.event(&format!("response.{status}"), json!({ "response": response }), out);
    }

    fn status(&self) -> &'static str {
        match self.finish.as_deref() {
            Some("length" | "content_filter") => "incomplete",
            Some(_) | None => "completed",
        }
    }

    fn item_id(&self) -> String {
        format!("item_{}_{}", self.identity.id, self.done.len())
    }

    fn message(&self, status: &str, text: Option<&str>) -> Value {
        let content: Vec<Value> =
            text.into_iter().map(|text| json!({"type": "output_text", "text": text, "annotations": []})).collect();
        json!({"type": "message", "id": self.item_id(), "status": status, "role": "assistant", "content": content})
    }

    fn function_call(&self, status: &str, id: &str, name: &str, arguments: &str) -> Value {
        json!({
            "type": "function_call",
            "id": self.item_id(),
            "call_id": id,
            "name": name,
            "arguments": arguments,
            "status": status,
        })
    }

    fn response(&self, status: &str) -> Value {
        let reason = match self.finish.as_deref() {
            Some("length") => json!({"reason": "max_output_tokens"}),
            Some("content_filter") => json!({"reason": "content_filter"}),
            Some(_) | None => Value::Null,
        };
        json!({
            "id": format!("resp_{}", self.identity.id),
            "object": "response",
            "created_at": self.identity.created,
            "status": status,
            "error": null,
            "incomplete_details": if status == "incomplete" { reason } else { Value::Null },
            "instructions": null,
            "metadata": {},
            "model": self.identity.model,
            "output": self.done,
            "parallel_tool_calls": true,
            "temperature": null,
            "tool_choice": "auto",
            "tools": [],
            "top_p": null,
            "usage": if status == "in_progress" { Value::Null } else { usage(self.counts) },
        })
    }

    fn part_event(&mut self, kind: &str, mut body: Value, out: &mut Vec<u8>) {
        body["content_index"] = json!(0);
        self.item_event(kind, body, out);
    }

    fn item_event(&mut self, kind: &str, mut body: Value, out: &mut Vec<u8>) {
        body["item_id"] = Value::from(self.item_id());
        body["output_index"] = json!(self.done.len());
        self.event(kind, body, out);
    }

    fn event(&mut self, kind: &str, mut body: Value, out: &mut Vec<u8>) {
        body["type"] = Value::from(kind);
        body["sequence_number"] = Value::from(self.sequence);
        self.sequence += 1;
        out.extend_from_slice(format!("event: {kind}\ndata: {body}\n\n").as_bytes());
    }
}

fn usage(counts: Option<OpenAiCounts>) -> Value {
    let Some(counts) = counts else { return Value::Null };
    let (input, output) = (counts.prompt_tokens.or_zero(), counts.output());
    json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": counts.prompt_tokens_details.unwrap_or_default().cached_tokens.or_zero()},
        "output_tokens": output,
        "output_tokens_details": {
            "reasoning_tokens": counts.completion_tokens_details.unwrap_or_default().reasoning_tokens.or_zero()
        },
        "total_tokens": input + output,
    })
}
