//! A Gemini `generateContent` request as an OpenAI chat completion.
//!
//! Both spellings of member names are taken, mixed as Google's own SDKs mix them. What has no counterpart is refused by
//! its path; what is only a hint, or asks for less filtering than the other side does anyway, is dropped.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;
use serde_json::value::RawValue;

use super::{Asked, Flavor, schema};
use crate::wire::json::{
    At, Fields, Json, Members, Refusal, elements, is_array, is_empty, is_string, string, to_vec, value,
};

/// Rewrites the body.
pub(super) fn request(body: &[u8], asked: &Asked<'_>) -> Result<Vec<u8>, Refusal> {
    let fields = Fields::of_body(body)?.camel();
    let mut reader = Reader { flavor: asked.flavor, allowed: None, out: Members::default(), messages: Vec::new() };
    reader.out.set("model", Json::Text(Cow::Borrowed(asked.model)));
    // The order in which the other side's documents name them: what was said at the beginning, then the rest.
    if let Some(system) = fields.get("systemInstruction") {
        reader.system(system, &At::ROOT.field("systemInstruction"))?;
    }
    reader.contents(fields.need("contents", &At::ROOT)?, &At::ROOT.field("contents"))?;
    let messages = std::mem::take(&mut reader.messages);
    reader.out.set("messages", Json::List(messages));
    if let Some(config) = fields.get("toolConfig") {
        reader.tool_config(config, &At::ROOT.field("toolConfig"))?;
    }
    for (name, value) in fields.iter() {
        reader.member(name, value, &At::ROOT.field(name))?;
    }
    if asked.stream {
        reader.out.set("stream", Json::tree(true));
        if asked.flavor == Flavor::OpenAi {
            reader.out.set("stream_options", Json::object([("include_usage", Json::tree(true))]));
        }
    }
    Ok(to_vec(&reader.out))
}

struct Reader<'a> {
    flavor: Flavor,
    /// The only functions that may be called, if the client named them.
    allowed: Option<Vec<Cow<'a, str>>>,
    out: Members<'a>,
    messages: Vec<Json<'a>>,
}

/// Ids for calls that came without one, in the form that every upstream takes.
fn call_id(number: usize) -> String {
    format!("call{number:05}")
}

impl<'a> Reader<'a> {
    fn member(&mut self, name: &str, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        match name {
            "tools" => self.tools(value, at),
            "generationConfig" => self.config(value, at),
            "safetySettings" => safety_settings(value, at),
            "systemInstruction" | "contents" | "toolConfig" | "model" | "labels" => Ok(()),
            _ if is_empty(value) => Ok(()),
            _ => Err(at.no_place()),
        }
    }

    fn system(&mut self, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        let content = if is_string(value) {
            Json::Raw(value)
        } else {
            let fields = Fields::of(value, at)?;
            let at = at.field("parts");
            let mut texts = Vec::new();
            for (index, part) in fields
                .get("parts")
                .map_or_else(|| Ok(Vec::new()), |parts| one_or_many(parts, &at))?
                .into_iter()
                .enumerate()
            {
                let at = at.index(index);
                texts.push(text_of(&Fields::of(part, &at)?, &at)?);
            }
            match texts.as_slice() {
                [] => return Ok(()),
                [one] => Json::Raw(one),
                _ => {
                    let texts: Result<Vec<Cow<'a, str>>, Refusal> =
                        texts.into_iter().map(|text| string(text, &at)).collect();
                    Json::tree(texts?.join("\n\n"))
                }
            }
        };
        self.messages.push(Json::object([("role", Json::constant("system")), ("content", content)]));
        Ok(())
    }

    fn contents(&mut self, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        let mut calls = Calls::new(self.flavor);
        for (index, content) in one_or_many(value, at)?.into_iter().enumerate() {
            let at = at.index(index);
            let fields = Fields::of(content, &at)?;
            let role = match fields.get("role") {
                Some(role) => string(role, &at.field("role"))?,
                None => Cow::Borrowed("user"),
            };
            let at_parts = at.field("parts");
            let parts = match fields.get("parts") {
                Some(parts) => one_or_many(parts, &at_parts)?,
                None => Vec::new(),
            };
            match &*role {
                "user" | "function" | "tool" => self.user(parts, &mut calls, &at_parts)?,
                "model" => self.model(parts, &mut calls, &at_parts)?,
                _ => return Err(at.field("role").refuse("must be user or model")),
            }
        }
        Ok(())
    }

