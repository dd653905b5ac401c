//! Requests, from one dialect to the other.

use proptest::prelude::*;
use serde_json::{Value, json};
use stormproof_router::wire::{Asked, Dialect, Fetched, Flavor, Front, Peek, Refusal, gemini_for, request};

fn translate(front: Front, upstream: Dialect, model: &str, flavor: Flavor, body: &str) -> Result<Value, Refusal> {
    translate_with(front, upstream, model, flavor, body, &[])
}

fn translate_with(
    front: Front,
    upstream: Dialect,
    model: &str,
    flavor: Flavor,
    body: &str,
    fetched: &[Fetched],
) -> Result<Value, Refusal> {
    let peek = match front {
        Front::Chat | Front::Responses => Peek::open_ai(body.as_bytes())?,
        Front::Gemini => Peek::gemini(body.as_bytes())?,
    };
    let asked = Asked { model, peek: &peek, stream: peek.stream, count_usage: true, flavor, fetched };
    let out = request(front, upstream, body.as_bytes(), &asked)?;
    Ok(serde_json::from_slice(&out).expect("what goes upstream is JSON"))
}

fn to_gemini(model: &str, body: &Value) -> Result<Value, Refusal> {
    let mut body = body.clone();
    body["model"] = json!("public");
    translate(Front::Chat, Dialect::Gemini, model, Flavor::OpenAi, &body.to_string())
}

fn to_chat(flavor: Flavor, body: &Value) -> Result<Value, Refusal> {
    translate(Front::Gemini, Dialect::OpenAi, "upstream", flavor, &body.to_string())
}

fn weather_tool() -> Value {
    json!({"type": "function", "function": {"name": "weather", "description": "Tells the weather", "strict": true, "parameters": {
        "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": false,
        "properties": {"zone": {"$ref": "#/$defs/Zone"}, "city": {"type": ["string", "null"]}}, "required": ["city"],
        "$defs": {"Zone": {"type": "string", "enum": ["a", "b"]}}}}})
}

fn conversation() -> Value {
    json!({
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Speak \"Portuguese\"."}]},
            {"role": "user", "content": "Caf\u{e9} first,", "name": "ana"},
            {"role": "user", "content": [{"type": "text", "text": "then the weather?"}, {"type": "text", "text": ""},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
                {"type": "image_url", "image_url": {"url": "gs://bucket/picture.jpg"}}]},
            {"role": "assistant", "content": null, "refusal": null, "annotations": [], "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Lisboa\"}"},
                    "extra_content": {"google": {"thought_signature": "c2ln"}}},
                {"id": "call_2", "type": "function", "function": {"name": "weather", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "call_2", "content": "unknown"},
            {"role": "tool", "tool_call_id": "call_1", "content": "{\"sky\": \"blue\"}"},
            {"role": "user", "content": "And now?"},
            {"role": "assistant", "content": "Still blue.", "reasoning_content": "looked again"},
            {"role": "assistant", "content": ""},
        ],
        "tools": [weather_tool(), {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": false,
        "temperature": 0.2, "top_p": 0.9, "n": 2, "seed": 7, "presence_penalty": 0.1, "frequency_penalty": 0.2,
        "logprobs": true, "top_logprobs": 3, "stop": ["END", ""], "max_tokens": 100, "max_completion_tokens": 200,
        "response_format": {"type": "json_schema", "json_schema": {"name": "out", "strict": true, "schema": {
            "type": "object", "properties": {"z": {"type": "integer"}, "a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}}},
        "reasoning_effort": "low",
        "stream": true, "stream_options": {"include_usage": true}, "user": "ana", "metadata": {"a": "b"}, "store": false,
        "logit_bias": {}, "service_tier": "auto",
    })
}

#[test]
fn a_whole_conversation_to_every_generation() {
    for model in ["gemini-2.0-flash", "gemini-2.5-pro", "gemini-3-flash"] {
        insta::assert_json_snapshot!(model, to_gemini(model, &conversation()).unwrap());
    }
}

#[test]
fn a_whole_conversation_back() {
    let body = json!({
        "system_instruction": {"role": "user", "parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Look:"}, {"inline_data": {"mime_type": "image/png", "data": "iVBORw0KGgo="}},
                {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://example.org/a.jpg"}}]},
            {"role": "model", "parts": [{"text": "thinking", "thought": true}, {"text": "I call.", "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "weather", "args": {"city": "Lisboa"}}}, {"function_call": {"name": "weather", "args": {}}},
                {"functionCall": {"id": "own", "name": "now"}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"output": "blue"}}},
                {"function_response": {"name": "weather", "response": {"output": "grey"}}},
                {"functionResponse": {"id": "own", "name": "now", "response": {"output": 12}}}]},
            {"parts": [{"text": "Thanks"}]},
        ],
        "tools": [{"function_declarations": [
            {"name": "weather", "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING", "nullable": true}}}},
            {"name": "now"}, {"name": "never", "parametersJsonSchema": {"type": "object"}}]}],
        "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["weather", "now"]}},
        "generationConfig": {"temperature": 0.1, "topP": 0.5, "candidateCount": 1, "max_output_tokens": 50, "stopSequences": ["X"],
            "seed": 3, "presencePenalty": 0.1, "frequencyPenalty": 0.2, "responseMimeType": "application/json",
            "response_schema": {"type": "ARRAY", "items": {"type": "INTEGER"}},
            "thinkingConfig": {"include_thoughts": true, "thinking_budget": 1024}},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    });
    insta::assert_json_snapshot!("back-openai", to_chat(Flavor::OpenAi, &body).unwrap());
    insta::assert_json_snapshot!("back-mistral", to_chat(Flavor::Mistral, &body).unwrap());
}

