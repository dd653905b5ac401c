//! What every handler needs: the way to the driver, the settings in force, the providers, the time.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::clock::Clock;
use super::live::Live;
use super::message::Handle;
use super::metrics::Metrics;
use super::upstream::Upstream;

/// The front door's shared state.
pub(super) struct Door<R> {
    pub(super) handle: Handle<R>,
    pub(super) live: ArcSwap<Live>,
    pub(super) upstream: Upstream,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
}
