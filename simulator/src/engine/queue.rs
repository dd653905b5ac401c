//! What will happen next. Two queues with one order, because none is fastest everywhere: a heap for days with few calls
//! in flight, buckets of time for many thousands.
//!
//! The order is total: by time, then by the events' own words, which callers make unique.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use stormproof_router::core::Timestamp;

/// A priority queue over (time, event).
pub trait Queue<E>: Default {
    /// Adds an event. Its time must not be before that of the last popped one.
    fn push(&mut self, at: Timestamp, event: E);

    /// The time of the next event; [`Timestamp::MAX`] when there is none.
    fn next_at(&mut self) -> Timestamp;

    /// Removes the next event.
    fn pop(&mut self) -> Option<(Timestamp, E)>;

    /// The next event, if it is at hand.
    fn peek(&self) -> Option<E>;
}

/// An event with its time.
#[derive(Clone, Copy, Debug)]
struct Entry<E> {
    at: Timestamp,
    event: E,
}

impl<E: Copy + Into<u64>> Entry<E> {
    /// Both parts of the order in one number, which needs no branch to compare.
    fn order(&self) -> u128 {
        u128::from(self.at.as_nanos()) << 64 | u128::from(self.event.into())
    }
}

impl<E: Copy + Into<u64>> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl<E: Copy + Into<u64>> Eq for Entry<E> {}

impl<E: Copy + Into<u64>> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E: Copy + Into<u64>> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

/// A binary heap.
#[derive(Clone, Debug)]
pub struct Heap<E>(BinaryHeap<Reverse<Entry<E>>>);

impl<E: Copy + Into<u64>> Default for Heap<E> {
    fn default() -> Self {
        Self(BinaryHeap::with_capacity(256))
    }
}

impl<E: Copy + Into<u64>> Queue<E> for Heap<E> {
    fn push(&mut self, at: Timestamp, event: E) {
        self.0.push(Reverse(Entry { at, event }));
    }

    fn next_at(&mut self) -> Timestamp {
        self.0.peek().map_or(Timestamp::MAX, |Reverse(entry)| entry.at)
    }

    fn pop(&mut self) -> Option<(Timestamp, E)> {
        self.0.pop().map(|Reverse(entry)| (entry.at, entry.event))
    }

    fn peek(&self) -> Option<E> {
        self.0.peek().map(|Reverse(entry)| entry.event)
    }
}

/// A calendar: a ring of buckets, each for a slice of time, and a heap for what lies beyond the ring. Only the bucket
/// that is being emptied is kept sorted, so most events are pushed without a comparison.
#[derive(Clone, Debug)]
pub struct Calendar<E> {
    /// Slice number modulo [`SLICES`]; the current slice's bucket is sorted, latest first.
    ring: Vec<Vec<Entry<E>>>,
    /// The slice that is being emptied, and into whose bucket earlier pushes go too.
    current: u64,
    /// Events in the ring.
    near: usize,
    far: BinaryHeap<Reverse<Entry<E>>>,
}

/// Slices in the ring: together 137 s, longer than nearly every call.
const SLICES: u64 = 1 << 13;

/// A slice is 2^24 ns, about 17 ms: a few events at the loads for which this queue is made.
const SLICE_BITS: u32 = 24;

impl<E: Copy + Into<u64>> Default for Calendar<E> {
    fn default() -> Self {
        Self { ring: (0..SLICES).map(|_| Vec::new()).collect(), current: 0, near: 0, far: BinaryHeap::new() }
    }
}

impl<E: Copy + Into<u64>> Calendar<E> {
    fn bucket(&mut self, slice: u64) -> &mut Vec<Entry<E>> {
        &mut self.ring[(slice & (SLICES - 1)) as usize]
    }

