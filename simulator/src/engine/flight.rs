//! The calls in flight: a slab, so that a slot is reused and nothing is allocated per call.
//!
//! Events name slots, and a slot is free when no event names it any more. So the slot of an abandoned call stays taken
//! until the event of the end that it would have had has come up and found it over.

use stormproof_router::core::{AttemptId, Ending, Facts, ModelId, Timestamp, Transport, Usage};

use super::quadruple;
use crate::world::Ticket;

/// One call to a provider: what every call has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) id: AttemptId,
    pub(super) from: Timestamp,
    /// What the router is told.
    pub(super) usage: Option<Usage>,
    /// Index of the request.
    pub(super) request: u32,
    /// The deployment among all that there ever were.
    pub(super) place: u32,
    /// What the client asked for.
    pub(super) model: ModelId,
    pub(super) ending: Ending,
}

/// What only calls have whose answers say something or are streamed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Aside {
    /// What the router is told.
    pub(super) facts: Option<Facts>,
    /// When the call ends, unless it is abandoned.
    pub(super) end: Timestamp,
    pub(super) ticket: Ticket,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Towards the end that was planned.
    Running,
    /// Nobody waits for it any more, and the router has yet to be told of its end.
    Abandoned,
    /// The router has been told.
    Over,
}

/// A line of cache, because a day with many calls in flight finds none of them there when it ends.
#[derive(Debug)]
#[repr(align(64))]
struct Slot {
    attempt: Attempt,
    stage: Stage,
    /// How many events name this slot.
    events: u16,
    /// Where the rest of the call is, if there is more to it than this.
    aside: Option<u32>,
    /// The next one that is free, if this one is.
    free: u32,
}

/// A slot before its first call.
const VACANT: Slot = Slot {
    attempt: Attempt {
        id: AttemptId::new(0),
        from: Timestamp::ZERO,
        usage: None,
        request: 0,
        place: 0,
        model: ModelId::new(0),
        ending: Ending::Status(0),
    },
    stage: Stage::Over,
    events: 0,
    aside: None,
    free: NONE,
};

/// No slot.
const NONE: u32 = u32::MAX;

/// All calls in flight.
#[derive(Debug)]
pub(super) struct Flight {
    slots: Vec<Slot>,
    /// The slot that was set free last.
    free: u32,
    /// The rest of those calls that are more than an attempt: most are not.
    asides: Vec<Aside>,
    free_asides: Vec<u32>,
    /// The slot that was last taken by a name with these lowest bits. Routers count their calls, or number the places
    /// where they keep them, so two in flight rarely have the same. As long as a power of two.
    hints: Vec<u32>,
    /// Calls that are not over.
    running: u32,
}

impl Default for Flight {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            asides: Vec::new(),
            free_asides: Vec::new(),
            hints: vec![0; 64],
            running: 0,
        }
    }
}

impl Flight {
    /// Takes a call on board. One event is to name the slot that it is given.
    #[inline]
    pub(super) fn insert(&mut self, attempt: Attempt) -> u32 {
        self.running += 1;
        if self.free == NONE {
            self.grow();
        }
        let slot = self.free;
        let place = &mut self.slots[slot as usize];
        self.free = place.free;
        *place = Slot { attempt, stage: Stage::Running, events: 1, aside: None, free: NONE };
        let hint = self.hint(attempt.id);
        self.hints[hint] = slot;
        slot
    }

    /// There is more to this call than its attempt.
    pub(super) fn put_aside(&mut self, slot: u32, aside: Aside) {
        let place = match self.free_asides.pop() {
            Some(place) => {
                self.asides[place as usize] = aside;
                place
            }
            None => {
                self.asides.push(aside);
                self.asides.len() as u32 - 1
            }
        };
        self.slots[slot as usize].aside = Some(place);
    }

    /// Room for one more call.
    #[cold]
    fn grow(&mut self) {
        self.free = self.slots.len() as u32;
        quadruple(&mut self.slots);
        self.slots.push(VACANT);
        if self.hints.len() < 2 * self.slots.len() {
            self.hints = vec![0; (4 * self.slots.len()).next_power_of_two()];
            for (slot, place) in (0..).zip(&self.slots) {
                let hint = self.hint(place.attempt.id);
                self.hints[hint] = slot;
            }
        }
    }

    /// Where the hint to a name is.
    fn hint(&self, id: AttemptId) -> usize {
        id.get() as usize & (self.hints.len() - 1)
    }

    /// The first byte of this call has come; unless the call is over or abandoned, one event more is to name the slot.
    pub(super) fn first_byte(&mut self, slot: u32) -> Option<(AttemptId, Timestamp)> {
        let Slot { attempt: Attempt { id, .. }, stage, aside, .. } = self.slots[slot as usize];
        let Some(aside) = aside.filter(|_| stage == Stage::Running) else {
            self.let_go(slot);
            return None;
        };
        Some((id, self.asides[aside as usize].end))
    }

