//! For load balancers that cut what is idle: the head of an OpenAI stream goes out though no provider has answered yet,
//! and comments keep the connection alive while the exchange goes on.
//!
//! It costs the client the status: what fails from here on comes as an error event in a 200. So it is off unless
//! configured. Gemini's libraries take a comment for garbage, so their dialect never gets one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use hyper::body::{Body as HttpBody, Frame};
use serde_json::Value;
use tokio::time::{Instant, Sleep};

use super::body::Body;
use super::mailbox::Mailbox;
use super::relay::BrokenOff;
use super::respond;
use crate::wire::{ClientError, Framing, Front};

/// How often a comment is sent. Load balancers cut after 60 s, some after 30.
const BEAT: Duration = Duration::from_secs(10);

const COMMENT: Bytes = Bytes::from_static(b": waiting for a provider\n\n");

type Exchange = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// The exchange's own answer if it comes within `patience`, else the head of a stream that goes on waiting for it.
pub(super) async fn answer(
    exchange: impl Future<Output = Response<Body>> + Send + 'static,
    mailbox: &Mailbox,
    patience: Duration,
    front: Front,
) -> Response<Body> {
    let mut exchange: Exchange = Box::pin(exchange);
    if let Ok(response) = tokio::time::timeout(patience, &mut exchange).await {
        return response;
    }
    let beat = Box::pin(tokio::time::sleep(Duration::ZERO));
    let mut response = Response::new(Body::stream(Early { stage: Stage::Waiting(exchange), beat, front }));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Who will serve it is not known yet; which request it is, is.
    respond::identify(headers, mailbox.request());
    response
}

/// A stream that has begun before its answer.
struct Early {
    stage: Stage,
    beat: Pin<Box<Sleep>>,
    front: Front,
}

enum Stage {
    Waiting(Exchange),
    Flowing(Body),
    /// The exchange failed; what it said is still to be read.
    Failed(StatusCode, Body),
    /// The error event has been handed over; the connection gets one turn to send it.
    Breaking,
    Broken,
}

impl HttpBody for Early {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = self.get_mut();
        loop {
            match &mut this.stage {
                Stage::Waiting(exchange) => {
                    if let Poll::Ready(response) = exchange.as_mut().poll(context) {
                        let (head, body) = response.into_parts();
                        this.stage = if head.status.is_success() {
                            Stage::Flowing(body)
                        } else {
                            Stage::Failed(head.status, body)
                        };
                        continue;
                    }
                    if this.beat.as_mut().poll(context).is_ready() {
                        this.beat.as_mut().reset(Instant::now() + BEAT);
                        return Poll::Ready(Some(Ok(Frame::data(COMMENT))));
                    }
                    return Poll::Pending;
                }
                Stage::Flowing(body) => return Pin::new(body).poll_frame(context),
                Stage::Failed(status, body) => {
                    let said = match Pin::new(body).poll_frame(context) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(frame) => frame.and_then(Result::ok).and_then(|frame| frame.into_data().ok()),
                    };
                    let error = restate(*status, &said.unwrap_or_default());
                    this.stage = Stage::Breaking;
                    let event = error.event(this.front, Framing::Sse, true);
                    return Poll::Ready(Some(Ok(Frame::data(event.into()))));
                }
                Stage::Breaking => {
                    this.stage = Stage::Broken;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Stage::Broken => return Poll::Ready(Some(Err(BrokenOff))),
            }
        }
    }
}

/// An error that was to be a whole answer, to be said as an event.
fn restate(status: StatusCode, body: &[u8]) -> ClientError {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = body.pointer("/error/message").and_then(Value::as_str).unwrap_or("No answer could be had");
    ClientError { code: Some("upstream_failed"), ..ClientError::new(status.as_u16(), message) }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn text(response: Response<Body>) -> (String, bool) {
        let mut body = response.into_body();
        let mut text = Vec::new();
        loop {
            match body.frame().await {
                None => return (String::from_utf8(text).expect("text"), true),
                Some(Err(BrokenOff)) => return (String::from_utf8(text).expect("text"), false),
                Some(Ok(frame)) => text.extend_from_slice(&frame.into_data().unwrap_or_default()),
            }
        }
    }

    async fn after(secs: u64, status: u16, body: &'static str) -> Response<Body> {
        tokio::time::sleep(Duration::from_secs(secs)).await;
        let mut response = Response::new(Body::whole(body));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        response
    }

    const PATIENCE: Duration = Duration::from_secs(25);

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_is_left_alone() {
        let response = answer(after(5, 503, "{}"), &Mailbox::default(), PATIENCE, Front::Chat).await;
        assert_eq!(response.status(), 503);
        assert_eq!(text(response).await, ("{}".to_owned(), true));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_late_follows_comments() {
        let response = answer(after(47, 200, "data: x\n\n"), &Mailbox::default(), PATIENCE, Front::Chat).await;
        assert_eq!(response.status(), 200);
        let comment = String::from_utf8(COMMENT.to_vec()).expect("text");
        assert_eq!(text(response).await, (format!("{}data: x\n\n", comment.repeat(3)), true));
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_late_is_an_error_event() {
        let refusal = r#"{"error":{"message":"free: 0 of 2 usable"}}"#;
        let (text, clean) =
            text(answer(after(30, 503, refusal), &Mailbox::default(), PATIENCE, Front::Chat).await).await;
        assert!(!clean && text.contains("data: {\"error\":{\"message\":\"free: 0 of 2 usable\""), "{text}");
    }
}
