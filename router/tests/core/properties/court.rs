//! Drives the router and keeps books of its own, from inputs and outputs alone, by the rules that the documentation
//! states; what a cooldown covers it takes from the story that the router tells.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stormproof_router::core::{
    Action, Arrived, AtRisk, AttemptId, Cause, ChargeErrors, ClientId, Dispatch, Duration, Ending, Endpoint,
    Fingerprint, Finished, Input, KeyId, Limits, ModelId, Note, Output, Price, Priority, ProjectId, RequestId, Route,
    Router, Scope, Settings, TierId, Timestamp, TokenEstimate, Tokens, Transport, TurnId, UpstreamId, Usage, Usd,
    WallTime, Why,
};

use super::steps::{Answer, Charge, HOUR, OUTPUT_MAX, Step, WALL, settings};

/// A request as its client sees it.
#[derive(Clone, Debug)]
struct Open {
    deadline: Timestamp,
    relayed: Option<AttemptId>,
    client: ClientId,
    tokens: TokenEstimate,
    stream: bool,
}

/// An attempt as its provider sees it.
#[derive(Clone, Copy, Debug)]
struct Flight {
    request: RequestId,
    key: Fingerprint,
    quota: QuotaName,
    tier: usize,
    price: Price,
    reserved: Usd,
    tokens: TokenEstimate,
    client: usize,
    day: u32,
    endpoint: Endpoint,
    abandoned: bool,
}

/// Project and upstream model by number: the projects are named after their first key.
type QuotaName = (u8, u16);

/// Drives the router, keeps its own books and judges.
pub(super) struct Court {
    router: Router,
    /// A second one that is restored from a snapshot and must do the same.
    twin: Option<Router>,
    settings: Settings,
    now: Timestamp,
    alarm: Timestamp,
    day_ends: Timestamp,
    day: u32,
    next_request: u64,
    open: BTreeMap<RequestId, Open>,
    endpoints: BTreeMap<RequestId, Endpoint>,
    closed: BTreeSet<RequestId>,
    flights: BTreeMap<AttemptId, Flight>,
    ended: Vec<AttemptId>,
    /// The kind of call that ended last.
    ended_as: Endpoint,
    named: BTreeSet<AttemptId>,
    sends: BTreeMap<QuotaName, Vec<(AttemptId, Timestamp, u32, Charge)>>,
    used_today: BTreeMap<QuotaName, BTreeMap<AttemptId, Charge>>,
    set_used: BTreeMap<QuotaName, u32>,
    learnt_rpm: BTreeMap<QuotaName, u32>,
    cooled: BTreeMap<String, (Timestamp, Cause)>,
    /// What began to rest with the input at hand, where time alone may have started attempts before it.
    fresh: BTreeSet<String>,
    /// Time has done its work before this input: all that it starts knows what it brought.
    settled: bool,
    spent: [Usd; 3],
    client_spent: [Usd; 3],
    budgets: [Option<Usd>; 3],
}

impl Court {
    pub(super) fn new(charge: ChargeErrors) -> Self {
        let mut court = Self {
            router: Router::new(),
            twin: None,
            settings: settings(0, charge),
            now: Timestamp::ZERO,
            alarm: Timestamp::MAX,
            day_ends: Timestamp::MAX,
            day: 0,
            next_request: 0,
            open: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            closed: BTreeSet::new(),
            flights: BTreeMap::new(),
            ended: Vec::new(),
            ended_as: Endpoint::Generate,
            named: BTreeSet::new(),
            sends: BTreeMap::new(),
            used_today: BTreeMap::new(),
            set_used: BTreeMap::new(),
            learnt_rpm: BTreeMap::new(),
            cooled: BTreeMap::new(),
            fresh: BTreeSet::new(),
            settled: false,
            spent: [Usd::ZERO; 3],
            client_spent: [Usd::ZERO; 3],
            budgets: [None; 3],
        };
        court.settings.check().expect("the graph is sound");
        court.hand_in(Input::Configured { settings: Arc::new(court.settings.clone()) });
        court.hand_in(Input::Clock { wall: WallTime::from_nanos(WALL * 1_000_000_000) });
        court
    }

    fn quota(&self, project: ProjectId, upstream: UpstreamId) -> QuotaName {
        let name = &self.settings.projects[project.index()].name;
        (name.as_bytes()[1] - b'0', upstream.get())
    }

