//! Time as the router knows it: an argument, never a question.
//!
//! [`Timestamp`] counts nanoseconds since the log's epoch and never goes back. [`WallTime`] counts nanoseconds since
//! 1970-01-01T00:00:00Z and may jump; the router learns it only from [`Input::Clock`](super::Input::Clock) and needs it
//! only to place quota-day resets.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A moment of one run: nanoseconds since the log's epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

/// A length of time in nanoseconds; arithmetic saturates, so "for ever" is [`Duration::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(u64);

/// A moment on the wall clock: nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WallTime(u64);

impl Timestamp {
    /// The log's epoch.
    pub const ZERO: Self = Self(0);
    /// Later than everything; as a wake-up time it means "none".
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `nanos` after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the epoch, for printing and statistics.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / NANOS_PER_SEC as f64
    }

    /// Time passed since `earlier`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// For ever.
    pub const MAX: Self = Self(u64::MAX);

    /// `nanos` nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// `millis` milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// `secs` seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(NANOS_PER_SEC))
    }

    /// `secs` seconds, rounded to the nanosecond; negative and not-a-number become zero, what does not fit [`Self::MAX`].
    pub fn from_secs_f64(secs: f64) -> Self {
        let nanos = secs * NANOS_PER_SEC as f64 + 0.5;
        // A float-to-int cast saturates and turns NaN into 0.
        Self(nanos as u64)
    }

    /// The length in nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The length in whole milliseconds, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The length in seconds, rounded up: what a `Retry-After` header may say without lying.
    pub const fn as_secs_ceil(self) -> u64 {
        self.0.div_ceil(NANOS_PER_SEC)
    }

    /// The length in seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / NANOS_PER_SEC as f64
    }

    /// The difference, or zero.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This length `factor` times.
    pub const fn saturating_mul(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }

    /// This length scaled by a non-negative factor.
    pub fn mul_f64(self, factor: f64) -> Self {
        Self::from_secs_f64(self.as_secs_f64() * factor)
    }
}

impl WallTime {
    /// The moment `nanos` after the Unix epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(rhs.0))
    }
}

impl AddAssign<Duration> for Timestamp {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Add for Duration {
    type Output = Self;
    fn add(self, rhs: Self) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl AddAssign for Duration {
    fn add_assign(&mut self, rhs: Self) {
        *self = *self + rhs;
    }
}

impl Add<Duration> for WallTime {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl From<std::time::Duration> for Duration {
    fn from(value: std::time::Duration) -> Self {
        Self(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Duration> for std::time::Duration {
    fn from(value: Duration) -> Self {
        Self::from_nanos(value.0)
    }
}

/// Not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected a duration such as `350ms`, `18s`, `2m30s`, `1d`, or a number of seconds")]
pub struct DurationError;

/// Reads what people write: `350ms`, `18s`, `2h30m`, `30d`; a bare number is seconds.
impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        const UNITS: [(&str, f64); 7] =
            [("ms", 1e6), ("us", 1e3), ("ns", 1.0), ("d", 86_400e9), ("h", 3_600e9), ("m", 60e9), ("s", 1e9)];
        let mut rest = text.trim();
        if let Ok(secs) = rest.parse::<f64>() {
            return if secs.is_finite() && secs >= 0.0 { Ok(Self::from_secs_f64(secs)) } else { Err(DurationError) };
        }
        let mut nanos = 0.0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(DurationError)?;
            let number: f64 = rest[..digits].parse().map_err(|_not_a_number| DurationError)?;
            rest = &rest[digits..];
            let (unit, factor) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit)).ok_or(DurationError)?;
            nanos += number * factor;
            rest = rest[unit.len()..].trim_start();
        }
        if text.trim().is_empty() { Err(DurationError) } else { Ok(Self((nanos + 0.5) as u64)) }
    }
}

/// As people write it: `350ms`, `18s`, `2m30s`, `1h`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, nanos) = (self.0 / NANOS_PER_SEC, self.0 % NANOS_PER_SEC);
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if secs == 0 {
            return match (nanos % 1_000_000, nanos % 1_000) {
                (0, _) => write!(f, "{}ms", nanos / 1_000_000),
                (_, 0) => write!(f, "{}us", nanos / 1_000),
                (_, _) => write!(f, "{nanos}ns"),
            };
        }
        let (hours, minutes, rest) = (secs / 3600, secs / 60 % 60, secs % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        if nanos > 0 {
            let fraction = format!("{nanos:09}");
            write!(f, "{rest}.{}s", fraction.trim_end_matches('0'))?;
        } else if rest > 0 {
            write!(f, "{rest}s")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_people_write_them() {
        let cases = [
            (Duration::ZERO, "0s"),
            (Duration::from_millis(350), "350ms"),
            (Duration::from_nanos(1_500), "1500ns"),
            (Duration::from_secs(18), "18s"),
            (Duration::from_secs(150), "2m30s"),
            (Duration::from_secs(3600), "1h"),
            (Duration::from_millis(90_250), "1m30.25s"),
        ];
        for (duration, text) in cases {
            assert_eq!(duration.to_string(), text);
            assert_eq!(text.parse(), Ok(duration));
        }
        assert_eq!("2.5s".parse(), Ok(Duration::from_millis(2_500)));
        assert_eq!("0.5".parse(), Ok(Duration::from_millis(500)));
        for wrong in ["", "s", "5 parsecs", "-3", "1h2", "nan"] {
            assert_eq!(wrong.parse::<Duration>(), Err(DurationError), "{wrong}");
        }
    }

    #[test]
    fn time_saturates_instead_of_wrapping() {
        assert_eq!(Timestamp::MAX + Duration::from_secs(1), Timestamp::MAX);
        assert_eq!(Timestamp::ZERO - Duration::from_secs(1), Timestamp::ZERO);
        assert_eq!(Timestamp::ZERO.since(Timestamp::MAX), Duration::ZERO);
        assert_eq!(Duration::from_secs_f64(-1.0), Duration::ZERO);
        assert_eq!(Duration::from_secs_f64(f64::NAN), Duration::ZERO);
        assert_eq!(Duration::from_secs_f64(1e300), Duration::MAX);
    }
}
