//! What one request does next: start somewhere, wait for something, or give up.
//!
//! Tiers are asked in the model's order. A tier's [`Offer`] says whether it could start the request now, later or never;
//! [`Router::decide`] weighs the offers: a cheap attempt is made where it is worth its quota and its delay, a wait is
//! accepted within the patience and the latest safe start, and only when no start before that exists does it give up.

use super::budget::worst_case;
use super::cooldown::Gate;
use super::ids::{DeploymentId, ModelId, TierId};
use super::output::{Cause, Spill, Why};
use super::plan::endpoint_offset;
use super::quota::Rules;
use super::router::Router;
use super::settings::Priority;
use super::spill::{Scales, starved_price};
use super::state::{Marks, Probes, Request, Sent};
use super::time::{Duration, Timestamp};
use super::units::Usd;

/// How long a verdict on starvation stands: it moves with minutes of demand.
const STARVED_FOR: Duration = Duration::from_secs(1);

/// The share of the time left that may be spent on waiting, whatever the risk.
const WORTH_WAITING: f64 = 0.25;

/// Far more than two ways to compute the same worth can differ by.
const ROUNDING: f64 = 1e-6;

/// What a tier can do for one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Offer {
    /// Start it, now or when its own back-off is over.
    Ready(Pick, Timestamp),
    /// Start it later.
    Later {
        /// When something changes, at the earliest.
        until: Timestamp,
        /// What is in the way.
        cause: Cause,
        /// Whether it is in the way of this request alone.
        own: bool,
    },
    /// Nothing, as far as is known.
    Never(Cause),
}

/// A deployment that may be used now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pick {
    /// Which.
    pub(super) deployment: DeploymentId,
    /// What the attempt would probe.
    pub(super) probes: Probes,
    /// Set when soft cooldowns were ignored: the usable share in parts per million.
    pub(super) panic: Option<u32>,
    /// Whether its quota has room only if failed calls do not count.
    pub(super) contested: bool,
}

/// What a request does next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Decision {
    /// Start.
    Start {
        /// In which tier.
        tier: TierId,
        /// Its place among the model's.
        position: usize,
        /// On which deployment.
        pick: Pick,
        /// Why.
        why: Why,
        /// Whether a cheaper tier was left for it, and why.
        left: Option<(TierId, Spill)>,
    },
    /// Wait.
    Wait {
        /// When to ask this request again in any case.
        review: Timestamp,
        /// When capacity that others wait for too comes free; `None` when it waits for something of its own.
        opens: Option<Timestamp>,
        /// For which tier above all.
        tier: TierId,
        /// What is in the way there.
        cause: Cause,
    },
    /// No start before the latest safe start exists.
    GiveUp,
}

/// The tiers that cannot start a request now, summed up.
#[derive(Clone, Copy, Debug)]
struct Prospects {
    /// Earliest shared and own times that come before the latest safe start.
    shared: Timestamp,
    own: Timestamp,
    /// The latest safe start, of the tier that leaves most time.
    latest: Timestamp,
    /// The tier that opens first.
    first: Option<(Timestamp, TierId, Cause)>,
}

impl Router {
    /// What `request` does next. Where it `arrives`, those of its kind that wait already are ahead of it.
    pub(super) fn decide(&mut self, now: Timestamp, request: &Request, arrives: bool) -> Decision {
        let Some(model) = request.model else { return Decision::GiveUp };
        let Some(&tier) = self.plan.models[model.index()].first() else { return Decision::GiveUp };
        let first = self.offer(now, request, tier, 0);
        match &first {
            // Nearly all, as long as nothing is wrong.
            Offer::Ready(pick, from) if self.is_plainly_worth(now, request, tier, *from) => {
                self.start(now, request, (tier, 0), pick, *from, None)
            }
            Offer::Ready(..) | Offer::Later { .. } | Offer::Never(_) => {
                self.weigh(now, request, model, &first, arrives)
            }
        }
    }

