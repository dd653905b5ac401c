//! `stormproof log cat`: events as JSON Lines.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Args as ClapArgs;
use stormproof_router::core::{RequestId, Settings, TurnId};
use stormproof_router::log::{Export, Filter, Kind, Reader, Subjects, When};

use super::{Clock, warn};
use crate::failure::Failure;

/// Print events as JSON Lines, with names instead of numbers
///
/// Filters are joined by "and". Every line has `sequence`, `time` (UTC), `at` (seconds since the log's epoch) and `kind`;
/// then what the event is about, and what it says.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The log: its folder, or one segment alone
    log: PathBuf,
    /// Not before this: `22:20:50`, `2025-04-18 22:20`, `10m` after the beginning, `#1200` (an event), or `end` (the
    /// last checkpoint)
    #[arg(long, value_name = "WHEN")]
    from: Option<When>,
    /// Before this
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// About this request
    #[arg(long, value_name = "NUMBER")]
    request: Option<u64>,
    /// About this turn: one intention, with all its client calls
    #[arg(long, value_name = "NUMBER")]
    turn: Option<u64>,
    /// About an attempt with this key, by its name
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// About a request for this model, as clients call it
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Of this kind, such as `dispatch` or `close`; may be given several times
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<Kind>,
    /// Go on as the log grows
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    clock: Clock,
}

/// How often a log that is followed is looked at.
const INTERVAL: Duration = Duration::from_millis(200);

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut reader = Reader::open(&args.log)?;
    let filter = filter(args, &reader);
    if let Some(from) = filter.from {
        reader = Reader::at_checkpoint(&args.log, from.with_lead())?;
    }
    let export = Export::new(reader.header().epoch);
    let mut subjects = Subjects::new(Arc::clone(reader.settings()));
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut shown = 0u64;
    loop {
        match reader.read()? {
            Some(event) => {
                if filter.is_over(&event) {
                    break;
                }
                let subject = subjects.follow(&event);
                if filter.takes(&event, subject, subjects.settings()) {
                    writeln!(out, "{}", export.line(&event, subject, subjects.settings()))?;
                    shown += 1;
                }
            }
            None if args.follow => {
                out.flush()?;
                wait();
            }
            None => break,
        }
    }
    out.flush()?;
    if let Some(torn) = reader.torn() {
        warn(&format!("after these events: {torn}"))?;
    }
    if shown == 0 { known(args, subjects.settings()) } else { Ok(()) }
}

fn filter(args: &Args, reader: &Reader) -> Filter {
    let place = |when: &When| when.place(reader.header(), &args.clock.zone);
    Filter {
        from: args.from.as_ref().map(place),
        until: args.until.as_ref().map(place),
        request: args.request.map(RequestId::new),
        turn: args.turn.map(TurnId::new),
        key: args.key.clone(),
        model: args.model.clone(),
        kinds: args.kinds.clone(),
    }
}

/// Nothing was shown: perhaps for a name that nobody has.
fn known(args: &Args, settings: &Settings) -> Result<(), Failure> {
    let keys: Vec<&str> = settings.keys.iter().map(|key| key.name.as_str()).collect();
    let models: Vec<&str> = settings.models.iter().map(|model| model.name.as_str()).collect();
    for (option, name, names) in [("key", &args.key, keys), ("model", &args.model, models)] {
        if let Some(name) = name.as_ref().filter(|name| !names.contains(&name.as_str())) {
            return Err(Failure::Input(format!(
                "error: --{option} {name}: the log knows no such {option}; it has {}",
                names.join(", ")
            )));
        }
    }
    Ok(())
}

fn wait() {
    #[expect(clippy::disallowed_methods, reason = "somebody else's log grows when it grows")]
    thread::sleep(INTERVAL);
}
