//! An OpenAI chat completion as a Gemini `generateContent` request.
//!
//! Every member of the source is in one of three groups: it has a place, it is a hint that changes no answer (named
//! here, and dropped), or it is refused by its name. Nothing disappears silently.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use super::contents::{Contents, tool_response};
use super::family::Family;
use super::media::{self, Media};
use super::{Asked, schema};
use crate::wire::gemini::{
    FunctionCall, FunctionCalling, FunctionDeclaration, MODEL, Part, Request, Tool, ToolConfig, USER,
};
use crate::wire::json::{
    At, Fields, Json, Members, Refusal, elements, is_array, is_empty, is_object, is_string, string, to_vec, value,
};
use crate::wire::open_ai::signature_in;

/// A signature that Gemini 3 accepts for a call it did not make, or whose own got lost on the way through a client.
/// <https://ai.google.dev/gemini-api/docs/thought-signatures>
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// Rewrites the body.
pub(super) fn request(body: &[u8], asked: &Asked<'_>) -> Result<Vec<u8>, Refusal> {
    let fields = Fields::of_body(body)?;
    let mut reader = Reader {
        family: Family::of(asked.model),
        media: Media::new(asked.fetched),
        request: Request::default(),
        config: Members::default(),
        tools: Vec::new(),
        output_limit: None,
    };
    for (name, value) in fields.iter() {
        reader.member(name, value, &At::ROOT.field(name))?;
    }
    fields.need("messages", &At::ROOT)?;
    reader.finish()
}

struct Reader<'a> {
    family: Family,
    media: Media<'a>,
    request: Request<'a>,
    config: Members<'a>,
    tools: Vec<FunctionDeclaration<'a>>,
    output_limit: Option<&'a RawValue>,
}

impl<'a> Reader<'a> {
    fn finish(mut self) -> Result<Vec<u8>, Refusal> {
        self.media.finish()?;
        if let Some(limit) = self.output_limit {
            self.config.set("maxOutputTokens", Json::Raw(limit));
        }
        if !self.tools.is_empty() {
            self.request.tools.push(Tool { function_declarations: self.tools });
        }
        self.request.generation_config = self.config;
        Ok(to_vec(&self.request))
    }

    fn member(&mut self, name: &str, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        match name {
            "messages" => self.messages(value, at),
            "tools" => self.tools(value, at),
            "functions" => self.functions(value, at),
            "tool_choice" | "function_call" => self.tool_choice(value, at),
            "response_format" => self.response_format(value, at),
            "reasoning_effort" => self.reasoning_effort(value, at),
            "stop" => self.stop(value, at),
            "extra_body" => self.extra_body(value, at),
            "temperature" => self.keep("temperature", value),
            "top_p" => self.keep("topP", value),
            "top_k" => self.keep("topK", value),
            "n" => self.keep("candidateCount", value),
            "seed" => self.keep("seed", value),
            "presence_penalty" => self.keep("presencePenalty", value),
            "frequency_penalty" => self.keep("frequencyPenalty", value),
            "logprobs" => self.keep("responseLogprobs", value),
            "top_logprobs" => self.keep("logprobs", value),
            "max_completion_tokens" => {
                self.output_limit = Some(value);
                Ok(())
            }
            "max_tokens" => {
                self.output_limit.get_or_insert(value);
                Ok(())
            }
            "safety_settings" | "safetySettings" => {
                self.request.safety_settings = Some(Json::Raw(value));
                Ok(())
            }
            "modalities" => self.modalities(value, at),
            // The path, the method and the client's own bookkeeping.
            "model" | "stream" | "stream_options" | "user" | "safety_identifier" | "metadata" | "store" => Ok(()),
            // Hints that the answer does not depend on.
            "parallel_tool_calls"
            | "prediction"
            | "prompt_cache_key"
            | "prompt_cache_retention"
            | "service_tier"
            | "verbosity" => Ok(()),
            _ if is_empty(value) => Ok(()),
            _ => Err(at.no_place()),
        }
    }

    fn keep(&mut self, name: &'static str, value: &'a RawValue) -> Result<(), Refusal> {
        self.config.set(name, Json::Raw(value));
        Ok(())
    }

    fn modalities(&mut self, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        let mut wanted = Vec::new();
        for (index, modality) in elements(value, at)?.into_iter().enumerate() {
            let at = at.index(index);
            wanted.push(match &*string(modality, &at)? {
                "text" => Json::constant("TEXT"),
                "image" => Json::constant("IMAGE"),
                _ => return Err(at.no_place()),
            });
        }
        self.config.set("responseModalities", Json::List(wanted));
        Ok(())
    }

