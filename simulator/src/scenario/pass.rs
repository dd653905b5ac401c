//! What a scenario says must hold: `stormproof: success_rate >= 99.9%`.
//!
//! ```text
//! expression = router ":" metric comparison bound
//! comparison = ">=" | "<=" | ">" | "<" | "=="
//! bound      = quantity | [number "*"] reference
//! reference  = router ["." metric]           (the same metric where none is named)
//! ```
//! A metric is a field of [`Run`] without its unit: `success_rate`, `longest_gap`, `latency.p99`, `fallback_spend`,
//! `failures.deadline`, `upstream_statuses.429`. A quantity is written in the metric's unit: `99.9%`, `180s`, `5 USD`.

use std::fmt;

use stormproof_router::config::{Count, Money, Period, Share, Unreadable, suggest};

use crate::study::summary::{PassResult, Run, Summary};

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    text: String,
    left: Reference,
    comparison: Comparison,
    bound: Bound,
}

/// One number of one router.
#[derive(Clone, Debug, PartialEq)]
struct Reference {
    router: String,
    metric: Metric,
}

#[derive(Clone, Debug, PartialEq)]
enum Bound {
    Quantity(f64),
    Scaled(f64, Reference),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    AtMost,
    Above,
    Below,
    Equal,
}

/// Which number of a run.
#[derive(Clone, Debug, PartialEq)]
enum Metric {
    Plain(&'static Plain),
    UpstreamStatus(String),
    ClientStatus(String),
    Failure(String),
}

/// A metric with a name of its own.
struct Plain {
    name: &'static str,
    unit: Unit,
    value: fn(&Run) -> f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Share,
    Time,
    Usd,
    Count,
}

/// Every plain metric: the fields of [`Run`], with times in seconds.
static METRICS: &[Plain] = &[
    Plain { name: "turns", unit: Unit::Count, value: |run| run.turns },
    Plain { name: "succeeded", unit: Unit::Count, value: |run| run.succeeded },
    Plain { name: "success_rate", unit: Unit::Share, value: |run| run.success_rate },
    Plain { name: "success_rate_ci95.low", unit: Unit::Share, value: |run| run.success_rate_ci95[0] },
    Plain { name: "success_rate_ci95.high", unit: Unit::Share, value: |run| run.success_rate_ci95[1] },
    Plain { name: "client_calls", unit: Unit::Count, value: |run| run.client_calls },
    Plain { name: "latency.p50", unit: Unit::Time, value: |run| secs(run.latency_ms.p50) },
    Plain { name: "latency.p90", unit: Unit::Time, value: |run| secs(run.latency_ms.p90) },
    Plain { name: "latency.p99", unit: Unit::Time, value: |run| secs(run.latency_ms.p99) },
    Plain { name: "latency.p99.9", unit: Unit::Time, value: |run| secs(run.latency_ms.p99_9) },
    Plain { name: "latency.max", unit: Unit::Time, value: |run| secs(run.latency_ms.max) },
    Plain { name: "longest_gap", unit: Unit::Time, value: |run| run.longest_gap_s },
    Plain { name: "recovery", unit: Unit::Time, value: |run| run.recovery_s },
    Plain { name: "unrecovered_seeds", unit: Unit::Count, value: |run| f64::from(run.unrecovered_seeds) },
    Plain { name: "fallback_answers", unit: Unit::Count, value: |run| run.fallback_answers },
    Plain { name: "fallback_spend", unit: Unit::Usd, value: |run| run.fallback_spend_usd },
    Plain { name: "fallback_spend_ci95.low", unit: Unit::Usd, value: |run| run.fallback_spend_usd_ci95[0] },
    Plain { name: "fallback_spend_ci95.high", unit: Unit::Usd, value: |run| run.fallback_spend_usd_ci95[1] },
    Plain { name: "total_spend", unit: Unit::Usd, value: |run| run.total_spend_usd },
    Plain { name: "upstream_attempts", unit: Unit::Count, value: |run| run.upstream_attempts },
    Plain { name: "attempts_per_turn", unit: Unit::Count, value: |run| run.attempts_per_turn },
];

fn secs(millis: u64) -> f64 {
    millis as f64 / 1e3
}

impl PartialEq for Plain {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Expression {
    /// Reads an expression about these routers.
    ///
    /// # Errors
    /// A sentence that says what is wrong, where in the expression (characters from 1), and what would do.
    pub fn parse(text: &str, routers: &[&str]) -> Result<Self, String> {
        const FORM: &str = "write it as `stormproof: success_rate >= 99.9%`";
        let at = |part: &str| {
            let offset = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
            text.get(..offset).map_or(0, |before| before.chars().count()) + 1
        };
        let (router, rest) = text.split_once(':').ok_or_else(|| format!("`{text}` names no router; {FORM}"))?;
        let router = router.trim();
        if !routers.contains(&router) {
            return Err(format!(
                "there is no router `{router}` at character {}; {}",
                at(router),
                suggest(router, routers.iter().copied())
            ));
        }
        let signs = ['<', '>', '='];
        let sign = rest.find(signs).ok_or_else(|| format!("`{text}` compares nothing; {FORM}"))?;
        let metric_text = rest[..sign].trim();
        let metric =
            Metric::parse(metric_text).map_err(|unknown| format!("{unknown} (at character {})", at(metric_text)))?;
        let (comparison, bound) = Comparison::parse(&rest[sign..]).ok_or_else(|| {
            format!(
                "`{}` at character {} is no comparison; write >=, <=, >, < or ==",
                rest[sign..].trim(),
                at(&rest[sign..])
            )
        })?;
        let bound = bound.trim();
        let bound =
            Bound::parse(bound, &metric, routers).map_err(|wrong| format!("{wrong} (at character {})", at(bound)))?;
        let left = Reference { router: router.to_owned(), metric };
        Ok(Self { text: text.trim().to_owned(), left, comparison, bound })
    }

