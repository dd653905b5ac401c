use super::super::builtin::{BUILT_IN, built_in};
use super::*;
use crate::baselines::litellm::Version;
use crate::clients::{Arrivals, Rate};
use crate::study::Policy;
use stormproof_router::core::Timestamp;

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
