//! Quantities that a scenario draws, and moments of its day, as people write them.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use stormproof_router::config::{At, Count, Period, Report, Share, Unreadable, Zone, moment};
use stormproof_router::core::{Duration, Timestamp, WallTime};

use crate::draws::Shape;

/// A unit in which a drawn quantity is written.
pub trait Unit: FromStr<Err = Unreadable> + Copy + JsonSchema {
    /// The number that is drawn: seconds, tokens, probability.
    fn number(self) -> f64;
}

impl Unit for Period {
    fn number(self) -> f64 {
        self.0.as_secs_f64()
    }
}

impl Unit for Count {
    fn number(self) -> f64 {
        f64::from(self.0)
    }
}

impl Unit for Share {
    fn number(self) -> f64 {
        self.0
    }
}

/// A quantity: one value, or a distribution such as `{p50: 20s, p99: 80s}`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn<U>(Shape, PhantomData<U>);

impl<U> Drawn<U> {
    /// What is drawn.
    pub fn shape(&self) -> Shape {
        self.0
    }

    /// The value, where there is but one.
    pub fn fixed(&self) -> Option<f64> {
        match self.0 {
            Shape::Fixed(value) => Some(value),
            Shape::Uniform { .. } | Shape::Exponential { .. } | Shape::LogNormal { .. } => None,
        }
    }

    /// Whether nothing but zero is ever drawn.
    pub fn is_zero(&self) -> bool {
        match self.0 {
            Shape::Fixed(most) | Shape::Uniform { max: most, .. } => most <= 0.0,
            Shape::Exponential { mean: middle } | Shape::LogNormal { median: middle, .. } => middle <= 0.0,
        }
    }
}

/// A distribution as it is written: the fields name its kind.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, bound(deserialize = "U: Deserialize<'de>"))]
struct Distribution<U> {
    /// Evenly from here,
    min: Option<U>,
    /// to here.
    max: Option<U>,
    /// Memoryless (exponential), with this mean.
    mean: Option<U>,
    /// Lognormal with this median, and `sigma`.
    median: Option<U>,
    /// Standard deviation of the natural logarithm.
    sigma: Option<f64>,
    /// Lognormal through two measured quantiles: the median,
    p50: Option<U>,
    /// and this one,
    p90: Option<U>,
    /// or this one.
    p99: Option<U>,
}

impl<U> Default for Distribution<U> {
    fn default() -> Self {
        Self { min: None, max: None, mean: None, median: None, sigma: None, p50: None, p90: None, p99: None }
    }
}

impl<U: Unit> Distribution<U> {
    fn shape(self) -> Result<Shape, &'static str> {
        const KINDS: &str =
            "write one of `{min, max}`, `{mean}`, `{median, sigma}`, `{p50, p90}` or `{p50, p99}`, or one value";
        let Self { min, max, mean, median, sigma, p50, p90, p99 } = self;
        let shape = match (min, max, mean, median, sigma, p50, p90, p99) {
            (Some(min), Some(max), None, None, None, None, None, None) => {
                let (min, max) = (min.number(), max.number());
                if min > max {
                    return Err("`min` is above `max`; swap them");
                }
                Shape::Uniform { min, max }
            }
            (None, None, Some(mean), None, None, None, None, None) => Shape::Exponential { mean: mean.number() },
            (None, None, None, Some(median), Some(sigma), None, None, None) => {
                if !(sigma >= 0.0 && sigma.is_finite()) {
                    return Err("`sigma` is at least 0");
                }
                Shape::LogNormal { median: median.number(), sigma }
            }
            (None, None, None, None, None, Some(p50), Some(upper), None) => quantiles(p50, upper, 0.9)?,
            (None, None, None, None, None, Some(p50), None, Some(upper)) => quantiles(p50, upper, 0.99)?,
            (_, _, _, _, _, _, _, _) => return Err(KINDS),
        };
        Ok(shape)
    }
}

fn quantiles<U: Unit>(median: U, upper: U, share: f64) -> Result<Shape, &'static str> {
    let (median, upper) = (median.number(), upper.number());
    if median <= 0.0 || upper < median {
        return Err("`p50` is above zero and not above the upper quantile");
    }
    Ok(Shape::from_quantiles(median, upper, share))
}

