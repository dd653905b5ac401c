//! The way back from the driver to one request: a short queue that one handler waits on.
//!
//! A general channel would allocate a block of 32 slots for what is, nearly always, three notes. A mailbox is one
//! allocation, and its lock is never contended for longer than a push.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::live::Live;
use crate::core::{AttemptId, Dispatch, RequestId, Verdict};

/// What the driver tells a request.
#[derive(Clone, Debug)]
pub(super) enum Note {
    /// Call this deployment; its index belongs to these settings.
    Dispatch(Dispatch, Arc<Live>),
    /// From here the client sees this attempt.
    Relay(AttemptId),
    /// Stop this attempt.
    Abandon(AttemptId),
    /// The end, in the words of these settings. Nothing follows.
    Close(Verdict, Arc<Live>),
}

/// One request's letters from the driver.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    /// 0 until the driver has numbered the request.
    request: AtomicU64,
    notes: Mutex<VecDeque<Note>>,
    waiting: AtomicWaker,
    /// The driver is gone, or has said everything.
    closed: AtomicBool,
}

impl Mailbox {
    /// The request's number, once the driver has given it one.
    pub(super) fn request(&self) -> Option<RequestId> {
        match self.request.load(Ordering::Acquire) {
            0 => None,
            number => Some(RequestId::new(number)),
        }
    }

    /// The next note, in order; `None` when nothing will follow.
    pub(super) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Note>> {
        if let Some(note) = self.notes().pop_front() {
            return Poll::Ready(Some(note));
        }
        self.waiting.register(context.waker());
        // The driver may have written between the look and the registration.
        let closed = self.closed.load(Ordering::Acquire);
        match self.notes().pop_front() {
            Some(note) => Poll::Ready(Some(note)),
            None if closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// The next note, in order; `None` when nothing will follow.
    pub(super) async fn next(&self) -> Option<Note> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    fn notes(&self) -> MutexGuard<'_, VecDeque<Note>> {
        // Nothing panics while it holds the lock; if it did, the queue would still be whole.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The driver's end of a mailbox. Dropping it closes the mailbox, so that no handler ever waits for a driver that is
/// gone.
#[derive(Debug)]
pub(super) struct Sender(Arc<Mailbox>);

impl Sender {
    /// The one sender of a new mailbox.
    pub(super) fn new(mailbox: &Arc<Mailbox>) -> Self {
        Self(Arc::clone(mailbox))
    }

    /// Gives the request its number.
    pub(super) fn number(&self, request: RequestId) {
        self.0.request.store(request.get(), Ordering::Release);
    }

    /// Puts a note in and wakes the handler.
    pub(super) fn send(&self, note: Note) {
        self.0.notes().push_back(note);
        self.0.waiting.wake();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.waiting.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn notes_come_in_order_and_then_the_end() {
        let mailbox = Arc::new(Mailbox::default());
        let sender = Sender::new(&mailbox);
        let reader = tokio::spawn({
            let mailbox = Arc::clone(&mailbox);
            async move {
                let mut seen = Vec::new();
                while let Some(note) = mailbox.next().await {
                    let Note::Abandon(attempt) = note else { panic!("only attempts were sent") };
                    seen.push(attempt.get());
                }
                seen
            }
        });
        for attempt in 0..100 {
            sender.send(Note::Abandon(AttemptId::new(attempt)));
            tokio::task::yield_now().await;
        }
        drop(sender);
        assert_eq!(reader.await.expect("no panic"), (0..100).collect::<Vec<_>>());
    }
}
