//! A plan, rendered, sent over HTTP and read as the live proxy reads it, gives the facts of the plan.

use serde_json::{Value, json};
use stormproof_router::core::{
    Ending, Endpoint, Facts, KeyId, Reason, Timestamp, Tokens, Transport, Violation, Violations, WallTime,
};
use stormproof_router::wire::{self, Dialect, Failure, Framing, Front, Identity};
use stormproof_simulator::draws::Stream;
use stormproof_simulator::mock::{CutManner, ErrorManner, MalformedManner, Manners, Mock, Wish, secret};
use stormproof_simulator::study::Case;
use stormproof_simulator::world::{Call, Death, Faults, Luck, Plan, Quota, Wording, World};

use crate::http::{Answer, Ask, End};
use crate::pool;

/// Every way to ask a model for an answer.
#[derive(Clone, Copy, Debug)]
struct Way {
    provider: &'static str,
    path: &'static str,
    dialect: Dialect,
    stream: Option<Framing>,
}

const WAYS: [Way; 11] = [
    Way::gemini("gemini", "/v1beta/models/gemini-2.5-pro:generateContent", None),
    Way::gemini("gemini", "/v1/models/gemini-2.5-pro:streamGenerateContent?alt=sse", Some(Framing::Sse)),
    Way::gemini("gemini", "/v1beta/models/gemini-2.5-pro:streamGenerateContent", Some(Framing::Array)),
    Way::chat("gemini", "/v1beta/openai/chat/completions", None),
    Way::chat("gemini", "/v1beta/openai/chat/completions", Some(Framing::Sse)),
    Way::gemini("vertex", "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-flash:generateContent", None),
    Way::gemini(
        "vertex",
        "/v1beta1/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        Some(Framing::Sse),
    ),
    Way::chat("openai", "/v1/chat/completions", None),
    Way::chat("openai", "/v1/chat/completions", Some(Framing::Sse)),
    Way::chat("mistral", "/v1/chat/completions", None),
    Way::chat("mistral", "/v1/chat/completions", Some(Framing::Sse)),
];

impl Way {
    const fn gemini(provider: &'static str, path: &'static str, stream: Option<Framing>) -> Self {
        Self { provider, path, dialect: Dialect::Gemini, stream }
    }

    const fn chat(provider: &'static str, path: &'static str, stream: Option<Framing>) -> Self {
        Self { provider, path, dialect: Dialect::OpenAi, stream }
    }

    fn front(self) -> Front {
        if self.dialect.is_gemini() { Front::Gemini } else { Front::Chat }
    }

    fn ask(self, turn: u64) -> Ask {
        let prompt = Wish { turn: Some(turn), input: Some(1000), output: Some(120) }.to_string();
        let secret = secret(&format!("{}-01", self.provider));
        let (_, _, model) = pool::MODELS[pool::upstream(self.provider).index()];
        match self.dialect {
            Dialect::Gemini | Dialect::Vertex => {
                let body = json!({"contents": [{"role": "user", "parts": [{"text": prompt}]}]});
                Ask::post(self.path, &body).google(&secret)
            }
            Dialect::OpenAi => {
                let body = json!({"model": model, "messages": [{"role": "user", "content": prompt}],
                    "stream": self.stream.is_some(), "stream_options": {"include_usage": true}});
                Ask::post(self.path, &body).bearer(&secret)
            }
        }
    }
}

/// What the world plans for the first attempt of a turn.
fn planned(case: &Case, way: Way, turn: u64) -> Plan {
    let upstream = pool::upstream(way.provider);
    let luck = Luck {
        turn: Stream::Turn.draw(1, turn, 0),
        attempt: Stream::Attempt.draw(1, turn, u64::from(upstream.get()) << 32),
    };
    let call = Call {
        key: KeyId::new(upstream.get().into()),
        upstream,
        endpoint: Endpoint::Generate,
        stream: way.stream.is_some(),
        input: Tokens::new(1000),
        output: Tokens::new(120),
        address: 0,
        luck,
    };
    World::new(&case.day.world, 1, Timestamp::MAX).call(Timestamp::ZERO, &call)
}

/// A prompt that a safety rule held back.
const BLOCKED: Facts = Facts {
    inner_status: None,
    violations: Violations {
        requests_minute: Violation::None,
        requests_day: Violation::None,
        tokens_minute: Violation::None,
        tokens_day: Violation::None,
    },
    retry_after: None,
    reason: Some(Reason::ContentBlocked),
};

