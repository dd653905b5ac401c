//! Clients with keys of their own: what each may ask for, how often, and for how much.

use serde_json::{Value, json};

use crate::process::{ASK, Answer, Proxy, Site};
use crate::provider::Provider;

/// By the SHA-256 of `hush-hush-fast`, `hush-hush-poor` and `hush-hush-narrow`.
const CLIENTS: &str = "clients:
  fast: {token_sha256: ad3b8a4f08091cb85fa8d715b68d3ea81f05dfacd67e2824a7c1695418cd28f1, rpm: 2}
  poor: {token_sha256: e1e06ea9b5cc02cbea4bd0833136f41df5757b0ce84519792f94f5d5918fa331, budget: 2 USD/day}
  narrow: {token_sha256: a76eb5452aa957b12e375c02f896e8443a6063c497a74e8f5368a3916bebb85f, models: [m]}
providers:";

const CHAT: &str = "/v1/chat/completions";

fn chat(model: &str) -> String {
    json!({"model": model, "messages": [{"role": "user", "content": "hi"}]}).to_string()
}

async fn proxy(provider: &Provider) -> (Site, Proxy) {
    let site = Site::new(provider.address, 1_000_000, "");
    site.edit("providers:", CLIENTS);
    let proxy = site.serve().await;
    (site, proxy)
}

fn body(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

fn seconds(answer: &Answer) -> u64 {
    answer.headers["retry-after"].to_str().expect("text").parse().expect("seconds")
}

#[tokio::test]
async fn a_clients_rate_is_its_own_and_says_when_it_may_ask_again() {
    let provider = Provider::start().await;
    let (_site, proxy) = proxy(&provider).await;
    for _ in 0..2 {
        assert_eq!(proxy.call_as("hush-hush-fast", CHAT, &chat("m")).await.status, 200);
    }
    let refused = proxy.call_as("hush-hush-fast", CHAT, &chat("m")).await;
    assert_eq!((refused.status.as_u16(), &body(&refused)["error"]["code"]), (429, &json!("rate_limit_exceeded")));
    assert!((1..=60).contains(&seconds(&refused)), "{refused:?}");
    let millis: u64 = refused.headers["retry-after-ms"].to_str().expect("text").parse().expect("milliseconds");
    assert!(millis.div_ceil(1000) == seconds(&refused) && body(&refused).to_string().contains("per minute"));
    assert!(!refused.headers.contains_key("x-should-retry"), "a library may wait that long: {refused:?}");

    let gemini = proxy.call_as("hush-hush-fast", "/v1beta/models/m:generateContent", ASK).await;
    let error = &body(&gemini)["error"];
    assert_eq!((gemini.status.as_u16(), &error["status"]), (429, &json!("RESOURCE_EXHAUSTED")));
    assert_eq!(error["details"][0]["retryDelay"], json!(format!("{}s", seconds(&gemini))));

    assert_eq!(proxy.call_as("hush-hush-narrow", CHAT, &chat("m")).await.status, 200, "others are not meant");
    assert_eq!(provider.calls().len(), 3, "who may not ask costs nothing");
    proxy.is_sound();
}

#[tokio::test]
async fn a_clients_budget_is_its_own_and_lasts_a_day() {
    let provider = Provider::start().await;
    let (_site, proxy) = proxy(&provider).await;
    for _ in 0..2 {
        let answer = proxy.call_as("hush-hush-poor", CHAT, &chat("paid")).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["x-stormproof-spend-usd"]),
            (200, &"1.000000".parse().expect("ok"))
        );
    }
    let refused = proxy.call_as("hush-hush-poor", CHAT, &chat("paid")).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(body(&refused)["error"]["message"].as_str().expect("words").contains("your budget"), "{refused:?}");
    // The quota day ends within 25 hours, and no library waits for it.
    assert!((1..=25 * 3600).contains(&seconds(&refused)), "{refused:?}");
    if seconds(&refused) > 60 {
        assert_eq!(refused.headers["x-should-retry"], "false");
    }
    assert_eq!(proxy.call_as("hush-hush-poor", CHAT, &chat("m")).await.status, 200, "what is free is still there");
    assert_eq!(proxy.call_as("hush-hush-fast", CHAT, &chat("paid")).await.status, 200, "others are not meant");
    proxy.is_sound();
}

#[tokio::test]
async fn a_client_sees_and_asks_its_own_models_only() {
    let provider = Provider::start().await;
    let (site, proxy) = proxy(&provider).await;
    let said = async |path: &str, body: &str| proxy.call_as("hush-hush-narrow", path, body).await;
    let refused = said(CHAT, &chat("paid")).await;
    assert_eq!((refused.status.as_u16(), &body(&refused)["error"]["code"]), (403, &json!("model_not_allowed")));
    let refused = said("/v1beta/models/paid:generateContent", ASK).await;
    assert_eq!((refused.status.as_u16(), &body(&refused)["error"]["status"]), (403, &json!("PERMISSION_DENIED")));
    let refused = said(CHAT, &chat("none")).await;
    assert_eq!((refused.status.as_u16(), &body(&refused)["error"]["code"]), (404, &json!("model_not_found")));
    assert!(!refused.body.contains("paid"), "what it may not ask for is not named: {refused:?}");
    let listed = said("/v1/models", "").await;
    let listed = body(&listed)["data"].as_array().expect("a list").clone();
    assert_eq!(listed.iter().map(|model| model["id"].clone()).collect::<Vec<_>>(), [json!("m")]);
    assert_eq!(said("/v1/models/paid", "").await.status, 403);
    let stranger = proxy.call_as("hush-hush-nobody", CHAT, &chat("m")).await;
    assert_eq!((stranger.status.as_u16(), &body(&stranger)["error"]["code"]), (401, &json!("invalid_api_key")));
    assert_eq!(provider.calls().len(), 0);
    proxy.is_sound();
    site.keeps_its_secrets();
}
