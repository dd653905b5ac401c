//! Recorded days, asked what would have happened: held against the truth of the very same days.

use std::path::Path;
use std::sync::Arc;

use stormproof_router::core::{Duration, KeyId, Reason, Settings, Timestamp, Tokens};
use stormproof_simulator::baselines::litellm::{Options, Seconds, Version};
use stormproof_simulator::clients::{Arrivals, TraceTurn};
use stormproof_simulator::engine::Day;
use stormproof_simulator::scenario::{self, Files};
use stormproof_simulator::study::families::family;
use stormproof_simulator::study::record::{folder, record};
use stormproof_simulator::study::{Case, Contender, Policy, simulate};
use stormproof_simulator::whatif::{Answer, AskError, Figures, Findings, RecordedDay, Written};
use stormproof_simulator::world::Death;

/// A family's first hour.
fn hour(name: &str) -> Case {
    let mut case = family(name).expect("a family").case();
    case.day.duration = Duration::from_secs(3600);
    case
}

fn ours(case: &Case, name: &str, knobs: &[(&str, &str)]) -> Contender {
    let mut settings = Settings::clone(&case.settings);
    for (knob, value) in knobs {
        settings.knobs.set(knob, value).expect("a knob");
    }
    Contender { name: name.to_owned(), policy: Policy::Stormproof(Arc::new(settings)) }
}

fn litellm(case: &Case, version: Version, cooldown: u64) -> Contender {
    let mut options = Options::new(version);
    options.cooldown_time = Seconds(Duration::from_secs(cooldown));
    options.num_retries = 3;
    options.feedback_loop = false;
    options.fallbacks.insert("cheap".to_owned(), vec!["dear".to_owned()]);
    let policy = Policy::LiteLlm { settings: Arc::clone(&case.settings), options: Arc::new(options) };
    Contender { name: format!("{version:?}-{cooldown}"), policy }
}

fn recorded(case: &Case, contender: &Contender, seed: u64) -> RecordedDay {
    let parent = tempfile::tempdir().expect("a folder");
    record(case, contender, seed, parent.path()).expect("recorded");
    RecordedDay::read(&folder(parent.path(), &contender.name, seed)).expect("readable")
}

fn ask(day: &RecordedDay, asked: &[Contender], seeds: u32) -> Findings {
    day.ask(asked, seeds, &|| {}).expect("an answer")
}

fn truth(case: &Case, contender: &Contender, seed: u64) -> Figures {
    Figures::of(&simulate(case, &contender.policy, seed, &mut ()).0)
}

fn spend_error(answer: &Answer, truth: &Figures) -> f64 {
    (answer.estimates.fallback_spend_usd.mean / truth.fallback_spend_usd - 1.0).abs()
}

#[test]
fn asked_about_what_it_did_a_day_answers_with_what_happened() {
    let case = hour("c");
    let same = ours(&case, "stormproof", &[]);
    let day = recorded(&case, &same, 2);
    let found = ask(&day, std::slice::from_ref(&same), 10);
    let truth = truth(&case, &same, 2);
    assert_eq!(found.recorded, truth, "what the log amounts to is what the engine counted");
    let answer = &found.answers[0];
    assert!(answer.reused_share > 0.85, "{}", answer.reused_share);
    assert!(answer.dark_share < 0.02 && answer.is_told, "{answer:?}");
    assert!((answer.estimates.success_rate.mean - truth.success_rate).abs() < 0.001);
    assert!(spend_error(answer, &truth) < 0.03, "{:?} {truth:?}", answer.estimates);
    assert!(found.calibration.success_error.abs() < 0.005, "{:?}", found.calibration);
    assert!(found.calibration.spend_error.expect("money was spent").abs() < 0.1, "{:?}", found.calibration);
    assert!(found.calibration.attempts_error.abs() < 0.05 && found.calibration.p99_error.abs() < 0.1);
    assert!(found.dark[0].share < 0.02 && found.dark[1].share > 0.3, "{:?}", found.dark);
    assert!(!found.assumed.is_empty());
}

