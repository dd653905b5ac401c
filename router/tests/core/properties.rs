//! The router under arbitrary interleavings: late, duplicate and unknown completions, cancellations, time jumps to quota
//! edges and past deadlines, every kind of answer, operator orders, clock drift and changes of settings.
//!
//! [`Court`] drives it and keeps its own books from inputs and outputs alone, by the rules that the documentation
//! states; what a cooldown covers it takes from the story that the router tells.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use stormproof_router::core::{
    Action, Arrived, AttemptId, Cause, ChargeErrors, Client, ClientId, Deployment, Dispatch, Duration, Ending,
    Endpoint, Facts, Fingerprint, Finished, Input, Key, KeyId, Limits, Model, ModelId, Note, Output, Price, Priority,
    Project, ProjectId, Provider, ProviderId, Reason, RequestId, Route, Router, Scope, Settings, Strategy as Selection,
    Tier, TierId, Timeouts, Timestamp, TokenEstimate, TokenPrice, Tokens, Transport, TurnId, Upstream, UpstreamId,
    Usage, Usd, Violation, Violations, WallTime, Why,
};

const HOUR: u64 = 3600;
const OUTPUT_MAX: u32 = 1000;
/// Wall time of the run's beginning: two and a half hours before the first reset.
const WALL: u64 = 1_000_000;

/// One thing to do to the router; numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    Arrive {
        model: u16,
        client: u16,
        endpoint: u8,
        stream: bool,
        input: u32,
        output: Option<u32>,
        priority: u8,
        patience: u64,
    },
    Finish {
        which: usize,
        answer: Answer,
        share: u32,
    },
    FirstByte {
        which: usize,
    },
    Repeat {
        which: usize,
    },
    Invent {
        attempt: u64,
        request: u64,
    },
    Cancel {
        which: usize,
    },
    Pass {
        millis: u64,
    },
    /// To just before, at, or just after the end of the quota day, asleep: without being woken on the way.
    Reset {
        offset: i8,
    },
    /// To the next deadline, asleep.
    Deadline {
        offset: i8,
    },
    Operate {
        order: u8,
        key: u32,
        tier: u16,
        until: u64,
    },
    Configure {
        variant: u8,
    },
    Clock {
        drift_ms: i64,
    },
    Restore,
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Good,
    Overload,
    OverloadEvent,
    Rate,
    RateTold(u64),
    Minute(Option<u32>),
    TokensMinute,
    Day { short: Option<u64> },
    NoQuota,
    Throttled,
    Status(u16),
    Because(u16, Reason),
    Broken(Transport),
}

/// Whether it consumes quota, by the documented rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charge {
    Yes,
    No,
    Error,
}

impl Answer {
    fn facts(self) -> (Ending, Facts) {
        let named = |violations| Facts { violations, ..Facts::default() };
        let secs = |secs: u64| Some(Duration::from_secs(secs));
        let value = |limit: Option<u32>| limit.map_or(Violation::Unvalued, Violation::Limit);
        match self {
            Answer::Good => (Ending::Status(200), Facts::default()),
            Answer::Overload => (Ending::Status(503), Facts::default()),
            Answer::OverloadEvent => {
                (Ending::Transport(Transport::ErrorEvent), Facts { inner_status: Some(503), ..Facts::default() })
            }
            Answer::Rate => (Ending::Status(429), Facts::default()),
            Answer::RateTold(delay) => (Ending::Status(429), Facts { retry_after: secs(delay), ..Facts::default() }),
            Answer::Minute(limit) => {
                (Ending::Status(429), named(Violations { requests_minute: value(limit), ..Violations::default() }))
            }
            Answer::TokensMinute => {
                (Ending::Status(429), named(Violations { tokens_minute: Violation::Unvalued, ..Violations::default() }))
            }
            Answer::Day { short } => {
                let violations = Violations { requests_day: Violation::Unvalued, ..Violations::default() };
                (Ending::Status(429), Facts { retry_after: short.and_then(secs), ..named(violations) })
            }
            Answer::NoQuota => {
                (Ending::Status(429), named(Violations { requests_day: Violation::Limit(0), ..Violations::default() }))
            }
            Answer::Throttled => {
                (Ending::Status(429), Facts { reason: Some(Reason::AddressThrottled), ..Facts::default() })
            }
            Answer::Status(status) => (Ending::Status(status), Facts::default()),
            Answer::Because(status, reason) => {
                (Ending::Status(status), Facts { reason: Some(reason), ..Facts::default() })
            }
            Answer::Broken(transport) => (Ending::Transport(transport), Facts::default()),
        }
    }

