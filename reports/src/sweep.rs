//! Reports of a sweep: one scenario over one or two settings.

use std::path::{Path, PathBuf};

use comfy_table::{Cell, CellAlignment};
use stormproof_simulator::study::summary::{Axis, Run, Sweep, SweepPoint};

use crate::chart::{Heat, heat_map, sweep_lines};
use crate::json::document;
use crate::picture::Picture;
use crate::table::{self, Terminal};
use crate::{Error, format, numbers, page, write_files};

/// The sweep as text: what was found, then for one setting a row a value and router, for two a grid a router.
pub fn table(sweep: &Sweep, terminal: Terminal) -> String {
    let columns = terminal.width();
    let mut text = String::new();
    for finding in findings(sweep) {
        table::paragraph(&mut text, &finding, "", columns);
    }
    text.push('\n');
    if let [down, across] = sweep.axes.as_slice() {
        let policies = sweep.points.first().map_or(0, |point| point.runs.len());
        // What the settings do not touch has been said in one sentence.
        for policy in (0..policies).filter(|policy| varies(sweep, *policy)) {
            text.push_str(&grid(sweep, [down, across], policy, terminal));
            text.push('\n');
        }
    } else {
        let knobs: Vec<&str> = sweep.axes.iter().map(|axis| axis.knob.as_str()).collect();
        table::paragraph(&mut text, &format!("By {}:", knobs.join(", ")), "", columns);
        text.push_str(&rows(sweep, terminal));
        text.push('\n');
    }
    table::paragraph(&mut text, &numbers::source(&sweep.scenario, sweep.seeds), "", columns);
    table::assumptions(&mut text, &sweep.assumed, columns);
    text
}

/// One line a value and router.
fn rows(sweep: &Sweep, terminal: Terminal) -> String {
    const HEADS: [&str; 6] = ["Answered", "95%", "Longest gap", "Fallback", "p99", "Attempts"];
    const COLUMNS: [fn(&Run) -> String; 6] = [
        |run| format::percent(run.success_rate),
        |run| format::percent_interval(run.success_rate, run.success_rate_ci95),
        |run| format::seconds(run.longest_gap_s),
        |run| format::usd(run.fallback_spend_usd),
        |run| format::milliseconds(run.latency_ms.p99),
        |run| format::ratio(run.attempts_per_turn),
    ];
    let mut table = table::framed(terminal);
    let mut header: Vec<Cell> = sweep.axes.iter().map(|_| Cell::new("Value")).collect();
    header.push(Cell::new("Router"));
    header.extend(HEADS.map(right));
    table.set_header(header);
    for point in &sweep.points {
        // The routers of a point stand together, one a line, below its values.
        let lines = |line: fn(&Run) -> String| point.runs.iter().map(line).collect::<Vec<_>>().join("\n");
        let mut row: Vec<Cell> = texts(sweep, point).iter().map(|text| Cell::new(table::plain(text))).collect();
        row.push(Cell::new(lines(|run| table::plain(&run.policy))));
        row.extend(COLUMNS.map(|column| right(&lines(column))));
        table.add_row(row);
    }
    table::keep_whole(&mut table, sweep.axes.len());
    table::lines(&table)
}

/// Answers and fallback money of one router over both settings.
fn grid(sweep: &Sweep, [down, across]: [&Axis; 2], policy: usize, terminal: Terminal) -> String {
    let mut table = table::framed(terminal);
    let mut header = vec![Cell::new("")];
    header.extend(across.values.iter().map(|value| right(&table::plain(&value.text))));
    table.set_header(header);
    for (row, value) in down.values.iter().enumerate() {
        let mut cells = vec![Cell::new(table::plain(&value.text))];
        for column in 0..across.values.len() {
            let point = sweep.points.iter().find(|point| point.at == [row, column]);
            let run = point.and_then(|point| point.runs.get(policy));
            cells.push(right(&run.map_or_else(String::new, |run| {
                format!("{}\n{}", format::percent(run.success_rate), format::dollars(run.fallback_spend_usd))
            })));
        }
        table.add_row(cells);
    }
    let name = sweep.points.first().and_then(|point| point.runs.get(policy)).map_or("", |run| run.policy.as_str());
    let title = format!(
        "{name}: answered in time and, below, USD for the fallback; {} down, {} across",
        down.knob, across.knob
    );
    let mut text = String::new();
    table::paragraph(&mut text, &title, "", terminal.width());
    text + &table::lines(&table)
}

fn right(text: &str) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// Whether the settings change anything for a router.
fn varies(sweep: &Sweep, policy: usize) -> bool {
    let numbers = |point: &SweepPoint| point.runs.get(policy).map(|run| (run.success_rate, run.fallback_spend_usd));
    sweep.points.windows(2).any(|pair| numbers(&pair[0]) != numbers(&pair[1]))
}

/// The sweep as one indented JSON document with a newline at its end.
///
/// # Errors
/// When it does not fit into JSON.
pub fn json(sweep: &Sweep) -> Result<String, Error> {
    document(sweep)
}

/// A column of the CSV.
struct Number {
    name: &'static str,
    value: fn(&Run) -> f64,
}

