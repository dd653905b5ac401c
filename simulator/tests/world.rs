//! Every fault of the world, and the facts by which a router must recognise it.

use stormproof_router::core::{
    Duration, Ending, Endpoint, Facts, KeyId, ProviderId, Reason, Timestamp, Tokens, Transport, UpstreamId, Usage,
    Violation, mix,
};
use stormproof_simulator::draws::Shape;
use stormproof_simulator::world::{
    Call, Change, Charged, Death, Episode, Faults, Follows, Key, Latency, Luck, Per, Plan, Process, Project, Quota,
    Reply, Scripted, Spec, Throttle, Upstream, Weather, Wording, World,
};

const HORIZON: Timestamp = Timestamp::from_nanos(100_000 * 1_000_000_000);

fn at(secs: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_secs(secs)
}

/// One project with one key and two models that answer after 10 s.
fn spec() -> Spec {
    let latency = Latency { shape: Shape::Fixed(10.0), tokens_per_s: None, per: Per::Attempt };
    let upstream = Upstream { latency, ..Upstream::default() };
    Spec {
        keys: vec![Key::default()],
        projects: vec![Project::default()],
        upstreams: vec![upstream.clone(), upstream],
        ..Spec::default()
    }
}

fn world(change: impl FnOnce(&mut Spec)) -> World {
    let mut spec = spec();
    change(&mut spec);
    World::new(&spec, 1, HORIZON)
}

fn call(luck: u64) -> Call {
    Call {
        key: KeyId::new(0),
        upstream: UpstreamId::new(0),
        endpoint: Endpoint::Generate,
        stream: false,
        input: Tokens::new(1000),
        output: Tokens::new(100),
        address: 0,
        luck: Luck { turn: mix(luck), attempt: mix(luck + 1_000_000) },
    }
}

fn stream(luck: u64) -> Call {
    Call { stream: true, ..call(luck) }
}

fn plan(world: &mut World, secs: u64) -> Plan {
    world.call(at(secs), &call(secs))
}

fn limited(quota: Quota, wording: Wording) -> World {
    world(|spec| {
        spec.projects[0].quotas = vec![quota];
        spec.upstreams[0].wording = wording;
    })
}

#[test]
fn a_good_answer_says_what_it_cost_and_streams_evenly() {
    let mut world = world(|_| {});
    let usage = Usage { input: Tokens::new(1000), cached: Tokens::ZERO, output: Tokens::new(100) };
    let plain = plan(&mut world, 5);
    assert_eq!((plain.end, plain.ending, plain.usage), (at(15), Ending::Status(200), Some(usage)));
    assert_eq!((plain.first_byte, plain.chunks, plain.facts), (None, 0, None));
    let streamed = world.call(at(5), &stream(1));
    assert_eq!((streamed.first_byte, streamed.chunks), (Some(at(9)), 4), "100 tokens at 25 a chunk");
    assert_eq!(streamed.chunk_gap(), Duration::from_secs(2));
}

#[test]
fn stopping_a_stream_costs_the_part_that_was_there() {
    let mut world = world(|_| {});
    let ticket = world.call(at(0), &stream(1)).ticket(&stream(1));
    assert_eq!(world.cancel(at(3), ticket), None, "nothing before the first byte");
    let usage = world.cancel(at(7), ticket).unwrap();
    assert_eq!((usage.input, usage.output), (Tokens::new(1000), Tokens::new(50)));
    assert_eq!(world.cancel(at(50), ticket).unwrap().output, Tokens::new(100));
}

#[test]
fn the_minute_limit_names_itself_and_the_true_wait() {
    let mut world = limited(Quota { rpm: Some(2), ..Quota::default() }, Wording::GeminiLate2025);
    assert_eq!(plan(&mut world, 0).ending, Ending::Status(200));
    assert_eq!(plan(&mut world, 10).ending, Ending::Status(200));
    let refused = plan(&mut world, 20);
    assert_eq!((refused.ending, refused.end), (Ending::Status(429), at(20) + Duration::from_millis(300)));
    assert_eq!(refused.facts.unwrap_or_default().violations.requests_minute, Violation::Limit(2));
    assert!(!refused.facts.unwrap_or_default().violations.any_day());
    assert_eq!(refused.facts.unwrap_or_default().retry_after, Some(Duration::from_secs(40)));
    assert_eq!(plan(&mut world, 60).ending, Ending::Status(200), "and what it says is true");
}

