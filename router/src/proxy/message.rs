//! What reaches the driver, and the handle through which it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::live::Live;
use super::mailbox::{Mailbox, Sender};
use crate::core::{
    Action, AttemptId, ClientId, Endpoint, Finished, ModelId, Priority, Timestamp, TokenEstimate, TurnId,
};

/// One thing for the driver to do.
pub(super) enum Message<R> {
    /// A client's call, read and understood.
    Arrived(Arrival),
    /// The provider accepted an attempt.
    FirstByte(AttemptId),
    /// An attempt is over.
    Finished(Finished),
    /// The client went away.
    Gone(Arc<Mailbox>),
    /// New settings.
    Configured(Arc<Live>, oneshot::Sender<()>),
    /// An operator acts. The action is spelt with the settings in force when its turn comes.
    Operator { spell: Box<Spell>, author: Arc<str>, done: oneshot::Sender<Result<Action, String>> },
    /// Someone wants to look at the state between two batches.
    Inspect(Box<Look<R>>),
    /// No more requests: end when the last one has ended.
    Drain,
}

/// Turns an order in names into an action in ids.
type Spell = dyn FnOnce(&Live, Timestamp) -> Result<Action, String> + Send;

/// Looks at the driver's state.
type Look<R> = dyn FnOnce(View<'_, R>) + Send;

/// A call as the router wants to know it, and where its answers go.
pub(super) struct Arrival {
    /// The settings that `client` and `model` belong to.
    pub(super) live: Arc<Live>,
    pub(super) turn: TurnId,
    pub(super) client: ClientId,
    pub(super) model: ModelId,
    pub(super) endpoint: Endpoint,
    pub(super) stream: bool,
    pub(super) tokens: TokenEstimate,
    pub(super) priority: Priority,
    pub(super) deadline: Timestamp,
    pub(super) sender: Sender,
}

/// The driver's state, to be looked at.
pub struct View<'a, R> {
    /// The router.
    pub router: &'a R,
    /// The settings in force.
    pub live: &'a Live,
    /// The router's time.
    pub now: Timestamp,
    /// Why the log takes nothing at present, if it does not.
    pub log_problem: Option<&'a str>,
    /// Requests in the driver's hands.
    pub requests: usize,
}

/// Reaches the driver; cheap to clone.
///
/// The channel itself has no bound, so that the end of an attempt is never lost. What bounds it is admission: a
/// request enters only while fewer than `limit` are inside, and one request has at most a handful of messages under
/// way.
pub(super) struct Handle<R> {
    messages: mpsc::UnboundedSender<Message<R>>,
    gate: Arc<Gate>,
}

/// The bodies of all requests inside, in bytes. Clients that send them slowly could fill the memory otherwise.
const BODIES_MAX: usize = 512 << 20;

#[derive(Debug)]
struct Gate {
    inside: AtomicUsize,
    limit: usize,
    /// Bytes of bodies inside.
    held: AtomicUsize,
    closed: AtomicBool,
}

/// A request's place inside; leaves on drop.
#[derive(Debug)]
pub(super) struct Place {
    gate: Arc<Gate>,
    /// Bytes of its body.
    held: usize,
}

/// Why a request may not enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shut {
    /// As many are inside as may be.
    Full,
    /// The proxy is shutting down.
    Draining,
}

impl<R> Clone for Handle<R> {
    fn clone(&self) -> Self {
        Self { messages: self.messages.clone(), gate: Arc::clone(&self.gate) }
    }
}

impl<R> Handle<R> {
    /// A handle that admits `limit` requests at a time, and the driver's end of its channel.
    pub(super) fn new(limit: usize) -> (Self, mpsc::UnboundedReceiver<Message<R>>) {
        let (messages, inbox) = mpsc::unbounded_channel();
        let (inside, held) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let gate = Gate { inside, limit, held, closed: AtomicBool::new(false) };
        (Self { messages, gate: Arc::new(gate) }, inbox)
    }

    /// A place for one more request.
    pub(super) fn enter(&self) -> Result<Place, Shut> {
        if self.gate.closed.load(Ordering::Relaxed) {
            return Err(Shut::Draining);
        }
        let place = Place { gate: Arc::clone(&self.gate), held: 0 };
        if self.gate.inside.fetch_add(1, Ordering::Relaxed) < self.gate.limit { Ok(place) } else { Err(Shut::Full) }
    }

    /// Requests inside.
    pub(super) fn inside(&self) -> usize {
        self.gate.inside.load(Ordering::Relaxed)
    }

    /// Lets no more requests in.
    pub(super) fn shut(&self) {
        self.gate.closed.store(true, Ordering::Relaxed);
        self.send(Message::Drain);
    }

    /// Whether requests are still let in.
    pub(super) fn is_open(&self) -> bool {
        !self.gate.closed.load(Ordering::Relaxed) && !self.messages.is_closed()
    }

    /// Tells the driver. A driver that is gone needs to know nothing any more; whoever waits for its answer sees a
    /// closed mailbox.
    pub(super) fn send(&self, message: Message<R>) {
        drop(self.messages.send(message));
    }

    /// Asks the driver something between two batches; `None` when it is gone.
    pub(super) async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(View<'_, R>) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Inspect(Box::new(move |view| drop(answer.send(look(view))))));
        answered.await.ok()
    }
}

impl Place {
    /// Takes room for so many more bytes of the request's body.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Shut> {
        self.held += bytes;
        let held = self.gate.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held <= BODIES_MAX { Ok(()) } else { Err(Shut::Full) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.held.fetch_sub(self.held, Ordering::Relaxed);
        self.gate.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_requests_are_inside() {
        let (handle, _inbox) = Handle::<()>::new(2);
        let first = handle.enter().expect("room");
        let _second = handle.enter().expect("room");
        assert_eq!(handle.enter().err(), Some(Shut::Full));
        assert_eq!(handle.inside(), 2, "who was turned away does not count");
        drop(first);
        let _third = handle.enter().expect("room again");
        handle.shut();
        assert_eq!(handle.enter().err(), Some(Shut::Draining));
    }

    #[test]
    fn bodies_have_only_so_much_room() {
        let (handle, _inbox) = Handle::<()>::new(9);
        let (mut first, mut second) = (handle.enter().expect("room"), handle.enter().expect("room"));
        assert_eq!(first.hold(BODIES_MAX), Ok(()));
        assert_eq!(second.hold(1), Err(Shut::Full));
        drop((first, second));
        assert_eq!(handle.enter().expect("room").hold(BODIES_MAX), Ok(()), "what has left holds nothing");
    }
}
