//! The simulated providers: no sockets, no clock, no threads. [`World::call`] says at once what will come of a call;
//! whoever drives it makes that come true, in virtual time or over HTTP.
//!
//! A call meets, in this order: a scripted reply, a dead key, the address throttle, the project's true quota, the
//! model's weather, single faults, and then a good answer. Nothing but [`Luck`] is random, so two routers that bring
//! the same luck to the same weather see the same answer. Counting and embedding calls share keys and throttles, but
//! neither quota nor weather, as providers have it.

mod plan;
mod quota;
mod recorded;
mod spec;
mod weather;
mod wording;

use stormproof_router::core::{
    Duration, Ending, Endpoint, Facts, KeyId, Reason, Timestamp, Tokens, Transport, UpstreamId, Usage, unit,
};

pub use plan::{Call, Fortune, Luck, Plan, Ticket};
pub use recorded::{Answer, Met, Recorded, Reply as RecordedReply, Reuse, Span};
pub use spec::{
    Charged, Death, Episode, Faults, Follows, Key, Latency, Pace, Per, Process, Project, Quota, Refusals, Reply,
    Scripted, Spec, Throttle, Upstream, Weather,
};
pub use wording::{Exceeded, Wording};

use self::quota::Meter;
use self::recorded::Recall;
use self::weather::{Forecast, strikes};
use crate::draws::split;

/// Purposes of one attempt's bits.
const OVERLOAD: u64 = 1;
const REFUSAL: u64 = 2;
const LATENCY: u64 = 3;
const FAULT: u64 = 4;
const HINT: u64 = 5;

/// The providers during one run.
#[derive(Clone, Debug)]
pub struct World {
    spec: Spec,
    forecasts: Vec<Forecast>,
    episodes: Vec<Vec<Episode>>,
    /// By project and upstream; `None` where nothing is limited.
    meters: Vec<Option<Meter>>,
    /// Calls that each throttle has seen, by address.
    throttled: Vec<Vec<Meter>>,
    /// Uses left of each scripted reply.
    script_left: Vec<u32>,
    /// Whether there is a record, a script, a throttle or a key that dies: most worlds need not look.
    eventful: bool,
    /// Whether any single fault ever strikes.
    faulty: bool,
    /// Answers that are on record, where there are any.
    recall: Option<Recall>,
}

/// A change of the world while it runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// This model answers 503 with this probability, whatever was forecast. Replaces an earlier one.
    Overload {
        /// Which.
        upstream: UpstreamId,
        /// From when, until when, how badly.
        episode: Episode,
    },
    /// Other things go wrong from now on.
    Faults {
        /// Where.
        upstream: UpstreamId,
        /// How often.
        faults: Faults,
    },
    /// Good answers take this long from now on.
    Latency {
        /// Where.
        upstream: UpstreamId,
        /// How long.
        latency: Latency,
    },
    /// The provider changes a project's limits; what is used stays used.
    Limits {
        /// Index of the true project.
        project: u32,
        /// For which model.
        upstream: UpstreamId,
        /// The new limits.
        quota: Quota,
    },
    /// A key stops working.
    Death {
        /// Which.
        key: KeyId,
        /// When and how.
        death: Death,
    },
    /// A key works again.
    Revival {
        /// Which.
        key: KeyId,
    },
    /// A reply is fixed beforehand; it comes before all that were.
    Reply {
        /// Which calls, and what they get.
        scripted: Scripted,
    },
}

