//! The whole of `serve`: configuration, log, restart, reload, operators.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use stormproof_router::config::MemoryEnvironment;
use stormproof_router::log::BootId;
use stormproof_router::proxy::{Options, Serving, Source};

use crate::streams::{ANSWER, ASK};
use crate::support::provider::Provider;
use crate::support::{Backend, SECRET};

const TOKEN: &str = "operators-only";

/// A configuration with one free tier of two keys and a paid one, whose provider is at `backend`.
fn config(folder: &Path, backend: &Backend, extra: &str) -> String {
    let log = folder.join("log");
    format!(
        "
listen: 127.0.0.1:0
admin: {{listen: \"127.0.0.2:0\", token: {{env: ADMIN}}}}
log: {{dir: \"{}\"}}
providers:
  gemini: {{dialect: gemini, base_url: \"http://{}\"}}
keys:
  free: {{provider: gemini, secrets: {{env: FREE}}, expect: 2, projects: separate}}
  paid: {{provider: gemini, secrets: {{env: PAID}}, projects: shared}}
tiers:
  free: {{keys: free, upstream: g-free, limits: {{rpm: 100, rpd: 3}}, price: free}}
  paid: {{keys: paid, upstream: g-paid, limits: {{rpm: 100}}, price: 1 USD/answer, budget: 50 USD/day}}
models:
  m: {{tiers: [free, paid], deadline: 5s}}
{extra}",
        log.display(),
        backend.address
    )
}

/// The secrets of such a configuration.
pub(crate) fn environment() -> MemoryEnvironment {
    let variables = [
        ("ADMIN", TOKEN.to_owned()),
        ("FREE", format!("{SECRET}free-1,{SECRET}free-2")),
        ("PAID", format!("{SECRET}paid")),
    ];
    MemoryEnvironment {
        variables: variables.map(|(name, value)| (name.to_owned(), value)).into(),
        ..MemoryEnvironment::default()
    }
}

async fn serve(folder: &Path, text: &str) -> Serving {
    let path = folder.join("stormproof.yaml");
    std::fs::write(&path, text).expect("written");
    let options = Options {
        source: Source::File(path),
        environment: Arc::new(environment()),
        boot: Some(BootId(1)),
        time_scale: NonZeroU32::MIN,
        roots: None,
    };
    Serving::start(options).await.expect("it serves")
}

pub(crate) async fn call(
    address: std::net::SocketAddr,
    method: Method,
    path: &str,
    token: &str,
    body: &str,
) -> (u16, String) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"))
        .header("authorization", format!("Bearer {token}"))
        .body(Full::from(body.to_owned()))
        .expect("a request");
    let answer = client.request(request).await.expect("an answer");
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

async fn ask(serving: &Serving) -> (u16, String) {
    call(serving.address(), Method::POST, "/v1beta/models/m:generateContent", "", ASK).await
}

async fn status(serving: &Serving) -> Value {
    let admin = serving.admin_address().expect("it has one");
    let (code, body) = call(admin, Method::GET, "/status", TOKEN, "").await;
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

fn tier<'a>(status: &'a Value, name: &str) -> &'a Value {
    let tiers = status["tiers"].as_array().expect("tiers");
    tiers.iter().find(|tier| tier["name"] == name).expect("the tier")
}

#[tokio::test]
async fn counts_and_money_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let provider = Provider::start().await;
    let text = config(folder.path(), &provider.gemini(), "");
    let serving = serve(folder.path(), &text).await;
    // Two keys with three a day each, then paid.
    for _ in 0..8 {
        provider.will_say(200, ANSWER);
        assert_eq!(ask(&serving).await.0, 200);
    }
    let before = status(&serving).await;
    assert_eq!(tier(&before, "free")["left_today"], 0);
    assert_eq!(tier(&before, "paid")["spent_usd"], 2.0);
    serving.stop().await;

    let serving = serve(folder.path(), &text).await;
    let after = status(&serving).await;
    for name in ["free", "paid"] {
        assert_eq!(tier(&after, name)["left_today"], tier(&before, name)["left_today"]);
        assert_eq!(tier(&after, name)["spent_usd"], tier(&before, name)["spent_usd"]);
    }
    provider.will_say(200, ANSWER);
    assert_eq!(ask(&serving).await.0, 200);
    let last = provider.asked().pop().expect("asked");
    assert_eq!(last.headers["x-goog-api-key"], format!("{SECRET}paid").as_str(), "the day is still used up");
}

#[tokio::test]
async fn a_killed_process_has_lost_nothing_that_it_spent() {
    let folder = tempfile::tempdir().expect("a folder");
    let provider = Provider::start().await;
    let text = config(folder.path(), &provider.gemini(), "");
    // A runtime of its own that is torn down in the middle of a call, as kill -9 would.
    let (held, dropped) = tokio::sync::oneshot::channel();
    provider.will(crate::support::provider::Answer::Silence(held));
    let (path, doomed_text) = (folder.path().to_path_buf(), text.clone());
    let asked = provider.clone();
    let doomed = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let serving = serve(&path, &doomed_text).await;
            tokio::select! {
                _ = ask(&serving) => panic!("nobody answers"),
                () = async {
                    while asked.asked().is_empty() {
                        tokio::task::yield_now().await;
                    }
                } => {}
            }
        });
        runtime.shutdown_background();
    });
    doomed.await.expect("no panic");
    assert!(dropped.await.is_err());

    let serving = serve(folder.path(), &text).await;
    let status = status(&serving).await;
    assert_eq!(tier(&status, "free")["left_today"], 5, "the call that was under way counts, once");
    assert_eq!((&status["requests"], &status["attempts"]), (&Value::from(0), &Value::from(0)), "nothing is left over");
}

