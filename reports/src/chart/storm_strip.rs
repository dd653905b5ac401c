//! The storm strip: what clients saw over time, router under router, with the overloads behind.

use stormproof_simulator::study::summary::{Run, Summary};
use stormproof_simulator::study::trace::{Bucket, Overload, PolicyTrace};

use super::{duration, source_of_trace, union};
use crate::picture::{
    Align, Chart, Frame, Ink, Pen, Picture, Sample, Sheet, Ticks, WIDTH, Words, round_up, text_width,
};
use crate::{Error, format};

const FIRST_TIER: Ink = Ink::Blue;
const FALLBACK: Ink = Ink::Orange;
const WAITING: Ink = Ink::Grey;
const REFUSED: Ink = Ink::Red;

const HEAD: u32 = 26;
const ANSWERED: u32 = 52;
const BELOW: u32 = 26;
const GAP: u32 = 14;
const PANEL: u32 = HEAD + ANSWERED + 2 * BELOW + GAP;
const AXIS: u32 = 34;
const WEATHER: u32 = 18;
const RIGHT: u32 = 16;

const NAME: Words = Words { size: 13, ink: Ink::Text, bold: true, align: Align::Left };
const RESULT: Words = Words { size: 12, ink: Ink::Faint, bold: false, align: Align::Right };
const MODEL: Words = Words { size: 11, ink: Ink::Faint, bold: false, align: Align::Left };
const SHARE: Words = Words { size: 11, ink: Ink::Text, bold: false, align: Align::Center };
const ROW: Words = Words { size: 11, ink: Ink::Faint, bold: false, align: Align::Right };

/// One value of a bucket, as a row of bars shows it.
struct Row {
    name: &'static str,
    height: u32,
    /// From the bottom up.
    parts: &'static [Part],
}

/// One colour of a row.
struct Part {
    ink: Ink,
    value: fn(&Bucket) -> f64,
}

const ROWS: [Row; 3] = [
    Row {
        name: "answered",
        height: ANSWERED,
        parts: &[
            Part { ink: FIRST_TIER, value: |bucket| f64::from(bucket.first_tier) },
            Part { ink: FALLBACK, value: |bucket| f64::from(bucket.fallback) },
        ],
    },
    Row { name: "waiting", height: BELOW, parts: &[Part { ink: WAITING, value: |bucket| bucket.waiting }] },
    Row { name: "refused", height: BELOW, parts: &[Part { ink: REFUSED, value: |bucket| f64::from(bucket.refused) }] },
];

impl Row {
    fn total(&self, bucket: &Bucket) -> f64 {
        self.parts.iter().map(|part| (part.value)(bucket)).sum()
    }
}

/// Draws it.
pub(super) fn storm_strip(summary: &Summary) -> Result<Picture, Error> {
    let trace = &summary.trace;
    let upstreams = upstreams(&trace.overloads);
    let weather = if upstreams.is_empty() { 0 } else { WEATHER * upstreams.len() as u32 + 8 };
    let height = weather + PANEL * trace.policies.len() as u32 - GAP + AXIS;
    let bucket = format::seconds(trace.bucket_s);
    let mut legend = vec![
        (Sample::Area(FIRST_TIER), "answered by the first tier"),
        (Sample::Area(FALLBACK), "answered by a fallback tier"),
        (Sample::Area(WAITING), "turns waiting"),
        (Sample::Area(REFUSED), "calls refused or failed"),
    ];
    if !upstreams.is_empty() {
        legend.push((Sample::Area(Ink::Shade), "a model is overloaded: share of its calls that fail"));
    }
    let sheet = Sheet {
        name: "storm-strip",
        title: "What clients saw, minute by minute".to_owned(),
        lead: format!(
            "One panel a router, all under the same day. Each bar covers {bucket}: turns answered (colour says by \
             which tier), turns left waiting on average, and client calls that came back as an error. Scales are the same in \
             all panels."
        ),
        legend,
        assumed: &summary.assumed,
        source: source_of_trace(summary),
        description: describe(summary),
    };
    sheet.draw(height, |pen| {
        let ticks = Ticks::clock(&summary.start, summary.duration_s);
        let tops: Vec<f64> = ROWS.iter().map(|row| round_up(most(&trace.policies, row))).collect();
        let widest = upstreams.iter().map(|name| text_width(name, f64::from(MODEL.size))).fold(0.0, f64::max);
        let left = (widest as u32 + 30).clamp(104, 240);
        let span = (0.0, duration(summary));
        let right = ticks.room_right(span, RIGHT);
        let mut axes = Axes { span, ticks: &ticks, tops: &tops, left, right, last: false };
        if !upstreams.is_empty() {
            draw_weather(&pen.part((0, 0), (WIDTH, weather)), &trace.overloads, &upstreams, &axes)?;
        }
        for (index, policy) in trace.policies.iter().enumerate() {
            let top = (weather + PANEL * index as u32) as i32;
            let panel = pen.part((0, top), (WIDTH, PANEL + AXIS));
            axes.last = index + 1 == trace.policies.len();
            draw_panel(&panel, summary, policy, &axes)?;
        }
        Ok(())
    })
}

/// What all panels share.
struct Axes<'a> {
    span: (f64, f64),
    ticks: &'a Ticks,
    tops: &'a [f64],
    /// Pixels left of the plots.
    left: u32,
    /// Pixels right of them.
    right: u32,
    /// Whether this panel is the last and has the time below it.
    last: bool,
}

