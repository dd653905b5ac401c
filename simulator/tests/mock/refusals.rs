//! What is refused before the world is asked, each in the words of its API.

use serde_json::{Value, json};
use stormproof_simulator::mock::{Answer, Manners};

use crate::http::{Ask, End};
use crate::pool;

const GENERATE: &str = "/v1beta/models/gemini-2.5-pro:generateContent";

fn prompt() -> Value {
    json!({"contents": [{"parts": [{"text": "Hello"}]}]})
}

fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
}

#[tokio::test]
async fn every_api_refuses_in_its_own_words() {
    let vertex = "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-flash:generateContent";
    let compat = "/v1beta/openai/chat/completions";
    let openai = "/v1/chat/completions";
    let long = "x".repeat(5 << 20);
    let cases: Vec<(Ask, u16, &str, &str)> = vec![
        (Ask::post(GENERATE, &prompt()), 403, "/error/status", "PERMISSION_DENIED"),
        (Ask::post(GENERATE, &prompt()).google("none"), 400, "/error/details/0/reason", "API_KEY_INVALID"),
        (
            Ask::post(GENERATE, &prompt()).google("mock-gemini-01").bearer("sk-client"),
            401,
            "/error/details/0/reason",
            "ACCESS_TOKEN_TYPE_UNSUPPORTED",
        ),
        (Ask::post(GENERATE, &prompt()).google("mock-openai-01"), 400, "/error/status", "INVALID_ARGUMENT"),
        (
            Ask::post("/v1beta/models/nothing:generateContent", &prompt()).google("mock-gemini-01"),
            404,
            "/error/status",
            "NOT_FOUND",
        ),
        (
            Ask::post(GENERATE, &prompt()).google("mock-gemini-01").header("x-server-timeout", "5"),
            400,
            "/error/message",
            "Manually set deadline 5s is too short. Minimum allowed deadline is 10s.",
        ),
        (
            Ask::post(GENERATE, &json!({"contents": [{"parts": [{"text": long}]}]})).google("mock-gemini-01"),
            400,
            "/error/message",
            "The input token count exceeds the maximum number of tokens allowed 1048576.",
        ),
        (
            Ask::post(GENERATE, &json!({"contents": [{"parts": [{"text": "x"}]}], "messages": []}))
                .google("mock-gemini-01"),
            400,
            "/error/details/0/@type",
            "type.googleapis.com/google.rpc.BadRequest",
        ),
        (
            Ask::post(compat, &chat("gemini-2.5-pro")),
            400,
            "/0/error/message",
            "Missing or invalid Authorization header.",
        ),
        (Ask::post(compat, &chat("gemini-2.5-pro")).bearer("none"), 400, "/0/error/status", "INVALID_ARGUMENT"),
        (Ask::post(compat, &chat("nothing")).bearer("mock-gemini-01"), 404, "/0/error/status", "NOT_FOUND"),
        (Ask::post(vertex, &prompt()).bearer("none"), 401, "/error/status", "UNAUTHENTICATED"),
        (Ask::post(vertex, &prompt()).google("none"), 400, "/error/status", "INVALID_ARGUMENT"),
        (Ask::post(openai, &chat("gpt-4o")).bearer("none"), 401, "/error/code", "invalid_api_key"),
        (Ask::post(openai, &chat("nothing")).bearer("mock-openai-01"), 404, "/error/code", "model_not_found"),
        (Ask::post(openai, &json!({"model": "gpt-4o"})).bearer("mock-openai-01"), 400, "/error/param", "messages"),
        (
            Ask::post(openai, &json!({"model": "mistral-large-latest"})).bearer("mock-mistral-01"),
            400,
            "/message",
            "Invalid 'messages': empty array. Expected an array with minimum length 1.",
        ),
        (Ask::get("/v1/engines").bearer("mock-openai-01"), 404, "/error/message", "Invalid URL (GET /v1/engines)"),
    ];
    let case = pool::case(|_| {});
    let mock = pool::standing(&case, Manners::default()).await;
    for (number, (ask, status, place, expected)) in cases.iter().enumerate() {
        let body = ask.json(mock.address(), *status).await;
        assert_eq!(body.pointer(place), Some(&json!(expected)), "{} {:?}: {body}", ask.line, ask.headers);
        let record = mock.calls(number as u64, 1).remove(0);
        assert_eq!(record.answer, Answer::Status(*status));
    }
}

#[tokio::test]
async fn a_secret_is_never_on_record() {
    let case = pool::case(|_| {});
    let mock = pool::standing(&case, Manners::default()).await;
    Ask::post(GENERATE, &prompt()).google("a-real-secret").answer(mock.address()).await;
    Ask::post(&format!("{GENERATE}?key=a-real-secret"), &prompt()).answer(mock.address()).await;
    Ask::get("/nowhere").bearer("a-real-secret").answer(mock.address()).await;
    Ask::post(GENERATE, &prompt()).google("mock-gemini-01").answer(mock.address()).await;
    let records = mock.calls(0, 10);
    assert!(!format!("{records:?}").contains("a-real-secret"));
    assert_eq!(records[0].key, records[1].key, "the same stranger is recognised");
    assert_eq!(records[3].key.as_deref(), Some("gemini-01"));
}

/// Only one kind of error holds a key: the one that Google itself sends with it.
#[tokio::test]
async fn a_suspended_keys_error_holds_the_key() {
    use stormproof_router::core::{Reason, Timestamp};
    use stormproof_simulator::world::Death;
    let reason = Reason::KeySuspended;
    let death = Death { from: Timestamp::ZERO, until: Timestamp::MAX, upstream: None, reason };
    let case = pool::case(|world| world.keys[0].deaths = vec![death]);
    let mock = pool::standing(&case, Manners::default()).await;
    let answer = Ask::post(GENERATE, &prompt()).google("mock-gemini-01").answer(mock.address()).await;
    assert_eq!((answer.status, answer.end), (403, End::Whole));
    assert!(answer.text().contains("Consumer 'api_key:mock-gemini-01' has been suspended"));
    let models = Ask::get("/v1beta/models").google("mock-gemini-01").answer(mock.address()).await;
    assert_eq!(models.status, 403, "it lists no models either");
}
