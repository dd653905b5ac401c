//! Whatever the core may say is read back as it was said.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use stormproof_router::core::{
    Action, Arrived, AtRisk, AttemptId, Cause, ClientId, DeploymentId, Dispatch, Duration, Ending, Endpoint, Facts,
    Finished, Foreign, Input, KeyId, ModelId, Outcome, Output, Priority, ProjectId, ProviderId, Reason, RequestId,
    Scope, Spill, TierCause, TierId, Timeouts, Timestamp, TokenEstimate, Tokens, Transport, TurnId, UpstreamId, Usage,
    Usd, Verdict, Violation, Violations, WallTime, Why,
};
use stormproof_router::log::{Boot, BootId, Event, InFlight, Options, Reader, What, Writer};

use crate::small;
use crate::toy::{Toy, opening, settings};

/// Small numbers, and the ones at which numbers break.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..300u64, any::<u64>(), Just(u64::MAX), Just(1 << 63)]
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![number().prop_map(Duration::from_nanos), (0..400_000u64).prop_map(Duration::from_millis)]
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    number().prop_map(Timestamp::from_nanos)
}

fn tokens() -> impl Strategy<Value = Tokens> {
    any::<u32>().prop_map(Tokens::new)
}

fn cause() -> impl Strategy<Value = Cause> {
    select(vec![
        Cause::None,
        Cause::RateMinute,
        Cause::TokensMinute,
        Cause::RateDay,
        Cause::RateUnknown,
        Cause::Overload,
        Cause::Server,
        Cause::Auth,
        Cause::Dead,
        Cause::NotFound,
        Cause::Request,
        Cause::StreamCut,
        Cause::Budget,
        Cause::ClientRate,
        Cause::ClientBudget,
        Cause::ClientModel,
        Cause::RetryBudget,
        Cause::Attempts,
        Cause::Operator,
        Cause::ContextWindow,
        Cause::ContentBlocked,
        Cause::Address,
        Cause::Deadline,
    ])
}

fn ending() -> impl Strategy<Value = Ending> {
    let transport = select(vec![
        Transport::Connect,
        Transport::Reset,
        Transport::ReusedConnection,
        Transport::FirstByteTimeout,
        Transport::IdleTimeout,
        Transport::TotalTimeout,
        Transport::Cut,
        Transport::ErrorEvent,
        Transport::Malformed,
        Transport::Abandoned,
    ]);
    prop_oneof![Just(Ending::Status(200)), any::<u16>().prop_map(Ending::Status), transport.prop_map(Ending::Transport)]
}

fn facts() -> impl Strategy<Value = Facts> {
    let violation =
        || prop_oneof![Just(Violation::None), Just(Violation::Unvalued), any::<u32>().prop_map(Violation::Limit)];
    let reason = select(vec![
        Reason::Overloaded,
        Reason::KeyInvalid,
        Reason::KeySuspended,
        Reason::KeyLeaked,
        Reason::NoFreeTier,
        Reason::ClosedToNewUsers,
        Reason::ServiceDisabled,
        Reason::OutOfFunds,
        Reason::ModelNotFound,
        Reason::LocationUnsupported,
        Reason::AddressThrottled,
        Reason::ContextWindow,
        Reason::ContentBlocked,
        Reason::Credential,
    ]);
    let violations = (violation(), violation(), violation(), violation());
    let any = (option::of(any::<u16>()), violations, option::of(duration()), option::of(reason)).prop_map(
        |(inner_status, (requests_minute, requests_day, tokens_minute, tokens_day), retry_after, reason)| Facts {
            inner_status,
            violations: Violations { requests_minute, requests_day, tokens_minute, tokens_day },
            retry_after,
            reason,
        },
    );
    prop_oneof![Just(Facts::default()), any]
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        any::<u32>().prop_map(|key| Scope::Key(KeyId::new(key))),
        (any::<u32>(), any::<u16>()).prop_map(|(p, u)| Scope::ProjectModel(ProjectId::new(p), UpstreamId::new(u))),
        any::<u16>().prop_map(|upstream| Scope::Upstream(UpstreamId::new(upstream))),
        any::<u16>().prop_map(|provider| Scope::Provider(ProviderId::new(provider))),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    (0..13u8, scope(), any::<u32>(), any::<u16>(), timestamp(), any::<u32>(), any::<i64>()).prop_map(
        |(kind, scope, wide, narrow, until, requests, micros)| {
            let (key, project, upstream) = (KeyId::new(wide), ProjectId::new(wide), UpstreamId::new(narrow));
            let (tier, client, budget) = (TierId::new(narrow), ClientId::new(narrow), Usd::from_micros(micros));
            match kind {
                0 => Action::ClearCooldown { scope },
                1 => Action::DrainKey { key, until },
                2 => Action::RetireKey { key },
                3 => Action::RestoreKey { key },
                4 => Action::SetUsed { project, upstream, requests },
                5 => Action::SkipTier { tier, until },
                6 => Action::PinTier { tier, until },
                7 => Action::FreeTier { tier },
                8 => Action::StopPaid { until },
                9 => Action::SetBudget { tier, budget },
                10 => Action::SetClientBudget { client, budget },
                11 => Action::PowerLost { at_risk: AtRisk::from_ppm(requests), since: until },
                _ => Action::ForgetLimits { project, upstream },
            }
        },
    )
}