    fn user(&mut self, parts: Vec<&'a RawValue>, calls: &mut Calls<'a>, at: &At<'_>) -> Result<(), Refusal> {
        let mut said: Vec<Json<'a>> = Vec::new();
        let mut only_text = true;
        for (index, part) in parts.into_iter().enumerate() {
            let at = at.index(index);
            let fields = Fields::of(part, &at)?.camel();
            if let Some(response) = fields.get("functionResponse") {
                self.messages.push(tool_message(response, calls, &at.field("functionResponse"))?);
                continue;
            }
            let part = user_part(&fields, &at)?;
            only_text &= fields.get("text").is_some();
            said.push(part);
        }
        let content = match said.len() {
            0 => return Ok(()),
            // One text goes as a string, which every server takes.
            1 if only_text => match said.pop() {
                Some(Json::Members(part)) => part.into_value("text").unwrap_or(Json::NULL),
                Some(_) | None => return Ok(()),
            },
            _ => Json::List(said),
        };
        self.messages.push(Json::object([("role", Json::constant("user")), ("content", content)]));
        Ok(())
    }

    fn model(&mut self, parts: Vec<&'a RawValue>, calls: &mut Calls<'a>, at: &At<'_>) -> Result<(), Refusal> {
        let (mut texts, mut called) = (Vec::new(), Vec::new());
        for (index, part) in parts.into_iter().enumerate() {
            let at = at.index(index);
            let fields = Fields::of(part, &at)?.camel();
            if fields.get("thought").is_some_and(|thought| thought.get() == "true") {
                continue;
            }
            if let Some(call) = fields.get("functionCall") {
                let at = at.field("functionCall");
                let fields = Fields::of(call, &at)?;
                let name = string(fields.need("name", &at)?, &at.field("name"))?;
                let id = fields.get("id").map(|id| string(id, &at.field("id"))).transpose()?;
                let id = calls.made(id, name.clone());
                let arguments = fields.get("args").map_or("{}", RawValue::get);
                let function = [("name", Json::Text(name)), ("arguments", Json::Text(Cow::Borrowed(arguments)))];
                called.push(Json::object([
                    ("id", Json::tree(id)),
                    ("type", Json::constant("function")),
                    ("function", Json::object(function)),
                ]));
                continue;
            }
            only(&fields, &["text"], &at)?;
            if fields.get("text").is_some() {
                texts.push(Json::Raw(text_of(&fields, &at)?));
            }
        }
        if texts.is_empty() && called.is_empty() {
            return Ok(());
        }
        let content = super::gemini_answers::joined(texts).unwrap_or(Json::NULL);
        let mut message = Members::of([("role", Json::constant("assistant")), ("content", content)]);
        if !called.is_empty() {
            message.set("tool_calls", Json::List(called));
        }
        self.messages.push(Json::Members(message));
        Ok(())
    }

    fn tool_config(&mut self, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        let fields = Fields::of(value, at)?.camel();
        only(&fields, &["functionCallingConfig"], at)?;
        let Some(config) = fields.get("functionCallingConfig") else { return Ok(()) };
        let at = at.field("functionCallingConfig");
        let config = Fields::of(config, &at)?.camel();
        let mut names = Vec::new();
        if let Some(allowed) = config.get("allowedFunctionNames") {
            let at = at.field("allowedFunctionNames");
            for (index, name) in elements(allowed, &at)?.into_iter().enumerate() {
                names.push(string(name, &at.index(index))?);
            }
        }
        let mode = match config.get("mode") {
            Some(mode) => string(mode, &at.field("mode"))?,
            None => Cow::Borrowed("AUTO"),
        };
        let choice = match (&*mode, names.as_slice()) {
            ("AUTO" | "VALIDATED" | "MODE_UNSPECIFIED" | "auto", _) => Json::constant("auto"),
            ("NONE" | "none", _) => Json::constant("none"),
            ("ANY" | "any", [name]) => Json::object([
                ("type", Json::constant("function")),
                ("function", Json::object([("name", Json::Text(name.clone()))])),
            ]),
            ("ANY" | "any", _) => Json::constant(self.flavor.any_tool()),
            (_, _) => return Err(at.field("mode").refuse("must be AUTO, ANY, NONE or VALIDATED")),
        };
        self.out.set("tool_choice", choice);
        // Several names: the others are not offered at all.
        if names.len() > 1 {
            self.allowed = Some(names);
        }
        Ok(())
    }