#[test]
fn the_token_limit_counts_prompts() {
    let mut world = limited(Quota { tpm: Some(1500), ..Quota::default() }, Wording::GeminiSummer2025);
    assert_eq!(plan(&mut world, 0).ending, Ending::Status(200));
    let refused = plan(&mut world, 1);
    assert_eq!(refused.facts.unwrap_or_default().violations.tokens_minute, Violation::Limit(1500));
    assert_eq!(refused.facts.unwrap_or_default().violations.requests_minute, Violation::None);
}

#[test]
fn a_day_limit_comes_with_a_short_hint_that_means_nothing() {
    let quota = Quota { rpm: Some(5), rpd: Some(25), used_requests: 24, ..Quota::default() };
    for (wording, minute_too) in [(Wording::GeminiLate2025, true), (Wording::GeminiSummer2025, false)] {
        let mut world = limited(quota, wording);
        assert_eq!(plan(&mut world, 0).ending, Ending::Status(200));
        for second in 1..30 {
            let facts = plan(&mut world, second).facts.unwrap_or_default();
            assert_eq!(facts.violations.requests_day, Violation::Limit(25));
            let hint = facts.retry_after.unwrap();
            assert!((Duration::from_secs(16)..=Duration::from_secs(58)).contains(&hint), "{hint}");
        }
        assert_eq!(plan(&mut world, 3600).ending, Ending::Status(429), "the hint was a lie");
        let both = Quota { rpm: Some(0), rpd: Some(0), ..quota };
        let facts = plan(&mut limited(both, wording), 0).facts.unwrap_or_default();
        assert_eq!(facts.violations.any_minute(), minute_too, "{wording:?}");
    }
}

#[test]
fn the_day_begins_anew_at_its_true_reset() {
    let mut world = world(|spec| {
        spec.projects[0].quotas = vec![Quota { rpd: Some(1), ..Quota::default() }];
        spec.resets = vec![at(100), at(200)];
    });
    let statuses: Vec<Ending> = [0, 99, 100, 101, 250].map(|secs| plan(&mut world, secs).ending).to_vec();
    assert_eq!(statuses, [200, 429, 200, 429, 200].map(Ending::Status));
}

#[test]
fn wordings_differ_in_what_they_tell() {
    let facts =
        |wording| plan(&mut limited(Quota { rpm: Some(0), ..Quota::default() }, wording), 0).facts.unwrap_or_default();
    let spring = facts(Wording::GeminiSpring2025);
    assert_eq!((spring.violations.requests_minute, spring.retry_after), (Violation::Unvalued, None));
    assert_eq!(facts(Wording::GeminiLate2025).violations.requests_minute, Violation::Limit(0));
    for bare in [Wording::GeminiBare, Wording::Vertex, Wording::Mistral] {
        assert_eq!(facts(bare), Facts::default());
    }
    assert_eq!(facts(Wording::OpenAi).retry_after, Some(Duration::from_secs(60)));
}

#[test]
fn overloads_come_when_they_are_listed() {
    let mut world = world(|spec| {
        spec.upstreams[0].weather.episodes = vec![Episode { from: at(100), until: at(200), p503: 1.0 }];
    });
    for (secs, status) in [(99, 200), (100, 503), (199, 503), (200, 200)] {
        let plan = plan(&mut world, secs);
        assert_eq!(plan.ending, Ending::Status(status), "at {secs} s");
        assert_eq!(plan.facts.unwrap_or_default().reason, (status == 503).then_some(Reason::Overloaded));
    }
    let other = Call { upstream: UpstreamId::new(1), ..call(1) };
    let mut again = self::world(|spec| {
        spec.upstreams[0].weather.episodes = vec![Episode { from: at(0), until: at(200), p503: 1.0 }];
    });
    assert_eq!(again.call(at(100), &other).ending, Ending::Status(200), "the other model has its own weather");
    for endpoint in [Endpoint::Count, Endpoint::Embed] {
        assert_eq!(again.call(at(100), &Call { endpoint, ..call(1) }).ending, Ending::Status(200));
    }
}

