//! One request's life between its client and the driver: carries out what the router orders, reports what became of
//! it, and gives the client exactly one answer.
//!
//! All of it runs inside the connection's own task. When the client goes away the task drops the exchange, and
//! dropping it cancels the call to the provider and tells the router.

use std::pin::Pin;
use std::sync::Arc;

use http::Response;
use tokio::time::Instant;

use super::attempt::{Answer, Deadlines, Progress, Report, Streaming, attempt};
use super::body::Body;
use super::door::Door;
use super::live::Live;
use super::mailbox::{Mailbox, Note};
use super::message::{Handle, Message, Place};
use super::relay::Relay;
use super::respond::{self, Served};
use super::stall::Cutoff;
use super::translate::Question;
use crate::core::{AttemptId, Dispatch, RequestId, Route};

/// A request's presence at the driver. Dropping it withdraws the request.
pub(super) struct Presence<R> {
    handle: Handle<R>,
    mailbox: Arc<Mailbox>,
    present: bool,
    cutoff: Cutoff,
    _place: Place,
}

/// The attempt that is under way, if one is.
enum Stage<R> {
    Idle,
    Running(AttemptId, Running<R>),
    /// Its first good event is there; the router has been told and has not answered yet.
    Ready(Report<R>, Box<Streaming>, Deadlines),
}

type Running<R> = Pin<Box<dyn Future<Output = (Report<R>, Deadlines, Progress)> + Send>>;

impl<R> Presence<R> {
    /// A request that is about to arrive and will hear by this mailbox.
    pub(super) fn new(handle: Handle<R>, mailbox: Arc<Mailbox>, place: Place, cutoff: Cutoff) -> Self {
        Self { handle, mailbox, present: true, cutoff, _place: place }
    }

    /// What the client is sent from now on it has to take by then.
    pub(super) fn cut_off_at(&self, total: Instant) {
        self.cutoff.set(Some(total));
    }

    /// The request's number.
    pub(super) fn request(&self) -> Option<RequestId> {
        self.mailbox.request()
    }

    /// The router knows the end already, or will hear it otherwise.
    pub(super) fn leave(&mut self) {
        self.present = false;
    }

    /// The client has gone.
    pub(super) fn withdraw(&mut self) {
        if std::mem::take(&mut self.present) {
            self.handle.send(Message::Gone(Arc::clone(&self.mailbox)));
        }
    }
}

impl<R> Drop for Presence<R> {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// Sees a request through to its answer, or to the point from which its stream flows by itself.
pub(super) async fn exchange<R: Route + 'static>(
    door: Arc<Door<R>>,
    question: Arc<Question>,
    mut presence: Presence<R>,
) -> Response<Body> {
    let mut stage = Stage::Idle;
    let mut served: Option<(Dispatch, Arc<Live>)> = None;
    let mut answer = Answer::None;
    let mut attempts = 0;
    loop {
        let note = tokio::select! {
            biased;
            note = presence.mailbox.next() => note,
            (report, deadlines, progress) = progress(&mut stage) => {
                stage = step(report, deadlines, progress, &mut answer);
                continue;
            }
        };
        let request = presence.request();
        match note {
            Some(Note::Dispatch(dispatch, live)) => {
                attempts += 1;
                stage = Stage::Running(dispatch.attempt, start(&door, &question, dispatch, Arc::clone(&live)));
                served = Some((dispatch, live));
            }
            Some(Note::Relay(attempt)) => {
                // Of a whole answer nothing can be shown before its end.
                stage = match stage {
                    Stage::Ready(report, streaming, deadlines) if report.attempt() == attempt => {
                        let head = Served { request, by: served.as_ref(), attempts, spend: None };
                        let relay = Relay::new(*streaming, deadlines, report, presence);
                        return respond::stream(&question, &head, Body::stream(relay));
                    }
                    other @ (Stage::Idle | Stage::Running(..) | Stage::Ready(..)) => other,
                };
            }
            Some(Note::Abandon(attempt)) => {
                let is_it = match &stage {
                    Stage::Idle => false,
                    Stage::Running(running, _) => *running == attempt,
                    Stage::Ready(report, ..) => report.attempt() == attempt,
                };
                if is_it {
                    stage = Stage::Idle;
                }
            }
            Some(Note::Close(verdict, live)) => {
                presence.leave();
                let head =
                    Served { request, by: served.as_ref(), attempts: verdict.attempts, spend: Some(verdict.spend) };
                return respond::close(&live, &door.clock, &question, &head, &verdict, answer);
            }
            None => {
                presence.leave();
                return respond::gone(&question, request);
            }
        }
    }
}

/// Makes the call that the router ordered. Nothing happens before the future is polled.
fn start<R: Route + 'static>(
    door: &Arc<Door<R>>,
    question: &Arc<Question>,
    dispatch: Dispatch,
    live: Arc<Live>,
) -> Running<R> {
    let (door, question) = (Arc::clone(door), Arc::clone(question));
    let report = Report::new(&door.handle, dispatch.attempt);
    let deadlines = Deadlines::new(dispatch.timeouts, &door.clock);
    Box::pin(async move {
        let progress = match live.target(dispatch.deployment) {
            Some(target) => attempt(&door, target, &question, &live.rules, deadlines, &report).await,
            None => Progress::unknown_deployment(),
        };
        (report, deadlines, progress)
    })
}

/// What the running attempt comes to; never, when none is running.
async fn progress<R>(stage: &mut Stage<R>) -> (Report<R>, Deadlines, Progress) {
    match stage {
        Stage::Running(_, running) => running.await,
        Stage::Idle | Stage::Ready(..) => std::future::pending().await,
    }
}

/// Reports what an attempt has come to, and keeps what the client may be told of it.
fn step<R>(mut report: Report<R>, deadlines: Deadlines, progress: Progress, answer: &mut Answer) -> Stage<R> {
    match progress {
        Progress::Over(over) => {
            *answer = over.answer;
            report.end(over.ending, over.facts, over.usage);
            Stage::Idle
        }
        Progress::Streaming(streaming) => {
            report.first_byte();
            Stage::Ready(report, streaming, deadlines)
        }
    }
}
