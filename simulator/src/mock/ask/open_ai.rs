//! Reading chat completions.

use serde_json::Value;

use super::{Ask, Form, Refused, Tally, Tool, ToolUse, count_of, decoded_size, elements, member, object, text_of};

/// A chat completion request.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::mock) struct Chat {
    /// For which model.
    pub(in crate::mock) model: String,
    /// Whether it wants a stream.
    pub(in crate::mock) stream: bool,
    /// Whether the stream ends with a chunk of counts.
    pub(in crate::mock) include_usage: bool,
    /// What it asks.
    pub(in crate::mock) ask: Ask,
}

/// Reads a chat completion request.
pub(in crate::mock) fn chat(body: &[u8]) -> Result<Chat, Refused> {
    let body = object(body).map_err(invalid_json)?;
    let model = model(&body)?;
    check_types(&body)?;
    let messages = elements(body.get("messages"));
    if messages.is_empty() {
        return Err(Refused::member(
            "Invalid 'messages': empty array. Expected an array with minimum length 1.",
            "messages",
        ));
    }
    let mut tally = Tally::default();
    let mut ask = Ask { answers: count_of(&body, "n").unwrap_or(1), ..Ask::default() };
    for (index, message) in messages.iter().enumerate() {
        read_message(message, index, &mut ask, &mut tally)?;
    }
    read_tools(&body, &mut ask, &mut tally)?;
    ask.answer_max = count_of(&body, "max_completion_tokens").or_else(|| count_of(&body, "max_tokens"));
    ask.form = form(&body)?;
    ask.thinks = match text_of(&body, "reasoning_effort") {
        "" => None,
        effort => Some(effort != "none"),
    };
    let options = body.get("stream_options");
    Ok(Chat {
        model,
        stream: body.get("stream").and_then(Value::as_bool).unwrap_or(false),
        include_usage: options
            .and_then(|options| options.get("include_usage"))
            .and_then(Value::as_bool)
            .unwrap_or(false),
        ask: ask.counted(&tally),
    })
}

/// Members whose types OpenAI insists on; null is as good as absent.
const TYPES: [(&str, &str); 20] = [
    ("messages", "array"),
    ("stream", "boolean"),
    ("stream_options", "object"),
    ("max_tokens", "integer"),
    ("max_completion_tokens", "integer"),
    ("n", "integer"),
    ("seed", "integer"),
    ("temperature", "number"),
    ("top_p", "number"),
    ("frequency_penalty", "number"),
    ("presence_penalty", "number"),
    ("logprobs", "boolean"),
    ("top_logprobs", "integer"),
    ("logit_bias", "object"),
    ("tools", "array"),
    ("parallel_tool_calls", "boolean"),
    ("response_format", "object"),
    ("reasoning_effort", "string"),
    ("user", "string"),
    ("metadata", "object"),
];