    fn tools(&mut self, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        let mut tools = Vec::new();
        for (index, tool) in one_or_many(value, at)?.into_iter().enumerate() {
            let at = at.index(index);
            let fields = Fields::of(tool, &at)?.camel();
            only(&fields, &["functionDeclarations"], &at)?;
            let Some(functions) = fields.get("functionDeclarations") else { continue };
            let at = at.field("functionDeclarations");
            for (index, function) in elements(functions, &at)?.into_iter().enumerate() {
                tools.extend(self.function(function, &at.index(index))?);
            }
        }
        if !tools.is_empty() {
            self.out.set("tools", Json::List(tools));
        }
        Ok(())
    }

    fn function(&self, value: &'a RawValue, at: &At<'_>) -> Result<Option<Json<'a>>, Refusal> {
        let fields = Fields::of(value, at)?.camel();
        // What a function answers with, and whether it blocks, is between the client and itself.
        const KNOWN: [&str; 7] =
            ["name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "behavior"];
        only(&fields, &KNOWN, at)?;
        let name = string(fields.need("name", at)?, &at.field("name"))?;
        if self.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&name)) {
            return Ok(None);
        }
        let mut function = Members::of([("name", Json::Text(name))]);
        if let Some(description) = fields.get("description") {
            function.set("description", Json::Raw(description));
        }
        let parameters = match (fields.get("parametersJsonSchema"), fields.get("parameters")) {
            (Some(raw), _) => Json::Raw(raw),
            (None, Some(raw)) => google_schema(raw, &at.field("parameters"))?,
            // Required at some servers.
            (None, None) => Json::Tree(serde_json::json!({"type": "object", "properties": {}})),
        };
        function.set("parameters", parameters);
        Ok(Some(Json::object([("type", Json::constant("function")), ("function", Json::Members(function))])))
    }

    fn config(&mut self, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        let fields = Fields::of(value, at)?.camel();
        for (name, value) in fields.iter() {
            let at = at.field(name);
            match name {
                "temperature" => self.out.set("temperature", Json::Raw(value)),
                "topP" => self.out.set("top_p", Json::Raw(value)),
                "candidateCount" => self.out.set("n", Json::Raw(value)),
                "maxOutputTokens" => self.out.set(self.flavor.answer_limit(), Json::Raw(value)),
                "stopSequences" if !is_empty(value) => self.out.set("stop", Json::Raw(value)),
                "seed" => self.out.set(self.flavor.seed(), Json::Raw(value)),
                "presencePenalty" => self.out.set("presence_penalty", Json::Raw(value)),
                "frequencyPenalty" => self.out.set("frequency_penalty", Json::Raw(value)),
                "responseLogprobs" => self.out.set("logprobs", Json::Raw(value)),
                "logprobs" => self.out.set("top_logprobs", Json::Raw(value)),
                "thinkingConfig" => self.thinking(value, &at)?,
                "responseMimeType" => self.mime_type(&string(value, &at)?, &fields, &at)?,
                // With `responseMimeType`, without which they mean nothing.
                "responseSchema" | "responseJsonSchema" => {}
                "responseModalities" => text_only(value, &at)?,
                // How closely to look at pictures: a hint.
                "mediaResolution" => {}
                _ if is_empty(value) => {}
                _ => return Err(at.no_place()),
            }
        }
        Ok(())
    }

    fn mime_type(&mut self, mime_type: &str, config: &Fields<'a>, at: &At<'_>) -> Result<(), Refusal> {
        let format = match mime_type {
            "text/plain" => return Ok(()),
            "application/json" => match (config.get("responseJsonSchema"), config.get("responseSchema")) {
                (Some(raw), _) => json_schema(Json::Raw(raw)),
                (None, Some(raw)) => json_schema(google_schema(raw, at)?),
                (None, None) => Json::object([("type", Json::constant("json_object"))]),
            },
            _ => return Err(at.refuse("must be text/plain or application/json with this model's provider")),
        };
        self.out.set("response_format", format);
        Ok(())
    }

    fn thinking(&mut self, value: &'a RawValue, at: &At<'_>) -> Result<(), Refusal> {
        let fields = Fields::of(value, at)?.camel();
        only(&fields, &["includeThoughts", "thinkingBudget", "thinkingLevel"], at)?;
        let effort = if let Some(level) = fields.get("thinkingLevel") {
            Json::tree(string(level, &at.field("thinkingLevel"))?.to_ascii_lowercase())
        } else if let Some(budget) = fields.get("thinkingBudget") {
            match value_of_budget(budget, &at.field("thinkingBudget"))? {
                ..0 => return Ok(()),
                0 => Json::constant("none"),
                1..1_024 => Json::constant("minimal"),
                1_024..2_048 => Json::constant("low"),
                2_048..4_096 => Json::constant("medium"),
                4_096.. => Json::constant("high"),
            }
        } else {
            return Ok(());
        };
        if self.flavor.thinks() {
            self.out.set("reasoning_effort", effort);
        }
        Ok(())
    }
}

