//! Places in a log as people write them: a time, the number of an event, or the end.

use std::str::FromStr;

use thiserror::Error;

use super::reader::Place;
use super::segment::Header;
use crate::config::{Zone, moment};
use crate::core::{Duration, Timestamp, WallTime};

/// A place in a log: `22:20:50` (the first one in it), `2025-04-18 22:20`, `10m` after its beginning, `#1200` or `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When(String);

/// A text that names no place in any log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{0}` is no place in a log; write a time of day such as `22:20:50`, a date and time such as `2025-04-18 22:20`, a \
     duration since the log's beginning such as `10m`, the number of an event such as `#1200`, or `end`"
)]
pub struct WhenError(String);

impl FromStr for When {
    type Err = WhenError;

    fn from_str(text: &str) -> Result<Self, WhenError> {
        // Whether a text can be read does not depend on the log.
        let readable = read(text, WallTime::default(), Timestamp::ZERO, &Zone::utc());
        readable.map(|_place| Self(text.to_owned())).ok_or_else(|| WhenError(text.to_owned()))
    }
}

impl When {
    /// Where that is in the log whose first segment has this head; times without a zone are meant in this one. What is
    /// before the log's beginning is its beginning.
    pub fn place(&self, first: &Header, zone: &Zone) -> Place {
        // Written is what could be read.
        read(&self.0, first.epoch, first.at, zone).unwrap_or(Place::Time(Timestamp::ZERO))
    }
}

fn read(text: &str, epoch: WallTime, first: Timestamp, zone: &Zone) -> Option<Place> {
    let text = text.trim();
    if text == "end" {
        return Some(Place::End);
    }
    if let Some(number) = text.strip_prefix('#') {
        return number.parse().ok().map(Place::Sequence);
    }
    if let Ok(after) = text.parse::<Duration>() {
        return Some(Place::Time(first + after));
    }
    let begun = WallTime::from_nanos(epoch.as_nanos().saturating_add(first.as_nanos()));
    let wall = zone.next(begun, text).or_else(|| zone.moment(text)).or_else(|| Some(moment(text).ok()?.0))?;
    Some(Place::Time(Timestamp::ZERO + wall.since(epoch)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Option<Place> {
        let zone: Zone = "America/Los_Angeles".parse().expect("a zone");
        let epoch = moment("2025-04-18 22:10 America/Los_Angeles").expect("a moment").0;
        read(text, epoch, Timestamp::from_nanos(60_000_000_000), &zone)
    }

    #[test]
    fn places_are_read_as_people_write_them() {
        let at = |seconds: u64| Some(Place::Time(Timestamp::from_nanos(seconds * 1_000_000_000)));
        for (text, expected) in [
            ("end", Some(Place::End)),
            ("#1200", Some(Place::Sequence(1_200))),
            ("10m", at(660)),
            ("22:20:50", at(650)),
            ("22:10", at(86_400)),
            ("2025-04-18 22:20", at(600)),
            ("2025-04-18T22:20:30", at(630)),
            ("2025-04-19 05:20 UTC", at(600)),
            ("2025-04-19T05:20:00Z", at(600)),
            ("2024-01-01 00:00", at(0)),
        ] {
            assert_eq!(place(text), expected, "{text}");
        }
        for wrong in ["", "#", "#x", "25:00", "yesterday", "2025-02-30 10:00"] {
            assert_eq!(place(wrong), None, "{wrong}");
            assert!(wrong.parse::<When>().is_err(), "{wrong}");
        }
    }
}