#[test]
fn a_following_model_shares_the_episodes_at_its_factor() {
    let process = Process {
        healthy: Shape::Exponential { mean: 600.0 },
        episode: Shape::Uniform { min: 60.0, max: 120.0 },
        p503: Shape::Uniform { min: 0.5, max: 0.9 },
    };
    let world = world(|spec| {
        spec.upstreams[0].weather.process = Some(process);
        spec.upstreams[1].weather.follows = Some(Follows { upstream: UpstreamId::new(0), factor: 0.5 });
    });
    let (leader, follower) = (world.episodes(UpstreamId::new(0)), world.episodes(UpstreamId::new(1)));
    assert!(leader.len() > 50);
    assert_eq!(leader.len(), follower.len());
    for (leader, follower) in leader.iter().zip(follower) {
        assert_eq!((leader.from, leader.until), (follower.from, follower.until));
        assert_eq!(leader.p503 * 0.5, follower.p503);
        let length = leader.until.since(leader.from).as_secs_f64();
        assert!((60.0..=120.0).contains(&length) && (0.5..=0.9).contains(&leader.p503));
    }
    let mean = leader.windows(2).map(|pair| pair[1].from.since(pair[0].until).as_secs_f64()).sum::<f64>()
        / (leader.len() - 1) as f64;
    assert!((450.0..750.0).contains(&mean), "healthy phases of {mean} s");
}

#[test]
fn an_overload_is_charged_or_not_and_so_is_a_refusal() {
    let used = |overload, limit| {
        let mut world = world(|spec| {
            spec.projects[0].quotas = vec![Quota { rpd: Some(1000), rpm: Some(3), ..Quota::default() }];
            spec.upstreams[0].charged = Charged { overload, limit };
            spec.upstreams[0].weather.episodes = vec![Episode { from: at(0), until: at(50), p503: 1.0 }];
        });
        for secs in 0..5 {
            plan(&mut world, secs);
        }
        world.used(0, UpstreamId::new(0)).1
    };
    assert_eq!((used(true, false), used(false, false), used(true, true)), (3, 0, 5));
}

#[test]
fn dead_keys_say_why() {
    let cases = [
        (Reason::KeyInvalid, 400),
        (Reason::KeySuspended, 403),
        (Reason::KeyLeaked, 403),
        (Reason::ServiceDisabled, 403),
        (Reason::ClosedToNewUsers, 404),
        (Reason::ModelNotFound, 404),
        (Reason::NoFreeTier, 429),
        (Reason::OutOfFunds, 429),
    ];
    for (reason, status) in cases {
        let death = Death { from: at(10), until: at(20), upstream: Some(UpstreamId::new(0)), reason };
        let mut world = world(|spec| {
            spec.keys[0].deaths = vec![death];
            if reason == Reason::OutOfFunds {
                // Google bills afterwards and has no words for it.
                spec.upstreams[0].wording = Wording::OpenAi;
            }
        });
        assert_eq!(plan(&mut world, 9).ending, Ending::Status(200));
        let refused = plan(&mut world, 10);
        assert_eq!((refused.ending, refused.facts.unwrap_or_default().reason), (Ending::Status(status), Some(reason)));
        let other = Call { upstream: UpstreamId::new(1), ..call(1) };
        assert_eq!(world.call(at(10), &other).ending, Ending::Status(200), "only for that model");
        assert_eq!(plan(&mut world, 20).ending, Ending::Status(200));
    }
}

#[test]
fn keys_of_one_project_share_its_quota() {
    let mut world = world(|spec| {
        spec.projects[0].quotas = vec![Quota { rpm: Some(1), ..Quota::default() }];
        spec.projects.push(spec.projects[0].clone());
        spec.keys = vec![Key::default(), Key::default(), Key { project: 1, deaths: Vec::new() }];
    });
    let mut ask = |key| world.call(at(0), &Call { key: KeyId::new(key), ..call(1) }).ending;
    assert_eq!([ask(0), ask(1), ask(2)], [200, 429, 200].map(Ending::Status));
}

