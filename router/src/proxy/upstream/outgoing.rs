//! The body of a call to a provider, which knows whether a connection has taken it.
//!
//! hyper says nothing of whether a call still waits for a connection. But it asks for the body only when it has one, so
//! the body can tell.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// Bytes on their way to a provider.
#[derive(Debug)]
pub(in crate::proxy) struct Outgoing {
    bytes: Option<Bytes>,
    taken: Taken,
}

/// Whether a connection has taken the body.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken(Arc<AtomicBool>);

impl Outgoing {
    /// These bytes, or no body when there are none.
    pub(in crate::proxy) fn new(bytes: Bytes) -> Self {
        Self { bytes: (!bytes.is_empty()).then_some(bytes), taken: Taken::default() }
    }

    /// Tells of this body.
    pub(super) fn taken(&self) -> Taken {
        self.taken.clone()
    }
}

impl Taken {
    /// Whether a connection has asked for it. Never, where there is nothing to ask for.
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.taken.0.store(true, Ordering::Relaxed);
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, Bytes::len) as u64)
    }
}
