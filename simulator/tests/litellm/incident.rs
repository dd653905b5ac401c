//! The logged outage: two overloaded keys, a bench of 2000 s, and nothing that leads back to 21 free ones.

use stormproof_router::core::{Duration, Ending, Facts, ModelId, Reason, Timestamp, WallTime};
use stormproof_simulator::baselines::litellm::{Options, Version};
use stormproof_simulator::clients::{Arrivals, Retries, Spec, TraceTurn};
use stormproof_simulator::engine::Day;
use stormproof_simulator::world::{Reply, Scripted};

use crate::pool::{MISTRAL, PAID, day, settings};
use crate::watch::{Told, Watched, at, watch};

const FREE_MODEL: ModelId = ModelId::new(0);
const PREVIEW: ModelId = ModelId::new(1);
const MISTRAL_MODEL: ModelId = ModelId::new(2);

/// 2025-04-19 05:14:00 UTC.
const START: u64 = 1_745_039_640;

/// What the log says of each benched deployment: its id, and when it failed, in nanoseconds of the wall clock.
const FIRST: (&str, u64) =
    ("9ca5d601573d1b2b5c7b99d4672e881f530188c50a5669861a33a1a712d3f0dd", 1_745_040_057_644_344_300);
const SECOND: (&str, u64) =
    ("8842c90a424bd7cd8905a1bbe7f058f3a3d4736907d05e9011fb533d59a7ebee", 1_745_040_061_228_798_400);
const THIRD: (&str, u64) =
    ("50f51d85945aab1338517f2160dbd2ee5260b0b5b980321e7d16fea366b21c91", 1_745_039_683_773_912_400);

/// The text of the line that was logged at 05:22:41, from "No deployments" on.
pub(crate) const LOGGED: &str = r#"No deployments available for selected model, Try again in 2000 seconds. Passed model=gemini-2.5-pro-preview. pre-call-checks=False, cooldown_list=[('9ca5d601573d1b2b5c7b99d4672e881f530188c50a5669861a33a1a712d3f0dd', {'exception_received': 'b\'{\\n  "error": {\\n    "code": 503,\\n    "message": "The model is overloaded. Please try again later.",\\n    "status": "UNAVAILABLE"\\n  }\\n}\\n\'', 'status_code': '503', 'timestamp': 1745040057.6443443, 'cooldown_time': 2000}), ('8842c90a424bd7cd8905a1bbe7f058f3a3d4736907d05e9011fb533d59a7ebee', {'exception_received': 'b\'{\\n  "error": {\\n    "code": 503,\\n    "message": "The model is overloaded. Please try again later.",\\n    "status": "UNAVAILABLE"\\n  }\\n}\\n\'', 'status_code': '503', 'timestamp': 1745040061.2287984, 'cooldown_time': 2000}), ('50f51d85945aab1338517f2160dbd2ee5260b0b5b980321e7d16fea366b21c91', {'exception_received': 'litellm.RateLimitError: RateLimitError: MistralException - Requests rate limit exceeded', 'status_code': '429', 'timestamp': 1745039683.7739124, 'cooldown_time': 2000})]"#;

/// The moment of a wall time within the day.
fn wall(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos - START * 1_000_000_000)
}

/// The moment of a time of day, hours left out: minutes after 05:00 and seconds.
fn clock(minutes: u64, secs: f64) -> Timestamp {
    at((minutes as f64 - 14.0) * 60.0 + secs)
}

fn options() -> Options {
    let mut options = Options::new(Version::V1_66);
    options.cooldown_time = Duration::from_secs(2000).into();
    options.default_fallbacks = vec!["gemini-2.5-pro-preview".to_owned()];
    let names = ["paid-01", "paid-02", "mistral-01"];
    let ids = [FIRST.0, SECOND.0, THIRD.0];
    options.deployment_ids = names.into_iter().zip(ids).map(|(name, id)| (name.to_owned(), id.to_owned())).collect();
    options
}

/// A user who asks at these moments, streaming where the log shows it, through aider over its library.
fn user(model: ModelId, stream: bool, asks: &[Timestamp]) -> Spec {
    let asks = asks.iter().map(|at| TraceTurn { at: *at, input: None, output: None, leaves: None }).collect();
    let patience = Duration::from_secs(600);
    Spec { stream, retries: Retries::AIDER, ..Spec::simple(model, Arrivals::Trace(asks), patience) }
}

/// The day as logged: Mistral refuses the key that is asked first, the preview model is overloaded for two calls.
fn logged(mistral_asks: Timestamp, asks: &[Timestamp], free_asks: &[Timestamp]) -> Day {
    let refused = |upstream, times, after, status, reason| Scripted {
        from: Timestamp::ZERO,
        until: Timestamp::MAX,
        key: None,
        upstream: Some(upstream),
        times: Some(times),
        reply: Reply { after, ending: Ending::Status(status), facts: Facts { reason, ..Facts::default() } },
    };
    let first_call = Duration::from_millis(1200);
    let second_call = Duration::from_nanos(SECOND.1 - FIRST.1 - 250_000_000);
    let mut day = day(0, 1.0, true);
    // The library underneath asks Mistral three times before the router hears of it.
    day.world.script = vec![
        refused(MISTRAL, 3, Duration::from_millis(200), 429, None),
        refused(PAID, 1, first_call, 503, Some(Reason::Overloaded)),
        refused(PAID, 1, second_call, 503, Some(Reason::Overloaded)),
    ];
    let first_ask = wall(FIRST.1) - first_call;
    let preview: Vec<Timestamp> = std::iter::once(first_ask).chain(asks.iter().copied()).collect();
    day.clients = vec![
        user(MISTRAL_MODEL, false, &[mistral_asks]),
        user(PREVIEW, true, &preview),
        user(FREE_MODEL, true, free_asks),
    ];
    day.start = WallTime::from_nanos(START * 1_000_000_000);
    day.duration = Duration::from_secs(3600);
    day
}