impl World {
    /// The world of this seed. Overloads are drawn up to the horizon; after it the weather is fine.
    pub fn new(spec: &Spec, seed: u64, horizon: Timestamp) -> Self {
        let episodes: Vec<Vec<Episode>> =
            (0..spec.upstreams.len()).map(|upstream| weather::episodes(spec, upstream, seed, horizon)).collect();
        let forecasts: Vec<Forecast> = spec
            .upstreams
            .iter()
            .zip(&episodes)
            .map(|(upstream, episodes)| Forecast::new(upstream.weather.noise, episodes))
            .collect();
        let latencies: Vec<Latency> = spec.upstreams.iter().map(|upstream| upstream.latency).collect();
        let recall = spec.recorded.as_ref().map(|recorded| Recall::new(recorded, seed, &forecasts, &latencies));
        let width = spec.upstreams.len();
        let meters = spec
            .projects
            .iter()
            .flat_map(|project| (0..width).map(|upstream| project.quotas.get(upstream).copied().unwrap_or_default()))
            .map(|quota| limits(&quota).then(|| Meter::new(quota)))
            .collect();
        Self {
            forecasts,
            episodes,
            meters,
            throttled: vec![Vec::new(); spec.throttles.len()],
            script_left: spec.script.iter().map(|scripted| scripted.times.unwrap_or(u32::MAX)).collect(),
            eventful: recall.is_some()
                || !spec.script.is_empty()
                || !spec.throttles.is_empty()
                || spec.keys.iter().any(|key| !key.deaths.is_empty()),
            faulty: spec.upstreams.iter().any(|upstream| upstream.faults != Faults::default()),
            recall,
            spec: spec.clone(),
        }
    }

    /// Makes a call at `now`, which never goes back, and says what will come of it.
    #[inline]
    pub fn call(&mut self, now: Timestamp, call: &Call) -> Plan {
        if self.eventful
            && let Some(plan) = self.special(now, call)
        {
            return plan;
        }
        self.plan(now, call)
    }

    /// Stops a call that has not ended, and says what the provider counts for it: nothing before the first byte, then
    /// the prompt and the part of the answer that was there.
    pub fn cancel(&mut self, now: Timestamp, ticket: Ticket) -> Option<Usage> {
        let Ticket { first_byte, end, input, output } = ticket;
        if now < first_byte {
            return None;
        }
        let (passed, whole) = (now.since(first_byte).as_secs_f64(), end.since(first_byte).as_secs_f64());
        let share = if whole > 0.0 { (passed / whole).min(1.0) } else { 1.0 };
        let output = Tokens::new((f64::from(output.get()) * share) as u32);
        Some(Usage { input, output, ..Usage::default() })
    }

    /// Changes the world.
    pub fn weather(&mut self, _now: Timestamp, change: &Change) {
        match *change {
            Change::Overload { upstream, episode } => self.forecasts[upstream.index()].force(episode),
            Change::Faults { upstream, faults } => {
                self.spec.upstreams[upstream.index()].faults = faults;
                self.faulty |= faults != Faults::default();
            }
            Change::Latency { upstream, latency } => self.spec.upstreams[upstream.index()].latency = latency,
            Change::Limits { project, upstream, quota } => {
                let slot = project as usize * self.spec.upstreams.len() + upstream.index();
                self.meters[slot].get_or_insert_with(|| Meter::new(quota)).set_limits(quota);
            }
            Change::Death { key, death } => {
                self.spec.keys[key.index()].deaths.push(death);
                self.eventful = true;
            }
            Change::Revival { key } => self.spec.keys[key.index()].deaths.clear(),
            Change::Reply { ref scripted } => {
                self.spec.script.insert(0, scripted.clone());
                self.script_left.insert(0, scripted.times.unwrap_or(u32::MAX));
                self.eventful = true;
            }
        }
    }

    /// What the world was made of, with all changes so far.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The episodes of one upstream, as drawn, listed and shared; unordered where those overlap.
    pub fn episodes(&self, upstream: UpstreamId) -> &[Episode] {
        &self.episodes[upstream.index()]
    }

    /// The forecast probability of a 503 of one upstream: each step holds from its time on, the first from zero.
    pub fn forecast(&self, upstream: UpstreamId) -> &[(Timestamp, f64)] {
        self.forecasts[upstream.index()].steps()
    }

    /// Requests that one project has been charged for, in the minute and the day as of its last call.
    pub fn used(&self, project: u32, upstream: UpstreamId) -> (u32, u32) {
        let slot = project as usize * self.spec.upstreams.len() + upstream.index();
        self.meters[slot].as_ref().map_or((0, 0), Meter::used)
    }

    /// How many answers were given as they are on record.
    pub fn reuse(&self) -> Reuse {
        self.recall.as_ref().map_or(Reuse::default(), Recall::reuse)
    }

    /// What comes of a call before it meets quota and weather.
    #[cold]
    fn special(&mut self, now: Timestamp, call: &Call) -> Option<Plan> {
        if let Some(recall) = &mut self.recall {
            recall.count(now, call.upstream);
        }
        self.scripted(now, call).or_else(|| self.dead(now, call)).or_else(|| self.throttled(now, call))
    }