    /// Weighs what all tiers of a model can do, the first of which offers `first`.
    #[inline(never)]
    fn weigh(&mut self, now: Timestamp, request: &Request, model: ModelId, first: &Offer, arrives: bool) -> Decision {
        let tiers = self.plan.models[model.index()].len();
        let mut prospects =
            Prospects { shared: Timestamp::MAX, own: Timestamp::MAX, latest: Timestamp::ZERO, first: None };
        let mut left: Option<(TierId, Spill, Scales)> = None;
        for position in 0..tiers {
            let tier = self.plan.models[model.index()][position];
            let later;
            let offer = if position == 0 {
                first
            } else {
                later = self.offer(now, request, tier, position);
                &later
            };
            match *offer {
                Offer::Never(cause) => {
                    let why = if cause == Cause::ContextWindow { Spill::Unsuited } else { Spill::Exhausted };
                    left = left.or(Some((tier, why, Scales::NONE)));
                }
                Offer::Ready(ref pick, from) => {
                    if position > 0 && self.is_plainly_worth(now, request, tier, from) {
                        return self.start(now, request, (tier, position), pick, from, left);
                    }
                    let scales = self.scales(now, request, tier, position, from);
                    match self.is_worth(now, request, tier, position, &scales) {
                        Ok(()) => return self.start(now, request, (tier, position), pick, from, left),
                        Err(_) if from <= now && self.probe_is_due(now, tier, request) => {
                            let pick = Pick { probes: pick.probes.with(Probes::NODE), ..*pick };
                            return self.start(now, request, (tier, position), &pick, from, left);
                        }
                        Err(why) => left = Some((tier, why, scales)),
                    }
                }
                Offer::Later { until, cause, own } => {
                    self.refresh_latency(now, request, tier);
                    let latest = self.latest_start(request, tier);
                    prospects.add(until, own, latest, tier, cause);
                    match self.accept_wait(now, request, tier, position, until, latest, arrives) {
                        Ok(Some(review)) => {
                            return Decision::Wait {
                                review: if own { review.min(until) } else { review },
                                opens: (!own).then_some(until),
                                tier,
                                cause,
                            };
                        }
                        Ok(None) => {}
                        Err(why) => {
                            let why = if cause == Cause::Operator { Spill::Operator } else { why };
                            left = Some((tier, why, self.scales(now, request, tier, position, until)));
                        }
                    }
                }
            }
        }
        prospects.decision()
    }

    /// The upstream model of a tier, for such calls.
    pub(super) fn node(&self, request: &Request, tier: TierId) -> usize {
        (self.plan.tiers[tier.index()].node + endpoint_offset(request.endpoint)) as usize
    }

    fn start(
        &self,
        now: Timestamp,
        request: &Request,
        (tier, position): (TierId, usize),
        pick: &Pick,
        from: Timestamp,
        left: Option<(TierId, Spill, Scales)>,
    ) -> Decision {
        if from > now {
            let cause = request.failures.last.map_or(Cause::None, |(cause, _)| cause);
            return Decision::Wait { review: from, opens: None, tier, cause };
        }
        let failure_ppm = |failure: f64| (failure * 1e6) as u32;
        let why = if let Some(usable_ppm) = pick.panic {
            Why::Panic { usable_ppm }
        } else if pick.probes.any() {
            let node = self.node(request, tier);
            let health = &self.nodes[node].health;
            Why::Probe { failure_ppm: failure_ppm(health.failure(now, &self.plan.settings.knobs)) }
        } else if let Some((_, cause, scales)) = left {
            Why::Spill { cause, failure_ppm: failure_ppm(scales.failure), quota_ppm: (scales.quota * 1e6) as u32 }
        } else if request.attempts > 0 {
            Why::Retry { before: request.attempts }
        } else if now > request.since {
            Why::Waited { waited: now.since(request.since) }
        } else {
            Why::First
        };
        Decision::Start { tier, position, pick: *pick, why, left: left.map(|(tier, why, _)| (tier, why)) }
    }