    fn stop(&mut self, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        let stops = if is_array(value) { elements(value, at)? } else { vec![value] };
        let stops: Vec<Json<'a>> = stops.into_iter().filter(|stop| !is_empty(stop)).map(Json::Raw).collect();
        if !stops.is_empty() {
            self.config.set("stopSequences", Json::List(stops));
        }
        Ok(())
    }

    fn reasoning_effort(&mut self, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        let effort = string(value, at)?;
        let known = "must be one of none, minimal, low, medium, high, xhigh";
        if let Some(thinking) = self.family.thinking(&effort).map_err(|_unknown| at.refuse(known))? {
            self.config.set("thinkingConfig", Json::Members(thinking));
        }
        Ok(())
    }

    fn response_format(&mut self, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        let format = Fields::of(value, at)?;
        match &*string(format.need("type", at)?, &at.field("type"))? {
            "text" => Ok(()),
            "json_object" => {
                self.config.set("responseMimeType", Json::constant("application/json"));
                Ok(())
            }
            "json_schema" => {
                let at = at.field("json_schema");
                let inner = Fields::of(format.get("json_schema").ok_or_else(|| at.refuse("is required"))?, &at)?;
                self.config.set("responseMimeType", Json::constant("application/json"));
                let Some(schema) = inner.get("schema") else { return Ok(()) };
                let (converted, untouched) = self.schema(schema, &at.field("schema"))?;
                if let Some(schema) = converted {
                    self.config.set("responseSchema", schema);
                }
                if let Some(schema) = untouched {
                    self.config.set("responseJsonSchema", schema);
                }
                Ok(())
            }
            _ => Err(at.field("type").refuse("must be text, json_object or json_schema")),
        }
    }

    /// A schema in the form that the model takes: converted, or as it came.
    fn schema(&self, raw: &'a RawValue, at: &At<'_>) -> Result<(Option<Json<'a>>, Option<Json<'a>>), Refusal> {
        if self.family.takes_json_schema() {
            return Ok((None, Some(Json::Raw(raw))));
        }
        let tree: Value = value(raw, "a JSON schema", at)?;
        Ok((Some(Json::Tree(schema::to_gemini(&tree, at)?)), None))
    }

    fn tools(&mut self, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        for (index, tool) in elements(value, at)?.into_iter().enumerate() {
            let at = at.index(index);
            let fields = Fields::of(tool, &at)?;
            let kind = match fields.get("type") {
                Some(kind) => string(kind, &at.field("type"))?,
                None => Cow::Borrowed("function"),
            };
            if kind != "function" {
                return Err(at.field("type").refuse("must be function: the model's provider has no other tools here"));
            }
            self.function(fields.need("function", &at)?, &at.field("function"))?;
        }
        Ok(())
    }

    /// The `functions` of 2023.
    fn functions(&mut self, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        let functions = elements(value, at)?;
        functions.into_iter().enumerate().try_for_each(|(index, function)| self.function(function, &at.index(index)))
    }

    fn function(&mut self, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        let fields = Fields::of(value, at)?;
        let (mut parameters, mut parameters_json_schema) = (None, None);
        for (name, value) in fields.iter() {
            match name {
                "name" | "description" | "strict" => {}
                "parameters" => {
                    let at = at.field("parameters");
                    // A function without parameters must not have an empty object here.
                    if Fields::of(value, &at)?.get("properties").is_some_and(is_empty) || is_empty(value) {
                        continue;
                    }
                    (parameters, parameters_json_schema) = self.schema(value, &at)?;
                }
                _ if is_empty(value) => {}
                _ => return Err(at.field(name).no_place()),
            }
        }
        let name = fields.need("name", at)?;
        string(name, &at.field("name"))?;
        let description = fields.get("description").map(Json::Raw);
        self.tools.push(FunctionDeclaration { name: Json::Raw(name), description, parameters, parameters_json_schema });
        Ok(())
    }

    fn tool_choice(&mut self, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        let mut names = Vec::new();
        let mode = if is_object(value) {
            let fields = Fields::of(value, at)?;
            let (holder, inner) = match fields.get("function") {
                Some(function) => (Fields::of(function, &at.field("function"))?, at.field("function")),
                None => (fields, *at),
            };
            names.push(string(holder.need("name", &inner)?, &inner.field("name"))?);
            "ANY"
        } else {
            match &*string(value, at)? {
                "auto" => "AUTO",
                "none" => "NONE",
                "required" | "any" => "ANY",
                _ => return Err(at.refuse("must be auto, none, required or a function")),
            }
        };
        self.request.tool_config =
            Some(ToolConfig { function_calling_config: FunctionCalling { mode, allowed_function_names: names } });
        Ok(())
    }

