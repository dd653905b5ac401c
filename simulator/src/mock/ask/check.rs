//! What Gemini refuses before the model sees it, in its own words: a translated request that passes here uses only
//! what the API knows.

use serde_json::Value;
use stormproof_router::core::Reason;

use super::{Refused, elements, member, snake, text_of};

/// Members of a `GenerateContentRequest`.
const REQUEST: &[&str] = &[
    "model",
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "generationConfig",
    "cachedContent",
    "labels",
    "serviceTier",
    "store",
];

/// Members of a `GenerationConfig`.
const CONFIG: &[&str] = &[
    "stopSequences",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "candidateCount",
    "maxOutputTokens",
    "temperature",
    "topP",
    "topK",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "logprobs",
    "enableEnhancedCivicAnswers",
    "speechConfig",
    "thinkingConfig",
    "imageConfig",
    "mediaResolution",
    "audioTimestamp",
    "routingConfig",
];

/// Members of a `FunctionDeclaration`.
const FUNCTION: &[&str] =
    &["name", "description", "behavior", "parameters", "parametersJsonSchema", "response", "responseJsonSchema"];

/// Members of a `Schema`. JSON Schema has more, such as `const` and `$ref`; they have their place in
/// `parametersJsonSchema`.
const SCHEMA: &[&str] = &[
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "enum",
    "maxItems",
    "minItems",
    "properties",
    "required",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "example",
    "anyOf",
    "propertyOrdering",
    "default",
    "items",
    "minimum",
    "maximum",
    "additionalProperties",
];

/// The longest prompt of any model.
const INPUT_MAX: u32 = 1_048_576;

pub(super) fn generate(body: &Value, model: &str) -> Result<(), Refused> {
    known(body, REQUEST, "")?;
    contents(body)?;
    if let Some(config) = member(body, "generationConfig") {
        known(config, CONFIG, "generation_config")?;
        if let Some(schema) = member(config, "responseSchema") {
            check_schema(schema, "generation_config.response_schema")?;
        }
    }
    for (index, tool) in elements(member(body, "tools")).iter().enumerate() {
        for (number, function) in elements(member(tool, "functionDeclarations")).iter().enumerate() {
            let place = format!("tools[{index}].function_declarations[{number}]");
            known(function, FUNCTION, &place)?;
            check_name(text_of(function, "name"), &place)?;
            if let Some(schema) = member(function, "parameters") {
                let place = format!("{place}.parameters");
                check_schema(schema, &place)?;
                check_properties(schema, &place)?;
            }
        }
    }
    if model.starts_with("gemini-3") { signatures(body) } else { Ok(()) }
}

pub(super) fn contents(body: &Value) -> Result<(), Refused> {
    let contents = elements(member(body, "contents"));
    if contents.is_empty() {
        return Err(Refused::bad("* GenerateContentRequest.contents: contents is not specified\n"));
    }
    for (index, content) in contents.iter().enumerate() {
        if !matches!(text_of(content, "role"), "" | "user" | "model" | "function") {
            return Err(Refused::bad("Please use a valid role: user, model."));
        }
        if member(content, "parts").is_none_or(|parts| parts.as_array().is_some_and(Vec::is_empty)) {
            return Err(Refused::bad(format!(
                "* GenerateContentRequest.contents[{index}].parts: contents.parts must not be empty.\n"
            )));
        }
    }
    Ok(())
}

/// Refuses a prompt that is longer than any model's window.
pub(in crate::mock) fn window(input: u32) -> Result<(), Refused> {
    if input > INPUT_MAX { Err(Refused::Reason { status: 400, reason: Reason::ContextWindow }) } else { Ok(()) }
}

fn known(value: &Value, names: &[&str], place: &str) -> Result<(), Refused> {
    let Some(members) = value.as_object() else { return Ok(()) };
    match members.keys().find(|name| !names.iter().any(|known| known == name || snake(known) == **name)) {
        None => Ok(()),
        Some(name) => {
            let at = if place.is_empty() { String::new() } else { format!(" at '{place}'") };
            let message = format!("Invalid JSON payload received. Unknown name \"{name}\"{at}: Cannot find field.");
            Err(Refused::member(message, place))
        }
    }
}

