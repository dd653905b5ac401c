//! The emulation as a router like any other: the same again from the same inputs, from a snapshot, and after nonsense.

use std::sync::Arc;

use stormproof_router::core::{
    Action, AttemptId, Duration, Ending, Facts, Finished, Input, KeyId, ModelId, Outcome, Output, RequestId, Route,
    Timestamp,
};
use stormproof_simulator::baselines::litellm::{LiteLlm, Options, Version};
use stormproof_simulator::clients::{Arrivals, Rate, Retries, Spec};
use stormproof_simulator::engine::Day;
use stormproof_simulator::world::Faults;

use crate::pool::{FREE, MISTRAL, PAID, day, limit, options, overload, settings};
use crate::watch::{at, watch};

const VERSIONS: [Version; 2] = [Version::V1_66, Version::V1_109];

/// Everything at once: overloads, limits, faults, streams and plain calls, users who go away, and a library that asks
/// again.
fn messy() -> Day {
    let mut day = day(0, 1.0, false);
    overload(&mut day, FREE, 20.0, 50.0);
    overload(&mut day, PAID, 30.0, 40.0);
    limit(&mut day, FREE, 20);
    for upstream in [FREE, PAID, MISTRAL] {
        let world = &mut day.world.upstreams[upstream.index()];
        world.latency.shape = stormproof_simulator::draws::Shape::LogNormal { median: 2.0, sigma: 1.0 };
        world.faults = Faults {
            connect: 0.02,
            reset: 0.02,
            server: 0.02,
            timeout: 0.02,
            malformed: 0.02,
            cut: 0.02,
            error_event: 0.02,
            hang: 0.02,
            stall: 0.02,
            slow: 0.02,
            spurious_limit: 0.02,
            blocked: 0.02,
        };
    }
    let client = |model, stream, patience| {
        let arrivals = Arrivals::Poisson(vec![Rate { from: Timestamp::ZERO, per_s: 3.0 }]);
        let spec = Spec::simple(ModelId::new(model), arrivals, Duration::from_secs(patience));
        Spec { stream, retries: Retries::AIDER, ..spec }
    };
    day.clients = vec![client(0, false, 60), client(0, true, 60), client(1, false, 4), client(2, true, 90)];
    day.clients[1].deadline = Duration::from_secs(3);
    day.duration = Duration::from_secs(90);
    day
}

fn restless(version: Version) -> Options {
    let mut options = options(version);
    options.cooldown_time = Duration::from_secs(3).into();
    options.default_fallbacks = vec!["mistral-large".to_owned(), "gemini-2.5-pro".to_owned()];
    options
}

#[test]
fn the_same_day_is_the_same_twice() {
    for version in VERSIONS {
        let hash = |seed| watch(&messy(), &settings(), &restless(version), seed).tally.decision_hash;
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
    }
}

#[test]
fn a_snapshot_before_every_input_changes_nothing() {
    for version in VERSIONS {
        let watched = watch(&messy(), &settings(), &restless(version), 3);
        assert!(watched.steps.len() > 2_000, "a day worth the test");
        let mut router = LiteLlm::new(restless(version));
        for (index, (now, input, outputs)) in watched.steps.iter().enumerate() {
            if index % 5 == 0 {
                let restored = LiteLlm::restore(&router.snapshot()).expect("its own snapshot");
                assert_eq!(restored.state_hash(), router.state_hash());
                router = restored;
            }
            router.handle(*now, input.clone());
            let again: Vec<Output> = std::iter::from_fn(|| router.poll_output()).collect();
            assert_eq!(again, *outputs, "input {index} at {now:?}");
        }
        assert_eq!(router.state_hash(), watched.router.state_hash());
    }
}

#[test]
fn bytes_that_are_no_snapshot_are_refused() {
    let snapshot = LiteLlm::new(options(Version::V1_66)).snapshot();
    assert!(LiteLlm::restore(&snapshot[..snapshot.len() - 1]).is_err());
    let longer = [snapshot.as_slice(), &[0]].concat();
    let error = LiteLlm::restore(&longer).expect_err("one byte too many");
    assert_eq!(error.to_string(), "not a snapshot of litellm: 1 bytes are left over");
}

