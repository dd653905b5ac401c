//! Where an axis has its ticks, and what they say.

use std::ops::Range;

use jiff::{ToSpan, Zoned};
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use super::text::width;
use crate::format;

/// The font size of what ticks say, in pixels.
pub(super) const LABEL_SIZE: u32 = 11;

/// An axis as plotters wants it: a range, from left or bottom to the other end, with our ticks.
pub(super) struct Scale {
    pub(super) range: (f64, f64),
    pub(super) ticks: Ticks,
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (low, high): (i32, i32)) -> i32 {
        let (from, to) = self.range;
        let share = if from == to { 0.5 } else { (value - from) / (to - from) };
        low + (share * f64::from(high - low)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Only the bold ones: there are no grid lines between labels.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.at.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.0..self.range.1
    }
}

impl ValueFormatter<f64> for Scale {
    fn format(value: &f64) -> String {
        value.to_string()
    }

    fn format_ext(&self, value: &f64) -> String {
        self.ticks.label(*value)
    }
}

/// Ticks of an axis: where, and what they say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ticks {
    /// Ascending.
    pub(crate) at: Vec<f64>,
    labels: Vec<String>,
    /// What the axis measures, with its unit.
    pub(crate) title: String,
}

impl Ticks {
    /// Ticks at these places.
    pub(crate) fn new(title: impl Into<String>, ticks: impl IntoIterator<Item = (f64, String)>) -> Self {
        let (at, labels) = ticks.into_iter().unzip();
        Self { at, labels, title: title.into() }
    }

    /// The label of the tick at `value`; empty where there is none.
    pub(crate) fn label(&self, value: f64) -> String {
        self.at.iter().position(|at| *at == value).map_or_else(String::new, |index| self.labels[index].clone())
    }

    /// Pixels to keep free right of a plot over `range`, so that the last label is whole; at least `least`.
    pub(crate) fn room_right(&self, (from, to): (f64, f64), least: u32) -> u32 {
        let (Some(at), Some(label)) = (self.at.last(), self.labels.last()) else { return least };
        // A label further from the edge may have room inside; that it never needs more is all that counts here.
        let near_the_edge = (at - from) / (to - from) > 0.93;
        let half = (width(label, f64::from(LABEL_SIZE)) / 2.0) as u32 + 4;
        if near_the_edge { least.max(half) } else { least }
    }

    /// At most about `count` round numbers from `low` to `high`.
    pub(crate) fn round(title: &str, low: f64, high: f64, count: usize, label: impl Fn(f64) -> String) -> Self {
        let step = round_step((high - low) / count.max(1) as f64);
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        Self::new(title, (first..=last).map(|index| (index as f64 * step, label(index as f64 * step))))
    }

    /// Whole hours, or round parts of them, between the start and `duration_s` later, by the clock on the wall; by the
    /// time passed when the start is unknown. Places are seconds since the start.
    pub(crate) fn clock(start: &str, duration_s: f64) -> Self {
        const STEPS_MINUTES: [i64; 9] = [1, 2, 5, 10, 15, 30, 60, 180, 360];
        let minutes =
            STEPS_MINUTES.iter().find(|minutes| duration_s / (**minutes as f64 * 60.0) <= 11.0).unwrap_or(&1440);
        match start.parse::<Zoned>() {
            Ok(start) => Self::wall_clock(&start, duration_s, *minutes),
            Err(_not_a_time) => {
                let step = *minutes as f64 * 60.0;
                let count = (duration_s / step).floor() as u32;
                let ticks = (0..=count).map(|index| f64::from(index) * step).map(|at| (at, format::seconds(at)));
                Self::new("time since the start", ticks)
            }
        }
    }

    fn wall_clock(start: &Zoned, duration_s: f64, minutes: i64) -> Self {
        let zone = start.time_zone().iana_name().unwrap_or("local time").to_owned();
        let into_day = i64::from(start.hour()) * 60 + i64::from(start.minute());
        let mut wait = (minutes - into_day % minutes) % minutes * 60 - i64::from(start.second());
        if wait < 0 {
            wait += minutes * 60;
        }
        let mut ticks = Vec::new();
        while wait as f64 <= duration_s {
            // A sum of seconds is a moment; its reading on the wall knows about daylight saving.
            let Ok(moment) = start.checked_add(wait.seconds()) else { break };
            ticks.push((wait as f64, moment.strftime("%H:%M").to_string()));
            wait += minutes * 60;
        }
        Self::new(format!("time of day ({zone})"), ticks)
    }
}

/// The next of 1, 2, 5, 10, 20, 50 … and their tenths at or above `least`.
pub(crate) fn round_step(least: f64) -> f64 {
    if !(least.is_finite() && least > 0.0) {
        return 1.0;
    }
    let magnitude = libm::pow(10.0, libm::floor(libm::log10(least)));
    let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * magnitude >= least * (1.0 - 1e-9)).unwrap_or(10.0);
    step * magnitude
}

/// The next round number at or above `most`; 1 for nothing at all.
pub(crate) fn round_up(most: f64) -> f64 {
    let step = round_step(most / 5.0);
    let rounded = (most / step - 1e-9).ceil() * step;
    if rounded > 0.0 { rounded } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(ticks: &Ticks) -> Vec<(f64, String)> {
        ticks.at.iter().map(|at| (*at, ticks.label(*at))).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            Ticks::round("", 0.0, 1.0, 5, |value| format!("{value:.1}")).at,
            [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]
        );
        assert_eq!([round_step(0.03), round_step(7.0), round_step(0.0)], [0.05, 10.0, 1.0]);
        assert_eq!([round_up(0.0), round_up(9.1), round_up(1430.0)], [1.0, 10.0, 1500.0]);
    }

    #[test]
    fn the_last_label_has_room() {
        let ticks = Ticks::clock("", 9000.0);
        let label = ticks.label(9000.0);
        assert!(f64::from(ticks.room_right((0.0, 9000.0), 16)) > width(&label, f64::from(LABEL_SIZE)) / 2.0);
        assert_eq!(ticks.room_right((0.0, 20_000.0), 16), 16);
        assert_eq!(Ticks::default().room_right((0.0, 1.0), 16), 16);
    }

    #[test]
    fn the_clock_is_the_wall_s_clock() {
        let ticks = Ticks::clock("2025-04-18T22:10:00-07:00[America/Los_Angeles]", 9000.0);
        assert_eq!(pairs(&ticks)[0], (300.0, "22:15".to_owned()));
        assert_eq!(ticks.title, "time of day (America/Los_Angeles)");
        // The night in which 02:00 becomes 03:00.
        let ticks = Ticks::clock("2025-03-09T00:30:00-08:00[America/Los_Angeles]", 4.0 * 3600.0);
        let labels: Vec<_> = pairs(&ticks).into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["00:30", "01:00", "01:30", "03:00", "03:30", "04:00", "04:30", "05:00", "05:30"]);
    }

    #[test]
    fn without_a_start_time_counts_from_zero() {
        let ticks = Ticks::clock("", 7200.0);
        assert_eq!(pairs(&ticks)[1], (900.0, "15 min".to_owned()));
        assert_eq!(ticks.title, "time since the start");
    }
}
