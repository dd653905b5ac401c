//! Success against spend: every router a point, the better the further up and left.

use stormproof_simulator::study::summary::{Run, Summary};

use super::labels::spread;
use crate::numbers::Money;
use crate::picture::{Align, Frame, Ink, Picture, Sheet, Ticks, WIDTH, Words, round_up, text_width};
use crate::{Error, format, numbers};

const HEIGHT: u32 = 380;
const LEFT: u32 = 64;
const RIGHT: u32 = 24;
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
        let x_ticks = Ticks::round(&format!("money spent {}, USD", money.on), 0.0, right, 6, |at| dollars(at, right));
        let y_ticks = share_ticks(y.0);
        let mut chart = pen.chart(&Frame {
            x: (-0.015 * right, right),
            y,
            x_ticks: &x_ticks,
            y_ticks: &y_ticks,
            room: (LEFT, RIGHT, 14),
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
        // Labels stand beside their intervals, on the side with room, and are pushed apart within each side.
        let top = chart.pixel((0.0, y.1)).1 - 14;
        let places: Vec<Place> = runs
            .iter()
            .map(|run| {
                let (x, y) = chart.pixel((spent(run), run.success_rate));
                let [cheap, dear] = (money.band)(run).map(|spend| chart.pixel((spend, 0.0)).0);
                Place { x, y: y - top, left: cheap.clamp(0, x - 6), right: dear.max(x + 6) }
            })
            .collect();
        let fits_right = |index: usize| {
            let needed = text_width(&label(&runs[index], &money), f64::from(LABEL.size)) as i32;
            places[index].right + 8 + needed < (WIDTH - RIGHT) as i32
        };
        for on_the_right in [true, false] {
            let members: Vec<usize> = (0..runs.len()).filter(|index| fits_right(*index) == on_the_right).collect();
            let wishes: Vec<i32> = members.iter().map(|index| places[*index].y).collect();
            let spread = spread(&wishes, 18, 10, (HEIGHT - FOOT) as i32 - 10);
            for (index, y) in members.into_iter().zip(spread) {
                let place = &places[index];
                let (align, x) =
                    if on_the_right { (Align::Left, place.right + 8) } else { (Align::Right, place.left - 8) };
                if (y - place.y).abs() > 6 {
                    pen.line(vec![(place.x, place.y), (x, y)], inks[index], 1)?;
                }
                pen.label((x, y), Words { align, ..LABEL }, &label(&runs[index], &money))?;
            }
        }
        Ok(())
    })
}

/// Where a router's point is, and how far its interval reaches to both sides.
struct Place {
    x: i32,
    y: i32,
    left: i32,
    right: i32,
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
