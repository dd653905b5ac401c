//! `stormproof demo`: the incident in one command, from scenarios built into the binary.

use clap::Args as ClapArgs;
use stormproof_simulator::scenario;

use crate::failure::Failure;
use crate::outcome::{Destination, deliver};
use crate::simulate::study;

/// The scenario that the demo runs.
const SCENARIO: &str = "expected-rotation";

/// Rehearse the incident's evening: 21 free keys, 2 paid ones, and a model that is overloaded for a quarter of an hour
#[derive(ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    to: Destination,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let document = scenario::built_in(SCENARIO)
        .ok_or_else(|| Failure::Running(anyhow::anyhow!("the scenario `{SCENARIO}` is not built in")))?;
    let scenario = document.and_then(|document| document.scenario()).map_err(Failure::input)?;
    deliver(&study(&scenario)?, &args.to, None)
}
