//! Our router: the state machine behind [`Route`], and the order in which things happen inside one input.
//!
//! First what time alone has done: deadlines close their requests before anything else, days roll over, calls that
//! survived count as accepted, waiters whose capacity came free start, requests that wanted to be asked again are. Then
//! the input itself. Then the waiting list once more, for what the input has freed. What to do is decided in `decide`,
//! what an attempt's end means in `finish`.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::budget::worst_case;
use super::calendar::Calendar;
use super::cooldown::Cooldown;
use super::decide::{Decision, Pick};
use super::ids::{AttemptId, RequestId, TierId};
use super::input::{Arrived, Endpoint, Input};
use super::latency::{Latency, Prior};
use super::observer::{Note, Observer};
use super::output::{Cause, Dispatch, Outcome, Output, Verdict, Why};
use super::plan::{Place, Plan, Register, Start, endpoint_offset};
use super::quota::Quota;
use super::route::{RestoreError, Route};
use super::scan::Sheets;
use super::settings::{Limits, Settings, Timeouts};
use super::slab::{Handle, Shelf, Slab};
use super::state::{Attempt, ClientState, Failures, KeyState, Marks, Node, Probes, Request, Site, Stage, TierState};
use super::time::{Duration, Timestamp};
use super::timers::Timers;
use super::units::Usd;
use super::unrecorded::{AtRisk, PowerLoss, Stake};
use super::waiting::{Waiter, Waiting};

/// Which policy this is, and its version. It changes with every change of decisions.
const POLICY: &str = "stormproof/3";

/// Streams of the router's own draws.
pub(super) const STREAM_TIES: u64 = 0x5350_0001;
pub(super) const STREAM_BACK_OFF: u64 = 0x5350_0002;
pub(super) const STREAM_COOLDOWN: u64 = 0x5350_0003;

/// A client's rate is counted over a minute without a guard: it is our own clock that counts.
const CLIENT_WINDOW: Duration = Duration::from_secs(60);

/// The router for pools of keys. Drive it through [`Route`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Router {
    pub(super) now: Timestamp,
    pub(super) register: Register,
    pub(super) plan: Plan,
    pub(super) calendar: Calendar,

    pub(super) requests: Slab<Request>,
    /// Each in the slot of its request. That stays taken as long as either does.
    pub(super) attempts: Shelf<Attempt>,
    /// Requests by id, and some that are gone; ids only grow, so this is sorted. It follows from the requests and is no
    /// part of the state.
    #[serde(skip)]
    by_id: Vec<(RequestId, Handle)>,
    last_request: RequestId,
    pub(super) waiting: Waiting,

    /// Fires when a request's deadline comes.
    deadlines: Timers<Handle>,
    /// Fires when a waiting request is to be asked again: its back-off, patience or latest start is over.
    reviews: Timers<(Handle, u32)>,
    /// Fires when an attempt has lived for `health.accept_after`.
    acceptances: Timers<Handle>,

    // State of everyone, by the register's indexes.
    pub(super) providers: Vec<Cooldown>,
    pub(super) nodes: Vec<Node>,
    pub(super) keys: Vec<KeyState>,
    pub(super) quotas: Vec<Quota>,
    pub(super) sites: Vec<Site>,
    pub(super) tiers: Vec<TierState>,
    pub(super) clients: Vec<ClientState>,

    /// What was last seen of every deployment; it follows from the rest and is no part of the state.
    #[serde(skip)]
    pub(super) sheets: Sheets,

    /// An operator stops paid tiers until then.
    pub(super) paid_stopped: Timestamp,
    /// No order about tiers lasts longer.
    pub(super) orders_until: Timestamp,
    /// What the last power loss has cost.
    pub(super) power_lost: Option<PowerLoss>,

    outputs: VecDeque<Output>,
    /// The attempt whose end is being reported: there is nothing left to abandon.
    ending: Option<Handle>,
    /// When the driver is to wake us; already over when it need not.
    armed: Timestamp,
    /// Time alone does nothing before.
    #[serde(skip)]
    quiet_until: Timestamp,
}

