//! `stormproof sweep`: one scenario over the values of one or two settings.

use clap::Args as ClapArgs;
use stormproof_router::config::Errors;
use stormproof_simulator::scenario::{Plan, Scenario};

use crate::failure::Failure;
use crate::outcome::{Destination, deliver_sweep, progress, running};
use crate::simulate::Which;

/// Run a scenario over the values of one or two settings, on the same seeds everywhere
#[derive(ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// A setting of a router, of the world or of the configuration, and its values: `cooldown_time=0.5,5,60,2000`,
    /// `stormproof.trip.ratio=0.1,0.2`, `config.tiers.free-pro.limits.rpm=2,5,10`; once or twice
    #[arg(long = "vary", value_name = "SETTING=VALUES", required = true, num_args = 1)]
    vary: Vec<String>,
    #[command(flatten)]
    to: Destination,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.vary.len() > 2 {
        return Err(Failure::input(
            "error: --vary: one or two settings can be varied at once; run it again for the others",
        ));
    }
    let document = args.which.document()?;
    let plan = Plan::new(&document, &args.vary, |scenario: Scenario| args.which.narrow(scenario))?;
    let bar = progress(plan.len());
    let sweep = plan.run(&|| bar.inc(1)).map_err(running)?;
    bar.finish_and_clear();
    deliver_sweep(&sweep, &args.to)
}

impl From<Errors> for Failure {
    fn from(errors: Errors) -> Self {
        Self::input(errors)
    }
}