#[test]
fn recordings_of_ours_tell_what_other_policies_would_have_done() {
    for name in ["c", "g", "i"] {
        let case = hour(name);
        let asked = [
            ours(&case, "few attempts", &[("retry.max_attempts", "4")]),
            ours(&case, "patient", &[("queue.patience", "60s"), ("queue.patience_degraded", "10s")]),
            litellm(&case, Version::V1_109, 5),
            litellm(&case, Version::V1_109, 60),
        ];
        let days = [2, 3];
        let mut errors = [(0.0, 0.0, 0.0); 4];
        for seed in days {
            let day = recorded(&case, &ours(&case, "stormproof", &[]), seed);
            let found = ask(&day, &asked, 10);
            for ((contender, answer), errors) in asked.iter().zip(&found.answers).zip(&mut errors) {
                let truth = truth(&case, contender, seed);
                errors.0 += (answer.estimates.success_rate.mean - truth.success_rate).abs();
                errors.1 += (answer.estimates.fallback_spend_usd.mean - truth.fallback_spend_usd).abs();
                errors.2 += truth.fallback_spend_usd;
            }
        }
        // Two days are few: a mean over the questions is asked for what fifty days show for each of them.
        let (mut success_sum, mut spend_sum) = (0.0, 0.0);
        for (contender, (success, spend, whole)) in asked.iter().zip(errors) {
            let (success, spend) = (success / days.len() as f64, spend / whole);
            assert!(success < 0.03, "family {name}, {}: success is wrong by {success}", contender.name);
            assert!(spend < 0.25, "family {name}, {}: spend is wrong by {spend}", contender.name);
            (success_sum, spend_sum) = (success_sum + success, spend_sum + spend);
        }
        let count = asked.len() as f64;
        assert!(success_sum / count < 0.01, "family {name}: success is wrong by {}", success_sum / count);
        assert!(spend_sum / count < 0.1, "family {name}: spend is wrong by {}", spend_sum / count);
    }
}

#[test]
fn in_the_dark_the_interval_holds_the_truth() {
    let (mut days, mut success, mut spend, mut dark) = (0, 0, 0, 0.0);
    for name in ["c", "g", "i"] {
        let case = hour(name);
        let asked = ours(&case, "stormproof", &[]);
        for seed in 1..=10 {
            let found =
                ask(&recorded(&case, &litellm(&case, Version::V1_66, 2000), seed), std::slice::from_ref(&asked), 39);
            let (answer, truth) = (&found.answers[0], truth(&case, &asked, seed));
            assert!(answer.dark_share > 0.4 && !answer.is_told, "family {name}, day {seed}: {answer:?}");
            let said = answer.estimates;
            (days, dark) = (days + 1, dark + found.dark[0].share);
            success += u32::from(said.success_rate.covers(truth.success_rate));
            spend += u32::from(said.fallback_spend_usd.covers(truth.fallback_spend_usd));
        }
    }
    assert!(dark / f64::from(days) > 0.6, "most of such a day is dark: {dark} of {days}");
    // Always the same thirty days: a model that covers 95 % of all misses four of thirty or fewer in 98 cases of 100, one
    // that covers 80 % in 26. The example `honesty` measures the share itself, over more days and longer ones.
    for (what, covered) in [("success", success), ("spend", spend)] {
        assert!(covered >= days - 4, "{what}: {covered} of {days}");
    }
}

#[test]
fn the_same_question_has_the_same_answer() {
    let mut case = hour("i");
    case.day.duration = Duration::from_secs(1200);
    let asked = [litellm(&case, Version::V1_109, 60)];
    let answers = || {
        let found = ask(&recorded(&case, &ours(&case, "stormproof", &[]), 1), &asked, 5);
        (found.answers[0].per_seed.clone(), found.answers[0].reused_share)
    };
    assert_eq!(answers(), answers());
}

#[test]
fn a_policy_must_have_the_models_that_were_asked_for() {
    let mut case = hour("i");
    case.day.duration = Duration::from_secs(300);
    let day = recorded(&case, &ours(&case, "stormproof", &[]), 1);
    let mut settings = Settings::clone(&case.settings);
    settings.models[0].name = "other".to_owned();
    let asked = Contender { name: "renamed".to_owned(), policy: Policy::Stormproof(Arc::new(settings)) };
    match day.ask(&[asked], 1, &|| {}) {
        Err(AskError::NoModel { policy, model }) => assert_eq!((policy.as_str(), model.as_str()), ("renamed", "cheap")),
        other => panic!("{other:?}"),
    }
}

/// The files that a written day names.
struct Traces(Vec<(String, String)>);