/// One input being handled: its time, and who listens.
pub(super) struct Scene<'a, O> {
    pub(super) now: Timestamp,
    observer: &'a mut O,
}

impl<O: Observer> Scene<'_, O> {
    /// Tells a note, if anybody listens.
    pub(super) fn tell(&mut self, note: impl FnOnce() -> Note) {
        if O::LISTENS {
            self.observer.note(self.now, note());
        }
    }

    /// Whether anybody listens.
    pub(super) fn listens(&self) -> bool {
        O::LISTENS
    }
}

impl Route for Router {
    fn observe<O: Observer>(&mut self, now: Timestamp, input: Input, observer: &mut O) {
        let now = now.max(self.now);
        self.now = now;
        self.ending =
            if let Input::Finished(finished) = &input { Handle::unpack(finished.attempt.get()) } else { None };
        let scene = &mut Scene { now, observer };
        if now >= self.quiet_until {
            self.let_time_pass(scene);
            if !matches!(input, Input::Configured { .. }) {
                self.serve_due(scene);
            }
        }
        match input {
            // Nothing starts before: its name for a deployment would be read under the new settings.
            Input::Configured { settings } => self.configure(scene, settings),
            Input::Clock { wall } => self.set_clock(scene, wall),
            Input::Arrived(arrived) => self.arrive(scene, arrived),
            Input::FirstByte { attempt } => {
                if let Some(attempt) = Handle::unpack(attempt.get()) {
                    self.first_byte(scene, attempt);
                }
            }
            Input::Finished(finished) => self.finish(scene, finished),
            Input::Cancelled { request } => self.cancel(request),
            Input::Operator { action, author: _ } => self.act(scene, action),
            Input::Woke => {}
        }
        self.start_waiters(scene);
        self.set_alarm();
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn snapshot(&self) -> Vec<u8> {
        // Writing into memory cannot fail, and every type of the state is serializable.
        postcard::to_stdvec(&(POLICY, self)).unwrap_or_default()
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        let wrong = |reason: String| RestoreError { policy: POLICY, reason };
        let (policy, mut router): (String, Self) = match postcard::from_bytes(snapshot) {
            Ok(read) => read,
            Err(error) => return Err(wrong(error.to_string())),
        };
        if policy != POLICY {
            return Err(wrong(format!("it is one of {policy}")));
        }
        router.lay_out_sheets();
        router.by_id = router.requests.iter().map(|(handle, request)| (request.id, handle)).collect();
        router.by_id.sort_unstable();
        Ok(router)
    }

    fn state_hash(&self) -> u64 {
        super::hashing::hash(self)
    }

    fn checkpoint(&self) -> (Vec<u8>, u64) {
        let snapshot = self.snapshot();
        // The policy's name, with its length in one byte, stands before the state.
        let hash = super::hashing::hash_bytes(snapshot.get(1 + POLICY.len()..).unwrap_or_default());
        (snapshot, hash)
    }

    fn policy(&self) -> &'static str {
        POLICY
    }

    fn stake(&self, attempt: AttemptId, at_risk: AtRisk) -> [Option<Stake>; 4] {
        self.stakes(attempt, at_risk)
    }
}

impl Router {
    /// A router that knows nothing yet: its first input is [`Input::Configured`].
    pub fn new() -> Self {
        Self::default()
    }

    /// What time alone has done since the last input.
    fn let_time_pass<O: Observer>(&mut self, scene: &mut Scene<'_, O>) {
        let now = scene.now;
        while let Some((_, handle)) = self.deadlines.pop_due(now) {
            self.expire(scene, handle);
        }
        if now >= self.calendar.ends() {
            self.calendar.advance(now);
            self.sheets.recount();
            self.waiting.stir();
        }
        while let Some((at, handle)) = self.acceptances.pop_due(now) {
            self.accept(scene, at, handle);
        }
    }

    /// Starts what came free by time alone, and asks whoever wanted to be asked by now.
    #[inline]
    fn serve_due<O: Observer>(&mut self, scene: &mut Scene<'_, O>) {
        if scene.now >= self.waiting.opens().min(self.reviews.quiet_until()) {
            self.serve(scene);
        }
    }