#[test]
fn a_response_as_a_chat() {
    let body = json!({
        "model": "public", "instructions": "Be brief.", "stream": true, "store": true, "max_output_tokens": 30,
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}, {"type": "input_image", "image_url": "data:image/png;base64,AA=="}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "function_call", "call_id": "c1", "name": "now", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "now", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "12:00"},
            {"type": "function_call_output", "call_id": "c2", "output": "13:00"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Noon."}]},
        ],
        "tools": [{"type": "function", "name": "now", "description": "d", "parameters": {"type": "object"}, "strict": true}],
        "tool_choice": {"type": "function", "name": "now"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        "reasoning": {"effort": "low", "summary": null},
    });
    let chat = translate(Front::Responses, Dialect::OpenAi, "upstream", Flavor::OpenAi, &body.to_string()).unwrap();
    insta::assert_json_snapshot!("responses-chat", chat);
    let gemini =
        translate(Front::Responses, Dialect::Vertex, "gemini-2.5-pro", Flavor::OpenAi, &body.to_string()).unwrap();
    insta::assert_json_snapshot!("responses-gemini", gemini);
}

#[test]
fn mistral_gets_ids_that_it_takes() {
    let call = |id: &str| json!({"functionCall": {"id": id, "name": "f", "args": {}}});
    let response = |id: &str| json!({"functionResponse": {"id": id, "name": "f", "response": {}}});
    let body = json!({"contents": [
        {"role": "model", "parts": [call("call_with_a_long_id"), call("abcdef123")]},
        {"role": "user", "parts": [response("abcdef123"), response("call_with_a_long_id")]}]});
    let ids = |flavor: Flavor| {
        let messages = to_chat(flavor, &body).unwrap()["messages"].clone();
        let calls = messages[0]["tool_calls"].as_array().unwrap().iter().map(|call| call["id"].clone());
        calls.chain([messages[1]["tool_call_id"].clone(), messages[2]["tool_call_id"].clone()]).collect::<Vec<_>>()
    };
    assert_eq!(ids(Flavor::Mistral), ["call00001", "abcdef123", "abcdef123", "call00001"]);
    let own = "call_with_a_long_id";
    assert_eq!(ids(Flavor::OpenAi), [own, "abcdef123", "abcdef123", own]);
}

#[test]
fn nothing_is_said_with_a_blank() {
    let out = to_gemini("gemini-2.5-pro", &json!({"messages": [{"role": "system", "content": "s"}]})).unwrap();
    assert_eq!(out["contents"], json!([{"parts": [{"text": " "}], "role": "user"}]));
    assert_eq!(out["systemInstruction"], json!({"parts": [{"text": "s"}]}));
}

