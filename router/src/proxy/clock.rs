//! The one place of the live proxy that asks what time it is.
//!
//! The router's time runs on the monotonic clock from the moment the process starts; the wall clock only says where it
//! starts and, when the two drift apart, moves quota resets by one [`Clock`](crate::core::Input::Clock) input. A clock
//! may run faster than the world, so that a rehearsed day passes in minutes; every duration that is waited for has to
//! go through [`Clock::real`] then.

use std::num::NonZeroU32;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::core::{Duration, Timestamp, WallTime};

/// Maps the operating system's clocks to the router's time. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    timestamp: Timestamp,
    wall: WallTime,
    /// Whether the wall clock is our own, because a day is rehearsed.
    rehearses: bool,
    scale: NonZeroU32,
}

impl Clock {
    /// A clock that starts now. Its time continues at `wall clock - epoch`, but never before `resume`: the first moment
    /// after everything that the log holds. With `scale` above 1 it runs that many times faster than the world.
    pub fn start(epoch: WallTime, resume: Timestamp, scale: NonZeroU32) -> Self {
        let clock = Self::rehearse(wall_now(), epoch, resume, scale);
        Self { rehearses: scale.get() > 1, ..clock }
    }

    /// The same, with a wall clock of its own that shows `wall` now.
    pub fn rehearse(wall: WallTime, epoch: WallTime, resume: Timestamp, scale: NonZeroU32) -> Self {
        let since_epoch = Timestamp::from_nanos(wall.since(epoch).as_nanos());
        Self { started: Instant::now(), timestamp: since_epoch.max(resume), wall, rehearses: true, scale }
    }

    /// The router's time.
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The router's time at an instant; of one before the clock's start, the start.
    pub fn at(&self, instant: Instant) -> Timestamp {
        self.timestamp + self.scaled(instant)
    }

    /// The wall clock. While a day is rehearsed it runs as fast as the router's time.
    pub fn wall(&self) -> WallTime {
        if self.rehearses { self.wall + self.scaled(Instant::now()) } else { wall_now() }
    }

    /// How long the world takes for `duration` of the router's time.
    pub fn real(&self, duration: Duration) -> std::time::Duration {
        std::time::Duration::from(duration) / self.scale.get()
    }

    /// When the router's time will be `moment`; one that has passed is now. `None` when it never comes.
    pub fn instant(&self, moment: Timestamp) -> Option<Instant> {
        if moment == Timestamp::MAX {
            return None;
        }
        self.started.checked_add(self.real(moment.since(self.timestamp)))
    }

    fn scaled(&self, instant: Instant) -> Duration {
        let elapsed = instant.saturating_duration_since(self.started);
        Duration::from(elapsed).saturating_mul(u64::from(self.scale.get()))
    }
}

/// Nanoseconds since 1970; a clock that is set before that reads as 1970.
#[expect(clippy::disallowed_methods, reason = "the live proxy is a driver: it alone brings the time in, and here")]
pub fn wall_now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_nanos(Duration::from(since).as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(factor: u32) -> NonZeroU32 {
        NonZeroU32::new(factor).expect("not zero")
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_never_goes_back() {
        let ahead = Timestamp::from_nanos(u64::MAX / 2);
        let clock = Clock::start(WallTime::from_nanos(0), ahead, scale(1));
        assert_eq!(clock.now(), ahead, "the wall clock is behind the log: the log wins");
        tokio::time::advance(std::time::Duration::from_secs(3)).await;
        assert_eq!(clock.now(), ahead + Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_scaled_clock_passes_a_day_in_minutes() {
        let clock = Clock::start(wall_now(), Timestamp::from_nanos(7), scale(60));
        let (before, wall) = (clock.now(), clock.wall());
        tokio::time::advance(std::time::Duration::from_secs(2)).await;
        assert_eq!(clock.now().since(before), Duration::from_secs(120));
        assert_eq!(clock.wall().since(wall), Duration::from_secs(120));
        assert_eq!(clock.real(Duration::from_secs(60)), std::time::Duration::from_secs(1));
        let in_a_minute = clock.instant(clock.now() + Duration::from_secs(60));
        assert_eq!(in_a_minute, Some(Instant::now() + std::time::Duration::from_secs(1)));
        assert_eq!(clock.instant(Timestamp::MAX), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rehearsed_day_begins_when_it_is_told_to() {
        let evening = WallTime::from_nanos(1_745_039_400_000_000_000);
        let clock = Clock::rehearse(evening, evening, Timestamp::ZERO, scale(1));
        assert_eq!((clock.now(), clock.wall()), (Timestamp::ZERO, evening));
        tokio::time::advance(std::time::Duration::from_secs(2)).await;
        assert_eq!(clock.wall(), evening + Duration::from_secs(2), "the machine's own clock does not matter");
    }
}
