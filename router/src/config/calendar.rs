//! Days and hours, with the time zones that are compiled in: the machine's own zone files never decide when a quota
//! day ends.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan};

use crate::core::WallTime;

/// Where Gemini's quota day ends: at midnight Pacific time, daylight saving included.
/// Source: <https://ai.google.dev/gemini-api/docs/rate-limits>.
const QUOTA_ZONE: &str = "America/Los_Angeles";

/// Resets that settings carry: more than a year, so that a process outlives no list of them unnoticed.
const RESETS: usize = 400;

/// The coming quota-day resets after `now`, ascending. Empty only for times beyond the year 9998.
pub fn quota_resets(now: WallTime) -> Vec<WallTime> {
    let (Some(zone), Some(now)) = (zone(QUOTA_ZONE), timestamp(now)) else { return Vec::new() };
    let today = now.to_zoned(zone.clone()).date();
    (1..=RESETS)
        .map_while(|days| today.checked_add(i64::try_from(days).ok()?.days()).ok())
        .map_while(|date| date.to_zoned(zone.clone()).ok())
        .map_while(|midnight| wall(midnight.timestamp()))
        .collect()
}

/// A moment as people write it: `2025-04-18 22:10 America/Los_Angeles`, `2025-04-19 05:10 UTC` or
/// `2025-04-19T05:10:00Z`, and the zone that it was written in.
///
/// # Errors
/// A sentence that says what is wrong and what would do.
pub fn moment(text: &str) -> Result<(WallTime, Zone), String> {
    let wrong = || {
        format!(
            "`{text}` is not a moment; write it as `2025-04-18 22:10 America/Los_Angeles` or `2025-04-19T05:10:00Z`"
        )
    };
    let text = text.trim();
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok((wall(instant).ok_or_else(wrong)?, Zone(TimeZone::UTC)));
    }
    let (civil, name) = text.rsplit_once(' ').ok_or_else(wrong)?;
    let civil: DateTime = civil.trim().parse().map_err(|_unreadable| wrong())?;
    let zone = zone(name).ok_or_else(|| no_zone(name))?;
    let instant = civil.to_zoned(zone.clone()).map_err(|_out_of_range| wrong())?.timestamp();
    Ok((wall(instant).ok_or_else(wrong)?, Zone(zone)))
}

/// A time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of the machine, for showing times to who sits before it; UTC where it has none.
    pub fn local() -> Self {
        Self(TimeZone::try_system().unwrap_or(TimeZone::UTC))
    }

    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// For rendering dates.
    pub fn time_zone(&self) -> TimeZone {
        self.0.clone()
    }

    /// The moment at which clocks of this zone show a date and time, written as `2025-04-18 22:10`.
    pub fn moment(&self, civil: &str) -> Option<WallTime> {
        let civil: DateTime = civil.trim().parse().ok()?;
        wall(civil.to_zoned(self.0.clone()).ok()?.timestamp())
    }

    /// The first moment at or after `from` at which clocks of this zone show `time`, written as `22:20` or `22:20:50`.
    pub fn next(&self, from: WallTime, time: &str) -> Option<WallTime> {
        // The parser takes a date before a time, and forgets it.
        let time: Time = time.trim().parse().ok().filter(|_| !time.contains('-'))?;
        let today: Date = timestamp(from)?.to_zoned(self.0.clone()).date();
        [today, today.tomorrow().ok()?].into_iter().find_map(|date| {
            let moment = wall(date.to_datetime(time).to_zoned(self.0.clone()).ok()?.timestamp())?;
            (moment >= from).then_some(moment)
        })
    }

    /// `moment` with its offset and this zone, as RFC 9557 writes it: `2025-04-18T22:10:00-07:00[America/Los_Angeles]`.
    pub fn stamp(&self, moment: WallTime) -> String {
        timestamp(moment).map(|instant| instant.to_zoned(self.0.clone()).to_string()).unwrap_or_default()
    }

    /// What the clocks of this zone show at `moment`: `2025-04-18 22:10:00`.
    pub fn show(&self, moment: WallTime) -> String {
        timestamp(moment)
            .map(|instant| instant.to_zoned(self.0.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string())
            .unwrap_or_default()
    }
}

/// Its name; of a machine's own zone that has none, that it is one.
impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("local time"))
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "local" => Ok(Self::local()),
            _ => zone(name).map(Self).ok_or_else(|| no_zone(name)),
        }
    }
}

fn no_zone(name: &str) -> String {
    format!("there is no time zone `{name}`; write a name such as `America/Los_Angeles` or `UTC`")
}

fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

fn timestamp(moment: WallTime) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(moment.as_nanos())).ok()
}

/// `None` before 1970 and after 2554, where nanoseconds in 64 bits end.
fn wall(instant: Timestamp) -> Option<WallTime> {
    u64::try_from(instant.as_nanosecond()).ok().map(WallTime::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> WallTime {
        moment(text).expect("a moment").0
    }

    #[test]
    fn the_quota_day_ends_at_midnight_pacific() {
        let resets = quota_resets(at("2025-04-18 22:10 America/Los_Angeles"));
        assert_eq!(resets.len(), RESETS);
        assert_eq!(resets[0], at("2025-04-19T07:00:00Z"));
        assert!(resets.is_sorted());
    }

    #[test]
    fn a_moment_on_the_reset_waits_for_the_next() {
        assert_eq!(quota_resets(at("2025-04-19T07:00:00Z"))[0], at("2025-04-20T07:00:00Z"));
    }

    #[test]
    fn daylight_saving_makes_days_of_23_and_25_hours() {
        let spring = quota_resets(at("2025-03-08 12:00 America/Los_Angeles"));
        assert_eq!(spring[..2], [at("2025-03-09T08:00:00Z"), at("2025-03-10T07:00:00Z")]);
        let autumn = quota_resets(at("2025-11-01 12:00 America/Los_Angeles"));
        assert_eq!(autumn[..2], [at("2025-11-02T07:00:00Z"), at("2025-11-03T08:00:00Z")]);
    }

    #[test]
    fn times_of_day_are_the_next_ones() {
        let (start, zone) = moment("2025-04-18 22:10 America/Los_Angeles").expect("a moment");
        assert_eq!(zone.next(start, "22:20:50"), Some(at("2025-04-18 22:20:50 America/Los_Angeles")));
        assert_eq!(zone.next(start, "22:10"), Some(start));
        assert_eq!(zone.next(start, "00:30"), Some(at("2025-04-19 00:30 America/Los_Angeles")));
        assert_eq!(zone.next(start, "25:00"), None);
        assert_eq!(zone.show(start), "2025-04-18 22:10:00");
        assert_eq!(zone.stamp(start), "2025-04-18T22:10:00-07:00[America/Los_Angeles]");
    }

    #[test]
    fn what_is_not_a_moment_is_refused() {
        for wrong in ["", "yesterday", "2025-04-18", "2025-04-18 22:10", "2025-02-30 10:00 UTC", "1969-01-01 00:00 UTC"]
        {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
        let error = moment("2025-04-18 22:10 Mars/Olympus").expect_err("no such zone");
        assert!(error.starts_with("there is no time zone `Mars/Olympus`"), "{error}");
    }
}