    /// The expression as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The routers that it speaks of.
    pub fn routers(&self) -> impl Iterator<Item = &str> {
        let other = match &self.bound {
            Bound::Quantity(_) => None,
            Bound::Scaled(_, reference) => Some(reference.router.as_str()),
        };
        [self.left.router.as_str()].into_iter().chain(other)
    }

    /// Whether it holds in this summary. A router that was left out of the study fails what is said of it.
    pub fn evaluate(&self, summary: &Summary) -> PassResult {
        let measured = self.left.value(summary);
        let bound = match &self.bound {
            Bound::Quantity(quantity) => Some(*quantity),
            Bound::Scaled(factor, reference) => reference.value(summary).map(|value| factor * value),
        };
        let unit = self.left.metric.unit();
        let passed = measured.zip(bound).is_some_and(|(measured, bound)| self.comparison.holds(measured, bound));
        let measured = match (measured, bound, &self.bound) {
            (None, _, _) | (_, None, _) => "not measured".to_owned(),
            (Some(measured), Some(_), Bound::Quantity(_)) => unit.print(measured),
            (Some(measured), Some(bound), Bound::Scaled(..)) => {
                format!("{} against {}", unit.print(measured), unit.print(bound))
            }
        };
        PassResult { expression: self.text.clone(), passed, measured }
    }
}

impl Reference {
    fn value(&self, summary: &Summary) -> Option<f64> {
        summary.run(&self.router).map(|run| self.metric.value(run))
    }
}

impl Bound {
    fn parse(text: &str, metric: &Metric, routers: &[&str]) -> Result<Self, String> {
        if let Some((factor, reference)) = text.split_once('*') {
            let factor = factor.trim();
            let number: f64 =
                factor.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| {
                    format!("`{factor}` is not a number; a multiple is written as `0.5 * litellm-1.66`")
                })?;
            return reference_to(reference.trim(), metric, routers).map(|reference| Self::Scaled(number, reference));
        }
        let begins_as_name = text.starts_with(|c: char| c.is_ascii_alphabetic());
        if begins_as_name {
            return reference_to(text, metric, routers).map(|reference| Self::Scaled(1.0, reference));
        }
        metric.unit().parse(text).map(Self::Quantity).map_err(|unreadable| unreadable.to_string())
    }
}

/// A router, or a router and a metric of it. Names of both may hold dots: the longest router that fits is meant.
fn reference_to(text: &str, same: &Metric, routers: &[&str]) -> Result<Reference, String> {
    let fitting = routers.iter().filter_map(|router| {
        let rest = text.strip_prefix(router)?;
        if rest.is_empty() { Some((*router, None)) } else { Some((*router, Some(rest.strip_prefix('.')?))) }
    });
    let Some((router, metric)) = fitting.max_by_key(|(router, _)| router.len()) else {
        let name = text.split('.').next().unwrap_or(text);
        let all = routers.iter().copied();
        return Err(format!(
            "there is no router `{text}`; {}",
            suggest(if routers.contains(&name) { name } else { text }, all)
        ));
    };
    let metric = metric.map_or_else(|| Ok(same.clone()), Metric::parse)?;
    Ok(Reference { router: router.to_owned(), metric })
}

impl Comparison {
    /// The comparison that a text begins with, and what follows.
    fn parse(text: &str) -> Option<(Self, &str)> {
        const SIGNS: [(&str, Comparison); 5] = [
            (">=", Comparison::AtLeast),
            ("<=", Comparison::AtMost),
            ("==", Comparison::Equal),
            (">", Comparison::Above),
            ("<", Comparison::Below),
        ];
        let (rest, comparison) =
            SIGNS.iter().find_map(|(sign, comparison)| text.strip_prefix(sign).map(|rest| (rest, *comparison)))?;
        (!rest.starts_with(['<', '>', '='])).then_some((comparison, rest))
    }

