//! A provider that answers by a script and remembers what it was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use stormproof_router::wire::Dialect;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::Backend;

/// One answer of the script.
pub(crate) enum Answer {
    /// A whole answer.
    Whole(u16, &'static str, String),
    /// A stream, piece by piece as they are sent in; dropping the sender ends it cleanly.
    Stream(mpsc::UnboundedReceiver<Piece>),
    /// No answer at all, until the caller gives up; then the sender is dropped.
    Silence(oneshot::Sender<()>),
    /// The connection breaks off.
    Reset,
    /// A head of so many bytes.
    Headers(usize),
}

/// A piece of a stream.
pub(crate) enum Piece {
    Text(&'static str),
    /// The connection breaks off.
    Cut,
}

/// What the provider was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub address: String,
    pub headers: HeaderMap,
    pub body: String,
}

/// A scripted provider.
#[derive(Clone)]
pub(crate) struct Provider {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    script: VecDeque<Answer>,
    asked: Vec<Asked>,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let provider = Self { address, state: Arc::default() };
        let serving = provider.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let provider = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| provider.clone().answer(request));
                    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        provider
    }

    /// A Gemini provider of the pool.
    pub(crate) fn gemini(&self) -> Backend {
        Backend { dialect: Dialect::Gemini, address: self.address }
    }

    /// An OpenAI-compatible one.
    pub(crate) fn open_ai(&self) -> Backend {
        Backend { dialect: Dialect::OpenAi, address: self.address }
    }

    /// What it will answer next, after everything said before.
    pub(crate) fn will(&self, answer: Answer) -> &Self {
        self.state.lock().expect("no panic").script.push_back(answer);
        self
    }

    /// Will answer with this JSON.
    pub(crate) fn will_say(&self, status: u16, body: impl Into<String>) -> &Self {
        self.will(Answer::Whole(status, "application/json", body.into()))
    }

    /// Will stream what is sent into the returned end.
    pub(crate) fn will_stream(&self) -> mpsc::UnboundedSender<Piece> {
        let (pieces, stream) = mpsc::unbounded_channel();
        self.will(Answer::Stream(stream));
        pieces
    }

    /// Will stream these pieces and end cleanly.
    pub(crate) fn will_stream_all(&self, texts: &[&'static str]) -> &Self {
        let pieces = self.will_stream();
        for text in texts {
            pieces.send(Piece::Text(text)).expect("the stream waits");
        }
        self
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.lock().expect("no panic").asked.clone()
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Out>, Broken> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
        let answer = {
            let mut state = self.state.lock().expect("no panic");
            state.asked.push(Asked {
                address: head.uri.to_string(),
                headers: head.headers,
                body: String::from_utf8(body.to_vec()).expect("text"),
            });
            state.script.pop_front()
        };
        let (status, kind, out) = match answer {
            Some(Answer::Whole(status, kind, body)) => (status, kind, Out::Whole(Some(body.into()))),
            Some(Answer::Stream(stream)) => (200, "text/event-stream", Out::Stream(stream)),
            Some(Answer::Silence(noticed)) => {
                // Held until the connection's task is dropped with this future.
                let _noticed = noticed;
                std::future::pending().await
            }
            Some(Answer::Reset) => return Err(Broken),
            Some(Answer::Headers(bytes)) => {
                let much = "x".repeat(bytes);
                return Ok(Response::builder().header("x-much", much).body(Out::Whole(None)).expect("a response"));
            }
            None => (500, "text/plain", Out::Whole(Some("the script has no answer left".into()))),
        };
        Ok(Response::builder().status(status).header("content-type", kind).body(out).expect("a response"))
    }
}

#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off on purpose")
    }
}

impl std::error::Error for Broken {}

enum Out {
    Whole(Option<Bytes>),
    Stream(mpsc::UnboundedReceiver<Piece>),
}

impl Body for Out {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(pieces) => pieces.poll_recv(context).map(|piece| match piece {
                None => None,
                Some(Piece::Text(text)) => Some(Ok(Frame::data(Bytes::from_static(text.as_bytes())))),
                Some(Piece::Cut) => Some(Err(Broken)),
            }),
        }
    }
}
