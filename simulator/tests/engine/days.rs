//! Whole days with known results.

use crate::round_robin::RoundRobin;
use stormproof_router::core::{Duration, Ending, Input, Note, Observer, Output, Reason, Timestamp, Transport};
use stormproof_simulator::clients::{Arrivals, Rate, Retries};
use stormproof_simulator::draws::Shape;
use stormproof_simulator::engine::{Calendar, Day, Ended, Heap, Witness, run};
use stormproof_simulator::study::Case;
use stormproof_simulator::study::families::{FAMILIES, family};
use stormproof_simulator::world::{Death, Episode, Faults};

/// Keeps the books of everything that passes between driver and router.
#[derive(Default)]
struct Books {
    arrived: u64,
    closed: u64,
    cancelled: u64,
    dispatched: u64,
    finished: u64,
    abandoned: u64,
    statuses: Vec<Ending>,
    last: Timestamp,
}

impl Observer for Books {
    fn note(&mut self, _now: Timestamp, _note: Note) {}
}

impl Witness for Books {
    fn input(&mut self, now: Timestamp, input: &Input) {
        assert!(now >= self.last, "time went back");
        self.last = now;
        match input {
            Input::Arrived(_) => self.arrived += 1,
            Input::Finished(finished) => {
                self.finished += 1;
                self.statuses.push(finished.ending);
                self.abandoned += u64::from(finished.ending == Ending::Transport(Transport::Abandoned));
            }
            Input::Cancelled { .. } => self.cancelled += 1,
            Input::Configured { .. } | Input::Clock { .. } | Input::FirstByte { .. } => {}
            Input::Operator { .. } | Input::Woke => {}
        }
    }

    fn output(&mut self, _now: Timestamp, output: &Output) {
        match output {
            Output::Dispatch(_) => self.dispatched += 1,
            Output::Close { .. } => self.closed += 1,
            Output::Relay { .. } | Output::Abandon { .. } | Output::WakeAt(_) => {}
        }
    }
}

fn plain() -> Case {
    FAMILIES[2].case()
}

fn day(change: impl FnOnce(&mut Day)) -> Case {
    let mut case = plain();
    case.day.duration = Duration::from_secs(1800);
    for upstream in &mut case.day.world.upstreams {
        upstream.weather.process = None;
        upstream.weather.noise = 0.0;
        upstream.latency.shape = Shape::Fixed(20.0);
    }
    change(&mut case.day);
    case
}

fn drive(case: &Case, tries: u16) -> (Ended<RoundRobin>, Books) {
    let mut books = Books::default();
    let ended = run::<_, Heap<_>, _>(&case.day, &case.settings, RoundRobin::with_tries(tries), 1, &mut books);
    assert!(ended.tally.faults.is_none(), "{:?}", ended.tally.faults);
    assert_eq!(books.arrived, books.closed, "every request has one outcome");
    assert_eq!(books.arrived, ended.tally.client_calls);
    assert_eq!(books.dispatched, books.finished, "every attempt ends once");
    assert_eq!(books.dispatched, ended.tally.attempts);
    let by_status: u64 = ended.tally.upstream_statuses.seen().map(|(_, count)| count).sum();
    assert_eq!(by_status + ended.tally.transports.iter().sum::<u64>(), ended.tally.attempts);
    let failed: u64 = ended.tally.failures.iter().sum();
    assert_eq!(ended.tally.succeeded() + failed, ended.tally.turns.len() as u64, "every turn ends once");
    (ended, books)
}

#[test]
fn the_same_seed_and_both_queues_give_the_same_decisions() {
    for name in ["b", "c", "i"] {
        let case = family(name).unwrap().case();
        let hash = |seed| {
            let heap = run::<_, Heap<_>, _>(&case.day, &case.settings, RoundRobin::with_tries(3), seed, &mut ());
            let calendar =
                run::<_, Calendar<_>, _>(&case.day, &case.settings, RoundRobin::with_tries(3), seed, &mut ());
            assert_eq!(heap.tally, calendar.tally, "family {name}");
            heap.tally.decision_hash
        };
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
    }
}

/// This router never leaves the cheap tier, so `c` and `g` are one day to it. Pins arrivals, draws, weather, world and
/// the order of events, for every build and platform. A change here changes every result that anybody has kept.
#[test]
fn the_days_are_those_of_earlier_builds() {
    let hash = |name: &str| {
        let case = family(name).unwrap().case();
        run::<_, Heap<_>, _>(&case.day, &case.settings, RoundRobin::with_tries(3), 1, &mut ()).tally.decision_hash
    };
    let found = ["a", "b", "c", "e", "g", "i", "j"].map(|name| format!("{name} {:016x}", hash(name)));
    assert_eq!(found, GOLDEN);
}

const GOLDEN: [&str; 7] = [
    "a 1cb88483ed261a79",
    "b 20d69175c32c0df9",
    "c ac8584020251182c",
    "e 77b4b62b0bbf0286",
    "g ac8584020251182c",
    "i 643c9b8ba8dab498",
    "j 5525370530058ba6",
];

#[test]
fn a_witness_changes_nothing() {
    let case = plain();
    let (watched, _) = drive(&case, 2);
    let alone = run::<_, Heap<_>, _>(&case.day, &case.settings, RoundRobin::with_tries(2), 1, &mut ());
    assert_eq!(watched.tally, alone.tally);
}