    fn holds(self, measured: f64, bound: f64) -> bool {
        match self {
            Self::AtLeast => measured >= bound,
            Self::AtMost => measured <= bound,
            Self::Above => measured > bound,
            Self::Below => measured < bound,
            // What is written in decimals need not be a float exactly.
            Self::Equal => (measured - bound).abs() <= 1e-9 * bound.abs().max(1.0),
        }
    }
}

impl Metric {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(plain) = METRICS.iter().find(|plain| plain.name == text) {
            return Ok(Self::Plain(plain));
        }
        if let Some((family, member)) = text.split_once('.').filter(|(_, member)| !member.is_empty()) {
            match family {
                "upstream_statuses" => return Ok(Self::UpstreamStatus(member.to_owned())),
                "client_statuses" => return Ok(Self::ClientStatus(member.to_owned())),
                "failures" => return Ok(Self::Failure(member.to_owned())),
                _ => {}
            }
        }
        // The units of the JSON document's names are left out here.
        let without_unit = text.replace("_usd", "").replace("_ms", "");
        let without_unit = without_unit.strip_suffix("_s").unwrap_or(&without_unit);
        let families = ["upstream_statuses.429", "client_statuses.503", "failures.deadline"];
        let names = METRICS.iter().map(|plain| plain.name).chain(families);
        Err(format!("there is no metric `{text}`; {}", suggest(without_unit, names)))
    }

    fn unit(&self) -> Unit {
        match self {
            Self::Plain(plain) => plain.unit,
            Self::UpstreamStatus(_) | Self::ClientStatus(_) | Self::Failure(_) => Unit::Count,
        }
    }

    fn value(&self, run: &Run) -> f64 {
        match self {
            Self::Plain(plain) => (plain.value)(run),
            Self::UpstreamStatus(status) => run.upstream_statuses.get(status).copied().unwrap_or(0.0),
            Self::ClientStatus(status) => run.client_statuses.get(status).copied().unwrap_or(0.0),
            Self::Failure(failure) => run.failures.get(failure).copied().unwrap_or(0.0),
        }
    }
}

