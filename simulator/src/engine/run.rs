//! The loop: one thread, one event after the other, each handed to the router and its outputs carried out before the
//! next.
//!
//! Simultaneous events have one order: what a scenario lets happen, then ends of calls, client calls, the router's
//! wake-up, users who lose patience, and new turns; within a class the order in which they were set.

use std::collections::VecDeque;
use std::sync::Arc;

use stormproof_router::core::{
    Arrived, AttemptId, Deployment, DeploymentId, Dispatch, Ending, Finished, Input, KeyId, Outcome, Output, Price,
    RequestId, Route, Settings, Source, Tier, TierId, Timestamp, TokenEstimate, Tokens, TurnId, UpstreamId, Verdict,
};

use super::day::{Day, Happening};
use super::event::{Event, What};
use super::flight::{Aside, Attempt, Flight, Stage};
use super::hash::fold;
use super::queue::Queue;
use super::tally::{Gap, PATIENCE, Tally, TurnEnd, bill, failure_index};
use super::timeouts::fate;
use super::witness::{AttemptSeen, TurnSeen, Witness};
use crate::clients::{self, Arrivals, Behaviour, Failure, Next, Turn};
use crate::draws::Stream;
use crate::world::{Call, Fortune, World};

/// What a run leaves behind.
#[derive(Debug)]
pub struct Ended<R> {
    /// What it amounted to.
    pub tally: Tally,
    /// The router as it was at the end.
    pub router: R,
    /// The world as it was at the end.
    pub world: World,
}

/// Lets `day` happen to `router` under `settings`, with everything random drawn from `seed`; the router's own draws
/// too, whatever seed the settings bring.
pub fn run<R: Route, Q: Queue<Event>, W: Witness>(
    day: &Day,
    settings: &Arc<Settings>,
    router: R,
    seed: u64,
    witness: &mut W,
) -> Ended<R> {
    let mut engine = Engine::<R, Q, W>::new(day, router, seed, witness);
    engine.configure(Timestamp::ZERO, settings);
    engine.deliver(Timestamp::ZERO, Input::Clock { wall: day.start });
    while engine.step() {}
    engine.end()
}

/// Everything about one run.
struct Engine<'a, R, Q, W> {
    day: &'a Day,
    seed: u64,
    fortune: Fortune,
    jitter: Source,
    router: R,
    world: World,
    queue: Q,
    witness: &'a mut W,
    /// Every deployment of every settings that were ever in force; calls in flight may be of earlier ones.
    places: Vec<Place>,
    /// Where those of the settings in force begin.
    base: usize,
    /// The tier that is not a fallback, by model.
    first_tiers: Vec<TierId>,
    turns: Vec<Turn>,
    states: Vec<TurnState>,
    /// When each turn was answered; [`Timestamp::MAX`] while it is not.
    answered_at: Vec<Timestamp>,
    /// Attempts made so far, by turn and upstream: what an attempt's luck hangs on.
    tries: Vec<u16>,
    /// Whether any users think before another turn; most clients are of no closed loop.
    are_thinking: bool,
    /// Turns that are known beforehand; later ones are set by their users.
    planned: usize,
    next_turn: usize,
    /// When that one begins.
    arrives_at: Timestamp,
    requests: Vec<Request>,
    flight: Flight,
    /// The attempt whose end the router is being told of.
    finishing: Option<AttemptId>,
    /// The turns in the order in which their users go away, by client spec: as they began, because the patience is the
    /// same for all. Turns that have been answered since are skipped when they come to the front.
    patience: Vec<VecDeque<u32>>,
    patience_at: Timestamp,
    wake: Timestamp,
    /// Wake-ups handed in without time passing.
    wakes_at_once: u32,
    happened: usize,
    happens_at: Timestamp,
    sequence: u64,
    /// Requests that are not closed.
    open: u64,
    now: Timestamp,
    gap: Gap,
    tally: Tally,
}

/// A deployment, as far as a call needs it.
#[derive(Clone, Copy, Debug)]
struct Place {
    deployment: DeploymentId,
    key: KeyId,
    upstream: UpstreamId,
    tier: TierId,
    price: Price,
}

