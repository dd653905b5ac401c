//! How an attempt goes on and ends: what it says about key, model and quota, and what its request does next.

use super::classify::{Held, Next, Quota, Rest, Ruling, classify};
use super::cooldown::{Cooldown, Sentence, growing};
use super::draw::{draw, unit};
use super::facts::{Ending, Transport};
use super::input::{Finished, Scope};
use super::observer::{Note, Observer, Provenance};
use super::output::{Cause, Outcome, Verdict};
use super::plan::{Place, first_kind};
use super::retry::back_off;
use super::router::{Router, STREAM_BACK_OFF, STREAM_COOLDOWN, Scene};
use super::slab::Handle;
use super::state::{Fault, Marks, Probes, Request, Sent, Stage, infer_fault};
use super::time::{Duration, Timestamp};
use super::units::Usd;
use super::window::Charge;

/// Longest rest that grows from repeats of a 429 without details.
const UNKNOWN_RATE_MAX: Duration = Duration::from_secs(300);
/// What is rested when a minute quota is named and nothing tells how long.
const MINUTE: Duration = Duration::from_secs(60);

impl Router {
    /// The provider accepted the attempt.
    pub(super) fn first_byte<O: Observer>(&mut self, scene: &mut Scene<'_, O>, handle: Handle) {
        let now = scene.now;
        let Some(attempt) = self.attempts.get_mut(handle) else { return };
        if attempt.marks.has(Marks::FIRST_BYTE) {
            return;
        }
        attempt.marks = attempt.marks.with(Marks::FIRST_BYTE);
        let attempt = self.register.sent(attempt);
        self.accept(scene, now, handle);
        if !attempt.stream {
            return;
        }
        self.learn_latency(&attempt, true, now, false);
        let Some(request) = self.requests.name(handle.slot()) else { return };
        if self.requests.get(request).is_some_and(|request| request.stage == Stage::Running) {
            self.relay(request, handle);
        }
    }

    /// Counts an attempt as accepted at `at`, once.
    pub(super) fn accept<O: Observer>(&mut self, scene: &mut Scene<'_, O>, at: Timestamp, handle: Handle) {
        let Some(attempt) = self.attempts.get_mut(handle) else { return };
        if attempt.is_accepted() {
            return;
        }
        attempt.accepted = at;
        let (sent, probes) = (attempt.dispatched, attempt.probes);
        let place = self.register.place(attempt);
        let node = place.node;
        if probes.any() {
            let place = *place;
            attempt.probes = probes.without(Probes::NODE);
            self.refute(scene, at, handle, &place, sent, probes);
        }
        let health = &mut self.nodes[node as usize].health;
        health.accept(at, &self.plan.settings.knobs);
        if probes.has(Probes::NODE) {
            health.probing.accepted(at);
        }
        self.review_health(scene, node);
    }

    /// An attempt was not refused by `at`, so what it probes because of refusals is open.
    #[inline(never)]
    fn refute<O: Observer>(
        &mut self,
        scene: &mut Scene<'_, O>,
        at: Timestamp,
        handle: Handle,
        place: &Place,
        sent: Timestamp,
        probes: Probes,
    ) {
        let refused = |(cooldown, scope): &(&mut Cooldown, Probes)| probes.has(*scope) && cooldown.is_refusal();
        let refuted = self.cooldowns_over(place).into_iter().filter(refused);
        let refuted = refuted.fold(Probes::NONE, |refuted, (_, scope)| refuted.with(scope));
        if let Some(attempt) = self.attempts.get_mut(handle) {
            attempt.probes = attempt.probes.without(refuted);
        }
        self.pass_probes(scene, place, refuted, |cooldown| cooldown.probe_accepted(sent, at));
    }