impl Files for Traces {
    fn read(&self, path: &str) -> std::io::Result<String> {
        let found = self.0.iter().find(|(name, _)| name == path);
        found.map(|(_, text)| text.clone()).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

fn as_scenario(day: &RecordedDay) -> (String, scenario::Scenario) {
    let Written { text, traces } = day.scenario("day");
    let parsed = scenario::parse(&text, "day.yaml", Traces(traces));
    (text.clone(), parsed.unwrap_or_else(|errors| panic!("{errors}\n{text}")))
}

#[test]
fn a_recorded_day_becomes_a_scenario_that_is_like_it() {
    let case = hour("g");
    for contender in [ours(&case, "stormproof", &[("trip.ratio", "0.3")]), litellm(&case, Version::V1_109, 60)] {
        let day = recorded(&case, &contender, 2);
        let (text, scenario) = as_scenario(&day);
        let recorded = day.figures();
        let again = &scenario.contenders[0];
        let modelled = Figures::of(&simulate(&scenario.case, &again.policy, 1, &mut ()).0);
        assert_eq!(modelled.turns, recorded.turns);
        assert!((modelled.success_rate - recorded.success_rate).abs() < 0.02, "{modelled:?} {recorded:?}\n{text}");
        let attempts = modelled.upstream_attempts as f64 / recorded.upstream_attempts as f64;
        assert!((0.93..1.07).contains(&attempts), "{modelled:?} {recorded:?}");
        assert!(scenario.case.assumed.iter().any(|sentence| sentence.starts_with("world.weather")), "{text}");
        assert!(text.contains("world.upstreams"), "{text}");
        // Knobs and options that were in force are those of the scenario.
        match (&again.policy, &contender.policy) {
            (Policy::Stormproof(again), Policy::Stormproof(before)) => assert_eq!(again.knobs, before.knobs),
            (Policy::LiteLlm { options: again, .. }, Policy::LiteLlm { options: before, .. }) => {
                assert_eq!(again, before);
            }
            (Policy::Stormproof(_) | Policy::LiteLlm { .. }, _) => panic!("another router"),
        }
    }
}

#[test]
fn dead_keys_and_true_limits_are_found() {
    let mut case = hour("c");
    case.day.duration = Duration::from_secs(1800);
    let died = Timestamp::ZERO + Duration::from_secs(600);
    case.day.world.keys[4].deaths.push(Death {
        from: died,
        until: Timestamp::MAX,
        upstream: None,
        reason: Reason::KeySuspended,
    });
    for project in &mut case.day.world.projects[..21] {
        project.quotas[0].rpm = Some(2);
    }
    case.day.world.projects[20].quotas[0].rpm = Some(3);
    assert_eq!(case.settings.keys[4].name, "free-05");
    let day = recorded(&case, &ours(&case, "stormproof", &[]), 1);
    let (text, scenario) = as_scenario(&day);
    let world = &scenario.case.day.world;
    let [death] = &world.keys[4].deaths[..] else { panic!("{text}") };
    assert!(death.reason == Reason::KeySuspended && death.from.since(died) < Duration::from_secs(120), "{death:?}");
    assert!(world.keys.iter().enumerate().all(|(key, one)| key == 4 || one.deaths.is_empty()), "{text}");
    assert_eq!(world.projects[0].quotas[0].rpm, Some(2), "{text}");
    assert!(text.contains("1 of the 21 keys of free have the limits, and the use before, of the others"), "{text}");
    assert_eq!(world.projects[KeyId::new(21).index()].quotas[1].rpm, Some(150), "{text}");
}

#[test]
fn what_clients_do_about_failures_is_told_from_what_they_did() {
    let document = scenario::built_in("aider-storm").expect("built in").expect("readable");
    let storm = document.scenario().expect("sensible");
    let contender = storm.contenders.iter().find(|one| one.name.starts_with("litellm-1.66")).expect("an incumbent");
    let day = recorded(&storm.case, contender, 1);
    let (text, scenario) = as_scenario(&day);
    assert!(text.contains("retries: aider"), "{text}");
    let clients = &scenario.case.day.clients;
    assert!(clients.iter().all(|client| client.retries == storm.case.day.clients[0].retries), "{text}");
    assert!(Path::new("day-1.csv").extension().is_some() && text.contains("trace: day-1.csv"));
    let recorded = day.figures();
    let again = Figures::of(&simulate(&scenario.case, &scenario.contenders[0].policy, 1, &mut ()).0);
    assert!((again.success_rate - recorded.success_rate).abs() < 0.15, "{again:?} {recorded:?}");
}

#[test]
fn users_who_leave_by_themselves_leave_in_the_written_day_too() {
    let mut case = hour("c");
    case.day.duration = Duration::from_secs(600);
    // Every seventh user waits no longer than a few seconds, too short for most answers.
    let turns = (0..300).map(|index: u64| TraceTurn {
        at: Timestamp::ZERO + Duration::from_secs(2 * index),
        input: Some(Tokens::new(1000)),
        output: Some(Tokens::new(500)),
        leaves: index.is_multiple_of(7).then(|| Duration::from_millis(2_000 + 13 * index)),
    });
    case.day.clients[0].arrivals = Arrivals::Trace(turns.collect());
    case.day.happenings = Day::leaving(&case.day.clients);
    assert_eq!(case.day.happenings.len(), 43);
    let day = recorded(&case, &ours(&case, "stormproof", &[]), 1);
    let (text, scenario) = as_scenario(&day);
    let left = |day: &Day| -> Vec<Timestamp> { Day::leaving(&day.clients).iter().map(|(at, _)| *at).collect() };
    let (before, after) = (left(&case.day), left(&scenario.case.day));
    // One whose answer was quicker did not leave, and was not seen to want to.
    assert!(after.len() > 38 && after.iter().all(|at| before.contains(at)), "{before:?}\n{after:?}\n{text}");
    assert_eq!(scenario.case.day.happenings.len(), after.len());
    let again = Figures::of(&simulate(&scenario.case, &scenario.contenders[0].policy, 1, &mut ()).0);
    assert!((again.success_rate - day.figures().success_rate).abs() < 0.03, "{again:?} {:?}", day.figures());
}