/// The sweep as CSV: one line a point and router, first the varied settings, then the numbers, named as in the JSON.
///
/// # Errors
/// When it does not fit into CSV.
pub fn csv(sweep: &Sweep) -> Result<String, Error> {
    const NUMBERS: [Number; 19] = [
        Number { name: "turns", value: |run| run.turns },
        Number { name: "succeeded", value: |run| run.succeeded },
        Number { name: "success_rate", value: |run| run.success_rate },
        Number { name: "success_rate_ci95_low", value: |run| run.success_rate_ci95[0] },
        Number { name: "success_rate_ci95_high", value: |run| run.success_rate_ci95[1] },
        Number { name: "client_calls", value: |run| run.client_calls },
        Number { name: "latency_ms_p50", value: |run| run.latency_ms.p50 as f64 },
        Number { name: "latency_ms_p90", value: |run| run.latency_ms.p90 as f64 },
        Number { name: "latency_ms_p99", value: |run| run.latency_ms.p99 as f64 },
        Number { name: "latency_ms_max", value: |run| run.latency_ms.max as f64 },
        Number { name: "longest_gap_s", value: |run| run.longest_gap_s },
        Number { name: "recovery_s", value: |run| run.recovery_s },
        Number { name: "fallback_answers", value: |run| run.fallback_answers },
        Number { name: "fallback_spend_usd", value: |run| run.fallback_spend_usd },
        Number { name: "fallback_spend_usd_ci95_low", value: |run| run.fallback_spend_usd_ci95[0] },
        Number { name: "fallback_spend_usd_ci95_high", value: |run| run.fallback_spend_usd_ci95[1] },
        Number { name: "total_spend_usd", value: |run| run.total_spend_usd },
        Number { name: "upstream_attempts", value: |run| run.upstream_attempts },
        Number { name: "attempts_per_turn", value: |run| run.attempts_per_turn },
    ];
    let mut writer = csv::Writer::from_writer(Vec::new());
    let failed = |error: csv::Error| Error::Document(error.to_string());
    let mut header: Vec<&str> = sweep.axes.iter().map(|axis| axis.knob.as_str()).collect();
    header.extend(["policy", "seeds"]);
    header.extend(NUMBERS.iter().map(|number| number.name));
    header.push("decision_hash");
    writer.write_record(&header).map_err(failed)?;
    for point in &sweep.points {
        for run in &point.runs {
            let mut record: Vec<String> = texts(sweep, point).into_iter().map(str::to_owned).collect();
            record.extend([run.policy.clone(), sweep.seeds.to_string()]);
            record.extend(NUMBERS.iter().map(|number| (number.value)(run).to_string()));
            record.push(run.decision_hash.clone());
            writer.write_record(&record).map_err(failed)?;
        }
    }
    let bytes = writer.into_inner().map_err(|error| Error::Document(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| Error::Document(error.to_string()))
}

/// The pictures of the sweep: lines for one setting, heat maps for two, nothing for another number of settings.
///
/// # Errors
/// When one cannot be drawn.
pub fn pictures(sweep: &Sweep) -> Result<Vec<Picture>, Error> {
    match sweep.axes.as_slice() {
        [axis] => Ok(vec![sweep_lines(sweep, axis)?]),
        [down, across] => {
            let mut maps = vec![heat_map(sweep, [down, across], Heat::Success)?];
            // Where nobody pays a fallback, a map of nothing but zeros says nothing.
            if sweep.points.iter().flat_map(|point| &point.runs).any(|run| run.fallback_spend_usd > 0.0) {
                maps.push(heat_map(sweep, [down, across], Heat::Spend)?);
            }
            Ok(maps)
        }
        _ => Ok(Vec::new()),
    }
}

/// Writes `report.html`, `sweep.json`, `sweep.csv` and one SVG a picture into `directory`, which is made if need be.
/// Gives the paths written, the report first.
///
/// # Errors
/// When the directory or a file in it cannot be written.
pub fn write_directory(sweep: &Sweep, directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let pictures = pictures(sweep)?;
    let mut files = vec![
        ("report.html".to_owned(), page::sweep_html(sweep, &pictures)),
        ("sweep.json".to_owned(), json(sweep)?),
        ("sweep.csv".to_owned(), csv(sweep)?),
    ];
    files.extend(pictures.iter().map(|picture| (format!("{}.svg", picture.name()), picture.to_svg())));
    write_files(directory, files)
}

/// What the settings change, in one sentence a router.
pub(crate) fn findings(sweep: &Sweep) -> Vec<String> {
    let Some(first) = sweep.points.first() else { return vec!["No point was run.".to_owned()] };
    (0..first.runs.len())
        .map(|index| {
            let rate = |point: &&SweepPoint| point.runs.get(index).map_or(0.0, |run| run.success_rate);
            let (mut worst, mut best) = (first, first);
            for point in &sweep.points {
                if rate(&point) < rate(&worst) {
                    worst = point;
                }
                if rate(&point) > rate(&best) {
                    best = point;
                }
            }
            let policy = &first.runs[index].policy;
            if rate(&worst) == rate(&best) {
                return format!(
                    "{policy} answered {} of the turns in time at every value.",
                    format::percent(rate(&best))
                );
            }
            format!(
                "{policy} answered from {} ({}) to {} ({}) of the turns in time.",
                format::percent(rate(&worst)),
                place(sweep, worst),
                format::percent(rate(&best)),
                place(sweep, best),
            )
        })
        .collect()
}

/// `cooldown_time 2000s, num_retries 2`.
fn place(sweep: &Sweep, point: &SweepPoint) -> String {
    let settings = sweep.axes.iter().zip(texts(sweep, point)).map(|(axis, text)| format!("{} {text}", axis.knob));
    settings.collect::<Vec<_>>().join(", ")
}

/// The point's value on each axis, as given.
pub(crate) fn texts<'a>(sweep: &'a Sweep, point: &SweepPoint) -> Vec<&'a str> {
    let value = |(axis, index): (&'a Axis, &usize)| axis.values.get(*index).map_or("", |value| value.text.as_str());
    sweep.axes.iter().zip(&point.at).map(value).collect()
}
