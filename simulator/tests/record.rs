//! Simulated days on record: they verify, they are rebuilt, and recording changes nothing.

use std::sync::Arc;

use stormproof_router::core::{Deployment, Duration, Input, KeyId, Route, Router, Settings, TierId};
use stormproof_router::log::{Place, Verifier, rebuild, verify};
use stormproof_simulator::baselines::litellm::{LiteLlm, Options, Version};
use stormproof_simulator::engine::{Calendar, run};
use stormproof_simulator::study::families::FAMILIES;
use stormproof_simulator::study::record::{folder, record};
use stormproof_simulator::study::{Case, Contender, Policy};

/// A family's first half hour.
fn short(name: &str) -> Case {
    let mut case = FAMILIES.iter().find(|family| family.name == name).expect("a family").case();
    case.day.duration = Duration::from_secs(1800);
    case
}

fn ours(case: &Case) -> Contender {
    Contender { name: "stormproof".to_owned(), policy: Policy::Stormproof(Arc::clone(&case.settings)) }
}

#[test]
fn a_recorded_day_of_each_family_verifies_and_recording_changes_nothing() {
    let parent = tempfile::tempdir().expect("a folder");
    for family in FAMILIES {
        let case = short(family.name);
        let contender = Contender { name: family.name.to_owned(), ..ours(&case) };
        let recorded = record(&case, &contender, 1, parent.path()).expect("recorded");
        let unwatched = run::<_, Calendar<_>, _>(&case.day, &case.settings, Router::new(), 1, &mut ());
        assert_eq!(recorded.decision_hash, unwatched.tally.decision_hash, "family {}", family.name);

        let log = folder(parent.path(), family.name, 1);
        let report = verify::<Router>(&log).expect("the same decisions");
        assert_eq!(report.inputs, recorded.events);
        assert!(report.decisions > report.inputs / 2, "{report:?}");
        let rebuilt = rebuild::<Router>(&log).expect("readable").expect("a router");
        assert_eq!(rebuilt.router.state_hash(), unwatched.router.state_hash());
        assert!(rebuilt.in_flight.requests.is_empty() && rebuilt.in_flight.attempts.is_empty());
    }
}

#[test]
fn a_baseline_is_verified_with_the_options_it_had() {
    let parent = tempfile::tempdir().expect("a folder");
    let case = short("i");
    for version in [Version::V1_66, Version::V1_109] {
        let mut options = Options::new(version);
        options.num_retries = 3;
        let policy = Policy::LiteLlm { settings: Arc::clone(&case.settings), options: Arc::new(options) };
        let contender = Contender { name: format!("{version:?}"), policy };
        record(&case, &contender, 7, parent.path()).expect("recorded");
        let log = folder(parent.path(), &contender.name, 7);
        let report = verify::<LiteLlm>(&log).expect("the same decisions");
        assert!(report.decisions > 1_000, "{report:?}");
        let not_ours = verify::<Router>(&log).expect("readable");
        assert_eq!((not_ours.decisions, not_ours.events), (0, report.events));
        assert_eq!(not_ours.others.len(), 1, "{not_ours:?}");
    }
}

#[test]
fn a_day_is_verified_from_any_checkpoint() {
    let parent = tempfile::tempdir().expect("a folder");
    let mut case = short("c");
    case.day.duration = Duration::from_secs(6 * 3600);
    record(&case, &ours(&case), 3, parent.path()).expect("recorded");
    let log = folder(parent.path(), "stormproof", 3);
    let whole = verify::<Router>(&log).expect("the same decisions");
    assert!(whole.checkpoints > 0, "{whole:?}");
    let half = Verifier::<Router>::from(&log, Place::Sequence(whole.events / 2)).and_then(Verifier::run);
    let half = half.expect("the same decisions");
    assert!(half.events < whole.events && half.unverified == 0);
    assert_eq!(half.end, whole.end);
}

/// The same settings with these keys alone, in this order.
fn with_keys(settings: &Settings, order: &[usize]) -> Settings {
    let place = |key: KeyId| order.iter().position(|kept| *kept == key.index());
    let moved = |deployment: &Deployment| {
        place(deployment.key).map(|place| Deployment { key: KeyId::new(place as u32), ..*deployment })
    };
    Settings {
        keys: order.iter().map(|index| settings.keys[*index].clone()).collect(),
        deployments: settings.deployments.iter().filter_map(moved).collect(),
        ..settings.clone()
    }
}

#[test]
fn after_a_restart_no_count_moves_to_another_key() {
    let parent = tempfile::tempdir().expect("a folder");
    let case = short("a");
    record(&case, &ours(&case), 1, parent.path()).expect("recorded");
    let rebuilt = rebuild::<Router>(&folder(parent.path(), "stormproof", 1)).expect("readable").expect("a router");
    let settings = &case.settings;
    let (tier, limit) = (TierId::new(0), settings.tiers[0].limits.rpd.expect("a day quota"));
    let of_tier = |tier: TierId| settings.deployments.iter().filter(move |deployment| deployment.tier == tier);
    let cheap: Vec<usize> = of_tier(tier).map(|deployment| deployment.key.index()).collect();
    let dear: Vec<usize> = of_tier(TierId::new(1)).map(|deployment| deployment.key.index()).collect();
    // What the restarted router believes was used today of these keys, configured in this order.
    let used = |kept: &[usize]| -> u64 {
        let mut router = rebuilt.router.clone();
        let settings = Arc::new(with_keys(settings, &[kept, &dear].concat()));
        router.handle(rebuilt.at, Input::Configured { settings });
        let left = router.tiers()[tier.index()].left_today.expect("a day quota");
        kept.len() as u64 * u64::from(limit) - left
    };
    let alone: Vec<u64> = cheap.iter().map(|key| used(&[*key])).collect();
    assert!(alone.iter().any(|count| *count != alone[0]), "keys that can be told apart: {alone:?}");
    let all: u64 = alone.iter().sum();
    assert!(all > 100, "{alone:?}");
    let reversed: Vec<usize> = cheap.iter().rev().copied().collect();
    assert_eq!(used(&cheap), all);
    assert_eq!(used(&reversed), all);
    for (place, pair) in cheap.windows(2).enumerate() {
        let [first, second] = *pair else { continue };
        let both = alone[place] + alone[place + 1];
        assert_eq!((used(&[first, second]), used(&[second, first])), (both, both));
    }
}