    /// An end of this call has come. It is the end if the call is in the stage that waits for it: the call, and the rest
    /// of it.
    #[inline]
    pub(super) fn finish(&mut self, slot: u32, stage: Stage) -> Option<(&Attempt, Option<&Aside>)> {
        self.let_go(slot);
        let place = &mut self.slots[slot as usize];
        if place.stage != stage {
            return None;
        }
        place.stage = Stage::Over;
        self.running -= 1;
        // Even if its place was just given back: it is overwritten by the next call that has one.
        Some((&place.attempt, place.aside.map(|aside| &self.asides[aside as usize])))
    }

    /// A call will end next: with thousands in flight its line of the cache is cold, and is fetched while something else
    /// happens.
    #[inline]
    pub(super) fn expect(&self, slot: u32) {
        if let Some(slot) = self.slots.get(slot as usize) {
            std::hint::black_box(slot.events);
        }
    }

    /// An event that named this slot is gone.
    #[inline]
    fn let_go(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        place.events -= 1;
        if place.events == 0 {
            place.free = self.free;
            self.free = slot;
            if let Some(aside) = place.aside {
                self.take_back(aside);
            }
        }
    }

    /// A call that was more than an attempt is over.
    #[cold]
    fn take_back(&mut self, aside: u32) {
        self.free_asides.push(aside);
    }

    /// Nobody waits any more for the call of that name: one event more is to name its slot.
    pub(super) fn abandon(&mut self, id: AttemptId) -> Option<u32> {
        let slot = self.find(id)?;
        let place = &mut self.slots[slot as usize];
        place.events += 1;
        place.stage = Stage::Abandoned;
        (place.attempt.ending, place.attempt.usage) = (Ending::Transport(Transport::Abandoned), None);
        if let Some(aside) = place.aside {
            self.asides[aside as usize].facts = None;
        }
        Some(slot)
    }

    /// Where the call of that name is, if it is not over.
    fn find(&self, id: AttemptId) -> Option<u32> {
        let holds = |place: &Slot| place.attempt.id == id && place.stage != Stage::Over;
        let hint = self.hints.get(self.hint(id)).copied()?;
        if self.slots.get(hint as usize).is_some_and(holds) {
            return Some(hint);
        }
        self.slots.iter().position(holds).map(|slot| slot as u32)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Flight {
        fn begin(&mut self, id: u64) -> u32 {
            self.insert(Attempt { id: AttemptId::new(id), ending: Ending::Status(200), ..VACANT.attempt })
        }
    }

    #[test]
    fn an_abandoned_call_ends_once_and_keeps_its_slot_for_the_end_that_was_planned() {
        let mut flight = Flight::default();
        let slot = flight.begin(7);
        assert_eq!(flight.abandon(AttemptId::new(8)), None);
        assert_eq!(flight.abandon(AttemptId::new(7)), Some(slot));
        let (attempt, _) = flight.finish(slot, Stage::Abandoned).expect("it ends");
        assert_eq!(attempt.ending, Ending::Transport(Transport::Abandoned));
        assert!(flight.is_empty());
        assert_eq!(flight.abandon(AttemptId::new(7)), None);
        assert_ne!(flight.begin(8), slot);
        assert!(flight.finish(slot, Stage::Running).is_none(), "it has ended");
        assert_eq!(flight.begin(9), slot);
    }

    #[test]
    fn an_abandoned_call_has_no_first_byte() {
        let mut flight = Flight::default();
        let slot = flight.begin(7);
        flight.abandon(AttemptId::new(7));
        assert_eq!(flight.first_byte(slot), None);
        assert!(flight.finish(slot, Stage::Abandoned).is_some());
        assert_eq!(flight.begin(8), slot, "no event names it any more");
    }

    proptest! {
        /// Whatever the names are, and however many of them share their lowest bits.
        #[test]
        fn names_of_calls_in_flight_are_found(
            shift in 0u32..12,
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..500),
        ) {
            let (mut flight, mut live) = (Flight::default(), Vec::new());
            for (name, (begins, which)) in (0u64..).zip(steps) {
                if begins {
                    live.push((name << shift, flight.begin(name << shift)));
                } else if !live.is_empty() {
                    let (name, slot) = live.swap_remove(which.index(live.len()));
                    prop_assert!(flight.finish(slot, Stage::Running).is_some());
                    prop_assert_eq!(flight.find(AttemptId::new(name)), None);
                }
                for (name, slot) in &live {
                    prop_assert_eq!(flight.find(AttemptId::new(*name)), Some(*slot));
                }
                prop_assert_eq!(flight.is_empty(), live.is_empty());
            }
        }
    }
}
