//! A sweep over two settings: one grid a router, the lighter a cell the better.

use stormproof_simulator::study::summary::{Axis, Run, Sweep};

use crate::picture::{Align, Ink, Pen, Picture, Sheet, WIDTH, Words, text_width};
use crate::{Error, format, numbers};

const HEAD: u32 = 26;
const CELL: u32 = 26;
const FOOT: u32 = 46;
const RIGHT: u32 = 16;
const NAME: Words = Words { size: 13, ink: Ink::Text, bold: true, align: Align::Left };
const LABEL: Words = Words { size: 11, ink: Ink::Faint, bold: false, align: Align::Right };

/// Five colours of the cividis map (Nuñez, Anderton and Renslow, 2018), which reads alike with and without colour
/// blindness, from bad to good.
const RAMP: [[u8; 3]; 5] = [[0, 32, 77], [65, 77, 107], [124, 123, 120], [188, 175, 111], [255, 234, 70]];

/// What the cells of a grid show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heat {
    /// The share of turns answered in time.
    Success,
    /// The money spent on the fallback.
    Spend,
}

impl Heat {
    fn value(self, run: &Run) -> f64 {
        match self {
            Self::Success => run.success_rate,
            Self::Spend => run.fallback_spend_usd,
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Success => format::percent(value),
            Self::Spend => format::dollars(value),
        }
    }
}

/// Draws it; for a sweep over exactly two settings, the first going down and the second across.
pub(crate) fn heat_map(sweep: &Sweep, [down, across]: [&Axis; 2], heat: Heat) -> Result<Picture, Error> {
    let policies: Vec<&Run> = sweep.points.first().map_or_else(Vec::new, |point| point.runs.iter().collect());
    let (varying, constant): (Vec<usize>, Vec<usize>) =
        (0..policies.len()).partition(|index| values(sweep, *index, heat).windows(2).any(|pair| pair[0] != pair[1]));
    let (name, what) = match heat {
        Heat::Success => ("heat-success", "turns answered in time"),
        Heat::Spend => ("heat-spend", "fallback money in USD"),
    };
    let mut lead = format!("Cells show {what}; lighter is better.");
    for index in &constant {
        if let Some(value) = values(sweep, *index, heat).first() {
            lead.push_str(&format!(" {}: {} at every value.", policies[*index].policy, heat.show(*value)));
        }
    }
    let panel = HEAD + CELL * down.values.len() as u32 + FOOT;
    let sheet = Sheet {
        name,
        title: format!("What {} and {} change together: {what}", down.knob, across.knob),
        lead,
        legend: Vec::new(),
        assumed: &sweep.assumed,
        source: numbers::source(&sweep.scenario, sweep.seeds),
        description: crate::sweep::findings(sweep).join(" "),
    };
    let all: Vec<f64> = varying.iter().flat_map(|index| values(sweep, *index, heat)).collect();
    let range =
        (all.iter().copied().fold(f64::INFINITY, f64::min), all.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    sheet.draw(panel * varying.len() as u32, |pen| {
        for (row, index) in varying.iter().enumerate() {
            let part = pen.part((0, (panel * row as u32) as i32), (WIDTH, panel));
            part.text((16, HEAD as i32 / 2), NAME, &policies[*index].policy)?;
            draw_grid(&part, sweep, *index, &Grid { down, across, heat, range })?;
        }
        Ok(())
    })
}

/// What all grids share.
struct Grid<'a> {
    down: &'a Axis,
    across: &'a Axis,
    heat: Heat,
    range: (f64, f64),
}

