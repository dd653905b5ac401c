//! Studies: the same numbers from one thread and from two, from one seed twice, and over goldens of earlier days.

use std::sync::Arc;

use stormproof_router::core::Duration;
use stormproof_simulator::baselines::litellm::{Options, Version};
use stormproof_simulator::engine::{Calendar, Heap, run};
use stormproof_simulator::study::families::FAMILIES;
use stormproof_simulator::study::summary::Summary;
use stormproof_simulator::study::{Case, Contender, Policy, compare};

fn contenders(case: &Case) -> Vec<Contender> {
    let settings = Arc::clone(&case.settings);
    let mut options = Options::new(Version::V1_66);
    options.feedback_loop = false;
    options.fallbacks.insert("cheap".to_owned(), vec!["dear".to_owned()]);
    let named = |name: &str, policy| Contender { name: name.to_owned(), policy };
    vec![
        named("stormproof", Policy::Stormproof(Arc::clone(&settings))),
        named("litellm-1.66", Policy::LiteLlm { settings, options: Arc::new(options) }),
    ]
}

/// The family with one fixed episode, on a short day that contains it whole.
fn short() -> Case {
    let mut case = FAMILIES[5].case();
    case.day.duration = Duration::from_secs(2100);
    case
}

fn on_threads(threads: usize, case: &Case) -> Option<Summary> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().ok()?;
    pool.install(|| compare(case, &contenders(case), 5, &|| {})).ok()
}

#[test]
fn one_and_two_threads_give_the_same_summary() {
    let case = short();
    assert_eq!(on_threads(1, &case).unwrap(), on_threads(2, &case).unwrap());
}

#[test]
fn both_queues_give_our_router_the_same_decisions() {
    for family in FAMILIES {
        let case = family.case();
        let heap = run::<_, Heap<_>, _>(&case.day, &case.settings, stormproof_router::core::Router::new(), 1, &mut ());
        let calendar =
            run::<_, Calendar<_>, _>(&case.day, &case.settings, stormproof_router::core::Router::new(), 1, &mut ());
        assert_eq!(heap.tally, calendar.tally, "family {}", family.name);
    }
}

#[test]
fn a_summary_adds_up() {
    let summary = on_threads(2, &short()).unwrap();
    for run in &summary.runs {
        assert_eq!(run.per_seed.len(), 5);
        assert_eq!(run.per_seed.iter().map(|seed| seed.seed).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        let failed: f64 = run.failures.values().sum();
        assert!((run.succeeded + failed - run.turns).abs() < 1e-9, "{}", run.policy);
        let attempts: f64 = run.upstream_statuses.values().sum();
        assert!((attempts - run.upstream_attempts).abs() < 1e-9);
        let [low, high] = run.success_rate_ci95;
        assert!(low <= run.success_rate && run.success_rate <= high);
        assert!(run.fallback_spend_usd <= run.total_spend_usd + 1e-9);
        let turns: u64 = run.per_seed.iter().map(|seed| seed.turns).sum();
        assert_eq!(run.latency_bins.iter().map(|bin| bin.answered + bin.failed).sum::<u64>(), turns);
        let hashes: Vec<&str> = run.per_seed.iter().map(|seed| seed.decision_hash.as_str()).collect();
        assert!(hashes.windows(2).all(|pair| pair[0] != pair[1]));
    }
    assert_ne!(summary.runs[0].decision_hash, summary.runs[1].decision_hash);
    let ours = &summary.runs[0];
    assert!(ours.success_rate > 0.998, "{}", ours.success_rate);
    assert!(ours.success_rate > summary.runs[1].success_rate);
}

#[test]
fn the_picture_shows_the_first_seed() {
    let summary = on_threads(2, &short()).unwrap();
    let trace = &summary.trace;
    assert_eq!(trace.seed, 1);
    let spans: Vec<(f64, f64, f64)> =
        trace.overloads.iter().map(|overload| (overload.from_s, overload.to_s, overload.probability)).collect();
    assert_eq!(spans, [(600.0, 1500.0, 0.9), (600.0, 1500.0, 0.5)]);
    for (policy, run) in trace.policies.iter().zip(&summary.runs) {
        let first = &run.per_seed[0];
        let answered: u32 = policy.strip.iter().map(|bucket| bucket.first_tier + bucket.fallback).sum();
        let fallback: u32 = policy.strip.iter().map(|bucket| bucket.fallback).sum();
        let lost: u32 = policy.strip.iter().map(|bucket| bucket.lost).sum();
        assert_eq!((u64::from(answered), u64::from(fallback)), (first.succeeded, first.fallback_answers));
        assert_eq!(u64::from(lost), first.turns - first.succeeded);
        assert_eq!(policy.lanes.len(), 23);
        let attempts: usize = policy.lanes.iter().map(|lane| lane.attempts.len()).sum();
        assert_eq!(attempts as u64, first.upstream_attempts);
        let waited: f64 = policy.strip.iter().map(|bucket| bucket.waiting).sum::<f64>() * trace.bucket_s;
        assert!(waited > 20.0 * first.succeeded as f64, "a turn waits for about 24 s: {waited}");
    }
    let benched: Vec<_> = trace.policies[1].lanes.iter().flat_map(|lane| &lane.cooldowns).collect();
    assert!(!benched.is_empty(), "LiteLLM benches keys");
    for cooldown in benched {
        assert!(cooldown.from_s < cooldown.to_s);
        for span in &cooldown.answerable {
            assert!(cooldown.from_s <= span.from_s && span.from_s < span.to_s && span.to_s <= cooldown.to_s);
            let overloaded = span.from_s < 1500.0 && span.to_s > 600.0;
            assert!(!overloaded, "no model answers at {span:?}");
        }
    }
    assert!(trace.policies[0].lanes.iter().all(|lane| lane.cooldowns.is_empty()), "an overload cools none of our keys");
}
