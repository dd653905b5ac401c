//! The key lanes: what every key did over time, and when the router would not use it.

use stormproof_simulator::study::summary::Summary;
use stormproof_simulator::study::trace::{Attempt, Lane, Overload, PolicyTrace, Span};

use super::{duration, source_of_trace, union};
use crate::picture::{Align, Chart, Frame, Ink, Pen, Picture, Sample, Sheet, Ticks, WIDTH, Words, text_width};
use crate::{Error, format};

const ANSWERED: Ink = Ink::Blue;
const LIMITED: Ink = Ink::Orange;
const OVERLOADED: Ink = Ink::Text;
const OTHER: Ink = Ink::Purple;
const BENCHED: Ink = Ink::Pale;
const NEEDLESS: Ink = Ink::Red;

const HEAD: u32 = 26;
const TIER_GAP: u32 = 6;
const GAP: u32 = 12;
const AXIS: u32 = 34;
const RIGHT: u32 = 16;
/// A tier of up to so many keys has its keys named.
const NAMED: usize = 6;
/// Lanes of one router that are drawn; those of its other keys are counted in words.
const LANES_MAX: usize = 60;

const NAME: Words = Words { size: 13, ink: Ink::Text, bold: true, align: Align::Left };
const RESULT: Words = Words { size: 12, ink: Ink::Faint, bold: false, align: Align::Right };
const TIER: Words = Words { size: 11, ink: Ink::Faint, bold: false, align: Align::Right };

/// The lanes of one tier.
struct Group<'a> {
    tier: &'a str,
    lanes: &'a [Lane],
}

impl Group<'_> {
    fn lane_height(&self) -> u32 {
        match self.lanes.len() {
            0..=NAMED => 15,
            7..=30 => 8,
            _ => 5,
        }
    }

    fn height(&self) -> u32 {
        self.lane_height() * self.lanes.len() as u32
    }
}

/// Draws it.
pub(super) fn key_lanes(summary: &Summary) -> Result<Picture, Error> {
    let policies = &summary.trace.policies;
    // A tier that no router ever called or benched says nothing.
    let mut panels: Vec<(&PolicyTrace, Vec<Group<'_>>)> =
        policies.iter().map(|policy| (policy, groups(shown(&policy.lanes)))).collect();
    let idle = |lane: &Lane| lane.attempts.is_empty() && lane.cooldowns.is_empty();
    let used = |tier: &str| {
        let mut lanes = policies.iter().flat_map(|policy| &policy.lanes);
        lanes.any(|lane| lane.tier == tier && !idle(lane))
    };
    if policies.iter().flat_map(|policy| &policy.lanes).any(|lane| !idle(lane)) {
        panels.iter_mut().for_each(|(_, groups)| groups.retain(|group| used(group.tier)));
    }
    let panel_height =
        |groups: &[Group<'_>]| HEAD + groups.iter().map(|group| group.height() + TIER_GAP).sum::<u32>() + GAP;
    let height = panels.iter().map(|(_, groups)| panel_height(groups)).sum::<u32>() - GAP + AXIS;
    let sheet = Sheet {
        name: "key-lanes",
        title: "What every key did".to_owned(),
        lead: "One lane a key. Each mark is a call, from its start to its end. A shaded lane means that the router \
               would not use the key; red, that its provider would have answered it all the same."
            .to_owned(),
        legend: vec![
            (Sample::Mark(ANSWERED), "answered"),
            (Sample::Mark(OVERLOADED), "503, overloaded"),
            (Sample::Mark(LIMITED), "429, over a limit"),
            (Sample::Mark(OTHER), "another error"),
            (Sample::Area(NEEDLESS), "benched although its provider would have answered"),
            (Sample::Area(BENCHED), "benched, with reason"),
            (Sample::Area(Ink::Shade), "its model is overloaded"),
        ],
        assumed: &summary.assumed,
        source: source_of_trace(summary),
        description: describe(summary),
    };
    sheet.draw(height, |pen| {
        let ticks = Ticks::clock(&summary.start, summary.duration_s);
        let left = label_width(&panels);
        let right = ticks.room_right((0.0, duration(summary)), RIGHT);
        let mut top = 0;
        for (index, (policy, groups)) in panels.iter().enumerate() {
            let last = index + 1 == panels.len();
            let panel = pen.part((0, top as i32), (WIDTH, panel_height(groups) - GAP + AXIS));
            draw_panel(&panel, policy, groups, &Axes { ticks: &ticks, left, right, last, summary })?;
            top += panel_height(groups);
        }
        Ok(())
    })
}

/// What all panels share.
struct Axes<'a> {
    ticks: &'a Ticks,
    left: u32,
    right: u32,
    last: bool,
    summary: &'a Summary,
}

fn draw_panel(pen: &Pen<'_>, policy: &PolicyTrace, groups: &[Group<'_>], axes: &Axes<'_>) -> Result<(), Error> {
    pen.text((16, HEAD as i32 / 2), NAME, &policy.policy)?;
    pen.text(((WIDTH - RIGHT) as i32, HEAD as i32 / 2), RESULT, &verdict(policy))?;
    let until = duration(axes.summary);
    let mut top = HEAD;
    for (index, group) in groups.iter().enumerate() {
        let foot = if axes.last && index + 1 == groups.len() { AXIS } else { 0 };
        let count = group.lanes.len();
        let y_ticks = Ticks::default();
        let part = pen.part((0, top as i32), (WIDTH, group.height() + foot));
        let mut chart = part.chart(&Frame {
            x: (0.0, until),
            y: (count as f64, 0.0),
            x_ticks: axes.ticks,
            y_ticks: &y_ticks,
            room: (axes.left, axes.right, 0),
            foot,
        })?;
        shade(&mut chart, &axes.summary.trace.overloads, group, until)?;
        draw_benched(&mut chart, group, until)?;
        draw_attempts(&mut chart, group, until)?;
        let lane_height = group.lane_height() as i32;
        if count <= NAMED {
            for (row, lane) in group.lanes.iter().enumerate() {
                part.text((axes.left as i32 - 8, lane_height * row as i32 + lane_height / 2), TIER, &lane.key)?;
            }
        } else {
            let middle = group.height() as i32 / 2;
            part.text((axes.left as i32 - 8, middle - 7), TIER, group.tier)?;
            part.text((axes.left as i32 - 8, middle + 7), TIER, &format::counted(count as u64, "key"))?;
        }
        top += group.height() + TIER_GAP;
    }
    Ok(())
}

