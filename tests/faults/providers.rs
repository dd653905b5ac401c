//! Providers that misbehave: every request ends by its deadline, every stream by its timeouts, and never cleanly.

use serde_json::json;

use crate::process::{ASK, Answer, Proxy, Site, tier};
use crate::provider::{ANSWER, Deed, EVENT, Provider, chunk};

const STREAM: &str = "/v1beta/models/m:streamGenerateContent?alt=sse";
const WHOLE: &str = "/v1beta/models/m:generateContent";

/// How much memory a proxy may need whatever is thrown at it, in MiB. A debug build at rest needs about 25.
pub(crate) const MEMORY_MIB: u64 = 250;

/// Everything that a provider may send instead of an answer.
fn misdeeds() -> Vec<(&'static str, Deed)> {
    let head = |rest: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{rest}").into_bytes();
    let sse = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    vec![
        ("silence", Deed::RawThenSilence(Vec::new())),
        ("half a head, then silence", Deed::RawThenSilence(head("content-le"))),
        ("a head, then silence", Deed::RawThenSilence(head("content-length: 10\r\n\r\n"))),
        ("a reset", Deed::Reset),
        ("an empty answer", Deed::Raw(Vec::new())),
        ("garbage", Deed::Raw(b"\x00\xff\x16\x03\x01 what is this?\r\n\r\n".to_vec())),
        ("a megabyte of headers", Deed::Raw(head(&format!("x-much: {}\r\n\r\n", "x".repeat(1 << 20))))),
        ("headers without end", Deed::RawForever(head(""), b"x-more: and more\r\n".to_vec())),
        ("half an answer", Deed::Raw(head(&format!("content-length: 1000\r\n\r\n{ANSWER}")))),
        ("no JSON", Deed::Say(200, "<html>all is well</html>".to_owned())),
        ("half a JSON", Deed::Say(200, ANSWER[..40].to_owned())),
        ("an error without a body", Deed::Say(503, String::new())),
        ("an error without end", Deed::RawForever(b"HTTP/1.1 500 no\r\n\r\n".to_vec(), vec![b'x'; 1 << 16])),
        ("a strange status", Deed::Say(799, "{}".to_owned())),
        ("an event without end", Deed::RawForever(sse.into(), chunk(&"x".repeat(1 << 16)).into())),
        ("a broken chunk", Deed::Raw(format!("{sse}zz\r\n").into())),
    ]
}

async fn ask(proxy: &Proxy, path: &str) -> Answer {
    proxy.call(path, "500ms", ASK).await.expect("an answer, whatever it is")
}

#[tokio::test]
async fn whatever_a_provider_sends_every_request_ends() {
    let provider = Provider::start().await;
    let site = Site::new(provider.address, 1_000_000, "");
    let proxy = site.serve().await;
    for (name, deed) in misdeeds() {
        for path in [WHOLE, STREAM] {
            let deed = deed.clone();
            provider.does(move |_| deed.clone());
            let answer = ask(&proxy, path).await;
            assert!(answer.status.is_server_error(), "{name} at {path}: {answer:?}");
            assert!(answer.whole && answer.body.contains("\"status\""), "{name} at {path}: {answer:?}");
            let advised = ["x-should-retry", "retry-after"].iter().any(|name| answer.headers.contains_key(*name));
            assert!(advised, "{name} at {path}: {answer:?}");
        }
    }
    let status = proxy.status().await;
    assert_eq!((&status["requests"], &status["attempts"]), (&0.into(), &0.into()), "nothing is left over");
    // An attempt that is over has left its connection, or the provider has.
    let memory = proxy.memory_mib();
    assert!(memory < MEMORY_MIB, "{memory} MiB are in use");
    provider.is_good();
    proxy.look("/metrics").await;
    provider.until(|seen| seen.open <= 1).await;
    proxy.is_sound();
    site.keeps_its_secrets();
}

