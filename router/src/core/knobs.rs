//! The vocabulary of settings: every knob once, with its name, unit, range, default and meaning.
//!
//! The table is the only place where a knob is declared. Configuration files, `sweep --vary`, the tuner, `--help` and
//! the JSON Schema all read [`KNOBS`].

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::time::Duration;

/// Declares [`Knobs`] and [`KNOBS`] from one table.
macro_rules! knobs {
    ($(
        $(#[doc = $doc:literal])+
        $name:literal => $field:ident: $type:ty = $default:expr, $unit:literal, $range:expr, $tune:ident;
    )*) => {
        /// The knobs of one router.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub struct Knobs {$(
            $(#[doc = $doc])+
            pub $field: $type,
        )*}

        impl Default for Knobs {
            fn default() -> Self {
                Self {$($field: $default,)*}
            }
        }

        /// Every knob, in the order of the vocabulary.
        pub const KNOBS: &[Knob] = &[$(Knob {
            name: $name,
            unit: $unit,
            range: $range,
            tune: Tune::$tune,
            doc: concat!($($doc, "\n"),+),
        }),*];

        impl Knobs {
            /// Sets the knob of that name from text: `0.15` or `15%`, `25s`, `on`, `model`.
            ///
            /// # Errors
            /// When there is no such knob, the text does not parse, or the value is out of range. Nothing changes then.
            pub fn set(&mut self, name: &str, text: &str) -> Result<(), KnobError> {
                match name {
                    $($name => self.$field = parse(name, text)?,)*
                    _ => return Err(KnobError::Unknown { name: name.to_owned(), nearest: nearest(name) }),
                }
                Ok(())
            }

            /// The value of the knob of that name, as [`Knobs::set`] would read it.
            pub fn value(&self, name: &str) -> Option<String> {
                match name {
                    $($name => Some(self.$field.print()),)*
                    _ => None,
                }
            }
        }
    };
}

