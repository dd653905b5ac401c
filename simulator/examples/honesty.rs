//! How far recorded days are to be trusted when they are asked what would have happened: days whose truth is known,
//! recorded under one policy, asked about others, and held against those policies on the very same days.
//!
//! ```text
//! cargo run --release -p stormproof-simulator --example honesty -- days=50
//! cargo run --release -p stormproof-simulator --example honesty -- days=5 families=g seeds=40 verbose
//! ```
//!
//! The model reads logs alone. An error is a mean over days of the absolute difference between the mean guess and the
//! truth; coverage is the share of days on which the truth lies in the stated 95 % interval. `told` is the share of days
//! on which the answer takes its mean for a forecast, with the errors on those; on the others it says that the log does
//! not tell.

use std::process::ExitCode;
use std::sync::Arc;

use rayon::prelude::*;
use stormproof_router::core::{Duration, Settings};
use stormproof_simulator::baselines::litellm::{Options, Seconds, Version};
use stormproof_simulator::study::families::{Family, family};
use stormproof_simulator::study::record::{folder, record};
use stormproof_simulator::study::{Case, Contender, Policy, simulate};
use stormproof_simulator::whatif::{Estimate, Estimates, Figures, RecordedDay};

struct Arguments {
    days: u64,
    seeds: u32,
    families: Vec<Family>,
    /// Only questions about policies with this in their name.
    about: String,
    verbose: bool,
}

/// One question to recordings of one kind.
struct Question {
    recorded: Contender,
    asked: Vec<Contender>,
}

#[expect(clippy::print_stderr, reason = "an example talks to its terminal")]
fn main() -> ExitCode {
    match arguments().and_then(|arguments| study(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Result<Arguments, String> {
    let known = |letters: &str| -> Result<Vec<Family>, String> {
        letters
            .split("")
            .filter(|letter| !letter.is_empty())
            .map(|letter| family(letter).ok_or(format!("no family {letter}")))
            .collect()
    };
    let mut arguments =
        Arguments { days: 50, seeds: 40, families: known("cgi")?, about: String::new(), verbose: false };
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("days", value)) => arguments.days = value.parse().map_err(|error| format!("{argument}: {error}"))?,
            Some(("seeds", value)) => {
                arguments.seeds = value.parse().map_err(|error| format!("{argument}: {error}"))?
            }
            Some(("families", value)) => arguments.families = known(value)?,
            Some(("about", value)) => value.clone_into(&mut arguments.about),
            None if argument == "verbose" => arguments.verbose = true,
            Some(_) | None => {
                return Err(format!("`{argument}` is not days=N, seeds=N, families=LETTERS, about=POLICY or verbose"));
            }
        }
    }
    Ok(arguments)
}

/// The questions: our router about itself with other knobs and about the newer LiteLLM; the older LiteLLM, whose long
/// cooldowns leave most of the day in the dark, about our router.
fn questions(case: &Case) -> Result<Vec<Question>, String> {
    let ours = |name: &str, knobs: &[(&str, &str)]| {
        let mut settings = Settings::clone(&case.settings);
        for (knob, value) in knobs {
            settings.knobs.set(knob, value).map_err(|error| error.to_string())?;
        }
        Ok::<_, String>(Contender { name: name.to_owned(), policy: Policy::Stormproof(Arc::new(settings)) })
    };
    let litellm = |name: &str, version, cooldown| {
        let mut options = Options::new(version);
        options.cooldown_time = Seconds(Duration::from_secs(cooldown));
        options.num_retries = 3;
        options.feedback_loop = false;
        options.fallbacks.insert("cheap".to_owned(), vec!["dear".to_owned()]);
        let policy = Policy::LiteLlm { settings: Arc::clone(&case.settings), options: Arc::new(options) };
        Contender { name: name.to_owned(), policy }
    };
    Ok(vec![
        Question {
            recorded: ours("stormproof", &[])?,
            asked: vec![
                ours("degraded.share=0.5", &[("degraded.share", "0.5")])?,
                ours("trip.ratio=0.4", &[("trip.ratio", "0.4")])?,
                ours("queue.patience=60s", &[("queue.patience", "60s"), ("queue.patience_degraded", "10s")])?,
                ours("retry.max_attempts=4", &[("retry.max_attempts", "4")])?,
                ours("spill.predict=off", &[("spill.predict", "off")])?,
                litellm("litellm-1.109 5 s", Version::V1_109, 5),
                litellm("litellm-1.109 60 s", Version::V1_109, 60),
                litellm("litellm-1.109 2000 s", Version::V1_109, 2000),
            ],
        },
        Question {
            recorded: litellm("litellm-1.66 2000 s", Version::V1_66, 2000),
            asked: vec![ours("stormproof", &[])?],
        },
    ])
}

/// One day's answer beside its truth.
#[derive(Clone)]
struct Day {
    day: u64,
    truth: Figures,
    said: Estimates,
    reused: f64,
    /// Calls that went where the log saw nothing.
    unlit: f64,
    is_told: bool,
    dark: Vec<f64>,
    /// Error of success and relative error of spend when the model alone makes the recorded day again.
    calibration: (f64, f64),
}

