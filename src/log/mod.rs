//! `stormproof log`: reading a recorded log.

mod cat;
mod explain;
mod stats;

use std::io::{self, Write as _};
use std::path::Path;

use clap::{Args as ClapArgs, Subcommand};
use stormproof_router::config::Zone;
use stormproof_router::log::{Place, ReadError, Reader, Torn};

use crate::failure::Failure;

/// Read a recorded log: its events, its numbers, and why a request ended as it did
#[derive(ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Cat(cat::Args),
    Stats(stats::Args),
    Explain(explain::Args),
}

/// How times are read and shown.
#[derive(ClapArgs)]
pub(crate) struct Clock {
    /// Time zone in which times are read and shown: `UTC`, `America/Los_Angeles`, or this machine's
    #[arg(long, value_name = "ZONE", default_value = "local")]
    pub(crate) zone: Zone,
}

/// Says on standard error what standard output does not show.
fn warn(text: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stderr(), "warning: {text}")?)
}

/// What stands at the end of a log that is no event.
fn torn(log: &Path) -> Result<Option<Torn>, ReadError> {
    let mut reader = Reader::at_checkpoint(log, Place::End)?;
    while reader.read()?.is_some() {}
    Ok(reader.torn().cloned())
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.what {
        What::Cat(args) => cat::run(args),
        What::Stats(args) => stats::run(args),
        What::Explain(args) => explain::run(args),
    }
}
