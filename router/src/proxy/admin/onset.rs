//! Since when something has been wrong, and how fast money goes: what the router need not know and operators ask.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::core::{Cause, Router, Scope, Timestamp, UpstreamId, Usd};
use crate::proxy::door::Door;
use crate::proxy::server::Phase;

/// How often the router is looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// How far back the rate of spending looks.
const RATE_WINDOW: crate::core::Duration = crate::core::Duration::from_secs(600);

/// Something that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// A scope rests.
    Resting(Scope, Cause),
    /// An upstream model is degraded.
    Degraded(UpstreamId),
}

/// When every present trouble was first seen, and what was spent lately. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Onsets(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    since: BTreeMap<Trouble, Timestamp>,
    /// All money spent so far, from time to time.
    spent: VecDeque<(Timestamp, f64)>,
}

impl Onsets {
    /// When this trouble was first seen.
    pub(super) fn since(&self, trouble: Trouble) -> Option<Timestamp> {
        self.with(|seen| seen.since.get(&trouble).copied())
    }

    /// Dollars per second over the last ten minutes.
    pub(super) fn spend_rate(&self) -> f64 {
        self.with(|seen| match (seen.spent.front(), seen.spent.back()) {
            // Before ten minutes are over nothing is known of the rest of them: a burst is no rate.
            (Some((_, before)), Some((_, after))) => (after - before) / RATE_WINDOW.as_secs_f64(),
            (_, _) => 0.0,
        })
    }

    /// Looks at the present troubles; those that are over are forgotten.
    fn see(&self, now: Timestamp, troubles: impl Iterator<Item = Trouble>, spent: f64) {
        self.with(|seen| {
            let before = std::mem::take(&mut seen.since);
            seen.since = troubles.map(|trouble| (trouble, before.get(&trouble).copied().unwrap_or(now))).collect();
            seen.spent.push_back((now, spent));
            while seen.spent.front().is_some_and(|(at, _)| now.since(*at) > RATE_WINDOW) {
                seen.spent.pop_front();
            }
        });
    }

    fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Every trouble of a router, at the time of its last input.
fn troubles(router: &Router) -> Vec<Trouble> {
    let resting = router.cooldowns().into_iter().map(|cooldown| Trouble::Resting(cooldown.scope, cooldown.cause));
    let degraded = router.tiers().into_iter().filter(|tier| tier.degraded);
    resting.chain(degraded.map(|tier| Trouble::Degraded(tier.upstream))).collect()
}

/// Looks from time to time, until told to stop.
pub(super) async fn watch(door: Arc<Door<Router>>, onsets: Onsets, mut phase: watch::Receiver<Phase>) {
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            _ = phase.wait_for(|phase| *phase > Phase::Serving) => return,
        }
        if look(&door, &onsets).await.is_none() {
            return;
        }
    }
}

/// Looks now; `None` when the driver is gone.
pub(super) async fn look(door: &Door<Router>, onsets: &Onsets) -> Option<()> {
    let (now, troubles) = door.handle.inspect(|view| (view.now, troubles(view.router))).await?;
    onsets.see(now, troubles.into_iter(), door.metrics.spend_usd());
    Some(())
}

/// A sum over tiers, in dollars.
pub(super) fn dollars(amounts: impl Iterator<Item = Usd>) -> f64 {
    amounts.sum::<Usd>().as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_as_old_as_its_first_sight_and_forgotten_with_its_end() {
        let onsets = Onsets::default();
        let trouble = Trouble::Degraded(UpstreamId::new(3));
        let at = |secs| Timestamp::ZERO + crate::core::Duration::from_secs(secs);
        onsets.see(at(1), [trouble].into_iter(), 0.0);
        onsets.see(at(6), [trouble].into_iter(), 1.0);
        assert_eq!(onsets.since(trouble), Some(at(1)));
        assert!((onsets.spend_rate() - 1.0 / 600.0).abs() < 1e-9);
        onsets.see(at(11), std::iter::empty(), 1.0);
        onsets.see(at(16), [trouble].into_iter(), 1.0);
        assert_eq!(onsets.since(trouble), Some(at(16)));
    }
}