    #[inline(never)]
    fn serve<O: Observer>(&mut self, scene: &mut Scene<'_, O>) {
        self.start_waiters(scene);
        while let Some((_, (handle, ticket))) = self.reviews.pop_due(scene.now) {
            self.review(scene, handle, ticket);
        }
    }

    fn arrive<O: Observer>(&mut self, scene: &mut Scene<'_, O>, arrived: Arrived) {
        if arrived.request <= self.last_request {
            return;
        }
        self.last_request = arrived.request;
        let close =
            |router: &mut Self, verdict| router.outputs.push_back(Output::Close { request: arrived.request, verdict });
        let (Some(client), true) = (self.plan.client(arrived.client), arrived.model.index() < self.plan.models.len())
        else {
            return close(self, Verdict::new(Outcome::Failed, 404));
        };
        if arrived.deadline <= scene.now {
            return close(self, Verdict::new(Outcome::Deadline, 504));
        }
        if self.plan.limits_clients
            && let Err((verdict, cause)) = self.admit(scene.now, &arrived, client)
        {
            scene.tell(|| Note::Limited { client: arrived.client, cause });
            return close(self, verdict);
        }
        let mut request = Request {
            id: arrived.request,
            client,
            model: Some(arrived.model),
            endpoint: arrived.endpoint,
            stream: arrived.stream,
            tokens: arrived.tokens,
            priority: arrived.priority,
            arrived: scene.now,
            deadline: arrived.deadline,
            stage: Stage::Deciding,
            ticket: 0,
            since: scene.now,
            review: Timestamp::MAX,
            suited: self.plan.suited(arrived.model, arrived.tokens.input),
            tried: 0,
            attempts: 0,
            failures: Failures::default(),
            spend: Usd::ZERO,
        };
        if request.suited == 0 && !self.fall_back(&mut request, Cause::ContextWindow) {
            return close(self, Verdict::new(Outcome::Failed, 400));
        }
        self.count_demand(scene.now, &request);
        let decision = self.decide(scene.now, &request, true);
        let handle = self.requests.insert(request);
        self.note_down(arrived.request, arrived.deadline, handle);
        self.carry_out(scene, handle, decision);
    }

    /// The client's own limits: which models it may ask for, and how often.
    fn admit(&mut self, now: Timestamp, arrived: &Arrived, owner: u32) -> Result<(), (Verdict, Cause)> {
        let clients = &self.plan.settings.clients;
        let Some(client) = clients.get(arrived.client.index()).or_else(|| clients.first()) else { return Ok(()) };
        if client.models.as_ref().is_some_and(|models| !models.contains(&arrived.model)) {
            return Err((Verdict::new(Outcome::Refused, 403), Cause::ClientModel));
        }
        if client.rpm.is_none() && client.tpm.is_none() {
            return Ok(());
        }
        let window = &mut self.clients[owner as usize].window;
        window.expire(now, CLIENT_WINDOW);
        let used = window.used(true);
        let tokens = arrived.tokens.input.get();
        let requests_left = client.rpm.map_or(u32::MAX, |limit| limit.saturating_sub(1));
        let tokens_left = client.tpm.map_or(u64::MAX, |limit| u64::from(limit.saturating_sub(tokens.min(limit))));
        if client.rpm == Some(0) || used.requests > requests_left || used.tokens > tokens_left {
            let room = window.room_at(requests_left, tokens_left, true, CLIENT_WINDOW);
            let retry_after = (client.rpm != Some(0)).then(|| room.since(now));
            return Err((Verdict { retry_after, ..Verdict::new(Outcome::Refused, 429) }, Cause::ClientRate));
        }
        window.push(now, tokens);
        Ok(())
    }

    /// Counts a request as demand: for the first tier that takes it, and for all that it may come to.
    #[inline]
    fn count_demand(&mut self, now: Timestamp, request: &Request) {
        let owners = request.model.map_or(&[][..], |model| &self.plan.owners[model.index()]);
        let mut suited = request.suited;
        while suited != 0 {
            let Some(owner) = owners.get(suited.trailing_zeros() as usize) else { return };
            let state = &mut self.tiers[*owner as usize];
            state.reach.add(now, 1);
            if suited == request.suited {
                state.demand.add(now, 1);
            }
            suited &= suited - 1;
        }
    }