/// What the answer means, read as the live proxy reads it.
fn meaning(way: Way, answer: &Answer) -> (Ending, Facts) {
    let facts = wire::facts(answer.status, &answer.headers, &answer.body, WallTime::default());
    let broken = |transport| (Ending::Transport(transport), Facts::default());
    if answer.status == 0 {
        return broken(Transport::Reset);
    }
    if answer.status != 200 {
        return (Ending::Status(answer.status), facts);
    }
    let Some(framing) = way.stream else {
        if answer.end == End::Cut {
            return broken(Transport::Cut);
        }
        let read = wire::answer(way.front(), way.dialect, &answer.body, &Identity::default());
        return match read {
            Ok(_) if facts == BLOCKED => (Ending::Status(200), facts),
            _ if facts != Facts::default() => (Ending::Transport(Transport::ErrorEvent), facts),
            Ok(_) => (Ending::Status(200), facts),
            Err(_) => broken(Transport::Malformed),
        };
    };
    let mut stream = wire::Stream::new(way.front(), way.dialect, framing, Identity::default());
    let mut out = Vec::new();
    let read = stream.push(&answer.body, &mut out).and_then(|()| match answer.end {
        End::Whole => stream.end(&mut out),
        End::Cut | End::Reset => Err(Failure::Cut),
    });
    match read {
        Ok(()) if stream.is_blocked() => (Ending::Status(200), BLOCKED),
        Ok(()) => (Ending::Status(200), Facts::default()),
        Err(Failure::Cut) => broken(Transport::Cut),
        Err(Failure::Malformed) => broken(Transport::Malformed),
        Err(Failure::Error(facts)) => (Ending::Transport(Transport::ErrorEvent), facts),
    }
}

async fn assert_agrees(mock: &Mock, case: &Case, way: Way, turn: u64) {
    let plan = planned(case, way, turn);
    let answer = way.ask(turn).answer(mock.address()).await;
    let (ending, facts) = meaning(way, &answer);
    // A connection cannot be refused for the sake of a key that it has not carried yet.
    let refused = plan.ending == Ending::Transport(Transport::Connect);
    let expected = if refused { Ending::Transport(Transport::Reset) } else { plan.ending };
    assert_eq!(
        (ending, facts),
        (expected, plan.facts.unwrap_or_default()),
        "{way:?}: {} {}",
        answer.status,
        answer.text()
    );
    if ending == Ending::Status(200) && facts != BLOCKED {
        let usage = usage(way, &answer);
        assert_eq!(usage, plan.usage, "{way:?}: {}", answer.text());
    }
}

fn usage(way: Way, answer: &Answer) -> Option<stormproof_router::core::Usage> {
    let Some(framing) = way.stream else { return wire::usage(&answer.body) };
    let mut stream = wire::Stream::new(way.front(), way.dialect, framing, Identity::default());
    stream.push(&answer.body, &mut Vec::new()).ok()?;
    stream.usage()
}

fn with_faults(faults: Faults) -> Case {
    pool::case(|world| world.upstreams.iter_mut().for_each(|upstream| upstream.faults = faults))
}

fn every_manner() -> Vec<Manners> {
    let malformed =
        [MalformedManner::Html, MalformedManner::Truncated, MalformedManner::Empty, MalformedManner::Foreign];
    let (errors, cuts) = ([ErrorManner::Event, ErrorManner::RawTail], [CutManner::Connection, CutManner::CleanEnd]);
    (0..4)
        .map(|index| Manners {
            error_event: Some(errors[index % 2]),
            cut: Some(cuts[index % 2]),
            malformed: Some(malformed[index]),
        })
        .collect()
}

#[tokio::test]
async fn every_fault_is_read_back_as_it_was_planned() {
    let none = Faults::default();
    let faults = [
        none,
        Faults { connect: 1.0, ..none },
        Faults { reset: 1.0, ..none },
        Faults { server: 1.0, ..none },
        Faults { timeout: 1.0, ..none },
        Faults { malformed: 1.0, ..none },
        Faults { cut: 1.0, ..none },
        Faults { error_event: 1.0, ..none },
        Faults { slow: 1.0, ..none },
        Faults { blocked: 1.0, ..none },
        Faults { spurious_limit: 1.0, ..none },
    ];
    for manners in every_manner() {
        for faults in faults {
            let case = with_faults(faults);
            let mock = pool::standing(&case, manners).await;
            for (turn, way) in WAYS.into_iter().enumerate() {
                assert_agrees(&mock, &case, way, turn as u64).await;
            }
        }
    }
}

