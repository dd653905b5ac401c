//! The six numbers that tell how a router did, as every table shows them.

use stormproof_simulator::study::interval95;
use stormproof_simulator::study::summary::{PerSeed, Run};

use crate::format;
use crate::picture::Ink;

/// One of the six numbers: its name and what it means.
pub(crate) struct Column {
    pub(crate) head: &'static str,
    pub(crate) means: &'static str,
}

/// The six, in the order of every table.
pub(crate) const COLUMNS: [Column; 6] = [
    Column {
        head: "Answered in time",
        means: "Turns that got a complete answer before the user's patience ran out; below it the 95% interval of the \
                mean over seeds.",
    },
    Column { head: "Longest gap", means: "The longest time in which somebody was waiting and nobody got an answer." },
    Column {
        head: "Recovery",
        means: "From the end of the last overload until answers were back at their healthy level; seeds in which that \
                never happened before the end count up to there, and are counted below.",
    },
    Column {
        head: "Fallback",
        means: "Turns answered by the tiers after the first, and the money spent there, failed calls included; \
                with its 95% interval.",
    },
    Column {
        head: "Latency p50, p99",
        means: "Half of all turns took at most the first time, 99 of 100 at most the second. A turn that failed counts \
                with its whole patience.",
    },
    Column { head: "Attempts per turn", means: "Calls made to providers, divided by turns." },
];

/// A number and, below it, what qualifies it; the latter may be empty.
pub(crate) struct Cell {
    pub(crate) value: String,
    pub(crate) note: String,
}

/// The six numbers of one run.
pub(crate) fn cells(run: &Run, seeds: u32) -> [Cell; 6] {
    let cell = |value: String, note: String| Cell { value, note };
    let many = seeds > 1;
    let unrecovered = match (run.unrecovered_seeds, many) {
        (0, _) => String::new(),
        (_, false) => "never".to_owned(),
        (count, true) => format!("{count} of {seeds} never"),
    };
    let money = if many && run.fallback_spend_usd > 0.0 {
        format!(
            "{} ({})",
            format::usd(run.fallback_spend_usd),
            format::usd_interval(run.fallback_spend_usd, run.fallback_spend_usd_ci95)
        )
    } else {
        format::usd(run.fallback_spend_usd)
    };
    let interval = if many { format::percent_interval(run.success_rate, run.success_rate_ci95) } else { String::new() };
    let latency = run.latency_ms;
    [
        cell(format::percent(run.success_rate), interval),
        cell(format::seconds(run.longest_gap_s), String::new()),
        cell(format::seconds(run.recovery_s), unrecovered),
        cell(format!("{} answers", format::count(run.fallback_answers)), money),
        cell(format::milliseconds(latency.p50), format!("p99 {}", format::milliseconds(latency.p99))),
        cell(format::ratio(run.attempts_per_turn), String::new()),
    ]
}

/// The run that the report is about: ours, or where it does not take part, the one that answered most.
pub(crate) fn subject(runs: &[Run]) -> Option<usize> {
    const OURS: &str = "stormproof";
    let named = runs.iter().position(|run| run.policy == OURS);
    named.or_else(|| runs.iter().rposition(|run| run.policy.starts_with(OURS))).or_else(|| {
        let best =
            |best: usize, index: usize| if runs[index].success_rate > runs[best].success_rate { index } else { best };
        (0..runs.len()).reduce(best)
    })
}

/// A colour for each run; the subject always has the first.
pub(crate) fn inks(runs: &[Run]) -> Vec<Ink> {
    let subject = subject(runs);
    let mut next = 0;
    (0..runs.len())
        .map(|index| {
            if Some(index) == subject {
                return Ink::series(0);
            }
            next += 1;
            Ink::series(next)
        })
        .collect()
}

/// Which money a picture shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Money {
    /// What it is, as in "money spent on the fallback".
    pub(crate) on: &'static str,
    pub(crate) mean: fn(&Run) -> f64,
    /// The 95 % interval of that mean; the mean itself where seeds are not at hand.
    pub(crate) band: fn(&Run) -> [f64; 2],
}

/// The fallback's money; that of all tiers where the fallback is free or never answers, and the dear tier comes first.
pub(crate) fn money<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Money {
    let (mut fallback, mut total) = (0.0, 0.0);
    for run in runs {
        fallback += run.fallback_spend_usd;
        total += run.total_spend_usd;
    }
    if fallback > 0.0 || total == 0.0 {
        return Money {
            on: "on the fallback",
            mean: |run| run.fallback_spend_usd,
            band: |run| run.fallback_spend_usd_ci95,
        };
    }
    let band = |run: &Run| {
        let spent: Vec<f64> = run.per_seed.iter().map(|seed: &PerSeed| seed.total_spend_usd).collect();
        if spent.is_empty() { [run.total_spend_usd; 2] } else { interval95(&spent) }
    };
    Money { on: "on all tiers", mean: |run| run.total_spend_usd, band }
}

/// Where the numbers come from, in one line.
pub(crate) fn source(scenario: &str, seeds: u32) -> String {
    match seeds {
        1 => format!("Simulated: scenario {scenario}, one seed."),
        _ => format!("Simulated: scenario {scenario}, means over {seeds} seeds."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(policy: &str, success_rate: f64) -> Run {
        Run { policy: policy.to_owned(), success_rate, ..Run::default() }
    }

    #[test]
    fn the_subject_is_ours_or_else_the_best() {
        assert_eq!(subject(&[run("litellm", 0.9), run("stormproof", 0.1)]), Some(1));
        assert_eq!(subject(&[run("stormproof-edge", 0.9), run("litellm", 1.0)]), Some(0));
        assert_eq!(subject(&[run("a", 0.2), run("b", 0.3), run("c", 0.3)]), Some(1));
        assert_eq!(subject(&[]), None);
    }

    #[test]
    fn money_is_the_fallback_s_unless_that_is_free() {
        let run = |fallback, total| Run { fallback_spend_usd: fallback, total_spend_usd: total, ..Run::default() };
        let on = |runs: &[Run]| money(runs).on;
        assert_eq!(on(&[run(0.0, 3.0), run(1.0, 3.0)]), "on the fallback");
        assert_eq!(on(&[run(0.0, 3.0), run(0.0, 2.0)]), "on all tiers");
        assert_eq!(on(&[run(0.0, 0.0)]), "on the fallback");
        let all = money(&[run(0.0, 3.0)]);
        assert_eq!((all.band)(&run(0.0, 3.0)), [3.0, 3.0]);
    }

    #[test]
    fn the_subject_keeps_its_colour_wherever_it_stands() {
        assert_eq!(inks(&[run("a", 0.2), run("stormproof", 0.3)]), [Ink::series(1), Ink::series(0)]);
        assert_eq!(inks(&[run("stormproof", 0.3), run("a", 0.2)]), [Ink::series(0), Ink::series(1)]);
    }
}