#[tokio::test]
async fn a_stream_that_fails_after_its_beginning_never_ends_cleanly() {
    let provider = Provider::start().await;
    let site = Site::new(provider.address, 1_000_000, "");
    site.edit(
        "limits: {rpm: 100k, rpd: 1000000}, price: free",
        "limits: {rpm: 100k}, price: free, timeouts: {idle: 500ms, total: 3s}",
    );
    let proxy = site.serve().await;
    let sse = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let begun = format!("{sse}{}", chunk(EVENT));
    let failures = [
        ("silence", Deed::RawThenSilence(begun.clone().into()), "fell silent"),
        ("the connection's end", Deed::Raw(begun.clone().into()), "closed the connection"),
        ("a clean end without a last event", Deed::Raw(format!("{begun}0\r\n\r\n").into()), "closed the connection"),
        ("garbage", Deed::Raw(format!("{begun}{}0\r\n\r\n", chunk("data: {]\r\n\r\n")).into()), "no answer"),
        ("no end", Deed::StreamForever, "took too long"),
    ];
    for (name, deed, words) in failures {
        provider.does(move |_| deed.clone());
        let answer = ask(&proxy, STREAM).await;
        assert!(answer.status == 200 && answer.body.starts_with("data: {\"candidates\""), "{name}: {answer:?}");
        let tail = &answer.body[answer.body.len().saturating_sub(200)..];
        assert!(!answer.whole && tail.contains(words), "{name}: whole: {}, {tail}", answer.whole);
    }
    proxy.is_sound();
    site.keeps_its_secrets();
}

#[tokio::test]
async fn a_providers_error_does_not_give_the_key_away() {
    let provider = Provider::start().await;
    let site = Site::new(provider.address, 100, "").verbose();
    let proxy = site.serve().await;
    // A body that is passed on to the client.
    provider.does(|call| {
        let text = format!("Bad key {} at /v1beta/models?key={}", call.key, call.key);
        let error = json!({"error": {"code": 400, "message": text, "status": "INVALID_ARGUMENT"}});
        Deed::Say(400, error.to_string())
    });
    let answer = proxy.ask("60s").await;
    assert!(answer.status == 400 && answer.body.contains("Bad key"), "{answer:?}");
    provider.does(|call| {
        let text = format!("Permission denied: Consumer 'api_key:{}' has been suspended.", call.key);
        let error = json!({"error": {"code": 403, "message": text, "status": "PERMISSION_DENIED"}});
        Deed::Say(403, error.to_string())
    });
    assert_eq!(proxy.ask("60s").await.status, 503, "every key is retired");
    let status = proxy.status().await;
    assert!(status["attention"].to_string().contains("retired"), "{status}");
    proxy.look("/metrics").await;
    proxy.terminate();
    proxy.says("the event log is closed").await;
    proxy.is_sound();
    site.keeps_its_secrets();
}

#[tokio::test]
async fn what_a_broken_call_may_have_cost_is_told_apart() {
    let provider = Provider::start().await;
    let site = Site::new(provider.address, 100, "");
    site.edit("price: 1 USD/answer,", "price: {input: 1, output: 10}, output_max: 1k,");
    let proxy = site.serve().await;
    let ask = async || proxy.call("/v1beta/models/paid:generateContent", "500ms", ASK).await.expect("an answer");
    assert_eq!(ask().await.status, 200);
    let certain = tier(&proxy.status().await, "paid")["spent_usd"].as_f64().expect("a number");
    assert!(certain > 0.0 && certain < 0.001, "the provider counted five tokens: {certain}");
    provider.does(|_| Deed::Reset);
    assert!(ask().await.status.is_server_error());
    let status = proxy.status().await;
    let figure = |name: &str| tier(&status, "paid")[name].as_f64().expect("a number");
    // A thousand tokens of an answer at the most, for each of the calls that may have run.
    assert!(figure("assumed_usd") >= 0.01, "{status}");
    assert!((figure("spent_usd") - figure("assumed_usd") - certain).abs() < 1e-9, "{status}");
    assert!(proxy.look("/metrics").await.body.contains("stormproof_tier_spend_assumed_usd"));
    proxy.is_sound();
}
