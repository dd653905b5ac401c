//! `stormproof simulate`: one scenario under several routers.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use stormproof_simulator::scenario::{self, Document, Scenario};
use stormproof_simulator::study::compare;
use stormproof_simulator::study::record::record_all;
use stormproof_simulator::study::summary::Summary;

use crate::failure::Failure;
use crate::outcome::{Destination, deliver, progress, running};

/// Run a scenario's day under several routers and report how each of them did
#[derive(ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    to: Destination,
    /// Also write what must pass as a JUnit file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Also put every run on record: one event log for each router and seed, in folders of this directory
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
}

/// Which scenario, and how much of it.
#[derive(ClapArgs)]
pub(crate) struct Which {
    #[command(flatten)]
    chosen: Chosen,
    /// Only this router of the scenario; may be given several times
    #[arg(long = "policy", value_name = "NAME")]
    policies: Vec<String>,
    /// Replications: seeds 1 to N, instead of the scenario's own number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) seeds: Option<u32>,
}

/// A scenario, possibly changed.
#[derive(ClapArgs)]
pub(crate) struct Chosen {
    /// A scenario file, or the name of one that is built in
    scenario: String,
    /// Change one setting of the scenario first, such as `world.latency.p50=5s` or `trip.ratio=0.3`; may be repeated
    #[arg(long = "set", value_name = "SETTING=VALUE")]
    changes: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let scenario = args.which.scenario()?;
    if let Some(directory) = &args.record {
        record(&scenario, directory)?;
    }
    let summary = study(&scenario)?;
    deliver(&summary, &args.to, args.junit.as_deref())
}

/// Runs the comparison of a scenario, with a progress bar.
pub(crate) fn study(scenario: &Scenario) -> Result<Summary, Failure> {
    let bar = progress(u64::from(scenario.seeds) * scenario.contenders.len() as u64);
    let summary = compare(&scenario.case, &scenario.contenders, scenario.seeds, &|| bar.inc(1)).map_err(running)?;
    bar.finish_and_clear();
    Ok(scenario.judge(summary))
}

/// Puts the comparison's runs on record, with a progress bar.
fn record(scenario: &Scenario, directory: &Path) -> Result<(), Failure> {
    let Scenario { case, contenders, seeds, .. } = scenario;
    let bar = progress(u64::from(*seeds) * contenders.len() as u64);
    record_all(case, contenders, *seeds, directory, &|| bar.inc(1))?;
    bar.finish_and_clear();
    Ok(())
}

impl Which {
    /// The scenario as asked for.
    pub(crate) fn scenario(&self) -> Result<Scenario, Failure> {
        self.narrow(self.document()?.scenario().map_err(Failure::input)?)
    }

    /// The scenario's document, with the changes asked for.
    pub(crate) fn document(&self) -> Result<Document, Failure> {
        self.chosen.document()
    }

    /// Only the routers and seeds asked for.
    pub(crate) fn narrow(&self, mut scenario: Scenario) -> Result<Scenario, Failure> {
        for policy in &self.policies {
            if !scenario.contenders.iter().any(|contender| contender.name == *policy) {
                let known: Vec<&str> = scenario.contenders.iter().map(|contender| contender.name.as_str()).collect();
                return Err(Failure::Input(format!(
                    "error: --policy {policy}: the scenario compares {}; name one of them",
                    known.join(", ")
                )));
            }
        }
        if !self.policies.is_empty() {
            scenario.contenders.retain(|contender| self.policies.contains(&contender.name));
            // What is said of a router that was left out can be neither right nor wrong.
            scenario
                .pass
                .retain(|expression| expression.routers().all(|router| self.policies.iter().any(|p| p == router)));
        }
        scenario.seeds = self.seeds.unwrap_or(scenario.seeds);
        Ok(scenario)
    }
}

impl Chosen {
    /// The scenario's document, with the changes asked for.
    pub(crate) fn document(&self) -> Result<Document, Failure> {
        let path = Path::new(&self.scenario);
        let document = match (path.exists(), scenario::built_in(&self.scenario)) {
            (false, Some(document)) => document,
            (false, None) if path.components().count() == 1 && path.extension().is_none() => {
                let known: Vec<&str> = scenario::built_in_names().collect();
                return Err(Failure::Input(format!(
                    "error: there is neither a file nor a built-in scenario `{}`; built in are {}",
                    self.scenario,
                    known.join(", ")
                )));
            }
            (_, _) => Document::open(path),
        };
        self.changes.iter().try_fold(document.map_err(Failure::input)?, |document, change| {
            let (setting, value) = change.split_once('=').ok_or_else(|| {
                Failure::Input(format!("error: --set {change}: write a setting and its value, as in `seeds=5`"))
            })?;
            document.with(setting, value).map_err(Failure::input)
        })
    }
}
