//! The command line: parse, run, exit code. Every subcommand has a file of its own and no logic but its wiring.

mod check;
mod clock;
mod demo;
mod failure;
mod import;
mod log;
mod mock;
mod outcome;
mod replay;
mod serve;
mod simulate;
mod status;
mod sweep;
mod whatif;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Rehearse your LLM key pool's worst day, then ship the same router.
///
/// Exit codes: 0 fine; 1 it failed while running; 2 bad usage or bad input; 99 something that the scenario says must
/// pass did not.
#[derive(Parser)]
#[command(name = "stormproof", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Simulate(simulate::Args),
    Sweep(sweep::Args),
    Check(check::Args),
    Import(import::Args),
    Mock(mock::Args),
    Replay(replay::Args),
    Log(log::Args),
    Serve(serve::Args),
    Status(status::Args),
    Order(status::OrderArgs),
}

fn main() -> ExitCode {
    let run = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Mock(args) => mock::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Order(args) => status::order(&args),
    };
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