#[expect(clippy::print_stdout, reason = "an example talks to its terminal")]
fn study(arguments: &Arguments) -> Result<(), String> {
    println!(
        "{:<7}{:<20}{:<21}{:>8} {:>8} {:>7} {:>9} {:>7} | {:>6} {:>6} {:>6} {:>6} | {:>6} {:>8} {:>6} | {:>6} {:>6} {:>10} {:>13}",
        "family",
        "recorded under",
        "asked about",
        "success",
        "error",
        "bias",
        "spend",
        "error",
        "success",
        "spend",
        "calls",
        "p99",
        "told",
        "success",
        "spend",
        "reused",
        "unlit",
        "dark",
        "model alone"
    );
    for family in &arguments.families {
        let case = family.case();
        for mut question in questions(&case)? {
            question.asked.retain(|asked| asked.name.contains(&arguments.about));
            let asked = question.asked.len();
            if asked == 0 {
                continue;
            }
            let days: Vec<Vec<Day>> = (1..=arguments.days)
                .into_par_iter()
                .map(|day| ask(&case, &question, day, arguments.seeds))
                .collect::<Result<_, String>>()?;
            for index in 0..asked {
                let all: Vec<Day> = days.iter().map(|day| day[index].clone()).collect();
                print(family.name, &question.recorded.name, &question.asked[index].name, &all);
                if arguments.verbose {
                    all.iter().for_each(print_day);
                }
            }
        }
    }
    Ok(())
}

fn ask(case: &Case, question: &Question, day: u64, seeds: u32) -> Result<Vec<Day>, String> {
    let parent = tempfile::tempdir().map_err(|error| error.to_string())?;
    record(case, &question.recorded, day, parent.path()).map_err(|error| error.to_string())?;
    let log = folder(parent.path(), &question.recorded.name, day);
    let recorded = RecordedDay::read(&log).map_err(|error| error.to_string())?;
    let found = recorded.ask(&question.asked, seeds, &|| {}).map_err(|error| error.to_string())?;
    let answers = question.asked.iter().zip(found.answers).map(|(asked, answer)| Day {
        day,
        truth: Figures::of(&simulate(case, &asked.policy, day, &mut ()).0),
        said: answer.estimates,
        reused: answer.reused_share,
        unlit: answer.dark_share,
        is_told: answer.is_told,
        dark: found.dark.iter().map(|dark| dark.share).collect(),
        calibration: (found.calibration.success_error, found.calibration.spend_error.unwrap_or(0.0)),
    });
    Ok(answers.collect())
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
    if count > 0.0 { sum / count } else { 0.0 }
}

#[expect(clippy::print_stdout, reason = "an example talks to its terminal")]
fn print(family: &str, recorded: &str, asked: &str, days: &[Day]) {
    let covered = |said: fn(&Estimates) -> Estimate, truth: fn(&Figures) -> f64| {
        100.0 * mean(days.iter().map(|day| f64::from(u8::from(said(&day.said).covers(truth(&day.truth))))))
    };
    let success_error = |day: &Day| day.said.success_rate.mean - day.truth.success_rate;
    let spend = |days: &[&Day]| mean(days.iter().map(|day| day.truth.fallback_spend_usd)).max(1.0);
    let spend_error = |day: &Day| (day.said.fallback_spend_usd.mean - day.truth.fallback_spend_usd).abs();
    let all: Vec<&Day> = days.iter().collect();
    let told: Vec<&Day> = days.iter().filter(|day| day.is_told).collect();
    let dark =
        (0..days[0].dark.len()).map(|index| format!("{:.0}", 100.0 * mean(days.iter().map(|day| day.dark[index]))));
    println!(
        "{family:<7}{recorded:<20}{asked:<21}{:>7.2}% {:>7.3}p {:>+6.2}p {:>9.0} {:>6.1}% | {:>6.0}% {:>5.0}% {:>5.0}% {:>5.0}% | {:>5.0}% {:>7.3}p {:>5.1}% | {:>5.0}% {:>5.0}% {:>9}% {:>5.2}p {:>5.1}%",
        100.0 * mean(days.iter().map(|day| day.truth.success_rate)),
        100.0 * mean(days.iter().map(|day| success_error(day).abs())),
        100.0 * mean(days.iter().map(success_error)),
        spend(&all),
        100.0 * mean(days.iter().map(spend_error)) / spend(&all),
        covered(|said| said.success_rate, |truth| truth.success_rate),
        covered(|said| said.fallback_spend_usd, |truth| truth.fallback_spend_usd),
        covered(|said| said.upstream_attempts, |truth| truth.upstream_attempts as f64),
        covered(|said| said.p99_ms, |truth| truth.p99_ms as f64),
        100.0 * told.len() as f64 / days.len().max(1) as f64,
        100.0 * mean(told.iter().map(|day| success_error(day).abs())),
        100.0 * mean(told.iter().map(|day| spend_error(day))) / spend(&told),
        100.0 * mean(days.iter().map(|day| day.reused)),
        100.0 * mean(days.iter().map(|day| day.unlit)),
        dark.collect::<Vec<_>>().join("/"),
        100.0 * mean(days.iter().map(|day| day.calibration.0.abs())),
        100.0 * mean(days.iter().map(|day| day.calibration.1.abs())),
    );
}

#[expect(clippy::print_stdout, reason = "an example talks to its terminal")]
fn print_day(day: &Day) {
    let show = |estimate: Estimate| {
        format!("{:.4} [{:.4}, {:.4}]", estimate.mean, estimate.interval95[0], estimate.interval95[1])
    };
    println!(
        "  day {:>3}: success {:.4} said {}; spend {:.0} said {}; calls {} said {}; p99 {} said {}",
        day.day,
        day.truth.success_rate,
        show(day.said.success_rate),
        day.truth.fallback_spend_usd,
        show(day.said.fallback_spend_usd),
        day.truth.upstream_attempts,
        show(day.said.upstream_attempts),
        day.truth.p99_ms,
        show(day.said.p99_ms),
    );
}