    /// Applies the trip rule to a model, and tells what changed.
    fn review_health<O: Observer>(&mut self, scene: &mut Scene<'_, O>, node: u32) {
        let knobs = &self.plan.settings.knobs;
        let health = &mut self.nodes[node as usize].health;
        let Some(degraded) = health.review(scene.now, knobs) else { return };
        let failure_ppm = (health.failure(scene.now, knobs) * 1e6) as u32;
        if let Some(upstream) = self.plan.upstream(node) {
            scene.tell(|| Note::Degraded { upstream, degraded, failure_ppm });
        }
        self.waiting.stir();
    }

    /// An attempt is over.
    pub(super) fn finish<O: Observer>(&mut self, scene: &mut Scene<'_, O>, finished: Finished) {
        let Some(handle) = Handle::unpack(finished.attempt.get()) else { return };
        self.requests.expect(handle.slot());
        let Some(attempt) = self.attempts.get(handle).map(|attempt| self.register.sent(attempt)) else { return };
        self.attempts.clear(handle);
        let ruling = classify(finished.ending, &finished.facts, self.plan.settings.knobs.scope_overload);
        let abandoned = finished.ending == Ending::Transport(Transport::Abandoned);
        let answered = ruling.next == Next::Done;
        self.sites[attempt.place.site as usize].in_flight -= 1;
        self.nodes[attempt.place.node as usize].in_flight -= 1;

        self.settle_quota(&attempt, &finished, &ruling);
        let cost = if attempt.reserved == Usd::ZERO {
            Usd::ZERO
        } else {
            self.settle_money(scene.now, &attempt, &finished, &ruling)
        };
        let scope = self.hold_to_account(scene, &attempt, &finished, &ruling, abandoned);
        if answered || abandoned || ruling.class == Cause::StreamCut || is_timeout(finished.ending) {
            self.learn_latency(&attempt, answered, scene.now, true);
        }
        scene.tell(|| Note::Classified {
            request: attempt.id,
            attempt: finished.attempt,
            deployment: attempt.deployment,
            class: ruling.class,
            scope,
        });

        let Some(owner) = self.requests.name(handle.slot()) else {
            return self.requests.free(handle.slot(), &self.attempts);
        };
        let Some(request) = self.requests.get_mut(owner) else { return };
        request.spend += cost;
        match request.stage {
            Stage::Running => self.go_on(scene, owner, handle, &attempt, &finished, &ruling),
            Stage::Relayed => {
                let outcome = match ruling.next {
                    Next::Done => Outcome::Answered,
                    // The client saw all that the provider had to say.
                    Next::Return | Next::Elsewhere => Outcome::Failed,
                    Next::OtherTier | Next::BackOff | Next::OtherKey | Next::OtherKeyFree => Outcome::Cut,
                };
                self.close(owner, Verdict::new(outcome, 200));
            }
            Stage::Deciding | Stage::Parked | Stage::Waiting(_) => {}
        }
    }

    /// What a request does after an attempt that its client has not seen.
    fn go_on<O: Observer>(
        &mut self,
        scene: &mut Scene<'_, O>,
        owner: Handle,
        handle: Handle,
        attempt: &Sent,
        finished: &Finished,
        ruling: &Ruling,
    ) {
        match ruling.next {
            Next::Done => {
                self.answer(owner, handle);
            }
            Next::Return => self.pass_on(owner, handle, finished),
            Next::Elsewhere => {
                if self.take_elsewhere(owner, ruling.class) {
                    self.advance(scene, owner);
                } else {
                    self.pass_on(owner, handle, finished);
                }
            }
            Next::OtherTier | Next::BackOff | Next::OtherKey | Next::OtherKeyFree => {
                if ruling.next == Next::OtherTier {
                    self.leave_tier(owner, attempt);
                }
                if self.may_retry(scene, owner, attempt, ruling) {
                    self.advance(scene, owner);
                } else {
                    self.fail(scene, owner);
                }
            }
        }
    }

