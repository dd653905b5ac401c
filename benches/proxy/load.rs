//! Clients: so many at once, each asking again as soon as it has its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What is asked, and whom.
pub(crate) struct Load<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'a str,
    pub(crate) body: &'a str,
}

/// Latencies in microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Latency {
    /// The lower of both figures.
    pub(crate) fn least(self, other: Self) -> Self {
        Self { p50: self.p50.min(other.p50), p99: self.p99.min(other.p99) }
    }

    /// What is more than another.
    pub(crate) fn less(self, other: Self) -> Self {
        Self { p50: self.p50 - other.p50, p99: self.p99 - other.p99 }
    }
}

/// The time.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

impl Load<'_> {
    /// Makes so many calls over so many connections; each has to be answered well.
    pub(crate) async fn run(&self, connections: usize, calls: usize) -> anyhow::Result<()> {
        let left = Arc::new(AtomicUsize::new(calls));
        let mut clients = JoinSet::new();
        for _ in 0..connections {
            let left = Arc::clone(&left);
            let (address, path, body) = (self.address, self.path.to_owned(), Bytes::from(self.body.to_owned()));
            clients.spawn(async move {
                let mut sender = connect(address).await?;
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    call(&mut sender, &path, body.clone()).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = clients.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// The latencies of so many calls, one after the other.
    pub(crate) async fn latencies(&self, calls: usize) -> anyhow::Result<Latency> {
        let mut sender = connect(self.address).await?;
        let body = Bytes::from(self.body.to_owned());
        let mut micros = Vec::with_capacity(calls);
        for _ in 0..calls {
            let begin = now();
            call(&mut sender, self.path, body.clone()).await?;
            micros.push(begin.elapsed().as_secs_f64() * 1e6);
        }
        micros.sort_by(f64::total_cmp);
        let at = |share: usize| micros.get(micros.len() * share / 100).copied().unwrap_or_default();
        Ok(Latency { p50: at(50), p99: at(99) })
    }
}

async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn call(sender: &mut SendRequest<Full<Bytes>>, path: &str, body: Bytes) -> anyhow::Result<()> {
    sender.ready().await?;
    let request = Request::post(path).header("host", "proxy").header("content-type", "application/json");
    let answer = sender.send_request(request.body(Full::new(body))?).await?;
    let status = answer.status();
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    ensure!(status == 200, "{path} was answered with {status}");
    Ok(())
}
