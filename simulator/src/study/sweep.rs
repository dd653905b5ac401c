//! One or two settings varied over values, every point on the same seeds, so that points may be compared in pairs.

use rayon::prelude::*;
use stormproof_router::core::Duration;
use thiserror::Error;

use super::case::{Case, Contender};
use super::compare::{StudyError, replicate};
use super::stats::{interval95, mean};
use super::summary::{Axis, AxisValue, PerSeed, Run, Sweep, SweepPoint};

/// What one point of a sweep asks.
#[derive(Clone, Debug)]
pub struct Question {
    /// The day.
    pub case: Case,
    /// Who is compared.
    pub contenders: Vec<Contender>,
}

/// Why a sweep has no result.
#[derive(Debug, Error)]
pub enum SweepError<E> {
    /// A combination of values has no meaning.
    #[error("{0}")]
    Point(E),
    /// A run failed.
    #[error(transparent)]
    Study(#[from] StudyError),
}

/// Runs every combination of the axes' values on seeds 1 to `seeds`, the last axis varying fastest.
///
/// `question` turns one text for each axis into what is to be run there. A router and a day that are the same at
/// several points, because the setting does not concern them, are run once. `done` is called after each run, from any
/// thread; there are at most points x routers x seeds.
///
/// # Errors
/// When a combination has no meaning, or a router breaks its contract.
pub fn sweep<E: Send>(
    axes: Vec<Axis>,
    seeds: u32,
    question: impl Fn(&[&str]) -> Result<Question, E>,
    done: &(dyn Fn() + Sync),
) -> Result<Sweep, SweepError<E>> {
    let places = combinations(&axes);
    let mut jobs: Vec<(Case, Contender)> = Vec::new();
    let mut points: Vec<Vec<usize>> = Vec::with_capacity(places.len());
    for place in &places {
        let texts: Vec<&str> = place.iter().zip(&axes).map(|(at, axis)| axis.values[*at].text.as_str()).collect();
        let Question { case, contenders } = question(&texts).map_err(SweepError::Point)?;
        let job = |contender| job(&mut jobs, &case, contender);
        points.push(contenders.into_iter().map(job).collect());
    }
    let runs: Vec<Run> = jobs
        .par_iter()
        .map(|(case, contender)| replicate(case, contender, seeds, false, done).map(|(run, _)| run))
        .collect::<Result<_, StudyError>>()?;
    let first = jobs.first().map(|(case, _)| case);
    Ok(Sweep {
        scenario: first.map_or_else(String::new, |case| case.name.clone()),
        about: String::new(),
        seeds,
        assumed: first.map_or_else(Vec::new, |case| case.assumed.clone()),
        axes,
        points: places
            .into_iter()
            .zip(points)
            .map(|(at, jobs)| SweepPoint { at, runs: jobs.into_iter().map(|job| runs[job].clone()).collect() })
            .collect(),
    })
}

/// The number of the job that asks this; a new one unless it was asked before.
fn job(jobs: &mut Vec<(Case, Contender)>, case: &Case, contender: Contender) -> usize {
    let known = jobs.iter().position(|(other, same)| *same == contender && other == case);
    known.unwrap_or_else(|| {
        jobs.push((case.clone(), contender));
        jobs.len() - 1
    })
}

/// All combinations of the axes' values by index, the last axis varying fastest.
fn combinations(axes: &[Axis]) -> Vec<Vec<usize>> {
    axes.iter().fold(vec![Vec::new()], |places, axis| {
        let longer =
            |place: Vec<usize>| (0..axis.values.len()).map(move |value| place.iter().copied().chain([value]).collect());
        places.into_iter().flat_map(longer).collect()
    })
}

/// The mean of `other - base` over seeds that both have, with its 95 % interval. Common random numbers make it far
/// tighter than the difference of two intervals.
pub fn paired_difference(base: &Run, other: &Run, field: fn(&PerSeed) -> f64) -> (f64, [f64; 2]) {
    let mut differences = Vec::with_capacity(base.per_seed.len());
    for seed in &other.per_seed {
        if let Ok(index) = base.per_seed.binary_search_by_key(&seed.seed, |seed| seed.seed) {
            differences.push(field(seed) - field(&base.per_seed[index]));
        }
    }
    (mean(&differences), interval95(&differences))
}

/// Why a text is no axis.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AxisError {
    /// There is no `=`, or nothing before or after it.
    #[error("`{0}` is not SETTING=VALUE,VALUE,... such as `cooldown_time=0.5,5,60,2000`")]
    Form(String),
    /// A value stands twice.
    #[error("`{value}` stands twice in `{text}`")]
    Twice {
        /// The whole text.
        text: String,
        /// Which value.
        value: String,
    },
}

