//! The control address.

use serde_json::json;
use stormproof_simulator::mock::{Manners, Mock, Setup, StartError};
use stormproof_simulator::study::Case;

use crate::http::Ask;
use crate::pool;

const TOKEN: &str = "a-token-for-tests";

async fn controlled(case: &Case) -> Mock {
    let any = ([127, 0, 0, 1], 0).into();
    let control = Some((any, TOKEN.to_owned().into()));
    let setup = Setup { case, seed: 1, listen: any, control, time_scale: 0, manners: Manners::default() };
    Mock::start(setup).await.expect("a free port")
}

fn generate() -> Ask {
    let body = json!({"contents": [{"parts": [{"text": "Hello"}]}]});
    Ask::post("/v1beta/models/gemini-2.5-pro:generateContent", &body).google("mock-gemini-01")
}

#[tokio::test]
async fn the_weather_changes_and_is_seen() {
    let case = pool::case(|_| {});
    let mock = controlled(&case).await;
    let control = mock.control().expect("a control address");
    let change = |body: &str| Ask { body: body.to_owned(), ..Ask::post("/world", &json!(null)).bearer(TOKEN) };

    change("weather: [{upstream: gemini-2.5-pro, p503: 100%, for: 10m}]").json(control, 200).await;
    generate().json(mock.address(), 503).await;
    Ask::post("/clock", &json!({"advance": "10m"})).bearer(TOKEN).json(control, 200).await;
    generate().json(mock.address(), 200).await;
    change(r#"{"deaths": [{"key": "gemini-01", "reason": "key-leaked"}]}"#).json(control, 200).await;
    generate().json(mock.address(), 403).await;
    change("revivals: [gemini-01]").json(control, 200).await;
    change("limits: {gemini-2.5-pro: {rpd: 1}}").json(control, 200).await;
    generate().json(mock.address(), 200).await;
    generate().json(mock.address(), 429).await;
    change("script: [{key: gemini-01, times: 1, after: 0s, answer: 500}]").json(control, 200).await;
    generate().json(mock.address(), 500).await;

    let state = Ask::get("/").bearer(TOKEN).json(control, 200).await;
    assert_eq!(state["keys"]["gemini-01"], json!({"200": 2, "403": 1, "429": 1, "500": 1, "503": 1}));
    assert_eq!((state["now_s"].as_f64(), state["wall"].as_str()), (Some(600.0), Some("2025-04-19T05:30:57Z")));
    let calls = Ask::get("/calls?after=4").bearer(TOKEN).json(control, 200).await;
    assert_eq!(calls["calls"].as_array().map(Vec::len), Some(2));
    assert_eq!((calls["calls"][0]["answer"].as_u64(), calls["calls"][0]["at_s"].as_f64()), (Some(429), Some(600.0)));
}

#[tokio::test]
async fn only_its_operator_is_heard() {
    let case = pool::case(|_| {});
    let mock = controlled(&case).await;
    let control = mock.control().expect("a control address");
    Ask::get("/").json(control, 401).await;
    Ask::get("/").bearer("another-token").json(control, 401).await;
    Ask::get("/elsewhere").bearer(TOKEN).json(control, 404).await;
    let wrong = Ask { body: "wether: []".to_owned(), ..Ask::post("/world", &json!(null)).bearer(TOKEN) };
    let told = wrong.json(control, 400).await;
    assert!(told["error"].as_str().is_some_and(|error| error.contains("wether")), "{told}");
}

#[tokio::test]
async fn it_is_not_for_other_machines() {
    let case = pool::case(|_| {});
    let any = ([127, 0, 0, 1], 0).into();
    let control = Some((([0, 0, 0, 0], 0).into(), TOKEN.to_owned().into()));
    let setup = Setup { case: &case, seed: 1, listen: any, control, time_scale: 1, manners: Manners::default() };
    assert!(matches!(Mock::start(setup).await, Err(StartError::NotLoopback(_))));
}

#[tokio::test]
async fn a_mock_says_how_to_use_it() {
    let case = pool::case(|_| {});
    let mock = pool::standing(&case, Manners::default()).await;
    let (usage, address) = (mock.usage(), mock.address());
    for line in [
        format!("gemini: http://{address}, OpenAI-compatible http://{address}/v1beta/openai; keys mock-gemini-01\n"),
        format!("mistral: http://{address}/v1; keys mock-mistral-01\n"),
    ] {
        assert!(usage.contains(&line), "{usage}");
    }
}