fn arrived() -> impl Strategy<Value = Arrived> {
    let endpoint = select(vec![Endpoint::Generate, Endpoint::Embed, Endpoint::Count]);
    let priority = select(vec![Priority::Low, Priority::Normal, Priority::High]);
    let tokens = (tokens(), option::of(tokens())).prop_map(|(input, output_max)| TokenEstimate { input, output_max });
    let who = (number(), number(), any::<u16>(), any::<u16>());
    (who, endpoint, any::<bool>(), tokens, priority, timestamp()).prop_map(
        |((request, turn, client, model), endpoint, stream, tokens, priority, deadline)| Arrived {
            request: RequestId::new(request),
            turn: TurnId::new(turn),
            client: ClientId::new(client),
            model: ModelId::new(model),
            endpoint,
            stream,
            tokens,
            priority,
            deadline,
        },
    )
}

fn input() -> impl Strategy<Value = Input> {
    let usage = (tokens(), tokens(), tokens()).prop_map(|(input, cached, output)| Usage { input, cached, output });
    let finished = (number(), ending(), facts(), option::of(usage)).prop_map(|(attempt, ending, facts, usage)| {
        Input::Finished(Finished { attempt: AttemptId::new(attempt), ending, facts, usage })
    });
    prop_oneof![
        1 => (any::<u64>(), 0.05..0.9f64, option::of(any::<u16>())).prop_map(|(seed, ratio, overload)| {
            let mut settings = settings();
            settings.seed = seed;
            settings.knobs.trip_ratio = ratio;
            settings.retries.overload = overload;
            Input::Configured { settings: Arc::new(settings) }
        }),
        1 => number().prop_map(|wall| Input::Clock { wall: WallTime::from_nanos(wall) }),
        4 => arrived().prop_map(Input::Arrived),
        2 => number().prop_map(|attempt| Input::FirstByte { attempt: AttemptId::new(attempt) }),
        4 => finished,
        1 => number().prop_map(|request| Input::Cancelled { request: RequestId::new(request) }),
        1 => (action(), ".{0,8}").prop_map(|(action, author)| Input::Operator { action, author: author.into() }),
        2 => Just(Input::Woke),
    ]
}