    /// Drops what is held against where an attempt went.
    fn forget(&mut self, flight: &Flight) {
        self.cooled.remove(&format!("key {}", flight.key));
        self.cooled.remove(&format!("quota {:?}", flight.quota));
    }

    /// Whether the settings in force have the key.
    fn knows(&self, key: Fingerprint) -> bool {
        self.settings.keys.iter().any(|known| known.fingerprint == key)
    }

    fn scope_name(&self, scope: Scope) -> String {
        match scope {
            Scope::Key(key) => format!("key {}", self.settings.keys[key.index()].fingerprint),
            Scope::ProjectModel(project, upstream) => format!("quota {:?}", self.quota(project, upstream)),
            Scope::Upstream(upstream) => format!("upstream {upstream}"),
            Scope::Provider(provider) => format!("provider {provider}"),
        }
    }

    /// Hands in one input and judges what comes of it.
    fn hand_in(&mut self, input: Input) {
        self.roll();
        let (mut story, mut learnt) = (Vec::new(), Vec::new());
        self.fresh.clear();
        self.router.observe(self.now, input.clone(), &mut story);
        if let Some(twin) = &mut self.twin {
            twin.handle(self.now, input);
        }
        for (_, note) in story {
            match note {
                // Each kind of call has quotas of its own, and the story names only the pair of project and model.
                Note::Cooled { scope: Scope::ProjectModel(..), .. } | Note::Learnt { .. }
                    if self.ended_as != Endpoint::Generate => {}
                Note::Cleared { scope: Scope::ProjectModel(project, upstream) }
                    if !self.is_asked(self.quota(project, upstream)) => {}
                Note::Cooled { scope, cause, until, .. } => {
                    let name = self.scope_name(scope);
                    if !self.settled {
                        self.fresh.insert(name.clone());
                    }
                    self.cooled.insert(name, (until, cause));
                }
                Note::Cleared { scope } => {
                    self.cooled.remove(&self.scope_name(scope));
                }
                Note::Learnt { scope: Scope::ProjectModel(project, upstream), cause: Cause::RateMinute, limit } => {
                    learnt.push((self.quota(project, upstream), limit));
                }
                Note::Classified { .. }
                | Note::Skipped { .. }
                | Note::Waits { .. }
                | Note::Spilled { .. }
                | Note::Degraded { .. }
                | Note::Learnt { .. }
                | Note::BackedOff { .. }
                | Note::Alert { .. }
                | Note::PowerLost { .. }
                | Note::Limited { .. } => {}
            }
        }
        let ends = self.router.tiers()[0].resets;
        // A clock that jumps past the reset ends the day, too; drift alone moves the end by seconds.
        if self.day_ends < Timestamp::MAX && ends.since(self.day_ends) > Duration::from_secs(HOUR) {
            self.new_day();
        }
        self.day_ends = ends;
        if self.settled {
            self.learnt_rpm.extend(learnt.drain(..));
        }
        while let Some(output) = self.router.poll_output() {
            if let Some(twin) = &mut self.twin {
                assert_eq!(twin.poll_output().as_ref(), Some(&output), "the restored router goes on alike");
            }
            self.judge(output);
        }
        self.learnt_rpm.extend(learnt);
        if let Some(twin) = &mut self.twin {
            assert_eq!(twin.poll_output(), None);
            assert_eq!(twin.state_hash(), self.router.state_hash());
        }
        for (request, open) in &self.open {
            assert!(open.relayed.is_some() || self.now < open.deadline, "{request} is open at its deadline");
        }
    }

    /// Whether a usual call that may have proved a quota well is in flight, or has just ended.
    fn is_asked(&self, quota: QuotaName) -> bool {
        let asks = |flight: &Flight| flight.quota == quota && flight.endpoint == Endpoint::Generate;
        self.ended_as == Endpoint::Generate || self.flights.values().any(asks)
    }

    /// Begins a new day in the books once the old one is over.
    fn roll(&mut self) {
        if self.now >= self.day_ends {
            self.new_day();
        }
    }

    fn new_day(&mut self) {
        self.day += 1;
        self.used_today.clear();
        self.set_used.clear();
        (self.spent, self.client_spent, self.budgets) = ([Usd::ZERO; 3], [Usd::ZERO; 3], [None; 3]);
        self.day_ends = Timestamp::MAX;
    }