/// How far a turn has come.
#[derive(Clone, Copy, Debug, Default)]
struct TurnState {
    /// Index of its running request, plus 1; 0 for none.
    request: u32,
    calls: u16,
    behaviour: Behaviour,
    /// What became of its last call.
    failure: u8,
    /// Nobody waits for an answer any more, and none has come.
    has_failed: bool,
}

/// One client call.
#[derive(Clone, Copy, Debug)]
struct Request {
    turn: u32,
    /// A provider has given an answer.
    good: bool,
    /// That answer came from a tier which is not the model's first.
    fallback: bool,
    relayed: bool,
    client: Client,
}

/// Where the client is that made a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// It waits for the outcome.
    Waits,
    /// Its user went away before there was one.
    Left,
    /// It has the outcome: the request is closed.
    Knows,
}

/// A router that wants to be woken this often without time passing is stuck.
const WAKES_AT_ONCE_MAX: u32 = 10_000;

impl<'a, R: Route, Q: Queue<Event>, W: Witness> Engine<'a, R, Q, W> {
    fn new(day: &'a Day, router: R, seed: u64, witness: &'a mut W) -> Self {
        let turns = clients::turns(&day.clients, seed, Timestamp::ZERO + day.duration);
        let planned = turns.len();
        let arrives_at = turns.first().map_or(Timestamp::MAX, |turn| turn.at);
        Self {
            seed,
            fortune: Fortune::new(seed),
            jitter: Stream::Client.of(seed),
            router,
            world: World::new(&day.world, seed, day.horizon()),
            queue: Q::default(),
            witness,
            places: Vec::new(),
            base: 0,
            first_tiers: Vec::new(),
            states: vec![TurnState::default(); planned],
            answered_at: vec![Timestamp::MAX; planned],
            tries: vec![0; planned * day.world.upstreams.len()],
            turns,
            are_thinking: day.clients.iter().any(|client| matches!(client.arrivals, Arrivals::Closed { .. })),
            planned,
            next_turn: 0,
            arrives_at,
            requests: Vec::with_capacity(planned),
            flight: Flight::default(),
            finishing: None,
            patience: vec![VecDeque::new(); day.clients.len()],
            patience_at: Timestamp::MAX,
            wake: Timestamp::MAX,
            wakes_at_once: 0,
            happened: 0,
            happens_at: day.happens_at(0),
            sequence: 0,
            open: 0,
            now: Timestamp::ZERO,
            gap: Gap::default(),
            tally: Tally::default(),
            day,
        }
    }

    /// Lets the next event happen. False when nothing is left to happen.
    fn step(&mut self) -> bool {
        let queued = self.queue.next_at();
        let arrival = self.arrives_at;
        if queued == Timestamp::MAX && arrival == Timestamp::MAX && self.open == 0 && self.flight.is_empty() {
            return false;
        }
        let now = queued.min(arrival).min(self.wake).min(self.patience_at).min(self.happens_at);
        if now == Timestamp::MAX {
            return false;
        }
        if now > self.now {
            (self.now, self.wakes_at_once) = (now, 0);
        }
        if self.happens_at == now {
            self.happen(now);
        } else if queued == now {
            self.pop(now);
        } else if self.wake == now {
            self.wake_up(now);
        } else if self.patience_at == now {
            self.lose_patience(now);
        } else {
            let turn = self.next_turn;
            self.next_turn += 1;
            self.arrives_at = self.turns[..self.planned].get(self.next_turn).map_or(Timestamp::MAX, |turn| turn.at);
            self.begin(now, turn as u32);
        }
        true
    }

