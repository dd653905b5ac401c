//! The calls in flight: a slab, so that a slot is reused and nothing is allocated per call, and an index from the
//! router's names to slots.

use stormproof_router::core::{AttemptId, DeploymentId, Ending, Facts, Timestamp, Usage};

use crate::world::Ticket;

/// One call to a provider.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) id: AttemptId,
    /// Index of the request.
    pub(super) request: u32,
    pub(super) deployment: DeploymentId,
    /// The deployment among all that there ever were.
    pub(super) place: u32,
    pub(super) from: Timestamp,
    /// When it ends, unless it is abandoned.
    pub(super) end: Timestamp,
    pub(super) ending: Ending,
    pub(super) facts: Facts,
    /// What the router is told.
    pub(super) usage: Option<Usage>,
    /// What the provider charges.
    pub(super) billed: Option<Usage>,
    pub(super) ticket: Ticket,
}

/// A slot with the number of the call that it holds: an event for an earlier call in the same slot is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle {
    slot: u32,
    generation: u32,
}

/// All calls in flight.
#[derive(Debug, Default)]
pub(super) struct Flight {
    slots: Vec<(u32, Option<Attempt>)>,
    free: Vec<u32>,
    names: Names,
}

impl Flight {
    pub(super) fn insert(&mut self, attempt: Attempt) -> Handle {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            (self.slots.len() - 1) as u32
        });
        let slots = &self.slots;
        self.names.insert(attempt.id, slot, |name, slot| holds(&slots[slot as usize], name));
        let place = &mut self.slots[slot as usize];
        place.1 = Some(attempt);
        Handle { slot, generation: place.0 }
    }

    pub(super) fn get(&self, handle: Handle) -> Option<&Attempt> {
        let (generation, attempt) = &self.slots[handle.slot as usize];
        attempt.as_ref().filter(|_| *generation == handle.generation)
    }

    pub(super) fn remove(&mut self, handle: Handle) -> Option<Attempt> {
        let place = &mut self.slots[handle.slot as usize];
        if place.0 != handle.generation {
            return None;
        }
        let attempt = place.1.take()?;
        place.0 = place.0.wrapping_add(1);
        self.free.push(handle.slot);
        Some(attempt)
    }

    /// Changes the attempt of that name, and makes every event that was set for it stale.
    pub(super) fn rewrite(&mut self, id: AttemptId, change: impl FnOnce(&mut Attempt)) -> Option<Handle> {
        let slot = self.names.find(id)?;
        let (generation, attempt) = &mut self.slots[slot as usize];
        change(attempt.as_mut().filter(|attempt| attempt.id == id)?);
        *generation = generation.wrapping_add(1);
        Some(Handle { slot, generation: *generation })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }
}

fn holds(place: &(u32, Option<Attempt>), name: u64) -> bool {
    place.1.as_ref().is_some_and(|attempt| attempt.id.get() == name)
}

/// From the router's names to slots: open addressing. Names mostly count up, and multiplying by the golden ratio spreads
/// such names evenly. The name of a call that has ended stays until the table is half full and swept: ends are many, and
/// few calls are ever asked for by name.
#[derive(Debug)]
struct Names {
    /// `(name, slot)`; [`EMPTY`] slots are free.
    places: Vec<(u64, u32)>,
    used: usize,
}

const EMPTY: u32 = u32::MAX;

impl Default for Names {
    fn default() -> Self {
        Self { places: vec![(0, EMPTY); 256], used: 0 }
    }
}

impl Names {
    /// Adds a name that is not in use; `is_live` says which of the others still are.
    fn insert(&mut self, id: AttemptId, slot: u32, is_live: impl Fn(u64, u32) -> bool) {
        if self.used * 2 >= self.places.len() {
            self.sweep(is_live);
        }
        self.place(id.get(), slot);
    }

    fn sweep(&mut self, is_live: impl Fn(u64, u32) -> bool) {
        let mut live = std::mem::take(&mut self.places);
        let size = live.len();
        live.retain(|(name, slot)| *slot != EMPTY && is_live(*name, *slot));
        // Room for as many again and more before the next sweep.
        let size = if live.len() * 8 > size { size * 2 } else { size };
        *self = Self { places: vec![(0, EMPTY); size], used: 0 };
        for (name, slot) in live {
            self.place(name, slot);
        }
    }

    fn place(&mut self, name: u64, slot: u32) {
        let mask = self.places.len() - 1;
        let mut position = self.home(name);
        while self.places[position].1 != EMPTY {
            position = (position + 1) & mask;
        }
        self.places[position] = (name, slot);
        self.used += 1;
    }

    /// The slot that a name was last given, whether or not it still holds it.
    fn find(&self, id: AttemptId) -> Option<u32> {
        let mask = self.places.len() - 1;
        let mut position = self.home(id.get());
        while self.places[position].1 != EMPTY {
            if self.places[position].0 == id.get() {
                return Some(self.places[position].1);
            }
            position = (position + 1) & mask;
        }
        None
    }

    /// Where a name belongs.
    fn home(&self, name: u64) -> usize {
        (name.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - self.places.len().trailing_zeros())) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_of_calls_in_flight_are_found(steps in prop::collection::vec((any::<bool>(), 0u32..1000), 0..2000)) {
            let (mut names, mut live) = (Names::default(), BTreeMap::new());
            for (name, (begins, slot)) in steps.into_iter().enumerate() {
                if begins {
                    names.insert(AttemptId::new(name as u64), slot, |name, _| live.contains_key(&name));
                    live.insert(name as u64, slot);
                } else {
                    live.pop_first();
                }
                prop_assert!(names.used * 2 <= names.places.len());
                for (name, slot) in &live {
                    prop_assert_eq!(names.find(AttemptId::new(*name)), Some(*slot));
                }
            }
        }
    }
}