    #[inline(always)]
    fn plan(&mut self, now: Timestamp, call: &Call) -> Plan {
        let bits = call.luck.attempt;
        let upstream = &self.spec.upstreams[call.upstream.index()];
        match call.endpoint {
            Endpoint::Generate => {}
            Endpoint::Embed | Endpoint::Count => {
                let after = upstream.refusals.request.duration(split(bits, LATENCY));
                let usage = Usage { input: call.input, ..Usage::default() };
                return Plan { usage: Some(usage), ..Plan::at(now + after, Ending::Status(200), Facts::default()) };
            }
        }
        let project = self.spec.keys[call.key.index()].project as usize;
        let meter = &mut self.meters[project * self.spec.upstreams.len() + call.upstream.index()];
        if let Some(meter) = meter {
            meter.let_time_pass(now, &self.spec.resets);
            if !meter.has_room(call.input.get()) {
                return limited(upstream, meter, now, call);
            }
        }
        let mut count = |ending| {
            if let Some(meter) = meter
                && is_charged(ending, upstream.charged)
            {
                meter.charge(now, call.input.get());
            }
        };
        let p503 = self.forecasts[call.upstream.index()].p503(now);
        let plan = match &mut self.recall {
            Some(recall) => recalled(recall, p503, upstream, now, call),
            None if strikes(split(bits, OVERLOAD), p503) => {
                count(Ending::Status(503));
                return refused(upstream, now, 503, bits);
            }
            None if self.faulty => served(upstream, now, call, None),
            None => {
                count(Ending::Status(200));
                return good(upstream, now, call, None);
            }
        };
        count(plan.ending);
        plan
    }

    /// The scripted reply to this call, if there is one.
    fn scripted(&mut self, now: Timestamp, call: &Call) -> Option<Plan> {
        let (index, scripted) = self.spec.script.iter().enumerate().find(|(index, scripted)| {
            scripted.from <= now
                && now < scripted.until
                && scripted.key.is_none_or(|key| key == call.key)
                && scripted.upstream.is_none_or(|upstream| upstream == call.upstream)
                && self.script_left[*index] > 0
        })?;
        if scripted.times.is_some() {
            self.script_left[index] -= 1;
        }
        let Reply { after, ending, facts } = scripted.reply;
        let mut plan = Plan::at(now + after, ending, facts);
        if ending == Ending::Status(200) {
            plan.usage = Some(Usage { input: call.input, output: call.output, ..Usage::default() });
            if call.stream {
                (plan.first_byte, plan.chunks) = (Some(plan.end), 1);
            }
        }
        Some(plan)
    }

    /// The refusal of a key that does not work for this model now.
    fn dead(&self, now: Timestamp, call: &Call) -> Option<Plan> {
        let of_this_call = |death: &&Death| {
            death.from <= now && now < death.until && death.upstream.is_none_or(|only| only == call.upstream)
        };
        let death = self.spec.keys[call.key.index()].deaths.iter().find(of_this_call)?;
        let upstream = &self.spec.upstreams[call.upstream.index()];
        let (status, facts) = upstream.wording.dead(death.reason);
        let after = upstream.refusals.request.duration(split(call.luck.attempt, REFUSAL));
        Some(upstream.fails(now + after, Ending::Status(status), facts))
    }

    /// The refusal of an address throttle that stops this call. Calls that pass are counted.
    fn throttled(&mut self, now: Timestamp, call: &Call) -> Option<Plan> {
        let upstream = &self.spec.upstreams[call.upstream.index()];
        for (throttle, meters) in self.spec.throttles.iter().zip(&mut self.throttled) {
            if throttle.provider != upstream.provider || now < throttle.from || now >= throttle.until {
                continue;
            }
            let quota = Quota { rpm: Some(throttle.rpm), ..Quota::default() };
            while meters.len() <= usize::from(call.address) {
                meters.push(Meter::new(quota));
            }
            let meter = &mut meters[usize::from(call.address)];
            meter.let_time_pass(now, &[]);
            if !meter.has_room(0) {
                let after = upstream.refusals.limit.duration(split(call.luck.attempt, REFUSAL));
                let reason = throttle.says_so.then_some(Reason::AddressThrottled);
                return Some(upstream.fails(now + after, Ending::Status(429), Facts { reason, ..Facts::default() }));
            }
            meter.charge(now, 0);
        }
        None
    }
}

