//! The quota day: which one it is, and when it ends on the router's own time.
//!
//! Resets come with the settings as instants of wall time, so daylight saving and time zones are data that were settled
//! outside. `Clock` inputs tie wall time to the router's. A day never begins twice: a wall clock that is set back
//! lengthens the running day and gives no quota back.

use serde::{Deserialize, Serialize};

use super::time::{Duration, Timestamp, WallTime};

/// How long a day lasts when no reset is known.
const DAY: Duration = Duration::from_secs(86_400);

/// Counts quota days.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Calendar {
    resets: Vec<WallTime>,
    /// What the wall clock said, and when.
    clock: Option<(WallTime, Timestamp)>,
    /// The reset that began the running day.
    began: Option<WallTime>,
    day: u32,
    ends: Timestamp,
}

impl Calendar {
    /// The running day's number.
    pub(super) fn day(&self) -> u32 {
        self.day
    }

    /// When the running day ends.
    pub(super) fn ends(&self) -> Timestamp {
        self.ends
    }

    /// Takes the resets of new settings.
    pub(super) fn configure(&mut self, now: Timestamp, resets: &[WallTime]) {
        self.resets.clear();
        self.resets.extend_from_slice(resets);
        self.place(now);
    }

    /// The wall clock says `wall` at `now`.
    pub(super) fn set_clock(&mut self, now: Timestamp, wall: WallTime) {
        self.clock = Some((wall, now));
        // The first clock only says which day it is; what was reset before we began is over.
        if self.began.is_none() {
            self.began = Some(self.resets.iter().copied().filter(|reset| *reset <= wall).max().unwrap_or(wall));
        }
        self.place(now);
    }

    /// Begins a new day when the running one is over.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while now >= self.ends {
            self.day += 1;
            self.began = self.clock.map(|(wall, at)| wall + self.ends.since(at));
            let ended = self.ends;
            self.place(ended);
        }
    }

    /// Puts the end of the running day on the router's time; without a clock or a coming reset a day lasts 24 hours.
    fn place(&mut self, now: Timestamp) {
        let coming = self.clock.zip(self.began).and_then(|((wall, at), began)| {
            let reset = self.resets.iter().copied().filter(|reset| *reset > began).min()?;
            // A reset that a jump of the wall clock went past is due at once.
            Some(if reset <= wall { at } else { at + reset.since(wall) })
        });
        self.ends = match coming {
            Some(ends) => ends,
            None if self.ends > now && self.ends < Timestamp::MAX => self.ends,
            None => now + DAY,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    fn wall(secs: u64) -> WallTime {
        WallTime::from_nanos(secs * 1_000_000_000)
    }

    /// A 23-hour day between two ordinary ones, as in a night when clocks go forward.
    fn calendar() -> Calendar {
        let mut calendar = Calendar::default();
        calendar.configure(at(0), &[wall(24 * HOUR), wall(47 * HOUR), wall(71 * HOUR)]);
        calendar.set_clock(at(0), wall(22 * HOUR));
        calendar
    }

    #[test]
    fn days_end_where_the_settings_say() {
        let mut calendar = calendar();
        let ends: Vec<u64> = (0..4)
            .map(|_| {
                let ends = calendar.ends();
                calendar.advance(ends);
                ends.as_nanos() / 1_000_000_000 / HOUR
            })
            .collect();
        assert_eq!(ends, [2, 25, 49, 73], "and the day after the last known reset lasts 24 hours");
        assert_eq!(calendar.day(), 4);
    }

    #[test]
    fn drift_moves_the_end_and_never_begins_a_day_twice() {
        let mut calendar = calendar();
        calendar.set_clock(at(HOUR), wall(22 * HOUR + HOUR / 2));
        assert_eq!(calendar.ends(), at(2 * HOUR + HOUR / 2));
        calendar.advance(at(2 * HOUR + HOUR / 2));
        assert_eq!(calendar.day(), 1);
        calendar.set_clock(at(3 * HOUR), wall(23 * HOUR));
        calendar.advance(at(3 * HOUR));
        assert_eq!((calendar.day(), calendar.ends()), (1, at(27 * HOUR)), "set back past midnight: the day goes on");
        calendar.set_clock(at(4 * HOUR), wall(80 * HOUR));
        calendar.advance(at(4 * HOUR));
        assert_eq!(calendar.day(), 2, "a jump over two resets begins one day");
    }

    #[test]
    fn without_a_clock_a_day_lasts_24_hours() {
        let mut calendar = Calendar::default();
        calendar.configure(at(10), &[wall(24 * HOUR)]);
        assert_eq!(calendar.ends(), at(10 + 24 * HOUR));
        calendar.advance(at(10 + 49 * HOUR));
        assert_eq!((calendar.day(), calendar.ends()), (2, at(10 + 72 * HOUR)));
    }
}
