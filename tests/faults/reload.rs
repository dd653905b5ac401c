//! New settings while it runs: keys join and leave, and a broken file changes nothing.

use std::sync::Arc;

use stormproof_router::core::Router;
use stormproof_router::log::verify;
use tokio::sync::watch;

use crate::process::{ASK, Site};
use crate::provider::{Deed, Provider};

const IN_FORCE: &str = "the new configuration is in force";
const STREAM: &str = "/v1beta/models/m:streamGenerateContent?alt=sse";

#[tokio::test]
async fn keys_join_and_leave_and_a_stream_outlives_its_key() {
    let provider = Provider::start().await;
    let site = Site::new(provider.address, 1_000_000, "");
    site.edit("secrets: {env: FREE}, expect: 2", "secrets: {file: keys.txt}");
    site.write("keys.txt", "hush-hush-free-1\nhush-hush-free-2\n");
    let proxy = Arc::new(site.serve().await);

    let (tell, told) = watch::channel(false);
    provider.does(move |_| Deed::StreamWhenTold(told.clone()));
    let stream = tokio::spawn({
        let proxy = Arc::clone(&proxy);
        async move { proxy.call(STREAM, "60s", ASK).await }
    });
    provider.until(|seen| !seen.calls.is_empty()).await;
    let leaving = provider.calls()[0].key.clone();
    let staying = if leaving.ends_with("free-1") { "hush-hush-free-2" } else { "hush-hush-free-1" };

    // The key in use goes, another one comes.
    site.write("keys.txt", &format!("{staying}\nhush-hush-free-3\n"));
    site.edit("drain: 20s", "drain: 21s");
    proxy.says(IN_FORCE).await;
    provider.is_good();
    for _ in 0..6 {
        assert_eq!(proxy.ask("60s").await.status, 200);
    }
    let keys: Vec<String> = provider.calls().into_iter().skip(1).map(|call| call.key).collect();
    assert!(!keys.contains(&leaving), "a key that has left is not used: {keys:?}");
    assert!(keys.iter().any(|key| key == "hush-hush-free-3"), "a key that has come is: {keys:?}");
    assert!(keys.iter().any(|key| key == staying), "and so is the one that stays: {keys:?}");

    // A broken file is said to be one, and the last good one holds.
    site.edit("price: free", "price: cheap");
    assert!(proxy.says("the last good one stays in force").await.contains("cheap"), "it says what is wrong");
    assert_eq!(proxy.ask("60s").await.status, 200);
    site.edit("price: cheap", "price: free");
    site.edit(
        "m: {tiers: [free, paid], deadline: 60s}",
        "m: {tiers: [free, paid], deadline: 60s}\n  new: {tiers: [free]}",
    );
    proxy.says_for_the(2, IN_FORCE).await;
    assert_eq!(proxy.read("/v1beta/models/new").await.status, 200);

    assert!(!stream.is_finished(), "it is still under way");
    tell.send(true).expect("somebody listens");
    let answer = stream.await.expect("no panic").expect("an answer");
    assert!(answer.status == 200 && answer.whole && answer.body.contains("STOP"), "{answer:?}");
    assert_eq!(answer.headers["x-stormproof-tier"], "free");

    proxy.terminate();
    proxy.says("the event log is closed").await;
    proxy.is_sound();
    assert!(Arc::into_inner(proxy).expect("nobody else asks").ended().await.success());
    let replayed = verify::<Router>(&site.log()).expect("the same decisions, settings and all");
    assert!(replayed.decisions > 0 && replayed.missing == 0, "{replayed:?}");
    site.keeps_its_secrets();
}

#[tokio::test]
async fn a_key_file_that_changes_alone_is_read_again() {
    let provider = Provider::start().await;
    let site = Site::new(provider.address, 1_000_000, "");
    // In a folder of its own, as secrets are mounted.
    std::fs::create_dir(site.log().with_file_name("secrets")).expect("made");
    site.edit("secrets: {env: FREE}, expect: 2", "secrets: {file: secrets/keys.txt}");
    site.write("secrets/keys.txt", "hush-hush-free-1\n");
    let proxy = site.serve().await;
    assert_eq!(proxy.ask("60s").await.status, 200);

    // A file that is being written is no reason to stop.
    site.write("secrets/keys.txt", "");
    proxy.says("the last good one stays in force").await;
    assert_eq!(proxy.ask("60s").await.status, 200);

    // Replaced by another file, as mounts and careful editors do.
    site.write("secrets/keys.new", "hush-hush-free-2\n");
    let at = |name: &str| site.log().with_file_name("secrets").join(name);
    std::fs::rename(at("keys.new"), at("keys.txt")).expect("moved");
    proxy.says(IN_FORCE).await;
    assert_eq!(proxy.ask("60s").await.status, 200);
    let keys: Vec<String> = provider.calls().into_iter().map(|call| call.key).collect();
    assert_eq!(keys, ["hush-hush-free-1", "hush-hush-free-1", "hush-hush-free-2"]);
    proxy.is_sound();
    site.keeps_its_secrets();
}
