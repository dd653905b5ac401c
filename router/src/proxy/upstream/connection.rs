//! Connections that know how often they have been used.
//!
//! A call that dies on a fresh connection and one that dies on a connection out of the pool mean different things: the
//! second was, most likely, closed by the other side while idle. hyper keeps that to itself, so every connection
//! carries its own count.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Extensions, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use tokio::net::TcpStream;
use tower_service::Service;

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Answers that a connection has carried.
#[derive(Clone, Debug, Default)]
pub(super) struct Uses(Arc<AtomicU32>);

impl Uses {
    /// Notes one more.
    pub(super) fn add(extensions: &Extensions) {
        if let Some(uses) = extensions.get::<Self>() {
            uses.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the connection has carried an answer before.
    pub(super) fn any(connection: &Connected) -> bool {
        let mut extensions = Extensions::new();
        connection.get_extras(&mut extensions);
        extensions.get::<Self>().is_some_and(|uses| uses.0.load(Ordering::Relaxed) > 0)
    }
}

/// Opens connections, with TLS where the address says `https`.
#[derive(Clone)]
pub(super) struct Connector(HttpsConnector<HttpConnector>);

impl Connector {
    /// A connector that trusts the web's certificate authorities, or only `roots` if they are given.
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults.
    pub(super) fn new(roots: Option<RootCertStore>) -> Result<Self, rustls::Error> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(std::time::Duration::from_secs(60)));
        let roots = roots.unwrap_or_else(|| RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()));
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().enable_http2();
        Ok(Self(builder.wrap_connector(http)))
    }
}

impl Service<Uri> for Connector {
    type Response = Counted;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Counted, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let connecting = self.0.call(address);
        Box::pin(async move { Ok(Counted { stream: connecting.await?, uses: Uses::default() }) })
    }
}

/// A connection with its count.
pub(super) struct Counted {
    stream: Stream,
    uses: Uses,
}

impl Connection for Counted {
    fn connected(&self) -> Connected {
        // Without the addresses that the connection knows: they would be copied for every answer.
        let is_h2 = self.stream.connected().is_negotiated_h2();
        let connected = if is_h2 { Connected::new().negotiated_h2() } else { Connected::new() };
        connected.extra(self.uses.clone())
    }
}

impl Read for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