    fn charge(self) -> Charge {
        match self {
            Answer::Overload | Answer::OverloadEvent => Charge::Error,
            Answer::Rate
            | Answer::RateTold(_)
            | Answer::Minute(_)
            | Answer::TokensMinute
            | Answer::Day { .. }
            | Answer::NoQuota
            | Answer::Throttled
            | Answer::Broken(Transport::Connect)
            | Answer::Because(_, Reason::NoFreeTier) => Charge::No,
            Answer::Good | Answer::Status(_) | Answer::Because(..) | Answer::Broken(_) => Charge::Yes,
        }
    }
}

/// Settings that differ in keys, order, limits, money and knobs, but share names.
fn settings(variant: u8, charge: ChargeErrors) -> Settings {
    let usd = |micros| Usd::from_micros(micros);
    let mut settings = Settings {
        seed: 7,
        // A day of 23 hours between ordinary ones, as in a night when clocks go forward.
        resets: [2 * HOUR + HOUR / 2, 26 * HOUR, 49 * HOUR, 73 * HOUR]
            .map(|secs| WallTime::from_nanos((WALL + secs) * 1_000_000_000))
            .to_vec(),
        providers: vec![Provider { name: "gemini".into() }, Provider { name: "other".into() }],
        upstreams: ["cheap", "dear", "else"]
            .into_iter()
            .enumerate()
            .map(|(index, model)| Upstream { provider: ProviderId::new(u16::from(index == 2)), model: model.into() })
            .collect(),
        ..Settings::default()
    };
    // Keys 0 and 1 share a project; 4 is at the other provider.
    let mut keys = vec![(0u8, "p0", 0), (1, "p0", 0), (2, "p2", 0), (3, "p3", 0), (4, "p4", 1)];
    match variant % 4 {
        1 => keys.reverse(),
        2 => keys.retain(|(number, ..)| *number != 2),
        3 => keys.rotate_left(2),
        _ => {}
    }
    for (number, project, provider) in keys {
        let known = settings.projects.iter().position(|known| known.name == project);
        let index = known.unwrap_or(settings.projects.len());
        if known.is_none() {
            settings.projects.push(Project { name: project.into(), provider: ProviderId::new(provider) });
        }
        settings.keys.push(Key {
            name: format!("key-{number}"),
            fingerprint: Fingerprint::new([number; 8]),
            project: ProjectId::new(index as u32),
        });
    }
    let limits = Limits { rpm: Some(3), tpm: Some(2000), rpd: Some(8), learn: false };
    let price = TokenPrice { input: usd(2_000_000), cached: usd(1_000_000), output: usd(10_000_000) };
    let above = TokenPrice { input: usd(4_000_000), cached: usd(2_000_000), output: usd(20_000_000) };
    let dear = Price { tokens: price, above: Some((Tokens::new(800), above)), answer: usd(500) };
    let tier = |name: &str, upstream, limits, price, budget| Tier {
        name: name.into(),
        upstream: UpstreamId::new(upstream),
        limits,
        price,
        budget,
        input_max: (upstream == 0).then_some(Tokens::new(900)),
        output_max: Some(Tokens::new(OUTPUT_MAX)),
        timeouts: Timeouts::default(),
    };
    settings.tiers = vec![
        tier("cheap", 0, limits, Price::default(), None),
        tier("dear", 1, Limits { rpm: Some(4), ..Limits::default() }, dear, Some(usd(60_000))),
        tier("else", 2, Limits { learn: true, ..Limits::default() }, dear, None),
    ];
    let serves = [("cheap", &[0u8, 1, 2, 3][..]), ("dear", &[2, 3]), ("else", &[4])];
    for (tier, (_, members)) in serves.into_iter().enumerate() {
        for number in members {
            let fingerprint = Fingerprint::new([*number; 8]);
            if let Some(key) = settings.keys.iter().position(|key| key.fingerprint == fingerprint) {
                settings.deployments.push(Deployment {
                    tier: TierId::new(tier as u16),
                    key: KeyId::new(key as u32),
                    weight: 1 + u32::from(*number),
                    order: number % 2,
                });
            }
        }
    }
    let model = |name: &str, tiers: &[u16], context: Option<u16>, content: Option<u16>| Model {
        name: name.into(),
        tiers: tiers.iter().map(|tier| TierId::new(*tier)).collect(),
        deadline: Duration::from_secs(60),
        context_fallback: context.map(ModelId::new),
        content_fallback: content.map(ModelId::new),
    };
    settings.models =
        vec![model("m", &[0, 1], Some(1), Some(1)), model("n", &[1, 2], None, None), model("o", &[2, 0], None, None)];
    if variant % 3 == 1 {
        settings.models.truncate(2);
    }
    let client = |name: &str, budget, rpm, models| Client {
        name: name.into(),
        priority: Priority::Normal,
        budget,
        rpm,
        tpm: None,
        models,
    };
    settings.clients = vec![
        client("anonymous", None, None, None),
        client("poor", Some(usd(25_000)), Some(5), None),
        client("picky", None, None, Some(vec![ModelId::new(0)])),
    ];
    let knobs = &mut settings.knobs;
    knobs.rate_charge_errors = charge;
    knobs.queue_capacity = 6;
    knobs.panic_fraction = 0.6;
    knobs.degraded_share = if variant.is_multiple_of(2) { 2.0 } else { 0.0 };
    knobs.select_strategy = match variant % 7 {
        0 => Selection::Headroom,
        1 => Selection::RoundRobin,
        2 => Selection::WeightedShuffle,
        3 => Selection::LeastBusy,
        4 => Selection::LowestLatency,
        5 => Selection::LowestUsage,
        _ => Selection::LowestCost,
    };
    settings
}

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
struct Court {
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
    fn new(charge: ChargeErrors) -> Self {
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
                Note::Cooled { scope: Scope::ProjectModel(..), .. }
                | Note::Cleared { scope: Scope::ProjectModel(..) }
                | Note::Learnt { .. }
                    if self.ended_as != Endpoint::Generate => {}
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
        if answer == Answer::Good && self.settings.keys.iter().all(|key| key.fingerprint != flight.key) {
            self.cooled.remove(&format!("key {}", flight.key));
            self.cooled.remove(&format!("quota {:?}", flight.quota));
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

    fn step(&mut self, step: &Step) {
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
        let action = match order % 12 {
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
            _ => Action::ClearCooldown { scope: Scope::Upstream(upstream) },
        };
        self.hand_in(Input::Operator { action, author: "test".into() });
    }

    /// Liveness: everything in flight ends well, time passes every deadline, and nothing is left.
    fn settle(&mut self) {
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

fn an_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        6 => Just(Answer::Good),
        5 => Just(Answer::Overload),
        1 => Just(Answer::OverloadEvent),
        1 => Just(Answer::Rate),
        1 => prop_oneof![Just(20u64), Just(300), Just(400)].prop_map(Answer::RateTold),
        1 => prop_oneof![Just(None), Just(Some(2)), Just(Some(5))].prop_map(Answer::Minute),
        1 => Just(Answer::TokensMinute),
        1 => prop_oneof![Just(None), Just(Some(30u64))].prop_map(|short| Answer::Day { short }),
        1 => Just(Answer::NoQuota),
        1 => Just(Answer::Throttled),
        3 => prop_oneof![400u16..=431, 500u16..=511, Just(200u16), Just(302u16), Just(529)]
            // What is overload or rate has its own answer above, with its own charge.
            .prop_filter("judged apart", |status| ![429, 503, 529, 200].contains(status))
            .prop_map(Answer::Status),
        3 => prop_oneof![
            Just((400, Reason::KeyInvalid)), Just((403, Reason::KeySuspended)), Just((403, Reason::KeyLeaked)),
            Just((429, Reason::NoFreeTier)), Just((404, Reason::ClosedToNewUsers)), Just((403, Reason::ServiceDisabled)),
            Just((429, Reason::OutOfFunds)), Just((404, Reason::ModelNotFound)), Just((400, Reason::LocationUnsupported)),
            Just((400, Reason::ContextWindow)), Just((200, Reason::ContentBlocked)), Just((401, Reason::Credential)),
        ].prop_map(|(status, reason)| Answer::Because(status, reason)),
        3 => prop_oneof![
            Just(Transport::Connect), Just(Transport::Reset), Just(Transport::ReusedConnection),
            Just(Transport::FirstByteTimeout), Just(Transport::IdleTimeout), Just(Transport::TotalTimeout),
            Just(Transport::Cut), Just(Transport::ErrorEvent), Just(Transport::Malformed), Just(Transport::Abandoned),
        ].prop_map(Answer::Broken),
    ]
}

fn a_step() -> impl Strategy<Value = Step> {
    let arrive = (any::<u16>(), any::<u16>(), any::<u8>(), any::<bool>(), 0u32..1500, prop::option::of(1u32..2000))
        .prop_flat_map(|(model, client, endpoint, stream, input, output)| {
            (any::<u8>(), prop_oneof![4 => 1_000u64..200_000, 1 => 0u64..2]).prop_map(move |(priority, patience)| {
                Step::Arrive { model, client, endpoint, stream, input, output, priority, patience }
            })
        });
    prop_oneof![
        12 => arrive,
        14 => (any::<usize>(), an_answer(), 0u32..=100)
            .prop_map(|(which, answer, share)| Step::Finish { which, answer, share }),
        4 => any::<usize>().prop_map(|which| Step::FirstByte { which }),
        1 => any::<usize>().prop_map(|which| Step::Repeat { which }),
        1 => (0u64..9, 0u64..9).prop_map(|(attempt, request)| Step::Invent { attempt, request }),
        2 => any::<usize>().prop_map(|which| Step::Cancel { which }),
        10 => prop_oneof![4 => 0u64..3_000, 3 => 0u64..90_000, 1 => 0u64..4_000_000].prop_map(|millis| Step::Pass { millis }),
        1 => (-1i8..=1).prop_map(|offset| Step::Reset { offset }),
        2 => (-1i8..=1).prop_map(|offset| Step::Deadline { offset }),
        3 => (any::<u8>(), any::<u32>(), any::<u16>(), 0u64..300)
            .prop_map(|(order, key, tier, until)| Step::Operate { order, key, tier, until }),
        1 => any::<u8>().prop_map(|variant| Step::Configure { variant }),
        1 => (-5_000i64..5_000).prop_map(|drift_ms| Step::Clock { drift_ms }),
        1 => Just(Step::Restore),
    ]
}

fn cases() -> ProptestConfig {
    // A case of this test is a whole day's worth of steps.
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { 400 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_router_keeps_its_promises(
        charge in prop_oneof![Just(ChargeErrors::Yes), Just(ChargeErrors::No), Just(ChargeErrors::Learn)],
        steps in vec(a_step(), 1..120),
    ) {
        play(charge, &steps);
    }
}

fn play(charge: ChargeErrors, steps: &[Step]) {
    let mut court = Court::new(charge);
    for step in steps {
        court.step(step);
    }
    court.settle();
}

/// Once found by chance: a key is doubted, probed, leaves the settings, is cleared by the probe's answer, and returns.
#[test]
fn a_probe_clears_a_key_that_has_left_and_returns() {
    let arrive = || Step::Arrive {
        model: 1,
        client: 0,
        endpoint: 2,
        stream: false,
        input: 10,
        output: Some(10),
        priority: 1,
        patience: 100_000,
    };
    let finish = |answer| Step::Finish { which: 0, answer, share: 50 };
    let steps = [
        arrive(),
        finish(Answer::Day { short: Some(30) }),
        finish(Answer::Good),
        Step::Pass { millis: 40_000 },
        arrive(),
        Step::Configure { variant: 2 },
        finish(Answer::Good),
        Step::Configure { variant: 0 },
        arrive(),
        finish(Answer::Good),
    ];
    play(ChargeErrors::Yes, &steps);
}