    /// Moves a request to the model that its own names for this case; `false` when there is none that takes it.
    pub(super) fn fall_back(&self, request: &mut Request, cause: Cause) -> bool {
        let models = &self.plan.settings.models;
        // Chains are short and the graph check refuses cycles; the bound makes it certain.
        for _ in 0..models.len() {
            let Some(model) = request.model.and_then(|model| models.get(model.index())) else { return false };
            let next = if cause == Cause::ContentBlocked { model.content_fallback } else { model.context_fallback };
            let Some(next) = next else { return false };
            (request.model, request.tried) = (Some(next), 0);
            request.suited = self.plan.suited(next, request.tokens.input);
            if request.suited != 0 {
                return true;
            }
        }
        false
    }

    /// Decides on a request that holds no place anywhere, and does what was decided.
    pub(super) fn advance<O: Observer>(&mut self, scene: &mut Scene<'_, O>, handle: Handle) {
        let Some(&request) = self.requests.get(handle) else { return };
        let decision = self.decide(scene.now, &request, false);
        self.carry_out(scene, handle, decision);
    }

    /// Does what was decided on a request that holds no place any more.
    fn carry_out<O: Observer>(&mut self, scene: &mut Scene<'_, O>, handle: Handle, decision: Decision) {
        match decision {
            Decision::Start { tier, position, pick, why, left } => {
                self.explain_skips(scene, handle, position);
                if let (Some((from, cause)), Some(request)) = (left, self.requests.get(handle)) {
                    scene.tell(|| Note::Spilled { request: request.id, from, to: tier, cause });
                }
                self.dispatch(scene, handle, (tier, position), pick, why);
            }
            Decision::Wait { review, opens, tier, cause } => {
                if opens.is_some() && self.waiting.len() >= self.plan.settings.knobs.queue_capacity as usize {
                    return self.refuse(scene, handle);
                }
                self.explain_skips(scene, handle, usize::MAX);
                self.wait(scene, handle, review, opens, tier, cause);
            }
            Decision::GiveUp => self.refuse(scene, handle),
        }
    }

    fn wait<O: Observer>(
        &mut self,
        scene: &mut Scene<'_, O>,
        handle: Handle,
        review: Timestamp,
        opens: Option<Timestamp>,
        tier: TierId,
        cause: Cause,
    ) {
        let soon = scene.now + Duration::from_nanos(1);
        let Some(&request) = self.requests.get(handle) else { return };
        let stage = match (opens, request.kind()) {
            (Some(opens), Some(kind)) => {
                let requests = &self.requests;
                let live = |waiter: &Waiter| waits_under(requests, waiter);
                let (urgency, ticket) = (request.urgency(), request.ticket);
                Stage::Waiting(self.waiting.join(kind, urgency, handle, ticket, opens.max(soon), live))
            }
            (Some(_) | None, _) => Stage::Parked,
        };
        let review = review.max(soon).min(request.deadline);
        if let Some(request) = self.requests.get_mut(handle) {
            (request.stage, request.review) = (stage, review);
        }
        self.reviews.arm(review, (handle, request.ticket));
        if scene.listens() {
            let latest_start = self.latest_start(&request, tier);
            let until = opens.unwrap_or(review);
            scene.tell(|| Note::Waits { request: request.id, tier, until, latest_start, cause });
        }
    }

    /// Takes a request out of whatever it waited in.
    fn stop_waiting(&mut self, handle: Handle) {
        let Some(request) = self.requests.get_mut(handle) else { return };
        request.ticket = request.ticket.wrapping_add(1);
        if let Stage::Waiting(lane) = std::mem::replace(&mut request.stage, Stage::Deciding) {
            self.waiting.left(lane);
        }
    }

    /// Starts whoever can start, the most urgent first.
    #[inline]
    fn start_waiters<O: Observer>(&mut self, scene: &mut Scene<'_, O>) {
        if self.waiting.opens() <= scene.now {
            self.start_next(scene);
        }
    }