    /// The provider's verdict on the request itself goes to the client as it is.
    fn pass_on(&mut self, owner: Handle, handle: Handle, finished: &Finished) {
        let status = match (finished.facts.inner_status, finished.ending) {
            (Some(status), _) | (None, Ending::Status(status)) => status,
            (None, Ending::Transport(_)) => 502,
        };
        self.relay(owner, handle);
        self.close(owner, Verdict::new(Outcome::Failed, status));
    }

    /// Leaves the tiers of the model that do not take this request, then the model itself.
    fn take_elsewhere(&mut self, owner: Handle, class: Cause) -> bool {
        let Some(&request) = self.requests.get(owner) else { return false };
        let mut moved = Request { stage: Stage::Deciding, ..request };
        if class == Cause::ContextWindow {
            // The longest prompt was a guess until now; every tier that this was said of is out.
            moved.suited &= !moved.tried;
        }
        let goes_on = (class == Cause::ContextWindow && moved.suited != 0) || self.fall_back(&mut moved, class);
        if let (true, Some(request)) = (goes_on, self.requests.get_mut(owner)) {
            *request = moved;
        }
        goes_on
    }

    /// Leaves the tier of an attempt to others, unless it is the only one that takes the request.
    fn leave_tier(&mut self, owner: Handle, attempt: &Sent) {
        let Some(request) = self.requests.get_mut(owner) else { return };
        let tiers = request.model.map_or(&[][..], |model| &self.plan.models[model.index()]);
        let left = tiers.iter().position(|tier| self.plan.tiers[tier.index()].owner == attempt.tier);
        let others = left.map_or(request.suited, |position| request.suited & !(1 << position));
        if others != 0 {
            request.suited = others;
        }
    }

    /// Notes a failure with its request, and whether it may try again.
    fn may_retry<O: Observer>(
        &mut self,
        scene: &mut Scene<'_, O>,
        owner: Handle,
        attempt: &Sent,
        ruling: &Ruling,
    ) -> bool {
        let settings = &self.plan.settings;
        let Some(request) = self.requests.get_mut(owner) else { return false };
        request.stage = Stage::Deciding;
        request.since = scene.now;
        let node = attempt.place.node;
        let failures = &mut request.failures;
        failures.last = Some((ruling.class, attempt.place.key));
        let retries = &settings.retries;
        let (count, most) = match ruling.class {
            Cause::Overload => (&mut failures.overload, retries.overload),
            Cause::RateMinute | Cause::TokensMinute | Cause::RateDay | Cause::RateUnknown | Cause::Address => {
                (&mut failures.rate, retries.rate)
            }
            Cause::Auth | Cause::Dead | Cause::NotFound => (&mut failures.auth, retries.auth),
            // The rest broke on the way, or are verdicts that are never retried.
            Cause::Server
            | Cause::StreamCut
            | Cause::None
            | Cause::Request
            | Cause::Budget
            | Cause::ClientRate
            | Cause::ClientBudget
            | Cause::ClientModel
            | Cause::RetryBudget
            | Cause::Attempts
            | Cause::Operator
            | Cause::ContextWindow
            | Cause::ContentBlocked
            | Cause::Deadline => (&mut failures.server, retries.server),
        };
        *count = count.saturating_add(1);
        let class_spent = most.is_some_and(|most| *count > most);
        if ruling.next != Next::OtherKeyFree {
            failures.charged = failures.charged.saturating_add(1);
        }
        if ruling.next == Next::BackOff {
            failures.in_row = if failures.node == node { failures.in_row.saturating_add(1) } else { 1 };
            failures.node = node;
            let bits = draw(settings.seed, STREAM_BACK_OFF, request.id.get(), u64::from(request.attempts));
            let delay = back_off(failures.in_row, unit(bits), &settings.knobs);
            failures.back_until = scene.now + delay;
            let (id, until) = (request.id, failures.back_until);
            scene.tell(|| Note::BackedOff { request: id, until, delay });
        }
        !class_spent && u32::from(request.failures.charged) < settings.knobs.retry_max_attempts
    }