knobs! {
    /// Whom an overload is held against: the key it was seen on, the upstream model, or whichever the evidence says.
    "scope.overload" => scope_overload: OverloadScope = OverloadScope::Model, "key | model | infer", Range::Choice, No;
    /// Distinct keys that must have failed before a fault is taken to be the model's.
    "scope.distinct_keys" => scope_distinct_keys: u32 = 2, "count", Range::Linear(1.0, 8.0), No;
    /// How far back scope inference and the trip rule look.
    "scope.window" => scope_window: Duration = Duration::from_secs(60), "s", Range::Log(10.0, 600.0), No;
    /// Half-life of the pooled health estimate.
    "health.half_life" => health_half_life: Duration = Duration::from_secs(25), "s", Range::Log(4.0, 120.0), Yes;
    /// Weight of the healthy prior, in samples.
    "health.prior_weight" => health_prior_weight: f64 = 0.6, "pseudo-samples", Range::Log(0.3, 8.0), Yes;
    /// A call that lives this long counts as accepted, though it has not answered yet: no failure of the model's, and no
    /// refusal of the key, quota or address that it probes.
    "health.accept_after" => health_accept_after: Duration = Duration::from_secs(4), "s", Range::Linear(1.0, 20.0), No;
    /// Median of the latency that is assumed before any answer was seen.
    "latency.prior_median" => latency_prior_median: Duration = Duration::from_secs(20), "s", Range::Log(0.1, 300.0), No;
    /// Sigma of its lognormal shape.
    "latency.prior_sigma" => latency_prior_sigma: f64 = 0.6, "log units", Range::Linear(0.05, 2.0), No;
    /// Its weight, in answers.
    "latency.prior_weight" => latency_prior_weight: f64 = 20.0, "pseudo-samples", Range::Log(1.0, 1000.0), No;
    /// Estimated failure probability above which a model is degraded.
    "trip.ratio" => trip_ratio: f64 = 0.15, "fraction", Range::Linear(0.05, 0.9), Yes;
    /// Consecutive failures that cool one key while others succeed; 0 is off.
    "trip.consecutive" => trip_consecutive: u32 = 5, "count", Range::Linear(0.0, 20.0), No;
    /// First cooldown after a server fault held against a key. The other classes' lengths are facts, not knobs.
    "cooldown.base" => cooldown_base: Duration = Duration::from_secs(5), "s", Range::Linear(0.0, 3600.0), No;
    /// Factor from one soft cooldown to the next.
    "cooldown.growth" => cooldown_growth: f64 = 2.0, "factor", Range::Linear(1.0, 4.0), No;
    /// Longest soft cooldown.
    "cooldown.max" => cooldown_max: Duration = Duration::from_secs(300), "s", Range::Log(1.0, 86_400.0), No;
    /// Usable share of a tier below which soft cooldowns are ignored.
    "panic.fraction" => panic_fraction: f64 = 0.5, "fraction", Range::Linear(0.0, 1.0), No;
    /// Attempts to a degraded model, as a multiple of its nominal requests per minute; 0 leaves only probes.
    "degraded.share" => degraded_share: f64 = 2.0, "x nominal rpm", Range::Linear(0.0, 10.0), Yes;
    /// Time between two probes of one scope.
    "probe.interval" => probe_interval: Duration = Duration::from_secs(5), "s", Range::Log(0.5, 60.0), No;
    /// Probes of one scope in flight at once.
    "probe.concurrent" => probe_concurrent: u32 = 1, "count", Range::Linear(1.0, 10.0), No;
    /// Attempts for one request, over all tiers. The deadline binds first.
    "retry.max_attempts" => retry_max_attempts: u32 = 30, "count", Range::Linear(1.0, 40.0), Yes;
    /// First back-off after an overload or server fault; doubles, with jitter.
    "retry.backoff_base" => retry_backoff_base: Duration = Duration::from_millis(500), "s", Range::Log(0.02, 4.0), Yes;
    /// Longest back-off.
    "retry.backoff_max" => retry_backoff_max: Duration = Duration::from_secs(4), "s", Range::Log(0.25, 20.0), Yes;
    /// Retries per first attempt that the pool as a whole may spend, beside a floor of 0.1 per second.
    "retry.budget" => retry_budget: f64 = 3.0, "retries per request", Range::Log(0.1, 20.0), No;
    /// Share of every limit that is never used, rounded down to whole units.
    "rate.margin" => rate_margin: f64 = 0.0, "fraction", Range::Linear(0.0, 0.3), Yes;
    /// Added to the 60 s window, for clocks and queues between us and the provider.
    "rate.window_guard" => rate_window_guard: Duration = Duration::from_millis(500), "s", Range::Linear(0.0, 2.0), No;
    /// Whether a 503 consumes the provider's request quota.
    "rate.charge_errors" => rate_charge_errors: ChargeErrors = ChargeErrors::Learn, "yes | no | learn", Range::Choice, No;
    /// How long a request waits for a cheaper tier before it spills to a dearer one.
    "queue.patience" => queue_patience: Duration = Duration::from_secs(18), "s", Range::Linear(0.0, 600.0), Yes;
    /// The same while the cheaper tier is degraded.
    "queue.patience_degraded" => queue_patience_degraded: Duration = Duration::ZERO, "s", Range::Linear(0.0, 600.0), No;
    /// Accepted probability that a start comes too late for its deadline.
    "queue.deadline_risk" => queue_deadline_risk: f64 = 0.01, "probability", Range::Log(2e-4, 5e-2), Yes;
    /// Requests waiting at once; one more is refused.
    "queue.capacity" => queue_capacity: u32 = 10_000, "requests", Range::Log(1.0, 1e6), No;
    /// Day quota kept back, as a multiple of the forecast demand until the reset.
    "quota.reserve" => quota_reserve: f64 = 1.0, "ratio", Range::Linear(0.0, 1.5), Yes;
    /// Whether a request spills at arrival when its wait is predicted to exceed the patience.
    "spill.predict" => spill_predict: bool = true, "on | off", Range::Choice, No;
    /// What one second of delay is worth, as a share of the next tier's price.
    "spend.latency_weight" => spend_latency_weight: f64 = 0.005, "share per s", Range::Linear(0.0, 0.1), Yes;
    /// How a deployment is chosen among those that may be used.
    "select.strategy" => select_strategy: Strategy = Strategy::Headroom,
        "headroom | round-robin | weighted-shuffle | least-busy | lowest-latency | lowest-usage | lowest-cost", Range::Choice, No;
}

