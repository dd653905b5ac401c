//! A provider that answers at once: JSON of about 1 KB, or a stream of as many events as its model's name says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

const EVENT: &str = "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"About a hundred characters of text, which is what one event of a stream holds on most days, more or less.\"}],\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 200,\"candidatesTokenCount\": 25,\"totalTokenCount\": 225},\"modelVersion\": \"one\"}\r\n\r\n";
const LAST: &str = "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"The end.\"}],\"role\": \"model\"},\"finishReason\": \"STOP\",\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 200,\"candidatesTokenCount\": 250,\"totalTokenCount\": 450},\"modelVersion\": \"one\"}\r\n\r\n";

/// Starts it.
pub(crate) async fn start() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Without this the first event waits for the next one.
            drop(stream.set_nodelay(true));
            tokio::spawn(async move {
                let service = service_fn(answer);
                drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    Ok(address)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Answer>, hyper::Error> {
    let path = request.uri().path().to_owned();
    request.into_body().collect().await?;
    let (kind, answer) = if path.contains("streamGenerateContent") {
        let events = if path.contains("hundred") { 100 } else { 1 };
        ("text/event-stream", Answer::Events { left: events, pause: false })
    } else {
        ("application/json", Answer::Whole(Some(whole())))
    };
    let mut response = Response::new(answer);
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    Ok(response)
}

fn whole() -> Bytes {
    let text = "An answer of an ordinary length, sentence after sentence. ".repeat(13);
    let usage = r#"{"promptTokenCount": 200,"candidatesTokenCount": 150,"totalTokenCount": 350}"#;
    let content = format!(r#"{{"parts": [{{"text": "{text}"}}],"role": "model"}}"#);
    let candidate = format!(r#"{{"content": {content},"finishReason": "STOP","index": 0}}"#);
    format!(r#"{{"candidates": [{candidate}],"usageMetadata": {usage},"modelVersion": "one"}}"#).into()
}

enum Answer {
    Whole(Option<Bytes>),
    /// Each event is sent by itself, as a model writes them.
    Events {
        left: usize,
        pause: bool,
    },
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events { left: 0, .. } => Poll::Ready(None),
            Self::Events { left, pause } => {
                *pause = !*pause;
                if *pause {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                *left -= 1;
                let event = if *left == 0 { LAST } else { EVENT };
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(event.as_bytes())))))
            }
        }
    }
}
