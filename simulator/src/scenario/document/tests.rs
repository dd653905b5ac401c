use super::super::builtin::{BUILT_IN, built_in};
use super::*;
use crate::baselines::litellm::Version;
use crate::clients::{Arrivals, Rate};
use crate::draws::Shape;
use crate::study::Policy;
use crate::world::{Per, Wording};
use stormproof_router::core::{Ending, Endpoint, Priority, Reason, Timestamp, Transport};

fn scenario(name: &str) -> Scenario {
    let document = built_in(name).expect("built in").unwrap_or_else(|errors| panic!("{errors}"));
    document.scenario().unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn every_built_in_scenario_means_something() {
    for (file, _) in BUILT_IN {
        let name = file.trim_end_matches(".yaml");
        if name != "stormproof" {
            let scenario = scenario(name);
            assert_eq!(scenario.case.name, name);
            assert!(
                !scenario.contenders.is_empty() && !scenario.pass.is_empty() && !scenario.about.is_empty(),
                "{name}"
            );
        }
    }
}

#[test]
fn the_expected_rotation_is_what_it_says() {
    let Scenario { case, contenders, pass, seeds, .. } = scenario("expected-rotation");
    let secs = |secs: u64| Timestamp::ZERO + Duration::from_secs(secs);
    assert_eq!((seeds, pass.len()), (30, 3));
    assert_eq!(case.day.duration, Duration::from_secs(9000));
    assert_eq!(case.day.world.resets[0], secs(6600), "midnight in California is 110 minutes away");
    let free = &case.day.world.upstreams[0];
    assert_eq!(free.weather.episodes.len(), 1);
    let episode = free.weather.episodes[0];
    assert_eq!((episode.from, episode.until, episode.p503), (secs(650), secs(1500), 0.9));
    assert!(free.charged.overload && !free.charged.limit);
    assert_eq!(case.day.world.projects[0].quotas[0].used_requests, 10);
    assert_eq!(case.day.happenings.len(), 21, "our router is told of the use before");
    let client = &case.day.clients[0];
    assert_eq!(client.arrivals, Arrivals::Poisson(vec![Rate { from: Timestamp::ZERO, per_s: 0.04 }]));
    assert_eq!((client.deadline, client.patience), (Duration::from_secs(180), Duration::from_secs(180)));
    assert_eq!(case.assumed.len(), 5);
    assert_eq!(case.assumed[3], "world.latency: {p50: 20s, p99: 80s}");
    let Policy::LiteLlm { options, .. } = &contenders[0].policy else { panic!("the file's order") };
    assert_eq!((options.version, options.cooldown_time.0), (Version::V1_66, Duration::from_secs(2000)));
    assert_eq!(options.fallbacks["gemini-2.5-pro"], ["gemini-2.5-pro-preview"]);
}

#[test]
fn a_sweep_changes_parts_by_path() {
    let document = built_in("expected-rotation").expect("built in").expect("readable");
    let vary = |path: &str, value: &str| {
        let changed = document.with(path, value).unwrap_or_else(|errors| panic!("{errors}"));
        changed.scenario().unwrap_or_else(|errors| panic!("{errors}"))
    };
    for Contender { policy, .. } in &vary("cooldown_time", "0.5").contenders {
        match policy {
            Policy::LiteLlm { options, .. } => assert_eq!(options.cooldown_time.0, Duration::from_millis(500)),
            Policy::Stormproof(_) => {}
        }
    }
    let ours = |scenario: Scenario| match scenario.contenders.into_iter().next_back().map(|last| last.policy) {
        Some(Policy::Stormproof(settings)) => settings,
        Some(Policy::LiteLlm { .. }) | None => panic!("ours is the last"),
    };
    for path in
        ["trip.ratio", "stormproof.trip.ratio", "compare.stormproof.knobs.trip.ratio", "config.knobs.trip.ratio"]
    {
        assert_eq!(ours(vary(path, "30%")).knobs.trip_ratio, 0.3, "{path}");
    }
    assert_eq!(ours(vary("config.tiers.free-pro.limits.rpm", "7")).tiers[0].limits.rpm, Some(7));
    let until = vary("world.weather.0.until", "\"22:50\"").case.day.world.upstreams[0].weather.episodes[0].until;
    assert_eq!(until, Timestamp::ZERO + Duration::from_secs(2400));
    assert_eq!(vary("seeds", "3").seeds, 3);
}

#[test]
fn a_sweep_that_leads_nowhere_says_so() {
    let document = built_in("expected-rotation").expect("built in").expect("readable");
    let error = |path: &str, value: &str| {
        let changed = document.with(path, value).and_then(|changed| changed.scenario());
        changed.err().map(|errors| errors.to_string()).unwrap_or_default()
    };
    assert_eq!(
        error("trip.ration", "1"),
        "trip.ration=1: `trip.ration` leads to nothing in this scenario; did you mean `trip.ratio`?"
    );
    assert!(
        error("trip.ratio", "7").ends_with("`trip.ratio` cannot be `7`: it must lie between 0.05 and 0.9 (fraction)")
    );
    assert!(error("world.latensy", "7s").contains("there is no field `latensy` here; did you mean `latency`?"));
}

/// `BLESS=1 cargo test -p stormproof-simulator schema` writes it anew.
#[test]
fn the_committed_schema_is_true() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/scenario.schema.json");
    let schema = serde_json::to_string_pretty(&schema()).expect("a schema is JSON") + "\n";
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &schema).expect("written");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == schema, "{path} is out of date: run this test with BLESS=1");
}