/// One line of the vocabulary.
#[derive(Clone, Copy, Debug)]
pub struct Knob {
    /// Its name, as files and commands spell it.
    pub name: &'static str,
    /// Its unit, or its choices.
    pub unit: &'static str,
    /// What it may be.
    pub range: Range,
    /// Whether it is worth tuning.
    pub tune: Tune,
    /// What it means.
    pub doc: &'static str,
}

/// What a knob may be, and on which scale a search should move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// From, to, on a linear scale.
    Linear(f64, f64),
    /// From, to, on a logarithmic scale.
    Log(f64, f64),
    /// One of the words in the unit.
    Choice,
}

/// Whether a knob is worth tuning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tune {
    /// It carries a good part of the result.
    Yes,
    /// It is structural.
    No,
}

/// Why a knob could not be set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KnobError {
    /// No knob has this name.
    #[error("there is no knob `{name}`; the nearest is `{nearest}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        nearest: &'static str,
    },
    /// The text is not of the knob's kind.
    #[error("`{name}` cannot be `{text}`: expected {expected}")]
    Unreadable {
        /// The knob.
        name: String,
        /// What was given.
        text: String,
        /// What would do.
        expected: String,
    },
    /// The value is outside the knob's range.
    #[error("`{name}` cannot be `{text}`: it must lie between {low} and {high} ({unit})")]
    OutOfRange {
        /// The knob.
        name: String,
        /// What was given.
        text: String,
        /// Lowest value.
        low: String,
        /// Highest value.
        high: String,
        /// The unit.
        unit: &'static str,
    },
}

macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* } default $default:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {$(
            $(#[$variant_doc])*
            $variant,
        )*}

        impl Default for $name {
            fn default() -> Self {
                Self::$default
            }
        }

        impl Value for $name {
            const EXPECTED: &'static str = concat!("one of", $(" `", $text, "`"),*);

            fn read(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)*
                    _ => None,
                }
            }

            fn print(&self) -> String {
                match self {
                    $(Self::$variant => $text.to_owned(),)*
                }
            }
        }
    )*};
}

choices! {
    /// Whom an overload is held against.
    OverloadScope {
        /// The key it was seen on, as older routers do.
        Key = "key",
        /// The upstream model.
        Model = "model",
        /// Whichever the evidence says.
        Infer = "infer",
    } default Model;
    /// Whether a 503 consumes the provider's request quota.
    ChargeErrors {
        /// It does.
        Yes = "yes",
        /// It does not.
        No = "no",
        /// Not known: watch what happens.
        Learn = "learn",
    } default Learn;
    /// How a deployment is chosen among those that may be used.
    Strategy {
        /// The most quota left: `min(rpm left, tpm left) / limit + rpd left / limit`, weighted.
        Headroom = "headroom",
        /// Each in turn.
        RoundRobin = "round-robin",
        /// At random, in proportion to the weights.
        WeightedShuffle = "weighted-shuffle",
        /// The fewest in flight.
        LeastBusy = "least-busy",
        /// The quickest of late.
        LowestLatency = "lowest-latency",
        /// The fewest tokens this minute.
        LowestUsage = "lowest-usage",
        /// The cheapest.
        LowestCost = "lowest-cost",
    } default Headroom;
}