#[tokio::test]
async fn a_changed_file_is_put_in_force_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let provider = Provider::start().await;
    let text = config(folder.path(), &provider.gemini(), "");
    let serving = serve(folder.path(), &text).await;
    let path = folder.path().join("stormproof.yaml");
    let model_exists = async |name: &str| {
        let path = format!("/v1beta/models/{name}");
        call(serving.address(), Method::GET, &path, "", "").await.0 == 200
    };
    std::fs::write(&path, format!("{text}  second: {{tiers: [paid]}}\n")).expect("written");
    while !model_exists("second").await {
        tokio::task::yield_now().await;
    }
    // A broken file changes nothing; the good one after it does.
    std::fs::write(&path, "models: {").expect("written");
    let (code, _) = call(serving.admin_address().expect("one"), Method::POST, "/reload", TOKEN, "").await;
    assert_eq!(code, 200);
    assert!(model_exists("second").await);
    std::fs::write(&path, format!("{text}  third: {{tiers: [paid]}}\n")).expect("written");
    while !model_exists("third").await {
        tokio::task::yield_now().await;
    }
    assert!(!model_exists("second").await, "what is not written any more is gone");
}

#[tokio::test]
async fn operators_show_their_token_and_are_obeyed() {
    let folder = tempfile::tempdir().expect("a folder");
    let provider = Provider::start().await;
    let serving = serve(folder.path(), &config(folder.path(), &provider.gemini(), "")).await;
    let admin = serving.admin_address().expect("it has one");
    for path in ["/status", "/metrics"] {
        assert_eq!(call(admin, Method::GET, path, "guess", "").await.0, 401, "{path}");
    }
    assert_eq!(call(admin, Method::POST, "/actions", "guess", "{}").await.0, 401);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(call(admin, Method::GET, path, "", "").await.0, 200, "{path}");
    }
    let order = |text: &'static str| async move { call(admin, Method::POST, "/actions", TOKEN, text).await };
    assert_eq!(order(r#"{"do":"skip-tier","tier":"free","for":"1h"}"#).await.0, 400, "nobody said who");
    let (code, body) = order(r#"{"do":"skip-tier","tier":"fre","author":"mia"}"#).await;
    assert!(code == 400 && body.contains("there is no tier `fre`"), "{body}");
    assert_eq!(order(r#"{"do":"skip-tier","tier":"free","for":"1h","author":"mia"}"#).await.0, 200);
    provider.will_say(200, ANSWER);
    assert_eq!(ask(&serving).await.0, 200);
    let asked = provider.asked().pop().expect("asked");
    assert_eq!(asked.headers["x-goog-api-key"], format!("{SECRET}paid").as_str());
    assert_eq!(order(r#"{"do":"set-budget","tier":"paid","usd":1.0,"author":"mia"}"#).await.0, 200);
    let (code, body) = ask(&serving).await;
    assert_eq!(code, 503, "{body}");
    assert!(body.contains("paid: budget") && body.contains("stopped by an operator"), "{body}");
    let (_, metrics) = call(admin, Method::GET, "/metrics", TOKEN, "").await;
    for line in [
        "stormproof_attempts_total{status=\"200\"} 1",
        "stormproof_requests_total{gen_ai_request_model=\"m\",outcome=\"refused\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn no_secret_is_ever_on_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let provider = Provider::start().await;
    let serving = serve(folder.path(), &config(folder.path(), &provider.gemini(), "")).await;
    let suspended = format!("Permission denied: Consumer 'api_key:{SECRET}free-1' has been suspended.");
    let body = format!(r#"{{"error":{{"code":403,"message":"{suspended}","status":"PERMISSION_DENIED"}}}}"#);
    for _ in 0..3 {
        provider.will_say(403, body.clone());
    }
    let (_, answer) = ask(&serving).await;
    let picture = status(&serving).await.to_string();
    let (_, metrics) = call(serving.admin_address().expect("one"), Method::GET, "/metrics", TOKEN, "").await;
    serving.stop().await;
    for text in [answer, picture, metrics] {
        assert!(!text.contains(SECRET), "{text}");
    }
    for entry in std::fs::read_dir(folder.path().join("log")).expect("a folder") {
        let bytes = std::fs::read(entry.expect("an entry").path()).unwrap_or_default();
        let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!found, "a secret is in the log");
    }
}
