//! Answers to clients: heads that say who served them, and bodies in their dialect.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use secrecy::ExposeSecret;

use super::attempt::Answer;
use super::body::Body;
use super::clock::Clock;
use super::live::Live;
use super::message::Shut;
use super::refusal;
use super::translate::Question;
use crate::core::{Dispatch, Outcome, RequestId, Usd, Verdict};
use crate::wire::{self, ClientError, Front};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TIER: HeaderName = HeaderName::from_static("x-stormproof-tier");
const DEPLOYMENT: HeaderName = HeaderName::from_static("x-stormproof-deployment");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-stormproof-attempts");
const SPEND: HeaderName = HeaderName::from_static("x-stormproof-spend-usd");

/// Headers of an answer; a map for one more would be twice as large.
const HEADERS: usize = 6;

/// Who served a request, as its headers say.
pub(super) struct Served<'a> {
    pub(super) request: Option<RequestId>,
    /// The last attempt.
    pub(super) by: Option<&'a (Dispatch, Arc<Live>)>,
    pub(super) attempts: u16,
    /// Not known yet when a stream begins.
    pub(super) spend: Option<Usd>,
}

/// The head of a stream, and the stream.
pub(super) fn stream(question: &Question, served: &Served<'_>, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.reserve(HEADERS);
    headers.insert(CONTENT_TYPE, question.stream_type());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    served.write(headers);
    response
}

/// The end of a request that has shown its client nothing yet: the answer, the provider's verdict, or a refusal.
pub(super) fn close(
    live: &Live,
    clock: &Clock,
    question: &Question,
    served: &Served<'_>,
    verdict: &Verdict,
    answer: Answer,
) -> Response<Body> {
    let mut response = match (verdict.outcome, answer) {
        (Outcome::Answered, Answer::Whole(body)) => whole(body),
        // A blocked prompt: the provider's 200 says so in its own way.
        (Outcome::Failed, Answer::Whole(body)) if verdict.status == 200 => whole(body),
        (Outcome::Failed, Answer::Stream(body)) if verdict.status == 200 => {
            let mut response = whole(body);
            response.headers_mut().insert(CONTENT_TYPE, question.stream_type());
            response
        }
        (Outcome::Failed, Answer::Error { status, body }) if status == verdict.status => {
            passed_on(live, question, status, &body)
        }
        (Outcome::Failed, Answer::Refused(refused)) => error(&refused, question.front()),
        (_, _) => error(&refusal::error(verdict, &live.settings, clock), question.front()),
    };
    served.write(response.headers_mut());
    response
}

/// A whole answer.
pub(super) fn whole(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    let headers = response.headers_mut();
    headers.reserve(HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An error of our own.
pub(super) fn error(error: &ClientError, front: Front) -> Response<Body> {
    let rendered = error.render(front);
    let mut response = Response::new(Body::whole(rendered.body));
    *response.status_mut() = StatusCode::from_u16(rendered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in rendered.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The provider's own verdict on a request, without the secrets that it may echo.
fn passed_on(live: &Live, question: &Question, status: u16, body: &[u8]) -> Response<Body> {
    let text = String::from_utf8_lossy(body);
    let clean = wire::redact(&text, live.secrets().iter().map(|secret| secret.expose_secret()));
    let mut response = whole(question.error(status, &clean));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    // What a provider refuses for the request's own sake it refuses again.
    response.headers_mut().insert(HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"));
    response
}

/// The driver has gone: nothing can be decided any more.
pub(super) fn gone(question: &Question, request: Option<RequestId>) -> Response<Body> {
    let mut response = error(&shut(Shut::Draining), question.front());
    Served { request, by: None, attempts: 0, spend: None }.write(response.headers_mut());
    response
}

/// No request may enter.
pub(super) fn shut(why: Shut) -> ClientError {
    match why {
        Shut::Full => coded(503, "no_capacity", "The proxy has as many requests in hand as it may"),
        Shut::Draining => coded(503, "shutting_down", "The proxy is shutting down"),
    }
}

/// An error with a label for programs.
pub(super) fn coded(status: u16, code: &'static str, message: impl Into<String>) -> ClientError {
    ClientError { code: Some(code), ..ClientError::new(status, message) }
}

impl Served<'_> {
    fn write(&self, headers: &mut HeaderMap) {
        identify(headers, self.request);
        if let Some(label) = self.by.and_then(|(dispatch, live)| live.label(dispatch.deployment)) {
            for (name, value) in [(TIER, &label.tier), (DEPLOYMENT, &label.deployment)] {
                if let Some(value) = value {
                    headers.insert(name, value.clone());
                }
            }
        }
        let attempts =
            if self.attempts == 1 { HeaderValue::from_static("1") } else { HeaderValue::from(self.attempts) };
        headers.insert(ATTEMPTS, attempts);
        if let Some(value) = self.spend.and_then(dollars) {
            headers.insert(SPEND, value);
        }
    }
}

/// An amount in dollars, to the micro-dollar.
fn dollars(amount: Usd) -> Option<HeaderValue> {
    if amount == Usd::ZERO {
        return Some(HeaderValue::from_static("0.000000"));
    }
    let (sign, micros) = (if amount < Usd::ZERO { "-" } else { "" }, amount.as_micros().unsigned_abs());
    text(format_args!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000))
}

/// Names the request, once it has a number.
pub(super) fn identify(headers: &mut HeaderMap, request: Option<RequestId>) {
    if let Some(value) = request.and_then(|request| text(format_args!("sp-{request}"))) {
        headers.insert(REQUEST_ID, value);
    }
}

/// A short text as a header, put together without an allocation of its own.
fn text(text: std::fmt::Arguments<'_>) -> Option<HeaderValue> {
    let mut buffer = [0; 64];
    let mut rest = &mut buffer[..];
    rest.write_fmt(text).ok()?;
    let left = rest.len();
    HeaderValue::from_bytes(&buffer[..buffer.len() - left]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_to_the_micro_dollar() {
        for (micros, shown) in [(0, "0.000000"), (7, "0.000007"), (12_345_678, "12.345678"), (-1_500_000, "-1.500000")]
        {
            assert_eq!(dollars(Usd::from_micros(micros)).expect("a header"), shown);
        }
    }
}
