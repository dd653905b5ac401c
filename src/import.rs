//! `stormproof import`: days that really happened, as scenarios.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use stormproof_simulator::import::{LiteLlmLog, Pool};

use crate::failure::Failure;
use crate::outcome::{print, write};

/// Turn what a real outage left behind into a scenario
#[derive(ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    LitellmLog(LitellmLog),
}

/// Read a LiteLLM proxy's log, however it was copied, and print the scenario it tells of
///
/// The log may have prose around it, wrapped lines, several copies of one error and a truncated end. What it cannot
/// tell is assumed, and stands under `assumed` in the scenario.
#[derive(ClapArgs)]
struct LitellmLog {
    /// The log
    file: PathBuf,
    /// Keys that the log does not know of: a model and how many keys serve it, such as `gemini-2.5-pro=21`
    #[arg(long = "pool", value_name = "MODEL=KEYS")]
    pools: Vec<Pool>,
    /// Write the scenario into this file instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let What::LitellmLog(log) = &args.what;
    let scenario = read(&log.file)?.scenario(&log.pools);
    match &log.out {
        Some(path) => write(path, &scenario),
        None => print(&scenario),
    }
}

fn read(path: &Path) -> Result<LiteLlmLog, Failure> {
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::Input(format!("{}: the file cannot be read: {error}", path.display())))?;
    // A log may hold anything; what is not UTF-8 is not what we look for.
    LiteLlmLog::read(&String::from_utf8_lossy(&bytes))
        .map_err(|error| Failure::Input(format!("{}: {error}", path.display())))
}
