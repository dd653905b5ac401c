//! How long answers took: for each router the share of all turns that had their answer by a given time.

use stormproof_simulator::study::summary::{LatencyBin, Run, Summary};

use super::labels::spread;
use crate::picture::{Align, Frame, Ink, Picture, Sheet, Ticks, WIDTH, Words, text_width};
use crate::{Error, format, numbers};

const HEIGHT: u32 = 340;
const LEFT: u32 = 64;
const FOOT: u32 = 40;
const LABEL: Words = Words { size: 12, ink: Ink::Text, bold: false, align: Align::Left };

/// Draws it.
pub(super) fn latency(summary: &Summary) -> Result<Picture, Error> {
    let runs: Vec<&Run> = summary.runs.iter().filter(|run| !run.latency_bins.is_empty()).collect();
    let sheet = Sheet {
        name: "latency",
        title: "How long answers took".to_owned(),
        lead:
            "For each time, the share of all turns that had their complete answer by then. A curve ends at the share \
               that was ever answered in time; what is missing above it failed. Steep and far left is good."
                .to_owned(),
        legend: Vec::new(),
        assumed: &summary.assumed,
        source: numbers::source(&summary.scenario, summary.seeds),
        description: runs.iter().map(|run| describe(run)).collect::<Vec<_>>().join(" "),
    };
    sheet.draw(HEIGHT, |pen| {
        let names: Vec<String> =
            runs.iter().map(|run| format!("{} {}", run.policy, format::percent(answered(run)))).collect();
        let widest = names.iter().map(|name| text_width(name, f64::from(LABEL.size))).fold(0.0, f64::max);
        let right = widest as u32 + 36;
        let (from, to) = extent(&runs);
        let x_ticks = time_ticks(from, to);
        let y_ticks = Ticks::round("share of all turns", 0.0, 1.0, 5, |at| format!("{:.0}%", at * 100.0));
        let mut chart = pen.chart(&Frame {
            x: (libm::log10(from), libm::log10(to)),
            y: (0.0, 1.0),
            x_ticks: &x_ticks,
            y_ticks: &y_ticks,
            room: (LEFT, right, 10),
            foot: FOOT,
        })?;
        let inks = numbers::inks(&summary.runs);
        let ink_of = |run: &Run| {
            summary.runs.iter().position(|other| other.policy == run.policy).map_or(Ink::Text, |index| inks[index])
        };
        let (_, top) = chart.pixel((0.0, 1.0));
        let top = top - 10;
        let mut wishes = Vec::new();
        for run in &runs {
            let mut points = curve(&run.latency_bins, from);
            let last = points.last().map_or(0.0, |(_, share)| *share);
            points.push((libm::log10(to), last));
            chart.line(points, ink_of(run), 2)?;
            wishes.push(chart.pixel((0.0, last)).1 - top);
        }
        let edge = (WIDTH - right) as i32;
        for (index, y) in spread(&wishes, 16, 8, (HEIGHT - FOOT) as i32).into_iter().enumerate() {
            let ink = ink_of(runs[index]);
            pen.line(vec![(edge + 2, wishes[index]), (edge + 14, y)], ink, 1)?;
            pen.text((edge + 18, y), LABEL, &names[index])?;
        }
        Ok(())
    })
}

/// Places on the curve: the logarithm of the time in seconds, and the share of all turns answered by then.
fn curve(bins: &[LatencyBin], from: f64) -> Vec<(f64, f64)> {
    let all: u64 = bins.iter().map(|bin| bin.answered + bin.failed).sum();
    let mut answered = 0;
    let mut points = vec![(libm::log10(from), 0.0)];
    let mut before = from;
    for bin in bins.iter().filter(|bin| bin.answered > 0) {
        let edge = (bin.up_to_ms as f64 / 1000.0).max(from);
        // Flat up to the bin, then rising across it: a bin is at most as wide as its distance to the one before.
        let start = (edge / 1.2).max(before);
        points.push((libm::log10(start), answered as f64 / all as f64));
        answered += bin.answered;
        points.push((libm::log10(edge), answered as f64 / all as f64));
        before = edge;
    }
    points
}

fn answered(run: &Run) -> f64 {
    let answered: u64 = run.latency_bins.iter().map(|bin| bin.answered).sum();
    let all: u64 = run.latency_bins.iter().map(|bin| bin.answered + bin.failed).sum();
    if all == 0 { 0.0 } else { answered as f64 / all as f64 }
}

/// The decades, or halves of them, that hold nearly all answers, in seconds.
fn extent(runs: &[&Run]) -> (f64, f64) {
    let edges = || runs.iter().flat_map(|run| &run.latency_bins).map(|bin| bin.up_to_ms.max(1) as f64 / 1000.0);
    let (low, high) = (edges().fold(f64::INFINITY, f64::min), edges().fold(0.0, f64::max));
    let from = TIMES.iter().rev().map(|(at, _)| *at).find(|at| *at <= low / 1.2).unwrap_or(0.001);
    let to = TIMES.iter().map(|(at, _)| *at).find(|at| *at >= high).unwrap_or(high);
    (from, to.max(from * 10.0))
}

/// Times that people know, about three a decade.
const TIMES: [(f64, &str); 19] = [
    (0.001, "1 ms"),
    (0.003, "3 ms"),
    (0.01, "10 ms"),
    (0.03, "30 ms"),
    (0.1, "0.1 s"),
    (0.3, "0.3 s"),
    (1.0, "1 s"),
    (2.0, "2 s"),
    (5.0, "5 s"),
    (10.0, "10 s"),
    (20.0, "20 s"),
    (30.0, "30 s"),
    (60.0, "1 min"),
    (120.0, "2 min"),
    (300.0, "5 min"),
    (600.0, "10 min"),
    (1200.0, "20 min"),
    (3600.0, "1 h"),
    (7200.0, "2 h"),
];

fn time_ticks(from: f64, to: f64) -> Ticks {
    let inside = TIMES.iter().filter(|(at, _)| (from..=to).contains(at));
    Ticks::new(
        "time since the turn began (logarithmic)",
        inside.map(|(at, label)| (libm::log10(*at), (*label).to_owned())),
    )
}

fn describe(run: &Run) -> String {
    let latency = run.latency_ms;
    format!(
        "{}: half of the turns took at most {}, 99 of 100 at most {}; {} were answered in time.",
        run.policy,
        format::milliseconds(latency.p50),
        format::milliseconds(latency.p99),
        format::percent(answered(run)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_ends_at_the_share_that_was_answered() {
        let bin = |up_to_ms, answered, failed| LatencyBin { up_to_ms, answered, failed };
        let points = curve(&[bin(10_000, 3, 0), bin(20_000, 3, 0), bin(180_000, 0, 2)], 5.0);
        assert_eq!(points.first().map(|(_, share)| *share), Some(0.0));
        assert_eq!(points.last().copied(), Some((libm::log10(20.0), 0.75)));
        assert!(points.is_sorted_by(|one, other| one.0 <= other.0 && one.1 <= other.1));
    }
}