#[test]
fn an_address_is_throttled_for_all_keys_at_once() {
    let mut world = world(|spec| {
        let provider = ProviderId::new(0);
        spec.throttles = vec![Throttle { provider, from: at(10), until: at(100), rpm: 2, says_so: true }];
        spec.projects.push(Project::default());
        spec.keys.push(Key { project: 1, deaths: Vec::new() });
    });
    let mut ask = |secs, key, address| world.call(at(secs), &Call { key: KeyId::new(key), address, ..call(1) });
    assert_eq!(ask(9, 0, 0).ending, Ending::Status(200));
    assert_eq!([ask(10, 0, 0).ending, ask(10, 1, 0).ending], [Ending::Status(200); 2]);
    let refused = ask(11, 1, 0);
    assert_eq!(
        (refused.ending, refused.facts.unwrap_or_default().reason),
        (Ending::Status(429), Some(Reason::AddressThrottled))
    );
    assert_eq!(ask(11, 1, 1).ending, Ending::Status(200), "another address has its own count");
    assert_eq!(ask(70, 0, 0).ending, Ending::Status(200), "its minute slides");
}

#[test]
fn scripted_replies_come_in_order_and_as_often_as_they_say() {
    let reply =
        |status| Reply { after: Duration::from_secs(1), ending: Ending::Status(status), facts: Facts::default() };
    let scripted = |times, status| Scripted {
        from: at(10),
        until: at(100),
        key: Some(KeyId::new(0)),
        upstream: None,
        times,
        reply: reply(status),
    };
    let mut world =
        world(|spec| spec.script = vec![scripted(Some(1), 503), scripted(Some(2), 429), scripted(None, 500)]);
    let statuses = [9, 10, 11, 12, 13, 14, 99, 100].map(|secs| plan(&mut world, secs).ending);
    assert_eq!(statuses, [200, 503, 429, 429, 500, 500, 500, 200].map(Ending::Status));
}

#[test]
fn every_single_fault_looks_like_itself() {
    let certain = |set: fn(&mut Faults)| {
        let mut faults = Faults::default();
        set(&mut faults);
        world(|spec| spec.upstreams[0].faults = faults)
    };
    let transport = Ending::Transport;
    type Case = (fn(&mut Faults), Ending, Ending);
    let cases: [Case; 12] = [
        (|faults| faults.connect = 1.0, transport(Transport::Connect), transport(Transport::Connect)),
        (|faults| faults.reset = 1.0, transport(Transport::Reset), transport(Transport::Reset)),
        (|faults| faults.server = 1.0, Ending::Status(500), Ending::Status(500)),
        (|faults| faults.timeout = 1.0, Ending::Status(504), Ending::Status(504)),
        (|faults| faults.malformed = 1.0, transport(Transport::Malformed), transport(Transport::Malformed)),
        (|faults| faults.cut = 1.0, transport(Transport::Reset), transport(Transport::Cut)),
        (|faults| faults.error_event = 1.0, Ending::Status(503), transport(Transport::ErrorEvent)),
        (|faults| faults.hang = 1.0, transport(Transport::Reset), transport(Transport::Reset)),
        (|faults| faults.stall = 1.0, transport(Transport::Reset), transport(Transport::Cut)),
        (|faults| faults.slow = 1.0, Ending::Status(200), Ending::Status(200)),
        (|faults| faults.spurious_limit = 1.0, Ending::Status(429), Ending::Status(429)),
        (|faults| faults.blocked = 1.0, Ending::Status(200), Ending::Status(200)),
    ];
    for (index, (set, plain, streamed)) in cases.into_iter().enumerate() {
        assert_eq!(certain(set).call(at(0), &call(1)).ending, plain, "case {index}, plain");
        assert_eq!(certain(set).call(at(0), &stream(1)).ending, streamed, "case {index}, streamed");
    }
    let streamed = |set: fn(&mut Faults)| certain(set).call(at(0), &stream(1));
    let cut = streamed(|faults| faults.cut = 1.0);
    assert_eq!((cut.first_byte, cut.end, cut.chunks), (Some(at(4)), at(7), 2), "half of it was there");
    assert_eq!(streamed(|faults| faults.error_event = 1.0).facts.unwrap_or_default().inner_status, Some(503));
    assert_eq!(streamed(|faults| faults.hang = 1.0).end, Timestamp::MAX);
    let stalled = streamed(|faults| faults.stall = 1.0);
    assert_eq!((stalled.first_byte, stalled.silent_from, stalled.end), (Some(at(4)), Some(at(7)), Timestamp::MAX));
    assert_eq!(streamed(|faults| faults.slow = 1.0).end, at(64));
    assert_eq!(streamed(|faults| faults.blocked = 1.0).facts.unwrap_or_default().reason, Some(Reason::ContentBlocked));
}