fn check_schema(schema: &Value, place: &str) -> Result<(), Refused> {
    known(schema, SCHEMA, place)?;
    if let Some(items) = member(schema, "items") {
        check_schema(items, &format!("{place}.items"))?;
    }
    for (index, one) in elements(member(schema, "anyOf")).iter().enumerate() {
        check_schema(one, &format!("{place}.any_of[{index}]"))?;
    }
    for (index, (_, property)) in
        member(schema, "properties").and_then(Value::as_object).into_iter().flatten().enumerate()
    {
        check_schema(property, &format!("{place}.properties[{index}].value"))?;
    }
    Ok(())
}

fn check_properties(schema: &Value, place: &str) -> Result<(), Refused> {
    let is_object = text_of(schema, "type").eq_ignore_ascii_case("object");
    let empty = member(schema, "properties").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
    if is_object && empty {
        let message = format!("* GenerateContentRequest.{place}.properties: should be non-empty for OBJECT type\n");
        return Err(Refused::bad(message));
    }
    Ok(())
}

fn check_name(name: &str, place: &str) -> Result<(), Refused> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let goes_on = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-'));
    if begins && goes_on && name.len() <= 64 {
        return Ok(());
    }
    Err(Refused::bad(format!(
        "* GenerateContentRequest.{place}.name: Invalid function name. Must start with a letter or an underscore. Must be \
         alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 64.\n"
    )))
}

/// Models from the third generation on want the signature of a call back together with the call.
fn signatures(body: &Value) -> Result<(), Refused> {
    for content in elements(member(body, "contents")) {
        let parts = elements(member(content, "parts"));
        // Of parallel calls only the first is signed.
        let first = parts.iter().find(|part| member(part, "functionCall").is_some());
        if first.is_some_and(|part| member(part, "thoughtSignature").is_none()) {
            return Err(Refused::bad(
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to work \
                 correctly, and missing thought_signature may lead to degraded model performance.",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(body: Value, model: &str) -> Option<String> {
        match generate(&body, model) {
            Ok(()) => None,
            Err(Refused::Message(error)) => Some(error.message),
            Err(Refused::Reason { reason, .. }) => Some(format!("{reason:?}")),
        }
    }

    fn tool(name: &str, parameters: Value) -> Value {
        json!({"contents": [{"parts": [{"text": "x"}]}],
            "tools": [{"functionDeclarations": [{"name": name, "parameters": parameters}]}]})
    }

    #[test]
    fn what_the_api_does_not_know_is_refused() {
        let good = json!({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}});
        assert_eq!(refusal(tool("f", good.clone()), "gemini-2.5-pro"), None);
        let cases = [
            (json!({"contents": [{"parts": [{"text": "x"}]}], "messages": []}), "Unknown name \"messages\""),
            (json!({}), "contents is not specified"),
            (json!({"contents": [{"role": "system", "parts": [{"text": "x"}]}]}), "valid role"),
            (json!({"contents": [{"parts": []}]}), "must not be empty"),
            (tool("1f", good.clone()), "Invalid function name"),
            (tool(&"f".repeat(65), good), "Invalid function name"),
            (tool("f", json!({"type": "OBJECT"})), "should be non-empty for OBJECT"),
            (
                tool("f", json!({"type": "OBJECT", "properties": {"a": {"const": 1}}})),
                "Unknown name \"const\" at 'tools[0].function_declarations[0].parameters.properties[0].value'",
            ),
        ];
        for (body, expected) in cases {
            let message = refusal(body.clone(), "gemini-2.5-pro").unwrap_or_default();
            assert!(message.contains(expected), "{body}: {message}");
        }
    }

    #[test]
    fn calls_of_the_third_generation_are_signed() {
        let call = |part: Value| json!({"contents": [{"role": "model", "parts": [part]}]});
        let bare = call(json!({"functionCall": {"name": "f"}}));
        let signed = call(json!({"functionCall": {"name": "f"}, "thoughtSignature": "c2ln"}));
        assert_eq!(refusal(bare.clone(), "gemini-2.5-pro"), None);
        assert_eq!(refusal(signed, "gemini-3-pro-preview"), None);
        assert!(refusal(bare, "gemini-3-pro-preview").is_some_and(|message| message.contains("thought_signature")));
    }

    #[test]
    fn a_window_has_an_end() {
        assert_eq!(window(INPUT_MAX), Ok(()));
        assert!(window(INPUT_MAX + 1).is_err());
    }
}
