//! Randomness that is keyed and not consumed: `draw(seed, stream, entity, index)` is a pure function, so adding a draw
//! shifts no other, and two routers that face the same turn face the same luck.
//!
//! The mixer is the SplitMix64 finaliser (Steele, Lea and Flood, 2014), applied once for each word of the key. Its
//! values are pinned by a test: they are part of every golden hash.

/// The 64 bits drawn for this key.
pub const fn draw(seed: u64, stream: u64, entity: u64, index: u64) -> u64 {
    Source::of(seed, stream).draw(entity, index)
}

/// One stream of one seed, for whoever draws from it often: what all its draws have in common, mixed beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source(u64);

impl Source {
    /// The stream `stream` of `seed`.
    pub const fn of(seed: u64, stream: u64) -> Self {
        Self(mix(mix(seed) ^ stream))
    }

    /// The 64 bits drawn for this key, as [`draw`] gives them.
    pub const fn draw(self, entity: u64, index: u64) -> u64 {
        mix(mix(self.0 ^ entity) ^ index)
    }
}

/// Which of `count` things these drawn bits mean, from 0; 0 when there is none.
pub(super) fn drawn(bits: u64, count: usize) -> usize {
    ((u128::from(bits) * count as u128) >> 64) as usize
}

/// A uniform number in [0, 1) from drawn bits: the upper 53 of them.
pub fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// One round of SplitMix64. Good enough to hash decisions with, too.
pub const fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of SplitMix64 from state 0, as published with the generator.
    #[test]
    fn the_mixer_is_splitmix64() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn draws_are_pinned() {
        assert_eq!(draw(1, 2, 3, 4), draw(1, 2, 3, 4));
        assert_ne!(draw(1, 2, 3, 4), draw(1, 2, 4, 3));
        assert!((0.0..1.0).contains(&unit(u64::MAX)) && unit(0) == 0.0);
    }
}
