//! What will happen next. Two queues with one order: a calendar, which runs are made with, and a plain heap that shows
//! what its order must be.
//!
//! The order is total: by time, then by the events' own words, which callers make unique.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use stormproof_router::core::Timestamp;

use super::quadruple;

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

/// A calendar: a ring of slices of time, and a heap for what lies beyond the ring. A slice is a list in no order until
/// its time comes; so an event is pushed without a comparison, and sorted with the few that are its neighbours.
#[derive(Clone, Debug)]
pub struct Calendar<E> {
    /// What is left of the current slice, and whatever else was pushed for before its end; latest first.
    due: Vec<Entry<E>>,
    current: u64,
    /// The first event of each slice after the current one, by the slice's number modulo [`SLICES`]; [`NONE`] if empty.
    slices: Box<[u32; SLICES as usize]>,
    /// A bit for each of them that holds an event, by which the next one is found.
    filled: [u64; WORDS],
    /// The events in these lists, and vacant places.
    nodes: Vec<Node<E>>,
    /// The first vacant place.
    vacant: u32,
    /// Events in the lists.
    near: usize,
    far: BinaryHeap<Reverse<Entry<E>>>,
}

/// An event in the list of its slice.
#[derive(Clone, Copy, Debug)]
struct Node<E> {
    entry: Entry<E>,
    next: u32,
}

/// The end of a list.
const NONE: u32 = u32::MAX;

/// Slices in the ring: together 137 s, longer than nearly every call.
const SLICES: u64 = 1 << 12;

/// Words with a bit for each slice.
const WORDS: usize = (SLICES / 64) as usize;

/// A slice is 2^25 ns, about 34 ms: a few events with ten thousand calls in flight.
const SLICE_BITS: u32 = 25;

fn slice_of(at: Timestamp) -> u64 {
    at.as_nanos() >> SLICE_BITS
}

/// Which word of [`Calendar::filled`] a slice has a bit in.
fn word_of(slice: u64) -> usize {
    (slice % SLICES / 64) as usize
}

impl<E: Copy + Into<u64>> Default for Calendar<E> {
    fn default() -> Self {
        Self {
            due: Vec::new(),
            current: 0,
            slices: Box::new([NONE; SLICES as usize]),
            filled: [0; WORDS],
            nodes: Vec::new(),
            vacant: NONE,
            near: 0,
            far: BinaryHeap::new(),
        }
    }
}

impl<E: Copy + Into<u64>> Calendar<E> {
    /// Puts an event into the list of its slice.
    fn put(&mut self, slice: u64, entry: Entry<E>) {
        if self.vacant == NONE {
            self.grow(entry);
        }
        let Some(place) = self.nodes.get_mut(self.vacant as usize) else { return };
        let first = &mut self.slices[(slice % SLICES) as usize];
        (*first, self.vacant, *place) = (self.vacant, place.next, Node { entry, next: *first });
        self.filled[word_of(slice)] |= 1 << (slice % 64);
        self.near += 1;
    }

    /// One vacant place more.
    #[cold]
    fn grow(&mut self, entry: Entry<E>) {
        self.vacant = self.nodes.len() as u32;
        quadruple(&mut self.nodes);
        self.nodes.push(Node { entry, next: NONE });
    }

    /// Moves on to the next slice that holds an event, if there is any.
    fn advance(&mut self) {
        if self.near > 0 {
            self.current = self.next_filled();
        }
        if !self.far.is_empty() {
            self.draw_near();
        }
        if self.near > 0 {
            self.empty();
        }
        if self.due.len() > 1 {
            self.sort();
        }
    }

    /// Moves the events that the ring reaches by now into it; with an empty ring, on to the first of them.
    #[cold]
    fn draw_near(&mut self) {
        while let Some(&Reverse(entry)) = self.far.peek() {
            let slice = slice_of(entry.at);
            if self.near == 0 {
                self.current = slice;
            }
            if slice >= self.current + SLICES {
                return;
            }
            self.far.pop();
            self.put(slice, entry);
        }
    }

    #[inline(never)]
    fn sort(&mut self) {
        self.due.sort_unstable_by(|one, other| other.cmp(one));
    }

    /// The next slice after the current one that holds an event; there is one.
    fn next_filled(&self) -> u64 {
        let after = self.current + 1;
        let mut word = self.filled[word_of(after)] & u64::MAX << (after % 64);
        let mut begin = after - after % 64;
        while word == 0 {
            begin += 64;
            word = self.filled[word_of(begin)];
        }
        begin + u64::from(word.trailing_zeros())
    }

    /// An event of the current slice, or from before its end, or beyond the ring.
    #[cold]
    fn push_elsewhere(&mut self, entry: Entry<E>) {
        if slice_of(entry.at) > self.current {
            self.far.push(Reverse(entry));
        } else {
            let place = self.due.partition_point(|other| *other > entry);
            self.due.insert(place, entry);
        }
    }

    /// Takes all events out of the current slice's list, whose places become vacant.
    fn empty(&mut self) {
        let slice = self.current;
        let first = std::mem::replace(&mut self.slices[(slice % SLICES) as usize], NONE);
        self.filled[word_of(slice)] &= !(1 << (slice % 64));
        let mut next = first;
        while let Some(node) = self.nodes.get_mut(next as usize) {
            self.due.push(node.entry);
            next = node.next;
            if next == NONE {
                node.next = self.vacant;
                self.vacant = first;
            }
        }
        self.near -= self.due.len();
    }
}

impl<E: Copy + Into<u64>> Queue<E> for Calendar<E> {
    fn push(&mut self, at: Timestamp, event: E) {
        let entry = Entry { at, event };
        let slice = slice_of(at);
        if slice.wrapping_sub(self.current + 1) < SLICES - 1 {
            self.put(slice, entry);
        } else {
            self.push_elsewhere(entry);
        }
    }

    #[inline]
    fn next_at(&mut self) -> Timestamp {
        if self.due.is_empty() {
            self.advance();
        }
        self.due.last().map_or(Timestamp::MAX, |entry| entry.at)
    }

    #[inline]
    fn pop(&mut self) -> Option<(Timestamp, E)> {
        if self.due.is_empty() {
            self.advance();
        }
        self.due.pop().map(|entry| (entry.at, entry.event))
    }

    #[inline]
    fn peek(&self) -> Option<E> {
        self.due.last().map(|entry| entry.event)
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
