//! A plain simulator around one router: Poisson arrivals, lognormal latency, overload episodes, sliding-window quotas.
//!
//! Conditions are fields that a test sets. It is small on purpose and shares nothing with the real simulator, so that
//! the two check each other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use stormproof_router::core::{
    Arrived, AttemptId, ChargeErrors, ClientId, Deployment, Dispatch, Duration, Ending, Endpoint, Facts, Fingerprint,
    Finished, Input, Key, KeyId, Limits, Model, ModelId, Outcome, Output, Price, Priority, Project, ProjectId,
    Provider, ProviderId, RequestId, Route, Router, Settings, Tier, TierId, Timeouts, Timestamp, TokenEstimate, Tokens,
    Transport, TurnId, Upstream, UpstreamId, Usage, Usd, Violation, Violations, WallTime, draw, unit,
};

/// What a day is like.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    pub(crate) requests_per_second: f64,
    pub(crate) length: Duration,
    pub(crate) rpm: u32,
    pub(crate) rpd: Option<u32>,
    pub(crate) charge_errors: bool,
    pub(crate) primary: Episodes,
    pub(crate) fallback: Episodes,
}

/// How overload comes and goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Episodes {
    /// Healthy for exponential times of this mean, then 10 to 20 minutes with a failure probability from this range.
    Random { healthy_mean: f64, low: f64, high: f64 },
    /// One episode.
    Fixed { from: f64, to: f64, failure: f64 },
    /// The primary's, this much milder.
    Shared(f64),
}

/// What became of a day.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Day {
    pub(crate) requests: u32,
    pub(crate) answered: u32,
    pub(crate) spend_usd: f64,
    pub(crate) attempts: u32,
    pub(crate) statuses: BTreeMap<u16, u32>,
    /// Delay beyond the answer's own latency, in seconds.
    pub(crate) delays: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Finish(AttemptId, u16),
    Wake,
    Arrive(u64),
}

struct Weather(Vec<(f64, f64, f64)>);

impl Weather {
    fn new(episodes: Episodes, seed: u64, stream: u64, primary: Option<&Weather>) -> Self {
        match episodes {
            Episodes::Fixed { from, to, failure } => Self(vec![(from, to, failure)]),
            Episodes::Shared(share) => {
                Self(primary.map_or(Vec::new(), |w| w.0.iter().map(|(a, b, p)| (*a, *b, p * share)).collect()))
            }
            Episodes::Random { healthy_mean, low, high } => {
                let mut spans = Vec::new();
                let (mut at, mut index) = (0.0, 0);
                while at < 4.0 * 3600.0 {
                    let mut next = || {
                        index += 1;
                        unit(draw(seed, stream, 0, index))
                    };
                    let from = at - healthy_mean * libm::log(1.0 - next());
                    let to = from + 600.0 + 600.0 * next();
                    spans.push((from, to, low + (high - low) * next()));
                    at = to;
                }
                Self(spans)
            }
        }
    }

    fn failure(&self, at: Timestamp) -> f64 {
        let at = at.as_secs_f64();
        self.0.iter().find(|(from, to, _)| (*from..*to).contains(&at)).map_or(0.01, |(_, _, failure)| *failure)
    }
}

fn lognormal(median: f64, sigma: f64, seed: u64, stream: u64, entity: u64, index: u64) -> Duration {
    let (a, b) = (unit(draw(seed, stream, entity, 2 * index)), unit(draw(seed, stream, entity, 2 * index + 1)));
    let normal = libm::sqrt(-2.0 * libm::log(1.0 - a)) * libm::cos(core::f64::consts::TAU * b);
    Duration::from_secs_f64(median * libm::exp(sigma * normal))
}