    #[inline(never)]
    fn start_next<O: Observer>(&mut self, scene: &mut Scene<'_, O>) {
        let soon = scene.now + Duration::from_nanos(1);
        loop {
            let requests = &self.requests;
            let next = self.waiting.most_urgent(scene.now, |waiter| waits_under(requests, waiter));
            let Some((lane, waiter)) = next else { return };
            let Some(&request) = self.requests.get(waiter.request) else { return };
            let decision = self.decide(scene.now, &request, false);
            match decision {
                Decision::Wait { opens: Some(opens), review, .. } => {
                    self.waiting.close_until(lane, opens.max(soon));
                    self.review_by(waiter.request, review.max(soon));
                }
                Decision::Start { .. } | Decision::Wait { opens: None, .. } | Decision::GiveUp => {
                    self.stop_waiting(waiter.request);
                    self.carry_out(scene, waiter.request, decision);
                }
            }
        }
    }

    /// Asks a waiting request again because the time came that it had named.
    fn review<O: Observer>(&mut self, scene: &mut Scene<'_, O>, handle: Handle, ticket: u32) {
        let Some(&request) = self.requests.get(handle) else { return };
        if request.ticket != ticket || !request.waits() {
            return;
        }
        let decision = self.decide(scene.now, &request, false);
        if let (Stage::Waiting(_), Decision::Wait { opens: Some(_), review, .. }) = (request.stage, decision) {
            // It keeps its place.
            if let Some(request) = self.requests.get_mut(handle) {
                request.review = Timestamp::MAX;
            }
            return self.review_by(handle, review.max(scene.now + Duration::from_nanos(1)));
        }
        self.stop_waiting(handle);
        self.carry_out(scene, handle, decision);
    }

    /// Arms a review no later than `review`.
    fn review_by(&mut self, handle: Handle, review: Timestamp) {
        let Some(request) = self.requests.get_mut(handle) else { return };
        if review < request.review {
            request.review = review;
            self.reviews.arm(review, (handle, request.ticket));
        }
    }

    fn dispatch<O: Observer>(
        &mut self,
        scene: &mut Scene<'_, O>,
        handle: Handle,
        (tier, position): (TierId, usize),
        pick: Pick,
        why: Why,
    ) {
        let now = scene.now;
        let rules = self.rules();
        let Some(request) = self.requests.get_mut(handle) else { return };
        let Start { place, way, next } = self.plan.start(pick.deployment, request.endpoint);
        let spec = &self.plan.settings.tiers[tier.index()];
        let knobs = &self.plan.settings.knobs;
        let (owner, free) = (self.plan.tiers[tier.index()].owner, self.plan.tiers[tier.index()].free);
        let reserved = if free { Usd::ZERO } else { worst_case(spec, request.tokens) };

        self.tiers[owner as usize].cursor = next;
        if reserved != Usd::ZERO {
            self.tiers[owner as usize].purse.reserve(reserved);
            self.clients[request.client as usize].purse.reserve(reserved);
        }
        self.sites[place.site as usize].in_flight += 1;
        let node = &mut self.nodes[place.node as usize];
        node.in_flight += 1;
        node.retries.count(now, request.tried >> position & 1 == 1);
        if node.health.is_degraded() {
            node.health.take();
        }
        let quota = self.quotas[place.quota as usize].reserve(now, request.tokens.input.get(), &rules);
        self.sheets.sent(now, place.quota, now + rules.window);

        request.attempts = request.attempts.saturating_add(1);
        request.tried |= 1 << position;
        let attempt = self.attempts.put(
            handle.slot(),
            Attempt {
                id: request.id,
                dispatched: now,
                accepted: Timestamp::MAX,
                reserved,
                quota,
                way,
                client: request.client,
                probes: pick.probes,
                marks: if pick.contested { Marks::CONTESTED } else { Marks::NONE },
                stream: request.stream,
            },
        );
        request.stage = Stage::Running;
        self.acceptances.arm(now + knobs.health_accept_after, attempt);
        let timeouts = cut_to_deadline(spec.timeouts, request.deadline.since(now), request.stream);
        self.outputs.push_back(Output::Dispatch(Dispatch {
            request: request.id,
            attempt: AttemptId::new(attempt.pack()),
            deployment: pick.deployment,
            timeouts,
            why,
        }));
        if pick.probes.any() {
            let lost = now + spec.timeouts.total.min(spec.timeouts.first_byte).max(knobs.probe_interval);
            let accepted = now + knobs.health_accept_after;
            self.send_probes(now, &place, pick.probes, accepted, lost);
        }
    }

