//! The world behind one lock, which stamps the time: calls over HTTP meet it in the order in which they arrive, each
//! at its own moment, as the simulator's do.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use stormproof_router::core::{Endpoint, KeyId, Timestamp, Tokens, UpstreamId};

use super::clock::Clock;
use super::manners::{Look, Manners};
use super::records::{Record, Records};
use crate::clients::Sizes;
use crate::draws::{Stream, split};
use crate::engine::{Day, Happening};
use crate::world::{Call, Change, Fortune, Plan, Ticket, World};

/// Prompts whose repetitions are counted; the oldest go first.
const PROMPTS_MAX: usize = 65_536;

/// Addresses that are told apart; later ones share the last number.
const ADDRESSES_MAX: usize = 1024;

/// Purposes of drawn bits, apart from the world's own.
const LOOK: u64 = 101;
const OUTPUT: u64 = 102;

/// A call, as far as the world is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) key: KeyId,
    pub(super) upstream: UpstreamId,
    pub(super) endpoint: Endpoint,
    pub(super) stream: bool,
    pub(super) input: u32,
    pub(super) output: u32,
    pub(super) address: IpAddr,
    /// What its luck hangs on.
    pub(super) turn: u64,
}

/// What will come of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Granted {
    pub(super) at: Timestamp,
    pub(super) plan: Plan,
    pub(super) ticket: Ticket,
    pub(super) look: Look,
    /// Tokens in one chunk of a stream.
    pub(super) chunk_tokens: u32,
}

/// The world with everything that changes while a mock runs.
#[derive(Debug)]
pub(super) struct Sky {
    pub(super) clock: Clock,
    seed: u64,
    sizes: Sizes,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    world: World,
    /// The latest moment that the world has seen.
    last: Timestamp,
    /// What the scenario lets happen to the world later.
    coming: VecDeque<(Timestamp, Change)>,
    tries: Tries,
    addresses: BTreeMap<IpAddr, u16>,
    manners: Manners,
    records: Records,
}

/// Attempts made so far, by turn and upstream.
#[derive(Debug, Default)]
struct Tries {
    counts: BTreeMap<(u64, UpstreamId), u32>,
    order: VecDeque<(u64, UpstreamId)>,
}

impl Sky {
    /// The sky over that day.
    pub(super) fn new(day: &Day, seed: u64, clock: Clock, manners: Manners) -> Self {
        let coming = day.happenings.iter().filter_map(|(at, happening)| match happening {
            Happening::World(change) => Some((*at, change.clone())),
            Happening::Operator(_) | Happening::Configured(_) | Happening::Clock(_) | Happening::Leaves { .. } => None,
        });
        let inner = Inner {
            world: World::new(&day.world, seed, day.horizon()),
            last: Timestamp::ZERO,
            coming: coming.collect(),
            tries: Tries::default(),
            addresses: BTreeMap::new(),
            manners,
            records: Records::default(),
        };
        let sizes = day.clients.first().map_or_else(Sizes::default, |client| client.sizes);
        Self { clock, seed, sizes, inner: Mutex::new(inner) }
    }

    /// How long the answer to a prompt is, unless it says so itself: as the scenario's first clients have it.
    pub(super) fn usual_output(&self, turn: u64) -> u32 {
        let bits = split(Stream::Turn.draw(self.seed, turn, 0), OUTPUT);
        (self.sizes.output.value(bits) as u32).max(1)
    }

    /// Makes a call now.
    pub(super) fn call(&self, question: &Question) -> Granted {
        let mut inner = self.lock();
        let now = inner.now(&self.clock);
        let known = inner.addresses.len().min(ADDRESSES_MAX) as u16;
        let address = match known {
            _ if inner.addresses.len() < ADDRESSES_MAX => *inner.addresses.entry(question.address).or_insert(known),
            _ => inner.addresses.get(&question.address).copied().unwrap_or(known),
        };
        let nth = inner.tries.next(question.turn, question.upstream);
        let luck = Fortune::new(self.seed).luck(question.turn, question.upstream, nth);
        let call = Call {
            key: question.key,
            upstream: question.upstream,
            endpoint: question.endpoint,
            stream: question.stream,
            input: Tokens::new(question.input),
            output: Tokens::new(question.output),
            address,
            luck,
        };
        let plan = inner.world.call(now, &call);
        let ticket = plan.ticket(&call);
        let look = inner.manners.look(split(luck.attempt, LOOK));
        let chunk_tokens = inner.world.spec().upstreams[question.upstream.index()].pace.chunk_tokens.max(1);
        Granted { at: now, plan, ticket, look, chunk_tokens }
    }

    /// A caller has left before its answer was over.
    pub(super) fn cancel(&self, ticket: Ticket) {
        let mut inner = self.lock();
        let now = inner.now(&self.clock);
        inner.world.cancel(now, ticket);
    }

    /// Changes the world now.
    pub(super) fn change(&self, changes: &[Change]) {
        let mut inner = self.lock();
        let now = inner.now(&self.clock);
        for change in changes {
            inner.world.weather(now, change);
        }
    }

    /// Changes how failures look.
    pub(super) fn set_manners(&self, manners: Manners) {
        self.lock().manners = manners;
    }

    /// Keeps a record.
    pub(super) fn record(&self, record: Record) -> u64 {
        self.lock().records.add(record)
    }

    /// Keeps that a call is over.
    pub(super) fn end(&self, number: u64, left: bool) {
        let now = self.clock.now();
        self.lock().records.end(number, now, left);
    }

    /// Looks at the world and the records.
    pub(super) fn look<T>(&self, at: impl FnOnce(&World, &Records) -> T) -> T {
        let inner = self.lock();
        at(&inner.world, &inner.records)
    }

    /// Nothing is left half done under this lock, so a panic elsewhere has spoilt nothing.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The time, after everything that the scenario lets happen up to it.
    fn now(&mut self, clock: &Clock) -> Timestamp {
        self.last = self.last.max(clock.now());
        while let Some((at, change)) = self.coming.pop_front_if(|(at, _)| *at <= self.last) {
            self.world.weather(at, &change);
        }
        self.last
    }
}

impl Tries {
    /// How many attempts were made before this one.
    fn next(&mut self, turn: u64, upstream: UpstreamId) -> u32 {
        if let Some(count) = self.counts.get_mut(&(turn, upstream)) {
            *count = count.saturating_add(1);
            return *count;
        }
        if self.order.len() == PROMPTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.counts.remove(&oldest);
        }
        self.order.push_back((turn, upstream));
        self.counts.insert((turn, upstream), 0);
        0
    }
}
