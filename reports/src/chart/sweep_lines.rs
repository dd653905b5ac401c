//! A sweep over one setting: success and spend of every router along it, with 95 % bands.

use stormproof_simulator::study::summary::{Axis, Run, Sweep};

use super::labels::spread;
use super::success_spend::{dollars, share_axis, share_ticks};
use crate::picture::{Align, Frame, Ink, Pen, Picture, Sheet, Ticks, WIDTH, Words, round_up, text_width};
use crate::{Error, format, numbers};

const PLOT: u32 = 260;
const FOOT: u32 = 40;
const GAP: u32 = 10;
const LEFT: u32 = 64;
const LABEL: Words = Words { size: 12, ink: Ink::Text, bold: false, align: Align::Left };

/// A number that is drawn along the setting.
struct Measure {
    mean: fn(&Run) -> f64,
    band: fn(&Run) -> [f64; 2],
    show: fn(f64) -> String,
}

const SUCCESS: Measure =
    Measure { mean: |run| run.success_rate, band: |run| run.success_rate_ci95, show: format::percent };

/// Draws it; for a sweep over exactly one setting.
pub(crate) fn sweep_lines(sweep: &Sweep, axis: &Axis) -> Result<Picture, Error> {
    let names = names(sweep);
    let sheet = Sheet {
        name: "sweep",
        title: format!("What {} changes", axis.knob),
        lead: if sweep.seeds > 1 {
            "Every line is a router; around it the 95% interval of the mean over seeds. All points have the same seeds."
        } else {
            "Every line is a router. All points have the same seed."
        }
        .to_owned(),
        legend: Vec::new(),
        assumed: &sweep.assumed,
        source: numbers::source(&sweep.scenario, sweep.seeds),
        description: crate::sweep::findings(sweep).join(" "),
    };
    let widest = names.iter().map(|name| text_width(name, f64::from(LABEL.size))).fold(0.0, f64::max);
    let right = widest as u32 + 96;
    sheet.draw(2 * (PLOT + FOOT) + GAP, |pen| {
        let scale = Scale::of(axis, f64::from(WIDTH - LEFT - right));
        let worst = all(sweep).map(|run| (SUCCESS.mean)(run).min((SUCCESS.band)(run)[0])).fold(1.0, f64::min);
        let y = share_axis(worst);
        let y_ticks = share_ticks(y.0);
        let part = pen.part((0, 0), (WIDTH, PLOT + FOOT));
        draw(&part, sweep, &Plot { scale: &scale, measure: &SUCCESS, y, y_ticks: &y_ticks, right })?;

        let money = numbers::money(all(sweep));
        let spend = Measure { mean: money.mean, band: money.band, show: format::usd };
        let dearest = all(sweep).map(|run| (spend.mean)(run).max((spend.band)(run)[1])).fold(0.0, f64::max);
        let top = round_up(dearest);
        let y_ticks = Ticks::round(&format!("USD {}", money.on), 0.0, top, 5, |at| dollars(at, top));
        let part = pen.part((0, (PLOT + FOOT + GAP) as i32), (WIDTH, PLOT + FOOT));
        draw(&part, sweep, &Plot { scale: &scale, measure: &spend, y: (0.0, top), y_ticks: &y_ticks, right })
    })
}

/// One of the two plots.
struct Plot<'a> {
    scale: &'a Scale,
    measure: &'a Measure,
    y: (f64, f64),
    y_ticks: &'a Ticks,
    right: u32,
}

fn draw(pen: &Pen<'_>, sweep: &Sweep, plot: &Plot<'_>) -> Result<(), Error> {
    let (scale, measure, (bottom, top)) = (plot.scale, plot.measure, plot.y);
    let mut chart = pen.chart(&Frame {
        x: scale.range,
        y: plot.y,
        x_ticks: &scale.ticks,
        y_ticks: plot.y_ticks,
        room: (LEFT, plot.right, 10),
        foot: FOOT,
    })?;
    let names = names(sweep);
    let Some(first) = sweep.points.first() else { return Ok(()) };
    let inks = numbers::inks(&first.runs);
    let upper_left = chart.pixel((scale.range.0, top)).1 - 10;
    let mut ends = Vec::new();
    for (index, ink) in inks.iter().enumerate() {
        let mut places: Vec<(f64, &Run)> = sweep
            .points
            .iter()
            .filter_map(|point| Some((*scale.at.get(*point.at.first()?)?, point.runs.get(index)?)))
            .collect();
        places.sort_by(|one, other| one.0.total_cmp(&other.0));
        let inside = |value: f64| value.clamp(bottom, top);
        if sweep.seeds > 1 && places.len() > 1 {
            let lows = places.iter().map(|(x, run)| (*x, inside((measure.band)(run)[0])));
            let highs = places.iter().rev().map(|(x, run)| (*x, inside((measure.band)(run)[1])));
            chart.area(lows.chain(highs).collect(), *ink, 0.18)?;
        }
        let line: Vec<_> = places.iter().map(|(x, run)| (*x, inside((measure.mean)(run)))).collect();
        for place in &line {
            chart.disc(*place, 3, *ink)?;
        }
        if let (Some(end), Some((_, run))) = (line.last().copied(), places.last()) {
            ends.push((
                chart.pixel(end).1 - upper_left,
                *ink,
                format!("{} {}", names[index], (measure.show)((measure.mean)(run))),
            ));
        }
        chart.line(line, *ink, 2)?;
    }
    let wishes: Vec<i32> = ends.iter().map(|(y, _, _)| *y).collect();
    let edge = (WIDTH - plot.right) as i32;
    for ((wish, ink, words), y) in ends.iter().zip(spread(&wishes, 16, 8, PLOT as i32)) {
        pen.line(vec![(edge + 4, *wish), (edge + 14, y)], *ink, 1)?;
        pen.text((edge + 18, y), LABEL, words)?;
    }
    Ok(())
}