impl<'de, U: Unit + Deserialize<'de>> Deserialize<'de> for Drawn<U> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DrawnVisitor<U>(PhantomData<U>);

        impl<'de, U: Unit + Deserialize<'de>> Visitor<'de> for DrawnVisitor<U> {
            type Value = Drawn<U>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one value, or a distribution such as `{p50: ..., p99: ...}` or `{min: ..., max: ...}`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Drawn<U>, E> {
                let value: U = text.parse().map_err(|unreadable| {
                    E::custom(format!("{unreadable}; or a distribution such as `{{p50: ..., p99: ...}}`"))
                })?;
                Ok(Drawn(Shape::Fixed(value.number()), PhantomData))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Drawn<U>, A::Error> {
                let distribution = Distribution::<U>::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Drawn(distribution.shape().map_err(de::Error::custom)?, PhantomData))
            }
        }

        deserializer.deserialize_any(DrawnVisitor(PhantomData))
    }
}

impl<U: Unit> JsonSchema for Drawn<U> {
    fn schema_name() -> Cow<'static, str> {
        format!("Drawn{}", U::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "One value, or a distribution: `{min, max}`, `{mean}`, `{median, sigma}`, `{p50, p90}`, `{p50, p99}`.",
            "anyOf": [generator.subschema_for::<U>(), generator.subschema_for::<Distribution<U>>()],
        })
    }
}

/// The day's own clock: from moments as people write them to time since the start.
pub(super) struct Clock {
    pub(super) start: WallTime,
    pub(super) zone: Zone,
    pub(super) duration: Duration,
}

/// A moment of the day: a time of day (`22:20:50`, the next one), a full moment, or a duration since the start (`10m`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Moment(pub String);

impl JsonSchema for Moment {
    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "number"],
            "description": "A time of day such as `22:20:50` (in quotes), a moment such as `2025-04-18 22:20 America/Los_Angeles`, or a duration since the start such as `10m`.",
        })
    }
}

impl Clock {
    /// The moment as time since the start.
    pub(super) fn at(&self, written: &At<Moment>, report: &mut Report) -> Timestamp {
        let text = written.value.0.trim();
        let since_start = |wall: WallTime| Timestamp::ZERO + wall.since(self.start);
        if let Ok(after) = text.parse::<Duration>() {
            return Timestamp::ZERO + after;
        }
        if let Some(wall) = self.zone.next(self.start, text) {
            return since_start(wall);
        }
        match moment(text) {
            Ok((wall, _)) if wall < self.start => {
                report.say(written.spot, format!("`{text}` is before the start, {}", self.zone.show(self.start)));
            }
            Ok((wall, _)) => return since_start(wall),
            Err(_) if text.len() > 10 && text.contains(' ') => {
                report.say(written.spot, moment(text).err().unwrap_or_default());
            }
            Err(_) => {
                let message = format!(
                    "`{text}` is not a moment; write a time of day such as `\"22:20:50\"`, a duration since the start such as `10m`, or a date with time and zone"
                );
                report.say(written.spot, message);
            }
        }
        Timestamp::ZERO
    }

    /// An interval; both ends are optional, and the end is for ever where none is written.
    pub(super) fn interval(
        &self,
        from: Option<&At<Moment>>,
        until: Option<&At<Moment>>,
        report: &mut Report,
    ) -> (Timestamp, Timestamp) {
        let begin = from.map_or(Timestamp::ZERO, |from| self.at(from, report));
        let end = until.map_or(Timestamp::MAX, |until| self.at(until, report));
        if let Some(until) = until.filter(|_| end <= begin) {
            let message = format!("the interval ends at `{}`, which is not after its begin; swap them", until.value.0);
            report.say(until.spot, message);
        }
        if let Some(from) = from.filter(|_| {
            self.duration > Duration::ZERO && begin.since(Timestamp::ZERO) > self.duration.saturating_mul(2)
        }) {
            let message = format!(
                "`{}` is long after the day, which takes {} from {}",
                from.value.0,
                self.duration,
                self.zone.show(self.start)
            );
            report.say(from.spot, message);
        }
        (begin, end)
    }
}
