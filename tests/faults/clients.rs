//! Clients that dawdle, leave, or come in crowds.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::process::{ASK, PATIENCE, Proxy, Site};
use crate::provider::{Deed, Provider};
use crate::providers::MEMORY_MIB;

/// File handles that a test process and a proxy need beside their connections.
const SPARE: u64 = 100;

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.front).await.expect("it listens")
}

/// As many connections as the machine allows, 10 000 at most.
#[expect(clippy::print_stderr, reason = "a smaller crowd must not go unnoticed")]
fn crowd() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .expect("up to the hard limit");
    let crowd = most.saturating_sub(SPARE).min(10_000);
    if crowd < 10_000 {
        eprintln!("only {crowd} connections: the hard limit of file handles is {most}");
    }
    crowd as usize
}

#[tokio::test]
async fn ten_thousand_idle_connections_keep_nobody_out() {
    let provider = Provider::start().await;
    // Whatever it is started with: it raises its own limit.
    let site = Site::new(provider.address, 1_000_000, "").limited("ulimit -S -n 1024");
    let crowd = crowd();
    let proxy = site.serve().await;
    let mut idle = Vec::with_capacity(crowd);
    while idle.len() < crowd {
        let socket = TcpSocket::new_v4().expect("a socket");
        idle.push(socket.connect(proxy.front).await.expect("it listens"));
    }
    // A part of them has begun to say something and never goes on.
    for stream in idle.iter_mut().step_by(10) {
        stream.write_all(b"POST /v1beta/models/m:generateContent HTTP/1.1\r\nhost: x\r\nx-slow: ").await.expect("sent");
    }
    for _ in 0..20 {
        assert_eq!(proxy.ask("60s").await.status, 200);
    }
    let memory = proxy.memory_mib();
    assert!(memory < MEMORY_MIB, "{memory} MiB are in use for {crowd} connections");
    drop(idle);
    assert_eq!(proxy.ask("60s").await.status, 200);
    proxy.is_sound();
}

#[tokio::test]
async fn bodies_that_come_in_drips_fill_no_memory() {
    let provider = Provider::start().await;
    let site = Site::new(provider.address, 1_000_000, "");
    let proxy = site.serve().await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = connect(&proxy).await;
        let head = "POST /v1beta/models/m:generateContent HTTP/1.1\r\nhost: x\r\ncontent-length: 20000000\r\n\r\n{\"contents\"";
        stream.write_all(head.as_bytes()).await.expect("sent");
        slow.push(stream);
    }
    for _ in 0..20 {
        assert_eq!(proxy.ask("60s").await.status, 200);
    }
    let memory = proxy.memory_mib();
    assert!(memory < MEMORY_MIB, "{memory} MiB are in use");
    proxy.is_sound();
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_off_at_the_streams_total_timeout() {
    let provider = Provider::start().await;
    let site = Site::new(provider.address, 1_000_000, "");
    site.edit("price: free", "price: free, timeouts: {total: 3s}");
    let proxy = site.serve().await;
    provider.does(|_| Deed::StreamForever);
    let mut stream = connect(&proxy).await;
    let head = format!(
        "POST /v1beta/models/m:streamGenerateContent?alt=sse HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{ASK}",
        ASK.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    // The attempt ends though nobody reads.
    provider.until(|seen| seen.calls.len() == 1 && seen.open == 0).await;
    let status = proxy.status().await;
    assert_eq!(status["attempts"], 0);
    assert_eq!(status["requests"], 0);
    assert!(proxy.memory_mib() < MEMORY_MIB);
    let mut rest = Vec::new();
    // What had been sent can be read; then the connection breaks off.
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it ends");
    assert!(ended.is_err() || !rest.ends_with(b"0\r\n\r\n"), "not cleanly");
    proxy.is_sound();
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_call_along() {
    let provider = Provider::start().await;
    let site = Site::new(provider.address, 1_000_000, "");
    let proxy = site.serve().await;
    for deed in [Deed::RawThenSilence(Vec::new()), Deed::StreamForever] {
        let before = provider.calls().len();
        provider.does(move |_| deed.clone());
        let mut stream = connect(&proxy).await;
        let head = format!(
            "POST /v1beta/models/m:streamGenerateContent?alt=sse HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{ASK}",
            ASK.len()
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        provider.until(|seen| seen.calls.len() > before && seen.open > 0).await;
        drop(stream);
        provider.until(|seen| seen.open == 0).await;
        let status = proxy.status().await;
        assert_eq!((&status["requests"], &status["attempts"]), (&0.into(), &0.into()));
    }
    proxy.is_sound();
}
