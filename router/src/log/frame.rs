//! Frames: what is committed together is read together.
//!
//! ```text
//! frame   = length of body: u32 le | crc32c over length and body: u32 le | body
//! body    = kind: u8 | sequence of the first record: varint | its time in ns: varint | records
//! ```
//!
//! A frame is one batch of complete steps, each an input and its decisions. A writer that dies leaves at most one
//! frame broken, and nobody has acted on that one yet.

use std::ops::Range;

use crate::core::Timestamp;

/// Bytes before the body.
pub(super) const HEAD: usize = 8;
/// No frame is longer: what claims to be is broken.
pub(super) const LENGTH_MAX: usize = 1 << 26;
/// Bit of `kind`: the frame is a checkpoint, with what belongs to it.
pub(super) const CHECKPOINT: u8 = 1;
/// Bit of `kind`: settings come into force in it.
pub(super) const SETTINGS: u8 = 2;
/// Bit of `kind`: the frame begins with a gap, so its sequence may be beyond the end of the frame before.
pub(super) const GAP: u8 = 4;

/// A frame whose checksum is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bits [`CHECKPOINT`], [`SETTINGS`] and [`GAP`].
    pub(super) kind: u8,
    /// Of the first record.
    pub(super) sequence: u64,
    /// Of the first record.
    pub(super) at: Timestamp,
    /// Where the records lie, from the start of the frame.
    pub(super) records: Range<usize>,
}

/// What stands at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A frame, from here to `records.end`.
    Frame(Frame),
    /// It would end after the bytes that there are; so many are wanted.
    Short(usize),
    /// No frame.
    Broken,
}

/// Begins a frame in an empty buffer. Records are appended, then it is [sealed](seal).
pub(super) fn begin(buffer: &mut Vec<u8>, sequence: u64, at: Timestamp) {
    buffer.clear();
    buffer.extend_from_slice(&[0; HEAD + 1]);
    put_varint(buffer, sequence);
    put_varint(buffer, at.as_nanos());
}

/// Adds to the kind of the frame in the buffer.
pub(super) fn mark(buffer: &mut [u8], kind: u8) {
    if let Some(byte) = buffer.get_mut(HEAD) {
        *byte |= kind;
    }
}

/// Writes length and checksum. May be repeated after more records.
pub(super) fn seal(buffer: &mut [u8]) {
    let length = (buffer.len().saturating_sub(HEAD) as u32).to_le_bytes();
    if let Some((head, body)) = buffer.split_at_mut_checked(HEAD) {
        head[..4].copy_from_slice(&length);
        head[4..].copy_from_slice(&checksum(length, body).to_le_bytes());
    }
}

/// Reads the frame that begins at the start of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let Some((head, rest)) = bytes.split_at_checked(HEAD) else {
        return Parsed::Short(HEAD);
    };
    let (length, crc) = (word(&head[..4]), word(&head[4..]));
    let size = length as usize;
    if size == 0 || size > LENGTH_MAX {
        return Parsed::Broken;
    }
    let Some(body) = rest.get(..size) else {
        return Parsed::Short(HEAD + size);
    };
    if checksum(length.to_le_bytes(), body) != crc {
        return Parsed::Broken;
    }
    let mut at = 1;
    let (Some(sequence), Some(time)) = (take_varint(body, &mut at), take_varint(body, &mut at)) else {
        return Parsed::Broken;
    };
    if at == size {
        // A writer has something to say. Whoever read on after nothing would not get anywhere.
        return Parsed::Broken;
    }
    Parsed::Frame(Frame { kind: body[0], sequence, at: Timestamp::from_nanos(time), records: HEAD + at..HEAD + size })
}

/// Whether any frame that could follow `sequence` begins in `bytes`. A sequence grows by at most one for each byte, which
/// rules out nearly everything before a checksum has to be computed.
pub(super) fn any_after(bytes: &[u8], sequence: u64) -> bool {
    (0..bytes.len().saturating_sub(HEAD)).any(|start| {
        let bytes = &bytes[start..];
        let size = word(&bytes[..4]) as usize;
        let mut at = HEAD + 1;
        let plausible = (1..=bytes.len() - HEAD).contains(&size)
            && take_varint(bytes, &mut at)
                .is_some_and(|found| found >= sequence && found - sequence <= (start + bytes.len()) as u64);
        plausible && matches!(parse(bytes), Parsed::Frame(_))
    })
}

/// CRC32C over length and body.
pub(super) fn checksum(length: [u8; 4], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), body)
}

pub(super) fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn put_varint(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

fn take_varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(sequence: u64, records: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        begin(&mut buffer, sequence, Timestamp::from_nanos(1_000_000_007));
        buffer.extend_from_slice(records);
        seal(&mut buffer);
        buffer
    }

    #[test]
    fn a_frame_reads_back_as_it_was_sealed() {
        for sequence in [0, 127, 128, u64::from(u32::MAX), u64::MAX] {
            let bytes = frame(sequence, b"records");
            let Parsed::Frame(found) = parse(&bytes) else { panic!("no frame: {bytes:?}") };
            assert_eq!((found.sequence, found.at.as_nanos()), (sequence, 1_000_000_007));
            assert_eq!(&bytes[found.records], b"records");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = frame(300, b"some records");
        for cut in 0..bytes.len() {
            assert!(matches!(parse(&bytes[..cut]), Parsed::Short(_)), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(parse(&flipped), Parsed::Frame(_)), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_without_records_is_none() {
        assert_eq!(parse(&frame(7, b"")), Parsed::Broken);
    }

    #[test]
    fn a_later_frame_is_found_among_garbage_and_an_earlier_one_is_not() {
        let mut bytes = vec![0xa5; 100];
        bytes.extend(frame(40, b"later"));
        assert!(any_after(&bytes, 7));
        assert!(!any_after(&bytes, 41));
        assert!(!any_after(&bytes[..bytes.len() - 1], 7));
    }

    /// The check value of CRC-32C (RFC 3720, appendix B.4: 32 bytes of zeros).
    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(checksum([0; 4], &[0; 28]), 0x8a91_36aa);
    }
}
