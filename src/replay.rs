//! `stormproof replay`: a recorded log, decided again.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde_json::json;
use stormproof_router::log::{Calendar, Difference, Exported, Header, Place, Reader, Report, Torn, VerifyError, When};
use stormproof_simulator::study::recorded::Verification;

use crate::failure::Failure;
use crate::log::Clock;
use crate::outcome::{Format, print, progress_bytes};
use crate::whatif::{self, Question};

/// Replay a recorded log: hand its inputs to a fresh router, and compare every decision and every state
///
/// Stops at the first difference, shows both sides with the events around it, and exits with 1. What another version of
/// a policy decided is read, and declared as not verifiable. With `--policy` or `--set` the day is not verified but asked
/// what would have happened under other settings.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The log: its folder, or one segment alone
    log: PathBuf,
    /// Begin at the last checkpoint at or before this place: `22:20:50`, `2025-04-18 22:20`, `10m` after the beginning,
    /// `#1200` (an event), or `end`
    #[arg(long, value_name = "WHEN")]
    from: Option<When>,
    #[command(flatten)]
    clock: Clock,
    /// What to print: sentences to read, or one JSON document and nothing else
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    question: Question,
}

/// Events from one look at the progress to the next.
const STRIDE: u64 = 1 << 16;

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.question.is_asked() {
        return whatif::run(&args.log, &args.question, args.format);
    }
    let first = Reader::open(&args.log)?.header().clone();
    let from = args.from.as_ref().map(|from| from.place(&first, &args.clock.zone));
    match verify(&args.log, from) {
        Ok((report, torn)) => {
            match args.format {
                Format::Table => print(&sentences(args, &first, &report, torn.as_ref()))?,
                Format::Json => print(&document(args, &first, Ok((&report, torn.as_ref()))))?,
            }
            if report.events == 0 {
                return Err(Failure::Input(format!("error: {}: it holds no event to verify", args.log.display())));
            }
            if report.decisions == 0 && !report.others.is_empty() { Err(not_verifiable(args, &report)) } else { Ok(()) }
        }
        Err(VerifyError::Different(difference)) => {
            if args.format == Format::Json {
                print(&document(args, &first, Err(&difference)))?;
            }
            Err(Failure::Running(anyhow::anyhow!("{}: {}", args.log.display(), difference.text(&args.clock.zone))))
        }
        Err(VerifyError::Read(error)) => Err(error.into()),
        Err(error @ (VerifyError::OtherPolicy { .. } | VerifyError::Restore { .. })) => {
            Err(Failure::Input(format!("error: {}: {error}", args.log.display())))
        }
    }
}

/// Verifies, with a progress bar over the log's bytes.
fn verify(log: &Path, from: Option<Place>) -> Result<(Report, Option<Torn>), VerifyError> {
    let mut verification = Verification::new(log, from)?;
    let bar = progress_bytes(verification.reader().progress()?.1);
    while verification.step(STRIDE)? {
        bar.set_position(verification.reader().progress()?.0);
    }
    bar.finish_and_clear();
    Ok((verification.report().clone(), verification.reader().torn().cloned()))
}

fn sentences(args: &Args, first: &Header, report: &Report, torn: Option<&Torn>) -> String {
    let Report { events, inputs, decisions, checkpoints, missing, unverified, others, end } = report;
    let calendar = Calendar::new(first.epoch, args.clock.zone.time_zone());
    let mut text = format!(
        "{}: {events} events of {}, seed {}, up to {} {} ({})\n\
         {inputs} inputs were handed in again; {decisions} decisions and {checkpoints} checkpoints came out as recorded.",
        args.log.display(),
        first.policy,
        first.seed,
        calendar.day(*end),
        calendar.time(*end),
        args.clock.zone,
    );
    if *missing > 0 {
        text.push_str(&format!("\n{missing} events are missing: the storage was full, as the log itself says."));
    }
    if let Some(torn) = torn {
        text.push_str(&format!("\nAfter them stand {torn}."));
    }
    if *unverified > 0 {
        let why = if others.is_empty() {
            "the log begins before its first checkpoint with nothing to compare with".to_owned()
        } else {
            let others: Vec<&str> = others.iter().map(String::as_str).collect();
            format!("they were decided by {}, which this build is not", others.join(" and "))
        };
        text.push_str(&format!("\n{unverified} events were read and not verified: {why}."));
    }
    text
}

fn document(args: &Args, first: &Header, result: Result<(&Report, Option<&Torn>), &Difference>) -> String {
    let mut document = json!({
        "log": args.log.display().to_string(),
        "policy": first.policy,
        "seed": first.seed,
        "same": result.is_ok(),
    });
    let details = match result {
        Ok((report, torn)) => json!({
            "torn_bytes": torn.map_or(0, |torn| torn.bytes),
            "events": report.events,
            "inputs": report.inputs,
            "decisions": report.decisions,
            "checkpoints": report.checkpoints,
            "missing": report.missing,
            "unverified": report.unverified,
            "other_policies": report.others,
        }),
        Err(difference) => {
            let Exported { recorded, replayed, around } = difference.exported();
            json!({
                "sequence": difference.sequence,
                "at_s": difference.at.as_secs_f64(),
                "difference": difference.to_string(),
                "recorded": recorded,
                "replayed": replayed,
                "around": around,
            })
        }
    };
    if let (Some(document), Some(details)) = (document.as_object_mut(), details.as_object()) {
        document.extend(details.clone());
    }
    format!("{document:#}")
}

fn not_verifiable(args: &Args, report: &Report) -> Failure {
    let others: Vec<&str> = report.others.iter().map(String::as_str).collect();
    Failure::Input(format!(
        "error: {} was decided by {}, which this build is not: it can be read with `stormproof log`, but not verified; \
         take the build that wrote it",
        args.log.display(),
        others.join(" and ")
    ))
}