    /// Google's own members, where its compatibility endpoint takes them: `extra_body.google`.
    fn extra_body(&mut self, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        for (name, value) in Fields::of(value, at)?.iter() {
            let at = at.field(name);
            if name != "google" {
                return Err(at.no_place());
            }
            for (name, value) in Fields::of(value, &at)?.camel().iter() {
                match name {
                    "thinkingConfig" => self.config.set("thinkingConfig", Json::Raw(value)),
                    "cachedContent" => self.request.cached_content = Some(Json::Raw(value)),
                    "safetySettings" => self.request.safety_settings = Some(Json::Raw(value)),
                    _ => return Err(at.field(name).no_place()),
                }
            }
        }
        Ok(())
    }

    fn messages(&mut self, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        let mut contents = Contents::default();
        let mut system: Vec<Part<'a>> = Vec::new();
        for (index, message) in elements(value, at)?.into_iter().enumerate() {
            let at = at.index(index);
            let message = Fields::of(message, &at)?;
            match &*string(message.need("role", &at)?, &at.field("role"))? {
                "system" | "developer" => {
                    check_members(&message, &["name"], &at)?;
                    system.extend(self.parts(message.get("content"), &at.field("content"))?);
                }
                "user" => {
                    check_members(&message, &["name"], &at)?;
                    let parts = self.parts(Some(message.need("content", &at)?), &at.field("content"))?;
                    contents.push(USER, parts);
                }
                "assistant" => self.assistant(&message, &mut contents, &at)?,
                "tool" => {
                    check_members(&message, &["name", "tool_call_id"], &at)?;
                    let id = string(message.need("tool_call_id", &at)?, &at.field("tool_call_id"))?;
                    let said = self.tool_content(message.need("content", &at)?, &at.field("content"))?;
                    contents.answer_by_id(&id, said).ok_or_else(|| {
                        at.field("tool_call_id").refuse("answers no tool call of an earlier assistant message")
                    })?;
                }
                "function" => {
                    check_members(&message, &["name"], &at)?;
                    let name = string(message.need("name", &at)?, &at.field("name"))?;
                    let said = self.tool_content(message.need("content", &at)?, &at.field("content"))?;
                    contents.answer_by_name(name, said);
                }
                _ => return Err(at.field("role").refuse("must be system, developer, user, assistant or tool")),
            }
        }
        self.request.contents = contents.finish();
        system.retain(|part| !part.text.as_ref().is_some_and(Json::is_empty_text));
        if !system.is_empty() {
            self.request.system_instruction = Some(crate::wire::gemini::Content { parts: system, role: None });
        }
        Ok(())
    }

    fn assistant(&mut self, message: &Fields<'a>, contents: &mut Contents<'a>, at: &At<'_>) -> Result<(), Refusal> {
        // What an answer carries for its reader comes back with it, and is no part of what was said.
        const FOR_THE_READER: [&str; 9] = [
            "name",
            "refusal",
            "tool_calls",
            "function_call",
            "extra_content",
            "reasoning_content",
            "reasoning",
            "annotations",
            "images",
        ];
        check_members(message, &FOR_THE_READER, at)?;
        let said = message.get("content").filter(|content| !is_empty(content)).or_else(|| message.get("refusal"));
        let mut parts = self.parts(said, &at.field("content"))?;
        if let (Some(last), Some(extra)) = (parts.last_mut(), message.get("extra_content")) {
            last.thought_signature = signature_in(extra);
        }
        if let Some(calls) = message.get("tool_calls") {
            let at = at.field("tool_calls");
            for (index, call) in elements(calls, &at)?.into_iter().enumerate() {
                let part = self.call(call, index == 0, contents, &at.index(index))?;
                parts.push(part);
            }
        }
        if let Some(call) = message.get("function_call") {
            let at = at.field("function_call");
            let (name, args) = function_of(&Fields::of(call, &at)?, &at)?;
            contents.called(None, name.clone());
            parts.push(self.call_part(name, args, None, true));
        }
        contents.push(MODEL, parts);
        Ok(())
    }