/// Whether anything is limited at all.
fn limits(quota: &Quota) -> bool {
    quota.rpm.is_some() || quota.tpm.is_some() || quota.rpd.is_some() || quota.tpd.is_some()
}

/// The refusal of a project whose quota is used up.
#[cold]
fn limited(upstream: &Upstream, meter: &mut Meter, now: Timestamp, call: &Call) -> Plan {
    let tokens = call.input.get();
    let (exceeded, left) = (meter.exceeded(tokens), meter.minute_left(now, tokens));
    if upstream.charged.limit {
        meter.charge(now, tokens);
    }
    let facts = upstream.wording.limited(exceeded, left, split(call.luck.attempt, HINT));
    let after = upstream.refusals.limit.duration(split(call.luck.attempt, REFUSAL));
    upstream.fails(now + after, Ending::Status(429), facts)
}

/// What the record says about this call, or how it goes on where the record is silent.
#[cold]
fn recalled(recall: &mut Recall, p503: f64, upstream: &Upstream, now: Timestamp, call: &Call) -> Plan {
    let bits = call.luck.attempt;
    let (overloaded, known, latency) = recall.meet(call.luck, p503, split(bits, OVERLOAD), &upstream.latency.shape);
    match known {
        Some(reply) => {
            let plan = reply.plan(now, upstream.chunks(call));
            Plan { facts: plan.facts.map(|facts| upstream.wording.tells(plan.ending, facts)), ..plan }
        }
        None if overloaded => refused(upstream, now, 503, bits),
        None => served(upstream, now, call, latency),
    }
}

/// A server's refusal.
fn refused(upstream: &Upstream, now: Timestamp, status: u16, bits: u64) -> Plan {
    let after = upstream.refusals.overload.duration(split(bits, REFUSAL));
    let reason = (status == 503).then_some(Reason::Overloaded);
    upstream.fails(now + after, Ending::Status(status), Facts { reason, ..Facts::default() })
}

/// A call that the weather let through: good, unless one of the single faults strikes.
/// It takes as long as `known`, or as is drawn.
fn served(upstream: &Upstream, now: Timestamp, call: &Call, known: Option<Duration>) -> Plan {
    let good = good(upstream, now, call, known);
    match upstream.faults.strike(split(call.luck.attempt, FAULT)) {
        None => good,
        Some(fault) => faulty(upstream, now, call, good, fault),
    }
}

#[inline(always)]
fn good(upstream: &Upstream, now: Timestamp, call: &Call, known: Option<Duration>) -> Plan {
    let bits = match upstream.latency.per {
        Per::Turn => call.luck.turn,
        Per::Attempt => call.luck.attempt,
    };
    let mut latency = known.unwrap_or_else(|| upstream.latency.shape.duration(split(bits, LATENCY)));
    if let Some(rate) = upstream.latency.tokens_per_s {
        latency += Duration::from_secs_f64(f64::from(call.output.get()) / rate);
    }
    let end = now + latency;
    let first = || now + latency.mul_f64(upstream.pace.first_byte.clamp(0.0, 1.0));
    Plan {
        first_byte: call.stream.then(|| first().min(end)),
        chunks: upstream.chunks(call),
        silent_from: None,
        end,
        ending: Ending::Status(200),
        facts: None,
        usage: Some(Usage { input: call.input, output: call.output, ..Usage::default() }),
    }
}

impl Upstream {
    /// A failure, which says no more than this provider's answers can carry.
    fn fails(&self, end: Timestamp, ending: Ending, facts: Facts) -> Plan {
        Plan::at(end, ending, self.wording.tells(ending, facts))
    }

    /// Chunks of the answer to this call; none where it is not streamed.
    fn chunks(&self, call: &Call) -> u32 {
        if call.stream { call.output.get().div_ceil(self.pace.chunk_tokens.max(1)).max(1) } else { 0 }
    }
}