    fn end(mut self) -> Ended<R> {
        while self.patience_at < Timestamp::MAX {
            self.lose_patience(self.patience_at);
        }
        self.tally.faults.unclosed = self.open;
        self.tally.longest_gap = self.gap.longest();
        self.tally.end = self.now;
        // An end is as large as a turn and takes its place, so nothing is allocated for them.
        let ends = self.turns.into_iter().zip(self.answered_at).map(|(turn, end)| {
            let answered = end < Timestamp::MAX;
            let patience = self.day.clients[turn.client()].patience;
            TurnEnd { at: turn.at, end: if answered { end } else { turn.at + patience }, answered }
        });
        self.tally.turns = ends.collect();
        Ended { tally: self.tally, router: self.router, world: self.world }
    }

    fn happen(&mut self, now: Timestamp) {
        let day = self.day;
        let Some((_, happening)) = day.happenings.get(self.happened) else { return };
        self.happened += 1;
        self.happens_at = day.happens_at(self.happened);
        match happening {
            Happening::World(change) => self.world.weather(now, change),
            Happening::Operator(action) => {
                self.deliver(now, Input::Operator { action: action.clone(), author: Arc::from("scenario") });
            }
            Happening::Configured(settings) => self.configure(now, settings),
            Happening::Clock(wall) => self.deliver(now, Input::Clock { wall: *wall }),
            Happening::Leaves { turn, began } => self.leave(now, *turn, *began),
        }
    }

    fn configure(&mut self, now: Timestamp, settings: &Arc<Settings>) {
        self.base = self.places.len();
        self.places.extend((0..).zip(&settings.deployments).map(|(index, &Deployment { key, tier, .. })| {
            let Tier { upstream, price, .. } = settings.tiers[tier.index()];
            Place { deployment: DeploymentId::new(index), key, upstream, tier, price }
        }));
        self.first_tiers = settings.models.iter().map(|model| model.tiers[0]).collect();
        let seed = Stream::Router.draw(self.seed, 0, 0);
        let settings = Arc::new(Settings { seed, ..Settings::clone(settings) });
        self.deliver(now, Input::Configured { settings });
    }

    fn pop(&mut self, now: Timestamp) {
        let Some((_, event)) = self.queue.pop() else { return };
        if let Some(What::Finished(slot)) = self.queue.peek().map(Event::what) {
            self.flight.expect(slot);
        }
        match event.what() {
            What::FirstByte(slot) => self.first_byte(now, slot),
            What::Finished(slot) => self.finished(now, slot, Stage::Running),
            What::Abandoned(slot) => self.finished(now, slot, Stage::Abandoned),
            What::Call(turn) if self.is_over(turn) => {}
            What::Call(index) => {
                let turn = self.turns[index as usize];
                self.call(now, index, &turn, self.spec(&turn));
            }
            What::Turn(turn) => self.begin(now, turn),
        }
    }

    fn wake_up(&mut self, now: Timestamp) {
        self.wake = Timestamp::MAX;
        self.wakes_at_once += 1;
        if self.wakes_at_once > WAKES_AT_ONCE_MAX {
            self.tally.faults.stuck += 1;
            return;
        }
        self.deliver(now, Input::Woke);
    }

    /// A turn begins with its first call.
    fn begin(&mut self, now: Timestamp, index: u32) {
        let turn = self.turns[index as usize];
        let spec = self.spec(&turn);
        let until = now + spec.patience;
        self.gap.begins_to_wait(now);
        self.patience[turn.client()].push_back(index);
        self.patience_at = self.patience_at.min(until);
        self.call(now, index, &turn, spec);
    }

