//! Whatever the providers do and however clients behave: every request has one outcome, every attempt one end, every
//! turn one result, and time never goes back. With a router that hardly thinks, and with ours.

use std::collections::BTreeMap;

use crate::round_robin::RoundRobin;
use proptest::prelude::*;
use stormproof_router::core::{
    AttemptId, Duration, Input, Note, Observer, Output, Reason, RequestId, Route, Router, Timestamp,
};
use stormproof_simulator::clients::{Arrivals, Rate, Retries, Sdk};
use stormproof_simulator::draws::Shape;
use stormproof_simulator::engine::{Calendar, Heap, Witness, run};
use stormproof_simulator::study::Case;
use stormproof_simulator::study::families::FAMILIES;
use stormproof_simulator::world::{Death, Episode, Faults, Throttle};

/// Who is in flight, from inputs and outputs alone.
#[derive(Default)]
struct Books {
    last: Timestamp,
    open: BTreeMap<RequestId, ()>,
    running: BTreeMap<AttemptId, RequestId>,
    arrived: u64,
    dispatched: u64,
}

impl Observer for Books {
    fn note(&mut self, _now: Timestamp, _note: Note) {}
}

impl Witness for Books {
    fn input(&mut self, now: Timestamp, input: &Input) {
        assert!(now >= self.last, "time went back");
        self.last = now;
        match input {
            Input::Arrived(arrived) => {
                self.arrived += 1;
                assert!(self.open.insert(arrived.request, ()).is_none());
            }
            Input::Finished(finished) => {
                assert!(self.running.remove(&finished.attempt).is_some(), "an attempt that ended twice");
            }
            Input::FirstByte { attempt } => assert!(self.running.contains_key(attempt)),
            Input::Cancelled { request } => assert!(self.open.contains_key(request)),
            Input::Configured { .. } | Input::Clock { .. } | Input::Operator { .. } | Input::Woke => {}
        }
    }

    fn output(&mut self, _now: Timestamp, output: &Output) {
        match output {
            Output::Dispatch(dispatch) => {
                self.dispatched += 1;
                assert!(self.open.contains_key(&dispatch.request), "a call for a closed request");
                assert!(self.running.insert(dispatch.attempt, dispatch.request).is_none());
            }
            Output::Close { request, .. } => {
                assert!(self.open.remove(request).is_some(), "a second outcome for {request}");
            }
            Output::Relay { request, .. } => assert!(self.open.contains_key(request)),
            Output::Abandon { .. } | Output::WakeAt(_) => {}
        }
    }
}

fn check<R: Route>(case: &Case, router: impl Fn() -> R, seed: u64) -> Result<(), TestCaseError> {
    let mut books = Books::default();
    let ended = run::<R, Heap<_>, _>(&case.day, &case.settings, router(), seed, &mut books);
    let tally = ended.tally;
    prop_assert!(tally.faults.is_none(), "{:?}", tally.faults);
    prop_assert!(books.open.is_empty() && books.running.is_empty(), "left in flight");
    prop_assert_eq!((books.arrived, books.dispatched), (tally.client_calls, tally.attempts));
    let failed: u64 = tally.failures.iter().sum();
    prop_assert_eq!(tally.succeeded() + failed, tally.turns.len() as u64);
    prop_assert_eq!(tally.client_statuses.seen().map(|(_, count)| count).sum::<u64>(), tally.client_calls);
    let other = run::<R, Calendar<_>, _>(&case.day, &case.settings, router(), seed, &mut ());
    prop_assert_eq!(tally, other.tally);
    Ok(())
}

fn faults() -> impl Strategy<Value = Faults> {
    // Twelve weights and one for a good answer, scaled to a sum of 1.
    prop::collection::vec(0.0..1.0f64, 13).prop_map(|weights| {
        let sum: f64 = weights.iter().sum::<f64>() + 0.01;
        let share = |index: usize| weights[index] / sum;
        Faults {
            connect: share(0),
            reset: share(1),
            server: share(2),
            timeout: share(3),
            malformed: share(4),
            cut: share(5),
            error_event: share(6),
            hang: share(7),
            stall: share(8),
            slow: share(9),
            spurious_limit: share(10),
            blocked: share(11),
        }
    })
}

fn arrivals() -> impl Strategy<Value = Arrivals> {
    let steady = |per_s| vec![Rate { from: Timestamp::ZERO, per_s }];
    prop_oneof![
        (0.1..3.0f64).prop_map(move |rate| Arrivals::Poisson(steady(rate))),
        // Even arrivals and fixed latencies let many things happen at one moment.
        Just(Arrivals::Even(steady(1.0))),
        (1..6u32).prop_map(|users| Arrivals::Closed { users, think: Shape::Fixed(5.0) }),
    ]
}

fn latency() -> impl Strategy<Value = Shape> {
    prop_oneof![Just(Shape::Fixed(0.0)), Just(Shape::Fixed(10.0)), Just(Shape::LogNormal { median: 20.0, sigma: 1.0 })]
}

fn retries() -> impl Strategy<Value = Retries> {
    prop_oneof![Just(Retries::default()), Just(Retries { sdk: Some(Sdk::OPENAI), ladder: None }), Just(Retries::AIDER)]
}

prop_compose! {
    fn cases()(
        faults in [faults(), faults()],
        arrivals in arrivals(),
        latency in latency(),
        retries in retries(),
        stream in any::<bool>(),
        deadline_s in 5..100u64,
        patience_s in 5..200u64,
        p503 in 0.0..1.0f64,
        dead in any::<bool>(),
        throttled in any::<bool>(),
    ) -> Case {
        let mut case = FAMILIES[0].case();
        let day = &mut case.day;
        day.duration = Duration::from_secs(120);
        day.clients[0].arrivals = arrivals;
        day.clients[0].stream = stream;
        day.clients[0].retries = retries;
        day.clients[0].deadline = Duration::from_secs(deadline_s);
        day.clients[0].patience = Duration::from_secs(patience_s);
        let secs = |secs| Timestamp::ZERO + Duration::from_secs(secs);
        for (upstream, faults) in day.world.upstreams.iter_mut().zip(faults) {
            upstream.faults = faults;
            upstream.latency.shape = latency;
            upstream.weather.process = None;
            upstream.weather.episodes = vec![Episode { from: secs(30), until: secs(80), p503 }];
        }
        if dead {
            let death = Death { from: secs(40), until: secs(90), upstream: None, reason: Reason::KeySuspended };
            day.world.keys[0].deaths.push(death);
        }
        if throttled {
            let provider = day.world.upstreams[0].provider;
            let throttle = Throttle { provider, from: secs(20), until: secs(70), rpm: 10, says_so: true };
            day.world.throttles.push(throttle);
        }
        case
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_is_made_up(case in cases(), seed in any::<u64>()) {
        check(&case, || RoundRobin::with_tries(3), seed)?;
    }

    #[test]
    fn nor_by_our_router(case in cases(), seed in any::<u64>()) {
        check(&case, Router::new, seed)?;
    }
}
