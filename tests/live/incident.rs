//! The incident's evening, live: `mock` plays it, `serve` routes it with 21 + 2 keys, aider's ladder asks. What comes
//! out is what the simulator predicts for the same turns.
//!
//! `cargo test -p stormproof --test live incident -- --nocapture` prints the comparison.

use std::fmt::Write;
use std::sync::Arc;

use stormproof_router::core::{Duration, Router, TierId, Usd};
use stormproof_router::log::verify;
use stormproof_simulator::mock::{Answer, Manners};
use stormproof_simulator::scenario::{Document, built_in};
use stormproof_simulator::study::compare;
use stormproof_simulator::study::summary::PerSeed;

use crate::ONE_AT_A_TIME;
use crate::callers::{Ended, everybody};
use crate::stage::{Closed, Stage};

/// Two and a half hours in two and a half minutes: a scheduler's usual delay of a millisecond is 60 ms of answers that
/// take 20 s. The runs go side by side, for each of them is mostly waiting.
const SCALE: u32 = 60;

const SEEDS: u64 = 5;

/// One day, as it came out.
#[derive(Clone, Debug, PartialEq)]
struct Day {
    turns: usize,
    success: f64,
    spend: f64,
    fallback_answers: usize,
    attempts: f64,
    p50: Duration,
    p99: Duration,
    late: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "the comparison is what a reader of the run wants to see")]
async fn the_incident_comes_out_as_the_simulator_predicts() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let evening = built_in("expected-rotation").expect("built in").expect("good");
    // The client whose requests died in the log: it asks for the preview model.
    let as_logged = evening.with("clients.0.model", "gemini-2.5-pro-preview").expect("a setting");
    let days = (1..=SEEDS).map(|seed| (&evening, seed)).chain([(&as_logged, 1)]);
    let days: Vec<Day> = futures_util::future::join_all(days.map(|(document, seed)| live(document, seed))).await;
    let predicted = [predicted(&evening, SEEDS as u32), predicted(&as_logged, 1)].concat();

    let table = table(&days, &predicted);
    println!("{table}");
    let mean = |of: &dyn Fn(usize) -> f64| (0..SEEDS as usize).map(of).sum::<f64>() / SEEDS as f64;
    let turns: Vec<usize> = predicted.iter().map(|seed| seed.turns as usize).collect();
    assert_eq!(days.iter().map(|day| day.turns).collect::<Vec<_>>(), turns, "the same turns");
    let (success, simulated) = (mean(&|seed| days[seed].success), mean(&|seed| predicted[seed].success_rate));
    assert!((success - simulated).abs() <= 0.01, "success {success:.4}, simulated {simulated:.4}\n{table}");
    let (spend, simulated) = (mean(&|seed| days[seed].spend), mean(&|seed| predicted[seed].total_spend_usd));
    assert!((spend - simulated).abs() <= 0.1 * simulated, "spend {spend:.4}, simulated {simulated:.4}\n{table}");
    let (logged, simulated) = (&days[SEEDS as usize], &predicted[SEEDS as usize]);
    assert!((logged.success - simulated.success_rate).abs() <= 0.01, "the logged day's client\n{table}");
}

/// Lets a day happen over sockets.
async fn live(document: &Document, seed: u64) -> Day {
    let stage = Arc::new(Stage::open(document, seed, SCALE, Manners::default()).await);
    let ended = everybody(&stage).await;
    let stage = Arc::into_inner(stage).expect("everybody has gone");
    let closed = stage.close().await;
    let verified = verify::<Router>(&closed.log).expect("the recorded day replays with identical decisions");
    assert!(verified.decisions > 1000 && verified.missing == 0, "{verified:?}");
    day(&closed, &ended)
}

fn day(closed: &Closed, ended: &[Ended]) -> Day {
    let patience = closed.case.day.clients[0].patience;
    let mut latencies: Vec<Duration> = ended.iter().map(|ended| ended.latency(patience)).collect();
    latencies.sort_unstable();
    let quantile = |share: f64| latencies[(latencies.len() as f64 * share).ceil() as usize - 1];
    let calls = closed.mock.calls(0, usize::MAX);
    let mut day = Day {
        turns: ended.len(),
        success: ended.iter().filter(|ended| ended.answered.is_some()).count() as f64 / ended.len() as f64,
        spend: 0.0,
        fallback_answers: 0,
        attempts: calls.len() as f64 / ended.len() as f64,
        p50: quantile(0.5),
        p99: quantile(0.99),
        late: ended.iter().map(|ended| ended.late).max().unwrap_or_default(),
    };
    let settings = &closed.case.settings;
    let first = settings.models[closed.case.day.clients[0].model.index()].tiers[0];
    for call in calls.iter().filter(|call| call.answer == Answer::Status(200) && !call.left) {
        let its = |tier: &TierId| {
            let upstream = settings.tiers[tier.index()].upstream;
            Some(&settings.upstreams[upstream.index()].model) == call.model.as_ref()
        };
        let tier = (0..settings.tiers.len() as u16).map(TierId::new).find(its).expect("a tier of the configuration");
        let price = settings.tiers[tier.index()].price.tokens;
        let tokens = |count: u32, price: Usd| f64::from(count) * price.as_f64() / 1e6;
        day.spend += tokens(call.input, price.input) + tokens(call.output, price.output);
        day.fallback_answers += usize::from(tier != first);
    }
    day
}

/// What the simulator says of the same turns.
fn predicted(document: &Document, seeds: u32) -> Vec<PerSeed> {
    let scenario = document.scenario().expect("good");
    let ours: Vec<_> = scenario.contenders.into_iter().filter(|contender| contender.name == "stormproof").collect();
    let summary = compare(&scenario.case, &ours, seeds, &|| {}).expect("a router that keeps its contract");
    summary.runs.into_iter().next().expect("one router").per_seed
}

fn table(days: &[Day], predicted: &[PerSeed]) -> String {
    let mut text = String::from(
        "live / simulated    turns       success  spend USD      fallback   attempts/turn  p50 s      p99 s      late s\n",
    );
    for (index, (day, simulated)) in days.iter().zip(predicted).enumerate() {
        let name = if index < SEEDS as usize { format!("seed {}", index + 1) } else { "logged client".to_owned() };
        let seconds = |millis: u64| millis as f64 / 1e3;
        writeln!(
            text,
            "{name:<16} {:>5}/{:<5} {:>6.2}/{:<6.2} {:>6.3}/{:<6.3} {:>4}/{:<4} {:>6.2}/{:<6.2} {:>5.1}/{:<5.1} {:>5.1}/{:<5.1} {:>5.2}",
            day.turns,
            simulated.turns,
            day.success * 100.0,
            simulated.success_rate * 100.0,
            day.spend,
            simulated.total_spend_usd,
            day.fallback_answers,
            simulated.fallback_answers,
            day.attempts,
            simulated.attempts_per_turn,
            day.p50.as_secs_f64(),
            seconds(simulated.latency_ms.p50),
            day.p99.as_secs_f64(),
            seconds(simulated.latency_ms.p99),
            day.late.as_secs_f64(),
        )
        .expect("a text takes everything");
    }
    text
}