fn output() -> impl Strategy<Value = Output> {
    let spill = select(vec![
        Spill::Exhausted,
        Spill::Patience,
        Spill::Degraded,
        Spill::Starved,
        Spill::Operator,
        Spill::Unsuited,
    ]);
    let why = prop_oneof![
        Just(Why::First),
        duration().prop_map(|waited| Why::Waited { waited }),
        any::<u16>().prop_map(|before| Why::Retry { before }),
        (spill, any::<u32>(), any::<u32>()).prop_map(|(cause, failure_ppm, quota_ppm)| Why::Spill {
            cause,
            failure_ppm,
            quota_ppm
        }),
        any::<u32>().prop_map(|failure_ppm| Why::Probe { failure_ppm }),
        any::<u32>().prop_map(|usable_ppm| Why::Panic { usable_ppm }),
    ];
    // Usual ones, cut ones, and any.
    let timeouts = (any::<bool>(), duration(), vec(duration(), 4)).prop_map(|(cut, left, each)| {
        let usual = Timeouts::default();
        if cut {
            return Timeouts { first_byte: usual.first_byte.min(left), total: usual.total.min(left), ..usual };
        }
        Timeouts { connect: each[0], first_byte: each[1], idle: each[2], total: each[3] }
    });
    let dispatch =
        (number(), number(), any::<u32>(), timeouts, why).prop_map(|(request, attempt, deployment, timeouts, why)| {
            let (request, attempt) = (RequestId::new(request), AttemptId::new(attempt));
            Output::Dispatch(Dispatch { request, attempt, deployment: DeploymentId::new(deployment), timeouts, why })
        });
    let tier_cause = (any::<u16>(), any::<u32>(), any::<u32>(), cause(), option::of(timestamp())).prop_map(
        |(tier, usable, total, cause, until)| TierCause { tier: TierId::new(tier), usable, total, cause, until },
    );
    let outcome = select(vec![
        Outcome::Answered,
        Outcome::Deadline,
        Outcome::Refused,
        Outcome::Failed,
        Outcome::Cut,
        Outcome::Cancelled,
    ]);
    let foreign =
        (any::<bool>(), any::<u64>()).prop_map(|(error_in_stream, text_bytes)| Foreign { error_in_stream, text_bytes });
    let verdict = (
        outcome,
        any::<u16>(),
        option::of(duration()),
        any::<u16>(),
        any::<i64>(),
        vec(tier_cause, 0..3),
        option::of(foreign),
    )
        .prop_map(|(outcome, status, retry_after, attempts, spend, causes, foreign)| Verdict {
            outcome,
            status,
            retry_after,
            attempts,
            spend: Usd::from_micros(spend),
            causes: causes.into(),
            foreign,
        });
    let plain = (any::<u16>(), any::<i64>()).prop_map(|(attempts, spend)| Verdict {
        attempts,
        spend: Usd::from_micros(spend),
        ..Verdict::new(Outcome::Answered, 200)
    });
    prop_oneof![
        4 => dispatch,
        2 => (number(), number()).prop_map(|(request, attempt)| Output::Relay {
            request: RequestId::new(request),
            attempt: AttemptId::new(attempt),
        }),
        1 => number().prop_map(|attempt| Output::Abandon { attempt: AttemptId::new(attempt) }),
        4 => (number(), prop_oneof![verdict, plain])
            .prop_map(|(request, verdict)| Output::Close { request: RequestId::new(request), verdict }),
        2 => timestamp().prop_map(Output::WakeAt),
    ]
}

/// Steps: how much later, an input, its decisions, whether a commit and whether a checkpoint follows.
fn steps() -> impl Strategy<Value = Vec<(u64, Input, Vec<Output>, bool, bool)>> {
    let later = prop_oneof![0..3u64, 0..10_000_000_000u64];
    vec((later, input(), vec(output(), 0..4), any::<bool>(), prop::bool::weighted(0.1)), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_recorded_is_read_back(
        steps in steps(),
        segment in 1_000..5_000u64,
        boot in option::of((option::of(any::<u128>()), 0..1_000_000u32)),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let boot = boot.map(|(id, ppm)| Boot { id: id.map(BootId), at_risk: AtRisk::from_ppm(ppm) });
        let options = Options { segment, boot, ..small() };
        let (mut writer, _) = Writer::open(folder.path(), opening(), options).unwrap();
        let mut expected = Vec::new();
        let mut now = Timestamp::ZERO;
        for (later, input, outputs, commit, checkpoint) in steps {
            now += Duration::from_nanos(later);
            writer.record(now, &input);
            expected.push(What::Input(input));
            for output in outputs {
                writer.decided(&output);
                // A wake-up at the time that was asked for has a record of its own.
                let wake = if let Output::WakeAt(at) = output { Some(at) } else { None };
                expected.push(What::Output(output));
                if let Some(at) = wake && at >= now && at != Timestamp::MAX && at.since(now) < Duration::from_secs(3600) {
                    now = at;
                    writer.record(now, &Input::Woke);
                    expected.push(What::Input(Input::Woke));
                }
            }
            if commit {
                writer.commit().unwrap();
            }
            if checkpoint {
                let in_flight = InFlight { requests: vec![RequestId::new(7)], attempts: vec![AttemptId::new(u64::MAX)] };
                writer.checkpoint(now, &Toy::default(), in_flight).unwrap();
                expected.push(What::Closed);
                expected.extend(boot.map(What::Boot));
            }
        }
        writer.close(now).unwrap();
        expected.push(What::Closed);

        let mut reader = Reader::open(folder.path()).unwrap();
        let mut at = Timestamp::ZERO;
        for (sequence, expected) in expected.into_iter().enumerate() {
            let Event { sequence: found, at: then, what } = reader.read().unwrap().unwrap();
            prop_assert_eq!(found, sequence as u64);
            prop_assert!(then >= at);
            at = then;
            if let What::Checkpoint(checkpoint) = &what {
                prop_assert_eq!(&checkpoint.in_flight.attempts, &vec![AttemptId::new(u64::MAX)]);
                prop_assert_eq!(expected, What::Closed);
            } else {
                prop_assert_eq!(what, expected);
            }
        }
        prop_assert_eq!(reader.read().unwrap(), None);
        prop_assert_eq!(at, now);
    }
}
