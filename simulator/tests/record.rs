//! Simulated days on record: they verify, they are rebuilt, and recording changes nothing.

use std::sync::Arc;

use stormproof_router::core::{Duration, Route, Router};
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
        let refused = verify::<Router>(&log).expect_err("not ours").to_string();
        assert!(refused.contains("it can be read, but not verified"), "{refused}");
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
