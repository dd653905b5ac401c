//! What one simulated request costs, against a bare event loop on the same day.
//!
//! ```text
//! cargo bench -p stormproof-simulator --bench engine                  # CPU time, and instructions where valgrind is
//! cargo bench -p stormproof-simulator --bench engine -- full c 20     # one measurement, for a profiler
//! ```
//!
//! Absolute rates differ by machine; the ratio to the bare loop, which runs in the same process, is what is compared.

mod bare;

use std::process::Command;
use std::sync::Arc;

use hdrhistogram::Histogram;
use stormproof_router::core::{Duration, Router};
use stormproof_simulator::baselines::litellm::{LiteLlm, Options, Version};
use stormproof_simulator::engine::{Calendar, Event, Heap, run};
use stormproof_simulator::study::families::{Family, crowd, family};

/// What is measured.
const SUBJECTS: [&str; 4] = ["bare", "full", "heap", "litellm"];

/// How often each is timed.
const ROUNDS: u32 = 12;

/// How many seeds of which family: enough CPU time for a steady figure, and few enough for valgrind.
const DAYS: [(&str, u64, u64); 2] = [("c", 200, 3), ("crowd", 24, 2)];

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() {
    // The harness hands over flags of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [subject, name, seeds] = words.as_slice()
        && let (Some(family), Ok(seeds)) = (day(name), seeds.parse())
    {
        println!("{} requests", drive(subject, &family, seeds));
        return;
    }
    println!(
        "{:<8} {:<9} {:>16} {:>14} {:>8} {:>16} {:>8}",
        "day", "what", "requests/CPU s", "ns/request", "x bare", "instructions", "x bare"
    );
    for (name, seeds, seeds_counted) in DAYS {
        let Some(family) = day(name) else { continue };
        let mut reference: Option<(f64, Option<f64>)> = None;
        for (subject, nanos) in SUBJECTS.into_iter().zip(nanos_per_request(&family, seeds)) {
            let instructions = instructions_per_request(subject, name, seeds_counted);
            let (bare_nanos, bare_instructions) = *reference.get_or_insert((nanos, instructions));
            let counted = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
            let factor =
                instructions.zip(bare_instructions).map_or("-".to_owned(), |(of, bare)| format!("{:.2}", of / bare));
            println!(
                "{name:<8} {subject:<9} {:>16.0} {nanos:>14.0} {:>8.2} {:>16} {factor:>8}",
                1e9 / nanos,
                nanos / bare_nanos,
                counted(instructions),
            );
        }
    }
}

fn day(name: &str) -> Option<Family> {
    if name == "crowd" { Some(Family { duration: Duration::from_secs(120), ..crowd() }) } else { family(name) }
}

/// Runs seeds 1 to `seeds` on this thread and gives the number of requests.
fn drive(subject: &str, family: &Family, seeds: u64) -> u64 {
    let case = family.case();
    let Ok(mut histogram) = Histogram::<u64>::new_with_bounds(1, 1 << 31, 3) else { return 0 };
    let mut requests = 0;
    for seed in 1..=seeds {
        let tally = match subject {
            "bare" => {
                requests += bare::run(family, seed, &mut histogram);
                continue;
            }
            "full" => run::<_, Calendar<Event>, _>(&case.day, &case.settings, Router::new(), seed, &mut ()).tally,
            "heap" => run::<_, Heap<Event>, _>(&case.day, &case.settings, Router::new(), seed, &mut ()).tally,
            "litellm" => {
                let router = LiteLlm::new(litellm());
                run::<_, Calendar<Event>, _>(&case.day, &Arc::clone(&case.settings), router, seed, &mut ()).tally
            }
            _ => return 0,
        };
        for turn in &tally.turns {
            histogram.saturating_record(turn.end.since(turn.at).as_millis());
        }
        requests += tally.turns.len() as u64;
    }
    requests
}

/// The settings under which it does best on these days.
fn litellm() -> Options {
    let mut options = Options::new(Version::V1_66);
    options.feedback_loop = false;
    options.num_retries = 3;
    options.fallbacks.insert("cheap".to_owned(), vec!["dear".to_owned()]);
    options
}

/// CPU time of this thread for each subject, from the scheduler's own books: the best of several rounds, since others use
/// the machine too. All subjects have their turn in every round, for a machine is not equally fast at all times.
fn nanos_per_request(family: &Family, seeds: u64) -> [f64; SUBJECTS.len()] {
    let mut best = [f64::INFINITY; SUBJECTS.len()];
    for _ in 0..ROUNDS {
        for (best, subject) in best.iter_mut().zip(SUBJECTS) {
            let before = cpu_nanos();
            let requests = drive(subject, family, seeds);
            *best = best.min((cpu_nanos() - before) as f64 / requests as f64);
        }
    }
    best
}

/// Nanoseconds that this thread has run; 0 where the system does not say.
fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

/// Instructions counted by callgrind, less those of a run without a seed: what starting the program costs. `None`
/// where valgrind is not installed.
fn instructions_per_request(subject: &str, family: &str, seeds: u64) -> Option<f64> {
    let count = |seeds: u64| {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(std::env::current_exe().ok()?)
            .args([subject, family, &seeds.to_string()])
            .output()
            .ok()?;
        let requests = String::from_utf8_lossy(&output.stdout).split_whitespace().next()?.parse::<f64>().ok()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = said.lines().find(|line| line.contains("Collected"))?;
        Some((line.split_whitespace().last()?.parse::<f64>().ok()?, requests))
    };
    let ((idle, _), (busy, requests)) = (count(0)?, count(seeds)?);
    Some((busy - idle) / requests)
}