    fn judge(&mut self, output: Output) {
        match output {
            Output::Dispatch(dispatch) => self.judge_dispatch(dispatch),
            Output::Relay { request, attempt } => {
                let open = self.open.get_mut(&request).expect("only an open request is relayed");
                assert!(open.relayed.is_none(), "relayed once");
                assert!(self.now < open.deadline, "nothing is first relayed at or after its deadline");
                open.relayed = Some(attempt);
            }
            Output::Abandon { attempt } => {
                let flight = self.flights.get_mut(&attempt).expect("only what is in flight is abandoned");
                assert!(!flight.abandoned, "abandoned once");
                flight.abandoned = true;
            }
            Output::Close { request, .. } => {
                assert!(self.closed.insert(request), "one outcome for {request}");
                self.open.remove(&request);
            }
            Output::WakeAt(at) => {
                assert!(at > self.now, "an alarm lies ahead");
                self.alarm = at;
            }
        }
    }

    fn judge_dispatch(&mut self, dispatch: Dispatch) {
        let Dispatch { request, attempt, deployment, timeouts, why } = dispatch;
        assert!(self.named.insert(attempt), "attempts are named once");
        let open = self.open.get(&request).expect("only an open request is served").clone();
        assert!(open.relayed.is_none(), "no attempt after the relay");
        assert!(!self.flights.values().any(|flight| flight.request == request && !flight.abandoned), "one at a time");
        assert!(
            self.now + timeouts.first_byte <= open.deadline
                && (open.stream || self.now + timeouts.total <= open.deadline)
        );
        let spec = self.settings.deployments[deployment.index()];
        let tier = &self.settings.tiers[spec.tier.index()];
        let key = &self.settings.keys[spec.key.index()];
        let quota = self.quota(key.project, tier.upstream);
        let endpoint = self.endpoints[&request];
        let is_probe = matches!(why, Why::Probe { .. });
        self.judge_cooldowns(key.fingerprint, quota, tier.upstream, endpoint, why);
        if endpoint == Endpoint::Generate && !is_probe {
            self.judge_quota(quota, tier.limits, open.tokens.input.get());
        }
        if endpoint == Endpoint::Generate {
            let tokens = open.tokens.input.get();
            self.sends.entry(quota).or_default().push((attempt, self.now, tokens, Charge::Yes));
            self.used_today.entry(quota).or_default().insert(attempt, Charge::Yes);
        }
        let output = open.tokens.output_max.map_or(OUTPUT_MAX, |asked| asked.get().min(OUTPUT_MAX));
        let worst = Usage { input: open.tokens.input, cached: Tokens::ZERO, output: Tokens::new(output) };
        let reserved = tier.price.cost(worst, true);
        let (tier_index, client) = (usize::from(tier.upstream.get()), usize::from(open.client.get()));
        let flight = Flight {
            request,
            key: key.fingerprint,
            quota,
            tier: tier_index,
            price: tier.price,
            reserved,
            tokens: open.tokens,
            client,
            day: self.day,
            endpoint,
            abandoned: false,
        };
        self.flights.insert(attempt, flight);
        let set_aside = |of: &dyn Fn(&Flight) -> bool| -> Usd {
            self.flights.values().filter(|flight| of(flight)).map(|flight| flight.reserved).sum()
        };
        if reserved > Usd::ZERO {
            if let Some(budget) = self.budgets[tier_index].or(tier.budget) {
                let worst = self.spent[tier_index] + set_aside(&|flight| flight.tier == tier_index);
                assert!(worst <= budget, "the tier's day budget holds in the worst case: {worst} of {budget}");
            }
            if let Some(budget) = self.settings.clients[client].budget {
                let worst = self.client_spent[client] + set_aside(&|flight| flight.client == client);
                assert!(worst <= budget, "the client's day budget holds in the worst case: {worst} of {budget}");
            }
        }
    }