#[test]
fn a_healthy_pool_within_its_limits_answers_everything_after_its_latency() {
    let case = day(|_| {});
    let (ended, _) = drive(&case, 1);
    let tally = &ended.tally;
    assert_eq!(tally.succeeded(), tally.turns.len() as u64);
    assert!((1600..2000).contains(&tally.turns.len()), "1800 expected, {} came", tally.turns.len());
    assert!(tally.turns.iter().all(|turn| turn.end.since(turn.at) == Duration::from_secs(20)));
    assert_eq!(tally.attempts, tally.turns.len() as u64);
    assert!(tally.longest_gap < Duration::from_secs(40));
}

#[test]
fn two_routers_meet_the_same_luck() {
    let mut case = plain();
    // Quota couples turns; without it each turn's answers hang on its own luck alone.
    case.day.world.projects.iter_mut().for_each(|project| project.quotas.clear());
    let (one, _) = drive(&case, 1);
    let (three, _) = drive(&case, 3);
    assert_eq!(one.tally.turns.len(), three.tally.turns.len());
    for (one, three) in one.tally.turns.iter().zip(&three.tally.turns) {
        assert_eq!(one.at, three.at);
        assert!(!one.answered || three.answered, "more tries never lose a turn whose first try succeeds");
    }
    assert!(three.tally.succeeded() > one.tally.succeeded());
}

#[test]
fn a_user_without_patience_goes_away_and_the_attempt_is_abandoned() {
    let case = day(|day| {
        day.clients[0].patience = Duration::from_secs(10);
        day.clients[0].deadline = Duration::from_secs(60);
    });
    let (ended, books) = drive(&case, 1);
    assert_eq!(ended.tally.succeeded(), 0);
    assert_eq!(books.cancelled, books.arrived);
    assert_eq!(books.abandoned, books.dispatched);
    assert_eq!(ended.tally.client_statuses.of(0), books.arrived);
    assert_eq!(ended.tally.failures[5], books.arrived);
    assert!(ended.tally.turns.iter().all(|turn| turn.end.since(turn.at) == Duration::from_secs(10)));
}

#[test]
fn a_deadline_that_comes_first_is_a_failure_with_the_whole_patience() {
    let case = day(|day| {
        day.clients[0].deadline = Duration::from_secs(15);
        day.clients[0].patience = Duration::from_secs(100);
    });
    let (ended, _) = drive(&case, 1);
    assert_eq!(ended.tally.failures[0], ended.tally.turns.len() as u64);
    assert!(ended.tally.turns.iter().all(|turn| turn.end.since(turn.at) == Duration::from_secs(100)));
    let all = Duration::from_secs(1800);
    assert!(ended.tally.longest_gap > all, "nobody was ever answered: {}", ended.tally.longest_gap);
}

#[test]
fn aider_climbs_its_ladder_while_everything_is_overloaded() {
    let case = day(|day| {
        day.duration = Duration::from_secs(1);
        day.clients[0].arrivals = Arrivals::Even(vec![Rate { from: Timestamp::ZERO, per_s: 1.0 }]);
        day.clients[0].retries = Retries::AIDER;
        day.clients[0].patience = Duration::from_secs(600);
        let episode = Episode { from: Timestamp::ZERO, until: Timestamp::MAX, p503: 1.0 };
        day.world.upstreams[0].weather.episodes = vec![episode];
        day.world.upstreams[0].refusals.overload = Shape::Fixed(1.0);
    });
    let (ended, books) = drive(&case, 1);
    assert_eq!(ended.tally.turns.len(), 1);
    assert_eq!(ended.tally.client_calls, 27);
    assert_eq!(ended.tally.failures[2], 1);
    // 27 answers of 1 s, pauses of 63.75 s, and 9 times 1.5 s in the library, less up to a quarter of those.
    let took = books.last.as_secs_f64();
    assert!((27.0 + 63.75 + 9.0 * 1.125..27.0 + 63.75 + 9.0 * 1.5).contains(&took), "{took}");
}

#[test]
fn users_of_a_closed_loop_wait_for_their_answers() {
    let case = day(|day| {
        day.clients[0].arrivals = Arrivals::Closed { users: 5, think: Shape::Fixed(10.0) };
    });
    let (ended, _) = drive(&case, 1);
    // Each user thinks for 10 s and waits for 20: it begins a turn at 10, 40, 70, ... before 1800 s.
    assert_eq!(ended.tally.turns.len(), 5 * 60);
    assert_eq!(ended.tally.succeeded(), 300);
}

#[test]
fn a_stream_is_relayed_at_its_first_byte_and_may_be_cut_after_it() {
    let case = day(|day| {
        day.clients[0].stream = true;
        day.clients[0].deadline = Duration::from_secs(15);
        day.world.upstreams[0].faults = Faults { cut: 0.25, ..Faults::default() };
    });
    let (ended, books) = drive(&case, 1);
    let cut = books.statuses.iter().filter(|ending| **ending == Ending::Transport(Transport::Cut)).count() as f64;
    let share = cut / books.statuses.len() as f64;
    assert!((0.2..0.3).contains(&share), "{share}");
    assert_eq!(
        ended.tally.succeeded() + cut as u64,
        ended.tally.turns.len() as u64,
        "the deadline governs the first byte"
    );
}

#[test]
fn the_engine_believes_the_provider_and_not_the_router() {
    let case = day(|day| {
        let death = Death { from: Timestamp::ZERO, until: Timestamp::MAX, upstream: None, reason: Reason::KeyLeaked };
        day.world.keys.iter_mut().for_each(|key| key.deaths.push(death));
    });
    let tally = run::<_, Heap<_>, _>(&case.day, &case.settings, RoundRobin::liar(), 1, &mut ()).tally;
    assert_eq!(tally.upstream_statuses.of(403), tally.attempts);
    assert_eq!((tally.succeeded(), tally.faults.false_answers), (0, tally.client_calls));
}
