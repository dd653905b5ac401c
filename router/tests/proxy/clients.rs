//! Both dialects in front of both, who may ask, and what is listed.

use serde_json::Value;

use crate::streams::{ANSWER, ASK, CHAT, CHAT_ANSWER, CHAT_STREAM, EVENT, GENERATE, LAST_EVENT, STREAM};
use crate::support::provider::Provider;
use crate::support::{Plan, read};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn a_chat_is_answered_by_gemini() {
    let provider = Provider::start().await;
    let pool = Plan::new(&[provider.gemini()]).start().await;
    provider.will_say(200, ANSWER);
    let (head, body) = pool.ask("/v1/chat/completions", &[], CHAT_STREAM.replace("true", "false").as_str()).await;
    assert_eq!(head.status, 200, "{body}");
    let answer = json(&body);
    assert_eq!(answer["choices"][0]["message"]["content"], "hello");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["model"], "m", "the model as the client knows it");
    let asked = &provider.asked()[0];
    assert_eq!(asked.address, "/v1beta/models/upstream-0:generateContent");
    assert_eq!(json(&asked.body)["contents"][0]["parts"][0]["text"], "hi");
}

#[tokio::test]
async fn a_chat_stream_is_answered_by_gemini() {
    let provider = Provider::start().await;
    let pool = Plan::new(&[provider.gemini()]).start().await;
    provider.will_stream_all(&[EVENT, LAST_EVENT]);
    let (text, clean) = read(pool.call("/v1/chat/completions", &[], CHAT_STREAM).await).await;
    assert!(clean && text.ends_with("data: [DONE]\n\n"), "{text}");
    let words: String = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: {").map(|rest| json(&format!("{{{rest}"))))
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(words, "hello");
}

#[tokio::test]
async fn gemini_is_answered_by_a_chat() {
    let provider = Provider::start().await;
    let pool = Plan::new(&[provider.open_ai()]).start().await;
    provider.will_say(200, CHAT_ANSWER);
    let (_, body) = pool.ask(GENERATE, &[], ASK).await;
    let answer = json(&body);
    assert_eq!(answer["candidates"][0]["content"]["parts"][0]["text"], "hello");
    assert_eq!(answer["usageMetadata"]["totalTokenCount"], 5);
    let asked = &provider.asked()[0];
    assert_eq!(
        (asked.address.as_str(), &json(&asked.body)["model"]),
        ("/v1/chat/completions", &Value::from("upstream-0"))
    );

    let chunks: [&'static str; 2] = [
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"},\"finish_reason\":null}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
    ];
    provider.will_stream_all(&chunks);
    let (text, clean) = read(pool.call(STREAM, &[], ASK).await).await;
    assert!(clean && text.contains("hello") && text.ends_with("\r\n\r\n") && !text.contains("[DONE]"), "{text}");
}

#[tokio::test]
async fn a_fallback_may_speak_another_dialect() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let pool = Plan::new(&[first.open_ai(), second.gemini()]).start().await;
    first.will_say(429, r#"{"message":"Requests rate limit exceeded"}"#);
    second.will_say(200, ANSWER);
    let (head, body) = pool.ask("/v1/chat/completions", &[], CHAT).await;
    // `unknown` has no place in Gemini's dialect, so the second tier cannot take this call.
    assert_eq!(head.status, 400, "{body}");
    assert!(body.contains("unknown"), "the member at fault is named: {body}");
    first.will_say(429, r#"{"message":"Requests rate limit exceeded"}"#);
    let (head, body) = pool.ask("/v1/chat/completions", &[], &CHAT.replace(r#","unknown":{"kept":[1.50]}"#, "")).await;
    assert_eq!((head.status.as_u16(), &json(&body)["choices"][0]["message"]["content"]), (200, &Value::from("hello")));
}

#[tokio::test]
async fn embeddings_and_counts_have_their_own_methods() {
    let provider = Provider::start().await;
    let pool = Plan::new(&[provider.gemini()]).start().await;
    provider.will_say(200, r#"{"embeddings":[{"values":[0.5,-1.0]}]}"#);
    let (_, body) = pool.ask("/v1/embeddings", &[], r#"{"model":"m","input":"hi"}"#).await;
    assert_eq!(json(&body)["data"][0]["embedding"], json("[0.5,-1.0]"), "{body}");
    provider.will_say(200, r#"{"totalTokens":5}"#);
    let (_, body) = pool.ask("/v1beta/models/m:countTokens", &[], ASK).await;
    assert_eq!(body, r#"{"totalTokens":5}"#);
    let addresses: Vec<String> = provider.asked().into_iter().map(|asked| asked.address).collect();
    assert_eq!(addresses, ["/v1beta/models/upstream-0:batchEmbedContents", "/v1beta/models/upstream-0:countTokens"]);
}

#[tokio::test]
async fn credentials_decide_whose_models_are_listed() {
    let pool = Plan::new(&[]).start().await;
    let (_, open_ai) = pool.ask("/v1/models", &[("authorization", "Bearer t")], "").await;
    assert_eq!(json(&open_ai)["data"][0]["id"], "m");
    for (path, headers) in [
        ("/v1/models", &[("x-goog-api-key", "t")][..]),
        ("/v1/models?key=t", &[]),
        ("/v1beta/models", &[("authorization", "Bearer t")]),
    ] {
        let (_, gemini) = pool.ask(path, headers, "").await;
        assert_eq!(json(&gemini)["models"][0]["name"], "models/m", "{path}");
    }
    let (_, one) = pool.ask("/v1beta/models/m", &[], "").await;
    assert_eq!(json(&one)["name"], "models/m");
}

#[tokio::test]
async fn only_known_clients_are_served() {
    let provider = Provider::start().await;
    let plan = Plan { tokens: vec!["let-me-in", "me-too"], ..Plan::new(&[provider.gemini()]) };
    let pool = plan.start().await;
    for wrong in [&[][..], &[("authorization", "Bearer let-me")], &[("x-goog-api-key", "let-me-in-too")]] {
        let (head, body) = pool.ask(GENERATE, wrong, ASK).await;
        assert_eq!(head.status, 401);
        assert_eq!(json(&body)["error"]["status"], "UNAUTHENTICATED");
        assert_eq!(pool.ask("/v1/models", wrong, "").await.0.status, 401);
    }
    for right in [("authorization", "Bearer let-me-in"), ("x-goog-api-key", "me-too"), ("api-key", "let-me-in")] {
        provider.will_say(200, ANSWER);
        assert_eq!(pool.ask(GENERATE, &[right], ASK).await.0.status, 200);
    }
    assert_eq!(provider.asked().len(), 3, "nobody else's call went upstream");
}

#[tokio::test]
async fn what_cannot_be_served_is_said_in_the_clients_dialect() {
    let pool = Plan::new(&[]).start().await;
    let (head, body) = pool.ask("/v1/chat/completions", &[], r#"{"model":"other"}"#).await;
    assert_eq!((head.status.as_u16(), &json(&body)["error"]["code"]), (404, &Value::from("model_not_found")));
    let (head, body) = pool.ask("/v1beta/models/other:generateContent", &[], ASK).await;
    assert_eq!((head.status.as_u16(), &json(&body)["error"]["status"]), (404, &Value::from("NOT_FOUND")));
    let (head, _) = pool.ask("/v1/chat/completions", &[], "{\"model\":").await;
    assert_eq!(head.status, 400);
    // A base address with a version, given to a client that adds its own.
    for (twice, key, status) in [
        ("/v1/v1beta/models/m:generateContent", "x-goog-api-key", "NOT_FOUND"),
        ("/v1beta/openai/v1/chat/completions", "authorization", ""),
        ("/v1/v1/models/m", "authorization", ""),
    ] {
        let (head, body) = pool.ask(twice, &[(key, "Bearer x")], ASK).await;
        let error = &json(&body)["error"];
        assert_eq!((head.status.as_u16(), error["status"].as_str().unwrap_or_default()), (404, status), "{body}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains("stands there twice")), "{body}");
    }
    let (head, _) = pool.ask("/v1beta/models/m:dance", &[], ASK).await;
    assert_eq!(head.status, 404);
}
