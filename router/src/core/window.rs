//! An exact sliding window: a log of what was sent, from which the oldest entries fall out.
//!
//! A provider that counts the last 60 s admits a call exactly when fewer than its limit lie inside. Keeping the send
//! times gives that answer exactly; a leaky bucket of the same rate would either waste part of the limit or burst over
//! it. An entry's place never moves, so the attempt that made it can settle or void it later by its sequence number.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::time::{Duration, Timestamp};

/// What was sent of late.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Window {
    sends: VecDeque<Send>,
    /// Sequence number of the front entry.
    first: u32,
    /// When the front entry was sent: most of the time it stays, and the log need not be looked at.
    oldest: Timestamp,
    /// Without failed calls, and with them.
    charged: Tally,
    all: Tally,
}

/// Requests and tokens inside a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    /// How many requests.
    pub(super) requests: u32,
    /// Their tokens.
    pub(super) tokens: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Send {
    at: Timestamp,
    tokens: u32,
    charge: Charge,
}

/// Whether an entry counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Charge {
    /// It counts.
    Charged,
    /// It failed, and may or may not count at the provider.
    Errored,
    /// It does not count.
    Void,
}

impl Window {
    /// Drops what is older than `length`.
    #[inline]
    pub(super) fn expire(&mut self, now: Timestamp, length: Duration) {
        while self.oldest + length <= now && !self.sends.is_empty() {
            self.drop_oldest();
        }
    }

    #[inline(never)]
    fn drop_oldest(&mut self) {
        let Some(send) = self.sends.pop_front() else { return };
        self.count(send, false);
        self.first = self.first.wrapping_add(1);
        if let Some(next) = self.sends.front() {
            self.oldest = next.at;
        }
    }

    /// When each entry drops out, oldest first.
    pub(super) fn leaving(&self, length: Duration) -> impl Iterator<Item = Timestamp> {
        self.sends.iter().map(move |send| send.at + length)
    }

    /// Logs a send; gives its sequence number.
    pub(super) fn push(&mut self, now: Timestamp, tokens: u32) -> u32 {
        let send = Send { at: now, tokens, charge: Charge::Charged };
        if self.sends.is_empty() {
            self.oldest = now;
        }
        self.count(send, true);
        self.sends.push_back(send);
        self.first.wrapping_add(self.sends.len() as u32 - 1)
    }

    /// Puts an entry right once its end is known, and says whether that changed anything; one that has left the window
    /// needs no settling.
    pub(super) fn settle(&mut self, sequence: u32, tokens: u32, charge: Charge) -> bool {
        // Of one that has left it is far beyond the last.
        let Some(send) = self.sends.get_mut(sequence.wrapping_sub(self.first) as usize) else { return false };
        let settled = Send { at: send.at, tokens, charge };
        let before = std::mem::replace(send, settled);
        if settled == before {
            return false;
        }
        self.count(before, false);
        self.count(settled, true);
        true
    }

    /// What is inside, with or without failed calls.
    #[inline]
    pub(super) fn used(&self, count_errors: bool) -> Tally {
        if count_errors { self.all } else { self.charged }
    }

    /// When enough has fallen out that at most `requests` and `tokens` are left inside. The window is taken as it is,
    /// without sends to come; [`Timestamp::ZERO`] when that is so already.
    pub(super) fn room_at(&self, requests: u32, tokens: u64, count_errors: bool, length: Duration) -> Timestamp {
        let mut left = self.used(count_errors);
        let mut at = Timestamp::ZERO;
        for send in &self.sends {
            if left.requests <= requests && left.tokens <= tokens {
                break;
            }
            if send.charge == Charge::Charged || (send.charge == Charge::Errored && count_errors) {
                left.requests -= 1;
                left.tokens -= u64::from(send.tokens);
                at = send.at + length;
            }
        }
        at
    }

    #[inline]
    fn count(&mut self, send: Send, enters: bool) {
        match send.charge {
            Charge::Charged => {
                self.charged.count(send.tokens, enters);
                self.all.count(send.tokens, enters);
            }
            Charge::Errored => self.all.count(send.tokens, enters),
            Charge::Void => {}
        }
    }
}

impl Tally {
    #[inline]
    fn count(&mut self, tokens: u32, enters: bool) {
        if enters {
            self.requests += 1;
            self.tokens += u64::from(tokens);
        } else {
            self.requests -= 1;
            self.tokens -= u64::from(tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn an_entry_counts_for_exactly_one_window() {
        let mut window = Window::default();
        window.push(at(0), 100);
        window.push(at(10), 100);
        assert_eq!(window.room_at(1, u64::MAX, true, MINUTE), at(60));
        assert_eq!(window.room_at(0, u64::MAX, true, MINUTE), at(70));
        assert_eq!(window.room_at(5, 150, true, MINUTE), at(60), "tokens bind as well");
        window.expire(at(60) - Duration::from_nanos(1), MINUTE);
        assert_eq!(window.used(true).requests, 2);
        window.expire(at(60), MINUTE);
        assert_eq!(window.used(true), Tally { requests: 1, tokens: 100 });
        assert_eq!(window.room_at(1, u64::MAX, true, MINUTE), Timestamp::ZERO);
    }

    #[test]
    fn settling_follows_the_entry_and_ignores_what_has_left() {
        let mut window = Window::default();
        let first = window.push(at(0), 100);
        let second = window.push(at(30), 100);
        let third = window.push(at(40), 100);
        window.settle(second, 40, Charge::Charged);
        window.settle(third, 100, Charge::Errored);
        assert_eq!(window.used(false), Tally { requests: 2, tokens: 140 });
        assert_eq!(window.used(true), Tally { requests: 3, tokens: 240 });
        window.expire(at(60), MINUTE);
        window.settle(first, 0, Charge::Void);
        window.settle(second, 0, Charge::Void);
        assert_eq!(window.used(true), Tally { requests: 1, tokens: 100 });
        assert_eq!(window.room_at(0, 0, false, MINUTE), Timestamp::ZERO, "a failed call does not count there");
    }
}
