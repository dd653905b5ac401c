//! How long a provider asks us to wait.
//!
//! Four places say it, and they differ in precision: `RetryInfo.retryDelay` in a Gemini body, `retry-after-ms` and
//! `Retry-After` among the headers (RFC 9110, section 10.2.3: seconds or a date), and the sentence itself ("Please
//! retry in 48.805646254s", "Please try again in 8m2.112s").

use jiff::fmt::rfc2822::DateTimeParser;

use crate::core::{Duration, WallTime};

/// Longer than this nobody means it: a week. What exceeds it is cut to it, so that a garbled header cannot bench a
/// key for years.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// `RetryInfo.retryDelay`: `^\d+(\.\d{1,9})?s$`.
pub(super) fn from_retry_info(text: &str) -> Option<Duration> {
    decimal(text.strip_suffix('s')?, 9).map(capped)
}

/// `retry-after-ms`: milliseconds, possibly with a fraction.
pub(super) fn from_millis_header(text: &str) -> Option<Duration> {
    decimal(text.trim(), 6).map(capped)
}

/// `Retry-After`: seconds (some servers send fractions), or an HTTP date, of which a past one means "now".
pub(super) fn from_header(text: &str, now: WallTime) -> Option<Duration> {
    let text = text.trim();
    if let Some(seconds) = decimal(text, 9) {
        return Some(capped(seconds));
    }
    let date = DateTimeParser::new().relaxed_weekday(true).parse_zoned(text).ok()?;
    let nanos = u64::try_from(date.timestamp().as_nanosecond()).unwrap_or(0);
    Some(capped(WallTime::from_nanos(nanos).since(now)))
}

/// The figure in the sentence, wherever it stands.
pub(super) fn from_message(message: &str) -> Option<Duration> {
    ["retry in ", "try again in "].into_iter().find_map(|lead| {
        let rest = &message[message.find(lead)? + lead.len()..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(rest.len());
        let figure = rest[..end].trim_end_matches('.');
        // A bare number would be read as seconds; a sentence always names its unit.
        figure.ends_with(|c: char| c.is_ascii_alphabetic()).then(|| figure.parse().ok()).flatten().map(capped)
    })
}

/// One figure from a body. Gemini rounds `retryDelay` down to the second while its sentence keeps the nanoseconds;
/// coming back at the rounded figure earns another 429, so the sentence is preferred where both mean the same.
pub(super) fn from_body(retry_info: Option<Duration>, sentence: Option<Duration>) -> Option<Duration> {
    match (retry_info, sentence) {
        (Some(info), Some(sentence)) => {
            let rounded_off = sentence >= info && sentence.saturating_sub(info) < Duration::from_secs(1);
            Some(if rounded_off { sentence } else { info })
        }
        (Some(info), None) => Some(info),
        (None, sentence) => sentence,
    }
}

fn capped(duration: Duration) -> Duration {
    duration.min(LONGEST)
}

/// Reads `digits[.digits]` exactly. `scale` is the power of ten between the unit and a nanosecond, and the number of
/// fractional digits allowed.
fn decimal(text: &str, scale: u32) -> Option<Duration> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() && fraction.len() <= scale as usize => (whole, fraction),
        Some(_) => return None,
        None => (text, ""),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    // Only digits, so the one possible failure is a number too large for the type: for ever.
    let Ok(whole) = whole.parse::<u64>() else { return Some(Duration::MAX) };
    let mut nanos = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()? };
    for _ in fraction.len()..scale as usize {
        nanos *= 10;
    }
    Some(Duration::from_nanos(whole.saturating_mul(10_u64.pow(scale)).saturating_add(nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delay_is_read_exactly_or_not_at_all() {
        let cases = [
            ("33s", Some(Duration::from_secs(33))),
            ("45.837906927s", Some(Duration::from_nanos(45_837_906_927))),
            ("0.5s", Some(Duration::from_millis(500))),
            ("0s", Some(Duration::ZERO)),
            ("99999999999999999999999s", Some(LONGEST)),
            ("33", None),
            ("-1s", None),
            ("1.s", None),
            (".5s", None),
            ("1.0123456789s", None),
            ("1e3s", None),
            ("", None),
            ("s", None),
        ];
        for (text, expected) in cases {
            assert_eq!(from_retry_info(text), expected, "{text}");
        }
    }

    #[test]
    fn the_header_is_seconds_or_a_date() {
        let now = WallTime::from_nanos(1_745_040_057_000_000_000); // 2025-04-19T05:20:57Z
        let cases = [
            ("120", Some(Duration::from_secs(120))),
            (" 2 ", Some(Duration::from_secs(2))),
            ("1.5", Some(Duration::from_millis(1_500))),
            ("Sat, 19 Apr 2025 05:21:57 GMT", Some(Duration::from_secs(60))),
            ("Sat, 19 Apr 2025 05:00:00 GMT", Some(Duration::ZERO)),
            ("Mon, 19 Apr 2025 05:21:57 GMT", Some(Duration::from_secs(60))),
            ("Sat, 19 Apr 2099 05:21:57 GMT", Some(LONGEST)),
            ("soon", None),
            ("-5", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(from_header(text, now), expected, "{text}");
        }
        assert_eq!(from_millis_header("1200.5"), Some(Duration::from_nanos(1_200_500_000)));
    }

    #[test]
    fn the_sentence_names_its_unit() {
        let cases = [
            ("x\nPlease retry in 48.805646254s.", Some(Duration::from_nanos(48_805_646_254))),
            ("Please try again in 8m2.112s. Visit", Some(Duration::from_millis(482_112))),
            ("Please try again in 6ms.", Some(Duration::from_millis(6))),
            ("Please retry in a while", None),
            ("Please retry in 5", None),
            ("retry in ", None),
        ];
        for (text, expected) in cases {
            assert_eq!(from_message(text), expected, "{text}");
        }
    }

    #[test]
    fn a_rounded_delay_gives_way_to_the_sentence() {
        let seconds = |s: f64| Some(Duration::from_secs_f64(s));
        assert_eq!(from_body(seconds(45.0), seconds(45.8)), seconds(45.8));
        assert_eq!(from_body(seconds(45.0), seconds(3.0)), seconds(45.0));
        assert_eq!(from_body(None, seconds(3.0)), seconds(3.0));
        assert_eq!(from_body(None, None), None);
    }
}
