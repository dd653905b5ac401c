//! Seeded damage to the bytes of a log.

use stormproof_router::core::draw;

/// A small choice, drawn.
pub(crate) struct Dice {
    pub(crate) seed: u64,
    pub(crate) drawn: u64,
}

impl Dice {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.drawn += 1;
        (draw(self.seed, 0x6675_7a7a, self.drawn, 0) % bound.max(1) as u64) as usize
    }
}

/// Changes bytes in one of the ways in which files and programs go wrong.
pub(crate) fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(bytes.len());
    let length = 1 + dice.below(16).min(bytes.len().saturating_sub(at + 1));
    match dice.below(8) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][dice.below(5)],
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..(at + length).min(bytes.len()))),
        4 => {
            let part = bytes[at..(at + length).min(bytes.len())].to_vec();
            let to = dice.below(bytes.len());
            bytes.splice(to..to, part);
        }
        5 => bytes.splice(at..at, std::iter::repeat_n(0xff, length)).for_each(drop),
        6 => bytes[at..].iter_mut().take(length).for_each(|byte| *byte = 0),
        _ => {
            let other = (at + length) % bytes.len();
            bytes.swap(at, other);
        }
    }
}

/// Head of a segment, and its frames as they follow.
pub(crate) fn parts(bytes: &[u8]) -> (usize, Vec<std::ops::Range<usize>>) {
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
    let head = 20 + word(12);
    let mut frames = Vec::new();
    let mut at = head;
    while at + 8 <= bytes.len() {
        let end = at + 8 + word(at);
        frames.push(at..end);
        at = end;
    }
    (head, frames)
}

/// Changes what a frame or the head says, and makes its length and checksum right again.
pub(crate) fn lie(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let (head, frames) = parts(bytes);
    let mut lied = bytes.to_vec();
    let which = dice.below(frames.len() + 1);
    let (prefix, range) = if which == 0 { (20, 0..head) } else { (8, frames[which - 1].clone()) };
    let mut body = bytes[range.start + prefix..range.end].to_vec();
    for _ in 0..=dice.below(3) {
        if !body.is_empty() {
            mutate(&mut body, dice);
        }
    }
    let length = (body.len() as u32).to_le_bytes();
    let mut sealed = bytes[range.start..range.start + prefix].to_vec();
    sealed[prefix - 8..prefix - 4].copy_from_slice(&length);
    if prefix == 8 {
        sealed[..4].copy_from_slice(&length);
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&sealed[..prefix - 4]), &body);
    sealed[prefix - 4..].copy_from_slice(&crc.to_le_bytes());
    sealed.extend(body);
    lied.splice(range, sealed);
    lied
}
