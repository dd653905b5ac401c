//! Dense storage with names that are never given twice.
//!
//! A [`Handle`] is a slot and the slot's generation. A slot is reused as soon as it is free, so memory stays dense; the
//! generation grows whenever a value comes or goes, and is odd while there is one. So a late or duplicate completion finds
//! nothing instead of somebody else's attempt.

use std::num::NonZeroU64;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

/// A name for one stored value, unique for the life of its slab: the generation in the upper half, the slot in the
/// lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Handle(NonZeroU64);

/// Values by [`Handle`], in slots that the owner chooses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Shelf<T> {
    values: Vec<Option<T>>,
    /// By slot, the name of its value, or of none: apart from the values, because most questions are whether a name still
    /// stands for anything, and with thousands of values these are the few bytes that stay at hand.
    names: Vec<Handle>,
}

/// A shelf that chooses the slots itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Slab<T> {
    shelf: Shelf<T>,
    free: Vec<u32>,
}

impl Handle {
    /// One generation, as a number.
    const GENERATION: u64 = 1 << 32;

    /// The name of a slot that has never held a value. The generation is 2, so that no name is 0.
    fn unused(slot: u32) -> Self {
        Self(NonZeroU64::MIN.saturating_add(2 * Self::GENERATION - 1) | u64::from(slot))
    }

    /// The slot's name from its next change on. After the last one it says for ever that the slot is taken.
    fn next(self) -> Self {
        Self(self.0.saturating_add(Self::GENERATION))
    }

    /// Whether the slot holds a value under this name.
    fn is_taken(self) -> bool {
        self.0.get() & Self::GENERATION != 0
    }

    /// Where the value is.
    pub(super) fn slot(self) -> usize {
        self.0.get() as u32 as usize
    }

    /// The name as a number, for the world outside.
    pub(super) fn pack(self) -> u64 {
        self.0.get()
    }

    /// The handle that [`Handle::pack`] made this number from.
    pub(super) fn unpack(packed: u64) -> Option<Self> {
        NonZeroU64::new(packed).map(Self)
    }
}

impl<T> Shelf<T> {
    /// Stores a value in a slot that holds none.
    #[inline]
    pub(super) fn put(&mut self, slot: usize, value: T) -> Handle {
        if self.names.len() <= slot {
            self.grow(slot);
        }
        self.values[slot] = Some(value);
        let name = &mut self.names[slot];
        *name = name.next();
        *name
    }

    #[cold]
    fn grow(&mut self, slot: usize) {
        // To move what there is costs more than room that is not used.
        if self.values.len() == self.values.capacity() {
            self.values.reserve(3 * self.values.len());
        }
        while self.names.len() <= slot {
            self.values.push(None);
            self.names.push(Handle::unused(self.names.len() as u32));
        }
    }

    /// Whether a slot holds a value, or may hold none any more.
    #[inline]
    pub(super) fn is_taken(&self, slot: usize) -> bool {
        self.names.get(slot).is_some_and(|name| name.is_taken())
    }

    /// The name of the value in a slot, if it holds one.
    #[inline]
    pub(super) fn name(&self, slot: usize) -> Option<Handle> {
        self.names.get(slot).copied().filter(|name| name.is_taken())
    }

    /// A slot's value will be asked for: where it is cold, it is fetched while something else happens.
    #[inline]
    pub(super) fn expect(&self, slot: usize) {
        std::hint::black_box(self.values.get(slot).map(Option::is_some));
    }

    /// Whether the value is still there.
    #[inline]
    pub(super) fn has(&self, handle: Handle) -> bool {
        self.names.get(handle.slot()) == Some(&handle)
    }

    /// The value, if it is still there.
    #[inline]
    pub(super) fn get(&self, handle: Handle) -> Option<&T> {
        if self.has(handle) { self.values.get(handle.slot())?.as_ref() } else { None }
    }

    /// The value to change, if it is still there.
    #[inline]
    pub(super) fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        if self.has(handle) { self.values.get_mut(handle.slot())?.as_mut() } else { None }
    }

    /// Drops the value, which must still be there; its handle is dead from here on.
    #[inline]
    pub(super) fn clear(&mut self, handle: Handle) {
        debug_assert!(self.has(handle), "nobody clears a slot twice");
        self.values[handle.slot()] = None;
        self.names[handle.slot()] = handle.next();
    }

    /// All values, in the order of their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        self.names.iter().zip(&self.values).filter_map(|(name, value)| value.as_ref().map(|value| (*name, value)))
    }

    /// Every value, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut().filter_map(Option::as_mut)
    }
}

impl<T> Slab<T> {
    /// Stores a value.
    #[inline]
    pub(super) fn insert(&mut self, value: T) -> Handle {
        let slot = self.free.pop().map_or(self.shelf.names.len(), |slot| slot as usize);
        self.shelf.put(slot, value)
    }

    /// How many slots are taken, here or on the shelf beside.
    pub(super) fn taken(&self) -> usize {
        self.shelf.names.len() - self.free.len()
    }

    /// Gives a slot that has just been emptied, here or on the shelf beside, to whoever comes next, if it is empty on both.
    #[inline]
    pub(super) fn free<U>(&mut self, slot: usize, beside: &Shelf<U>) {
        if !self.is_taken(slot) && !beside.is_taken(slot) {
            self.free.push(slot as u32);
        }
    }
}

impl<T> Deref for Slab<T> {
    type Target = Shelf<T>;

    fn deref(&self) -> &Shelf<T> {
        &self.shelf
    }
}

impl<T> DerefMut for Slab<T> {
    fn deref_mut(&mut self) -> &mut Shelf<T> {
        &mut self.shelf
    }
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { values: Vec::new(), names: Vec::new() }
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { shelf: Shelf::default(), free: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_handle_finds_nothing_although_its_slot_lives_again() {
        let (mut slab, beside) = (Slab::default(), Shelf::<()>::default());
        let first = slab.insert("first");
        slab.clear(first);
        slab.free(first.slot(), &beside);
        let second = slab.insert("second");
        assert_eq!(first.slot(), second.slot(), "the slot is reused");
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&"second")));
        assert_eq!(Handle::unpack(second.pack()), Some(second));
        assert!(slab.has(second) && !slab.has(first));
        assert_eq!(slab.iter().count(), 1);
    }

    #[test]
    fn a_slot_is_free_when_it_is_empty_on_both_shelves() {
        let (mut slab, mut beside) = (Slab::default(), Shelf::default());
        let (first, second) = (slab.insert(1), slab.insert(2));
        let other = beside.put(first.slot(), "other");
        for handle in [first, second] {
            slab.clear(handle);
            slab.free(handle.slot(), &beside);
        }
        assert_eq!((slab.name(first.slot()), beside.name(first.slot())), (None, Some(other)));
        assert_eq!(slab.insert(3).slot(), second.slot());
        beside.clear(other);
        slab.free(first.slot(), &beside);
        let third = slab.insert(4);
        assert_eq!(third.slot(), first.slot());
        assert_ne!(beside.put(third.slot(), "another"), other);
    }
}
