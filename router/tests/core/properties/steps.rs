//! What is done to the router in a case: steps, answers, and the settings between which it changes.

use proptest::prelude::*;
use stormproof_router::core::{
    ChargeErrors, Client, Deployment, Duration, Ending, Facts, Fingerprint, Key, KeyId, Limits, Model, ModelId, Price,
    Priority, Project, ProjectId, Provider, ProviderId, Reason, Settings, Strategy as Selection, Tier, TierId,
    Timeouts, TokenPrice, Tokens, Transport, Upstream, UpstreamId, Usd, Violation, Violations, WallTime,
};

pub(super) const HOUR: u64 = 3600;
pub(super) const OUTPUT_MAX: u32 = 1000;
/// Wall time of the run's beginning: two and a half hours before the first reset.
pub(super) const WALL: u64 = 1_000_000;

/// One thing to do to the router; numbers choose among what is there.
#[derive(Clone, Debug)]
pub(super) enum Step {
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
pub(super) enum Answer {
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
pub(super) enum Charge {
    Yes,
    No,
    Error,
}

impl Answer {
    pub(super) fn facts(self) -> (Ending, Facts) {
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

    pub(super) fn charge(self) -> Charge {
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
pub(super) fn settings(variant: u8, charge: ChargeErrors) -> Settings {
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

pub(super) fn an_answer() -> impl Strategy<Value = Answer> {
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

pub(super) fn a_step() -> impl Strategy<Value = Step> {
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
