//! What a recorded day says to a question, as a table: the day itself, each policy's answer, and always beside them how
//! far they are to be trusted.

use comfy_table::{Cell, CellAlignment};
use stormproof_simulator::whatif::{Calibration, Estimates, Figures, Findings};

use crate::format::{count, counted, milliseconds, percent, seconds, usd};
use crate::table::{Terminal, assumptions, framed, keep_whole, lines, paragraph};

/// The table of the answers, and what they rest on.
pub fn table(findings: &Findings, terminal: Terminal) -> String {
    let columns = terminal.width();
    let mut text = String::new();
    let Findings { log, recorded_by, duration_s, seeds, recorded, .. } = findings;
    let title = format!(
        "{log}: {} of {recorded_by}, {}, under other settings",
        seconds(*duration_s),
        counted(recorded.turns, "turn")
    );
    paragraph(&mut text, &title, "", columns);
    text.push('\n');
    let mut table = framed(terminal);
    let right = |text: &str| Cell::new(text).set_alignment(CellAlignment::Right);
    let heads = ["Answered\nin time", "Fallback", "All\nspending", "Attempts", "Latency\np50", "Latency\np99"];
    table.set_header([Cell::new("Policy")].into_iter().chain(heads.map(right)));
    table.add_row([Cell::new("on record")].into_iter().chain(as_recorded(recorded).map(|cell| right(&cell))));
    let said = |name: &str, estimates: &Estimates| {
        [Cell::new(name)].into_iter().chain(estimated(estimates).map(|cell| right(&cell))).collect::<Vec<_>>()
    };
    for answer in &findings.answers {
        table.add_row(said(&format!("{}\n{}", answer.policy, answer.about), &answer.estimates));
    }
    table.add_row(said("on record, by the\nmodel alone", &findings.calibration.modelled));
    keep_whole(&mut table, 0);
    text.push_str(&lines(&table));
    text.push('\n');
    let intervals = format!(
        "In brackets: where the day itself would lie, with 95 of 100, over {} at what the log does not tell.",
        if *seeds == 1 { "one guess".to_owned() } else { format!("{seeds} guesses") }
    );
    paragraph(&mut text, &intervals, "", columns);
    for answer in &findings.answers {
        let mut reuse = format!(
            "{}: {} of the providers' answers are as recorded, {} modelled; {} of the calls go where the log saw nothing.",
            answer.policy,
            percent(answer.reused_share),
            percent(1.0 - answer.reused_share),
            percent(answer.dark_share),
        );
        if !answer.is_told {
            reuse.push_str(
                " The log does not tell how this day would have gone: the guesses disagree, and only what is in brackets \
                 counts.",
            );
        }
        paragraph(&mut text, &reuse, "", columns);
    }
    for dark in &findings.dark {
        let mut sentence =
            format!("{}: in {} of the time the log saw nothing of it", dark.upstream, percent(dark.share));
        if let Some(follows) = dark.follows {
            sentence.push_str(&format!(
                "; that its overloads are those of the model seen most is {} likely",
                percent(follows)
            ));
        }
        sentence.push('.');
        paragraph(&mut text, &sentence, "", columns);
    }
    paragraph(&mut text, &calibrated(&findings.calibration), "", columns);
    assumptions(&mut text, &findings.assumed, columns);
    text
}

/// One JSON document of all that was found.
///
/// # Errors
/// When it does not fit into a document.
pub fn json(findings: &Findings) -> Result<String, crate::Error> {
    crate::json::document(findings)
}

fn as_recorded(day: &Figures) -> [String; 6] {
    [
        percent(day.success_rate),
        usd(day.fallback_spend_usd),
        usd(day.total_spend_usd),
        day.upstream_attempts.to_string(),
        milliseconds(day.p50_ms),
        milliseconds(day.p99_ms),
    ]
}

fn estimated(estimates: &Estimates) -> [String; 6] {
    let Estimates { success_rate, fallback_spend_usd, total_spend_usd, upstream_attempts, p50_ms, p99_ms } = estimates;
    let time = |ms: f64| milliseconds(ms.max(0.0).round() as u64);
    [
        (success_rate, &percent as &dyn Fn(f64) -> String),
        (fallback_spend_usd, &usd),
        (total_spend_usd, &usd),
        (upstream_attempts, &count),
        (p50_ms, &time),
        (p99_ms, &time),
    ]
    .map(|(estimate, show)| {
        let [low, high] = estimate.interval95;
        format!("{}\n[{} to\n{}]", show(estimate.mean), show(low), show(high))
    })
}

/// What the model gets wrong where the truth is known.
fn calibrated(calibration: &Calibration) -> String {
    let relative = |error: f64| format!("{:+.1}%", 100.0 * error);
    let spend = calibration.spend_error.map_or("nothing to compare".to_owned(), relative);
    format!(
        "Calibration, the model alone under the recorded settings against the record: success {:+.2} points, spending \
         {spend}, attempts {}, p99 {}.",
        100.0 * calibration.success_error,
        relative(calibration.attempts_error),
        relative(calibration.p99_error),
    )
}