impl Unit {
    fn parse(self, text: &str) -> Result<f64, Unreadable> {
        match self {
            Self::Share => text.parse().map(|Share(share)| share),
            Self::Time => text.parse().map(|Period(period)| period.as_secs_f64()),
            Self::Usd => text.parse().map(|Money(money)| money.as_f64()),
            Self::Count => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(number),
                Ok(_) | Err(_) => text.parse().map(|Count(count)| f64::from(count)),
            },
        }
    }

    fn print(self, value: f64) -> String {
        match self {
            Self::Share => format!("{:.2}%", value * 100.0),
            Self::Time => format!("{value:.1}s"),
            Self::Usd => format!("{value:.2} USD"),
            Self::Count => format!("{}", (value * 1e3).round() / 1e3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTERS: [&str; 2] = ["stormproof", "litellm-1.66"];

    fn summary() -> Summary {
        let run = |policy: &str, success_rate, spend, gap| Run {
            policy: policy.to_owned(),
            turns: 200.0,
            success_rate,
            fallback_spend_usd: spend,
            longest_gap_s: gap,
            fallback_answers: 3.0,
            latency_ms: crate::study::summary::Latency { p99: 90_500, ..Default::default() },
            upstream_statuses: [("429".to_owned(), 2.0)].into(),
            ..Run::default()
        };
        Summary {
            runs: vec![run("stormproof", 0.9995, 4.0, 20.0), run("litellm-1.66", 0.5, 10.0, 2000.0)],
            ..Summary::default()
        }
    }

    #[test]
    fn expressions_hold_or_fail_with_what_was_measured() {
        let cases = [
            ("stormproof: success_rate >= 99.9%", true, "99.95%"),
            ("stormproof: success_rate > 0.9995", false, "99.95%"),
            ("litellm-1.66: longest_gap > 30m", true, "2000.0s"),
            ("stormproof:fallback_spend<=4 USD", true, "4.00 USD"),
            ("stormproof: fallback_spend < 0.5 * litellm-1.66", true, "4.00 USD against 5.00 USD"),
            ("stormproof: fallback_spend < 0.4*litellm-1.66.fallback_spend", false, "4.00 USD against 4.00 USD"),
            ("stormproof: fallback_answers <= 0.02 * stormproof.turns", true, "3 against 4"),
            ("stormproof: latency.p99 < 90s", false, "90.5s"),
            ("stormproof: upstream_statuses.429 == 0", false, "2"),
            ("stormproof: failures.refused == 0", true, "0"),
            ("stormproof: longest_gap < litellm-1.66", true, "20.0s against 2000.0s"),
        ];
        for (text, passed, measured) in cases {
            let result =
                Expression::parse(text, &ROUTERS).unwrap_or_else(|wrong| panic!("{wrong}")).evaluate(&summary());
            assert_eq!((result.passed, result.measured.as_str()), (passed, measured), "{text}");
        }
    }

    #[test]
    fn a_router_that_did_not_run_fails() {
        let expression = Expression::parse("stormproof: turns > 0", &ROUTERS).expect("readable");
        assert!(!expression.evaluate(&Summary::default()).passed);
    }

    #[test]
    fn what_cannot_be_read_names_its_place_and_the_nearest() {
        let cases = [
            (
                "success_rate >= 1",
                "`success_rate >= 1` names no router; write it as `stormproof: success_rate >= 99.9%`",
            ),
            ("stormprof: turns > 0", "there is no router `stormprof` at character 1; did you mean `stormproof`?"),
            (
                "stormproof: sucess_rate > 1",
                "there is no metric `sucess_rate`; did you mean `success_rate`? (at character 13)",
            ),
            (
                "stormproof: longest_gap_s < 1",
                "there is no metric `longest_gap_s`; did you mean `longest_gap`? (at character 13)",
            ),
            (
                "stormproof: turns",
                "`stormproof: turns` compares nothing; write it as `stormproof: success_rate >= 99.9%`",
            ),
            ("stormproof: turns => 3", "`=> 3` at character 19 is no comparison; write >=, <=, >, < or =="),
            (
                "stormproof: longest_gap < 180 parsecs",
                "`180 parsecs` is not what belongs here; expected a duration such as `350ms`, `18s`, `2m30s`, `30d`, or a number of seconds (at character 27)",
            ),
            (
                "stormproof: fallback_spend < 5 * litelm-1.66",
                "there is no router `litelm-1.66`; did you mean `litellm-1.66`? (at character 30)",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Expression::parse(text, &ROUTERS), Err(expected.to_owned()), "{text}");
        }
    }
}
