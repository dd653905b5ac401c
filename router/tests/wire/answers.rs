//! Complete answers, embeddings and lists of models, from one dialect to the other.

use proptest::prelude::*;
use serde_json::{Value, json};
use stormproof_router::core::Tokens;
use stormproof_router::wire::{Answered, Dialect, Front, Identity, Malformed, answer, embeddings, models, usage};

fn identity() -> Identity {
    Identity { id: "q7".into(), created: 1_745_040_057, model: "gemini-2.5-pro".into() }
}

fn translated(front: Front, upstream: Dialect, body: &Value) -> Value {
    let body = body.to_string();
    let Answered { body, .. } = answer(front, upstream, body.as_bytes(), &identity()).unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[test]
fn golden_answers_from_gemini() {
    let cases = [
        (
            "tools-and-thoughts",
            json!({"candidates": [
                {"content": {"parts": [{"text": "hmm", "thought": true}, {"text": "Two "}, {"text": "calls."},
                    {"functionCall": {"name": "a", "args": {"b": 1, "a": [2]}}, "thoughtSignature": "c2ln"},
                    {"functionCall": {"name": "a"}}, {"functionCall": {"id": "own", "name": "c", "args": {}}}], "role": "model"},
                    "finishReason": "STOP", "index": 0},
                {"content": {"parts": [{"text": "One", "thoughtSignature": "dGV4dA=="}]}, "finishReason": "MAX_TOKENS", "index": 1}],
                "usageMetadata": {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 5,
                    "thoughtsTokenCount": 20, "totalTokenCount": 35}, "modelVersion": "gemini-2.5-pro", "responseId": "abc"}),
        ),
        (
            "thinking-used-up-the-limit",
            json!({"candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}],
                "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 103, "thoughtsTokenCount": 100}}),
        ),
        ("safety", json!({"candidates": [{"content": {}, "finishReason": "SAFETY", "index": 0}]})),
        (
            "blocked",
            json!({"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "no"}, "usageMetadata": {"promptTokenCount": 3}}),
        ),
        (
            "picture-and-logprobs",
            json!({"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}, {"text": "x"}]},
                "logprobsResult": {"topCandidates": [{"candidates": [{"token": "x", "logProbability": -0.1}, {"token": "y", "logProbability": -3.0}]}],
                    "chosenCandidates": [{"token": "x", "logProbability": -0.1}]}}]}),
        ),
    ];
    for (name, body) in cases {
        insta::assert_json_snapshot!(format!("{name}-chat"), translated(Front::Chat, Dialect::Gemini, &body));
        insta::assert_json_snapshot!(format!("{name}-responses"), translated(Front::Responses, Dialect::Gemini, &body));
    }
}

#[test]
fn golden_answers_from_a_chat() {
    let body = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "mistral-large-latest", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Well", "reasoning_content": "hmm", "tool_calls": [
            {"id": "abcdefghi", "function": {"name": "f", "arguments": "{\"a\": \"b\"}"}}]}, "finish_reason": "tool_calls"},
        {"index": 1, "message": {"role": "assistant", "content": null, "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": "{broken"}}]},
            "finish_reason": "tool_calls"},
        {"index": 2, "message": {"role": "assistant", "content": "cut", "tool_calls": null}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}});
    insta::assert_json_snapshot!("from-chat-gemini", translated(Front::Gemini, Dialect::OpenAi, &body));
    insta::assert_json_snapshot!("from-chat-responses", translated(Front::Responses, Dialect::OpenAi, &body));
}

