//! Reading `generateContent` and `countTokens`.

use serde_json::Value;

use super::{
    Ask, Form, Refused, Tally, Tool, ToolUse, check, count_of, decoded_size, elements, member, object, text_of,
};

/// Reads a `GenerateContentRequest` for this model.
pub(in crate::mock) fn generate(body: &[u8], model: &str) -> Result<Ask, Refused> {
    let body = object(body).map_err(invalid_json)?;
    check::generate(&body, model)?;
    Ok(ask(&body))
}

/// Reads a `CountTokensRequest`: contents, or a whole request.
pub(in crate::mock) fn count(body: &[u8]) -> Result<u32, Refused> {
    let body = object(body).map_err(invalid_json)?;
    let asked = member(&body, "generateContentRequest").unwrap_or(&body);
    check::contents(asked)?;
    Ok(ask(asked).input)
}

/// What Google says of something that is no JSON.
pub(super) fn invalid_json(problem: String) -> Refused {
    Refused::bad(format!("Invalid JSON payload received. Parse error: {problem}"))
}

fn ask(body: &Value) -> Ask {
    let mut tally = Tally::default();
    if let Some(system) = member(body, "systemInstruction") {
        for part in parts(system) {
            tally.text(text_of(part, "text"));
        }
    }
    let mut ask = Ask { answers: 1, ..Ask::default() };
    for content in elements(member(body, "contents")) {
        (ask.pictures, ask.tool_said) = (Vec::new(), None);
        let mut said = String::new();
        for part in parts(content) {
            read_part(part, &mut said, &mut ask, &mut tally);
        }
        if text_of(content, "role") != "model" && !said.is_empty() {
            ask.said = said;
        }
    }
    read_tools(body, &mut ask, &mut tally);
    if let Some(config) = member(body, "generationConfig") {
        read_config(config, &mut ask);
    }
    ask.counted(&tally)
}

/// The parts of a content; one part alone need not be in a list.
fn parts(content: &Value) -> &[Value] {
    match member(content, "parts") {
        Some(part @ Value::Object(_)) => std::slice::from_ref(part),
        parts => elements(parts),
    }
}

fn read_part(part: &Value, said: &mut String, ask: &mut Ask, tally: &mut Tally) {
    let text = text_of(part, "text");
    tally.text(text);
    said.push_str(text);
    if let Some(blob) = member(part, "inlineData") {
        let data = text_of(blob, "data");
        tally.picture(data);
        ask.pictures.push((text_of(blob, "mimeType").to_owned(), decoded_size(data)));
    }
    if let Some(file) = member(part, "fileData") {
        tally.picture(text_of(file, "fileUri"));
        ask.pictures.push((text_of(file, "mimeType").to_owned(), 0));
    }
    if let Some(call) = member(part, "functionCall") {
        tally.json(call);
    }
    if let Some(answer) = member(part, "functionResponse") {
        tally.json(answer);
        ask.tool_said = Some(member(answer, "response").map(Value::to_string).unwrap_or_default());
    }
}

fn read_tools(body: &Value, ask: &mut Ask, tally: &mut Tally) {
    for tool in elements(member(body, "tools")) {
        for function in elements(member(tool, "functionDeclarations")) {
            tally.json(function);
            let schema = member(function, "parameters").or_else(|| member(function, "parametersJsonSchema"));
            let schema = schema.cloned().unwrap_or_default();
            ask.tools.push(Tool { name: text_of(function, "name").to_owned(), schema });
        }
    }
    let config = member(body, "toolConfig").and_then(|config| member(config, "functionCallingConfig"));
    let allowed = || {
        let names = elements(config.and_then(|config| member(config, "allowedFunctionNames")));
        names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    ask.tool_use = match config.map(|config| text_of(config, "mode")) {
        Some("ANY") => ToolUse::Must(allowed()),
        Some("NONE") => ToolUse::Never,
        Some(_) | None => ToolUse::Free,
    };
}

fn read_config(config: &Value, ask: &mut Ask) {
    ask.answer_max = count_of(config, "maxOutputTokens");
    ask.answers = count_of(config, "candidateCount").unwrap_or(1);
    let schema = member(config, "responseSchema").or_else(|| member(config, "responseJsonSchema")).cloned();
    let pictured =
        elements(member(config, "responseModalities")).iter().any(|one| one.as_str().is_some_and(is_picture));
    ask.form = match text_of(config, "responseMimeType") {
        "application/json" => Form::Json(schema),
        "text/x.enum" => Form::Words(words(schema.as_ref())),
        _ if pictured => Form::Picture,
        _ => Form::Text,
    };
    if let Some(thinking) = member(config, "thinkingConfig") {
        ask.thinks = member(thinking, "thinkingBudget").and_then(Value::as_i64).map(|budget| budget != 0);
        ask.thoughts_shown = member(thinking, "includeThoughts").and_then(Value::as_bool).unwrap_or(false);
    }
}

fn is_picture(modality: &str) -> bool {
    modality.eq_ignore_ascii_case("image")
}

fn words(schema: Option<&Value>) -> Vec<String> {
    let words = elements(schema.and_then(|schema| schema.get("enum")));
    words.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Ask {
        generate(body.to_string().as_bytes(), "gemini-2.5-pro").expect("a good request")
    }

    #[test]
    fn both_spellings_are_read_and_mean_the_same() {
        let camel = json!({"contents": [{"role": "user", "parts": [{"text": "Hello"},
                {"inlineData": {"mimeType": "image/png", "data": "aGVsbG8="}}]}],
            "generationConfig": {"maxOutputTokens": 7, "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 0}}});
        let snake = json!({"contents": [{"role": "user", "parts": [{"text": "Hello"},
                {"inline_data": {"mime_type": "image/png", "data": "aGVsbG8="}}]}],
            "generation_config": {"max_output_tokens": 7, "thinking_config": {"include_thoughts": true, "thinking_budget": 0}}});
        let ask = read(camel);
        assert_eq!(ask, read(snake));
        assert_eq!((ask.said.as_str(), ask.pictures.as_slice()), ("Hello", &[("image/png".to_owned(), 5)][..]));
        assert_eq!((ask.input, ask.answer_max, ask.thinks, ask.thoughts_shown), (2 + 258, Some(7), Some(false), true));
    }

    #[test]
    fn a_tools_answer_counts_until_somebody_speaks() {
        let turn = |role: &str, part: Value| json!({"role": role, "parts": [part]});
        let mut contents = vec![
            turn("user", json!({"text": "Weather?"})),
            turn("model", json!({"functionCall": {"name": "weather", "args": {}}})),
            turn("user", json!({"functionResponse": {"name": "weather", "response": {"sky": "blue"}}})),
        ];
        let ask = read(json!({ "contents": contents }));
        assert_eq!(ask.tool_said.as_deref(), Some(r#"{"sky":"blue"}"#));
        contents.push(turn("user", json!({"text": "And tomorrow?"})));
        let ask = read(json!({ "contents": contents }));
        assert_eq!((ask.tool_said, ask.said.as_str()), (None, "And tomorrow?"));
    }

    #[test]
    fn the_same_prompt_has_the_same_identity() {
        let body = |text: &str, max: u32| json!({"contents": [{"parts": [{"text": text}]}], "generationConfig": {"maxOutputTokens": max}});
        assert_eq!(read(body("a", 5)).identity, read(body("a", 6)).identity);
        assert_ne!(read(body("a", 5)).identity, read(body("b", 5)).identity);
    }
}