    fn judge_cooldowns(&self, key: Fingerprint, quota: QuotaName, upstream: UpstreamId, endpoint: Endpoint, why: Why) {
        let provider = self.settings.upstreams[upstream.index()].provider;
        let mut scopes = vec![format!("key {key}"), format!("provider {provider}")];
        if endpoint == Endpoint::Generate {
            scopes.push(format!("quota {quota:?}"));
        }
        for scope in scopes {
            let Some((until, cause)) = self.cooled.get(&scope) else { continue };
            if self.now >= *until || self.fresh.contains(&scope) {
                continue;
            }
            let soft = matches!(cause, Cause::Server | Cause::Overload);
            match why {
                Why::Probe { .. } => assert!(*until < Timestamp::MAX, "{scope} is retired"),
                Why::Panic { .. } => assert!(soft, "panic over {scope}, which rests for {cause:?}"),
                Why::First | Why::Waited { .. } | Why::Retry { .. } | Why::Spill { .. } => {
                    panic!("{scope} rests until {until:?} for {cause:?}, used at {:?}: {why:?}", self.now)
                }
            }
        }
    }

    fn judge_quota(&self, quota: QuotaName, limits: Limits, tokens: u32) {
        let now = self.now;
        let counts = |charge: Charge| match self.settings.knobs.rate_charge_errors {
            ChargeErrors::Yes => charge != Charge::No,
            // What is not known may be held to be free; that much must hold in any case.
            ChargeErrors::No | ChargeErrors::Learn => charge == Charge::Yes,
        };
        let minute = |at: Timestamp| now.since(at) < Duration::from_secs(60);
        let inside: Vec<_> =
            self.sends.get(&quota).into_iter().flatten().filter(|send| minute(send.1) && counts(send.3)).collect();
        if let Some(limit) = self.learnt_rpm.get(&quota).copied().or(limits.rpm) {
            assert!((inside.len() as u32) < limit, "{quota:?} has had {} of {limit} this minute", inside.len());
        }
        if let Some(limit) = limits.tpm {
            let used: u32 = inside.iter().map(|send| send.2).sum();
            assert!(used + tokens.min(limit) <= limit, "{quota:?} has had {used} of {limit} tokens this minute");
        }
        if let Some(limit) = limits.rpd {
            let sent =
                self.used_today.get(&quota).into_iter().flatten().filter(|(_, charge)| counts(**charge)).count() as u32;
            let used = sent + self.set_used.get(&quota).copied().unwrap_or(0);
            assert!(used < limit, "{quota:?} has had {used} of {limit} today");
        }
    }

    fn finish(&mut self, attempt: AttemptId, answer: Answer, share: u32) {
        self.settled = share.is_multiple_of(2);
        if self.settled {
            self.hand_in(Input::Woke);
        }
        let Some(flight) = self.flights.remove(&attempt) else { return };
        self.ended.push(attempt);
        self.ended_as = flight.endpoint;
        let (ending, facts) = answer.facts();
        let part = |tokens: u32| Tokens::new((u64::from(tokens) * u64::from(share) / 100) as u32);
        let longest = flight.tokens.output_max.map_or(OUTPUT_MAX, |asked| asked.get().min(OUTPUT_MAX));
        let (input, output) = (part(flight.tokens.input.get()), part(longest));
        let usage = (answer == Answer::Good).then_some(Usage { input, cached: Tokens::ZERO, output });
        if let Some(send) = self.sends.get_mut(&flight.quota).into_iter().flatten().find(|send| send.0 == attempt) {
            send.2 = usage.map_or(send.2, |usage| usage.input.get());
            send.3 = answer.charge();
        }
        if let (true, Some(charge)) =
            (flight.day == self.day, self.used_today.get_mut(&flight.quota).and_then(|sent| sent.get_mut(&attempt)))
        {
            *charge = answer.charge();
        }
        let cost = match (usage, ending) {
            (Some(usage), _) => flight.price.cost(usage, true),
            (None, Ending::Status(_) | Ending::Transport(Transport::Connect)) => Usd::ZERO,
            (None, Ending::Transport(_)) if flight.reserved == Usd::ZERO => Usd::ZERO,
            // It may have run.
            (None, Ending::Transport(_)) => flight.reserved - flight.price.answer,
        };
        // The day of the end pays.
        self.roll();
        self.spent[flight.tier] += cost;
        self.client_spent[flight.client] += cost;
        self.hand_in(Input::Finished(Finished { attempt, ending, facts, usage }));
        self.settled = false;
        // The story cannot name what the settings do not know any more; a good answer may have cleared it all the same.
        if answer == Answer::Good && !self.knows(flight.key) {
            self.forget(&flight);
        }
    }