/// 21 cheap keys and 2 dear ones, as the owner has them.
pub(crate) fn settings(conditions: &Conditions) -> Settings {
    let mut settings = Settings {
        resets: vec![WallTime::default() + conditions.length + DEADLINE],
        providers: vec![Provider { name: "gemini".into() }],
        ..Settings::default()
    };
    let free = Limits { rpm: Some(conditions.rpm), tpm: None, rpd: conditions.rpd, learn: false };
    let paid = Limits { rpm: Some(150), ..Limits::default() };
    let tiers = [("free", 21, free, Usd::ZERO), ("paid", 2, paid, Usd::from_micros(10_000_000))];
    for (index, (name, keys, limits, answer)) in tiers.into_iter().enumerate() {
        settings.upstreams.push(Upstream { provider: ProviderId::new(0), model: format!("{name}-model") });
        settings.tiers.push(Tier {
            name: name.into(),
            upstream: UpstreamId::new(index as u16),
            limits,
            price: Price { answer, ..Price::default() },
            budget: None,
            input_max: None,
            output_max: None,
            timeouts: Timeouts { first_byte: Duration::from_secs(600), ..Timeouts::default() },
        });
        for number in 0..keys {
            let id = settings.keys.len() as u32;
            settings.projects.push(Project { name: format!("{name}-{number}"), provider: ProviderId::new(0) });
            settings.keys.push(Key {
                name: format!("{name}-{number}"),
                fingerprint: Fingerprint::new(u64::from(id).to_be_bytes()),
                project: ProjectId::new(id),
            });
            settings.deployments.push(Deployment {
                tier: TierId::new(index as u16),
                key: KeyId::new(id),
                weight: 1,
                order: 0,
            });
        }
    }
    settings.models.push(Model {
        name: "model".into(),
        tiers: vec![TierId::new(0), TierId::new(1)],
        deadline: DEADLINE,
        context_fallback: None,
        content_fallback: None,
    });
    let knobs = &mut settings.knobs;
    knobs.rate_charge_errors = if conditions.charge_errors { ChargeErrors::Yes } else { ChargeErrors::No };
    knobs.rate_window_guard = Duration::from_millis(1);
    knobs.health_half_life = Duration::from_millis(24_800);
    knobs.health_prior_weight = 0.565;
    knobs.trip_ratio = 0.144;
    knobs.degraded_share = 2.28;
    knobs.queue_patience = Duration::from_millis(17_700);
    knobs.queue_deadline_risk = 0.0117;
    knobs.retry_backoff_base = Duration::from_millis(100);
    knobs.retry_backoff_max = Duration::from_millis(790);
    knobs.quota_reserve = 0.966;
    settings
}

pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// Runs one day.
pub(crate) fn simulate(conditions: &Conditions, settings: Settings, seed: u64) -> Day {
    let primary = Weather::new(conditions.primary, seed, 1, None);
    let weathers = [Weather::new(conditions.fallback, seed, 2, Some(&primary)), primary];
    let mut router = Router::new();
    let mut queue = BinaryHeap::new();
    let mut sequence = 0u64;
    let mut day = Day::default();
    let mut sent: Vec<(VecDeque<(Timestamp, bool)>, u32)> = vec![Default::default(); settings.deployments.len()];
    let mut in_flight: BTreeMap<AttemptId, (usize, u64)> = BTreeMap::new();
    let mut tries: BTreeMap<(u64, usize), u64> = BTreeMap::new();
    let mut arrivals: Vec<Timestamp> = Vec::new();
    let mut at = 0.0;
    loop {
        at -= libm::log(1.0 - unit(draw(seed, 3, 0, arrivals.len() as u64))) / conditions.requests_per_second;
        if at >= conditions.length.as_secs_f64() {
            break;
        }
        arrivals.push(Timestamp::ZERO + Duration::from_secs_f64(at));
    }
    for (index, at) in arrivals.iter().enumerate() {
        queue.push(Reverse((*at, Event::Arrive(index as u64), 0)));
    }
    let latency = |request: u64| lognormal(20.0, 0.6, seed, 4, request, 0);
    let mut inputs: VecDeque<(Timestamp, Input)> = VecDeque::from([
        (Timestamp::ZERO, Input::Configured { settings: Arc::new(settings.clone()) }),
        (Timestamp::ZERO, Input::Clock { wall: WallTime::default() }),
    ]);
    let mut alarm = Timestamp::MAX;
    loop {
        let (now, input) = match inputs.pop_front() {
            Some(input) => input,
            None => match queue.pop() {
                None => break,
                Some(Reverse((now, Event::Arrive(index), _))) => {
                    let arrived = Arrived {
                        request: RequestId::new(index + 1),
                        turn: TurnId::new(index + 1),
                        client: ClientId::new(0),
                        model: ModelId::new(0),
                        endpoint: Endpoint::Generate,
                        stream: false,
                        tokens: TokenEstimate { input: Tokens::new(1000), output_max: None },
                        priority: Priority::Normal,
                        deadline: now + DEADLINE,
                    };
                    (now, Input::Arrived(arrived))
                }
                Some(Reverse((now, Event::Wake, _))) if now == alarm => (now, Input::Woke),
                Some(Reverse((_, Event::Wake, _))) => continue,
                Some(Reverse((now, Event::Finish(attempt, status), _))) => {
                    let Some((deployment, _)) = in_flight.remove(&attempt) else { continue };
                    let minute = Violations { requests_minute: Violation::Unvalued, ..Violations::default() };
                    let daily = Violations { requests_day: Violation::Unvalued, ..Violations::default() };
                    let (status, violations) = match status {
                        429 => (429, minute),
                        430 => (429, daily),
                        status => (status, Violations::default()),
                    };
                    *day.statuses.entry(status).or_default() += 1;
                    if status == 200 {
                        day.spend_usd +=
                            settings.tiers[settings.deployments[deployment].tier.index()].price.answer.as_f64();
                    }
                    let facts = Facts { violations, ..Facts::default() };
                    let usage = (status == 200).then(|| Usage {
                        input: Tokens::new(1000),
                        cached: Tokens::ZERO,
                        output: Tokens::new(100),
                    });
                    (now, Input::Finished(Finished { attempt, ending: Ending::Status(status), facts, usage }))
                }
            },
        };
        router.handle(now, input);
        while let Some(output) = router.poll_output() {
            match output {
                Output::Dispatch(Dispatch { request, attempt, deployment, .. }) => {
                    day.attempts += 1;
                    let (tier, site) = (settings.deployments[deployment.index()].tier.index(), deployment.index());
                    let nth = tries.entry((request.get(), tier)).or_default();
                    *nth += 1;
                    let keyed = |stream| unit(draw(seed, stream + tier as u64, request.get(), *nth));
                    let (log, today) = &mut sent[site];
                    while log.front().is_some_and(|(at, _)| now.since(*at) >= Duration::from_secs(60)) {
                        log.pop_front();
                    }
                    let limits = settings.tiers[tier].limits;
                    let minute = limits.rpm.is_some_and(|limit| log.len() as u32 >= limit);
                    let daily = limits.rpd.is_some_and(|limit| *today >= limit);
                    let overloaded = keyed(10) < weathers[1 - tier].failure(now);
                    let (status, after) = if minute || daily {
                        (if daily { 430 } else { 429 }, Duration::from_millis(300))
                    } else if overloaded {
                        (503, lognormal(1.2, 0.6, seed, 20 + tier as u64, request.get(), *nth))
                    } else {
                        (200, latency(request.get()))
                    };
                    if status == 200 || (status == 503 && conditions.charge_errors) {
                        log.push_back((now, true));
                        *today += 1;
                    }
                    in_flight.insert(attempt, (site, request.get()));
                    sequence += 1;
                    queue.push(Reverse((now + after, Event::Finish(attempt, status), sequence)));
                }
                Output::Abandon { attempt } => {
                    if in_flight.remove(&attempt).is_some() {
                        let ending = Ending::Transport(Transport::Abandoned);
                        let finished = Finished { attempt, ending, facts: Facts::default(), usage: None };
                        inputs.push_back((now, Input::Finished(finished)));
                    }
                }
                Output::Relay { .. } => {}
                Output::Close { request, verdict } => {
                    day.requests += 1;
                    if verdict.outcome == Outcome::Answered {
                        day.answered += 1;
                        let arrived = arrivals[request.get() as usize - 1];
                        day.delays.push(now.since(arrived).as_secs_f64() - latency(request.get()).as_secs_f64());
                    }
                }
                Output::WakeAt(at) => {
                    alarm = at;
                    sequence += 1;
                    queue.push(Reverse((at, Event::Wake, sequence)));
                }
            }
        }
    }
    day.delays.sort_by(f64::total_cmp);
    assert_eq!(day.requests as usize, arrivals.len(), "every request has an outcome");
    assert!(in_flight.is_empty(), "nothing is left in flight");
    day
}

/// A scenario family by its letter.
pub(crate) fn family(letter: char) -> Conditions {
    let base = Conditions {
        requests_per_second: 1.0,
        length: Duration::from_secs(7200),
        rpm: 5,
        rpd: None,
        charge_errors: true,
        primary: Episodes::Random { healthy_mean: 1800.0, low: 0.6, high: 0.95 },
        fallback: Episodes::Random { healthy_mean: 3600.0, low: 0.2, high: 0.6 },
    };
    match letter {
        'a' => Conditions { requests_per_second: 0.25, rpd: Some(100), ..base },
        'b' => Conditions { requests_per_second: 0.5, rpd: Some(100), ..base },
        'c' => base,
        'e' => Conditions { rpm: 10, rpd: Some(250), ..base },
        'g' => Conditions { fallback: Episodes::Shared(0.6), ..base },
        'i' => Conditions {
            requests_per_second: 0.5,
            length: Duration::from_secs(3600),
            primary: Episodes::Fixed { from: 600.0, to: 1500.0, failure: 0.9 },
            fallback: Episodes::Fixed { from: 600.0, to: 1500.0, failure: 0.5 },
            ..base
        },
        'j' => Conditions { charge_errors: false, ..base },
        other => panic!("no family {other}"),
    }
}
