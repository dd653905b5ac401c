//! Clients that do not read what they asked for.
//!
//! While a client takes nothing, hyper asks its answer for nothing either, so no timeout inside the answer can strike.
//! The socket itself therefore gives up: after a minute in which the client took nothing, and for a stream that is
//! taken in drips at the stream's total timeout.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a client may take nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Until when what is being sent on a connection has to be taken; its clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Cutoff(Arc<Mutex<Option<Instant>>>);

impl Cutoff {
    /// What is sent from now on has to be taken by then.
    pub(super) fn set(&self, at: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    fn of_a_stall(&self) -> Instant {
        let stalled = Instant::now() + PATIENCE;
        let total = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        total.map_or(stalled, |total| total.min(stalled))
    }
}

/// A connection that fails when its client takes nothing for too long.
pub(super) struct Stalling<S> {
    stream: S,
    cutoff: Cutoff,
    /// While a write waits.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<S> Stalling<S> {
    /// Watches over this stream.
    pub(super) fn new(stream: S, cutoff: Cutoff) -> Self {
        Self { stream, cutoff, alarm: None }
    }

    /// Passes on what a write came to, unless it has waited too long.
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.alarm = None;
            return written;
        }
        let cutoff = &self.cutoff;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(cutoff.of_a_stall())));
        ready!(alarm.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, data);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, data);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_given_up_after_a_minute() {
        let (ours, _theirs) = duplex(10);
        let begin = Instant::now();
        let mut stream = Stalling::new(ours, Cutoff::default());
        let error = stream.write_all(&[0; 11]).await.expect_err("nobody reads");
        assert_eq!((error.kind(), begin.elapsed()), (io::ErrorKind::TimedOut, PATIENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_in_drips_is_given_up_at_the_streams_end() {
        let (ours, mut theirs) = duplex(10);
        let (begin, total) = (Instant::now(), Duration::from_secs(300));
        let cutoff = Cutoff::default();
        cutoff.set(Some(begin + total));
        let mut stream = Stalling::new(ours, cutoff.clone());
        let drips = async {
            loop {
                tokio::time::sleep(PATIENCE / 2).await;
                theirs.read_u8().await.expect("open");
            }
        };
        tokio::select! {
            () = drips => {}
            sent = stream.write_all(&[0; 1000]) => {
                assert_eq!(sent.expect_err("too slow").kind(), io::ErrorKind::TimedOut);
            }
        }
        assert_eq!(begin.elapsed(), total);
    }
}