fn draw_panel(pen: &Pen<'_>, summary: &Summary, policy: &PolicyTrace, axes: &Axes<'_>) -> Result<(), Error> {
    pen.text((16, HEAD as i32 / 2), NAME, &policy.policy)?;
    if let Some(run) = summary.run(&policy.policy) {
        pen.text(((WIDTH - RIGHT) as i32, HEAD as i32 / 2), RESULT, &result(run, summary.seeds))?;
    }
    let mut top = HEAD;
    for (index, row) in ROWS.iter().enumerate() {
        let foot = if axes.last && index + 1 == ROWS.len() { AXIS } else { 0 };
        let most = axes.tops[index];
        let y_ticks = Ticks::new("", [(most, format::count(most))]);
        let part = pen.part((0, top as i32), (WIDTH, row.height + foot));
        let mut chart = part.chart(&Frame {
            x: axes.span,
            y: (0.0, most),
            x_ticks: axes.ticks,
            y_ticks: &y_ticks,
            room: (axes.left, axes.right, 4),
            foot,
        })?;
        shade(&mut chart, &summary.trace.overloads, axes.span, most)?;
        draw_bars(&mut chart, &policy.strip, row, summary.trace.bucket_s)?;
        part.text((axes.left as i32 - 34, row.height as i32 / 2 + 4), ROW, row.name)?;
        top += row.height;
    }
    Ok(())
}

/// Fills the times in which any model is overloaded.
fn shade(chart: &mut Chart<'_>, overloads: &[Overload], span: (f64, f64), top: f64) -> Result<(), Error> {
    for (from, to) in union(overloads.iter().map(|overload| (overload.from_s, overload.to_s))) {
        let (from, to) = (from.max(span.0), to.min(span.1));
        if from < to {
            chart.bar((from, 0.0), (to, top), Ink::Shade, 1.0)?;
        }
    }
    Ok(())
}

fn draw_bars(chart: &mut Chart<'_>, strip: &[Bucket], row: &Row, bucket_s: f64) -> Result<(), Error> {
    // A bar a pixel narrower than its bucket keeps neighbours apart, as long as there is room for that.
    let (left, _) = chart.pixel((0.0, 0.0));
    let (right, _) = chart.pixel((bucket_s, 0.0));
    let shown =
        if right - left >= 4 { bucket_s * f64::from(right - left - 1) / f64::from(right - left) } else { bucket_s };
    for (number, part) in row.parts.iter().enumerate() {
        for (index, bucket) in strip.iter().enumerate() {
            let below: f64 = row.parts[..number].iter().map(|part| (part.value)(bucket)).sum();
            let value = (part.value)(bucket);
            if value > 0.0 {
                let from = index as f64 * bucket_s;
                chart.bar((from, below), (from + shown, below + value), part.ink, 1.0)?;
            }
        }
    }
    Ok(())
}

/// One line for each upstream model: when it was overloaded, and how badly.
fn draw_weather(pen: &Pen<'_>, overloads: &[Overload], upstreams: &[&str], axes: &Axes<'_>) -> Result<(), Error> {
    let width = f64::from(WIDTH - axes.left - axes.right);
    let (from, to) = axes.span;
    let place = |at: f64| axes.left as i32 + ((at - from) / (to - from) * width).clamp(0.0, width) as i32;
    for (row, upstream) in upstreams.iter().enumerate() {
        let middle = (WEATHER * row as u32 + WEATHER / 2) as i32;
        pen.text((16, middle), MODEL, upstream)?;
        let mut free = 0;
        for overload in overloads.iter().filter(|overload| overload.upstream == *upstream) {
            let (left, right) = (place(overload.from_s), place(overload.to_s));
            pen.rectangle((left, middle - 7), (right.max(left + 2), middle + 7), Ink::Shade, 1.0)?;
            let words = format!("{:.0}%", overload.probability * 100.0);
            let (center, needed) = ((left + right) / 2, text_width(&words, f64::from(SHARE.size)) as i32 + 4);
            if center - needed / 2 >= free {
                pen.text((center, middle), SHARE, &words)?;
                free = center + needed / 2;
            }
        }
    }
    Ok(())
}

fn result(run: &Run, seeds: u32) -> String {
    let over = if seeds > 1 { format!("over {seeds} seeds: ") } else { String::new() };
    format!(
        "{over}{} answered in time · longest gap {} · fallback {}",
        format::percent(run.success_rate),
        format::seconds(run.longest_gap_s),
        format::usd(run.fallback_spend_usd)
    )
}

fn describe(summary: &Summary) -> String {
    let mut words = String::from("For each router, turns answered, turns waiting and calls refused over time.");
    for policy in &summary.trace.policies {
        let sum = |value: fn(&Bucket) -> u32| policy.strip.iter().map(|bucket| u64::from(value(bucket))).sum::<u64>();
        words.push_str(&format!(
            " {}: {} answered by the first tier, {} by the fallback, {} calls refused, {} turns given up.",
            policy.policy,
            sum(|bucket| bucket.first_tier),
            sum(|bucket| bucket.fallback),
            sum(|bucket| bucket.refused),
            sum(|bucket| bucket.lost),
        ));
    }
    words
}

fn most(policies: &[PolicyTrace], row: &Row) -> f64 {
    policies.iter().flat_map(|policy| &policy.strip).map(|bucket| row.total(bucket)).fold(0.0, f64::max)
}

/// The names of the models that are overloaded at some time, in the order in which it happens.
fn upstreams(overloads: &[Overload]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for overload in overloads {
        if !names.contains(&overload.upstream.as_str()) {
            names.push(&overload.upstream);
        }
    }
    names
}
