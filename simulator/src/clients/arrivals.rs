//! When turns begin and how large they are, drawn before the run: no router can shift another one's arrivals.

use stormproof_router::core::{Duration, Source, Timestamp, Tokens};

use super::spec::{Arrivals, Rate, Sizes, Spec};
use crate::draws::{Shape, Stream, split};

/// One intention, before anybody has tried to fulfil it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its intended arrival: latency counts from here.
    pub at: Timestamp,
    /// Whose it is and which of theirs. Its luck hangs on it: it is the same in every run that has the same clients,
    /// whatever the router does.
    pub key: u64,
    /// Its prompt.
    pub input: Tokens,
    /// Its answer.
    pub output: Tokens,
}

/// All turns that begin before `until` independently of any answer, in order of arrival.
pub fn turns(clients: &[Spec], seed: u64, until: Timestamp) -> Vec<Turn> {
    let (gaps, sizes) = (Stream::Arrivals.of(seed), Stream::Tokens.of(seed));
    let mut all = Vec::new();
    for (client, spec) in clients.iter().enumerate() {
        match &spec.arrivals {
            Arrivals::Poisson(rates) => {
                let gap = |index| Shape::Exponential { mean: 1.0 }.value(gaps.draw(client as u64, index));
                paced(rates, until, gap, |at, index| all.push(Turn::new(spec, client, index, at, sizes)));
            }
            Arrivals::Even(rates) => {
                let gap = |index| if index == 0 { 0.0 } else { 1.0 };
                paced(rates, until, gap, |at, index| all.push(Turn::new(spec, client, index, at, sizes)));
            }
            Arrivals::Trace(recorded) => {
                for (index, line) in recorded.iter().enumerate().take_while(|(_, line)| line.at < until) {
                    let drawn = Turn::new(spec, client, index as u64, line.at, sizes);
                    let (input, output) = (line.input.unwrap_or(drawn.input), line.output.unwrap_or(drawn.output));
                    all.push(Turn { input, output, ..drawn });
                }
            }
            // Their first turns hang on no answer either; later ones are made by `Turn::of_user`.
            Arrivals::Closed { users, .. } => {
                let first = (0..*users).filter_map(|user| Turn::of_user(spec, client, user, 0, Timestamp::ZERO, seed));
                all.extend(first.filter(|turn| turn.at < until));
            }
        }
    }
    all.sort_by_key(|turn| turn.at);
    all
}

/// Calls `arrive` at every time by which the rate has added up to the next gap.
fn paced(rates: &[Rate], until: Timestamp, gap: impl Fn(u64) -> f64, mut arrive: impl FnMut(Timestamp, u64)) {
    let mut index = 0;
    let mut left = gap(index);
    for (piece, rate) in rates.iter().enumerate() {
        let end = rates.get(piece + 1).map_or(until, |next| next.from.min(until)).as_secs_f64();
        let mut at = rate.from.as_secs_f64();
        if rate.per_s <= 0.0 {
            continue;
        }
        loop {
            let next = at + left / rate.per_s;
            if next >= end {
                left -= (end - at).max(0.0) * rate.per_s;
                break;
            }
            at = next;
            arrive(Timestamp::ZERO + Duration::from_secs_f64(at), index);
            index += 1;
            left = gap(index);
        }
    }
}

impl Turn {
    /// The turn that this user of a closed loop begins after having thought from `now` on; `None` for other clients.
    pub fn of_user(spec: &Spec, client: usize, user: u32, index: u32, now: Timestamp, seed: u64) -> Option<Self> {
        let Arrivals::Closed { think, .. } = &spec.arrivals else { return None };
        let index = u64::from(user) << 32 | u64::from(index);
        let thinks = think.duration(Stream::Think.draw(seed, client as u64, index));
        Some(Self::new(spec, client, index, now + thinks, Stream::Tokens.of(seed)))
    }

    /// Index of its client spec.
    pub fn client(&self) -> usize {
        (self.key >> CLIENT_SHIFT) as usize
    }

    /// The user of a closed loop whose turn this is, and which of its turns.
    pub fn user(&self) -> (u32, u32) {
        let index = self.key & INDEX;
        ((index >> 32) as u32, index as u32)
    }

    fn new(spec: &Spec, client: usize, index: u64, at: Timestamp, sizes: Source) -> Self {
        let key = key(client as u64, index);
        let Sizes { input, output, .. } = spec.sizes;
        let tokens = |shape: Shape, purpose| match shape {
            // Most clients have one size, and then nothing is drawn.
            Shape::Fixed(size) => Tokens::new(size as u32),
            Shape::Uniform { .. } | Shape::Exponential { .. } | Shape::LogNormal { .. } => {
                Tokens::new(shape.value(split(sizes.draw(key, 0), purpose)).clamp(1.0, 1e9) as u32)
            }
        };
        Self { at, key, input: tokens(input, 1), output: tokens(output, 2) }
    }
}

/// The key of a turn: which group of clients, and which of its turns.
pub(crate) fn key(client: u64, index: u64) -> u64 {
    client << CLIENT_SHIFT | index & INDEX
}

/// Where the client spec begins in a key.
const CLIENT_SHIFT: u32 = 48;

/// The part of a key that numbers the turns of one client spec.
const INDEX: u64 = (1 << CLIENT_SHIFT) - 1;