fn value_of_budget(budget: &RawValue, at: &At<'_>) -> Result<i64, Refusal> {
    value(budget, "a number of tokens", at)
}

/// Calls made, so that answers find theirs: by id, or without one the oldest open call of their function.
struct Calls<'a> {
    flavor: Flavor,
    made: usize,
    /// From the client's id to the one that goes out.
    ids: BTreeMap<Cow<'a, str>, String>,
    open: BTreeMap<Cow<'a, str>, VecDeque<String>>,
    answered: BTreeSet<String>,
}

impl<'a> Calls<'a> {
    fn new(flavor: Flavor) -> Self {
        Self { flavor, made: 0, ids: BTreeMap::new(), open: BTreeMap::new(), answered: BTreeSet::new() }
    }

    fn made(&mut self, own: Option<Cow<'a, str>>, name: Cow<'a, str>) -> String {
        self.made += 1;
        let id = match own.as_deref() {
            Some(own) if self.flavor.takes_call_id(own) => own.to_owned(),
            Some(_) | None => call_id(self.made),
        };
        self.ids.extend(own.map(|own| (own, id.clone())));
        self.open.entry(name).or_default().push_back(id.clone());
        id
    }

    fn answered(&mut self, own: Option<Cow<'a, str>>, name: &str) -> Option<String> {
        if let Some(own) = own.filter(|own| !own.is_empty()) {
            let id = self.ids.get(&own).cloned().unwrap_or_else(|| own.into_owned());
            self.answered.insert(id.clone());
            return Some(id);
        }
        let open = self.open.get_mut(name)?;
        loop {
            let id = open.pop_front()?;
            if !self.answered.contains(&id) {
                return Some(id);
            }
        }
    }
}

fn tool_message<'a>(response: &'a RawValue, calls: &mut Calls<'a>, at: &At<'_>) -> Result<Json<'a>, Refusal> {
    let fields = Fields::of(response, at)?;
    let name = string(fields.need("name", at)?, &at.field("name"))?;
    let id = fields.get("id").map(|id| string(id, &at.field("id"))).transpose()?;
    let id = calls.answered(id, &name).ok_or_else(|| at.refuse(format!("answers no call of {name}")))?;
    let said = fields.get("response").map_or("{}", RawValue::get);
    Ok(Json::object([
        ("role", Json::constant("tool")),
        ("tool_call_id", Json::tree(id)),
        ("content", Json::Text(Cow::Borrowed(said))),
    ]))
}

fn user_part<'a>(fields: &Fields<'a>, at: &At<'_>) -> Result<Json<'a>, Refusal> {
    only(fields, &["text", "inlineData", "fileData", "videoMetadata", "mediaResolution"], at)?;
    if let Some(blob) = fields.get("inlineData") {
        let at = at.field("inlineData");
        let blob = Fields::of(blob, &at)?.camel();
        let mime_type = string(blob.need("mimeType", &at)?, &at.field("mimeType"))?;
        let data = string(blob.need("data", &at)?, &at.field("data"))?;
        return blob_part(&mime_type, &data, &at);
    }
    if let Some(file) = fields.get("fileData") {
        let at = at.field("fileData");
        let file = Fields::of(file, &at)?.camel();
        let uri = string(file.need("fileUri", &at)?, &at.field("fileUri"))?;
        let image = file.get("mimeType").is_none_or(|mime_type| mime_type.get().starts_with("\"image/"));
        if !uri.starts_with("https://") || !image || uri.starts_with("https://generativelanguage.googleapis.com/") {
            return Err(at.field("fileUri").refuse("must be a picture's https: address for this model's provider"));
        }
        return Ok(image_part(uri));
    }
    let text = Json::Raw(text_of(fields, at)?);
    Ok(Json::object([("type", Json::constant("text")), ("text", text)]))
}

