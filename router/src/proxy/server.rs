//! Accepts connections, with bounds on everything that a client can make large or slow.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

/// Connections at once; more wait in the kernel's queue. An idle one costs a few KiB.
const CONNECTIONS: usize = 20_000;

/// How long a connection may take to send a request's head, and how long it may idle between two: hyper counts both
/// alike. A load balancer in front must give up its idle connections sooner.
const HEAD_PATIENCE: Duration = Duration::from_secs(75);

/// How long a TLS handshake may take.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// The largest head of a request. More is answered with 431.
const HEAD_MAX: usize = 64 << 10;

/// After an accept that failed (no file handles are left, as a rule) the next one waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `routes` on `listener` until `stop` says true, then lets requests in flight end; returns when the last
/// connection has.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    routes: Router,
    mut stop: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Some((stream, permit)) = accepted else { continue };
        let (tls, routes, watcher) = (tls.clone(), routes.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _permit = permit;
            let service = TowerToHyperService::new(routes);
            match tls {
                None => {
                    let connection = http1().serve_connection(TokioIo::new(stream), service);
                    ended(watcher.watch(connection).await);
                }
                Some(tls) => match tokio::time::timeout(HANDSHAKE_PATIENCE, tls.accept(stream)).await {
                    Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                        let connection = http2().serve_connection(TokioIo::new(stream), service);
                        ended(watcher.watch(connection).await);
                    }
                    Ok(Ok(stream)) => {
                        let connection = http1().serve_connection(TokioIo::new(stream), service);
                        ended(watcher.watch(connection).await);
                    }
                    Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
                    Err(_elapsed) => debug!("a TLS handshake took too long"),
                },
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
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

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).max_buf_size(HEAD_MAX);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_PATIENCE)
        .max_header_list_size(HEAD_MAX as u32)
        .max_concurrent_streams(256);
    builder
}

fn ended(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        // Clients that break off are daily business.
        debug!(%error, "a connection ended");
    }
}