#[test]
fn finish_reasons_map_as_documented() {
    let finish = |reason: &str| {
        let body = json!({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": reason}]});
        translated(Front::Chat, Dialect::Gemini, &body)["choices"][0]["finish_reason"].as_str().unwrap().to_owned()
    };
    for (gemini, open_ai) in [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("LANGUAGE", "content_filter"),
        ("OTHER", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "stop"),
        ("SOMETHING_NEW", "stop"),
    ] {
        assert_eq!(finish(gemini), open_ai, "{gemini}");
    }
}

#[test]
fn what_is_no_answer_is_malformed() {
    for front in [Front::Chat, Front::Responses, Front::Gemini] {
        for upstream in [Dialect::Gemini, Dialect::Vertex, Dialect::OpenAi] {
            for body in
                ["", "{}", "[]", "<html>", "{\"error\":{\"code\":503}}", "{\"candidates\":[],\"choices\":[]}", "null"]
            {
                assert_eq!(
                    answer(front, upstream, body.as_bytes(), &identity()),
                    Err(Malformed),
                    "{front:?} {upstream:?} {body}"
                );
            }
        }
    }
}

#[test]
fn the_same_dialect_passes_and_is_counted() {
    let body = br#"{ "candidates": [ {"finishReason":"STOP"} ] , "usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2,"totalTokenCount":5}, "x": 1 }"#;
    let answered = answer(Front::Gemini, Dialect::Vertex, body, &identity()).unwrap();
    assert_eq!(&*answered.body, body);
    assert_eq!(answered.usage, usage(body));
    assert_eq!(answered.usage.map(|usage| (usage.input.get(), usage.output.get())), Some((3, 2)));
}

#[test]
fn embeddings_both_ways() {
    let ask = br#"{"model":"public","input":["a\"b","c"],"dimensions":2,"encoding_format":"base64"}"#;
    let (out, base64) = embeddings::open_ai_to_gemini(ask, "gemini-embedding-001").unwrap();
    assert!(base64);
    let request = |text: &str| json!({"model": "models/gemini-embedding-001", "content": {"parts": [{"text": text}]}, "outputDimensionality": 2});
    assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), json!({"requests": [request("a\"b"), request("c")]}));
    let (out, base64) = embeddings::open_ai_to_vertex(br#"{"model":"m","input":"a"}"#).unwrap();
    assert_eq!((out, base64), (br#"{"instances":[{"content":"a"}]}"#.to_vec(), false));
    for (body, problem) in [
        (r#"{"input":[1,2]}"#, "input[0]: must be a string"),
        (r#"{"input":[]}"#, "input: must not be empty"),
        (r#"{"input":"a","encoding_format":"hex"}"#, "encoding_format: must be float or base64"),
        (r#"{"input":"a","task":"x"}"#, "task: is not supported"),
    ] {
        let refusal = embeddings::open_ai_to_gemini(body.as_bytes(), "m").unwrap_err().to_string();
        assert!(refusal.starts_with(problem), "{refusal}");
    }

    for answer in [
        r#"{"embeddings":[{"values":[0.5,-1]},{"values":[2,3]}]}"#,
        r#"{"predictions":[{"embeddings":{"values":[0.5,-1],"statistics":{"token_count":1}}},{"embeddings":{"values":[2,3]}}]}"#,
    ] {
        let plain = embeddings::gemini_to_open_ai(answer.as_bytes(), "public", false, Tokens::new(4)).unwrap();
        let plain: Value = serde_json::from_slice(&plain).unwrap();
        assert_eq!(plain["data"][0], json!({"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}));
        assert_eq!(plain["usage"], json!({"prompt_tokens": 4, "total_tokens": 4}));
        let packed = embeddings::gemini_to_open_ai(answer.as_bytes(), "public", true, Tokens::new(4)).unwrap();
        let packed: Value = serde_json::from_slice(&packed).unwrap();
        // 0.5 and -1 as little-endian 32-bit floats.
        assert_eq!(packed["data"][0]["embedding"], json!("AAAAPwAAgL8="));
    }
    assert_eq!(embeddings::gemini_to_open_ai(b"{}", "m", false, Tokens::ZERO), Err(Malformed));

    let single = br#"{"content":{"parts":[{"text":"a"},{"text":"b"}]},"taskType":"RETRIEVAL_QUERY"}"#;
    let (out, batch) = embeddings::gemini_to_open_ai_request(single, "mistral-embed").unwrap();
    assert_eq!((out, batch), (br#"{"model":"mistral-embed","input":["ab"]}"#.to_vec(), false));
    let many = br#"{"requests":[{"model":"models/x","content":{"parts":[{"text":"a"}]},"output_dimensionality":2},{"content":"b"}]}"#;
    let (out, batch) = embeddings::gemini_to_open_ai_request(many, "mistral-embed").unwrap();
    assert_eq!((out, batch), (br#"{"model":"mistral-embed","input":["a","b"],"dimensions":2}"#.to_vec(), true));
    let answer = br#"{"data":[{"index":1,"embedding":[3]},{"index":0,"embedding":[1,2]}],"usage":{"prompt_tokens":2,"total_tokens":2}}"#;
    let out = embeddings::open_ai_to_gemini_answer(answer, true).unwrap();
    let expected =
        json!({"embeddings": [{"values": [1, 2]}, {"values": [3]}], "usageMetadata": {"promptTokenCount": 2}});
    assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
}

#[test]
fn model_lists_both_ways() {
    let list: Value = serde_json::from_slice(&models::open_ai_list(["a", "b"], 7)).unwrap();
    assert_eq!(list["data"][1], json!({"id": "b", "object": "model", "created": 7, "owned_by": "stormproof"}));
    let (names, next) = models::names_in(list.to_string().as_bytes()).unwrap();
    assert_eq!((names, next), (vec!["a".to_owned(), "b".to_owned()], None));
    let gemini = models::gemini_list(["gemini-2.5-pro"]);
    assert_eq!(models::names_in(&gemini).unwrap().0, ["gemini-2.5-pro"]);
    let page = br#"{"models":[{"name":"models/x"}],"nextPageToken":"t"}"#;
    assert_eq!(models::names_in(page).unwrap(), (vec!["x".to_owned()], Some("t".to_owned())));
    assert_eq!(models::names_in(b"<html>"), Err(Malformed));
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer_or_none(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for front in [Front::Chat, Front::Responses, Front::Gemini] {
            for upstream in [Dialect::Gemini, Dialect::OpenAi] {
                let _either = answer(front, upstream, &body, &identity());
            }
        }
        let _either = models::names_in(&body);
        let _either = embeddings::gemini_to_open_ai(&body, "m", true, Tokens::ZERO);
    }
}