fn image_part(url: Cow<'_, str>) -> Json<'_> {
    Json::object([("type", Json::constant("image_url")), ("image_url", Json::object([("url", Json::Text(url))]))])
}

fn blob_part<'a>(mime_type: &str, data: &str, at: &At<'_>) -> Result<Json<'a>, Refusal> {
    let address = || format!("data:{mime_type};base64,{data}");
    match mime_type {
        "audio/wav" | "audio/mp3" | "audio/mpeg" => {
            let format = if mime_type == "audio/wav" { "wav" } else { "mp3" };
            let audio = [("data", Json::tree(data)), ("format", Json::constant(format))];
            Ok(Json::object([("type", Json::constant("input_audio")), ("input_audio", Json::object(audio))]))
        }
        "application/pdf" => {
            let file = [("filename", Json::constant("file.pdf")), ("file_data", Json::tree(address()))];
            Ok(Json::object([("type", Json::constant("file")), ("file", Json::object(file))]))
        }
        _ if mime_type.starts_with("image/") => Ok(image_part(Cow::Owned(address()))),
        _ => Err(at.field("mimeType").refuse(format!("{mime_type} is not supported by the model's provider"))),
    }
}

/// Thresholds that let everything through ask for nothing; others cannot be kept.
fn safety_settings(value: &RawValue, at: &At<'_>) -> Result<(), Refusal> {
    for (index, setting) in elements(value, at)?.into_iter().enumerate() {
        let at = at.index(index);
        let threshold = Fields::of(setting, &at)?.get("threshold").map(RawValue::get);
        if !matches!(threshold, Some("\"BLOCK_NONE\"" | "\"OFF\"" | "\"HARM_BLOCK_THRESHOLD_UNSPECIFIED\"") | None) {
            return Err(at.field("threshold").no_place());
        }
    }
    Ok(())
}

fn text_only(value: &RawValue, at: &At<'_>) -> Result<(), Refusal> {
    for (index, modality) in elements(value, at)?.into_iter().enumerate() {
        if !modality.get().eq_ignore_ascii_case("\"TEXT\"") {
            return Err(at.index(index).no_place());
        }
    }
    Ok(())
}

fn json_schema(schema: Json<'_>) -> Json<'_> {
    let inner = [("name", Json::constant("response")), ("schema", schema)];
    Json::object([("type", Json::constant("json_schema")), ("json_schema", Json::object(inner))])
}

fn google_schema<'a>(raw: &RawValue, at: &At<'_>) -> Result<Json<'a>, Refusal> {
    let tree: Value = value(raw, "a schema", at)?;
    Ok(Json::Tree(schema::to_json_schema(&tree)))
}

fn text_of<'a>(fields: &Fields<'a>, at: &At<'_>) -> Result<&'a RawValue, Refusal> {
    let text = fields.get("text").ok_or_else(|| at.refuse("holds nothing that this model's provider knows"))?;
    if is_string(text) { Ok(text) } else { Err(at.field("text").refuse("must be a string")) }
}

/// A list; Google also takes its one element alone.
fn one_or_many<'a>(value: &'a RawValue, at: &At<'_>) -> Result<Vec<&'a RawValue>, Refusal> {
    if is_array(value) { elements(value, at) } else { Ok(vec![value]) }
}

/// Refuses members beyond those named. A signature belongs to the model that wrote it and means nothing to another.
fn only(fields: &Fields<'_>, names: &[&str], at: &At<'_>) -> Result<(), Refusal> {
    let known = |name: &str| matches!(name, "thoughtSignature" | "thought") || names.contains(&name);
    match fields.iter().find(|(name, value)| !known(name) && !is_empty(value)) {
        Some((name, _)) => Err(at.field(name).no_place()),
        None => Ok(()),
    }
}
