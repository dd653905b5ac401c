//! The mock's time is the scenario's: it begins at the day's start and may run faster than the world outside, stand
//! still, or be put ahead. Everything that is waited for goes through here.

use stormproof_router::core::{Duration, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

/// Longer than this nothing is waited for at once.
const NAP_MAX: std::time::Duration = std::time::Duration::from_secs(3600);

/// The scenario's time.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    /// How many times faster than the world outside; 0 stands still.
    scale: u32,
    /// How far it has been put ahead.
    ahead: watch::Sender<Duration>,
}

impl Clock {
    /// A clock that starts now, at [`Timestamp::ZERO`].
    pub(super) fn start(scale: u32) -> Self {
        Self { started: Instant::now(), scale, ahead: watch::Sender::new(Duration::ZERO) }
    }

    /// The scenario's time.
    pub(super) fn now(&self) -> Timestamp {
        let passed = Duration::from(self.started.elapsed()).saturating_mul(u64::from(self.scale));
        Timestamp::ZERO + passed + *self.ahead.borrow()
    }

    /// Puts it ahead; whatever is waited for comes that much sooner.
    pub(super) fn advance(&self, by: Duration) {
        self.ahead.send_modify(|ahead| *ahead += by);
    }

    /// Waits until that moment; for ever, if it is [`Timestamp::MAX`].
    pub(super) async fn until(&self, moment: Timestamp) {
        let mut ahead = self.ahead.subscribe();
        loop {
            let left = moment.since(self.now());
            if left == Duration::ZERO {
                return;
            }
            tokio::select! {
                () = self.nap(left), if self.scale > 0 && moment < Timestamp::MAX => {}
                // The sender lives as long as the clock: this fails never.
                _ = ahead.changed() => {}
            }
        }
    }

    async fn nap(&self, left: Duration) {
        let real = Duration::from_nanos(left.as_nanos().div_ceil(u64::from(self.scale.max(1))));
        tokio::time::sleep(std::time::Duration::from(real).min(NAP_MAX)).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn secs(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_scaled_clock_waits_less() {
        let (clock, began) = (Clock::start(60), Instant::now());
        clock.until(secs(120)).await;
        assert_eq!(began.elapsed(), std::time::Duration::from_secs(2));
        assert_eq!(clock.now(), secs(120));
    }

    #[tokio::test(start_paused = true)]
    async fn a_standing_clock_moves_only_when_it_is_put_ahead() {
        let (clock, began) = (Clock::start(0), Instant::now());
        let waiting = clock.until(secs(90));
        tokio::pin!(waiting);
        assert_eq!((&mut waiting).now_or_never(), None);
        clock.advance(Duration::from_secs(60));
        assert_eq!((&mut waiting).now_or_never(), None);
        clock.advance(Duration::from_secs(30));
        waiting.await;
        assert_eq!((clock.now(), began.elapsed()), (secs(90), std::time::Duration::ZERO));
    }
}