/// Reads `cooldown_time=0.5,5,60` or `world.latency.p50=10s,20s`. Values that are all plain numbers, all
/// shares, all amounts or all lengths of time get a number, so that the axis is drawn to scale.
///
/// # Errors
/// When it has another form, or a value stands twice.
pub fn parse_axis(text: &str) -> Result<Axis, AxisError> {
    let form = || AxisError::Form(text.to_owned());
    let (knob, values) = text.split_once('=').ok_or_else(form)?;
    let texts: Vec<&str> = values.split(',').map(str::trim).collect();
    if knob.trim().is_empty() || texts.iter().any(|value| value.is_empty()) {
        return Err(form());
    }
    for (index, value) in texts.iter().enumerate() {
        if texts[..index].contains(value) {
            return Err(AxisError::Twice { text: text.to_owned(), value: (*value).to_owned() });
        }
    }
    let readings: Option<Vec<(&str, f64)>> = texts.iter().map(|text| reading(text)).collect();
    let unit = readings.as_ref().map_or("", |readings| readings[0].0);
    let numbers = readings.filter(|readings| readings.iter().all(|(other, _)| *other == unit));
    let number = |index: usize| numbers.as_ref().map(|numbers| numbers[index].1);
    let value = |(index, text): (usize, &&str)| AxisValue { text: (*text).to_owned(), number: number(index) };
    Ok(Axis {
        knob: knob.trim().to_owned(),
        unit: if numbers.is_some() { unit.to_owned() } else { String::new() },
        values: texts.iter().enumerate().map(value).collect(),
    })
}

/// A value as a number with its unit.
fn reading(text: &str) -> Option<(&'static str, f64)> {
    let number = |text: &str| text.trim_end().parse().ok().filter(|number: &f64| number.is_finite());
    if let Some(plain) = number(text) {
        return Some(("", plain));
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::baselines::litellm::{Options, Seconds, Version};
    use crate::study::Policy;
    use crate::study::families::FAMILIES;

    fn axis(text: &str) -> Axis {
        parse_axis(text).unwrap()
    }

    #[test]
    fn an_axis_knows_its_numbers_and_their_unit() {
        let numbers = |text: &str| {
            let axis = axis(text);
            (axis.unit, axis.values.iter().map(|value| value.number).collect::<Vec<_>>())
        };
        assert_eq!(numbers("cooldown_time=0.5,2000"), (String::new(), vec![Some(0.5), Some(2000.0)]));
        assert_eq!(numbers("x=10s, 2m"), ("s".to_owned(), vec![Some(10.0), Some(120.0)]));
        assert_eq!(numbers("x=10%,50%"), ("%".to_owned(), vec![Some(10.0), Some(50.0)]));
        assert_eq!(numbers("x=5 USD,7.5 USD"), ("USD".to_owned(), vec![Some(5.0), Some(7.5)]));
        assert_eq!(numbers("x=10,50%"), (String::new(), vec![None, None]), "two units have no common scale");
        assert_eq!(numbers("select.strategy=headroom,least-busy"), (String::new(), vec![None, None]));
    }

    #[test]
    fn a_wrong_axis_says_what_is_wrong() {
        for text in ["trip.ratio", "=1", "x=", "x=1,,2"] {
            assert_eq!(parse_axis(text), Err(AxisError::Form(text.to_owned())));
        }
        assert_eq!(parse_axis("x=1,2,1").unwrap_err().to_string(), "`1` stands twice in `x=1,2,1`");
    }

    /// A short day; the setting concerns LiteLLM only.
    fn question(cooldown: &str) -> Question {
        let mut case = FAMILIES[5].case();
        case.day.duration = Duration::from_secs(1200);
        let mut options = Options::new(Version::V1_66);
        options.feedback_loop = false;
        options.cooldown_time = Seconds(cooldown.parse().unwrap());
        let settings = Arc::clone(&case.settings);
        let contender = |name: &str, policy| Contender { name: name.to_owned(), policy };
        let contenders = vec![
            contender("ours", Policy::Stormproof(Arc::clone(&settings))),
            contender("litellm", Policy::LiteLlm { settings, options: Arc::new(options) }),
        ];
        Question { case, contenders }
    }

    #[test]
    fn every_point_meets_the_same_seeds_and_what_does_not_change_is_run_once() {
        let runs = AtomicU32::new(0);
        let count = || {
            runs.fetch_add(1, Ordering::Relaxed);
        };
        let axes = vec![axis("cooldown_time=1,600"), axis("unused=a,b,c")];
        let found = sweep(axes, 3, |texts| Ok::<_, ()>(question(texts[0])), &count).unwrap();
        assert_eq!(found.points.len(), 6);
        assert_eq!(found.points[4].at, [1, 1]);
        assert_eq!(runs.into_inner(), 3 * (1 + 2), "ours once, LiteLLM once for each cooldown");
        let (short, long) = (&found.points[0].runs, &found.points[3].runs);
        assert_eq!(short[0], long[0]);
        let (gain, [low, _]) = paired_difference(&long[1], &short[1], |seed| seed.success_rate);
        assert!(low > 0.0, "a short cooldown answers more: {gain}");
    }

    #[test]
    fn a_point_without_meaning_ends_the_sweep() {
        let wrong = |texts: &[&str]| if texts[0] == "2" { Err("two") } else { Ok(question("1")) };
        let found = sweep(vec![axis("x=1,2")], 1, wrong, &|| {});
        assert!(matches!(found, Err(SweepError::Point("two"))));
    }

    #[test]
    fn pairs_are_matched_by_seed() {
        let run = |values: &[(u64, f64)]| Run {
            per_seed: values
                .iter()
                .map(|(seed, rate)| PerSeed { seed: *seed, success_rate: *rate, ..PerSeed::default() })
                .collect(),
            ..Run::default()
        };
        let (base, other) = (run(&[(1, 0.5), (2, 0.9), (4, 0.1)]), run(&[(1, 0.6), (2, 1.0), (3, 0.0)]));
        let (difference, [low, high]) = paired_difference(&base, &other, |seed| seed.success_rate);
        assert!((difference - 0.1).abs() < 1e-12 && low <= difference && difference <= high);
    }
}
