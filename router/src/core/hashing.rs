//! A hash of serialized state, without building the bytes.

use postcard::ser_flavors::Flavor;
use serde::Serialize;

use super::draw::mix;

/// Folds bytes into a hash, eight at a time.
struct Folding {
    hash: u64,
    word: u64,
    bytes: u64,
}

/// The hash of a value's postcard bytes.
pub(super) fn hash<T: Serialize>(value: &T) -> u64 {
    let folding = Folding { hash: 0, word: 0, bytes: 0 };
    // Folding cannot fail, and every type of the state is serializable.
    postcard::serialize_with_flavor(value, folding).unwrap_or_default()
}

/// As [`hash`], of bytes that were built already.
pub(super) fn hash_bytes(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    let hash = words.iter().fold(0, |hash, word| mix(hash ^ u64::from_be_bytes(*word)));
    let word = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    mix(mix(hash ^ word) ^ bytes.len() as u64)
}

impl Flavor for Folding {
    type Output = u64;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.word = self.word << 8 | u64::from(byte);
        self.bytes += 1;
        if self.bytes.is_multiple_of(8) {
            self.hash = mix(self.hash ^ self.word);
            self.word = 0;
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<u64> {
        Ok(mix(mix(self.hash ^ self.word) ^ self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts_and_so_does_their_number() {
        let hashes = [hash(&[1u8; 7]), hash(&[1u8; 8]), hash(&[1u8; 9]), hash(&[0u8; 8]), hash(&[0u8; 9])];
        for (index, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..index].contains(hash));
        }
        assert_eq!(hash(&"the same"), hash(&"the same"));
    }

    #[test]
    fn built_bytes_hash_as_those_that_are_not() {
        for length in 0..20 {
            let value = vec![300_u32; length];
            assert_eq!(hash_bytes(&postcard::to_stdvec(&value).unwrap()), hash(&value));
        }
    }
}