    /// What the clients of this turn do.
    fn spec(&self, turn: &Turn) -> &'a clients::Spec {
        &self.day.clients[turn.client()]
    }

    /// The turn whose patience is over first.
    fn lose_patience(&mut self, now: Timestamp) {
        let mut lost = None;
        self.patience_at = Timestamp::MAX;
        for (queue, spec) in self.patience.iter_mut().zip(&self.day.clients) {
            let until = |turn: u32| self.turns[turn as usize].at + spec.patience;
            if lost.is_none() {
                lost = queue.pop_front_if(|turn| until(*turn) == now);
            }
            // Whoever has been answered is patient.
            let is_patient = |turn: u32| self.answered_at[turn as usize] < Timestamp::MAX;
            let patient = queue.iter().take_while(|turn| is_patient(**turn)).count();
            queue.drain(..patient);
            self.patience_at = self.patience_at.min(queue.front().map_or(Timestamp::MAX, |turn| until(*turn)));
        }
        let Some(turn) = lost else { return };
        if self.answered_at[turn as usize] < Timestamp::MAX {
            return;
        }
        self.gap.gone(now);
        if !self.states[turn as usize].has_failed {
            self.go_away(now, turn);
        }
    }

    /// A user goes away before the patience is over, which the turn is then counted to have waited out.
    fn leave(&mut self, now: Timestamp, key: u64, began: Timestamp) {
        let first = self.turns[..self.planned].partition_point(|turn| turn.at < began);
        let same = |turn: &&Turn| turn.at == began;
        let place = self.turns[first..self.planned].iter().take_while(same).position(|turn| turn.key == key);
        let Some(turn) = place.map(|place| first + place).filter(|turn| *turn < self.next_turn) else { return };
        if !self.is_over(turn as u32) {
            self.go_away(now, turn as u32);
        }
    }

    fn go_away(&mut self, now: Timestamp, turn: u32) {
        let state = self.states[turn as usize];
        let waits = |index: &u32| self.requests[*index as usize].client == Client::Waits;
        let running = state.request.checked_sub(1).filter(waits);
        self.fail(now, turn, if running.is_some() { PATIENCE } else { state.failure });
        let Some(index) = running else { return };
        let request = &mut self.requests[index as usize];
        request.client = Client::Left;
        // Nobody stops an answer that is already being read, but it comes too late.
        if !request.relayed {
            self.deliver(now, Input::Cancelled { request: RequestId::new(u64::from(index) + 1) });
        }
    }

    /// Whether a turn has been answered or has failed.
    fn is_over(&self, turn: u32) -> bool {
        self.answered_at[turn as usize] < Timestamp::MAX || self.states[turn as usize].has_failed
    }

    /// A client calls.
    fn call(&mut self, now: Timestamp, index: u32, turn: &Turn, spec: &clients::Spec) {
        let client = Client::Waits;
        self.requests.push(Request { turn: index, good: false, fallback: false, relayed: false, client });
        let number = self.requests.len() as u32;
        let state = &mut self.states[index as usize];
        state.request = number;
        state.calls = state.calls.saturating_add(1);
        self.tally.client_calls += 1;
        self.open += 1;
        let estimate = Tokens::new((f64::from(turn.input.get()) * spec.sizes.estimate) as u32);
        let arrived = Arrived {
            request: RequestId::new(u64::from(number)),
            turn: TurnId::new(u64::from(index) + 1),
            client: spec.client,
            model: spec.model,
            endpoint: spec.endpoint,
            stream: spec.stream,
            tokens: TokenEstimate { input: estimate, output_max: spec.sizes.output_max },
            priority: spec.priority,
            deadline: now + spec.deadline,
        };
        self.deliver(now, Input::Arrived(arrived));
    }

    fn first_byte(&mut self, now: Timestamp, slot: u32) {
        let Some((attempt, end)) = self.flight.first_byte(slot) else { return };
        self.set(end, What::Finished(slot));
        self.deliver(now, Input::FirstByte { attempt });
    }

    fn finished(&mut self, now: Timestamp, slot: u32, stage: Stage) {
        let Some((attempt, aside)) = self.flight.finish(slot, stage) else { return };
        let facts = aside.and_then(|aside| aside.facts);
        let good = attempt.ending == Ending::Status(200) && facts.is_none_or(|facts| facts.reason.is_none());
        self.tally.count_attempt(attempt.ending);
        let place = &self.places[attempt.place as usize];
        let request = &mut self.requests[attempt.request as usize];
        let fallback = place.tier != self.first_tiers[attempt.model.index()];
        if good {
            (request.good, request.fallback) = (true, fallback);
        }
        // Of an answer that says nothing about it, the provider charges what it had done by now.
        let stopped = || aside.and_then(|aside| self.world.cancel(now, aside.ticket));
        if let Some(usage) = attempt.usage.or_else(stopped) {
            let spend = bill(&place.price, usage, good);
            self.tally.total_spend += spend;
            if fallback {
                self.tally.fallback_spend += spend;
            }
        }
        self.witness.attempt(AttemptSeen {
            attempt: attempt.id,
            request: RequestId::new(u64::from(attempt.request) + 1),
            deployment: place.deployment,
            from: attempt.from,
            to: now,
            ending: attempt.ending,
        });
        let &Attempt { id, ending, usage, .. } = attempt;
        let finished = Finished { attempt: id, ending, facts: facts.unwrap_or_default(), usage };
        self.finishing = Some(id);
        self.deliver(now, Input::Finished(finished));
        self.finishing = None;
    }

    /// Hands one input to the router and carries out what it wants.
    fn deliver(&mut self, now: Timestamp, input: Input) {
        self.tally.events += 1;
        self.witness.input(now, &input);
        self.router.observe(now, input, self.witness);
        while let Some(output) = self.router.poll_output() {
            // Noted in each arm, which already knows what kind of output it is.
            match output {
                Output::Dispatch(dispatch) => {
                    self.note(now, &output);
                    self.dispatch(now, &dispatch);
                }
                Output::Relay { request, .. } => {
                    self.note(now, &output);
                    self.relay(request);
                }
                Output::Abandon { attempt } => {
                    self.note(now, &output);
                    self.abandon(now, attempt);
                }
                Output::Close { .. } => {
                    self.note(now, &output);
                    let Output::Close { request, verdict } = output else { continue };
                    self.close(now, request, &verdict);
                }
                Output::WakeAt(at) => {
                    self.note(now, &output);
                    self.wake = if at == Timestamp::MAX { at } else { at.max(now) };
                }
            }
        }
        self.witness.settled(now, &self.router);
    }

    #[inline(always)]
    fn note(&mut self, now: Timestamp, output: &Output) {
        self.tally.decision_hash = fold(self.tally.decision_hash, now, output);
        self.witness.output(now, output);
    }

    fn dispatch(&mut self, now: Timestamp, dispatch: &Dispatch) {
        let index = dispatch.request.get().wrapping_sub(1);
        let at = self.base + dispatch.deployment.index();
        let (Some(request), Some(place)) = (self.requests.get(index as usize), self.places.get(at)) else {
            self.tally.faults.unknown_requests += 1;
            return;
        };
        let turn = &self.turns[request.turn as usize];
        let spec = self.spec(turn);
        let width = self.day.world.upstreams.len();
        let tries = &mut self.tries[request.turn as usize * width + place.upstream.index()];
        let luck = self.fortune.luck(turn.key, place.upstream, u32::from(*tries));
        *tries = tries.saturating_add(1);
        let call = Call {
            key: place.key,
            upstream: place.upstream,
            endpoint: spec.endpoint,
            stream: spec.stream,
            input: turn.input,
            output: turn.output,
            address: 0,
            luck,
        };
        let plan = self.world.call(now, &call);
        let fate = fate(&plan, now, &dispatch.timeouts);
        let (ending, facts, usage) = match fate.timeout {
            None => (plan.ending, &plan.facts, plan.usage),
            Some(transport) => (Ending::Transport(transport), &None, None),
        };
        let attempt = Attempt {
            id: dispatch.attempt,
            from: now,
            usage,
            request: index as u32,
            place: at as u32,
            model: spec.model,
            ending,
        };
        let slot = self.flight.insert(attempt);
        if facts.is_some() || plan.first_byte.is_some() {
            self.flight.put_aside(slot, Aside { facts: *facts, end: fate.end, ticket: plan.ticket(&call) });
        }
        match fate.first_byte {
            Some(first) => self.set(first, What::FirstByte(slot)),
            None => self.set(fate.end, What::Finished(slot)),
        }
    }

    fn relay(&mut self, request: RequestId) {
        match self.requests.get_mut(request.get().wrapping_sub(1) as usize) {
            Some(request) => request.relayed = true,
            None => self.tally.faults.unknown_requests += 1,
        }
    }

    fn abandon(&mut self, now: Timestamp, attempt: AttemptId) {
        match self.flight.abandon(attempt) {
            Some(slot) => self.set(now, What::Abandoned(slot)),
            // An end at the very deadline: the request is closed first, and its attempts with it.
            None if self.finishing == Some(attempt) => {}
            None => self.tally.faults.unknown_attempts += 1,
        }
    }

    /// A client has the outcome of its call.
    fn close(&mut self, now: Timestamp, id: RequestId, verdict: &Verdict) {
        let index = id.get().wrapping_sub(1);
        let Some(request) = self.requests.get_mut(index as usize).filter(|request| request.client != Client::Knows)
        else {
            self.tally.faults.unknown_requests += 1;
            return;
        };
        let client = std::mem::replace(&mut request.client, Client::Knows);
        self.open -= 1;
        let Request { turn, good, fallback, .. } = *request;
        let answered = verdict.outcome == Outcome::Answered && good;
        if verdict.outcome == Outcome::Answered && !good {
            self.tally.faults.false_answers += 1;
        }
        self.tally.client_statuses.count(verdict.status);
        let in_stream = verdict.foreign.is_some_and(|foreign| foreign.error_in_stream)
            || verdict.outcome == Outcome::Cut && verdict.status == 200;
        self.tally.errors_in_streams += u64::from(in_stream);
        self.witness.call(now, answered);
        if client == Client::Left {
            return;
        }
        if answered {
            self.succeed(now, turn, fallback);
            return;
        }
        let state = &mut self.states[turn as usize];
        state.failure = failure_index(verdict.outcome);
        let begun = &self.turns[turn as usize];
        let spec = &self.day.clients[begun.client()];
        let bits = self.jitter.draw(begun.key, u64::from(state.calls));
        let failure = Failure { status: verdict.status, retry_after: verdict.retry_after, in_stream };
        match state.behaviour.failed(&spec.retries, failure, bits) {
            Next::Call { after } if now + after < begun.at + spec.patience => self.set(now + after, What::Call(turn)),
            Next::Call { .. } | Next::GiveUp => {
                let failure = state.failure;
                self.fail(now, turn, failure);
            }
        }
    }

    fn succeed(&mut self, now: Timestamp, turn: u32, fallback: bool) {
        self.answered_at[turn as usize] = now;
        self.tally.fallback_answers += u64::from(fallback);
        self.gap.answered(now);
        self.witness.turn(TurnSeen { turn, from: self.turns[turn as usize].at, to: now, answered: true, fallback });
        if self.are_thinking {
            self.think(now, turn);
        }
    }

    fn fail(&mut self, now: Timestamp, turn: u32, failure: u8) {
        self.states[turn as usize].has_failed = true;
        self.tally.failures[usize::from(failure)] += 1;
        let from = self.turns[turn as usize].at;
        self.witness.turn(TurnSeen { turn, from, to: now, answered: false, fallback: false });
        if self.are_thinking {
            self.think(now, turn);
        }
    }

    /// The user of a closed loop thinks, then begins another turn.
    fn think(&mut self, now: Timestamp, turn: u32) {
        let turn = &self.turns[turn as usize];
        let spec = self.spec(turn);
        let (user, index) = turn.user();
        let Some(next) = Turn::of_user(spec, turn.client(), user, index + 1, now, self.seed) else { return };
        if next.at >= Timestamp::ZERO + self.day.duration {
            return;
        }
        let number = self.turns.len() as u32;
        self.turns.push(next);
        self.states.push(TurnState::default());
        self.answered_at.push(Timestamp::MAX);
        self.tries.extend(std::iter::repeat_n(0, self.day.world.upstreams.len()));
        self.set(next.at, What::Turn(number));
    }

    fn set(&mut self, at: Timestamp, what: What) {
        self.sequence += 1;
        self.queue.push(at, Event::new(what, self.sequence));
    }
}