    /// Whether an attempt on a model in health is worth making even if it fails as often as it possibly may: most are,
    /// and need no closer look.
    fn is_plainly_worth(&mut self, now: Timestamp, request: &Request, tier: TierId, from: Timestamp) -> bool {
        let node = self.node(request, tier);
        let health = &self.nodes[node].health;
        if health.is_degraded() {
            return false;
        }
        let failure = health.failure_at_most(&self.plan.settings.knobs);
        let delay = from.since(now).as_secs_f64() + health.failure_delay() * failure;
        let quota = self.quota_price(now, tier, node);
        // However dear the money of the next tier is, it is worth no less than its face value.
        1.0 - failure - quota > self.plan.settings.knobs.spend_latency_weight * delay + ROUNDING
    }

    /// Whether an attempt on `tier` is worth making now, or what speaks for leaving it to a later tier.
    fn is_worth(
        &mut self,
        now: Timestamp,
        request: &Request,
        tier: TierId,
        position: usize,
        scales: &Scales,
    ) -> Result<(), Spill> {
        let (dearer, rival) = self.later_prices(request, tier, position);
        let node = self.node(request, tier);
        let degraded = self.nodes[node].health.is_degraded();
        let worth = !dearer || scales.worth(&self.plan.settings.knobs);
        // Degraded, but worth its money against a dearer tier; one that costs no more is simply better if it is well.
        if worth && !(degraded && rival) {
            return Ok(());
        }
        let Some(other) = self.alternative(now, request, position) else { return Ok(()) };
        if !worth {
            return Err(if scales.quota > 0.0 { Spill::Starved } else { Spill::Degraded });
        }
        let typical = |tier: TierId| self.plan.tiers[tier.index()].typical;
        if typical(other) > typical(tier) {
            return Ok(());
        }
        let node = self.node(request, other);
        let failure = self.nodes[node].health.failure(now, &self.plan.settings.knobs);
        if failure < scales.failure { Err(Spill::Degraded) } else { Ok(()) }
    }