/// A type that a knob may have.
trait Value: Sized {
    const EXPECTED: &'static str;

    fn read(text: &str) -> Option<Self>;
    fn print(&self) -> String;

    /// Its place on the knob's scale; `None` for choices.
    fn scale(&self) -> Option<f64> {
        None
    }
}

impl Value for f64 {
    const EXPECTED: &'static str = "a number or a percentage, such as `0.15` or `15%`";

    fn read(text: &str) -> Option<Self> {
        let value = match text.strip_suffix('%') {
            Some(percent) => f64::from_str(percent.trim()).ok()? / 100.0,
            None => f64::from_str(text).ok()?,
        };
        value.is_finite().then_some(value)
    }

    fn print(&self) -> String {
        self.to_string()
    }

    fn scale(&self) -> Option<f64> {
        Some(*self)
    }
}

impl Value for u32 {
    const EXPECTED: &'static str = "a whole number";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn print(&self) -> String {
        self.to_string()
    }

    fn scale(&self) -> Option<f64> {
        Some(f64::from(*self))
    }
}

impl Value for bool {
    const EXPECTED: &'static str = "`on` or `off`";

    fn read(text: &str) -> Option<Self> {
        match text {
            "on" | "true" | "yes" => Some(true),
            "off" | "false" | "no" => Some(false),
            _ => None,
        }
    }

    fn print(&self) -> String {
        if *self { "on" } else { "off" }.to_owned()
    }
}

impl Value for Duration {
    const EXPECTED: &'static str = "a duration such as `350ms`, `18s`, `2m30s`, or a number of seconds";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn print(&self) -> String {
        self.to_string()
    }

    fn scale(&self) -> Option<f64> {
        Some(self.as_secs_f64())
    }
}

fn parse<T: Value>(name: &str, text: &str) -> Result<T, KnobError> {
    let value = T::read(text.trim()).ok_or_else(|| KnobError::Unreadable {
        name: name.to_owned(),
        text: text.to_owned(),
        expected: T::EXPECTED.to_owned(),
    })?;
    let knob = KNOBS.iter().find(|knob| knob.name == name);
    if let (Some(knob), Some(scale)) = (knob, value.scale()) {
        let (low, high) = match knob.range {
            Range::Linear(low, high) | Range::Log(low, high) => (low, high),
            Range::Choice => return Ok(value),
        };
        if !(low..=high).contains(&scale) {
            return Err(KnobError::OutOfRange {
                name: name.to_owned(),
                text: text.to_owned(),
                low: low.to_string(),
                high: high.to_string(),
                unit: knob.unit,
            });
        }
    }
    Ok(value)
}

/// The knob whose name takes the fewest edits to become `name`.
fn nearest(name: &str) -> &'static str {
    KNOBS.iter().map(|knob| knob.name).min_by_key(|candidate| edits(name, candidate)).unwrap_or_default()
}

/// Levenshtein distance over bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_knob_reads_back_what_it_prints() {
        let mut knobs = Knobs::default();
        for knob in KNOBS {
            let printed = knobs.value(knob.name).expect("a declared knob has a value");
            assert_eq!(knobs.set(knob.name, &printed), Ok(()), "{}", knob.name);
        }
        assert_eq!(knobs, Knobs::default());
    }

    #[test]
    fn a_misspelt_knob_names_its_nearest() {
        let error = Knobs::default().set("trip.ration", "0.2").expect_err("there is no such knob");
        assert_eq!(error.to_string(), "there is no knob `trip.ration`; the nearest is `trip.ratio`");
    }

    #[test]
    fn a_value_out_of_range_changes_nothing() {
        let mut knobs = Knobs::default();
        let error = knobs.set("trip.ratio", "150%").expect_err("out of range");
        assert_eq!(error.to_string(), "`trip.ratio` cannot be `150%`: it must lie between 0.05 and 0.9 (fraction)");
        assert_eq!(knobs, Knobs::default());
    }
}