#[test]
fn faults_are_as_frequent_as_told() {
    let mut world = world(|spec| {
        spec.upstreams[0].faults = Faults { reset: 0.1, server: 0.2, ..Faults::default() };
        spec.upstreams[0].weather = Weather { noise: 0.5, ..Weather::default() };
    });
    let n = 20_000;
    let mut counts = [0u32; 3];
    for luck in 0..n {
        match world.call(at(0), &call(luck)).ending {
            Ending::Status(503) => counts[0] += 1,
            Ending::Transport(_) => counts[1] += 1,
            Ending::Status(500) => counts[2] += 1,
            Ending::Status(_) => {}
        }
    }
    for (count, p) in counts.into_iter().zip([0.5, 0.05, 0.1]) {
        let (expected, deviation) = (p * n as f64, (p * (1.0 - p) * n as f64).sqrt());
        assert!((f64::from(count) - expected).abs() < 4.0 * deviation, "{count}, expected {expected}");
    }
}

#[test]
fn a_latency_is_drawn_once_a_turn_or_once_an_attempt() {
    let shape = Shape::LogNormal { median: 20.0, sigma: 0.6 };
    let ends = |per| {
        let mut world = world(|spec| {
            for upstream in &mut spec.upstreams {
                upstream.latency = Latency { shape, tokens_per_s: None, per };
            }
        });
        [(0, 1), (0, 2), (1, 3)].map(|(upstream, attempt)| {
            let luck = Luck { turn: 7, attempt };
            world.call(at(0), &Call { upstream: UpstreamId::new(upstream), luck, ..call(0) }).end
        })
    };
    let turn = ends(Per::Turn);
    assert!(turn[0] == turn[1] && turn[1] == turn[2], "the same on every attempt and model");
    let attempt = ends(Per::Attempt);
    assert!(attempt[0] != attempt[1] && attempt[1] != attempt[2]);
    let generation = Latency { shape: Shape::Fixed(1.6), tokens_per_s: Some(50.0), per: Per::Attempt };
    let mut world = world(|spec| spec.upstreams[0].latency = generation);
    assert_eq!(plan(&mut world, 0).end, Timestamp::ZERO + Duration::from_millis(3600), "1.6 s and 100 tokens at 50/s");
}

#[test]
fn the_weather_may_be_changed_while_it_runs() {
    let upstream = UpstreamId::new(0);
    let mut world = world(|spec| spec.projects[0].quotas = vec![Quota { rpm: Some(100), ..Quota::default() }]);
    assert_eq!(plan(&mut world, 0).ending, Ending::Status(200));
    world.weather(at(1), &Change::Overload { upstream, episode: Episode { from: at(1), until: at(5), p503: 1.0 } });
    assert_eq!([plan(&mut world, 1).ending, plan(&mut world, 5).ending], [503, 200].map(Ending::Status));
    world.weather(at(6), &Change::Limits { project: 0, upstream, quota: Quota { rpm: Some(3), ..Quota::default() } });
    assert_eq!(plan(&mut world, 6).ending, Ending::Status(429), "what was used stays used");
    world.weather(at(7), &Change::Limits { project: 0, upstream, quota: Quota::default() });
    world.weather(at(7), &Change::Faults { upstream, faults: Faults { server: 1.0, ..Faults::default() } });
    assert_eq!(plan(&mut world, 7).ending, Ending::Status(500));
    let death = Death { from: at(8), until: Timestamp::MAX, upstream: None, reason: Reason::KeyLeaked };
    world.weather(at(8), &Change::Death { key: KeyId::new(0), death });
    assert_eq!(plan(&mut world, 8).ending, Ending::Status(403));
    world.weather(at(9), &Change::Revival { key: KeyId::new(0) });
    world.weather(at(9), &Change::Faults { upstream, faults: Faults::default() });
    let latency = Latency { shape: Shape::Fixed(1.0), tokens_per_s: None, per: Per::Attempt };
    world.weather(at(9), &Change::Latency { upstream, latency });
    assert_eq!(plan(&mut world, 9).end, at(10));
}
