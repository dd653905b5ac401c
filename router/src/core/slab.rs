//! Dense storage with names that are never given twice.
//!
//! A [`Handle`] is a slot and the slot's generation. A slot is reused as soon as it is free, so memory stays dense; the
//! generation grows each time, so a late or duplicate completion finds nothing instead of somebody else's attempt.

use serde::{Deserialize, Serialize};

/// A name for one stored value, unique for the life of its slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Handle {
    slot: u32,
    generation: u32,
}

/// Values by [`Handle`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl Handle {
    /// Both halves in one number, as an id for the world outside.
    pub(super) fn pack(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The handle that [`Handle::pack`] made this number from.
    pub(super) fn unpack(packed: u64) -> Self {
        Self { slot: packed as u32, generation: (packed >> 32) as u32 }
    }
}

impl<T> Slab<T> {
    /// How many values are stored.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Stores a value.
    pub(super) fn insert(&mut self, value: T) -> Handle {
        if let Some(slot) = self.free.pop() {
            let entry = &mut self.entries[slot as usize];
            entry.value = Some(value);
            return Handle { slot, generation: entry.generation };
        }
        let slot = self.entries.len() as u32;
        // Generations start at 1, so that no packed handle is 0.
        self.entries.push(Entry { generation: 1, value: Some(value) });
        Handle { slot, generation: 1 }
    }

    /// The value, if it is still there.
    pub(super) fn get(&self, handle: Handle) -> Option<&T> {
        let entry = self.entries.get(handle.slot as usize)?;
        if entry.generation == handle.generation { entry.value.as_ref() } else { None }
    }

    /// The value to change, if it is still there.
    pub(super) fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let entry = self.entries.get_mut(handle.slot as usize)?;
        if entry.generation == handle.generation { entry.value.as_mut() } else { None }
    }

    /// Takes the value out; its handle is dead from here on.
    pub(super) fn remove(&mut self, handle: Handle) -> Option<T> {
        let entry = self.entries.get_mut(handle.slot as usize)?;
        if entry.generation != handle.generation {
            return None;
        }
        let value = entry.value.take()?;
        self.free(handle.slot);
        Some(value)
    }

    /// Drops the value, if it is still there; its handle is dead from here on.
    pub(super) fn discard(&mut self, handle: Handle) {
        if self.get(handle).is_some() {
            self.entries[handle.slot as usize].value = None;
            self.free(handle.slot);
        }
    }

    /// Gives a slot that has just been emptied to whoever comes next.
    fn free(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        entry.generation += 1;
        // A slot that has used up its generations stays empty for ever, for ids must not come back.
        if entry.generation < u32::MAX {
            self.free.push(slot);
        }
    }

    /// All values, in the order of their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        self.entries.iter().enumerate().filter_map(|(slot, entry)| {
            let handle = Handle { slot: slot as u32, generation: entry.generation };
            entry.value.as_ref().map(|value| (handle, value))
        })
    }

    /// Every value, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().filter_map(|entry| entry.value.as_mut())
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_handle_finds_nothing_although_its_slot_lives_again() {
        let mut slab = Slab::default();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(first.pack() as u32, second.pack() as u32, "the slot is reused");
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&"second")));
        assert_eq!(slab.remove(first), None);
        assert_eq!(Handle::unpack(second.pack()), second);
        assert_eq!((slab.len(), slab.iter().count()), (1, 1));
    }
}