#[test]
fn every_effort_has_its_budget_or_level() {
    let thinking = |model: &str, effort: &str| {
        let body = json!({"messages": [], "reasoning_effort": effort});
        to_gemini(model, &body).unwrap()["generationConfig"]["thinkingConfig"].clone()
    };
    let cases = [
        ("gemini-2.5-pro", "none", json!({"thinkingBudget": 128})),
        ("gemini-2.5-flash", "none", json!({"thinkingBudget": 0})),
        ("gemini-2.5-pro", "minimal", json!({"thinkingBudget": 128})),
        ("gemini-2.5-flash", "minimal", json!({"thinkingBudget": 1})),
        ("gemini-2.5-flash-lite", "minimal", json!({"thinkingBudget": 512})),
        ("gemini-2.5-pro", "low", json!({"thinkingBudget": 1024})),
        ("gemini-2.5-pro", "medium", json!({"thinkingBudget": 2048})),
        ("gemini-2.5-pro", "high", json!({"thinkingBudget": 4096})),
        ("gemini-3-pro", "low", json!({"thinkingLevel": "low"})),
        ("gemini-3-flash", "minimal", json!({"thinkingLevel": "minimal"})),
        ("gemini-2.0-flash", "high", Value::Null),
    ];
    for (model, effort, expected) in cases {
        assert_eq!(thinking(model, effort), expected, "{model} {effort}");
    }
}

#[test]
fn remote_pictures_are_reported_and_taken_once_fetched() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "image_url", "image_url": "http://example.org/b"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}]})
    .to_string();
    let urls = ["https://example.org/a.png", "http://example.org/b"];
    let refusal = translate(Front::Chat, Dialect::Gemini, "gemini-2.5-pro", Flavor::OpenAi, &body).unwrap_err();
    assert_eq!(refusal, Refusal::NeedsFetching(urls.map(str::to_owned).to_vec()));
    let fetched =
        urls.map(|url| Fetched { url: url.into(), mime_type: "image/png".into(), bytes: url.as_bytes()[..4].to_vec() });
    let out = translate_with(Front::Chat, Dialect::Gemini, "gemini-2.5-pro", Flavor::OpenAi, &body, &fetched).unwrap();
    let parts = out["contents"][0]["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[1], json!({"inlineData": {"mimeType": "image/png", "data": "aHR0cA=="}}));
}

