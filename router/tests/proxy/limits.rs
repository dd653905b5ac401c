//! What is large, slow or many: bounded, and answered where it can be.

use std::io;
use std::time::Duration;

use stormproof_router::core::{Input, Output, Route, Timestamp};
use stormproof_router::log::{InFlight, WriteError};
use stormproof_router::proxy::Journal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::streams::{ANSWER, ASK, GENERATE};
use crate::support::Plan;
use crate::support::provider::{Answer, Provider};

async fn connect(pool: &crate::support::Pool) -> TcpStream {
    TcpStream::connect(pool.proxy.address()).await.expect("it listens")
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_unread() {
    let provider = Provider::start().await;
    let pool = Plan { body_max: 1000, ..Plan::new(&[provider.gemini()]) }.start().await;
    let (head, _) = pool.ask(GENERATE, &[], &"x".repeat(1001)).await;
    assert_eq!(head.status, 413);
    // Without a length it is counted as it comes.
    let mut raw = connect(&pool).await;
    let head = format!("POST {GENERATE} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    raw.write_all(head.as_bytes()).await.expect("sent");
    raw.write_all(format!("3e9\r\n{}\r\n", "x".repeat(1001)).as_bytes()).await.expect("sent");
    let mut answer = [0; 12];
    raw.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert!(provider.asked().is_empty());
}

#[tokio::test]
async fn a_megabyte_of_headers_is_refused() {
    let pool = Plan::new(&[]).start().await;
    let mut raw = connect(&pool).await;
    raw.write_all(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-much: ").await.expect("sent");
    // The proxy may well close before all of it is sent.
    let much = "x".repeat(1 << 20);
    let (sent, answer) = {
        let (mut reader, mut writer) = raw.split();
        let mut answer = Vec::new();
        let (sent, _) = tokio::join!(writer.write_all(much.as_bytes()), reader.read_to_end(&mut answer));
        (sent.is_ok(), answer)
    };
    assert!(
        answer.starts_with(b"HTTP/1.1 431") || !sent,
        "refused, or cut off: {:?}",
        String::from_utf8_lossy(&answer)
    );
}

#[tokio::test]
async fn a_providers_megabyte_of_headers_is_a_failed_attempt() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let pool = Plan::new(&[first.gemini(), second.gemini()]).start().await;
    first.will(Answer::Headers(1 << 20));
    second.will_say(200, ANSWER);
    assert_eq!(pool.ask(GENERATE, &[], ASK).await.0.headers["x-stormproof-tier"], "tier-1");
}

#[tokio::test]
async fn idle_connections_do_not_keep_others_out() {
    let provider = Provider::start().await;
    let pool = Plan::new(&[provider.gemini()]).start().await;
    let mut idle = Vec::new();
    for _ in 0..500 {
        idle.push(connect(&pool).await);
    }
    provider.will_say(200, ANSWER);
    assert_eq!(pool.ask(GENERATE, &[], ASK).await.0.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_dawdles_is_cut_off() {
    let pool = Plan::new(&[]).start().await;
    // Neither a head that never ends nor a body that never comes is waited for; time passes by itself here.
    for dawdling in [
        "GET /v1/models HTTP/1.1\r\nhost: x\r\nx-slow: ".to_owned(),
        format!("POST {GENERATE} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{{"),
    ] {
        let mut raw = connect(&pool).await;
        raw.write_all(dawdling.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(120), raw.read_to_end(&mut answer)).await;
        read.expect("it ends").expect("it ends in order");
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
    }
}

/// Takes nothing while told so.
struct Fickle(std::sync::Arc<std::sync::atomic::AtomicBool>);

impl Journal for Fickle {
    fn record(&mut self, _now: Timestamp, _input: &Input) {}
    fn decided(&mut self, _output: &Output) {}

    fn commit(&mut self) -> Result<(), WriteError> {
        if self.0.load(std::sync::atomic::Ordering::SeqCst) {
            let source = io::Error::from(io::ErrorKind::StorageFull);
            return Err(WriteError::Storage { directory: "log".into(), source });
        }
        Ok(())
    }

    fn checkpoint_due(&self) -> bool {
        false
    }

    fn checkpoint<R: Route>(&mut self, _now: Timestamp, _router: &R, _in_flight: InFlight) -> Result<(), WriteError> {
        Ok(())
    }

    fn dropped(&self) -> u64 {
        0
    }

    fn sequence(&self) -> u64 {
        0
    }

    fn durable(&self) -> u64 {
        u64::MAX
    }

    fn sync(&mut self) -> Result<(), WriteError> {
        Ok(())
    }

    fn tick_due(&self) -> Option<Timestamp> {
        None
    }

    fn tick(&mut self, _now: Timestamp) {}

    fn close(self, _now: Timestamp) -> Result<(), WriteError> {
        Ok(())
    }
}

#[tokio::test]
async fn with_a_full_disk_nothing_is_spent_and_everything_still_ends() {
    let full = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (first, second) = (Provider::start().await, Provider::start().await);
    let pool = Plan::new(&[first.gemini(), second.gemini()]).start_with(Fickle(full.clone())).await;
    // A request is inside when the disk fills up. Its retry may not leave; its deadline comes all the same.
    let (held, dropped) = tokio::sync::oneshot::channel();
    first.will(Answer::Silence(held));
    let deadline = [("x-deadline", "300ms")];
    let fills = async {
        while first.asked().is_empty() {
            tokio::task::yield_now().await;
        }
        full.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    let ((head, _), ()) = tokio::join!(pool.ask(GENERATE, &deadline, ASK), fills);
    assert_eq!(head.status, 504);
    assert!(dropped.await.is_err());
    let (head, body) = pool.ask(GENERATE, &[], ASK).await;
    assert_eq!(head.status, 503, "{body}");
    assert!(second.asked().is_empty(), "nothing leaves that is not on record");
    // Room again: the next tick of the driver notices.
    full.store(false, std::sync::atomic::Ordering::SeqCst);
    first.will_say(200, ANSWER);
    loop {
        let (head, _) = pool.ask(GENERATE, &[], ASK).await;
        if head.status == 200 {
            break;
        }
        tokio::task::yield_now().await;
    }
}
