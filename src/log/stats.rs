//! `stormproof log stats`: a log in numbers.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::json;
use stormproof_router::log::{Calendar, Header, Reader, Stats};

use super::Clock;
use crate::failure::Failure;
use crate::outcome::{Format, print};

/// Say in numbers what a log holds: requests and how they ended, attempts, money, size
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The log: its folder, or one segment alone
    log: PathBuf,
    #[command(flatten)]
    clock: Clock,
    /// What to print: lines to read, or one JSON document and nothing else
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let header = Reader::open(&args.log)?.header().clone();
    let stats = Stats::of(&args.log)?;
    match args.format {
        Format::Table => print(&lines(args, &header, &stats)),
        Format::Json => print(&document(args, &header, &stats)),
    }
}

fn lines(args: &Args, header: &Header, stats: &Stats) -> String {
    let calendar = Calendar::new(header.epoch, args.clock.zone.time_zone());
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    line("policy", format!("{}, seed {}", header.policy, header.seed));
    if let Some((from, to)) = stats.span {
        let moment = |at| format!("{} {}", calendar.day(at), calendar.time(at));
        line("time", format!("{} to {} ({})", moment(from), moment(to), args.clock.zone));
    }
    line("requests", format!("{}: {}", stats.requests, counts(&stats.outcomes)));
    line("statuses", counts(&stats.statuses));
    line("attempts", format!("{}: {}", stats.attempts.values().sum::<u64>(), counts(&stats.attempts)));
    line("spend", stats.spend.to_string());
    line("events", format!("{}: {}", stats.events(), counts(&stats.kinds)));
    let segments = if stats.segments == 1 { "1 segment".to_owned() } else { format!("{} segments", stats.segments) };
    let each =
        if stats.events() == 0 { String::new() } else { format!(", {:.1} bytes an event", stats.bytes_per_event()) };
    line("size", format!("{} bytes in {segments}{each}", stats.bytes));
    if stats.missing > 0 {
        line("missing", format!("{} events that the storage did not take", stats.missing));
    }
    if let Some(torn) = &stats.torn {
        line("torn", torn.to_string());
    }
    text
}

/// `200 x 17, 503 x 4`, the most frequent first.
fn counts<K: ToString>(counts: &std::collections::BTreeMap<K, u64>) -> String {
    let mut named: Vec<(String, u64)> = counts.iter().map(|(name, count)| (name.to_string(), *count)).collect();
    named.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let parts: Vec<String> = named.iter().map(|(name, count)| format!("{name} x {count}")).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

fn document(args: &Args, header: &Header, stats: &Stats) -> String {
    let named = |counts: Vec<(String, u64)>| counts.into_iter().collect::<std::collections::BTreeMap<_, _>>();
    let kinds = stats.kinds.iter().map(|(kind, count)| (kind.name().to_owned(), *count)).collect();
    let statuses = stats.statuses.iter().map(|(status, count)| (status.to_string(), *count)).collect();
    let document = json!({
        "log": args.log.display().to_string(),
        "policy": header.policy,
        "seed": header.seed,
        "epoch_ns": header.epoch.as_nanos(),
        "from_s": stats.span.map(|(from, _)| from.as_secs_f64()),
        "to_s": stats.span.map(|(_, to)| to.as_secs_f64()),
        "requests": stats.requests,
        "outcomes": stats.outcomes,
        "statuses": named(statuses),
        "attempts": stats.attempts,
        "spend_usd": stats.spend.as_f64(),
        "events": stats.events(),
        "kinds": named(kinds),
        "segments": stats.segments,
        "bytes": stats.bytes,
        "bytes_per_event": stats.bytes_per_event(),
        "missing": stats.missing,
        "torn_bytes": stats.torn.as_ref().map_or(0, |torn| torn.bytes),
    });
    format!("{document:#}")
}