/// A seed under which the shuffle tries the deployments in the order of the log.
fn watch_logged(asks: &[Timestamp], free_asks: &[Timestamp]) -> Watched {
    let run = |mistral_asks, seed| watch(&logged(mistral_asks, asks, free_asks), &settings(), &options(), seed);
    let in_order = |watched: &Watched| {
        let cooling = watched.router.cooling(wall(SECOND.1));
        cooling.map(|(id, _)| id.to_owned()).eq([FIRST.0, SECOND.0, THIRD.0])
            && watched.router.cooling(wall(SECOND.1)).next().is_some_and(|(_, until)| until < clock(54, 20.0))
    };
    let seed = (1..100).find(|seed| in_order(&run(clock(14, 42.0), *seed))).expect("some seed shuffles like the log");
    // The library's pauses are drawn, so what is known is when it gave up: ask as much earlier as it takes.
    let tried = run(clock(14, 42.0), seed);
    let ends = tried.router.cooling(clock(15, 0.0)).map(|(_, until)| until - Duration::from_secs(2000)).last();
    let took = ends.expect("Mistral is benched").since(clock(14, 42.0));
    run(wall(THIRD.1) - took, seed)
}

fn calls_from(watched: &Watched, from: Timestamp, until: Timestamp) -> impl Iterator<Item = &Told> {
    watched.told.iter().filter(move |told| (from..until).contains(&told.arrived))
}

#[test]
fn the_logged_outage_happens_as_logged() {
    let asks = [clock(22, 41.0), clock(47, 0.0), clock(48, 10.0), clock(53, 0.0), clock(55, 0.0)];
    let watched = watch_logged(&asks, &[clock(23, 0.0)]);
    let router = &watched.router;

    let turn: Vec<&Told> = calls_from(&watched, clock(20, 0.0), clock(22, 41.0)).collect();
    assert!(turn[..2].iter().all(|told| told.status() == 200 && told.error_in_stream()), "two overloads inside a 200");
    assert_eq!([turn[0].closed, turn[1].closed], [wall(FIRST.1), wall(SECOND.1)]);
    assert_eq!(turn.len(), 2 + 7 * 3, "then seven attempts of the ladder, each three calls of the library");
    assert!(turn[2..].iter().all(|told| told.status() == 429 && told.called.is_empty()));

    let benched: Vec<(String, Timestamp)> =
        router.cooling(clock(22, 41.0)).map(|(id, end)| (id.to_owned(), end)).collect();
    let bench = Duration::from_secs(2000);
    assert_eq!(benched, [FIRST, SECOND, THIRD].map(|(id, nanos)| (id.to_owned(), wall(nanos) + bench)));
    assert!((clock(54, 17.0)..clock(54, 18.0)).contains(&benched[0].1));
    assert!((clock(54, 21.0)..clock(54, 22.0)).contains(&benched[1].1));
    assert!((clock(48, 3.0)..clock(48, 4.0)).contains(&benched[2].1));

    assert_eq!(router.no_deployments_text(clock(22, 41.0), PREVIEW), LOGGED);
    let refusal = calls_from(&watched, clock(22, 41.0), clock(22, 42.0)).next().expect("it asks at 05:22:41");
    assert_eq!(refusal.text_bytes(), LOGGED.len() as u64, "the text is counted as long as it would be");
    assert_eq!(router.no_deployments_text(clock(48, 3.0), PREVIEW).matches("exception_received").count(), 3);
    assert_eq!(router.no_deployments_text(clock(48, 4.0), PREVIEW).matches("exception_received").count(), 2);

    for told in calls_from(&watched, clock(22, 41.0), clock(54, 17.0)).filter(|told| told.called.is_empty()) {
        assert_eq!(told.status(), 429, "a wall of refusals until the first cooldown ends");
    }
    let free = calls_from(&watched, clock(23, 0.0), clock(23, 0.1)).next().expect("the free model is asked once");
    assert!(free.answered(), "the 21 keys were healthy all along");
    let upstream_calls =
        calls_from(&watched, clock(20, 0.0), clock(54, 17.0)).map(|told| told.called.len()).sum::<usize>();
    assert_eq!(upstream_calls, 2 + 1, "two overloads and that one answer");
    assert!(calls_from(&watched, clock(55, 0.0), clock(56, 0.0)).next().is_some_and(Told::answered));
}

/// The replay that was measured: the overload is lifted after 16 s, and nobody notices.
#[test]
fn nobody_notices_that_the_overload_is_over() {
    let mut day = day(0, 1.0, true);
    let once = user(PREVIEW, true, &[at(0.0)]);
    day.clients =
        vec![Spec { retries: Retries { sdk: None, ..Retries::AIDER }, ..once }, user(FREE_MODEL, true, &[at(30.0)])];
    day.duration = Duration::from_secs(60);
    crate::pool::overload(&mut day, PAID, 0.0, 16.0);
    let watched = watch(&day, &settings(), &options(), 1);
    let (free, preview): (Vec<&Told>, Vec<&Told>) = watched.told.iter().partition(|told| told.arrived == at(30.0));
    let seen: Vec<(u16, bool)> = preview.iter().map(|told| (told.status(), told.error_in_stream())).collect();
    assert_eq!(seen[..3], [(200, true), (200, true), (429, false)]);
    assert!(seen[3..].iter().all(|seen| *seen == (429, false)));
    assert_eq!(preview.iter().map(|told| told.called.len()).sum::<usize>(), 2);
    assert!(preview.iter().any(|told| told.arrived > at(16.0)), "it still asks when the overload is over");
    assert!(free[0].answered());
}
