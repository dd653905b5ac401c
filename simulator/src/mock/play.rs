//! Carrying a script out: every byte at its moment.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::unfold;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use stormproof_router::core::Timestamp;
use thiserror::Error;

use super::address::Api;
use super::decide::{Decision, Providers};
use super::script::{Close, Script};
use crate::world::Ticket;

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, Broken>;

/// The connection is to be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Broken {
    /// With a reset.
    #[error("the connection is reset, as planned")]
    Reset,
    /// In the middle of a body.
    #[error("the answer breaks off, as planned")]
    Cut,
}

/// A call that is being answered. If it is dropped before it is over, its caller has left.
struct Underway {
    providers: Arc<Providers>,
    number: u64,
    ticket: Option<Ticket>,
    over: bool,
}

impl Underway {
    fn over(&mut self) {
        if !self.over {
            self.over = true;
            self.providers.sky.end(self.number, false);
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        if let Some(ticket) = self.ticket {
            self.providers.sky.cancel(ticket);
        }
        self.providers.sky.end(self.number, true);
    }
}

/// Answers as was decided.
///
/// # Errors
/// When the connection is to be given up.
pub(super) async fn play(providers: Arc<Providers>, decision: Decision) -> Result<Response<Body>, Broken> {
    let Decision { script, api, at, number, ticket } = decision;
    let mut underway = Underway { providers: Arc::clone(&providers), number, ticket, over: false };
    let clock = &providers.sky.clock;
    if script.close == Close::Reset {
        clock.until(script.end).await;
        underway.over();
        return Err(Broken::Reset);
    }
    clock.until(script.steps.first().map_or(script.end, |(first, _)| *first)).await;
    let took = clock.now().since(at).as_millis();
    let Script { status, headers, steps, end, close } = script;
    let mut steps: VecDeque<(Timestamp, Vec<u8>)> = steps.into();
    let body = match (steps.len(), close) {
        (0 | 1, Close::Whole) if steps.front().is_none_or(|(only, _)| *only == end) => {
            underway.over();
            let whole = steps.pop_front().map(|(_, body)| body).unwrap_or_default();
            Full::new(Bytes::from(whole)).map_err(|never| match never {}).boxed_unsync()
        }
        (_, _) => paced(providers, underway, steps, end, close),
    };
    Ok(respond(status, &headers, api, took, number, body))
}

fn paced(
    providers: Arc<Providers>,
    underway: Underway,
    steps: VecDeque<(Timestamp, Vec<u8>)>,
    end: Timestamp,
    close: Close,
) -> Body {
    let state = Some((providers, underway, steps));
    let frames = unfold(state, move |state| async move {
        let (providers, mut underway, mut steps) = state?;
        let clock = &providers.sky.clock;
        while let Some((at, piece)) = steps.pop_front() {
            clock.until(at).await;
            if !piece.is_empty() {
                return Some((Ok(Frame::data(Bytes::from(piece))), Some((providers, underway, steps))));
            }
        }
        clock.until(end).await;
        // What was handed over must have gone out before the connection closes.
        tokio::task::yield_now().await;
        underway.over();
        match close {
            Close::Whole => None,
            Close::Cut | Close::Reset => Some((Err(Broken::Cut), None)),
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

fn respond(
    status: u16,
    headers: &[(&'static str, String)],
    api: Option<Api>,
    took: u64,
    number: u64,
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let own = headers.iter().map(|(name, value)| (*name, value.clone()));
    for (name, value) in own.chain(usual(api, took, number)) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    response
}

/// What every answer of an API has.
fn usual(api: Option<Api>, took: u64, number: u64) -> Vec<(&'static str, String)> {
    let fixed =
        |pairs: &[(&'static str, &str)]| pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    match api {
        Some(Api::Gemini | Api::Compat | Api::Vertex) => {
            let mut headers: Vec<(&'static str, String)> = fixed(&[
                ("vary", "Origin"),
                ("vary", "X-Origin"),
                ("vary", "Referer"),
                ("server", "scaffolding on HTTPServer2"),
                ("x-xss-protection", "0"),
                ("x-frame-options", "SAMEORIGIN"),
                ("x-content-type-options", "nosniff"),
                ("alt-svc", "h3=\":443\"; ma=2592000,h3-29=\":443\"; ma=2592000"),
            ]);
            headers.push(("server-timing", format!("gfet4t7; dur={took}")));
            headers
        }
        Some(Api::OpenAi) => vec![
            ("x-request-id", format!("req_{number:016x}")),
            ("openai-processing-ms", took.to_string()),
            ("openai-version", "2020-10-01".to_owned()),
        ],
        None => Vec::new(),
    }
}