    /// All tries are used up.
    fn fail<O: Observer>(&mut self, scene: &mut Scene<'_, O>, owner: Handle) {
        let Some(&request) = self.requests.get(owner) else { return };
        let (mut causes, retry_after) = self.causes(scene.now, &request);
        // Whatever else may be in the way of the next one, where it was tried its tries are what ended.
        for (_, tier) in causes.iter_mut().enumerate().filter(|(position, _)| request.tried >> position & 1 == 1) {
            tier.cause = Cause::Attempts;
        }
        self.close(owner, Verdict { causes, retry_after, ..Verdict::new(Outcome::Failed, 503) });
    }

    fn settle_quota(&mut self, attempt: &Sent, finished: &Finished, ruling: &Ruling) {
        let charge = match ruling.quota {
            Quota::Charged => Charge::Charged,
            Quota::Refunded => Charge::Void,
            Quota::AsErrors => Charge::Errored,
        };
        let tokens = finished.usage.map(|usage| usage.input.get());
        let index = attempt.place.quota;
        if self.quotas[index as usize].settle(attempt.quota, tokens, charge) {
            self.sheets.touch_quota(index);
            // Room may have come back before its time.
            self.waiting.stir();
        }
        if attempt.marks.has(Marks::CONTESTED) {
            self.sheets.recount();
            let charging = &mut self.nodes[attempt.place.node as usize].charging;
            match ruling.class {
                Cause::None if ruling.next == Next::Done => charging.vote(true),
                Cause::RateMinute | Cause::RateDay => charging.vote(false),
                // Anything else came from elsewhere than the quota.
                Cause::None
                | Cause::TokensMinute
                | Cause::RateUnknown
                | Cause::Overload
                | Cause::Server
                | Cause::Auth
                | Cause::Dead
                | Cause::NotFound
                | Cause::Request
                | Cause::StreamCut
                | Cause::Budget
                | Cause::ClientRate
                | Cause::ClientBudget
                | Cause::ClientModel
                | Cause::RetryBudget
                | Cause::Attempts
                | Cause::Operator
                | Cause::ContextWindow
                | Cause::ContentBlocked
                | Cause::Address
                | Cause::Deadline => {}
            }
        }
    }

    /// Turns the reservation into what the attempt cost. A call that may have run and does not say what it used costs
    /// what was reserved for its tokens; an answer that was not complete does not cost the price of an answer.
    fn settle_money(&mut self, now: Timestamp, attempt: &Sent, finished: &Finished, ruling: &Ruling) -> Usd {
        let answered = ruling.next == Next::Done;
        let price = self.register.price(attempt.price);
        let cost = match (finished.usage, finished.ending) {
            (Some(usage), _) => price.cost(usage, answered),
            (None, Ending::Status(_)) if !answered => Usd::ZERO,
            (None, Ending::Transport(Transport::Connect)) => Usd::ZERO,
            (None, Ending::Status(_) | Ending::Transport(_))
                if answered || attempt.marks.has(Marks::PERHAPS_ANSWERED) =>
            {
                attempt.reserved
            }
            (None, Ending::Status(_) | Ending::Transport(_)) => attempt.reserved - price.answer,
        };
        let (day, ends) = (self.calendar.day(), self.calendar.ends());
        // The budget has to hold whatever the provider charges in the end, so the worst case counts as spent; but
        // whoever looks is told how much of it is that.
        let for_answer = if answered { price.answer } else { Usd::ZERO };
        let assumed = if finished.usage.is_none() && cost > Usd::ZERO { cost - for_answer } else { Usd::ZERO };
        for purse in [&mut self.tiers[attempt.tier as usize].purse, &mut self.clients[attempt.client as usize].purse] {
            purse.settle(now, attempt.reserved, cost, day, ends);
            purse.assume(assumed);
        }
        self.waiting.stir();
        cost
    }

