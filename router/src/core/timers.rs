//! Moments to come. Most of one kind are armed in the order in which they fire (every request of a model has the same
//! deadline length), so a queue holds those that come in order and a heap only the others.
//!
//! Nothing is ever disarmed: whoever takes a timer out asks whether its subject still cares.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// Timers of one kind; `T` says whose.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "T: Serialize + Ord", deserialize = "T: Deserialize<'de> + Ord"))]
pub(super) struct Timers<T> {
    /// None fires before.
    #[serde(skip)]
    quiet_until: Timestamp,
    in_order: VecDeque<(Timestamp, T)>,
    others: BinaryHeap<Reverse<(Timestamp, T)>>,
}

impl<T: Copy + Ord> Timers<T> {
    /// Arms one.
    pub(super) fn arm(&mut self, at: Timestamp, whose: T) {
        self.quiet_until = self.quiet_until.min(at);
        match self.in_order.back() {
            Some(last) if at < last.0 || (at == last.0 && whose < last.1) => self.others.push(Reverse((at, whose))),
            Some(_) | None => self.in_order.push_back((at, whose)),
        }
    }

    /// The next one to fire.
    pub(super) fn peek(&self) -> Option<(Timestamp, T)> {
        match (self.in_order.front(), self.others.peek()) {
            (Some(&front), Some(&Reverse(top))) => Some(front.min(top)),
            (Some(&front), None) => Some(front),
            (None, Some(&Reverse(top))) => Some(top),
            (None, None) => None,
        }
    }

    /// None fires before, whether anybody still cares or not.
    pub(super) fn quiet_until(&self) -> Timestamp {
        self.quiet_until
    }

    /// Takes out the next one, if it fires at or before `now`.
    #[inline]
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, T)> {
        if now < self.quiet_until { None } else { self.pop_next(now) }
    }

    fn pop_next(&mut self, now: Timestamp) -> Option<(Timestamp, T)> {
        let due = self.peek().filter(|(at, _)| *at <= now);
        if let Some(due) = due {
            self.pop(due);
        }
        self.quiet_until = self.peek().map_or(Timestamp::MAX, |(at, _)| at);
        due
    }

    /// When the next one fires that somebody still cares about; drops those before it that nobody does.
    pub(super) fn next(&mut self, mut cares: impl FnMut(T) -> bool) -> Option<Timestamp> {
        while let Some(next) = self.peek() {
            if cares(next.1) {
                self.quiet_until = next.0;
                return Some(next.0);
            }
            self.pop(next);
        }
        self.quiet_until = Timestamp::MAX;
        None
    }

    fn pop(&mut self, next: (Timestamp, T)) {
        if self.in_order.front() == Some(&next) {
            self.in_order.pop_front();
        } else {
            self.others.pop();
        }
    }
}

impl<T: Ord> Default for Timers<T> {
    fn default() -> Self {
        Self { quiet_until: Timestamp::ZERO, in_order: VecDeque::new(), others: BinaryHeap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_whatever_order_they_are_armed_in() {
        let mut timers = Timers::default();
        for (at, whose) in [(5, 1), (9, 2), (3, 3), (9, 0), (4, 4)] {
            timers.arm(Timestamp::from_nanos(at), whose);
        }
        let now = Timestamp::from_nanos(9);
        let fired: Vec<i32> = std::iter::from_fn(|| timers.pop_due(now)).map(|(_, whose)| whose).collect();
        assert_eq!(fired, [3, 4, 1, 0, 2]);
    }

    #[test]
    fn the_next_one_is_the_next_that_somebody_cares_about() {
        let mut timers = Timers::default();
        timers.arm(Timestamp::from_nanos(1), 1);
        timers.arm(Timestamp::from_nanos(2), 2);
        assert_eq!(timers.pop_due(Timestamp::ZERO), None);
        assert_eq!(timers.next(|whose| whose == 2), Some(Timestamp::from_nanos(2)));
        assert_eq!(timers.next(|_| false), None);
    }
}