    /// Whether waiting for `tier` until `until` is right: with a later tier that could start, until the review that
    /// `Ok(Some)` names; `Ok(None)` says that there is no other tier to go to; `Err` why the request goes on to it.
    #[inline(never)]
    fn accept_wait(
        &mut self,
        now: Timestamp,
        request: &Request,
        tier: TierId,
        position: usize,
        until: Timestamp,
        latest: Timestamp,
        arrives: bool,
    ) -> Result<Option<Timestamp>, Spill> {
        let Some(other) = self.alternative(now, request, position) else { return Ok(None) };
        let node = self.node(request, tier);
        let health = &self.nodes[node].health;
        let knobs = &self.plan.settings.knobs;
        let dearth = self.dearth(request, other);
        let base = if health.is_degraded() { knobs.queue_patience_degraded } else { knobs.queue_patience };
        let patience = if dearth == 0.0 { base } else { base + knobs.queue_patience.mul_f64(dearth) };
        let gives_up = request.since + patience;
        let predicted = if knobs.spill_predict {
            let ahead = if arrives { request.kind().map_or(0, |kind| self.waiting.ahead(kind)) } else { 0 };
            let nominal = self.tiers[self.plan.tiers[tier.index()].owner as usize].nominal_rpm.filter(|_| ahead > 0);
            let useful = nominal.map(|rpm| f64::from(rpm) / 60.0 * (1.0 - health.failure(now, knobs)));
            let queue =
                useful.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(f64::from(ahead) / rate.max(1e-6)));
            until.max(now + queue)
        } else {
            // Without a forecast, only the patience itself and the latest start end a wait.
            now
        };
        if until > latest || predicted > latest {
            Err(Spill::Exhausted)
        } else if now >= gives_up || predicted > gives_up {
            Err(if health.is_degraded() { Spill::Degraded } else { Spill::Patience })
        } else {
            Ok(Some(gives_up.min(latest)))
        }
    }

    /// The first later tier that could start the request now or within its patience.
    fn alternative(&mut self, now: Timestamp, request: &Request, position: usize) -> Option<TierId> {
        let model = request.model?;
        let soon = now + self.plan.settings.knobs.retry_backoff_max;
        for later in position + 1..self.plan.models[model.index()].len() {
            let tier = self.plan.models[model.index()][later];
            match self.offer(now, request, tier, later) {
                Offer::Ready(..) => return Some(tier),
                Offer::Later { until, .. } if until <= soon => {
                    self.refresh_latency(now, request, tier);
                    if until <= self.latest_start(request, tier) {
                        return Some(tier);
                    }
                }
                Offer::Later { .. } | Offer::Never(_) => {}
            }
        }
        None
    }

    /// Whether any later tier that takes the request costs more than `tier`, and whether any does not.
    fn later_prices(&self, request: &Request, tier: TierId, position: usize) -> (bool, bool) {
        let Some(model) = request.model else { return (false, false) };
        let typical = self.plan.tiers[tier.index()].typical;
        let (mut dearer, mut rival) = (false, false);
        for (place, later) in self.plan.models[model.index()].iter().enumerate().skip(position + 1) {
            if request.suited >> place & 1 == 1 {
                let costs_more = self.plan.tiers[later.index()].typical > typical;
                (dearer, rival) = (dearer || costs_more, rival || !costs_more);
            }
        }
        (dearer, rival)
    }

    fn scales(&mut self, now: Timestamp, request: &Request, tier: TierId, position: usize, from: Timestamp) -> Scales {
        let node = self.node(request, tier);
        let quota = self.quota_price(now, tier, node);
        let health = &self.nodes[node].health;
        let failure = health.failure(now, &self.plan.settings.knobs);
        // What an attempt delays: its own wait, and a failure's time as often as it fails.
        let delay = from.since(now).as_secs_f64() + health.failure_delay() * failure;
        Scales { failure, quota, delay, dearth: self.dearth_behind(request, position) }
    }

    /// Shadow price of one unit of a tier's quota.
    #[inline]
    fn quota_price(&mut self, now: Timestamp, tier: TierId, node: usize) -> f64 {
        if self.is_starved(now, tier) { starved_price(self.nodes[node].health.failure_in_health()) } else { 0.0 }
    }

    /// How dear the money of the next tier is to this request.
    fn dearth_behind(&self, request: &Request, position: usize) -> f64 {
        let next = request.model.and_then(|model| self.plan.models[model.index()].get(position + 1).copied());
        next.map_or(0.0, |next| self.dearth(request, next))
    }

    /// How dear the money of `tier` is to this request: those who give way first feel a shortage first.
    fn dearth(&self, request: &Request, tier: TierId) -> f64 {
        let lambda = self.tiers[self.plan.tiers[tier.index()].owner as usize].purse.lambda();
        match request.priority {
            Priority::Low => 2.0 * lambda,
            Priority::Normal => lambda,
            Priority::High => 0.0,
        }
    }

    /// Whether a single probe of a model that is not worth its quota may go now.
    fn probe_is_due(&self, now: Timestamp, tier: TierId, request: &Request) -> bool {
        let node = self.node(request, tier);
        self.nodes[node].health.probing.due(now, &self.plan.settings.knobs) <= now
    }

    /// Whether the tier's day quota falls short of the forecast demand until the reset.
    #[inline]
    fn is_starved(&mut self, now: Timestamp, tier: TierId) -> bool {
        let state = &self.tiers[self.plan.tiers[tier.index()].owner as usize];
        if now < state.starved_until { state.starved } else { self.find_starved(now, tier) }
    }

    #[inline(never)]
    fn find_starved(&mut self, now: Timestamp, tier: TierId) -> bool {
        let plan = &self.plan.tiers[tier.index()];
        let (owner, node) = (plan.owner as usize, plan.node as usize);
        let knobs = &self.plan.settings.knobs;
        let (day, count_errors) = (self.calendar.day(), self.nodes[node].charging.counts(knobs.rate_charge_errors));
        let remaining = |quota: &u32| {
            let quota = &self.quotas[*quota as usize];
            match (quota.rpd(), quota.cooldown.active(now)) {
                (_, Some((_, Cause::RateDay | Cause::Dead, _))) => Some(0),
                (rpd, _) => rpd.map(|limit| u64::from(limit.saturating_sub(quota.used_today(count_errors, day)))),
            }
        };
        // One project without a limit is enough for a day.
        let left: Option<u64> = plan.quotas.iter().map(remaining).sum();
        let state = &mut self.tiers[owner];
        state.starved = left.is_some_and(|left| {
            let until_reset = self.calendar.ends().since(now).as_secs_f64();
            let demand = state.demand.per_second(now) * until_reset;
            left as f64 <= knobs.quota_reserve * demand
        });
        state.starved_until = now + STARVED_FOR;
        state.starved
    }

    /// Has the answer at hand that [`Router::latest_start`] is about to ask for; works out anew how long such answers of a
    /// tier take, where enough has been seen since that was last done.
    fn refresh_latency(&mut self, now: Timestamp, request: &Request, tier: TierId) {
        let node = self.node(request, tier);
        let running = self.nodes[node].in_flight as usize;
        if self.nodes[node].latency(request.stream).is_stale(running) {
            self.estimate_latency(now, node, request.stream);
        }
        let latency = self.nodes[node].latency_mut(request.stream);
        latency.ask(request.deadline.since(request.arrived), self.plan.settings.knobs.queue_deadline_risk);
    }

    #[cold]
    #[inline(never)]
    fn estimate_latency(&mut self, now: Timestamp, node: usize, stream: bool) {
        let is_such = |other: &Sent| {
            other.place.node as usize == node
                && other.stream == stream
                && !(stream && other.marks.has(Marks::FIRST_BYTE))
        };
        let others = self.attempts.iter().map(|(_, other)| self.register.sent(other));
        let ages = others.filter(is_such).map(|other| now.since(other.dispatched));
        self.nodes[node].latency_mut(stream).refresh(ages);
    }

    /// The latest safe start of a request on a tier. Being refused costs all of the chance, so whoever begins to wait may
    /// wait for a part of the time it has left, and as long as a back-off lasts; and no longer, or else a crowd would in
    /// the end be served one by one when it is too late for each.
    pub(super) fn latest_start(&self, request: &Request, tier: TierId) -> Timestamp {
        let node = self.node(request, tier);
        let knobs = &self.plan.settings.knobs;
        let latency = self.nodes[node].latency(request.stream);
        let needed = latency.needed(request.deadline.since(request.arrived), knobs.queue_deadline_risk);
        let latest = request.deadline - needed;
        let at_least = request.deadline.since(request.since).mul_f64(WORTH_WAITING).max(knobs.retry_backoff_max);
        latest.max(request.since + at_least).min(request.deadline)
    }

    /// What a tier can do for a request.
    pub(super) fn offer(&mut self, now: Timestamp, request: &Request, tier: TierId, position: usize) -> Offer {
        if let Some(offer) = self.ordered_off(now, request, tier).or_else(|| self.unaffordable(now, request, tier)) {
            return offer;
        }
        if request.suited >> position & 1 == 0 {
            return Offer::Never(Cause::ContextWindow);
        }
        let plan = &self.plan.tiers[tier.index()];
        let (node, provider) = (self.node(request, tier), plan.provider as usize);
        let knobs = &self.plan.settings.knobs;
        let mut probes = Probes::NONE;
        if request.tried >> position & 1 == 1 {
            let until = self.nodes[node].retries.allows_at(now, knobs);
            if until > now {
                return Offer::Later { until, cause: Cause::RetryBudget, own: true };
            }
        }
        match self.providers[provider].gate(now, knobs.probe_concurrent) {
            Gate::Open => {}
            Gate::Probe => probes = Probes::PROVIDER,
            Gate::Closed(until, cause) => return later(until, cause),
        }
        if self.nodes[node].health.is_degraded() {
            let nominal = self.nominal(now, tier);
            let health = &mut self.nodes[node].health;
            let knobs = &self.plan.settings.knobs;
            let mut until = health.throttled_until(now, nominal, knobs);
            if until == Timestamp::MAX {
                until = health.probing.due(now, knobs);
                probes = probes.with(Probes::NODE);
            }
            if until > now {
                return later(until, Cause::Overload);
            }
        }
        self.scan(now, request, tier, probes)
    }

    /// An operator's order that forbids the tier.
    fn ordered_off(&self, now: Timestamp, request: &Request, tier: TierId) -> Option<Offer> {
        if now >= self.orders_until {
            return None;
        }
        let state = |tier: TierId| &self.tiers[self.plan.tiers[tier.index()].owner as usize];
        let paid = !self.plan.tiers[tier.index()].free;
        let tiers = request.model.map_or(&[][..], |model| &self.plan.models[model.index()]);
        let pinned = tiers.iter().map(|tier| state(*tier).pinned).max().filter(|_| state(tier).pinned <= now);
        let until =
            [state(tier).skipped, pinned.unwrap_or_default(), if paid { self.paid_stopped } else { Timestamp::ZERO }]
                .into_iter()
                .max()
                .filter(|until| *until > now)?;
        Some(later(until, Cause::Operator))
    }

    /// A budget of the tier or the client that the worst case does not fit into.
    fn unaffordable(&self, now: Timestamp, request: &Request, tier: TierId) -> Option<Offer> {
        let plan = &self.plan.tiers[tier.index()];
        if plan.free {
            return None;
        }
        let day = self.calendar.day();
        let purses = [
            (&self.tiers[plan.owner as usize].purse, Cause::Budget, false),
            (&self.clients[request.client as usize].purse, Cause::ClientBudget, true),
        ];
        if purses.iter().all(|(purse, ..)| purse.budget(day).is_none()) {
            return None;
        }
        let worst = worst_case(&self.plan.settings.tiers[tier.index()], request.tokens);
        if worst == Usd::ZERO {
            return None;
        }
        let (purse, cause, own) = purses.into_iter().find(|(purse, ..)| !purse.fits(worst, day))?;
        let soon = now + self.plan.settings.knobs.probe_interval;
        let until = purse.fits_at(worst, day, soon, self.calendar.ends());
        Some(until.map_or(Offer::Never(cause), |until| Offer::Later { until, cause, own }))
    }

    /// The tier's capacity in attempts per second; where no limit is known, all the demand that may come to it.
    fn nominal(&mut self, now: Timestamp, tier: TierId) -> f64 {
        let state = &mut self.tiers[self.plan.tiers[tier.index()].owner as usize];
        if let Some(rpm) = state.nominal_rpm {
            return f64::from(rpm) / 60.0;
        }
        // A probe in every interval, however little is asked for.
        let least = 1.0 / self.plan.settings.knobs.probe_interval.as_secs_f64().max(0.1);
        state.reach.per_second(now).max(least)
    }

    /// How the router reads limits at `now`.
    pub(super) fn rules(&self) -> Rules {
        let knobs = &self.plan.settings.knobs;
        Rules {
            window: Duration::from_secs(60) + knobs.rate_window_guard,
            day: self.calendar.day(),
            day_ends: self.calendar.ends(),
        }
    }
}

impl Prospects {
    fn add(&mut self, until: Timestamp, own: bool, latest: Timestamp, tier: TierId, cause: Cause) {
        if until > latest {
            return;
        }
        if self.first.is_none_or(|(earliest, ..)| until < earliest) {
            self.first = Some((until, tier, cause));
        }
        let slot = if own { &mut self.own } else { &mut self.shared };
        *slot = (*slot).min(until);
        self.latest = self.latest.max(latest);
    }

    fn decision(&self) -> Decision {
        let Some((_, tier, cause)) = self.first else { return Decision::GiveUp };
        let opens = (self.shared < Timestamp::MAX).then_some(self.shared);
        Decision::Wait { review: self.own.min(self.latest), opens, tier, cause }
    }
}

/// Something that others wait for too; what never comes back is no offer.
pub(super) fn later(until: Timestamp, cause: Cause) -> Offer {
    if until == Timestamp::MAX { Offer::Never(cause) } else { Offer::Later { until, cause, own: false } }
}