#[tokio::test]
async fn every_wording_of_every_refusal_is_read_back_as_it_was_planned() {
    let quotas = [
        Quota { rpm: Some(0), ..Quota::default() },
        Quota { tpm: Some(10), ..Quota::default() },
        Quota { rpd: Some(3), used_requests: 3, ..Quota::default() },
        Quota { rpm: Some(0), rpd: Some(3), used_requests: 3, tpd: Some(500), ..Quota::default() },
    ];
    let wordings = [
        ("gemini", Wording::GeminiSpring2025),
        ("gemini", Wording::GeminiSummer2025),
        ("gemini", Wording::GeminiLate2025),
        ("gemini", Wording::Gemini2026),
        ("gemini", Wording::GeminiBare),
        ("vertex", Wording::Vertex),
        ("openai", Wording::OpenAi),
        ("mistral", Wording::Mistral),
        ("mistral", Wording::MistralLate2025),
    ];
    for (provider, wording) in wordings {
        for quota in quotas {
            let case = pool::case(|world| {
                world.upstreams[pool::upstream(provider).index()].wording = wording;
                world.projects.iter_mut().for_each(|project| project.quotas = vec![quota; pool::MODELS.len()]);
            });
            let mock = pool::standing(&case, Manners::default()).await;
            for (turn, way) in (7..).zip(WAYS.into_iter().filter(|way| way.provider == provider)) {
                assert_agrees(&mock, &case, way, turn).await;
            }
        }
        for reason in REASONS {
            let death = Death { from: Timestamp::ZERO, until: Timestamp::MAX, upstream: None, reason };
            let case = pool::case(|world| {
                world.upstreams[pool::upstream(provider).index()].wording = wording;
                world.keys.iter_mut().for_each(|key| key.deaths = vec![death]);
            });
            let mock = pool::standing(&case, Manners::default()).await;
            for (turn, way) in (7..).zip(WAYS.into_iter().filter(|way| way.provider == provider)) {
                assert_agrees(&mock, &case, way, turn).await;
            }
        }
    }
}

const REASONS: [Reason; 14] = [
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
];

/// Over a mixture of everything: the luck of a turn is the simulator's, attempt by attempt.
#[tokio::test]
async fn a_turn_meets_the_luck_that_the_simulator_draws_for_it() {
    let mixed = Faults { reset: 0.1, server: 0.1, malformed: 0.1, cut: 0.2, error_event: 0.1, ..Faults::default() };
    let case = pool::case(|world| {
        for upstream in &mut world.upstreams {
            upstream.faults = mixed;
            upstream.weather.noise = 0.3;
        }
    });
    let mock = pool::standing(&case, Manners::default()).await;
    let mut endings = Vec::new();
    for turn in 0..60 {
        let way = WAYS[turn as usize % WAYS.len()];
        assert_agrees(&mock, &case, way, turn).await;
        endings.push(format!("{:?}", planned(&case, way, turn).ending));
    }
    endings.sort_unstable();
    endings.dedup();
    assert!(endings.len() >= 6, "a mixture: {endings:?}");
    // Asked again, a turn makes its second attempt, whose luck is another.
    let record = |mock: &Mock| mock.calls(59, 1000).into_iter().map(|record| record.answer).collect::<Vec<_>>();
    let first: Vec<_> = mock.calls(0, 60).into_iter().map(|record| record.answer).collect();
    for turn in 0..60 {
        WAYS[turn as usize % WAYS.len()].ask(turn).answer(mock.address()).await;
    }
    assert_ne!(first, record(&mock)[1..]);
}

#[tokio::test]
async fn a_refusal_names_the_year() {
    let year = |wording| async move {
        let case = pool::case(|world| {
            world.upstreams[0].wording = wording;
            world.upstreams[0].weather.noise = 1.0;
        });
        let mock = pool::standing(&case, Manners::default()).await;
        let body: Value = WAYS[0].ask(1).json(mock.address(), 503).await;
        body["error"]["message"].as_str().expect("a message").to_owned()
    };
    assert_eq!(year(Wording::GeminiSpring2025).await, "The model is overloaded. Please try again later.");
    assert!(year(Wording::Gemini2026).await.contains("high demand"));
}

#[tokio::test]
async fn a_free_keys_quota_is_named_after_its_tier() {
    let case = pool::case(|world| {
        let quota = Quota { rpd: Some(25), used_requests: 25, ..Quota::default() };
        world.projects.iter_mut().for_each(|project| project.quotas = vec![quota; pool::MODELS.len()]);
    });
    let mock = pool::standing(&case, Manners::default()).await;
    let answer = WAYS[0].ask(1).answer(mock.address()).await;
    assert!(answer.text().contains("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), "{}", answer.text());
    let facts = wire::facts(429, &answer.headers, &answer.body, WallTime::default());
    assert_eq!(facts.violations.requests_day, Violation::Limit(25));
    assert!(facts.retry_after.is_some_and(|hint| hint.as_secs_f64() < 60.0), "a day quota's hint is short: {facts:?}");
    assert_eq!(answer.header("retry-after"), None);
}