    /// Moves on to the next slice that holds an event. False when there is none.
    fn advance(&mut self) -> bool {
        loop {
            if !self.bucket(self.current).is_empty() {
                return true;
            }
            let Some(next) = self.next_slice() else { return false };
            self.current = next;
            while let Some(Reverse(entry)) = self.far.peek()
                && slice_of(entry.at) < next + SLICES
            {
                if let Some(Reverse(entry)) = self.far.pop() {
                    let slice = slice_of(entry.at);
                    self.bucket(slice).push(entry);
                    self.near += 1;
                }
            }
            self.bucket(next).sort_unstable_by(|a, b| b.cmp(a));
        }
    }

    /// The next slice to look at: one on in the ring, or with an empty ring the first one beyond it.
    fn next_slice(&self) -> Option<u64> {
        if self.near > 0 { Some(self.current + 1) } else { self.far.peek().map(|Reverse(entry)| slice_of(entry.at)) }
    }
}

fn slice_of(at: Timestamp) -> u64 {
    at.as_nanos() >> SLICE_BITS
}

impl<E: Copy + Into<u64>> Queue<E> for Calendar<E> {
    fn push(&mut self, at: Timestamp, event: E) {
        let entry = Entry { at, event };
        let slice = slice_of(at).max(self.current);
        if slice >= self.current + SLICES {
            self.far.push(Reverse(entry));
            return;
        }
        self.near += 1;
        if slice > self.current {
            self.bucket(slice).push(entry);
        } else {
            let bucket = self.bucket(slice);
            let place = bucket.partition_point(|other| *other > entry);
            bucket.insert(place, entry);
        }
    }

    fn next_at(&mut self) -> Timestamp {
        if !self.advance() {
            return Timestamp::MAX;
        }
        let current = self.current;
        self.bucket(current).last().map_or(Timestamp::MAX, |entry| entry.at)
    }

    fn pop(&mut self) -> Option<(Timestamp, E)> {
        if !self.advance() {
            return None;
        }
        let current = self.current;
        let entry = self.bucket(current).pop()?;
        self.near -= 1;
        Some((entry.at, entry.event))
    }

    fn peek(&self) -> Option<E> {
        self.ring[(self.current & (SLICES - 1)) as usize].last().map(|entry| entry.event)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pushes and pops in any mixture; times are gaps from the last popped event, from none to far beyond the ring.
    fn popped<Q: Queue<u32>>(steps: &[Option<u64>]) -> Vec<(Timestamp, u32)> {
        let (mut queue, mut now, mut out) = (Q::default(), Timestamp::ZERO, Vec::new());
        let mut pop = |queue: &mut Q, now: &mut Timestamp| {
            let next = queue.next_at();
            if let Some((at, event)) = queue.pop() {
                assert_eq!(next, at);
                *now = at;
                out.push((at, event));
            } else {
                assert_eq!(next, Timestamp::MAX);
            }
        };
        for (rank, step) in steps.iter().enumerate() {
            match step {
                Some(gap) => {
                    let at = Timestamp::from_nanos(now.as_nanos() + gap);
                    queue.push(at, rank as u32);
                }
                None => pop(&mut queue, &mut now),
            }
        }
        for _ in steps {
            pop(&mut queue, &mut now);
        }
        out
    }

    fn gap() -> impl Strategy<Value = u64> {
        let slice = 1u64 << SLICE_BITS;
        prop_oneof![
            Just(0),
            1..slice,
            slice..SLICES * slice,
            SLICES * slice - 2..SLICES * slice + 2,
            SLICES * slice..4 * SLICES * slice
        ]
    }

    proptest! {
        #[test]
        fn both_queues_have_the_same_order(steps in prop::collection::vec(prop::option::weighted(0.6, gap()), 0..300)) {
            let heap = popped::<Heap<u32>>(&steps);
            prop_assert_eq!(&heap, &popped::<Calendar<u32>>(&steps));
            prop_assert_eq!(heap.len(), steps.iter().flatten().count());
            prop_assert!(heap.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        }
    }
}
