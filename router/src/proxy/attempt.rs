//! One call to a provider, from the router's order to the moment when either everything is known or the answer's
//! beginning is good.

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::by_size::by_size;
use super::clock::Clock;
use super::door::Door;
use super::live::Rules;
use super::message::{Handle, Message};
use super::translate::{Prepared, Question, StreamReader};
use super::upstream::{Limits, Target, Verb};
use crate::core::{AttemptId, Ending, Facts, Finished, Reason, Timeouts, Transport, Usage};
use crate::wire::{self, ClientError, Failure, Refusal};

/// The largest whole answer: a few generated images are 20 MB.
const ANSWER_MAX: usize = 64 << 20;

/// What fetched images are taken for; they are encoded into the call.
const FETCHED: usize = 1 << 20;

/// Of an error body so much is read. The longest seen are below 4 KiB.
const ERROR_MAX: usize = 64 << 10;

/// Until when an attempt's parts have to be there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    limits: Limits,
    pub(super) idle: std::time::Duration,
    pub(super) total: Instant,
}

/// Reports an attempt's end exactly once; if nobody else does, as abandoned.
pub(super) struct Report<R> {
    handle: Handle<R>,
    attempt: AttemptId,
    done: bool,
}

/// What an attempt has come to.
pub(super) enum Progress {
    /// It is over, and nothing of it has been shown to the client.
    Over(Over),
    /// The stream's first good event is there; the rest waits for the router's word.
    Streaming(Box<Streaming>),
}

/// An attempt that is over.
pub(super) struct Over {
    pub(super) ending: Ending,
    pub(super) facts: Facts,
    pub(super) usage: Option<Usage>,
    /// What the client would be told: the answer in its dialect, or the provider's error as it came.
    pub(super) answer: Answer,
}

/// What a provider answered.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// The whole answer, in the client's dialect.
    Whole(Bytes),
    /// A stream that was over with its first event, in the client's dialect.
    Stream(Bytes),
    /// An error, in the provider's words.
    Error {
        /// As HTTP said it, or as the event inside the stream did.
        status: u16,
        /// Its body.
        body: Bytes,
    },
    /// The request cannot be said to this provider.
    Refused(ClientError),
    /// None that can be shown.
    None,
}

/// A stream that has begun well.
pub(super) struct Streaming {
    pub(super) body: Incoming,
    pub(super) reader: StreamReader,
}

impl Deadlines {
    /// The deadlines of an attempt that starts now.
    pub(super) fn new(timeouts: Timeouts, clock: &Clock) -> Self {
        let now = Instant::now();
        let after = |duration| now + clock.real(duration).min(std::time::Duration::from_secs(86_400));
        let total = after(timeouts.total);
        Self {
            limits: Limits { connect: after(timeouts.connect), first_byte: after(timeouts.first_byte).min(total) },
            idle: clock.real(timeouts.idle),
            total,
        }
    }
}

impl Progress {
    /// The router named a deployment that its settings do not have.
    pub(super) fn unknown_deployment() -> Self {
        tracing::error!("the router named a deployment that its settings do not have");
        broken(Transport::Connect)
    }
}

impl<R> Report<R> {
    /// Watches over an attempt that the router has ordered.
    pub(super) fn new(handle: &Handle<R>, attempt: AttemptId) -> Self {
        Self { handle: handle.clone(), attempt, done: false }
    }

    /// Which attempt.
    pub(super) fn attempt(&self) -> AttemptId {
        self.attempt
    }

    /// Reports that the provider accepted it.
    pub(super) fn first_byte(&self) {
        self.handle.send(Message::FirstByte(self.attempt));
    }

    /// Reports its end.
    pub(super) fn end(&mut self, ending: Ending, facts: Facts, usage: Option<Usage>) {
        if !self.done {
            self.done = true;
            self.handle.send(Message::Finished(Finished { attempt: self.attempt, ending, facts, usage }));
        }
    }
}

impl<R> Drop for Report<R> {
    fn drop(&mut self) {
        self.end(Ending::Transport(Transport::Abandoned), Facts::default(), None);
    }
}

/// Calls `target`. Dropping the future cancels the call at once.
pub(super) async fn attempt<R>(
    door: &Door<R>,
    target: &Target,
    question: &Question,
    rules: &Rules,
    deadlines: Deadlines,
    report: &Report<R>,
) -> Progress {
    let verb = question.verb(target.dialect());
    let prepared = match prepare(door, target, question, rules).await {
        Ok(prepared) => prepared,
        Err(refusal) => {
            let refused = Answer::Refused(ClientError::from(&refusal));
            return over(Ending::Status(400), Facts::default(), None, refused);
        }
    };
    let request = match target.request(verb, prepared.body.clone()) {
        Ok(request) => request,
        Err(error) => return failed_here(&error),
    };
    let (upstream, clock) = (&door.upstream, &door.clock);
    let head = match upstream.send(request, deadlines.limits).await {
        Ok(head) => head,
        Err(transport) => return broken(transport),
    };
    let (head, body) = head.into_parts();
    let status = head.status.as_u16();
    if !head.status.is_success() {
        let body = match collect(body, ERROR_MAX, deadlines, || {}).await {
            Ok(body) | Err((_, body)) => body,
        };
        let facts = wire::facts(status, &head.headers, &body, clock.wall());
        return over(Ending::Status(status), facts, None, Answer::Error { status, body });
    }
    if matches!(verb, Verb::Stream | Verb::StreamArray) {
        begin_stream(target, question, body, deadlines).await
    } else {
        let body = match collect(body, ANSWER_MAX, deadlines, || report.first_byte()).await {
            Ok(body) => body,
            Err((transport, _)) => return broken(transport),
        };
        by_size(body.len(), || whole(target, question, &prepared, status, &head.headers, body, clock))
    }
}

