//! Killed in the middle of load, and started again: what was spent stays spent, and once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::process::{ASK, Site, tier};
use crate::provider::{ANSWER, Deed, Provider};

/// The day quota of each of the two free keys.
const RPD: u64 = 1000;

/// What a restart must not change.
fn remembered(status: &Value) -> Value {
    let tiers = ["free", "paid"].map(|name| {
        let tier = tier(status, name);
        json!([tier["left_today"], tier["spent_usd"], tier["usable"]])
    });
    let troubles = status["troubles"].as_array().expect("troubles").iter();
    let resting: Vec<Value> =
        troubles.map(|trouble| json!([trouble["what"], trouble["cause"], trouble["until"], trouble["says"]])).collect();
    json!({"tiers": tiers, "resting": resting})
}

#[tokio::test]
async fn a_proxy_killed_under_load_has_counted_everything_once() {
    let provider = Provider::start().await;
    let site = Site::new(provider.address, RPD as u32, "");
    let proxy = Arc::new(site.serve().await);
    // Some calls are answered, some hang, until the kill ends them.
    let mut number = 0;
    provider.does(move |_| {
        number += 1;
        if number % 10 == 0 { Deed::RawThenSilence(Vec::new()) } else { Deed::Say(200, ANSWER.to_owned()) }
    });
    let (mut tasks, sent) = (tokio::task::JoinSet::new(), Arc::new(AtomicU64::new(0)));
    for _ in 0..8 {
        let (proxy, sent) = (Arc::clone(&proxy), Arc::clone(&sent));
        tasks.spawn(async move {
            loop {
                sent.fetch_add(1, Ordering::SeqCst);
                // The kill breaks the connection.
                let called = proxy.call("/v1beta/models/m:generateContent", "1h", ASK);
                if called.await.is_err() {
                    return;
                }
            }
        });
    }
    provider.until(|seen| seen.calls.len() >= 60).await;
    rustix::process::kill_process(proxy.pid(), rustix::process::Signal::KILL).expect("it lives");
    tasks.join_all().await;
    Arc::into_inner(proxy).expect("nobody else asks").kill();
    let (arrived, sent) = (provider.calls().len() as u64, sent.load(Ordering::SeqCst));

    provider.is_good();
    let proxy = site.serve().await;
    let status = proxy.status().await;
    let used = 2 * RPD - tier(&status, "free")["left_today"].as_u64().expect("a number");
    assert!(arrived <= used, "{arrived} calls arrived at the provider, {used} are counted");
    assert!(used <= sent, "{sent} requests were sent, {used} are counted");
    assert_eq!((&status["requests"], &status["attempts"]), (&json!(0), &json!(0)), "nothing is left over");
    proxy.is_sound();
    site.keeps_its_secrets();
}

#[tokio::test]
async fn quotas_money_and_cooldowns_are_as_before_the_kill() {
    let provider = Provider::start().await;
    let site = Site::new(provider.address, 20, "");
    let proxy = site.serve().await;
    // The first key has used up its day by the provider's word, the second by ours; then money is spent.
    let day = json!({"error": {"code": 429, "message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED",
        "details": [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "20"}]}]}});
    provider.does(move |call| {
        if call.key.ends_with("free-1") { Deed::Say(429, day.to_string()) } else { Deed::Say(200, ANSWER.to_owned()) }
    });
    for _ in 0..25 {
        assert_eq!(proxy.ask("60s").await.status, 200);
    }
    let before = proxy.status().await;
    assert_eq!(tier(&before, "free")["usable"], 0);
    assert_eq!(tier(&before, "paid")["spent_usd"], 5.0);
    assert!(!before["troubles"].as_array().expect("troubles").is_empty(), "there is a cooldown to remember");
    proxy.kill();

    let proxy = site.serve().await;
    let after = proxy.status().await;
    assert_eq!(remembered(&after), remembered(&before));
    let calls = provider.calls().len();
    assert_eq!(proxy.ask("60s").await.headers["x-stormproof-tier"], "paid", "the day is still used up");
    assert_eq!(provider.calls().len(), calls + 1, "and nobody has to try");
    proxy.is_sound();
    site.keeps_its_secrets();
}
