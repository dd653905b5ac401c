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
    // Settings whose values are plain numbers of seconds.
    let in_seconds =
        knob.ends_with("cooldown_time") || KNOBS.iter().any(|known| knob.ends_with(known.name) && known.unit == "s");
    let readings: Option<Vec<(&str, f64)>> = texts.iter().map(|text| reading(text, in_seconds)).collect();
    let unit = readings.as_ref().and_then(|readings| readings.first()).map_or("", |(unit, _)| *unit);
    // Numbers of two units have no common scale.
    let numbers = readings.filter(|readings| readings.iter().all(|(other, _)| *other == unit));
    let number = |index: usize| Some(numbers.as_ref()?.get(index)?.1);
    let values = texts.iter().enumerate();
    Ok(Axis {
        knob: knob.trim().to_owned(),
        unit: if numbers.is_some() { unit.to_owned() } else { String::new() },
        values: values.map(|(index, text)| AxisValue { text: (*text).to_owned(), number: number(index) }).collect(),
    })
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

/// A value as a number with its unit; a plain number is one of seconds where the setting is.
fn reading(text: &str, in_seconds: bool) -> Option<(&'static str, f64)> {
    let number = |text: &str| text.trim_end().parse().ok().filter(|number: &f64| number.is_finite());
    if let Some(plain) = number(text) {
        return Some((if in_seconds { "s" } else { "" }, plain));
    }
    if let Some(share) = text.strip_suffix('%') {
        return number(share).map(|share| ("%", share));
    }
    if let Some(amount) = text.strip_suffix("USD") {
        return number(amount).map(|amount| ("USD", amount));
    }
    text.parse::<Duration>().ok().map(|length| ("s", length.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_knows_its_numbers_and_their_unit() {
        let numbers = |text: &str| {
            let axis = axis(text).expect("a good axis");
            (axis.unit, axis.values.iter().map(|value| value.number).collect::<Vec<_>>())
        };
        assert_eq!(numbers("cooldown_time=0.5,2000"), ("s".to_owned(), vec![Some(0.5), Some(2000.0)]));
        assert_eq!(numbers("num_retries=0, 6"), (String::new(), vec![Some(0.0), Some(6.0)]));
        assert_eq!(numbers("world.weather.0.for=5m,1h"), ("s".to_owned(), vec![Some(300.0), Some(3600.0)]));
        assert_eq!(numbers("x=10%,50%"), ("%".to_owned(), vec![Some(10.0), Some(50.0)]));
        assert_eq!(numbers("x=5 USD,7.5 USD"), ("USD".to_owned(), vec![Some(5.0), Some(7.5)]));
        assert_eq!(numbers("x=10,50%"), (String::new(), vec![None, None]), "two units have no common scale");
        assert_eq!(numbers("select.strategy=headroom,least-busy"), (String::new(), vec![None, None]));
        let lists = axis("clients.0.fallbacks=[a, b],[c]").expect("a good axis");
        assert_eq!(lists.values.iter().map(|value| value.text.as_str()).collect::<Vec<_>>(), ["[a, b]", "[c]"]);
    }

    #[test]
    fn every_point_has_the_same_seeds_and_what_does_not_change_runs_once() {
        let document = crate::scenario::built_in("family-i").expect("built in").expect("readable");
        let narrow = |mut scenario: Scenario| {
            scenario.contenders.retain(|contender| ["litellm-1.66", "stormproof"].contains(&contender.name.as_str()));
            scenario.seeds = 3;
            Ok::<_, Errors>(scenario)
        };
        let settings = ["litellm-1.66.cooldown_time=1,600", "duration=15m,20m"].map(str::to_owned);
        let plan = Plan::new(&document, &settings, narrow).expect("a good plan");
        assert_eq!(plan.len(), 3 * (4 + 2), "LiteLLM at every point, ours once a day");
        let found = plan.run(&|| {}).expect("it runs");
        assert_eq!(
            found.points.iter().map(|point| point.at.clone()).collect::<Vec<_>>(),
            [[0, 0], [0, 1], [1, 0], [1, 1]]
        );
        let runs = |point: usize| &found.points[point].runs;
        assert_eq!(runs(0)[1], runs(2)[1], "the cooldown is none of our business");
        assert_ne!(runs(0)[1], runs(1)[1]);
        assert!(runs(0)[0].success_rate > runs(2)[0].success_rate, "a short cooldown answers more");
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
