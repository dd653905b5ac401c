//! One scenario over the values of one or two settings, on the same seeds at every point.

use rayon::prelude::*;
use stormproof_router::config::{Errors, Problem};
use stormproof_router::core::{Duration, KNOBS};

use super::document::{Document, Scenario};
use crate::study::summary::{Axis, AxisValue, Run, Sweep, SweepPoint};
use crate::study::{Case, Contender, StudyError, replicate};

/// The points of a sweep, checked and ready to run. Routers that a point's settings do not touch run once.
pub struct Plan {
    axes: Vec<Axis>,
    points: Vec<Vec<usize>>,
    first: Scenario,
    seeds: u32,
    /// Every different combination of a day and a router.
    runs: Vec<(Case, Contender)>,
    /// For each point, its routers' indexes into `runs`.
    cells: Vec<Vec<usize>>,
}

impl Plan {
    /// Plans `document` over `settings`, each written as `SETTING=VALUE,VALUE,...`; `narrow` picks routers and seeds
    /// at every point.
    ///
    /// # Errors
    /// When a setting is not written so, leads nowhere, or any of its values makes no valid scenario.
    pub fn new<E: From<Errors>>(
        document: &Document,
        settings: &[String],
        narrow: impl Fn(Scenario) -> Result<Scenario, E>,
    ) -> Result<Self, E> {
        let axes: Vec<Axis> = settings.iter().map(|setting| axis(setting)).collect::<Result<_, Errors>>()?;
        let mut points = vec![Vec::new()];
        for axis in &axes {
            points = points
                .iter()
                .flat_map(|at| (0..axis.values.len()).map(|value| at.iter().copied().chain([value]).collect()))
                .collect();
        }
        let mut plan = Self {
            first: narrow(document.scenario()?)?,
            seeds: 0,
            runs: Vec::new(),
            cells: Vec::with_capacity(points.len()),
            axes,
            points,
        };
        plan.seeds = plan.first.seeds;
        for at in &plan.points {
            let changes = plan.axes.iter().zip(at).map(|(axis, value)| (axis.knob.as_str(), &axis.values[*value].text));
            let mut changed = None;
            for (knob, value) in changes {
                changed = Some(changed.as_ref().unwrap_or(document).with(knob, value)?);
            }
            let scenario = narrow(changed.as_ref().unwrap_or(document).scenario()?)?;
            let cell = scenario.contenders.into_iter().map(|contender| {
                let known = plan.runs.iter().position(|(case, known)| *known == contender && *case == scenario.case);
                known.unwrap_or_else(|| {
                    plan.runs.push((scenario.case.clone(), contender));
                    plan.runs.len() - 1
                })
            });
            plan.cells.push(cell.collect());
        }
        Ok(plan)
    }

    /// How many single runs it takes.
    pub fn len(&self) -> u64 {
        self.runs.len() as u64 * u64::from(self.seeds)
    }

    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Runs it, with all cores. `done` is called after each single run, from any thread.
    ///
    /// # Errors
    /// When a router breaks its contract.
    pub fn run(self, done: &(dyn Fn() + Sync)) -> Result<Sweep, StudyError> {
        let one = |(case, contender): &(Case, Contender)| {
            replicate(case, contender, self.seeds, false, done).map(|(run, _)| Run { per_seed: Vec::new(), ..run })
        };
        let runs: Vec<Run> = self.runs.par_iter().map(one).collect::<Result<_, StudyError>>()?;
        let point = |(at, cell): (Vec<usize>, Vec<usize>)| SweepPoint {
            at,
            runs: cell.into_iter().map(|run| runs[run].clone()).collect(),
        };
        Ok(Sweep {
            scenario: self.first.case.name.clone(),
            about: self.first.about.clone(),
            seeds: self.seeds,
            assumed: self.first.case.assumed.clone(),
            axes: self.axes,
            points: self.points.into_iter().zip(self.cells).map(point).collect(),
        })
    }
}

/// Reads `SETTING=VALUE,VALUE,...`.
fn axis(written: &str) -> Result<Axis, Errors> {
    let wrong = |message: &str| Errors::one(Problem::new(&format!("--vary {written}").into(), None, message));
    const FORM: &str = "write a setting and its values, as in `cooldown_time=0.5,5,60,2000`";
    let (knob, values) = written.split_once('=').ok_or_else(|| wrong(FORM))?;
    let texts: Vec<&str> = split(values);
    if knob.trim().is_empty() || texts.iter().any(|text| text.is_empty()) {
        return Err(wrong(FORM));
    }
    if let Some(twice) = texts.iter().enumerate().find(|(index, text)| texts[..*index].contains(text)) {
        return Err(wrong(&format!("the value `{}` stands twice; name each once", twice.1)));
    }
    let in_seconds =
        knob.ends_with("cooldown_time") || KNOBS.iter().any(|known| knob.ends_with(known.name) && known.unit == "s");
    let durations = texts.iter().all(|text| text.parse::<Duration>().is_ok())
        && texts.iter().any(|text| text.parse::<f64>().is_err());
    let unit = if in_seconds || durations { "s" } else { "" };
    let value = |text: &&str| AxisValue { text: (*text).to_owned(), number: number(text, unit) };
    Ok(Axis { knob: knob.trim().to_owned(), unit: unit.to_owned(), values: texts.iter().map(value).collect() })
}

/// The parts between commas that stand in no bracket.
fn split(values: &str) -> Vec<&str> {
    let mut depth = 0usize;
    let mut parts = values.split(|c| {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.by_ref().map(str::trim).collect()
}

/// A value as a number on the axis' scale.
fn number(text: &str, unit: &str) -> Option<f64> {
    if unit == "s" {
        return text.parse::<Duration>().ok().map(Duration::as_secs_f64);
    }
    let (digits, factor) = text.strip_suffix('%').map_or((text, 1.0), |percent| (percent, 0.01));
    digits.trim().parse::<f64>().ok().map(|number| number * factor).filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbers_where_they_can_be() {
        let cooldowns = axis("cooldown_time=0.5,5,2000").expect("a good axis");
        assert_eq!((cooldowns.unit.as_str(), cooldowns.values[2].number), ("s", Some(2000.0)));
        let lengths = axis("world.weather.0.until=5m,1h").expect("a good axis");
        assert_eq!((lengths.unit.as_str(), lengths.values[1].number), ("s", Some(3600.0)));
        let lists = axis("clients.0.fallbacks=[a, b],[c]").expect("a good axis");
        assert_eq!(lists.values.iter().map(|value| value.text.as_str()).collect::<Vec<_>>(), ["[a, b]", "[c]"]);
        assert_eq!(lists.values[0].number, None);
    }

    #[test]
    fn a_wrong_axis_says_how_to_write_it() {
        for (wrong, message) in [
            ("cooldown_time", "--vary cooldown_time: write a setting and its values"),
            ("cooldown_time=1,,2", "--vary cooldown_time=1,,2: write a setting and its values"),
            ("trip.ratio=0.1,0.1", "--vary trip.ratio=0.1,0.1: the value `0.1` stands twice"),
        ] {
            let error = axis(wrong).expect_err("not an axis").to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
