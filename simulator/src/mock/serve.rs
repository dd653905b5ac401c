//! Sockets: connections in, answers out, and the two ways in which a connection is given up.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::control::Control;
use super::decide::Providers;
use super::play::{self, Broken, play};

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 20_000;

/// The largest request that is read at all.
const BODY_MAX: usize = 64 << 20;

/// How long a connection may idle, or take to send a request's head.
const HEAD_PATIENCE: std::time::Duration = std::time::Duration::from_secs(240);

/// After an accept that failed (no file handles are left, as a rule) the next one waits so long.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Serves the providers until it is dropped; then every connection closes.
pub(super) async fn providers(listener: TcpListener, providers: Arc<Providers>) {
    accept(listener, move |stream, peer| connection(stream, peer, Arc::clone(&providers))).await;
}

/// Serves the control address until it is dropped.
pub(super) async fn control(listener: TcpListener, control: Arc<Control>) {
    accept(listener, move |stream, _peer| {
        let control = Arc::clone(&control);
        let service = service_fn(move |request: Request<Incoming>| {
            let control = Arc::clone(&control);
            async move {
                let (head, body) = request.into_parts();
                let body = read(body).await.unwrap_or_default();
                Ok::<_, Infallible>(control.answer(&head, &body))
            }
        });
        async move {
            // A caller who breaks off is no concern of ours.
            let _ended = http1().serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await;
}

async fn accept<F>(listener: TcpListener, mut serve: impl FnMut(TcpStream, IpAddr) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without this the first event of a stream waits for the next one. Where it cannot be had, it waits.
                let _hurried = stream.set_nodelay(true);
                let serving = serve(stream, peer.ip());
                connections.spawn(async move {
                    serving.await;
                    drop(permit);
                });
            }
            Err(_refused) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, peer: IpAddr, providers: Arc<Providers>) {
    let reset = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request: Request<Incoming>| {
        let (providers, reset) = (Arc::clone(&providers), Arc::clone(&reset));
        Box::pin(async move {
            let answer = answer(providers, request, peer).await;
            reset.fetch_or(answer.is_err(), Ordering::Relaxed);
            answer
        })
    });
    let mut connection = http1().serve_connection(TokioIo::new(stream), service);
    // Both ends that are planned show here as errors, and so does a caller who has left.
    let _ended = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let stream = connection.into_parts().io.into_inner();
    if reset.load(Ordering::Relaxed) {
        // Closing such a socket sends a reset. If that cannot be had, it closes as usual.
        let _resets = stream.set_zero_linger();
    }
}

async fn answer(
    providers: Arc<Providers>,
    request: Request<Incoming>,
    peer: IpAddr,
) -> Result<Response<play::Body>, Broken> {
    let (head, body) = request.into_parts();
    let Some(body) = read(body).await else { return Err(Broken::Reset) };
    let decision = providers.decide(&head, &body, peer);
    play(providers, decision).await
}

/// The whole body, unless it is too large or breaks off.
async fn read(body: impl Body<Data = Bytes, Error = hyper::Error>) -> Option<Bytes> {
    let read = Limited::new(body, BODY_MAX).collect().await;
    read.ok().map(|collected| collected.to_bytes())
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
    builder
}
