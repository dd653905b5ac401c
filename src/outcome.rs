//! What every study ends with: its report on the terminal and in files, and the exit code it earns.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use stormproof_reports::{self as reports, Terminal};
use stormproof_simulator::study::summary::{Summary, Sweep};

use crate::failure::Failure;

/// Where the result goes.
#[derive(Args)]
pub(crate) struct Destination {
    /// What to print: a table to read, or one JSON document and nothing else
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Also write the report into this directory: one HTML page, JSON, and SVG pictures
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// What to print.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Prints and writes a comparison; fails when something that must pass did not.
pub(crate) fn deliver(summary: &Summary, to: &Destination, junit: Option<&Path>) -> Result<(), Failure> {
    let text = match to.format {
        Format::Table => reports::table(summary, terminal()),
        Format::Json => reports::json(summary).map_err(running)?,
    };
    print(&text)?;
    if let Some(directory) = &to.out {
        said(to.format, &reports::write_directory(summary, directory).map_err(running)?)?;
    }
    if let Some(path) = junit {
        write(path, &reports::junit(summary).map_err(running)?)?;
    }
    if summary.passed() { Ok(()) } else { Err(Failure::NotPassed) }
}

/// Prints and writes a sweep.
pub(crate) fn deliver_sweep(sweep: &Sweep, to: &Destination) -> Result<(), Failure> {
    let text = match to.format {
        Format::Table => reports::sweep::table(sweep, terminal()),
        Format::Json => reports::sweep::json(sweep).map_err(running)?,
    };
    print(&text)?;
    if let Some(directory) = &to.out {
        said(to.format, &reports::sweep::write_directory(sweep, directory).map_err(running)?)?;
    }
    Ok(())
}

/// A bar over so many runs on standard error, where that is a terminal.
pub(crate) fn progress(runs: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} runs, {eta} left")
        .unwrap_or_else(|_wrong_template| ProgressStyle::default_bar());
    // Drawn on standard error only, and only where that is a terminal.
    ProgressBar::new(runs).with_style(style)
}

/// A bar over so many bytes on standard error, where that is a terminal.
pub(crate) fn progress_bytes(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left")
        .unwrap_or_else(|_wrong_template| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style)
}

/// Prints `text` and a line's end to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end())?;
    Ok(out.flush()?)
}

/// Writes a file, and names it when that fails.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|error| Failure::Running(anyhow::anyhow!("cannot write {}: {error}", path.display())))
}

/// Something that went wrong although the input was right.
pub(crate) fn running(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Running(error.into())
}

fn said(format: Format, written: &[PathBuf]) -> Result<(), Failure> {
    match (format, written.first()) {
        (Format::Table, Some(report)) => print(&format!("\nThe report with its pictures: {}", report.display())),
        (Format::Table, None) | (Format::Json, _) => Ok(()),
    }
}

/// The terminal that tables are drawn for.
pub(crate) fn terminal() -> Terminal {
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(110);
    Terminal { colour, columns }
}
