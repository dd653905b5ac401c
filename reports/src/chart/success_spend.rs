//! Success against spend: every router a point, the better the further up and left.

use stormproof_simulator::study::summary::{Run, Summary};

use super::labels::spread;
use crate::numbers::Money;
use crate::picture::{Align, Frame, Ink, Picture, Sheet, Ticks, WIDTH, Words, round_up, text_width};
use crate::{Error, format, numbers};

const HEIGHT: u32 = 380;
const LEFT: u32 = 64;
const FOOT: u32 = 40;
const LABEL: Words = Words { size: 13, ink: Ink::Text, bold: false, align: Align::Left };

/// Draws it.
pub(super) fn success_spend(summary: &Summary) -> Result<Picture, Error> {
    let runs = &summary.runs;
    let money = numbers::money(runs);
    let spent = |run: &Run| (money.mean)(run);
    let intervals = if summary.seeds > 1 { " The bars are 95% intervals of the means over seeds." } else { "" };
    let sheet = Sheet {
        name: "success-spend",
        title: "What the answers cost".to_owned(),
        lead: format!(
            "Each point is a router. Further up: more turns answered in time. Further left: less money spent {}. \
             Little money beside few answers means that turns were lost, not that money was saved.{intervals}",
            money.on
        ),
        legend: Vec::new(),
        assumed: &summary.assumed,
        source: numbers::source(&summary.scenario, summary.seeds),
        description: runs
            .iter()
            .map(|run| format!("{}. ", label(run, &money)))
            .collect::<String>()
            .trim_end()
            .to_owned(),
    };
    sheet.draw(HEIGHT, |pen| {
        let dearest = runs.iter().map(|run| spent(run).max((money.band)(run)[1]));
        let right = round_up(dearest.fold(0.0, f64::max) * 1.04);
        let worst = runs.iter().map(|run| run.success_rate.min(run.success_rate_ci95[0])).fold(1.0, f64::min);
        let y = share_axis(worst);
        let widest = runs.iter().map(|run| text_width(&label(run, &money), f64::from(LABEL.size))).fold(0.0, f64::max);
        let room = widest as u32 + 28;
        let x_ticks = Ticks::round(&format!("money spent {}, USD", money.on), 0.0, right, 6, |at| dollars(at, right));
        let y_ticks = share_ticks(y.0);
        let mut chart = pen.chart(&Frame {
            x: (-0.015 * right, right),
            y,
            x_ticks: &x_ticks,
            y_ticks: &y_ticks,
            room: (LEFT, room, 14),
            foot: FOOT,
        })?;
        let inks = numbers::inks(runs);
        for (run, ink) in runs.iter().zip(&inks) {
            let at = (spent(run), run.success_rate);
            if summary.seeds > 1 {
                let ([low, high], [cheap, dear]) = (run.success_rate_ci95, (money.band)(run));
                chart.line(vec![(at.0, low.max(y.0)), (at.0, high.min(1.0))], *ink, 2)?;
                chart.line(vec![(cheap.max(0.0), at.1), (dear.min(right), at.1)], *ink, 2)?;
            }
            chart.disc(at, 6, *ink)?;
        }
        // The names stand in a column beside the plot, each joined to its point: points of good routers are neighbours.
        let top = chart.pixel((0.0, y.1)).1 - 14;
        let points: Vec<(i32, i32)> =
            runs.iter().map(|run| chart.pixel((spent(run), run.success_rate))).map(|(x, y)| (x, y - top)).collect();
        let wishes: Vec<i32> = points.iter().map(|(_, y)| *y).collect();
        let edge = (WIDTH - room) as i32;
        for (index, y) in spread(&wishes, 18, 10, (HEIGHT - FOOT) as i32 - 10).into_iter().enumerate() {
            pen.line(vec![points[index], (edge + 6, y), (edge + 14, y)], inks[index], 1)?;
            pen.text((edge + 18, y), LABEL, &label(&runs[index], &money))?;
        }
        Ok(())
    })
}

fn label(run: &Run, money: &Money) -> String {
    format!("{}: {}, {}", run.policy, format::percent(run.success_rate), format::usd((money.mean)(run)))
}

/// The range of an axis of shares on which `worst` is well inside: from 0, or from nearer to 1 when all is well, to a
/// little above 1, so that a point there is whole.
pub(super) fn share_axis(worst: f64) -> (f64, f64) {
    const EDGES: [f64; 9] = [0.995, 0.99, 0.98, 0.95, 0.9, 0.8, 0.6, 0.4, 0.2];
    let bottom = EDGES.into_iter().find(|edge| worst >= edge + 0.1 * (1.0 - edge)).unwrap_or(0.0);
    (bottom, 1.0 + 0.03 * (1.0 - bottom))
}

/// The ticks of such an axis, with as many decimals as keep them apart.
pub(super) fn share_ticks(bottom: f64) -> Ticks {
    let decimals = if bottom <= 0.9 {
        0
    } else if bottom <= 0.98 {
        1
    } else {
        2
    };
    Ticks::round("turns answered in time", bottom, 1.0, 5, |at| format!("{:.decimals$}%", at * 100.0))
}

/// An amount on an axis that goes up to `most`: cents only where the axis is short.
pub(super) fn dollars(amount: f64, most: f64) -> String {
    if amount == 0.0 {
        "0".to_owned()
    } else if most < 1.0 {
        format!("{amount:.2}")
    } else if most < 8.0 {
        format!("{amount:.1}")
    } else {
        format::count(amount.round())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_leaves_the_worst_inside() {
        let bottoms = [0.45, 0.0, 0.9999, 0.93].map(|worst| share_axis(worst).0);
        assert_eq!(bottoms, [0.2, 0.0, 0.995, 0.9]);
    }

    #[test]
    fn ticks_of_shares_differ() {
        for bottom in [0.0, 0.2, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995] {
            let ticks = share_ticks(bottom);
            let labels: std::collections::BTreeSet<_> = ticks.at.iter().map(|at| ticks.label(*at)).collect();
            assert!(labels.len() == ticks.at.len() && labels.contains(&ticks.label(1.0)), "{bottom}: {labels:?}");
        }
    }
}
