//! What every handler needs: the way to the driver, the settings in force, the providers, the time.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::clock::Clock;
use super::images::Images;
use super::live::Live;
use super::message::{Handle, Message};
use super::metrics::Metrics;
use super::upstream::Upstream;

/// The front door's shared state.
pub(super) struct Door<R> {
    pub(super) handle: Handle<R>,
    pub(super) live: ArcSwap<Live>,
    pub(super) upstream: Upstream,
    pub(super) images: Images,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
}

impl<R> Door<R> {
    /// Puts new settings in force, for every request that arrives from now on. Returns when the router has them.
    pub(super) async fn configure(&self, live: Live) {
        let live = Arc::new(live);
        let (done, configured) = oneshot::channel();
        self.handle.send(Message::Configured(Arc::clone(&live), done));
        if configured.await.is_ok() {
            self.live.store(live);
        }
    }
}
