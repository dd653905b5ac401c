//! `stormproof replay LOG --policy FILE`: what would have happened; `--to-scenario FILE`: the recorded day as a scenario.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args as ClapArgs;
use stormproof_reports as reports;
use stormproof_router::config::{Config, Node};
use stormproof_router::core::Settings;
use stormproof_simulator::scenario::{self, Document};
use stormproof_simulator::study::{Contender, Policy};
use stormproof_simulator::whatif::{AskError, EvidenceError, RecordedDay};

use crate::failure::Failure;
use crate::outcome::{Format, print, progress, running, terminal, write};

/// A question to a recorded day, instead of a verification.
#[derive(ClapArgs)]
#[command(next_help_heading = "What would have happened")]
pub(crate) struct Question {
    /// Ask what would have happened under this file's settings: a configuration, or a scenario with the routers that it
    /// compares (its world and clients do not count; those of the log do)
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    policy: Option<PathBuf>,
    /// Only this router of the scenario; may be given several times
    #[arg(long, value_name = "NAME", requires = "policy")]
    only: Vec<String>,
    /// Change one setting first, such as `trip.ratio=0.3`: of the file, or without one of the recorded settings; may be
    /// repeated
    #[arg(long = "set", value_name = "SETTING=VALUE", conflicts_with = "from")]
    changes: Vec<String>,
    /// Guesses at what the log does not tell; with fewer than 39 the intervals are wider than they need be
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    seeds: u32,
    /// Write the recorded day as a scenario, with its arrivals in a CSV file beside it
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    to_scenario: Option<PathBuf>,
}

impl Question {
    /// Whether there is anything to ask.
    pub(crate) fn is_asked(&self) -> bool {
        self.policy.is_some() || !self.changes.is_empty() || self.to_scenario.is_some()
    }
}

pub(crate) fn run(log: &Path, question: &Question, format: Format) -> Result<(), Failure> {
    let day = RecordedDay::read(log).map_err(|error| match error {
        EvidenceError::Read(error) => error.into(),
        EvidenceError::Silent { .. } => Failure::Input(format!("error: {error}")),
    })?;
    if let Some(path) = &question.to_scenario {
        write_scenario(&day, path, format)?;
    }
    let contenders = match &question.policy {
        Some(path) => from_file(&day, path, question)?,
        None if question.changes.is_empty() => return Ok(()),
        None => vec![changed(&day, &question.changes)?],
    };
    let bar = progress(u64::from(question.seeds) * (contenders.len() as u64 + 1));
    let findings = day.ask(&contenders, question.seeds, &|| bar.inc(1)).map_err(|error| match error {
        AskError::NoModel { .. } => Failure::Input(format!("error: {error}")),
        AskError::Study(error) => running(error),
    })?;
    bar.finish_and_clear();
    print(&match format {
        Format::Table => reports::whatif::table(&findings, terminal()),
        Format::Json => reports::whatif::json(&findings).map_err(running)?,
    })
}

/// The routers that a file tells of.
fn from_file(day: &RecordedDay, path: &Path, question: &Question) -> Result<Vec<Contender>, Failure> {
    let origin = path.display().to_string();
    let document = match (path.exists(), scenario::built_in(&origin)) {
        (false, Some(document)) => document.map_err(Failure::input)?,
        (_, _) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::Input(format!("{origin}: the file cannot be read: {error}")))?;
            let node = Node::parse(&text, &origin.as_str().into()).map_err(Failure::input)?;
            if node.entry("compare").is_none() && node.entry("config").is_none() {
                return Ok(vec![configured(day, &text, &origin, &question.changes)?]);
            }
            Document::open(path).map_err(Failure::input)?
        }
    };
    let change = |document: Document, change: &String| {
        let (setting, value) = parts(change)?;
        document.with(setting, value).map_err(Failure::input)
    };
    let document = question.changes.iter().try_fold(document, change)?;
    let mut contenders = document.scenario().map_err(Failure::input)?.contenders;
    for name in &question.only {
        if !contenders.iter().any(|contender| contender.name == *name) {
            let known: Vec<&str> = contenders.iter().map(|contender| contender.name.as_str()).collect();
            let known = known.join(", ");
            return Err(Failure::Input(format!("error: --only {name}: {origin} compares {known}; name one of them")));
        }
    }
    contenders.retain(|contender| question.only.is_empty() || question.only.contains(&contender.name));
    Ok(contenders)
}

/// Our router under a configuration.
fn configured(day: &RecordedDay, text: &str, origin: &str, changes: &[String]) -> Result<Contender, Failure> {
    let config = Config::parse(text, origin).map_err(Failure::input)?;
    let settings = config.rehearse(day.epoch()).map_err(Failure::input)?;
    Ok(Contender { name: "stormproof".to_owned(), policy: Policy::Stormproof(set(settings, changes)?) })
}

/// Our router under the recorded settings, with some of its knobs changed.
fn changed(day: &RecordedDay, changes: &[String]) -> Result<Contender, Failure> {
    match day.policy() {
        Policy::Stormproof(settings) => {
            let policy = Policy::Stormproof(set(Settings::clone(&settings), changes)?);
            Ok(Contender { name: changes.join(" "), policy })
        }
        Policy::LiteLlm { .. } => Err(Failure::input(
            "error: --set: the log is LiteLLM's, which has none of our knobs; name a file with --policy to ask about",
        )),
    }
}

fn set(mut settings: Settings, changes: &[String]) -> Result<Arc<Settings>, Failure> {
    for change in changes {
        let (knob, value) = parts(change)?;
        settings.knobs.set(knob, value).map_err(|error| Failure::Input(format!("error: --set {change}: {error}")))?;
    }
    Ok(Arc::new(settings))
}

fn parts(change: &str) -> Result<(&str, &str), Failure> {
    change.split_once('=').ok_or_else(|| {
        Failure::Input(format!("error: --set {change}: write a setting and its value, as in `trip.ratio=0.3`"))
    })
}

/// Writes the scenario and, beside it, the arrivals that it names.
fn write_scenario(day: &RecordedDay, path: &Path, format: Format) -> Result<(), Failure> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("day");
    let written = day.scenario(stem);
    for (name, text) in &written.traces {
        write(&path.with_file_name(name), text)?;
    }
    write(path, &written.text)?;
    match format {
        Format::Table => print(&format!("The recorded day as a scenario: {}\n", path.display())),
        Format::Json => Ok(()),
    }
}
