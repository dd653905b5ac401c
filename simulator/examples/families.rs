//! The reference families under our router and LiteLLM, one line each.
//!
//! ```text
//! cargo run --release -p stormproof-simulator --example families -- c seeds=100 trip.ratio=0.2
//! cargo run --release -p stormproof-simulator --example families -- all seeds=1000 litellm=on
//! ```
//!
//! The first argument is a family's letter, several of them (`bc`) or `all`; the rest are `seeds=N`, `litellm=on`, and
//! knobs of our router.

use std::process::ExitCode;
use std::sync::Arc;

use stormproof_router::core::{Duration, Settings};
use stormproof_simulator::baselines::litellm::{Options, Seconds, Version};
use stormproof_simulator::study::families::{FAMILIES, Family};
use stormproof_simulator::study::{Case, Contender, Policy, replicate};

struct Arguments {
    families: Vec<Family>,
    seeds: u32,
    litellm: bool,
    knobs: Vec<(String, String)>,
}

#[expect(clippy::print_stderr, reason = "an example talks to its terminal")]
fn main() -> ExitCode {
    match arguments().and_then(|arguments| print_families(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments { families: Vec::new(), seeds: 30, litellm: false, knobs: Vec::new() };
    let mut given = std::env::args().skip(1);
    let names = given.next().ok_or("usage: families LETTERS|all [seeds=N] [litellm=on] [KNOB=VALUE]...")?;
    arguments.families = FAMILIES.into_iter().filter(|family| names == "all" || names.contains(family.name)).collect();
    for argument in given {
        let (name, value) = argument.split_once('=').ok_or(format!("`{argument}` is not NAME=VALUE"))?;
        match name {
            "seeds" => arguments.seeds = value.parse().map_err(|error| format!("seeds={value}: {error}"))?,
            "litellm" => arguments.litellm = value == "on",
            knob => arguments.knobs.push((knob.to_owned(), value.to_owned())),
        }
    }
    Ok(arguments)
}

#[expect(clippy::print_stdout, reason = "an example talks to its terminal")]
fn print_families(arguments: &Arguments) -> Result<(), String> {
    println!(
        "{:<9} {:<18} {:>8} {:>16} {:>9} {:>6} {:>8} {:>8} {:>7} {:>7} {:>8} {:>8}  failures",
        "family", "policy", "success", "spend", "+-", "att", "own 429", "503", "p50 s", "p99 s", "gap s", "recov s"
    );
    for family in &arguments.families {
        let case = family.case();
        for contender in contenders(&case, arguments)? {
            let (run, _) =
                replicate(&case, &contender, arguments.seeds, false, &|| {}).map_err(|error| error.to_string())?;
            let status = |status: &str| run.upstream_statuses.get(status).copied().unwrap_or(0.0);
            let half = (run.fallback_spend_usd_ci95[1] - run.fallback_spend_usd_ci95[0]) / 2.0;
            println!(
                "{:<9} {:<18} {:>8.3} {:>16.0} {:>9.0} {:>6.3} {:>8.2} {:>8.0} {:>7.1} {:>7.1} {:>8.1} {:>8.1}  {:.2?}",
                case.name,
                run.policy,
                100.0 * run.success_rate,
                run.fallback_spend_usd,
                half,
                run.attempts_per_turn,
                status("429"),
                status("503"),
                run.latency_ms.p50 as f64 / 1e3,
                run.latency_ms.p99 as f64 / 1e3,
                run.longest_gap_s,
                run.recovery_s,
                run.failures,
            );
        }
    }
    Ok(())
}

fn contenders(case: &Case, arguments: &Arguments) -> Result<Vec<Contender>, String> {
    let mut settings = Settings::clone(&case.settings);
    for (knob, value) in &arguments.knobs {
        settings.knobs.set(knob, value).map_err(|error| error.to_string())?;
    }
    let ours = Contender { name: "stormproof".to_owned(), policy: Policy::Stormproof(Arc::new(settings)) };
    let mut all = vec![ours];
    if arguments.litellm {
        for (name, version) in [("1.66", Version::V1_66), ("1.109", Version::V1_109)] {
            for cooldown in [2000, 60, 5] {
                let mut options = Options::new(version);
                options.cooldown_time = Seconds(Duration::from_secs(cooldown));
                options.num_retries = 3;
                options.feedback_loop = false;
                options.fallbacks.insert("cheap".to_owned(), vec!["dear".to_owned()]);
                let settings = Arc::clone(&case.settings);
                let policy = Policy::LiteLlm { settings, options: Arc::new(options) };
                all.push(Contender { name: format!("litellm-{name} {cooldown} s"), policy });
            }
        }
    }
    Ok(all)
}