    /// An attempt is a probe of these scopes, until it proves them well, ends or is lost.
    fn send_probes(&mut self, now: Timestamp, place: &Place, probes: Probes, accepted: Timestamp, lost: Timestamp) {
        if probes.has(Probes::NODE) {
            self.nodes[place.node as usize].health.probing.sent(now, lost, &self.plan.settings.knobs);
        }
        if probes.has(Probes::PROVIDER) {
            self.providers[place.provider as usize].probe_sent(now, accepted, lost);
        }
        if probes.has(Probes::KEY) {
            self.keys[place.key as usize].cooldown.probe_sent(now, accepted, lost);
            self.sheets.touch_key(place.key);
        }
        let quota = &mut self.quotas[place.quota as usize];
        if probes.has(Probes::QUOTA) {
            quota.cooldown.probe_sent(now, accepted, lost);
        }
        if probes.has(Probes::CHARGING) {
            quota.next_learning = now + Duration::from_secs(3600);
        }
    }

    /// From here the client sees the attempt.
    pub(super) fn relay(&mut self, handle: Handle, attempt: Handle) {
        let Some(request) = self.requests.get_mut(handle) else { return };
        request.stage = Stage::Relayed;
        self.outputs.push_back(Output::Relay { request: request.id, attempt: AttemptId::new(attempt.pack()) });
    }

    /// The client gets the whole answer of an attempt.
    pub(super) fn answer(&mut self, handle: Handle, attempt: Handle) {
        let Some(&Request { id: request, attempts, spend, .. }) = self.requests.get(handle) else { return };
        self.outputs.push_back(Output::Relay { request, attempt: AttemptId::new(attempt.pack()) });
        let verdict = Verdict { attempts, spend, ..Verdict::new(Outcome::Answered, 200) };
        self.outputs.push_back(Output::Close { request, verdict });
        self.forget(handle);
    }

    /// Gives a request its one outcome and forgets it. An attempt still in flight is abandoned first.
    pub(super) fn close(&mut self, handle: Handle, mut verdict: Verdict) {
        self.stop_waiting_for_good(handle);
        let Some(request) = self.requests.get(handle) else { return };
        verdict.attempts = request.attempts;
        verdict.spend = request.spend;
        self.outputs.push_back(Output::Close { request: request.id, verdict });
        self.forget(handle);
    }

    /// A request has its outcome.
    fn forget(&mut self, handle: Handle) {
        self.requests.clear(handle);
        self.requests.free(handle.slot(), &self.attempts);
    }

    /// Notes where a request is and when its deadline comes.
    fn note_down(&mut self, id: RequestId, deadline: Timestamp, handle: Handle) {
        // Notes on those that are gone go all at once, when they are more than the others.
        if self.deadlines.len() > 2 * self.requests.taken() + 64 {
            self.by_id.retain(|(_, handle)| self.requests.has(*handle));
            self.deadlines.retain(|handle| self.requests.has(handle));
        }
        self.by_id.push((id, handle));
        self.deadlines.arm(deadline, handle);
    }

    fn stop_waiting_for_good(&mut self, handle: Handle) {
        let Some(request) = self.requests.get(handle) else { return };
        match request.stage {
            Stage::Running | Stage::Relayed => {
                if let Some(attempt) = self.attempts.name(handle.slot())
                    && self.ending != Some(attempt)
                {
                    self.outputs.push_back(Output::Abandon { attempt: AttemptId::new(attempt.pack()) });
                }
            }
            Stage::Waiting(lane) => self.waiting.left(lane),
            Stage::Deciding | Stage::Parked => {}
        }
    }