/// Refuses members of another type than they must have, in OpenAI's words.
fn check_types(body: &Value) -> Result<(), Refused> {
    for (name, wanted) in TYPES {
        let Some(value) = body.get(name).filter(|value| !value.is_null()) else { continue };
        let (found, fits) = match value {
            Value::Null => ("null", true),
            Value::Bool(_) => ("boolean", wanted == "boolean"),
            Value::Number(number) if number.is_f64() => ("decimal", wanted == "number"),
            Value::Number(_) => ("integer", matches!(wanted, "integer" | "number")),
            Value::String(_) => ("string", wanted == "string"),
            Value::Array(_) => ("array", wanted == "array"),
            Value::Object(_) => ("object", wanted == "object"),
        };
        if !fits {
            let (a, an) = (article(wanted), article(found));
            let problem = format!("Invalid type for '{name}': expected {a} {wanted}, but got {an} {found} instead.");
            return Err(Refused::member(problem, name));
        }
    }
    Ok(())
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// The model that a body names, as the provider lists it.
pub(super) fn model(body: &Value) -> Result<String, Refused> {
    match text_of(body, "model") {
        "" => Err(Refused::member("you must provide a model parameter", "model")),
        name => Ok(name.trim_start_matches("models/").to_owned()),
    }
}

pub(super) fn invalid_json(problem: String) -> Refused {
    Refused::bad(format!("We could not parse the JSON body of your request: {problem}"))
}

fn read_message(message: &Value, index: usize, ask: &mut Ask, tally: &mut Tally) -> Result<(), Refused> {
    let role = text_of(message, "role");
    if !matches!(role, "system" | "developer" | "user" | "assistant" | "tool" | "function") {
        let problem = format!(
            "Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'."
        );
        return Err(Refused::member(problem, format!("messages[{index}].role")));
    }
    (ask.pictures, ask.tool_said) = (Vec::new(), None);
    let mut said = String::new();
    match message.get("content") {
        Some(Value::String(text)) => said.push_str(text),
        Some(Value::Array(parts)) => {
            for part in parts {
                said.push_str(text_of(part, "text"));
                if let Some(picture) = part.get("image_url") {
                    read_picture(text_of(picture, "url"), ask, tally);
                }
            }
        }
        Some(_) | None => {}
    }
    tally.text(&said);
    for call in elements(message.get("tool_calls")) {
        tally.json(call);
    }
    match role {
        "user" => ask.said = said,
        "tool" | "function" => ask.tool_said = Some(said),
        _ => {}
    }
    Ok(())
}

fn read_picture(url: &str, ask: &mut Ask, tally: &mut Tally) {
    let (kind, size) = match url.strip_prefix("data:").and_then(|data| data.split_once(";base64,")) {
        Some((kind, data)) => (kind, decoded_size(data)),
        None => ("", 0),
    };
    tally.picture(url);
    ask.pictures.push((kind.to_owned(), size));
}

fn read_tools(body: &Value, ask: &mut Ask, tally: &mut Tally) -> Result<(), Refused> {
    for (index, tool) in elements(body.get("tools")).iter().enumerate() {
        let function = tool.get("function").unwrap_or(&Value::Null);
        let name = text_of(function, "name");
        if name.is_empty() {
            let place = format!("tools[{index}].function.name");
            return Err(Refused::member(format!("Missing required parameter: '{place}'."), place));
        }
        tally.json(function);
        let schema = function.get("parameters").cloned().unwrap_or_default();
        ask.tools.push(Tool { name: name.to_owned(), schema });
    }
    ask.tool_use = match body.get("tool_choice") {
        Some(Value::String(word)) if word == "none" => ToolUse::Never,
        Some(Value::String(word)) if word == "required" || word == "any" => ToolUse::Must(Vec::new()),
        Some(choice @ Value::Object(_)) => {
            let named = choice.get("function").map(|function| text_of(function, "name").to_owned());
            ToolUse::Must(named.into_iter().collect())
        }
        Some(_) | None => ToolUse::Free,
    };
    Ok(())
}

fn form(body: &Value) -> Result<Form, Refused> {
    let Some(format) = member(body, "response_format") else { return Ok(Form::Text) };
    match text_of(format, "type") {
        "json_schema" => {
            let schema = format.get("json_schema").and_then(|named| named.get("schema"));
            match schema {
                Some(schema) => Ok(Form::Json(Some(schema.clone()))),
                None => {
                    let place = "response_format.json_schema.schema";
                    Err(Refused::member(format!("Missing required parameter: '{place}'."), place))
                }
            }
        }
        "json_object" => Ok(Form::Json(None)),
        _ => Ok(Form::Text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_chat_is_read_whole() {
        let read = chat(
            json!({
                "model": "models/m", "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 9, "n": 2,
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": [{"type": "text", "text": "Hello"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}]},
                ],
                "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
                "response_format": {"type": "json_object"},
            })
            .to_string()
            .as_bytes(),
        )
        .expect("a good request");
        assert_eq!((read.model.as_str(), read.stream, read.include_usage), ("m", true, true));
        let ask = read.ask;
        assert_eq!((ask.said.as_str(), ask.answer_max, ask.answers), ("Hello", Some(9), 2));
        assert_eq!(ask.pictures, [("image/png".to_owned(), 5)]);
        assert_eq!(ask.tool_use, ToolUse::Must(vec!["f".to_owned()]));
        assert_eq!(ask.form, Form::Json(None));
        assert!(ask.input > 258);
    }

    #[test]
    fn types_are_insisted_on() {
        let refused = |name: &str, value: Value| {
            let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
            body[name] = value;
            chat(body.to_string().as_bytes()).err().map(|refused| format!("{refused:?}"))
        };
        for (name, value) in [
            ("stream", json!("true")),
            ("max_tokens", json!(7.5)),
            ("n", json!("2")),
            ("temperature", json!("hot")),
            ("tools", json!({})),
            ("messages", json!("hi")),
        ] {
            let said = refused(name, value).unwrap_or_else(|| panic!("{name} is refused"));
            assert!(said.contains(&format!("Invalid type for '{name}'")), "{said}");
        }
        for (name, value) in [("stream", Value::Null), ("temperature", json!(1)), ("max_tokens", json!(7))] {
            assert_eq!(refused(name, value), None, "{name}");
        }
    }

    #[test]
    fn bad_requests_name_their_member() {
        let cases = [
            (json!({"messages": [{"role": "user", "content": "x"}]}), "model"),
            (json!({"model": "m", "messages": []}), "messages"),
            (json!({"model": "m", "messages": [{"role": "robot", "content": "x"}]}), "messages[0].role"),
            (
                json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]}),
                "tools[0].function.name",
            ),
        ];
        for (body, expected) in cases {
            let Err(Refused::Message(error)) = chat(body.to_string().as_bytes()) else { panic!("{body} is accepted") };
            assert_eq!((error.status, error.param.as_deref()), (400, Some(expected)));
        }
    }
}