/// The spelling of the first design, to the letter: what people have learnt stays readable.
#[test]
fn the_first_spelling_is_still_read() {
    const FILES: &[(&str, &str)] = &[("stormproof.yaml", FIRST_CONFIG)];
    let scenario = parse(FIRST_SCENARIO, "expected-rotation.yaml", Embedded(FILES));
    let scenario = scenario.unwrap_or_else(|errors| panic!("{errors}"));
    let today = self::scenario("expected-rotation");
    assert_eq!(scenario.case.day, today.case.day);
    assert_eq!(scenario.pass, today.pass);
}

const FIRST_CONFIG: &str = r#"listen: 127.0.0.1:4000
admin: {listen: 127.0.0.1:4001, token: {env: STORMPROOF_ADMIN}}
log: {dir: ./log, keep: 30d, when_full: refuse}
clients:
  aider: {token_sha256: {env: AIDER_SHA256}, priority: high, budget: 20 USD/day}
providers:
  gemini:  {dialect: gemini}
  mistral: {dialect: openai, base_url: https://api.mistral.ai/v1}
keys:
  free:    {provider: gemini,  secrets: {env: GEMINI_FREE_KEYS}, expect: 21, projects: separate}
  paid:    {provider: gemini,  secrets: {env: GEMINI_PAID_KEYS}, expect: 2,  projects: shared}
  mistral: {provider: mistral, secrets: {env: MISTRAL_KEYS},     expect: 2,  projects: shared}
tiers:
  free-pro: {keys: free, upstream: gemini-2.5-pro-exp-03-25, limits: {rpm: 5, tpm: 250k, rpd: 25}, price: free}
  paid-pro: {keys: paid, upstream: gemini-2.5-pro-preview-03-25, limits: {rpm: 150, tpm: 2M, rpd: 1000}, price: {input: 1.25, output: 10}, budget: 50 USD/day}
  mistral:  {keys: mistral, upstream: mistral-large-latest, limits: learn, price: {input: 2, output: 6}}
models:
  gemini-2.5-pro:         {tiers: [free-pro, paid-pro], deadline: 180s}
  gemini-2.5-pro-preview: {tiers: [paid-pro, free-pro], deadline: 180s}
  mistral-large:          {tiers: [mistral], deadline: 60s}
"#;

const FIRST_SCENARIO: &str = r#"about: The evening as expected
config: stormproof.yaml
start: 2025-04-18 22:10 America/Los_Angeles
duration: 2h30m
assumed: [clients, used_today, world.charged, world.latency, world.weather]
clients:
  - {client: aider, model: gemini-2.5-pro, turns: 0.04/s, stream: true, retries: aider, tokens: {input: 8k, output: 1k}}
used_today: {free-pro: 40%}
world:
  limits: as-configured
  charged: {503: true, 429: false}
  latency: {p50: 20s, p99: 80s}
  weather:
    - {upstream: gemini-2.5-pro-exp-03-25,     from: "22:20:50", until: "22:35", p503: 0.9}
    - {upstream: gemini-2.5-pro-preview-03-25, from: "22:20:50", until: "22:35", p503: 0.5}
compare:

  litellm-1.66:  {router: litellm-1.66,  cooldown_time: 2000, fallbacks: {gemini-2.5-pro: [gemini-2.5-pro-preview]}}
  litellm-1.109: {router: litellm-1.109, cooldown_time: 2000, fallbacks: {gemini-2.5-pro: [gemini-2.5-pro-preview]}}
  stormproof:    {router: stormproof}
pass: ["stormproof: success_rate >= 99.9%", "stormproof: longest_gap < 180s", "stormproof: fallback_spend <= 5 USD"]
seeds: 30
"#;

/// Everything that the file format can say arrives where it belongs.
#[test]
fn a_world_can_differ_in_every_way() {
    const FILES: &[(&str, &str)] = &[("turns.csv", "at,input\n0.5,100\n3,\n")];
    let scenario = parse(include_str!("full.yaml"), "full.yaml", Embedded(FILES));
    let Scenario { case, contenders, .. } = scenario.unwrap_or_else(|errors| panic!("{errors}"));
    let secs = |secs: u64| Timestamp::ZERO + Duration::from_secs(secs);
    let world = &case.day.world;

    let buckets: Vec<u32> = world.keys.iter().map(|key| key.project).collect();
    assert_eq!((buckets[0], buckets[1]), (buckets[2], buckets[3]), "four keys are dealt to two buckets");
    assert_ne!(buckets[0], buckets[1]);
    let quota = world.projects[buckets[0] as usize].quotas[0];
    assert_eq!((quota.rpm, quota.tpm, quota.rpd, quota.used_requests), (None, Some(1_000_000), Some(50), 15));
    assert_eq!(world.projects[buckets[4] as usize].quotas[1].used_requests, 7);
    assert!(case.day.happenings.is_empty(), "nobody tells the router");

    let [pro, preview, other] = world.upstreams.as_slice() else { panic!("three upstream models") };
    assert_eq!(
        (pro.wording, preview.wording, other.wording),
        (Wording::GeminiSummer2025, Wording::GeminiBare, Wording::OpenAi)
    );
    assert_eq!((pro.charged.overload, pro.charged.limit), (true, true));
    assert_eq!((preview.charged.overload, preview.charged.limit), (false, true));
    assert_eq!((pro.weather.noise, preview.weather.noise), (0.01, 0.0));
    let episode = pro.weather.episodes[0];
    assert_eq!((episode.from, episode.until), (secs(1800), secs(2700)));
    assert_eq!(preview.weather.follows.map(|follows| (follows.upstream.get(), follows.factor)), Some((0, 0.6)));
    assert_eq!(preview.latency.shape, Shape::Fixed(5.0));
    assert_eq!((pro.latency.tokens_per_s, pro.latency.per), (Some(90.0), Per::Turn));
    assert_eq!(other.weather.process.map(|process| process.healthy), Some(Shape::Exponential { mean: 1800.0 }));
    assert_eq!((pro.faults.cut, pro.faults.blocked), (0.01, 0.005));
    assert_eq!((world.throttles[0].rpm, world.throttles[0].says_so), (12, true));
    assert_eq!(world.keys[2].deaths[0].reason, Reason::NoFreeTier);

    let [first, second, third] = world.script.as_slice() else { panic!("three replies") };
    assert_eq!(first.from, Timestamp::from_nanos(1_257_640_000_000));
    assert_eq!((first.times, first.key.map(|key| key.get())), (Some(1), Some(5)));
    assert_eq!((first.reply.ending, first.reply.facts.reason), (Ending::Status(503), Some(Reason::Overloaded)));
    assert!(second.reply.facts.violations.any_day() && second.reply.facts.violations.any_minute());
    assert_eq!(second.reply.facts.retry_after, Some(Duration::from_secs(20)));
    assert_eq!((third.reply.ending, third.until), (Ending::Transport(Transport::Reset), secs(5)));

    let [steps, closed, trace] = case.day.clients.as_slice() else { panic!("three groups") };
    let rate = |from, per_s| Rate { from, per_s };
    let expected = vec![rate(secs(0), 0.1), rate(secs(3600), 0.0), rate(secs(9000), 0.1)];
    assert_eq!(steps.arrivals, Arrivals::Even(expected));
    assert_eq!(closed.arrivals, Arrivals::Closed { users: 7, think: Shape::Uniform { min: 10.0, max: 50.0 } });
    assert_eq!((closed.patience, closed.deadline), (Duration::from_secs(300), Duration::from_secs(90)));
    assert_eq!((closed.priority, closed.client.get()), (Priority::Low, 1));
    assert!(matches!(&trace.arrivals, Arrivals::Trace(turns) if turns.len() == 2));
    assert_eq!((trace.endpoint, trace.stream, trace.sizes.estimate), (Endpoint::Embed, true, 1.2));

    let Policy::Stormproof(settings) = &contenders[0].policy else { panic!("ours") };
    assert_eq!((settings.models[0].tiers.len(), settings.retries.overload), (1, Some(4)));
    assert_eq!((settings.knobs.trip_ratio, settings.knobs.queue_patience), (0.2, Duration::from_secs(3)));
    assert_eq!(case.settings.models[0].tiers.len(), 3, "the case itself is as configured");
    assert_eq!(case.assumed, ["nobody knows how long it lasted", "world.noise: 1%"]);
}