    /// The deadline has come.
    fn expire<O: Observer>(&mut self, scene: &mut Scene<'_, O>, handle: Handle) {
        let Some(&request) = self.requests.get(handle) else { return };
        if request.stage == Stage::Relayed {
            return;
        }
        let mut verdict = Verdict::new(Outcome::Deadline, 504);
        if request.waits() {
            let (causes, retry_after) = self.causes(scene.now, &request);
            (verdict.causes, verdict.retry_after) = (causes, retry_after);
        }
        self.close(handle, verdict);
    }

    /// Turns a request away, with the true time after which a repeat makes sense.
    fn refuse<O: Observer>(&mut self, scene: &mut Scene<'_, O>, handle: Handle) {
        let Some(&request) = self.requests.get(handle) else { return };
        self.explain_skips(scene, handle, usize::MAX);
        let (causes, retry_after) = self.causes(scene.now, &request);
        let is_own = |cause: Cause| matches!(cause, Cause::ClientBudget | Cause::ClientRate);
        let own_fault = !causes.is_empty() && causes.iter().all(|tier| is_own(tier.cause));
        let status = if own_fault { 429 } else { 503 };
        self.close(handle, Verdict { causes, retry_after, ..Verdict::new(Outcome::Refused, status) });
    }

    fn cancel(&mut self, request: RequestId) {
        if let Ok(index) = self.by_id.binary_search_by_key(&request, |(id, _)| *id) {
            let (_, handle) = self.by_id[index];
            self.close(handle, Verdict::new(Outcome::Cancelled, 0));
        }
    }

    fn set_clock<O: Observer>(&mut self, scene: &mut Scene<'_, O>, wall: super::time::WallTime) {
        self.calendar.set_clock(scene.now, wall);
        self.calendar.advance(scene.now);
        self.sheets.recount();
        self.waiting.stir();
    }

    /// Takes over new settings. State stays with its owners; requests stay with their models by name.
    fn configure<O: Observer>(&mut self, scene: &mut Scene<'_, O>, settings: Arc<Settings>) {
        let old = std::mem::take(&mut self.plan);
        self.plan = self.register.compile(settings);
        let population = self.register.population();
        self.providers.resize_with(population.providers, Cooldown::default);
        self.nodes.resize_with(population.nodes, Node::default);
        self.keys.resize_with(population.keys, KeyState::default);
        self.quotas.resize_with(population.quotas, Quota::default);
        self.sites.resize_with(population.sites, Site::default);
        self.tiers.resize_with(population.tiers, TierState::default);
        self.clients.resize_with(population.clients, ClientState::default);
        self.calendar.configure(scene.now, &self.plan.settings.resets);
        let knobs = &self.plan.settings.knobs;
        for node in &mut self.nodes {
            node.health.change_pace(scene.now, &old.settings.knobs, knobs);
        }
        let fresh = Endpoint::ALL.map(|endpoint| (endpoint, Latency::fresh(Prior::of(endpoint, knobs))));
        for first in &self.plan.nodes {
            for (endpoint, fresh) in &fresh {
                let node = &mut self.nodes[(first + endpoint_offset(*endpoint)) as usize];
                node.whole.begin(fresh);
                node.first_byte.begin(fresh);
            }
        }

        // A dead key that had left and comes back is a new word of the operator.
        for key in self.plan.keys.iter().filter(|key| !old.keys.contains(key)) {
            self.keys[*key as usize].cooldown.revive();
        }
        let had = |quota: u32| old.places.iter().any(|place| place.quota == quota);
        for place in self.plan.places.iter().filter(|place| !had(place.quota)) {
            self.quotas[place.quota as usize].cooldown.revive();
        }
        let margin = self.plan.settings.knobs.rate_margin;
        for (index, tier) in self.plan.tiers.iter().enumerate() {
            let spec = &self.plan.settings.tiers[index];
            for &quota in &tier.quotas {
                self.quotas[quota as usize].configure(spec.limits, margin);
                for endpoint in [Endpoint::Embed, Endpoint::Count] {
                    let other = &mut self.quotas[(quota + endpoint_offset(endpoint)) as usize];
                    other.configure(Limits { learn: true, ..Limits::default() }, margin);
                }
            }
            let state = &mut self.tiers[tier.owner as usize];
            state.purse.configured = spec.budget;
            state.starved_until = Timestamp::ZERO;
        }
        for (client, owner) in self.plan.settings.clients.iter().zip(&self.plan.clients) {
            self.clients[*owner as usize].purse.configured = client.budget;
        }
        self.lay_out_sheets();
        self.measure_capacity();
        self.rehome(scene, &old);
        self.serve_due(scene);
    }

