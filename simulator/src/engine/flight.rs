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
        self.names.insert(attempt.id, slot);
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
        self.names.remove(attempt.id);
        Some(attempt)
    }

    /// Changes the attempt of that name, and makes every event that was set for it stale.
    pub(super) fn rewrite(&mut self, id: AttemptId, change: impl FnOnce(&mut Attempt)) -> Option<Handle> {
        let slot = self.names.find(id)?;
        let (generation, attempt) = &mut self.slots[slot as usize];
        change(attempt.as_mut()?);
        *generation = generation.wrapping_add(1);
        Some(Handle { slot, generation: *generation })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }
}

/// From the router's names to slots: open addressing. Names mostly count up, and multiplying by the golden ratio spreads
/// such names evenly; their low bits alone would fill one long stretch, which every removal would have to walk.
#[derive(Debug)]
struct Names {
    /// `(name, slot)`; [`EMPTY`] slots are free.
    places: Vec<(u64, u32)>,
    used: usize,
}

const EMPTY: u32 = u32::MAX;

impl Default for Names {
    fn default() -> Self {
        Self { places: vec![(0, EMPTY); 64], used: 0 }
    }
}

impl Names {
    fn insert(&mut self, id: AttemptId, slot: u32) {
        if self.used * 2 >= self.places.len() {
            let doubled = vec![(0, EMPTY); self.places.len() * 2];
            let before = std::mem::replace(&mut self.places, doubled);
            for (name, slot) in before.into_iter().filter(|(_, slot)| *slot != EMPTY) {
                self.place(name, slot);
            }
        }
        self.place(id.get(), slot);
        self.used += 1;
    }

    fn find(&self, id: AttemptId) -> Option<u32> {
        self.position(id).map(|position| self.places[position].1)
    }

    fn remove(&mut self, id: AttemptId) {
        let Some(mut hole) = self.position(id) else { return };
        self.used -= 1;
        // Move back whatever had to step over the hole.
        let mask = self.places.len() - 1;
        let mut next = (hole + 1) & mask;
        while self.places[next].1 != EMPTY {
            let home = self.home(self.places[next].0);
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.places[hole] = self.places[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.places[hole].1 = EMPTY;
    }

    /// Where a name belongs.
    fn home(&self, name: u64) -> usize {
        (name.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - self.places.len().trailing_zeros())) as usize
    }

    fn place(&mut self, name: u64, slot: u32) {
        let mask = self.places.len() - 1;
        let mut position = self.home(name);
        while self.places[position].1 != EMPTY {
            position = (position + 1) & mask;
        }
        self.places[position] = (name, slot);
    }

    fn position(&self, id: AttemptId) -> Option<usize> {
        let mask = self.places.len() - 1;
        let mut position = self.home(id.get());
        while self.places[position].1 != EMPTY {
            if self.places[position].0 == id.get() {
                return Some(position);
            }
            position = (position + 1) & mask;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_are_a_map(steps in prop::collection::vec((any::<bool>(), 0u64..200, 0u32..1000), 0..500)) {
            let (mut names, mut model) = (Names::default(), BTreeMap::new());
            for (insert, name, slot) in steps {
                let id = AttemptId::new(name);
                if insert && !model.contains_key(&name) {
                    names.insert(id, slot);
                    model.insert(name, slot);
                } else if !insert {
                    names.remove(id);
                    model.remove(&name);
                }
                prop_assert_eq!(names.used, model.len());
                for probe in 0..200 {
                    prop_assert_eq!(names.find(AttemptId::new(probe)), model.get(&probe).copied());
                }
            }
        }
    }
}
