//! An upgrade under load: a second process takes over the sockets and the log, and no request is lost.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::process::{ASK, PATIENCE, Proxy, Site, tier};
use crate::provider::Provider;

/// Keeps asking, whole answers and streams in turn, until told to stop; every answer has to be good.
async fn load(client: Arc<Proxy>, stop: Arc<AtomicBool>, answered: watch::Sender<u64>) {
    let mut stream = false;
    while !stop.load(Ordering::SeqCst) {
        let path =
            if stream { "/v1beta/models/m:streamGenerateContent?alt=sse" } else { "/v1beta/models/m:generateContent" };
        let answer = client.call(path, "60s", ASK).await.unwrap_or_else(|error| panic!("a request was lost: {error}"));
        assert!(answer.status == 200 && answer.whole && answer.body.contains("STOP"), "{answer:?}");
        answered.send_modify(|answered| *answered += 1);
        stream = !stream;
    }
}

#[tokio::test]
async fn an_upgrade_under_load_loses_no_request() {
    let provider = Provider::start().await;
    let site = Site::new(provider.address, 1_000_000, "");
    let front = TcpListener::bind("127.0.0.1:0").expect("a port");
    let admin = TcpListener::bind("127.0.0.2:0").expect("a port");
    let twin = |socket: &TcpListener| OwnedFd::from(socket.try_clone().expect("a twin"));
    let mut old = site.serve_on(twin(&front), twin(&admin));
    old.begun().await;
    assert_eq!(old.front, front.local_addr().expect("an address"), "it serves on what it was given");

    let (old, stop, answered) = (Arc::new(old), Arc::new(AtomicBool::new(false)), watch::Sender::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        tasks.spawn(load(Arc::clone(&old), Arc::clone(&stop), answered.clone()));
    }
    let more = async |by: u64| {
        let mut answers = answered.subscribe();
        let goal = *answers.borrow() + by;
        let waited = tokio::time::timeout(PATIENCE, answers.wait_for(|answered| *answered >= goal)).await;
        waited.expect("it goes on").expect("somebody asks");
    };
    more(50).await;
    let mut new = site.serve_on(twin(&front), twin(&admin));
    new.says("waiting until another process lets go of the event log").await;
    more(50).await;
    old.terminate();
    new.begun().await;
    more(100).await;
    stop.store(true, Ordering::SeqCst);
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no request was lost");
    }
    old.is_sound();
    let old = Arc::into_inner(old).expect("nobody else asks");
    assert!(old.ended().await.success());

    let status = new.status().await;
    let used = 2_000_000 - tier(&status, "free")["left_today"].as_u64().expect("a number");
    let answered = *answered.borrow();
    assert_eq!((used, provider.calls().len() as u64), (answered, answered), "each was counted, and once");
    new.is_sound();
}

#[tokio::test]
async fn what_is_still_open_after_the_drain_is_given_up() {
    let provider = Provider::start().await;
    let site = Site::new(provider.address, 100, "");
    site.edit("drain: 20s", "drain: 1s");
    let proxy = Arc::new(site.serve().await);
    provider.does(|_| crate::provider::Deed::RawThenSilence(Vec::new()));
    let waiting = tokio::spawn({
        let proxy = Arc::clone(&proxy);
        async move { proxy.call("/v1beta/models/m:generateContent", "1h", ASK).await }
    });
    provider.until(|seen| !seen.calls.is_empty()).await;
    proxy.terminate();
    assert!(waiting.await.expect("no panic").is_err(), "cut off");
    proxy.says("the event log is closed").await;
    let proxy = Arc::into_inner(proxy).expect("nobody else asks");
    assert!(proxy.ended().await.success());
}