fn draw_grid(pen: &Pen<'_>, sweep: &Sweep, policy: usize, grid: &Grid<'_>) -> Result<(), Error> {
    let wide = |words: &str| text_width(words, f64::from(LABEL.size)) as u32;
    let title = heading(grid.down);
    let widest = grid.down.values.iter().map(|value| wide(&value.text)).max().unwrap_or(0);
    let left = 16 + wide(&title) + 16 + widest + 10;
    let cell_width = ((WIDTH - left - RIGHT) / grid.across.values.len().max(1) as u32).min(96);
    for point in &sweep.points {
        let (Some(run), &[row, column]) = (point.runs.get(policy), point.at.as_slice()) else { continue };
        let value = grid.heat.value(run);
        let (x, y) = ((left + cell_width * column as u32) as i32, (HEAD + CELL * row as u32) as i32);
        let rgb = colour(goodness(value, grid));
        pen.tile((x, y), (x + cell_width as i32 - 1, y + CELL as i32 - 1), rgb)?;
        let words = grid.heat.show(value);
        if wide(&words) + 4 <= cell_width {
            let ink = if is_light(rgb) { Ink::OnLight } else { Ink::OnDark };
            let at = (x + cell_width as i32 / 2, y + CELL as i32 / 2);
            pen.text(at, Words { ink, align: Align::Center, ..LABEL }, &words)?;
        }
    }
    for (row, value) in grid.down.values.iter().enumerate() {
        pen.text((left as i32 - 8, (HEAD + CELL * row as u32 + CELL / 2) as i32), LABEL, &value.text)?;
    }
    let foot = (HEAD + CELL * grid.down.values.len() as u32) as i32;
    let middle = foot - (CELL * grid.down.values.len() as u32 / 2) as i32;
    pen.text((16, middle), Words { align: Align::Left, ..LABEL }, &title)?;
    for (column, value) in grid.across.values.iter().enumerate() {
        let at = ((left + cell_width * column as u32 + cell_width / 2) as i32, foot + 10);
        pen.text(at, Words { align: Align::Center, ..LABEL }, &value.text)?;
    }
    let center = (left + cell_width * grid.across.values.len() as u32 / 2) as i32;
    pen.text((center, foot + 27), Words { align: Align::Center, ..LABEL }, &heading(grid.across))
}

fn heading(axis: &Axis) -> String {
    if axis.unit.is_empty() { axis.knob.clone() } else { format!("{}, {}", axis.knob, axis.unit) }
}

fn values(sweep: &Sweep, policy: usize, heat: Heat) -> Vec<f64> {
    sweep.points.iter().filter_map(|point| point.runs.get(policy)).map(|run| heat.value(run)).collect()
}

/// From 0, the worst cell of the picture, to 1, its best.
fn goodness(value: f64, grid: &Grid<'_>) -> f64 {
    let (low, high) = grid.range;
    let share = if high > low { (value - low) / (high - low) } else { 1.0 };
    match grid.heat {
        Heat::Success => share,
        Heat::Spend => 1.0 - share,
    }
}

/// The ramp's colour at a share from 0 to 1.
fn colour(share: f64) -> [u8; 3] {
    let steps = (RAMP.len() - 1) as f64;
    let position = share.clamp(0.0, 1.0) * steps;
    let index = (position as usize).min(RAMP.len() - 2);
    let part = position - index as f64;
    let mix = |channel: usize| {
        let (from, to) = (f64::from(RAMP[index][channel]), f64::from(RAMP[index + 1][channel]));
        (from + (to - from) * part).round() as u8
    };
    [mix(0), mix(1), mix(2)]
}

fn is_light([red, green, blue]: [u8; 3]) -> bool {
    0.299 * f64::from(red) + 0.587 * f64::from(green) + 0.114 * f64::from(blue) > 125.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ramp_goes_from_dark_to_light() {
        assert_eq!([colour(0.0), colour(0.5), colour(1.0), colour(7.0)], [RAMP[0], RAMP[2], RAMP[4], RAMP[4]]);
        let light: Vec<bool> = (0..=10).map(|step| is_light(colour(f64::from(step) / 10.0))).collect();
        assert!(light.is_sorted() && light.contains(&false) && light.contains(&true), "{light:?}");
    }
}