    /// Lets time pass; whoever is awake is woken on the way.
    fn pass(&mut self, until: Timestamp, awake: bool) {
        for _ in 0..10_000 {
            if !awake || self.alarm > until {
                break;
            }
            self.now = self.now.max(self.alarm);
            self.alarm = Timestamp::MAX;
            self.hand_in(Input::Woke);
        }
        self.now = self.now.max(until);
    }

    pub(super) fn step(&mut self, step: &Step) {
        self.roll();
        match *step {
            Step::Arrive { model, client, endpoint, stream, input, output, priority, patience } => {
                self.next_request += 1;
                let request = RequestId::new(self.next_request);
                let endpoint = match endpoint % 8 {
                    0 => Endpoint::Embed,
                    1 => Endpoint::Count,
                    _ => Endpoint::Generate,
                };
                let tokens = TokenEstimate { input: Tokens::new(input), output_max: output.map(Tokens::new) };
                let deadline = self.now + Duration::from_millis(patience);
                let client = ClientId::new(client % 3);
                if deadline > self.now {
                    self.open.insert(request, Open { deadline, relayed: None, client, tokens, stream });
                }
                self.endpoints.insert(request, endpoint);
                let priority = [Priority::Low, Priority::Normal, Priority::High][usize::from(priority % 3)];
                let (turn, model) = (TurnId::new(self.next_request), ModelId::new(model % 3));
                let arrived = Arrived { request, turn, client, model, endpoint, stream, tokens, priority, deadline };
                self.hand_in(Input::Arrived(arrived));
            }
            Step::Finish { which, answer, share } => {
                if let Some(attempt) = nth(self.flights.keys(), which) {
                    self.finish(attempt, answer, share);
                }
            }
            Step::FirstByte { which } => {
                if let Some(attempt) = nth(self.flights.keys(), which) {
                    self.hand_in(Input::FirstByte { attempt });
                }
            }
            Step::Repeat { which } => {
                if let Some(attempt) = nth(self.ended.iter(), which) {
                    let (ending, facts) = Answer::Good.facts();
                    self.hand_in(Input::FirstByte { attempt });
                    self.hand_in(Input::Finished(Finished { attempt, ending, facts, usage: None }));
                }
            }
            Step::Invent { attempt, request } => {
                let attempt = AttemptId::new(attempt << 32 | 40_000);
                let (ending, facts) = Answer::Overload.facts();
                self.hand_in(Input::Finished(Finished { attempt, ending, facts, usage: None }));
                self.hand_in(Input::Cancelled { request: RequestId::new(1_000_000 + request) });
            }
            Step::Cancel { which } => {
                if let Some(request) = nth(self.open.keys(), which) {
                    self.hand_in(Input::Cancelled { request });
                }
            }
            Step::Pass { millis } => self.pass(self.now + Duration::from_millis(millis), true),
            Step::Reset { offset } => self.pass(nudge(self.day_ends, offset), false),
            Step::Deadline { offset } => {
                if let Some(deadline) = self.open.values().map(|open| open.deadline).min() {
                    self.pass(nudge(deadline, offset), false);
                }
            }
            Step::Operate { order, key, tier, until } => self.operate(order, key, tier, until),
            Step::Configure { variant } => {
                self.settings = settings(variant, self.settings.knobs.rate_charge_errors);
                self.settings.check().expect("the graph is sound");
                // A key that is gone is not held to anything; one that returns dead is taken back.
                self.cooled.retain(|_, (until, _)| *until < Timestamp::MAX);
                // The story cannot name it, so what is in flight there may clear it in silence.
                let gone: Vec<Flight> =
                    self.flights.values().filter(|flight| !self.knows(flight.key)).copied().collect();
                gone.iter().for_each(|flight| self.forget(flight));
                self.hand_in(Input::Configured { settings: Arc::new(self.settings.clone()) });
            }
            Step::Clock { drift_ms } => {
                let drifted =
                    (WALL * 1000 + self.now.since(Timestamp::ZERO).as_millis()).saturating_add_signed(drift_ms);
                self.hand_in(Input::Clock { wall: WallTime::from_nanos(drifted * 1_000_000) });
            }
            Step::Restore => {
                let snapshot = self.router.snapshot();
                let twin = Router::restore(&snapshot).expect("its own snapshot");
                assert_eq!(twin.state_hash(), self.router.state_hash());
                assert_eq!(twin.snapshot(), snapshot);
                self.twin = Some(twin);
            }
        }
    }

