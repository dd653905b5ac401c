//! The result in plain words, for those who read nothing else.

use stormproof_simulator::study::summary::{Run, Summary};

use crate::{format, numbers};

/// The result in plain words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headline {
    /// One sentence.
    pub title: String,
    /// What it rests on, one sentence each.
    pub details: Vec<String>,
}

/// Says what the summary found. The router that the report is about is compared with the first other one of the
/// scenario and, where that is another, with the best of the others.
pub fn headline(summary: &Summary) -> Headline {
    let runs = &summary.runs;
    let Some(subject) = numbers::subject(runs).map(|index| &runs[index]) else {
        return Headline { title: "No router was run.".to_owned(), details: Vec::new() };
    };
    let mut others = runs.iter().filter(|run| run.policy != subject.policy);
    let Some(reference) = others.next() else {
        let title =
            format!("{} answered {} of the turns in time", subject.policy, format::percent(subject.success_rate));
        return Headline { title, details: vec![account(subject)] };
    };
    let best = others.fold(reference, |best, run| if run.success_rate > best.success_rate { run } else { best });

    let title = format!(
        "{} answered {} of the turns in time, {} {}",
        subject.policy,
        format::percent(subject.success_rate),
        reference.policy,
        format::percent(reference.success_rate),
    );
    let mut details = vec![account(reference)];
    if best.policy != reference.policy {
        details.push(account(best));
    }
    details.push(account(subject));
    if summary.seeds > 1 && overlap(subject.success_rate_ci95, best.success_rate_ci95) {
        details.push(format!(
            "Between {} and {} the difference in answers is not clear: their 95% intervals overlap.",
            subject.policy, best.policy
        ));
    }
    Headline { title, details }
}

/// What one router did, in one sentence or two.
fn account(run: &Run) -> String {
    let unanswered = run.turns - run.succeeded;
    let answers = if unanswered == 0.0 {
        format!("all {} turns were answered in time", format::count(run.turns))
    } else {
        format!("{} of {} turns got no answer in time", format::count(unanswered), format::count(run.turns))
    };
    let gap = if run.longest_gap_s > 0.0 {
        format!("; the longest time without any answer was {}", format::seconds(run.longest_gap_s))
    } else {
        String::new()
    };
    let money = if run.fallback_spend_usd > 0.0 {
        format!(
            " The fallback gave {} answers for {}.",
            format::count(run.fallback_answers),
            format::usd(run.fallback_spend_usd)
        )
    } else if run.fallback_answers > 0.0 {
        format!(" The fallback gave {} answers, free of charge.", format::count(run.fallback_answers))
    } else {
        " The fallback gave no answer.".to_owned()
    };
    format!("Under {}, {answers}{gap}.{money}", run.policy)
}

fn overlap(one: [f64; 2], other: [f64; 2]) -> bool {
    one[0] <= other[1] && other[0] <= one[1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(policy: &str, turns: f64, succeeded: f64, ci: [f64; 2]) -> Run {
        Run {
            policy: policy.to_owned(),
            turns,
            succeeded,
            success_rate: succeeded / turns,
            success_rate_ci95: ci,
            ..Run::default()
        }
    }

    #[test]
    fn it_compares_with_the_reference_and_the_best_other() {
        let runs = vec![
            run("litellm-1.66", 100.0, 46.0, [0.44, 0.48]),
            run("litellm-1.109", 100.0, 94.0, [0.92, 0.96]),
            Run {
                longest_gap_s: 12.0,
                fallback_answers: 31.0,
                fallback_spend_usd: 3.1,
                ..run("stormproof", 100.0, 100.0, [1.0, 1.0])
            },
        ];
        let said = headline(&Summary { seeds: 30, runs, ..Summary::default() });
        assert_eq!(said.title, "stormproof answered 100% of the turns in time, litellm-1.66 46.0%");
        assert_eq!(
            said.details,
            [
                "Under litellm-1.66, 54 of 100 turns got no answer in time. The fallback gave no answer.",
                "Under litellm-1.109, 6 of 100 turns got no answer in time. The fallback gave no answer.",
                "Under stormproof, all 100 turns were answered in time; the longest time without any answer was 12 s. The \
             fallback gave 31 answers for 3.10 USD.",
            ]
        );
    }

    #[test]
    fn it_does_not_claim_what_the_intervals_do_not_show() {
        let runs = vec![run("a", 100.0, 94.0, [0.92, 0.96]), run("stormproof", 100.0, 95.0, [0.93, 0.97])];
        let said = headline(&Summary { seeds: 30, runs, ..Summary::default() });
        assert_eq!(
            said.details.last().map(String::as_str),
            Some("Between stormproof and a the difference in answers is not clear: their 95% intervals overlap.")
        );
    }

    #[test]
    fn one_router_is_enough_and_none_is_said() {
        let said = headline(&Summary { seeds: 1, runs: vec![run("a", 4.0, 3.0, [0.7, 0.8])], ..Summary::default() });
        assert_eq!(said.title, "a answered 75.0% of the turns in time");
        assert_eq!(headline(&Summary::default()).title, "No router was run.");
    }
}
