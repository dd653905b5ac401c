//! The reference that the engine's cost is measured against: the least that anything which simulates such a day must
//! do. Same arrivals, luck, weather, keys, windows, retries, deadlines and histogram; no router, no policy, no log, no
//! decision hash. It takes the next key in turn, repeats after a short pause, and goes to the dear keys when no cheap
//! one has room.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use hdrhistogram::Histogram;
use stormproof_router::core::{Timestamp, UpstreamId, unit};
use stormproof_simulator::clients::{Turn, turns};
use stormproof_simulator::draws::{Shape, Stream, split};
use stormproof_simulator::study::families::Family;
use stormproof_simulator::world::World;

const SECOND: u64 = 1_000_000_000;
const LATENCY: Shape = Shape::LogNormal { median: 20.0, sigma: 0.6 };
const REFUSAL: Shape = Shape::LogNormal { median: 1.2, sigma: 0.6 };
const DEADLINE: u64 = 180 * SECOND;
const ATTEMPTS_MAX: u8 = 30;

/// Simulates one seed's day and gives the number of requests.
pub(crate) fn run(family: &Family, seed: u64, histogram: &mut Histogram<u64>) -> u64 {
    let case = family.case();
    let arrivals = turns(&case.day.clients, seed, Timestamp::ZERO + family.duration);
    let world = World::new(&case.day.world, seed, case.day.horizon());
    let weather = [0, 1].map(|upstream| world.forecast(UpstreamId::new(upstream)).to_vec());
    let cheap = vec![Window::new(family.rpm); family.cheap_keys as usize];
    let dear = vec![Window::new(family.dear_rpm); 2];
    let mut loop_ = Loop {
        seed,
        heap: BinaryHeap::new(),
        sequence: 0,
        pools: [Pool { keys: cheap, next: 0 }, Pool { keys: dear, next: 0 }],
        weather: weather.map(|steps| Weather { steps, current: 0 }),
        attempts: vec![0; arrivals.len()],
        arrivals,
    };
    loop_.run(histogram);
    loop_.arrivals.len() as u64
}

struct Loop {
    seed: u64,
    heap: BinaryHeap<Reverse<(u64, u32, u32, bool)>>,
    sequence: u32,
    pools: [Pool; 2],
    weather: [Weather; 2],
    attempts: Vec<u8>,
    arrivals: Vec<Turn>,
}

struct Pool {
    keys: Vec<Window>,
    next: usize,
}

/// A sliding minute: the times of the last `limit` calls.
#[derive(Clone)]
struct Window {
    limit: usize,
    sent: VecDeque<u64>,
}

struct Weather {
    steps: Vec<(Timestamp, f64)>,
    current: usize,
}

impl Loop {
    fn run(&mut self, histogram: &mut Histogram<u64>) {
        let mut next = 0;
        loop {
            let arrival = self.arrivals.get(next).map(|turn| turn.at.as_nanos());
            let queued = self.heap.peek().map(|Reverse((at, ..))| *at);
            match (arrival, queued) {
                (None, None) => return,
                (Some(at), queued) if queued.is_none_or(|queued| at < queued) => {
                    self.call(at, next as u32);
                    next += 1;
                }
                (_, _) => {
                    let Some(Reverse((now, _, turn, good))) = self.heap.pop() else { return };
                    let arrived = self.arrivals[turn as usize].at.as_nanos();
                    if good {
                        histogram.saturating_record((now - arrived) / 1_000_000);
                    } else if now - arrived < DEADLINE && self.attempts[turn as usize] < ATTEMPTS_MAX {
                        self.call(now, turn);
                    } else {
                        histogram.saturating_record(DEADLINE / 1_000_000);
                    }
                }
            }
        }
    }

    fn call(&mut self, now: u64, turn: u32) {
        let key = self.arrivals[turn as usize].key;
        let cheap = self.pools[0].take(now);
        if !cheap {
            self.pools[1].take(now);
        }
        let pool = u64::from(!cheap);
        let attempt = &mut self.attempts[turn as usize];
        let bits = Stream::Attempt.draw(self.seed, key, pool << 32 | u64::from(*attempt));
        *attempt += 1;
        let overloaded = unit(split(bits, 1)) < self.weather[pool as usize].p503(now);
        let after = if overloaded {
            REFUSAL.duration(split(bits, 2)).as_nanos() + SECOND / 10
        } else {
            LATENCY.duration(split(Stream::Turn.draw(self.seed, key, 0), 3)).as_nanos()
        };
        self.sequence += 1;
        self.heap.push(Reverse((now + after, self.sequence, turn, !overloaded)));
    }
}

impl Pool {
    /// Charges the next key that has room. False when none has.
    fn take(&mut self, now: u64) -> bool {
        for _ in 0..self.keys.len() {
            self.next = if self.next + 1 < self.keys.len() { self.next + 1 } else { 0 };
            if self.keys[self.next].take(now) {
                return true;
            }
        }
        false
    }
}

impl Window {
    fn new(limit: u32) -> Self {
        Self { limit: limit as usize, sent: VecDeque::new() }
    }

    fn take(&mut self, now: u64) -> bool {
        while self.sent.front().is_some_and(|at| now >= at + 60 * SECOND) {
            self.sent.pop_front();
        }
        let room = self.sent.len() < self.limit;
        if room {
            self.sent.push_back(now);
        }
        room
    }
}

impl Weather {
    fn p503(&mut self, now: u64) -> f64 {
        while self.steps.get(self.current + 1).is_some_and(|(from, _)| from.as_nanos() <= now) {
            self.current += 1;
        }
        self.steps[self.current].1
    }
}