/// Late, repeated and unknown inputs, and the operator's, change no decision: the day goes on as if they were not there.
#[test]
fn nonsense_is_ignored() {
    for version in VERSIONS {
        let watched = watch(&messy(), &settings(), &restless(version), 4);
        let mut router = LiteLlm::new(restless(version));
        for (index, (now, input, outputs)) in watched.steps.iter().enumerate() {
            router.handle(*now, input.clone());
            let again: Vec<Output> = std::iter::from_fn(|| router.poll_output()).collect();
            assert_eq!(again, *outputs, "input {index}");
            let ending = Ending::Status(200);
            let unknown = Finished { attempt: AttemptId::new(7), ending, facts: Facts::default(), usage: None };
            let mut nonsense = vec![
                Input::Finished(unknown),
                Input::FirstByte { attempt: AttemptId::new(7) },
                Input::Cancelled { request: RequestId::new(u64::MAX) },
                Input::Operator { action: Action::RetireKey { key: KeyId::new(0) }, author: Arc::from("nobody") },
                Input::Woke,
            ];
            if matches!(input, Input::Finished(_) | Input::Arrived(_)) {
                nonsense.push(input.clone());
            }
            for input in nonsense {
                router.handle(*now, input);
                assert_eq!(router.poll_output(), None, "after input {index}");
            }
        }
    }
}

/// New settings are a restart: what is in flight breaks, and nothing is remembered.
#[test]
fn a_restart_forgets_everything() {
    let mut router = LiteLlm::new(options(Version::V1_66));
    let mut day = day(4, 2.0, true);
    overload(&mut day, PAID, 0.0, 10.0);
    day.clients[0].model = ModelId::new(1);
    let watched = watch(&day, &settings(), &options(Version::V1_66), 1);
    for (now, input, _) in &watched.steps {
        router.handle(*now, input.clone());
        while router.poll_output().is_some() {}
    }
    assert_eq!(router.cooling(at(2.0)).count(), 2);
    let (_, arrival, _) =
        watched.steps.iter().find(|(_, input, _)| matches!(input, Input::Arrived(_))).expect("a call");
    let Input::Arrived(mut arrived) = arrival.clone() else { unreachable!("it is an arrival") };
    arrived.request = RequestId::new(1000);
    arrived.model = ModelId::new(0);
    router.handle(at(2.0), Input::Arrived(arrived));
    while router.poll_output().is_some() {}
    router.handle(at(2.0), Input::Configured { settings: Arc::new(settings()) });
    let outputs: Vec<Output> = std::iter::from_fn(|| router.poll_output()).collect();
    assert!(matches!(outputs[0], Output::Abandon { .. }));
    assert!(matches!(&outputs[1], Output::Close { verdict, .. } if verdict.outcome == Outcome::Failed));
    assert_eq!(router.cooling(at(2.0)).count(), 0);
}

/// Its own count of a request's money is the one that the providers charged.
#[test]
fn money_is_what_providers_charge() {
    let mut settings = settings();
    settings.tiers[0].price.tokens.input = stormproof_router::core::Usd::from_micros(1_250_000);
    settings.tiers[0].price.tokens.output = stormproof_router::core::Usd::from_micros(10_000_000);
    settings.tiers[1].price.answer = stormproof_router::core::Usd::from_micros(10_000_000);
    let mut day = day(100, 2.0, false);
    overload(&mut day, FREE, 10.0, 40.0);
    for version in VERSIONS {
        let watched = watch(&day, &settings, &options(version), 1);
        let verdicts = watched.told.iter().filter_map(|told| told.verdict.as_ref());
        let spend: stormproof_router::core::Usd = verdicts.map(|verdict| verdict.spend).sum();
        assert!(spend.as_micros() > 0);
        assert_eq!(spend, watched.tally.total_spend);
    }
}