    /// Forgets what was last seen of every deployment.
    pub(super) fn lay_out_sheets(&mut self) {
        self.sheets = Sheets::lay_out(&self.plan, &self.quotas, self.rules().window);
    }

    /// Adds up the requests per minute of each tier.
    pub(super) fn measure_capacity(&mut self) {
        for tier in &self.plan.tiers {
            // One project without a known limit makes the sum unknown.
            self.tiers[tier.owner as usize].nominal_rpm =
                tier.quotas.iter().map(|quota| self.quotas[*quota as usize].rpm()).sum();
        }
    }

    /// Finds every open request its model under the new settings, and asks all that wait anew.
    fn rehome<O: Observer>(&mut self, scene: &mut Scene<'_, O>, old: &Plan) {
        let model_now: Vec<_> =
            old.settings.models.iter().map(|model| self.plan.settings.model_named(&model.name)).collect();
        let waiters = self.waiting.drain();
        let handles: Vec<Handle> = self.requests.iter().map(|(handle, _)| handle).collect();
        for handle in handles {
            let Some(request) = self.requests.get_mut(handle) else { continue };
            request.model = request.model.and_then(|model| model_now.get(model.index()).copied().flatten());
            request.tried = 0;
            request.suited = request.model.map_or(0, |model| self.plan.suited(model, request.tokens.input));
        }
        for waiter in waiters {
            let waits = self
                .requests
                .get(waiter.request)
                .is_some_and(|request| request.ticket == waiter.ticket && matches!(request.stage, Stage::Waiting(_)));
            if waits {
                // Its lane is gone already.
                if let Some(request) = self.requests.get_mut(waiter.request) {
                    request.stage = Stage::Parked;
                }
                self.stop_waiting(waiter.request);
                self.advance(scene, waiter.request);
            }
        }
    }

    /// Tells the driver when to wake us, unless it will do so early enough anyway. An alarm that turns out needless is
    /// cheaper than moving it with every request that ends before its deadline.
    fn set_alarm(&mut self) {
        let (requests, opens) = (&self.requests, self.waiting.opens());
        let next = opens.min(self.deadlines.quiet_until()).min(self.reviews.quiet_until());
        self.quiet_until = next.min(self.acceptances.quiet_until()).min(self.calendar.ends());
        if self.armed > self.now && self.armed <= next {
            return;
        }
        let deadline =
            self.deadlines.next(|handle| requests.get(handle).is_some_and(|request| request.stage != Stage::Relayed));
        let review = self.reviews.next(|(handle, ticket)| {
            requests.get(handle).is_some_and(|request| request.ticket == ticket && request.waits())
        });
        let next = opens.min(deadline.unwrap_or(Timestamp::MAX)).min(review.unwrap_or(Timestamp::MAX));
        if next == Timestamp::MAX || (self.armed > self.now && self.armed <= next) {
            return;
        }
        self.armed = next.max(self.now + Duration::from_nanos(1));
        self.outputs.push_back(Output::WakeAt(self.armed));
    }
}

/// Whether a place in the waiting list is its request's present one.
fn waits_under(requests: &Slab<Request>, waiter: &Waiter) -> bool {
    requests
        .get(waiter.request)
        .is_some_and(|request| request.ticket == waiter.ticket && matches!(request.stage, Stage::Waiting(_)))
}

/// No timeout outlives the deadline, but for those of a stream that has begun.
fn cut_to_deadline(timeouts: Timeouts, left: Duration, stream: bool) -> Timeouts {
    Timeouts {
        connect: timeouts.connect.min(left),
        first_byte: timeouts.first_byte.min(left),
        idle: timeouts.idle,
        total: if stream { timeouts.total } else { timeouts.total.min(left) },
    }
}
