//! `stormproof log explain`: why a request ended as it did.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use stormproof_router::core::RequestId;
use stormproof_router::log::{Calendar, ExplainError, Reader, worst};
use stormproof_simulator::study::recorded::account;

use super::{Clock, torn};
use crate::failure::Failure;
use crate::outcome::print;

/// Tell the story of one request: every attempt, what was passed over and why, what came back and what that meant
///
/// The story is told by the router itself, which runs again from the checkpoint before the request. Where this build
/// is not the version that decided, the recorded reason codes are told, and that they are all there is.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The log: its folder, or one segment alone
    log: PathBuf,
    /// Number of the request; the `x-request-id` that its client was told, such as `sp-12`, will do
    #[arg(required_unless_present = "worst", value_parser = number)]
    request: Option<u64>,
    /// List so many requests worth reading instead: of every way in which requests went wrong the worst
    #[arg(long, value_name = "N", conflicts_with = "request", value_parser = clap::value_parser!(u16).range(1..))]
    worst: Option<u16>,
    #[command(flatten)]
    clock: Clock,
}

/// A request's number, as it is or as clients are told it.
fn number(text: &str) -> Result<u64, std::num::ParseIntError> {
    text.strip_prefix("sp-").unwrap_or(text).parse()
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if let Some(count) = args.worst {
        return list(args, count.into());
    }
    let request = RequestId::new(args.request.unwrap_or_default());
    match account(&args.log, request) {
        Ok(account) => print(&account.story(&args.clock.zone)),
        Err(ExplainError::Read(error)) => Err(error.into()),
        Err(error @ (ExplainError::NoSuchRequest { .. } | ExplainError::NoRequests)) => {
            let torn = torn(&args.log)?.map(|torn| format!("; what is missing may stand in {torn}"));
            Err(Failure::Input(format!("error: {}: {error}{}", args.log.display(), torn.unwrap_or_default())))
        }
    }
}

fn list(args: &Args, count: usize) -> Result<(), Failure> {
    let epoch = Reader::open(&args.log)?.header().epoch;
    let calendar = Calendar::new(epoch, args.clock.zone.time_zone());
    let found = worst(&args.log, count)?;
    let Some(first) = found.first() else {
        let torn = torn(&args.log)?.map(|torn| format!(" At its end stand {torn}."));
        return print(&format!("No request in this log has ended.{}", torn.unwrap_or_default()));
    };
    let mut text = String::new();
    for worst in &found {
        let _ = writeln!(text, "{}", worst.line(&calendar));
    }
    let _ = writeln!(text, "\nTheir stories: stormproof log explain {} {}", args.log.display(), first.request);
    print(&text)
}