    fn learn_latency(&mut self, attempt: &Sent, ended: bool, now: Timestamp, at_end: bool) {
        // Of a stream the deadline governs the first byte only, and that was learnt when it came.
        let stream = attempt.stream;
        if at_end && stream && attempt.marks.has(Marks::FIRST_BYTE) {
            return;
        }
        let index = attempt.place.node;
        let latency = self.nodes[index as usize].latency_mut(stream);
        let after = now.since(attempt.dispatched);
        if ended {
            latency.ended(after);
        } else {
            latency.censored(after);
        }
    }

    /// Holds a failure against whoever is at fault: health, cooldown, probes; a success clears what it contradicts.
    /// Gives the scope for the story.
    fn hold_to_account<O: Observer>(
        &mut self,
        scene: &mut Scene<'_, O>,
        attempt: &Sent,
        finished: &Finished,
        ruling: &Ruling,
        abandoned: bool,
    ) -> Option<Scope> {
        let now = scene.now;
        let says_nothing = abandoned || matches!(ruling.next, Next::Return | Next::Elsewhere);
        if says_nothing {
            self.return_probes(attempt);
            return None;
        }
        if ruling.next == Next::Done {
            self.credit(scene, attempt);
            return None;
        }
        self.fail_probes(now, attempt);
        let (held, blame) = self.place_blame(now, attempt, ruling);
        let node_index = attempt.place.node;
        if blame > 0.0 {
            let knobs = &self.plan.settings.knobs;
            let health = &mut self.nodes[node_index as usize].health;
            if attempt.is_accepted() {
                health.retract(now, attempt.accepted, knobs);
            }
            health.failed(now, blame, now.since(attempt.dispatched), knobs);
            self.review_health(scene, node_index);
        }
        let scope = self.scope_of(held, attempt);
        if finished.facts.violations.any() {
            self.learn_limits(scene, attempt, finished);
        }
        if let Some(sentence) = self.sentence(now, attempt, ruling, held) {
            self.impose(scene, attempt, held, scope, sentence, ruling.alert);
        }
        scope
    }

    /// Whom the failure is held against in the end, and how much of it against the model.
    fn place_blame(&mut self, now: Timestamp, attempt: &Sent, ruling: &Ruling) -> (Held, f64) {
        let site_index = attempt.place.site as usize;
        if matches!(ruling.scope, Held::Inferred | Held::Key | Held::Model) {
            self.sites[site_index].failed(now);
        }
        if ruling.scope != Held::Inferred {
            return (ruling.scope, ruling.blame);
        }
        let node = first_kind(attempt.place.node);
        let sites =
            self.plan.places.iter().filter(|place| place.node == node).map(|place| &self.sites[place.site as usize]);
        match infer_fault(now, &self.sites[site_index], sites, &self.plan.settings.knobs) {
            Fault::Model => (Held::Model, 1.0),
            Fault::Key => (Held::Key, 0.0),
            Fault::Unclear => (Held::Nothing, 0.5),
        }
    }

    /// A good answer: it closes what it probed, and the next failure there is a first one again.
    fn credit<O: Observer>(&mut self, scene: &mut Scene<'_, O>, attempt: &Sent) {
        let now = scene.now;
        let (place, probes) = (attempt.place, attempt.probes);
        let node_index = place.node;
        if !attempt.is_accepted() {
            let health = &mut self.nodes[node_index as usize].health;
            health.accept(now, &self.plan.settings.knobs);
            if probes.has(Probes::NODE) {
                health.probing.accepted(now);
            }
            self.review_health(scene, node_index);
        }
        self.sites[place.site as usize].succeeded(now, now.since(attempt.dispatched));
        for (cooldown, scope) in self.cooldowns_over(&place) {
            if !probes.has(scope) {
                cooldown.succeeded(attempt.dispatched, now);
            }
        }
        self.pass_probes(scene, &place, probes, |cooldown| cooldown.probe_answered(attempt.dispatched));
    }

