//! Good answers of every kind.

use serde_json::{Value, json};
use stormproof_router::core::{Reason, Timestamp};
use stormproof_simulator::mock::Manners;
use stormproof_simulator::world::{Death, Faults};

use crate::http::Ask;
use crate::pool;

const GENERATE: &str = "/v1beta/models/gemini-2.5-pro:generateContent";

async fn gemini(body: Value) -> Value {
    let case = pool::case(|_| {});
    let mock = pool::standing(&case, Manners::default()).await;
    Ask::post(GENERATE, &body).google("mock-gemini-01").json(mock.address(), 200).await
}

async fn chat(model: &str, key: &str, path: &str, mut body: Value) -> Value {
    let case = pool::case(|_| {});
    let mock = pool::standing(&case, Manners::default()).await;
    body["model"] = model.into();
    Ask::post(path, &body).bearer(key).json(mock.address(), 200).await
}

fn tool() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
}

#[tokio::test]
async fn a_tool_is_called_and_its_answer_repeated() {
    let user = json!({"role": "user", "parts": [{"text": "weather in Rome"}]});
    let tools = json!([{"functionDeclarations": [{"name": "weather", "parameters": tool()}]}]);
    let answer = gemini(json!({"contents": [user], "tools": tools})).await;
    let part = &answer["candidates"][0]["content"]["parts"][0];
    assert_eq!(part["functionCall"], json!({"name": "weather", "args": {"city": "weather in Rome"}}));
    assert_eq!(answer["candidates"][0]["finishReason"], "STOP");
    let model = json!({"role": "model", "parts": [part]});
    let said =
        json!({"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"sky": "blue"}}}]});
    let answer = gemini(json!({"contents": [user, model, said], "tools": tools})).await;
    let text = answer["candidates"][0]["content"]["parts"][0]["text"].as_str().expect("a text");
    assert!(text.starts_with("The tool said: {\"sky\":\"blue\"}."), "{text}");
}

#[tokio::test]
async fn a_schema_is_satisfied() {
    let contents = json!([{"parts": [{"text": "a city"}]}]);
    let config = json!({"responseMimeType": "application/json", "responseSchema":
        {"type": "OBJECT", "properties": {"name": {"type": "STRING"}, "people": {"type": "INTEGER"}}}});
    let answer = gemini(json!({"contents": contents, "generationConfig": config})).await;
    let text = answer["candidates"][0]["content"]["parts"][0]["text"].as_str().expect("a text");
    assert_eq!(serde_json::from_str::<Value>(text).expect("JSON"), json!({"name": "a city", "people": 1}));
    let config =
        json!({"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["yes", "no"]}});
    let answer = gemini(json!({"contents": contents, "generationConfig": config})).await;
    assert_eq!(answer["candidates"][0]["content"]["parts"][0]["text"], "yes");
}

#[tokio::test]
async fn thoughts_that_take_all_leave_an_empty_content() {
    let config = json!({"maxOutputTokens": 20});
    let answer =
        gemini(json!({"contents": [{"parts": [{"text": "mock:output=400"}]}], "generationConfig": config})).await;
    let candidate = &answer["candidates"][0];
    assert_eq!((&candidate["content"], &candidate["finishReason"]), (&json!({"role": "model"}), &json!("MAX_TOKENS")));
    let counts = &answer["usageMetadata"];
    assert_eq!((counts.get("candidatesTokenCount"), &counts["thoughtsTokenCount"]), (None, &json!(20)));
}

#[tokio::test]
async fn every_chat_style_has_its_oddities() {
    let body = json!({"messages": [{"role": "user", "content": "weather in Rome"}],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": tool()}}]});
    let openai = chat("gpt-4o", "mock-openai-01", "/v1/chat/completions", body.clone()).await;
    let call = &openai["choices"][0]["message"]["tool_calls"][0];
    assert_eq!((call["function"]["name"].as_str(), call["type"].as_str()), (Some("weather"), Some("function")));
    assert_eq!(openai["choices"][0]["finish_reason"], "tool_calls");
    let mistral = chat("mistral-large-latest", "mock-mistral-01", "/v1/chat/completions", body.clone()).await;
    assert_eq!(mistral["choices"][0]["message"]["tool_calls"][0]["id"].as_str().map(str::len), Some(9));
    let path = "/v1beta/openai/chat/completions";
    let compat = chat("gemini-2.5-pro", "mock-gemini-01", path, body.clone()).await;
    let usage = &compat["usage"];
    let counted =
        usage["prompt_tokens"].as_u64().expect("a count") + usage["completion_tokens"].as_u64().expect("a count");
    assert!(usage["total_tokens"].as_u64().expect("a count") > counted, "thoughts are in the total only");
    assert!(
        compat["choices"][0]["message"]["tool_calls"][0]["extra_content"]["google"]["thought_signature"].is_string()
    );
}

#[tokio::test]
async fn a_response_is_translated_from_a_chat() {
    let body = json!({"input": "Hello", "instructions": "Be brief."});
    let answer = chat("gpt-4o", "mock-openai-01", "/v1/responses", body).await;
    assert_eq!((answer["object"].as_str(), answer["status"].as_str()), (Some("response"), Some("completed")));
    let text = answer["output"][0]["content"][0]["text"].as_str().expect("a text");
    assert!(text.starts_with("You said: \"Hello\"."), "{text}");
}

#[tokio::test]
async fn embeddings_counts_and_lists() {
    let case = pool::case(|_| {});
    let mock = pool::standing(&case, Manners::default()).await;
    let google = |ask: Ask| ask.google("mock-gemini-01");
    let many = json!({"requests": [{"model": "models/gemini-2.5-pro", "content": {"parts": [{"text": "a"}]}}]});
    let path = "/v1beta/models/gemini-2.5-pro:batchEmbedContents";
    let embedded = google(Ask::post(path, &many)).json(mock.address(), 200).await;
    assert_eq!(embedded["embeddings"][0]["values"].as_array().map(Vec::len), Some(768));
    let body = json!({"model": "gpt-4o", "input": "a", "encoding_format": "base64", "dimensions": 6});
    let encoded = Ask::post("/v1/embeddings", &body).bearer("mock-openai-01").json(mock.address(), 200).await;
    assert_eq!(encoded["data"][0]["embedding"].as_str().map(str::len), Some(32), "six floats in base64");
    let count = json!({"contents": [{"parts": [{"text": "twelve bytes"}]}]});
    let path = "/v1beta/models/gemini-2.5-pro:countTokens";
    assert_eq!(google(Ask::post(path, &count)).json(mock.address(), 200).await["totalTokens"], 3);
    let names = google(Ask::get("/v1/models")).json(mock.address(), 200).await;
    assert_eq!(names["models"][0]["name"], "models/gemini-2.5-pro");
    let names = Ask::get("/v1/models").bearer("mock-openai-01").json(mock.address(), 200).await;
    assert_eq!(names["data"][0]["id"], "gpt-4o");
    let one = google(Ask::get("/v1beta/models/gemini-2.5-pro")).json(mock.address(), 200).await;
    assert_eq!(one["inputTokenLimit"], 1_048_576);
}

/// Overload touches neither counting nor lists nor embeddings; a model of which the key is shut out shuts out no list.
#[tokio::test]
async fn only_generation_knows_the_weather() {
    let reason = Reason::NoFreeTier;
    let death =
        Death { from: Timestamp::ZERO, until: Timestamp::MAX, upstream: Some(pool::upstream("openai")), reason };
    let case = pool::case(|world| {
        world.upstreams.iter_mut().for_each(|upstream| upstream.weather.noise = 1.0);
        world.keys[0].deaths = vec![death];
    });
    let mock = pool::standing(&case, Manners::default()).await;
    let body = json!({"contents": [{"parts": [{"text": "Hello"}]}]});
    for (path, status) in [(GENERATE, 503), ("/v1beta/models/gemini-2.5-pro:countTokens", 200)] {
        Ask::post(path, &body).google("mock-gemini-01").json(mock.address(), status).await;
    }
    Ask::get("/v1beta/models").google("mock-gemini-01").json(mock.address(), 200).await;
}

#[tokio::test]
async fn a_blocked_prompt_is_a_success_without_an_answer() {
    let case = pool::case(|world| {
        let blocked = Faults { blocked: 1.0, ..Faults::default() };
        world.upstreams.iter_mut().for_each(|upstream| upstream.faults = blocked);
    });
    let mock = pool::standing(&case, Manners::default()).await;
    let body = json!({"contents": [{"parts": [{"text": "Hello"}]}]});
    let answer = Ask::post(GENERATE, &body).google("mock-gemini-01").json(mock.address(), 200).await;
    assert_eq!(
        (&answer["promptFeedback"]["blockReason"], answer.get("candidates")),
        (&json!("PROHIBITED_CONTENT"), None)
    );
    let chat = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]});
    let answer = Ask::post("/v1/chat/completions", &chat).bearer("mock-openai-01").json(mock.address(), 200).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "content_filter");
}

#[tokio::test]
async fn repetitions_of_a_prompt_differ_in_their_luck_and_not_in_their_answer() {
    let case = pool::case(|_| {});
    let mock = pool::standing(&case, Manners::default()).await;
    let ask = Ask::post(GENERATE, &json!({"contents": [{"parts": [{"text": "Hello"}]}]})).google("mock-gemini-01");
    let (mut first, mut second) = (ask.json(mock.address(), 200).await, ask.json(mock.address(), 200).await);
    assert_ne!(first["responseId"], second["responseId"]);
    (first["responseId"], second["responseId"]) = (Value::Null, Value::Null);
    assert_eq!(first, second);
}
