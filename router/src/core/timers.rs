//! Moments to come. Most of one kind are armed in the order in which they fire (every request of a model has the same
//! deadline length), so a queue holds those that come in order and a heap only the others.
//!
//! Nothing is disarmed singly: whoever takes a timer out asks whether its subject still cares.

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
    /// When the last of those in order fires; any later time comes after it.
    last: Timestamp,
    in_order: VecDeque<(Timestamp, T)>,
    others: BinaryHeap<Reverse<(Timestamp, T)>>,
}

impl<T: Copy + Ord> Timers<T> {
    /// Arms one.
    #[inline]
    pub(super) fn arm(&mut self, at: Timestamp, whose: T) {
        self.quiet_until = self.quiet_until.min(at);
        if at > self.last {
            self.last = at;
            self.in_order.push_back((at, whose));
        } else {
            self.arm_early(at, whose);
        }
    }

    /// Arms one that does not fire after all those in order, unless these are gone.
    #[inline(never)]
    fn arm_early(&mut self, at: Timestamp, whose: T) {
        match self.in_order.back() {
            Some(last) if (at, whose) < *last => self.others.push(Reverse((at, whose))),
            Some(_) | None => {
                self.last = at;
                self.in_order.push_back((at, whose));
            }
        }
    }

    /// The next one to fire, and whether it is the first of those in order.
    #[inline]
    fn first(&self) -> Option<((Timestamp, T), bool)> {
        match (self.in_order.front(), self.others.peek()) {
            (Some(&front), None) => Some((front, true)),
            (Some(&front), Some(&Reverse(top))) if front <= top => Some((front, true)),
            (Some(_) | None, Some(&Reverse(top))) => Some((top, false)),
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
        if now < self.quiet_until {
            return None;
        }
        if !self.others.is_empty() {
            return self.pop_due_of_all(now);
        }
        let due = self.in_order.pop_front_if(|(at, _)| *at <= now);
        self.quiet_until = self.in_order.front().map_or(Timestamp::MAX, |(at, _)| *at);
        due
    }

    #[inline(never)]
    fn pop_due_of_all(&mut self, now: Timestamp) -> Option<(Timestamp, T)> {
        let due = self.first().filter(|((at, _), _)| *at <= now);
        if let Some((_, in_order)) = due {
            self.pop(in_order);
        }
        self.quiet_until = self.first().map_or(Timestamp::MAX, |((at, _), _)| at);
        due.map(|(due, _)| due)
    }

    /// When the next one fires that somebody still cares about; drops those before it that nobody does.
    pub(super) fn next(&mut self, mut cares: impl FnMut(T) -> bool) -> Option<Timestamp> {
        while let Some(((at, whose), in_order)) = self.first() {
            if cares(whose) {
                self.quiet_until = at;
                return Some(at);
            }
            self.pop(in_order);
        }
        self.quiet_until = Timestamp::MAX;
        None
    }

    /// How many are armed, whether anybody still cares or not.
    pub(super) fn len(&self) -> usize {
        self.in_order.len() + self.others.len()
    }

    /// Drops all that nobody cares about any more.
    pub(super) fn retain(&mut self, mut cares: impl FnMut(T) -> bool) {
        self.in_order.retain(|(_, whose)| cares(*whose));
        self.others.retain(|Reverse((_, whose))| cares(*whose));
    }

    fn pop(&mut self, in_order: bool) {
        if in_order {
            self.in_order.pop_front();
        } else {
            self.others.pop();
        }
    }
}

impl<T: Ord> Default for Timers<T> {
    fn default() -> Self {
        Self {
            quiet_until: Timestamp::ZERO,
            last: Timestamp::ZERO,
            in_order: VecDeque::new(),
            others: BinaryHeap::new(),
        }
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
        timers.arm(Timestamp::from_nanos(1), 3);
        timers.retain(|whose| whose == 3);
        assert_eq!((timers.len(), timers.next(|_| true)), (1, Some(Timestamp::from_nanos(1))));
        assert_eq!(timers.next(|_| false), None);
    }
}