    /// An attempt has proved some of what it probes well; `pass` tells it to a cooldown, and says whether that stands.
    fn pass_probes<O: Observer>(
        &mut self,
        scene: &mut Scene<'_, O>,
        place: &Place,
        proven: Probes,
        pass: impl Fn(&mut Cooldown) -> bool,
    ) {
        if !proven.any() {
            return;
        }
        self.sheets.touch_key(place.key);
        self.sheets.touch_quota(place.quota);
        self.waiting.stir();
        let scopes =
            [self.plan.key_scope(place.key), self.plan.quota_scope(place), self.plan.provider_scope(place.provider)];
        for ((cooldown, kind), scope) in self.cooldowns_over(place).into_iter().zip(scopes) {
            if proven.has(kind)
                && pass(cooldown)
                && let Some(scope) = scope
            {
                scene.tell(|| Note::Cleared { scope });
            }
        }
    }

    /// What may keep a call to a deployment back: its key's, its quota's and its provider's cooldown.
    fn cooldowns_over(&mut self, place: &Place) -> [(&mut Cooldown, Probes); 3] {
        [
            (&mut self.keys[place.key as usize].cooldown, Probes::KEY),
            (&mut self.quotas[place.quota as usize].cooldown, Probes::QUOTA),
            (&mut self.providers[place.provider as usize], Probes::PROVIDER),
        ]
    }

    fn return_probes(&mut self, attempt: &Sent) {
        self.each_probe(attempt, Cooldown::probe_returned);
        if attempt.probes.has(Probes::NODE) {
            let index = attempt.place.node;
            self.nodes[index as usize].health.probing.returned();
        }
    }

    fn fail_probes(&mut self, now: Timestamp, attempt: &Sent) {
        self.each_probe(attempt, Cooldown::probe_failed);
        if attempt.probes.has(Probes::NODE) {
            let index = attempt.place.node;
            self.nodes[index as usize].health.probing.failed(now, &self.plan.settings.knobs);
        }
    }

    fn each_probe(&mut self, attempt: &Sent, tell: fn(&mut Cooldown)) {
        let (place, probes) = (attempt.place, attempt.probes);
        if !probes.any() {
            return;
        }
        self.sheets.touch_key(place.key);
        self.sheets.touch_quota(place.quota);
        for (cooldown, scope) in self.cooldowns_over(&place) {
            if probes.has(scope) {
                tell(cooldown);
            }
        }
        self.waiting.stir();
    }

    fn learn_limits<O: Observer>(&mut self, scene: &mut Scene<'_, O>, attempt: &Sent, finished: &Finished) {
        let scope = self.plan.quota_scope(&attempt.place);
        let index = attempt.place.quota;
        self.sheets.touch_quota(index);
        let mut learnt = false;
        self.quotas[index as usize].learn(&finished.facts.violations, |cause, limit| {
            learnt = true;
            if let Some(scope) = scope {
                scene.tell(|| Note::Learnt { scope, cause, limit });
            }
        });
        if learnt {
            self.measure_capacity();
        }
    }

