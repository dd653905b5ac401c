//! What passes through: bodies, streams, failures, and what a client sees of them.

use crate::support::provider::{Answer, Piece, Provider};
use crate::support::{Plan, SECRET, read};
use tokio::sync::oneshot;

pub(crate) const CHAT: &str =
    r#"{"messages":[{"role":"user","content":"hi"}], "model" : "m","unknown":{"kept":[1.50]}}"#;
pub(crate) const CHAT_STREAM: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
pub(crate) const CHAT_ANSWER: &str = r#"{"id":"c1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
pub(crate) const ASK: &str = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#;
pub(crate) const ANSWER: &str = "{\n  \"candidates\": [{\"content\": {\"parts\": [{\"text\": \"hello\"}],\"role\": \"model\"},\"finishReason\": \"STOP\"}]\n}\n";
pub(crate) const EVENT: &str = "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"hel\"}],\"role\": \"model\"},\"index\": 0}]}\r\n\r\n";
pub(crate) const LAST_EVENT: &str = "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"lo\"}],\"role\": \"model\"},\"finishReason\": \"STOP\",\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 3,\"candidatesTokenCount\": 2,\"totalTokenCount\": 5}}\r\n\r\n";
const OVERLOADED: &str =
    r#"{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}"#;

pub(crate) const GENERATE: &str = "/v1beta/models/m:generateContent";
pub(crate) const STREAM: &str = "/v1beta/models/m:streamGenerateContent?alt=sse";

#[tokio::test]
async fn a_body_in_the_providers_dialect_passes_byte_for_byte() {
    let provider = Provider::start().await;
    let pool = Plan::new(&[provider.gemini()]).start().await;
    provider.will_say(200, ANSWER);
    let (head, body) = pool.ask(GENERATE, &[], ASK).await;
    assert_eq!((head.status.as_u16(), body.as_str()), (200, ANSWER));
    assert_eq!(head.headers["x-stormproof-tier"], "tier-0");
    assert_eq!(head.headers["x-stormproof-deployment"], "tier-0/key-0");
    assert_eq!(head.headers["x-stormproof-attempts"], "1");
    assert_eq!(head.headers["x-request-id"], "sp-1");
    let asked = &provider.asked()[0];
    assert_eq!(asked.body, ASK);
    assert_eq!(asked.address, "/v1beta/models/upstream-0:generateContent");
}

#[tokio::test]
async fn only_the_models_name_is_changed_in_a_chat() {
    let provider = Provider::start().await;
    let pool = Plan::new(&[provider.open_ai()]).start().await;
    provider.will_say(200, CHAT_ANSWER);
    let (_, body) = pool.ask("/v1/chat/completions", &[], CHAT).await;
    assert_eq!(body, CHAT_ANSWER);
    assert_eq!(provider.asked()[0].body, CHAT.replace("\"m\"", "\"upstream-0\""));
}

#[tokio::test]
async fn a_clients_credentials_and_timeouts_never_go_upstream() {
    let provider = Provider::start().await;
    let pool = Plan::new(&[provider.gemini()]).start().await;
    provider.will_say(200, ANSWER);
    let own = [
        ("authorization", "Bearer client-token"),
        ("x-goog-api-key", "client-token"),
        ("x-server-timeout", "5"),
        ("cookie", "client-token"),
    ];
    pool.ask(&format!("{GENERATE}?key=client-token"), &own, ASK).await;
    let asked = &provider.asked()[0];
    assert!(!format!("{asked:?}").contains("client-token"), "{asked:?}");
    assert!(!asked.headers.contains_key("authorization"), "a wrong Authorization is a 401");
    assert!(!asked.headers.contains_key("x-server-timeout"), "a short one is a 400");
    assert_eq!(asked.headers["x-goog-api-key"], format!("{SECRET}0").as_str());
}

