//! A stream on its way from the provider to the client, after the router has committed the client to it.
//!
//! Nothing here goes through the driver but the end. A stream that fails is never ended cleanly: the client gets its
//! dialect's error event, then the connection breaks off. Dropping the body (the client has gone) ends the call to
//! the provider at once.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use thiserror::Error;
use tokio::time::{Instant, Sleep};

use super::attempt::{Deadlines, Report, Streaming, transport};
use super::exchange::Presence;
use super::translate::StreamReader;
use crate::core::{Ending, Facts, Transport};
use crate::wire::{ClientError, Failure};

/// How long a connection gets to send the error event before it breaks off.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// How long after the total timeout a client that still reads gets to hear of it.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// The body of a relayed stream.
pub(super) struct Relay<R> {
    reader: StreamReader,
    upstream: Incoming,
    state: State,
    deadlines: Deadlines,
    /// When the provider last sent something.
    heard: Instant,
    alarm: Pin<Box<Sleep>>,
    report: Report<R>,
    presence: Presence<R>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Flowing,
    /// Everything has been handed over.
    Complete,
    /// The error event has been handed over; the connection gets a moment to send it.
    Breaking,
    Broken,
}

/// Why a client's connection breaks off.
#[derive(Clone, Copy, Debug, Error)]
#[error("the provider's stream failed after it had begun")]
pub(super) struct BrokenOff;

impl<R> Relay<R> {
    /// Goes on where the attempt's first good event was seen.
    pub(super) fn new(streaming: Streaming, deadlines: Deadlines, report: Report<R>, presence: Presence<R>) -> Self {
        let heard = Instant::now();
        presence.cut_off_at(deadlines.total + LAST_PATIENCE);
        let alarm = Box::pin(tokio::time::sleep_until((heard + deadlines.idle).min(deadlines.total)));
        let Streaming { body: upstream, reader } = streaming;
        Self { reader, upstream, state: State::Flowing, deadlines, heard, alarm, report, presence }
    }

    /// The stream is over as far as the provider goes.
    fn finish(&mut self, ended: Result<(), (Transport, Facts)>) {
        let (ending, facts) = match ended {
            Ok(()) => (Ending::Status(200), Facts::default()),
            Err((transport, facts)) => (Ending::Transport(transport), facts),
        };
        self.report.end(ending, facts, self.reader.usage());
        self.presence.leave();
        self.state = match ended {
            Ok(()) => State::Complete,
            Err((transport, facts)) => {
                self.reader.fail(&error(transport, facts));
                self.alarm.as_mut().reset(Instant::now() + LAST_WORDS);
                State::Breaking
            }
        };
    }

    /// Which timeout has struck, if one has; otherwise the alarm is set anew.
    fn overdue(&mut self, context: &mut Context<'_>) -> Option<Transport> {
        while self.alarm.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            if now >= self.deadlines.total {
                return Some(Transport::TotalTimeout);
            }
            let idle = self.heard + self.deadlines.idle;
            if now >= idle {
                return Some(Transport::IdleTimeout);
            }
            self.alarm.as_mut().reset(idle.min(self.deadlines.total));
        }
        None
    }

    fn hear(&mut self, data: &[u8]) {
        self.heard = Instant::now();
        if self.heard >= self.deadlines.total {
            self.finish(Err((Transport::TotalTimeout, Facts::default())));
            return;
        }
        if let Err(failure) = self.reader.push(data) {
            self.finish(Err(transport(failure)));
        }
    }
}

/// What the client is told of a stream that failed.
fn error(transport: Transport, facts: Facts) -> ClientError {
    let what = match transport {
        Transport::IdleTimeout => "the provider fell silent",
        Transport::TotalTimeout => "the provider took too long",
        Transport::ErrorEvent => "the provider reported an error",
        Transport::Malformed => "the provider sent something that is no answer",
        Transport::Cut
        | Transport::Reset
        | Transport::ReusedConnection
        | Transport::Connect
        | Transport::FirstByteTimeout
        | Transport::Abandoned => "the provider closed the connection",
    };
    let status = facts.inner_status.unwrap_or(502);
    ClientError { code: Some("stream_cut"), ..ClientError::new(status, format!("The answer broke off: {what}")) }
}

impl<R> Body for Relay<R> {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = self.get_mut();
        loop {
            if let Some(bytes) = this.reader.pull() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            match this.state {
                State::Flowing => {}
                State::Complete => return Poll::Ready(None),
                State::Breaking => {
                    ready!(this.alarm.as_mut().poll(context));
                    this.state = State::Broken;
                    continue;
                }
                State::Broken => return Poll::Ready(Some(Err(BrokenOff))),
            }
            match Pin::new(&mut this.upstream).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        this.hear(&data);
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    // What had begun to arrive may still say why.
                    let failure = this.reader.end().err().unwrap_or(Failure::Cut);
                    this.finish(Err(transport(failure)));
                }
                Poll::Ready(None) => {
                    let ended = this.reader.end().map_err(transport);
                    this.finish(ended);
                }
                Poll::Pending => match this.overdue(context) {
                    Some(transport) => this.finish(Err((transport, Facts::default()))),
                    None => return Poll::Pending,
                },
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl<R> Drop for Relay<R> {
    fn drop(&mut self) {
        if self.state == State::Flowing {
            // The client has gone: say so before the attempt ends, with what has been counted so far.
            self.presence.withdraw();
            self.report.end(Ending::Transport(Transport::Abandoned), Facts::default(), self.reader.usage());
        }
    }
}