    /// The cooldown that a ruling asks for.
    fn sentence(&mut self, now: Timestamp, attempt: &Sent, ruling: &Ruling, held: Held) -> Option<Sentence> {
        let rules = self.rules();
        let knobs = &self.plan.settings.knobs;
        let quota = attempt.place.quota as usize;
        let cooldown = match held {
            Held::Key => &self.keys[attempt.place.key as usize].cooldown,
            Held::ProjectModel => &self.quotas[quota].cooldown,
            Held::Provider => &self.providers[attempt.place.provider as usize],
            Held::Nothing | Held::Model | Held::Inferred => return None,
        };
        let streak = cooldown.next_in_row(attempt.dispatched);
        let seed = self.plan.settings.seed;
        let chance = unit(draw(seed, STREAM_COOLDOWN, attempt.id.get(), attempt.dispatched.as_nanos()));
        let inferred = |length: Duration| Sentence {
            until: now + length,
            cause: ruling.class,
            provenance: Provenance::Inferred,
            half_open: true,
            early: None,
            streak,
        };
        let told = |until: Timestamp| Sentence {
            until,
            cause: ruling.class,
            provenance: Provenance::Authoritative,
            half_open: false,
            early: None,
            streak,
        };
        match ruling.rest {
            Rest::None => None,
            Rest::Soft => {
                let length = growing(knobs.cooldown_base, knobs.cooldown_growth, knobs.cooldown_max, streak, chance);
                Some(inferred(length))
            }
            Rest::Growing(base) => Some(inferred(growing(base, 2.0, UNKNOWN_RATE_MAX, streak, chance))),
            Rest::Fixed(length) => Some(inferred(length)),
            // A tenth more, at most a second: all that were told the same delay must not come back together.
            Rest::Told(length) => {
                let spread = length.mul_f64(0.1).min(Duration::from_secs(1)).mul_f64(chance);
                Some(told(now + length + spread))
            }
            Rest::Window => {
                let edge = self.quotas[quota].window_edge(now, &rules);
                let until = if edge > now { edge } else { now + MINUTE };
                Some(Sentence { provenance: Provenance::Inferred, ..told(until) })
            }
            Rest::Day { at_least, contradicted } => {
                let until = at_least.map_or(Timestamp::ZERO, |length| now + length).max(rules.day_ends);
                Some(Sentence { early: contradicted.map(|delay| now + delay), ..told(until) })
            }
            Rest::Retired => Some(told(Timestamp::MAX)),
        }
    }

    fn impose<O: Observer>(
        &mut self,
        scene: &mut Scene<'_, O>,
        attempt: &Sent,
        held: Held,
        scope: Option<Scope>,
        sentence: Sentence,
        alert: bool,
    ) {
        let cooldown = match held {
            Held::Key => {
                self.sheets.touch_key(attempt.place.key);
                &mut self.keys[attempt.place.key as usize].cooldown
            }
            Held::ProjectModel => {
                let index = attempt.place.quota;
                self.sheets.touch_quota(index);
                &mut self.quotas[index as usize].cooldown
            }
            Held::Provider => &mut self.providers[attempt.place.provider as usize],
            Held::Nothing | Held::Model | Held::Inferred => return,
        };
        let rested_before = cooldown.active(scene.now).is_some_and(|(_, cause, _)| cause == sentence.cause);
        if !cooldown.impose(scene.now, sentence) {
            return;
        }
        let Some(scope) = scope else { return };
        let Sentence { until, cause, provenance, .. } = sentence;
        scene.tell(|| Note::Cooled { scope, cause, until, provenance });
        if alert && !rested_before {
            scene.tell(|| Note::Alert { scope, cause });
        }
    }

    /// What the settings in force call the scope.
    fn scope_of(&self, held: Held, attempt: &Sent) -> Option<Scope> {
        match held {
            Held::Nothing | Held::Inferred => None,
            Held::Key => self.plan.key_scope(attempt.place.key),
            Held::ProjectModel => self.plan.quota_scope(&attempt.place),
            Held::Model => self.plan.upstream(attempt.place.node).map(Scope::Upstream),
            Held::Provider => self.plan.provider_scope(attempt.place.provider),
        }
    }
}

/// Whether the call was still running when we stopped listening: its latency is longer than what we saw.
fn is_timeout(ending: Ending) -> bool {
    match ending {
        Ending::Transport(transport) => match transport {
            Transport::FirstByteTimeout | Transport::TotalTimeout => true,
            Transport::Connect
            | Transport::Reset
            | Transport::ReusedConnection
            | Transport::IdleTimeout
            | Transport::Cut
            | Transport::ErrorEvent
            | Transport::Malformed
            | Transport::Abandoned => false,
        },
        Ending::Status(_) => false,
    }
}