#[tokio::test]
async fn a_failure_before_the_first_byte_is_tried_elsewhere() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let pool = Plan::new(&[first.gemini(), second.gemini()]).start().await;
    for failure in [
        Answer::Whole(503, "application/json", OVERLOADED.into()),
        Answer::Reset,
        Answer::Whole(200, "application/json", "{\"candidates\": [".into()),
        Answer::Whole(200, "application/json", OVERLOADED.into()),
    ] {
        first.will(failure);
        second.will_say(200, ANSWER);
        let (head, body) = pool.ask(GENERATE, &[], ASK).await;
        assert_eq!(body, ANSWER);
        assert_eq!(head.headers["x-stormproof-attempts"], "2");
        assert_eq!(head.headers["x-stormproof-tier"], "tier-1");
    }
    assert_eq!(first.asked().len(), 4, "every attempt is the router's: nothing repeats by itself");
}

#[tokio::test]
async fn a_stream_passes_event_by_event_as_they_come() {
    let provider = Provider::start().await;
    let pool = Plan::new(&[provider.gemini()]).start().await;
    let pieces = provider.will_stream();
    pieces.send(Piece::Text(EVENT)).expect("it waits");
    // The head and the first event are there although the provider has not ended.
    let mut response = pool.call(STREAM, &[], ASK).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let first = http_body_util::BodyExt::frame(response.body_mut()).await.expect("an event").expect("whole");
    assert_eq!(first.into_data().expect("data"), EVENT);
    pieces.send(Piece::Text(LAST_EVENT)).expect("it waits");
    drop(pieces);
    assert_eq!(read(response).await, (LAST_EVENT.to_owned(), true));
}

#[tokio::test]
async fn the_head_is_held_until_the_first_good_event() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let pool = Plan::new(&[first.gemini(), second.gemini()]).start().await;
    for failure in [
        "data: {\"error\": {\"code\": 503,\"message\": \"overloaded\",\"status\": \"UNAVAILABLE\"}}\r\n\r\n",
        "{\n  \"error\": {\n    \"code\": 503\n  }\n}\n",
        "data: {\"candidates\": [{\"conte",
        "",
    ] {
        first.will_stream_all(&[failure]);
        second.will_stream_all(&[EVENT, LAST_EVENT]);
        let response = pool.call(STREAM, &[], ASK).await;
        assert_eq!(response.headers()["x-stormproof-attempts"], "2", "{failure}");
        assert_eq!(read(response).await, (format!("{EVENT}{LAST_EVENT}"), true), "{failure}");
    }
}

#[tokio::test]
async fn a_stream_that_fails_ends_with_the_dialects_error_and_never_cleanly() {
    const ARRAY: &str = "/v1beta/models/m:streamGenerateContent";
    const ELEMENT: &str = "[{\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"hel\"}]}}]}\n";
    let provider = Provider::start().await;
    let pool = Plan::new(&[provider.gemini()]).start().await;
    let endings = [
        (STREAM, EVENT, Some(Piece::Cut)),
        // It ends without saying that the answer is over.
        (STREAM, EVENT, None),
        (STREAM, EVENT, Some(Piece::Text("data: {\"error\": {\"code\": 503,\"message\": \"overloaded\"}}\r\n\r\n"))),
        // A raw error, outside of any event.
        (STREAM, EVENT, Some(Piece::Text("{\n \"error\": {\n \"code\": 503\n }\n}\n\n"))),
        (ARRAY, ELEMENT, Some(Piece::Cut)),
        (ARRAY, ELEMENT, None),
        (ARRAY, ELEMENT, Some(Piece::Text(",\r\n{\"error\": {\"code\": 503,\"message\": \"overloaded\"}}\n]"))),
    ];
    for (path, first, last) in endings {
        let pieces = provider.will_stream();
        pieces.send(Piece::Text(first)).expect("it waits");
        let response = pool.call(path, &[], ASK).await;
        if let Some(last) = last {
            pieces.send(last).expect("it waits");
        }
        drop(pieces);
        let (text, clean) = read(response).await;
        assert!(!clean, "never a clean end: {text}");
        assert!(text.starts_with(first) && text.contains("{\"error\":{\"code\":50"), "{text}");
        if path == ARRAY {
            let elements: Vec<serde_json::Value> = serde_json::from_str(&text).expect("still an array");
            assert_eq!(elements.len(), 2);
        } else {
            assert!(text.ends_with("\r\n\r\n"), "{text}");
        }
    }
}

