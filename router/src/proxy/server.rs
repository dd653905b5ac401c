//! Accepts connections, with bounds on everything that a client can make large or slow.
//!
//! Only HTTP/1.1 is spoken: a stalled HTTP/2 stream cannot be told from a slow one by looking at its socket, and every
//! accepted request has to end.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::stall::{Cutoff, Stalling};

/// Connections at once; more wait in the kernel's queue. An idle one costs a few KiB.
const CONNECTIONS: u32 = 20_000;

/// How long a connection may take to send a request's head, and how long it may idle between two: hyper counts both
/// alike. A load balancer in front must give up its idle connections sooner.
const HEAD_PATIENCE: Duration = Duration::from_secs(75);

/// How long a TLS handshake may take.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// The largest head of a request. More is answered with 431.
const HEAD_MAX: usize = 64 << 10;

/// After an accept that failed (no file handles are left, as a rule) the next one waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long an idle connection stays open once the server is to end. A client that sends its next request just then
/// would lose it; so its next answer says that it is the last, and only who stays silent is cut off.
const LINGER: Duration = Duration::from_secs(1);

/// How far a server is on the way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Connections are accepted.
    Serving,
    /// None is accepted any more, and those that are there end after their answer.
    Draining,
    /// Whatever is left is cut off.
    Over,
}

/// What answers requests.
pub(super) trait Answer: Clone + Send + Sync + 'static {
    /// What it answers with.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static;

    /// The answer to one request. A stream has to set the `cutoff` of its connection.
    fn answer(&self, request: Request<Incoming>, cutoff: Cutoff) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Serves on `listener` until the phase changes; returns when the last connection has ended.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    service: impl Answer,
    mut phase: watch::Receiver<Phase>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS as usize));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            _ = phase.wait_for(|phase| *phase > Phase::Serving) => break,
        };
        let Some((stream, permit)) = accepted else { continue };
        let (tls, service, phase) = (tls.clone(), service.clone(), phase.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let Some(tls) = tls else { return connection(stream, service, phase).await };
            match tokio::time::timeout(HANDSHAKE_PATIENCE, tls.accept(stream)).await {
                Ok(Ok(stream)) => connection(stream, service, phase).await,
                Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
                Err(_elapsed) => debug!("a TLS handshake took too long"),
            }
        });
    }
    drop(listener);
    // All room is free when nobody is there.
    drop(room.acquire_many(CONNECTIONS).await);
}

/// Serves one connection to its end.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: impl Answer,
    mut phase: watch::Receiver<Phase>,
) {
    let cutoff = Cutoff::default();
    let stream = TokioIo::new(Stalling::new(stream, cutoff.clone()));
    let answering = phase.clone();
    let service = service_fn(|request| {
        cutoff.set(None);
        let answer = service.answer(request, cutoff.clone());
        let phase = &answering;
        async move {
            let mut answer = answer.await;
            if *phase.borrow() > Phase::Serving {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).max_buf_size(HEAD_MAX);
    let mut connection = pin!(http.serve_connection(stream, service));
    let mut lingers = pin!(async {
        let drained = phase.wait_for(|phase| *phase > Phase::Serving).await.is_ok();
        tokio::time::sleep(if drained { LINGER } else { Duration::ZERO }).await;
    });
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = &mut lingers => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                _ = over(answering.clone()) => return,
            }
        }
    };
    if let Err(error) = ended {
        // Clients that break off are daily business.
        debug!(%error, "a connection ended");
    }
}

/// Returns when the phase is the last one.
async fn over(mut phase: watch::Receiver<Phase>) {
    // A sender that is gone says the same.
    let _ = phase.wait_for(|phase| *phase == Phase::Over).await;
}

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _address)) => {
            // Without this the first event of a stream waits for the next one.
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "a connection keeps its delay");
            }
            Some((stream, permit))
        }
        Err(error) => {
            warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