    fn operate(&mut self, order: u8, key: u32, tier: u16, until: u64) {
        let key = KeyId::new(key % self.settings.keys.len() as u32);
        let tier = TierId::new(tier % 3);
        let until = self.now + Duration::from_secs(until);
        let project = self.settings.keys[key.index()].project;
        let upstream = UpstreamId::new(0);
        let action = match order % 13 {
            0 => Action::ClearCooldown { scope: Scope::Key(key) },
            1 => Action::DrainKey { key, until },
            2 => Action::RetireKey { key },
            3 => Action::RestoreKey { key },
            4 => {
                let quota = self.quota(project, upstream);
                self.used_today.insert(quota, BTreeMap::new());
                self.set_used.insert(quota, 6);
                Action::SetUsed { project, upstream, requests: 6 }
            }
            5 => Action::SkipTier { tier, until },
            6 => Action::PinTier { tier, until },
            7 => Action::FreeTier { tier },
            8 => Action::StopPaid { until },
            9 => {
                self.budgets[tier.index()] = Some(Usd::from_micros(90_000));
                Action::SetBudget { tier, budget: Usd::from_micros(90_000) }
            }
            10 => {
                self.learnt_rpm.remove(&self.quota(project, upstream));
                Action::ForgetLimits { project, upstream }
            }
            // A process that starts has nothing in flight but what died with the one before.
            11 if self.flights.is_empty() => {
                return self.lose_power();
            }
            _ => Action::ClearCooldown { scope: Scope::Upstream(upstream) },
        };
        self.hand_in(Input::Operator { action, author: "test".into() });
    }

    /// A twentieth of every budget is taken as spent, or what is left of it.
    fn lose_power(&mut self) {
        let since = self.now - Duration::from_secs(1);
        let action = Action::PowerLost { at_risk: AtRisk::from_ppm(50_000), since };
        self.hand_in(Input::Operator { action, author: "test".into() });
        let grown = |before: Usd, budget: Option<Usd>| {
            let budget = budget.unwrap_or_default();
            before + Usd::from_micros(budget.as_micros() / 20).min((budget - before).max(Usd::ZERO))
        };
        for (index, tier) in self.router.tiers().into_iter().enumerate() {
            self.spent[index] = grown(self.spent[index], tier.budget);
            assert_eq!(tier.spent, self.spent[index]);
        }
        for (index, client) in self.router.clients().into_iter().enumerate() {
            self.client_spent[index] = grown(self.client_spent[index], client.budget);
            assert_eq!(client.spent, self.client_spent[index]);
        }
    }

    /// Liveness: everything in flight ends well, time passes every deadline, and nothing is left.
    pub(super) fn settle(&mut self) {
        for _ in 0..2000 {
            while let Some(attempt) = self.flights.keys().next().copied() {
                let abandoned = self.flights[&attempt].abandoned;
                let answer = if abandoned { Answer::Broken(Transport::Abandoned) } else { Answer::Good };
                self.finish(attempt, answer, 50);
            }
            if self.open.is_empty() {
                break;
            }
            assert!(self.alarm < Timestamp::MAX, "an open request has an alarm");
            self.pass(self.alarm, true);
        }
        // The router learns of time only from inputs.
        self.hand_in(Input::Woke);
        assert!(self.open.is_empty(), "every request has an outcome: {:?}", self.open);
        assert_eq!(self.closed.len() as u64, self.next_request);
        let load = self.router.load();
        assert_eq!((load.requests, load.waiting, load.attempts), (0, 0, 0), "nothing is left in flight");
        for (index, tier) in self.router.tiers().into_iter().enumerate() {
            assert_eq!((tier.in_flight, tier.reserved), (0, Usd::ZERO), "reservations conserve");
            assert_eq!(tier.spent, self.spent[index], "and so does money");
        }
    }
}

fn nth<T: Copy>(mut from: impl ExactSizeIterator<Item = impl std::ops::Deref<Target = T>>, which: usize) -> Option<T> {
    let length = from.len().max(1);
    from.nth(which % length).map(|found| *found)
}

fn nudge(at: Timestamp, offset: i8) -> Timestamp {
    let nanos = Duration::from_nanos(u64::from(offset.unsigned_abs()));
    if at == Timestamp::MAX {
        Timestamp::ZERO
    } else if offset < 0 {
        at - nanos
    } else {
        at + nanos
    }
}
