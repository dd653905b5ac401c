//! Quantities as people write them: `250k`, `50 USD/day`, `40%`, `0.04/s`, `2h30m`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::core::{Duration, Usd};

/// A text that is not what belongs somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is not what belongs here; expected {expected}")]
pub struct Unreadable {
    /// What was written.
    pub text: String,
    /// What would do.
    pub expected: &'static str,
}

/// Declares quantities that are written as one phrase.
macro_rules! phrases {
    ($($(#[doc = $doc:literal])+ $name:ident($inner:ty) = $read:path, $expected:literal, [$($example:literal),+];)*) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
        pub struct $name(pub $inner);

        impl FromStr for $name {
            type Err = Unreadable;

            fn from_str(text: &str) -> Result<Self, Unreadable> {
                let unreadable = || Unreadable { text: text.chars().take(60).collect(), expected: $expected };
                $read(text.trim()).map(Self).ok_or_else(unreadable)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct PhraseVisitor;

                impl Visitor<'_> for PhraseVisitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(PhraseVisitor)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": ["string", "number"],
                    "description": concat!("Write ", $expected, "."),
                    "examples": [$($example),+],
                })
            }
        }
    )*};
}

phrases! {
    /// A length of time.
    Period(Duration) = period, "a duration such as `350ms`, `18s`, `2m30s`, `30d`, or a number of seconds", ["18s", "2h30m", "30d"];
    /// A number of things, up to four thousand million.
    Count(u32) = count, "a whole number, with `k` for thousands or `M` for millions, such as `1000`, `250k` or `1.5M`", ["25", "250k", "2M"];
    /// A number of bytes.
    Bytes(u64) = bytes, "a size such as `512KB`, `20MB` or `1GB` (powers of 1000), or `64MiB` (powers of 1024)", ["20MB", "64MiB"];
    /// An amount of money.
    Money(Usd) = money, "an amount such as `5 USD` or `0.25 USD`", ["5 USD"];
    /// An amount of money per quota day.
    DayMoney(Usd) = day_money, "an amount such as `50 USD/day`", ["50 USD/day"];
    /// Dollars where the unit stands in the field's meaning: prices per million tokens.
    Dollars(Usd) = dollars, "a number of US dollars such as `1.25`", ["1.25", "10"];
    /// A part of a whole, from 0 to 1.
    Share(f64) = share, "a share such as `40%` or `0.4`, at most 100%", ["40%", "0.9"];
    /// Events per second.
    Rate(f64) = rate, "a rate above zero such as `0.04/s`, `2.4/min` or `100/h`", ["0.04/s", "100/h"];
    /// An address to listen on.
    Address(SocketAddr) = address, "an address and port such as `127.0.0.1:4000`, `localhost:4000` or `[::]:4000`", ["127.0.0.1:4000"];
}

fn period(text: &str) -> Option<Duration> {
    text.parse().ok()
}

/// Digits with at most one point, scaled by `10^places`, exactly; `None` when it does not fit or would need rounding.
fn decimal(text: &str, places: u32) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let missing = places.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    let fraction: u64 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(10u64.checked_pow(places)?)?.checked_add(fraction.checked_mul(10u64.checked_pow(missing)?)?)
}

fn count(text: &str) -> Option<u32> {
    let (digits, places) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 3),
        None => match text.strip_suffix('M') {
            Some(digits) => (digits, 6),
            None => (text, 0),
        },
    };
    u32::try_from(decimal(digits.trim_end(), places)?).ok()
}

fn bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 7] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
    ];
    let (digits, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit).map(|digits| (digits, *factor)))
        .unwrap_or((text, 1));
    decimal(digits.trim_end(), 0)?.checked_mul(factor)
}

fn dollars(text: &str) -> Option<Usd> {
    Some(Usd::from_micros(i64::try_from(decimal(text, 6)?).ok()?))
}

fn money(text: &str) -> Option<Usd> {
    dollars(text.strip_suffix("USD")?.trim_end())
}

fn day_money(text: &str) -> Option<Usd> {
    money(text.strip_suffix("/day")?.trim_end())
}

/// Money per answer: `10 USD/answer`.
pub(super) fn answer_money(text: &str) -> Option<Usd> {
    money(text.trim().strip_suffix("/answer")?.trim_end())
}

fn share(text: &str) -> Option<f64> {
    let share = match text.strip_suffix('%') {
        Some(percent) => finite(percent.trim_end())? / 100.0,
        None => finite(text)?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

fn rate(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once('/')?;
    let seconds = match unit.trim() {
        "s" => 1.0,
        "min" | "m" => 60.0,
        "h" => 3_600.0,
        _ => return None,
    };
    let rate = finite(number.trim())? / seconds;
    (rate > 0.0).then_some(rate)
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?))),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_people_write_them() {
        assert_eq!("250k".parse(), Ok(Count(250_000)));
        assert_eq!("1.5M".parse(), Ok(Count(1_500_000)));
        assert_eq!("25".parse(), Ok(Count(25)));
        assert_eq!("64MiB".parse(), Ok(Bytes(64 << 20)));
        assert_eq!("20 MB".parse(), Ok(Bytes(20_000_000)));
        assert_eq!("50 USD/day".parse(), Ok(DayMoney(Usd::from_micros(50_000_000))));
        assert_eq!("0.05 USD".parse(), Ok(Money(Usd::from_micros(50_000))));
        assert_eq!("1.25".parse(), Ok(Dollars(Usd::from_micros(1_250_000))));
        assert_eq!(answer_money("10 USD/answer"), Some(Usd::from_micros(10_000_000)));
        assert_eq!("40%".parse(), Ok(Share(0.4)));
        assert_eq!("0.04/s".parse(), Ok(Rate(0.04)));
        assert_eq!("3/min".parse(), Ok(Rate(0.05)));
        assert_eq!("localhost:80".parse(), Ok(Address(SocketAddr::from(([127, 0, 0, 1], 80)))));
    }

    #[test]
    fn what_is_not_a_quantity_is_refused() {
        for wrong in ["", "k", "-1", "1.5", "5000M", "1e3", "0.0001k", "1 000", "250 k tokens", "."] {
            assert!(wrong.parse::<Count>().is_err(), "{wrong}");
        }
        for wrong in ["5", "5 EUR", "USD", "-5 USD", "0.0000001 USD", "99999999999999999999 USD"] {
            assert!(wrong.parse::<Money>().is_err(), "{wrong}");
        }
        for wrong in ["140%", "-0.1", "nan", "inf", "x"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
        for wrong in ["0/s", "1", "1/day", "/s", "-1/s", "inf/s"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
        let error = "ten".parse::<Money>().expect_err("not an amount");
        assert_eq!(
            error.to_string(),
            "`ten` is not what belongs here; expected an amount such as `5 USD` or `0.25 USD`"
        );
    }
}
