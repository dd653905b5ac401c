//! A disk that takes nothing more. The process may write files of so many bytes only, which needs no rights and looks
//! to it like a full disk; then the limit is lifted, as if somebody had made room.

use rustix::process::{Resource, Rlimit, prlimit};

use crate::process::{Answer, FREELY, Proxy, Site, tier};
use crate::provider::Provider;

/// Files of 16 KiB: `ulimit` counts blocks of 512 bytes. The signal that comes with the limit is ignored: a full disk
/// sends none.
const FULL: &str = "trap '' XFSZ; ulimit -S -f 32";

/// Fills the disk under the log: asks until the proxy says that the log takes nothing.
async fn fill(proxy: &Proxy, words: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !proxy.said().iter().any(|line| line.contains(words)) {
        let four = tokio::join!(proxy.ask("5s"), proxy.ask("5s"), proxy.ask("5s"), proxy.ask("5s"));
        answers.extend([four.0, four.1, four.2, four.3]);
        assert!(answers.len() < 100_000, "the log is never full");
    }
    answers
}

/// Makes room.
fn relieve(proxy: &Proxy) {
    let limit = Rlimit { current: None, maximum: None };
    prlimit(Some(proxy.pid()), Resource::Fsize, limit).expect("may be raised");
}

fn site(provider: &Provider, when_full: &str) -> Site {
    let extra = format!(", when_full: {when_full}");
    Site::new(provider.address, 1_000_000, &extra).limited(FULL)
}

/// Requests of the day that are counted.
async fn used(proxy: &Proxy) -> u64 {
    2_000_000 - tier(&proxy.status().await, "free")["left_today"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_full_disk_that_refuses_spends_nothing_and_ends_everything() {
    let provider = Provider::start().await;
    let site = site(&provider, "refuse");
    let proxy = site.serve().await;
    let answers = fill(&proxy, "the event log takes nothing").await;
    assert!(answers.iter().all(|answer| [200, 503, 504].contains(&answer.status.as_u16())), "{:?}", answers.last());
    assert!(site.log_size() < 30 << 10, "the disk is full");
    let before = provider.calls().len();
    for _ in 0..20 {
        let answer = proxy.ask("5s").await;
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    assert_eq!(provider.calls().len(), before, "nothing leaves that is not on record");
    assert_eq!(proxy.look("/readyz").await.status, 503);
    let status = proxy.status().await;
    assert!(status["log_problem"].is_string() && status["requests"] == 0, "{status}");
    assert!(proxy.look("/metrics").await.body.contains("stormproof_log_stalled 1"));
    relieve(&proxy);
    proxy.says("the event log takes events again").await;
    assert_eq!(proxy.ask("60s").await.status, 200);
    assert_eq!(proxy.look("/readyz").await.status, 200);
    let counted = used(&proxy).await;
    assert!(proxy.memory_mib() < crate::providers::MEMORY_MIB);
    proxy.is_sound();
    proxy.kill();

    // Whatever was spent is on record, half a frame at the end or not.
    let site = site.limited(FREELY);
    let proxy = site.serve().await;
    assert_eq!(used(&proxy).await, counted);
    // A call that was decided on when the disk was full already has never left, and counts all the same.
    let calls = provider.calls().len() as u64;
    assert!((calls..=calls + 4).contains(&counted), "{calls} calls, {counted} are counted");
}

#[tokio::test]
async fn a_full_disk_that_drops_serves_on_and_says_so() {
    let provider = Provider::start().await;
    let site = site(&provider, "drop");
    let proxy = site.serve().await;
    let answers = fill(&proxy, "the event log cannot be written").await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    for _ in 0..20 {
        assert_eq!(proxy.ask("60s").await.status, 200);
    }
    let status = proxy.status().await;
    assert!(status["attention"].to_string().contains("not on record"), "{status}");
    let metrics = proxy.look("/metrics").await.body;
    assert!(metrics.contains("stormproof_log_dropping 1"), "{metrics}");
    relieve(&proxy);
    fill(&proxy, "the event log is being written again").await;
    let metrics = proxy.look("/metrics").await.body;
    assert!(metrics.contains("stormproof_log_gaps_total 1"), "{metrics}");
    let counted = used(&proxy).await;
    proxy.is_sound();
    proxy.kill();
    // The checkpoint behind the gap holds what was counted in it.
    let site = site.limited(FREELY);
    let proxy = site.serve().await;
    assert_eq!(used(&proxy).await, counted);
    assert_eq!(counted, provider.calls().len() as u64);
}
