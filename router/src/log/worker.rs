//! One thread that does in order what must not hold up the writer: syncs, and the upkeep of closed segments.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

type Job = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// A thread, once there is work for it. Dropping it waits for what is under way.
#[derive(Default)]
pub(super) struct Worker {
    running: Option<(Sender<Job>, JoinHandle<()>)>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    waiting: AtomicUsize,
    /// Whether there is an error: asked at every commit, so without a lock.
    failed: AtomicBool,
    error: Mutex<Option<io::Error>>,
}

impl Worker {
    /// Does this after what was asked for before.
    pub(super) fn run(&mut self, job: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let sender = match self.running.take() {
            Some(running) => self.running.insert(running),
            None => self.running.insert(start(Arc::clone(&self.state))?),
        };
        self.state.waiting.fetch_add(1, Ordering::SeqCst);
        sender.0.send(Box::new(job)).map_err(|_gone| io::Error::other("the log's worker thread is gone"))
    }

    /// Whether everything asked for is done.
    pub(super) fn is_idle(&self) -> bool {
        self.state.waiting.load(Ordering::SeqCst) == 0
    }

    /// The first error since the last question.
    pub(super) fn error(&self) -> Option<io::Error> {
        if !self.state.failed.load(Ordering::Acquire) {
            return None;
        }
        self.state.failed.store(false, Ordering::Release);
        self.state.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until everything asked for is done.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if let Some((sender, thread)) = self.running.take() {
            drop(sender);
            thread.join().map_err(|_panic| io::Error::other("the log's worker thread panicked"))?;
        }
        self.error().map_or(Ok(()), Err)
    }
}

fn start(state: Arc<State>) -> io::Result<(Sender<Job>, JoinHandle<()>)> {
    let (sender, jobs) = channel::<Job>();
    let work = move || {
        for job in jobs {
            if let Err(error) = job() {
                state.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                state.failed.store(true, Ordering::Release);
            }
            state.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    };
    Ok((sender, thread::Builder::new().name("event-log".to_owned()).spawn(work)?))
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(%error, "the event log's last background work failed");
        }
    }
}