/// The call in the target's words, with the images that it names if its dialect wants them.
async fn prepare<R>(door: &Door<R>, target: &Target, question: &Question, rules: &Rules) -> Result<Prepared, Refusal> {
    match by_size(question.len(), || question.prepare(target, &[])) {
        Err(Refusal::NeedsFetching(addresses)) => {
            let fetched = door.images.fetch(&addresses, rules.images).await?;
            by_size(FETCHED, || question.prepare(target, &fetched))
        }
        prepared @ (Ok(_) | Err(Refusal::BadRequest { .. })) => prepared,
    }
}

/// A whole answer: read, and put into the client's dialect.
fn whole(
    target: &Target,
    question: &Question,
    prepared: &Prepared,
    status: u16,
    headers: &HeaderMap,
    body: Bytes,
    clock: &Clock,
) -> Progress {
    let facts = wire::facts(status, headers, &body, clock.wall());
    let blocked = facts.reason == Some(Reason::ContentBlocked) && facts.inner_status.is_none();
    if facts != Facts::default() && !blocked {
        // A 200 that is an error inside.
        let status = facts.inner_status.unwrap_or(status);
        return over(Ending::Transport(Transport::ErrorEvent), facts, None, Answer::Error { status, body });
    }
    match question.answer(target, prepared, &body) {
        Ok((answer, usage)) => over(Ending::Status(status), facts, usage, Answer::Whole(answer)),
        Err(_malformed) => broken(Transport::Malformed),
    }
}

/// Reads a stream until its first good event.
async fn begin_stream(target: &Target, question: &Question, mut body: Incoming, deadlines: Deadlines) -> Progress {
    let mut reader = question.reader(target);
    while !reader.has_begun() {
        let frame = match tokio::time::timeout_at(deadlines.limits.first_byte, body.frame()).await {
            Ok(frame) => frame,
            Err(_elapsed) => return broken(Transport::FirstByteTimeout),
        };
        let read = match frame {
            Some(Ok(frame)) => reader.push(&frame.into_data().unwrap_or_default()),
            Some(Err(_)) => return broken(Transport::Cut),
            // A stream that ends without a single good event is no answer, whatever else it says.
            None => reader.end().and(Err(Failure::Cut)),
        };
        match read {
            Ok(()) => {}
            // What has begun well belongs to the client; it will meet the failure there.
            Err(_) if reader.has_begun() => break,
            Err(failure) => {
                let (transport, facts) = transport(failure);
                return over(Ending::Transport(transport), facts, reader.usage(), Answer::None);
            }
        }
    }
    if reader.is_blocked() {
        return blocked(body, reader, deadlines).await;
    }
    Progress::Streaming(Box::new(Streaming { body, reader }))
}

/// The prompt was blocked: another model may take it, so the client is shown nothing before the router's word.
async fn blocked(body: Incoming, mut reader: StreamReader, deadlines: Deadlines) -> Progress {
    let rest = match collect(body, ERROR_MAX, deadlines, || {}).await {
        Ok(rest) | Err((_, rest)) => rest,
    };
    // What comes after a blocked prompt is framing; without it the stream ends where it stands.
    let _whole = reader.push(&rest).and_then(|()| reader.end());
    let facts = Facts { reason: Some(Reason::ContentBlocked), ..Facts::default() };
    let shown = reader.pull().unwrap_or_default();
    over(Ending::Status(200), facts, reader.usage(), Answer::Stream(shown))
}

/// What the failure of a stream means.
pub(super) fn transport(failure: Failure) -> (Transport, Facts) {
    match failure {
        Failure::Error(facts) => (Transport::ErrorEvent, facts),
        Failure::Malformed => (Transport::Malformed, Facts::default()),
        Failure::Cut => (Transport::Cut, Facts::default()),
    }
}

/// Reads a body to its end. `waits` is called once, when the first part is not there together with the head.
async fn collect(
    mut body: Incoming,
    most: usize,
    deadlines: Deadlines,
    waits: impl FnOnce(),
) -> Result<Bytes, (Transport, Bytes)> {
    let mut waits = Some(waits);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let frame = match body.frame().now_or_never() {
            Some(frame) => frame,
            None => {
                if let Some(waits) = waits.take() {
                    waits();
                }
                let idle = Instant::now() + deadlines.idle;
                match tokio::time::timeout_at(idle.min(deadlines.total), body.frame()).await {
                    Ok(frame) => frame,
                    Err(_) if idle < deadlines.total => return Err((Transport::IdleTimeout, first)),
                    Err(_) => return Err((Transport::TotalTimeout, first)),
                }
            }
        };
        let data = match frame {
            None => return Ok(if rest.is_empty() { first } else { rest.freeze() }),
            Some(Err(_)) => return Err((Transport::Cut, first)),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        if first.len() + rest.len() + data.len() > most {
            return Err((Transport::Malformed, first));
        }
        // Most answers are one piece, which is then never copied.
        if first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
}

fn over(ending: Ending, facts: Facts, usage: Option<Usage>, answer: Answer) -> Progress {
    Progress::Over(Over { ending, facts, usage, answer })
}

fn broken(transport: Transport) -> Progress {
    over(Ending::Transport(transport), Facts::default(), None, Answer::None)
}

/// The call could not even be spelt: the model's name makes no address.
fn failed_here(error: &http::Error) -> Progress {
    tracing::error!(%error, "a deployment cannot be called");
    broken(Transport::Connect)
}