/// Fills the times in which the model that these keys serve is overloaded.
fn shade(chart: &mut Chart<'_>, overloads: &[Overload], group: &Group<'_>, until: f64) -> Result<(), Error> {
    let same = overloads.iter().filter(|overload| group.lanes.iter().any(|lane| lane.upstream == overload.upstream));
    for (from, to) in union(same.map(|overload| (overload.from_s.min(until), overload.to_s.min(until)))) {
        chart.bar((from, 0.0), (to, group.lanes.len() as f64), Ink::Shade, 1.0)?;
    }
    Ok(())
}

fn draw_benched(chart: &mut Chart<'_>, group: &Group<'_>, until: f64) -> Result<(), Error> {
    for (ink, needless) in [(BENCHED, false), (NEEDLESS, true)] {
        for (row, lane) in group.lanes.iter().enumerate() {
            for (from, to) in benched(lane, needless) {
                let (top, bottom) = (row as f64 + 0.06, row as f64 + 0.94);
                chart.bar((from.min(until), top), (to.min(until), bottom), ink, 1.0)?;
            }
        }
    }
    Ok(())
}

/// Answers first and errors over them, so that a short error is not hidden by the long answers around it.
fn draw_attempts(chart: &mut Chart<'_>, group: &Group<'_>, until: f64) -> Result<(), Error> {
    let pixel = until / f64::from(WIDTH);
    for wanted in [ANSWERED, LIMITED, OTHER, OVERLOADED] {
        for (row, lane) in group.lanes.iter().enumerate() {
            let attempts = lane.attempts.iter().filter(|attempt| ink(attempt) == wanted);
            for (from, to) in
                union(attempts.map(|attempt| (attempt.from_s, attempt.to_s.max(attempt.from_s + 2.0 * pixel))))
            {
                let (top, bottom) = if wanted == ANSWERED { (0.34, 0.66) } else { (0.12, 0.88) };
                chart.bar((from, row as f64 + top), (to.min(until), row as f64 + bottom), wanted, 1.0)?;
            }
        }
    }
    Ok(())
}

fn ink(attempt: &Attempt) -> Ink {
    match attempt.status.as_str() {
        "200" => ANSWERED,
        "429" => LIMITED,
        "503" | "529" => OVERLOADED,
        _other => OTHER,
    }
}

/// The stretches in which the lane's key was benched; only those in which it would have been answered, if `needless`.
fn benched(lane: &Lane, needless: bool) -> Vec<(f64, f64)> {
    if needless {
        let span = |span: &Span| (span.from_s, span.to_s);
        union(lane.cooldowns.iter().flat_map(|cooldown| &cooldown.answerable).map(span))
    } else {
        union(lane.cooldowns.iter().map(|cooldown| (cooldown.from_s, cooldown.to_s)))
    }
}

fn needless_s(lanes: &[Lane]) -> f64 {
    lanes.iter().flat_map(|lane| benched(lane, true)).map(|(from, to)| to - from).sum()
}

/// What the panel shows, in one line.
fn verdict(policy: &PolicyTrace) -> String {
    let hidden = policy.lanes.len() - shown(&policy.lanes).len();
    let hidden = if hidden > 0 {
        format!(" · {} more not drawn", format::counted(hidden as u64, "key"))
    } else {
        String::new()
    };
    let needless = needless_s(&policy.lanes);
    if needless < 0.5 {
        return format!("no key benched without need{hidden}");
    }
    let keys = policy.lanes.iter().filter(|lane| !benched(lane, true).is_empty()).count();
    format!(
        "{} benched without need for {} in all{hidden}",
        format::counted(keys as u64, "key"),
        format::seconds(needless)
    )
}

fn describe(summary: &Summary) -> String {
    let mut words = String::from("For each router and key, calls and cooldowns over time.");
    for policy in &summary.trace.policies {
        let calls: usize = policy.lanes.iter().map(|lane| lane.attempts.len()).sum();
        words.push_str(&format!(" {}: {}, {}.", policy.policy, format::counted(calls as u64, "call"), verdict(policy)));
    }
    words
}

/// The lanes that are drawn: all, or where they are too many, the first of them.
fn shown(lanes: &[Lane]) -> &[Lane] {
    &lanes[..lanes.len().min(LANES_MAX)]
}

/// Neighbouring lanes of the same tier.
fn groups(lanes: &[Lane]) -> Vec<Group<'_>> {
    lanes.chunk_by(|one, other| one.tier == other.tier).map(|lanes| Group { tier: &lanes[0].tier, lanes }).collect()
}

fn label_width(panels: &[(&PolicyTrace, Vec<Group<'_>>)]) -> u32 {
    let groups = panels.iter().flat_map(|(_, groups)| groups);
    let widest = groups.flat_map(|group| group.lanes.iter().flat_map(|lane| [lane.key.as_str(), lane.tier.as_str()]));
    let widest = widest.map(|name| text_width(name, f64::from(TIER.size))).fold(0.0, f64::max);
    (widest as u32 + 26).clamp(70, 220)
}