#[test]
fn what_has_no_place_is_refused_by_its_name() {
    let user = json!([{"role": "user", "content": "x"}]);
    let chat = [
        (json!({}), "messages: is required"),
        (json!({"messages": "x"}), "messages: must be an array"),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content: is required"),
        (json!({"messages": [{"role": "robot", "content": "x"}]}), "messages[0].role: must be system"),
        (
            json!({"messages": [{"role": "user", "content": 7}]}),
            "messages[0].content: must be a string or a list of parts",
        ),
        (json!({"messages": [{"role": "user", "content": "x", "mood": "sad"}]}), "messages[0].mood: is not supported"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}),
            "messages[0].content[0].type: must be text, image_url",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]}]}),
            "messages[0].content[0].image_url.url: must be a data: or https: address",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}),
            "messages[0].content[0].file: must hold file_data",
        ),
        (
            json!({"messages": [{"role": "tool", "tool_call_id": "c", "content": "x"}]}),
            "messages[0].tool_call_id: answers no tool call",
        ),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "[]"}}]}]}),
            "messages[0].tool_calls[0].function.arguments: must be a JSON object",
        ),
        (json!({"messages": user, "logit_bias": {"5": 1}}), "logit_bias: is not supported"),
        (json!({"messages": user, "audio": {"voice": "v"}}), "audio: is not supported"),
        (json!({"messages": user, "frobnicate": 1}), "frobnicate: is not supported"),
        (json!({"messages": user, "tools": [{"type": "web_search"}]}), "tools[0].type: must be function"),
        (json!({"messages": user, "tool_choice": "perhaps"}), "tool_choice: must be auto"),
        (json!({"messages": user, "reasoning_effort": "heroic"}), "reasoning_effort: must be one of"),
        (json!({"messages": user, "response_format": {"type": "yaml"}}), "response_format.type: must be text"),
        (json!({"messages": user, "extra_body": {"google": {"x": 1}}}), "extra_body.google.x: is not supported"),
    ];
    for (body, message) in chat {
        let refusal = to_gemini("gemini-2.5-pro", &body).expect_err(&body.to_string()).to_string();
        assert!(refusal.starts_with(message), "{refusal}");
    }
    let contents = json!([{"parts": [{"text": "x"}]}]);
    let gemini = [
        (json!({}), "contents: is required"),
        (json!({"contents": contents, "cachedContent": "c"}), "cachedContent: is not supported"),
        (
            json!({"contents": contents, "tools": [{"googleSearch": {"a": 1}}]}),
            "tools[0].googleSearch: is not supported",
        ),
        (json!({"contents": contents, "generationConfig": {"topK": 40}}), "generationConfig.topK: is not supported"),
        (json!({"contents": contents, "generation_config": {"top_k": 40}}), "generationConfig.topK: is not supported"),
        (
            json!({"contents": contents, "safetySettings": [{"category": "c", "threshold": "BLOCK_LOW_AND_ABOVE"}]}),
            "safetySettings[0].threshold: is not supported",
        ),
        (json!({"contents": [{"role": "robot", "parts": []}]}), "contents[0].role: must be user or model"),
        (
            json!({"contents": [{"parts": [{"executableCode": {"code": "1"}}]}]}),
            "contents[0].parts[0].executableCode: is not supported",
        ),
        (
            json!({"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {}}}]}]}),
            "contents[0].parts[0].functionResponse: answers no call of f",
        ),
    ];
    for (body, message) in gemini {
        let refusal = to_chat(Flavor::OpenAi, &body).expect_err(&body.to_string()).to_string();
        assert!(refusal.starts_with(message), "{refusal}");
    }
    for (field, value) in
        [("previous_response_id", json!("resp_1")), ("background", json!(true)), ("conversation", json!("c"))]
    {
        let body = json!({"model": "m", "input": "x", field: value}).to_string();
        let refusal = translate(Front::Responses, Dialect::OpenAi, "m", Flavor::OpenAi, &body).unwrap_err().to_string();
        assert!(refusal.starts_with(&format!("{field}: is not supported")), "{refusal}");
    }
}

/// JSON of any shape, with the members that matter more often than others.
fn any_json() -> impl Strategy<Value = Value> {
    const NAMES: &[&str] = &[
        "model",
        "messages",
        "role",
        "content",
        "parts",
        "text",
        "type",
        "contents",
        "tools",
        "function",
        "name",
        "parameters",
        "arguments",
        "tool_calls",
        "functionCall",
        "functionResponse",
        "inline_data",
        "image_url",
        "url",
        "input",
        "requests",
        "generationConfig",
        "responseSchema",
        "response_format",
        "json_schema",
        "schema",
        "$ref",
        "properties",
        "candidates",
        "choices",
        "delta",
        "message",
        "usage",
        "usageMetadata",
        "error",
        "details",
        "@type",
        "promptFeedback",
        "blockReason",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "user",
            "model",
            "assistant",
            "tool",
            "system",
            "text",
            "function",
            "image_url",
            "",
            "#",
            "{}"
        ])
        .prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(NAMES), inner), 0..6)
                .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_json_is_translated_or_refused(mut body in any_json(), extra in any_json()) {
        if let Value::Object(body) = &mut body {
            body.insert("model".into(), json!("m"));
            for name in ["messages", "contents", "input"] {
                body.entry(name).or_insert_with(|| json!([extra.clone()]));
            }
        }
        let body = body.to_string();
        for front in [Front::Chat, Front::Responses, Front::Gemini] {
            for upstream in [Dialect::Gemini, Dialect::OpenAi] {
                let _either = translate(front, upstream, "gemini-2.0-flash", Flavor::Mistral, &body);
            }
        }
        let _either = gemini_for(body.as_bytes(), "m");
    }

    /// What was said, by whom and in which order, survives the way to the other side and back.
    #[test]
    fn a_conversation_survives_the_round_trip(
        texts in prop::collection::vec("[ -~é\n\"\\\\]{1,20}", 1..8),
        system in prop::option::of("[a-z]{1,9}"),
    ) {
        let mut messages: Vec<Value> = system.iter().map(|text| json!({"role": "system", "content": text})).collect();
        for (index, text) in texts.iter().enumerate() {
            messages.push(json!({"role": if index % 2 == 0 { "user" } else { "assistant" }, "content": text}));
        }
        let there = to_gemini("gemini-2.5-pro", &json!({"messages": messages})).unwrap();
        let back = to_chat(Flavor::OpenAi, &there).unwrap();
        prop_assert_eq!(&back["messages"], &Value::from(messages));
    }
}

#[test]
fn the_same_dialect_changes_the_name_only() {
    let body = r#"{ "model":"public", "messages": [ ],"mood":"sad" }"#;
    let peek = Peek::open_ai(body.as_bytes()).unwrap();
    let asked =
        Asked { model: "up", peek: &peek, stream: false, count_usage: true, flavor: Flavor::OpenAi, fetched: &[] };
    let out = request(Front::Chat, Dialect::OpenAi, body.as_bytes(), &asked).unwrap();
    assert_eq!(out, body.replace("public", "up").as_bytes());
    let gemini = br#"{ "contents" : [ ] , "anything": 1 }"#;
    let out = request(Front::Gemini, Dialect::Vertex, gemini, &asked).unwrap();
    assert_eq!(&*out, gemini);
}