    fn call(
        &mut self,
        value: &'a RawValue,
        first: bool,
        contents: &mut Contents<'a>,
        at: &At<'_>,
    ) -> Result<Part<'a>, Refusal> {
        let fields = Fields::of(value, at)?;
        let inner = at.field("function");
        let (name, args) = function_of(&Fields::of(fields.need("function", at)?, &inner)?, &inner)?;
        let id = fields.get("id").map(|id| string(id, &at.field("id"))).transpose()?;
        contents.called(id, name.clone());
        let signature = fields.get("extra_content").and_then(signature_in);
        Ok(self.call_part(name, args, signature, first))
    }

    /// Parallel calls are signed at the first one only.
    fn call_part(&self, name: Cow<'a, str>, args: Json<'a>, signature: Option<Json<'a>>, first: bool) -> Part<'a> {
        let missing = first && signature.is_none() && self.family.checks_signatures();
        Part {
            function_call: Some(FunctionCall { id: None, name: Json::Text(name), args: Some(args) }),
            thought_signature: if missing { Some(Json::constant(NO_SIGNATURE)) } else { signature },
            ..Part::default()
        }
    }

    /// A message's content as parts: a string, or a list of them.
    fn parts(&mut self, content: Option<&'a RawValue>, at: &At<'_>) -> Result<Vec<Part<'a>>, Refusal> {
        let Some(content) = content.filter(|content| !is_empty(content)) else { return Ok(Vec::new()) };
        if is_string(content) {
            return Ok(vec![Part::text(Json::Raw(content))]);
        }
        if !is_array(content) {
            return Err(at.refuse("must be a string or a list of parts"));
        }
        let mut parts = Vec::new();
        for (index, part) in elements(content, at)?.into_iter().enumerate() {
            let at = at.index(index);
            let fields = Fields::of(part, &at)?;
            let kind = string(fields.need("type", &at)?, &at.field("type"))?;
            let part = match &*kind {
                "text" | "input_text" | "output_text" => Part::text(Json::Raw(text_of(&fields, "text", &at)?)),
                "refusal" => Part::text(Json::Raw(text_of(&fields, "refusal", &at)?)),
                "image_url" | "input_audio" | "file" => media::part(&mut self.media, &kind, &fields, &at)?,
                _ => return Err(at.field("type").refuse("must be text, image_url, input_audio or file")),
            };
            if !part.text.as_ref().is_some_and(Json::is_empty_text) {
                parts.push(part);
            }
        }
        Ok(parts)
    }

    /// What a tool said, as the object that Gemini wants.
    fn tool_content(&mut self, content: &'a RawValue, at: &At<'_>) -> Result<Json<'a>, Refusal> {
        if is_string(content) {
            let text = string(content, at)?;
            return Ok(tool_response(text));
        }
        let mut text = String::new();
        for (index, part) in elements(content, at)?.into_iter().enumerate() {
            let at = at.index(index);
            let fields = Fields::of(part, &at)?;
            text += &string(text_of(&fields, "text", &at)?, &at.field("text"))?;
        }
        Ok(tool_response(Cow::Owned(text)))
    }
}

fn text_of<'a>(fields: &Fields<'a>, name: &str, at: &At<'_>) -> Result<&'a RawValue, Refusal> {
    let text = fields.need(name, at)?;
    if is_string(text) { Ok(text) } else { Err(at.field(name).refuse("must be a string")) }
}

/// Name and arguments. Arguments are JSON inside a string; some clients send the object itself.
fn function_of<'a>(fields: &Fields<'a>, at: &At<'_>) -> Result<(Cow<'a, str>, Json<'a>), Refusal> {
    let name = string(fields.need("name", at)?, &at.field("name"))?;
    let at = at.field("arguments");
    let args = match fields.get("arguments") {
        None => Json::Tree(Value::Object(serde_json::Map::new())),
        Some(args) if is_object(args) => Json::Raw(args),
        Some(args) => match &*string(args, &at)? {
            blank if blank.trim().is_empty() => Json::Tree(Value::Object(serde_json::Map::new())),
            text => Json::object_in(text).ok_or_else(|| at.refuse("must be a JSON object in a string"))?,
        },
    };
    Ok((name, args))
}

/// Refuses what a message has beyond `role`, `content` and the names given. `cache_control` is a hint of other
/// providers that many clients send to everybody.
fn check_members(message: &Fields<'_>, names: &[&str], at: &At<'_>) -> Result<(), Refusal> {
    let known = |name: &str| matches!(name, "role" | "content" | "cache_control" | "id") || names.contains(&name);
    match message.iter().find(|(name, value)| !known(name) && !is_empty(value)) {
        Some((name, _)) => Err(at.field(name).no_place()),
        None => Ok(()),
    }
}
