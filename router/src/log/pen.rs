//! A record's bytes, number by number: those that postcard gives them, without asking for room at every byte.

use crate::core::Duration;

/// No record that is written number by number takes more bytes.
const ROOM: usize = 96;

/// Writes a record at the end of a frame.
pub(super) struct Pen<'a> {
    /// Where the next number goes, and more.
    rest: &'a mut [u8],
}

impl Pen<'_> {
    /// Writes one record number by number.
    #[inline(always)]
    pub(super) fn write(frame: &mut Vec<u8>, write: impl FnOnce(&mut Pen<'_>)) {
        let start = frame.len();
        frame.extend_from_slice(&[0; ROOM]);
        let mut pen = Pen { rest: &mut frame[start..] };
        write(&mut pen);
        let left = pen.rest.len();
        frame.truncate(start + ROOM - left);
    }

    /// The next bytes, of which so many count.
    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N], length: usize) {
        let rest = std::mem::take(&mut self.rest);
        rest[..N].copy_from_slice(&bytes);
        self.rest = &mut rest[length..];
    }

    /// Unsigned integers that are mostly below 128.
    #[inline(always)]
    pub(super) fn small<const N: usize>(&mut self, numbers: [u64; N]) {
        if numbers.iter().fold(0, |bits, number| bits | number) < 0x80 {
            self.put(numbers.map(|number| number as u8), N);
        } else {
            numbers.into_iter().for_each(|number| self.number(number));
        }
    }

    /// An unsigned integer of any width: seven bits a byte, the lowest first.
    #[inline(always)]
    pub(super) fn number(&mut self, number: u64) {
        if number < 0x80 {
            self.put([number as u8], 1);
        } else if number < 0x4000 {
            self.put([number as u8 | 0x80, (number >> 7) as u8], 2);
        } else {
            self.long(number);
        }
    }

    /// Four bytes at a time: how many there will be cannot be foreseen, and a wrong guess costs more than all of them.
    fn long(&mut self, mut number: u64) {
        while number >= 1 << 28 {
            self.put((sevens(number) | 0x8080_8080).to_le_bytes(), 4);
            number >>= 28;
        }
        let bytes = sevens(number);
        let last = (bytes | 1).ilog2() / 8;
        self.put((bytes | 0x8080_8080 & ((1 << (8 * last)) - 1)).to_le_bytes(), last as usize + 1);
    }

    /// As [`Nanos`](super::mirror::Nanos).
    pub(super) fn length(&mut self, length: Duration) {
        match length.as_nanos() {
            nanos if nanos.is_multiple_of(1_000_000) => self.number((nanos / 1_000_000) << 1 | 1),
            nanos if nanos >> 63 == 0 => self.number(nanos << 1),
            nanos => {
                // One bit more than a number has: the lowest seven, then the rest.
                self.put([(nanos << 1) as u8 | 0x80], 1);
                self.number(nanos >> 6);
            }
        }
    }

    #[inline(always)]
    pub(super) fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.put([value.is_some().into()], 1);
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// The lowest four times seven bits, each seven in a byte of its own.
fn sevens(number: u64) -> u32 {
    let number = number as u32;
    let pairs = number & 0x3fff | (number & 0x0fff_c000) << 2;
    pairs & 0x007f_007f | (pairs & 0x3f80_3f80) << 1
}

/// A signed integer as an unsigned one: 0, -1, 1, -2, and so on as 0, 1, 2, 3.
pub(super) fn signed(value: impl Into<i64>) -> u64 {
    let value = value.into();
    (value << 1 ^ value >> 63) as u64
}
