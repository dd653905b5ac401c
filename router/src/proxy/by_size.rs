//! Work on bodies of any size.
//!
//! One thread serves everybody, because a hand-over between threads costs more than most requests. Reading a prompt of
//! twenty megabytes takes it a tenth of a second, though, and no other request shall wait for that.

use tokio::runtime::{Handle, RuntimeFlavor};

/// From this size on a body is worked on while another thread goes on with the other requests; below it takes at most a
/// millisecond.
const LARGE: usize = 256 << 10;

/// Does work that takes time in proportion to so many bytes.
pub(super) fn by_size<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes < LARGE {
        return work();
    }
    let other_threads =
        Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if other_threads { tokio::task::block_in_place(work) } else { work() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However busy the machine is.
    const LONG: std::time::Duration = std::time::Duration::from_secs(120);

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn large_bodies_hold_up_nobody() {
        let (free, freed) = std::sync::mpsc::channel();
        let working =
            tokio::spawn(async move { by_size(LARGE, || freed.recv_timeout(LONG).expect("somebody else runs")) });
        // On one thread this runs only while the other gives way.
        tokio::spawn(async move { free.send(7) }).await.expect("no panic").expect("it is waited for");
        assert_eq!(working.await.expect("no panic"), 7);
    }

    #[tokio::test]
    async fn where_there_is_one_thread_it_does_the_work() {
        assert_eq!(by_size(LARGE, || 7), 7);
    }
}