#[tokio::test]
async fn an_openai_stream_fails_with_openais_error_and_without_done() {
    let provider = Provider::start().await;
    let pool = Plan::new(&[provider.open_ai()]).start().await;
    let pieces = provider.will_stream();
    let chunk = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hel\"},\"finish_reason\":null}]}\n\n";
    pieces.send(Piece::Text(chunk)).expect("it waits");
    let response = pool.call("/v1/chat/completions", &[], CHAT_STREAM).await;
    pieces.send(Piece::Cut).expect("it waits");
    let (text, clean) = read(response).await;
    assert!(!clean && !text.contains("[DONE]"), "{text}");
    let error = text.strip_prefix(chunk).and_then(|rest| rest.strip_prefix("data: ")).expect("an event");
    let error: serde_json::Value = serde_json::from_str(error.trim()).expect("JSON");
    assert_eq!(error["error"]["type"], "server_error");
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_call_at_once() {
    let provider = Provider::start().await;
    let pool = Plan::new(&[provider.gemini()]).start().await;
    let (held, dropped) = oneshot::channel();
    provider.will(Answer::Silence(held));
    let arrived = async {
        while provider.asked().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = pool.call(GENERATE, &[], ASK) => panic!("nobody answers"),
        () = arrived => {}
    }
    // The client's future is dropped: its connection closes, and the provider's end goes with it.
    assert!(dropped.await.is_err());

    let pieces = provider.will_stream();
    pieces.send(Piece::Text(EVENT)).expect("it waits");
    let response = pool.call(STREAM, &[], ASK).await;
    drop(response);
    pieces.closed().await;
}

#[tokio::test]
async fn a_request_ends_by_its_deadline() {
    let provider = Provider::start().await;
    let pool = Plan::new(&[provider.gemini()]).start().await;
    let (held, dropped) = oneshot::channel();
    provider.will(Answer::Silence(held));
    let (head, body) = pool.ask(GENERATE, &[("x-deadline", "50ms")], ASK).await;
    assert_eq!(head.status, 504);
    assert!(body.contains("The deadline came before an answer"), "{body}");
    assert_eq!(head.headers["x-should-retry"], "false");
    assert!(dropped.await.is_err(), "the call to the provider is over too");
}

#[tokio::test]
async fn the_requests_own_fault_is_the_clients_to_see() {
    let provider = Provider::start().await;
    let pool = Plan::new(&[provider.gemini()]).start().await;
    let echo = format!(
        "{{\"error\":{{\"code\":400,\"message\":\"no such field, {SECRET}0\",\"status\":\"INVALID_ARGUMENT\"}}}}"
    );
    provider.will_say(400, echo);
    let (head, body) = pool.ask(GENERATE, &[], ASK).await;
    assert_eq!(head.status, 400);
    assert!(body.contains("no such field") && body.contains("INVALID_ARGUMENT"), "{body}");
    assert!(!body.contains(SECRET), "{body}");
}

#[tokio::test]
async fn new_settings_serve_new_requests_and_old_ones_go_on() {
    let (old, new) = (Provider::start().await, Provider::start().await);
    let pool = Plan::new(&[old.gemini()]).start().await;
    let pieces = old.will_stream();
    pieces.send(Piece::Text(EVENT)).expect("it waits");
    let running = pool.call(STREAM, &[], ASK).await;
    pool.proxy.configure(Plan::new(&[new.gemini()]).live()).await;
    new.will_say(200, ANSWER);
    let (_, body) = pool.ask(GENERATE, &[], ASK).await;
    assert_eq!((body.as_str(), new.asked().len()), (ANSWER, 1));
    pieces.send(Piece::Text(LAST_EVENT)).expect("it waits");
    drop(pieces);
    assert_eq!(read(running).await, (format!("{EVENT}{LAST_EVENT}"), true));
}