/// Where the values of a setting stand: to scale where all are numbers, by their logarithm where these span more than a
/// factor of 30, otherwise one beside the other.
struct Scale {
    at: Vec<f64>,
    range: (f64, f64),
    ticks: Ticks,
}

impl Scale {
    fn of(axis: &Axis, pixels: f64) -> Self {
        const WIDE: f64 = 30.0;
        let numbers: Option<Vec<f64>> = axis.values.iter().map(|value| value.number).collect();
        let (at, logarithmic) = match numbers {
            Some(numbers) => {
                let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
                let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                if low > 0.0 && high / low >= WIDE {
                    (numbers.into_iter().map(libm::log10).collect(), true)
                } else {
                    (numbers, false)
                }
            }
            None => ((0..axis.values.len()).map(|index| index as f64).collect::<Vec<f64>>(), false),
        };
        let low = at.iter().copied().fold(f64::INFINITY, f64::min);
        let high = at.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let room = if high > low { (high - low) * 0.02 } else { 0.5 };
        let range = if at.is_empty() { (0.0, 1.0) } else { (low - room, high + room) };
        let title = match (axis.unit.as_str(), logarithmic) {
            ("", false) => axis.knob.clone(),
            ("", true) => format!("{} (logarithmic)", axis.knob),
            (unit, false) => format!("{}, {unit}", axis.knob),
            (unit, true) => format!("{}, {unit} (logarithmic)", axis.knob),
        };
        // A label for every value, as long as labels keep a distance.
        let mut labelled: Vec<(f64, String)> =
            at.iter().copied().zip(axis.values.iter().map(|value| value.text.clone())).collect();
        labelled.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut free = f64::NEG_INFINITY;
        labelled.retain(|(at, text)| {
            let (middle, half) = ((at - range.0) / (range.1 - range.0) * pixels, text_width(text, 11.0) / 2.0);
            let fits = middle - half >= free;
            if fits {
                free = middle + half + 6.0;
            }
            fits
        });
        Self { at, range, ticks: Ticks::new(title, labelled) }
    }
}

fn all(sweep: &Sweep) -> impl Iterator<Item = &Run> {
    sweep.points.iter().flat_map(|point| &point.runs)
}

fn names(sweep: &Sweep) -> Vec<&str> {
    sweep.points.first().map_or_else(Vec::new, |point| point.runs.iter().map(|run| run.policy.as_str()).collect())
}

#[cfg(test)]
mod tests {
    use stormproof_simulator::study::summary::AxisValue;

    use super::*;

    fn axis(values: &[(&str, Option<f64>)]) -> Axis {
        let values = values.iter().map(|(text, number)| AxisValue { text: (*text).to_owned(), number: *number });
        Axis { knob: "cooldown_time".to_owned(), unit: "s".to_owned(), values: values.collect() }
    }

    #[test]
    fn values_far_apart_stand_by_their_logarithm() {
        let scale = Scale::of(&axis(&[("1s", Some(1.0)), ("10s", Some(10.0)), ("1000s", Some(1000.0))]), 500.0);
        assert_eq!(scale.at, [0.0, 1.0, 3.0]);
        assert_eq!(scale.ticks.title, "cooldown_time, s (logarithmic)");
        let scale = Scale::of(&axis(&[("0s", Some(0.0)), ("1000s", Some(1000.0))]), 500.0);
        assert_eq!(scale.at, [0.0, 1000.0]);
        let scale = Scale::of(&axis(&[("headroom", None), ("5", Some(5.0))]), 500.0);
        assert_eq!(scale.at, [0.0, 1.0]);
    }

    #[test]
    fn labels_that_would_touch_are_left_out() {
        let values: Vec<(String, f64)> = (0..100).map(|index| (format!("{index} seconds"), f64::from(index))).collect();
        let values: Vec<_> = values.iter().map(|(text, number)| (text.as_str(), Some(*number))).collect();
        let scale = Scale::of(&axis(&values), 500.0);
        assert!(scale.ticks.at.len() < 12 && scale.ticks.at.len() > 3, "{:?}", scale.ticks.at);
    }
}