/// What a fault makes of a good answer.
fn faulty(upstream: &Upstream, now: Timestamp, call: &Call, good: Plan, fault: Fault) -> Plan {
    let bits = call.luck.attempt;
    let early = now + upstream.refusals.overload.duration(split(bits, REFUSAL));
    let transport = |end, transport| Plan::at(end, Ending::Transport(transport), Facts::default());
    // A stream that goes wrong half-way has delivered half of its chunks, at least the first.
    let half = |first: Timestamp, ending, facts| {
        let end = first + Duration::from_nanos(good.end.since(first).as_nanos() / 2);
        Plan { first_byte: Some(first), chunks: good.chunks.div_ceil(2), ..upstream.fails(end, ending, facts) }
    };
    match (fault, good.first_byte) {
        (Fault::Connect, _) => transport(early, Transport::Connect),
        (Fault::Reset, _) | (Fault::Cut, None) => transport(early, Transport::Reset),
        (Fault::Server, _) => refused(upstream, now, 500, bits),
        (Fault::Timeout, _) => refused(upstream, now, 504, bits),
        (Fault::ErrorEvent, None) => refused(upstream, now, 503, bits),
        (Fault::Malformed, first) => {
            Plan { first_byte: first, chunks: u32::from(first.is_some()), ..transport(good.end, Transport::Malformed) }
        }
        (Fault::Cut, Some(first)) => half(first, Ending::Transport(Transport::Cut), Facts::default()),
        (Fault::ErrorEvent, Some(first)) => {
            let facts = Facts { inner_status: Some(503), reason: Some(Reason::Overloaded), ..Facts::default() };
            half(first, Ending::Transport(Transport::ErrorEvent), facts)
        }
        (Fault::Hang, _) | (Fault::Stall, None) => transport(Timestamp::MAX, Transport::Reset),
        (Fault::Stall, Some(first)) => {
            let broken = half(first, Ending::Transport(Transport::Cut), Facts::default());
            Plan { silent_from: Some(broken.end), end: Timestamp::MAX, ..broken }
        }
        (Fault::Slow, first) => {
            let from = first.unwrap_or(now);
            Plan { end: from + good.end.since(from).saturating_mul(10), ..good }
        }
        (Fault::SpuriousLimit, _) => {
            let after = upstream.refusals.limit.duration(split(bits, REFUSAL));
            Plan::at(now + after, Ending::Status(429), Facts::default())
        }
        // A blocked prompt is a 200 without candidates; the driver reports it as finished with this reason.
        (Fault::Blocked, _) => {
            let facts = Facts { reason: Some(Reason::ContentBlocked), ..Facts::default() };
            Plan { usage: good.usage, ..Plan::at(early, Ending::Status(200), facts) }
        }
    }
}

/// Whether a call consumes quota. What was answered does, in whole or in part; what never reached the model does not.
fn is_charged(ending: Ending, charged: Charged) -> bool {
    match ending {
        Ending::Status(429) => charged.limit,
        Ending::Status(status) => status < 500 || charged.overload,
        Ending::Transport(Transport::Connect) => false,
        Ending::Transport(
            Transport::Reset
            | Transport::ReusedConnection
            | Transport::FirstByteTimeout
            | Transport::IdleTimeout
            | Transport::TotalTimeout
            | Transport::Cut
            | Transport::ErrorEvent
            | Transport::Malformed
            | Transport::Abandoned,
        ) => true,
    }
}

/// One of the [`Faults`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Connect,
    Reset,
    Server,
    Timeout,
    Malformed,
    Cut,
    ErrorEvent,
    Hang,
    Stall,
    Slow,
    SpuriousLimit,
    Blocked,
}

impl Faults {
    /// The fault that these bits bring, if any.
    fn strike(&self, bits: u64) -> Option<Fault> {
        let mut left = unit(bits);
        let table = [
            (self.connect, Fault::Connect),
            (self.reset, Fault::Reset),
            (self.server, Fault::Server),
            (self.timeout, Fault::Timeout),
            (self.malformed, Fault::Malformed),
            (self.cut, Fault::Cut),
            (self.error_event, Fault::ErrorEvent),
            (self.hang, Fault::Hang),
            (self.stall, Fault::Stall),
            (self.slow, Fault::Slow),
            (self.spurious_limit, Fault::SpuriousLimit),
            (self.blocked, Fault::Blocked),
        ];
        for (p, fault) in table {
            if left < p {
                return Some(fault);
            }
            left -= p;
        }
        None
    }
}
