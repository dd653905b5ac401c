//! Numbers as people read them: as many digits as carry meaning, always with their unit, and never rounded over an edge
//! that matters (99.996 % is not 100 %, and a cent is not nothing).

/// A share as a percentage: `46.1%`, `99.97%`, `<0.01%`.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 0.01 {
        return "<0.01%".to_owned();
    }
    if (99.995..100.0).contains(&percent) {
        return ">99.99%".to_owned();
    }
    let decimals = percent_decimals(percent);
    format!("{percent:.decimals$}%")
}

/// The interval around a share, with its center's digits: `45.2–47.0`.
pub(crate) fn percent_interval(share: f64, [low, high]: [f64; 2]) -> String {
    let decimals = percent_decimals(share * 100.0);
    format!("{:.decimals$}–{:.decimals$}", low * 100.0, high * 100.0)
}

fn percent_decimals(percent: f64) -> usize {
    match percent {
        p if p == 0.0 || p == 100.0 => 0,
        p if !(1.0..=98.0).contains(&p) => 2,
        _ => 1,
    }
}

/// A length of time in its two largest units: `0.35 s`, `45 s`, `33 min 20 s`, `2 h 30 min`.
pub(crate) fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "–".to_owned();
    }
    if seconds < 9.95 {
        let decimals = if seconds == 0.0 {
            0
        } else if seconds < 0.995 {
            2
        } else {
            1
        };
        return format!("{seconds:.decimals$} s");
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (hours, minutes, rest) {
        (0, 0, _) => format!("{rest} s"),
        (0, _, 0) => format!("{minutes} min"),
        (0, _, _) => format!("{minutes} min {rest} s"),
        (_, 0, _) => format!("{hours} h"),
        (_, _, _) => format!("{hours} h {minutes} min"),
    }
}

/// Milliseconds as [`seconds`].
pub(crate) fn milliseconds(milliseconds: u64) -> String {
    seconds(milliseconds as f64 / 1000.0)
}

/// Money: `0 USD`, `<0.01 USD`, `3.10 USD`, `14,300 USD`.
pub(crate) fn usd(dollars: f64) -> String {
    format!("{} USD", self::dollars(dollars))
}

/// The interval around an amount of money, with its center's digits: `2.80–3.40`.
pub(crate) fn usd_interval(dollars: f64, [low, high]: [f64; 2]) -> String {
    let with_its_digits = |amount: f64| if dollars >= 999.5 { grouped(amount) } else { format!("{amount:.2}") };
    format!("{}–{}", with_its_digits(low), with_its_digits(high))
}

/// [`usd`] without its unit.
pub(crate) fn dollars(dollars: f64) -> String {
    if dollars == 0.0 {
        "0".to_owned()
    } else if dollars > 0.0 && dollars < 0.005 {
        "<0.01".to_owned()
    } else if dollars < 999.5 {
        format!("{dollars:.2}")
    } else {
        grouped(dollars)
    }
}

/// A count, or a mean of counts: `12,345`, `118.5`, `0.03`.
pub(crate) fn count(count: f64) -> String {
    if count.round() == count || count >= 999.5 {
        return grouped(count);
    }
    let decimals = if count < 1.0 { 2 } else { 1 };
    format!("{count:.decimals$}")
}

/// A factor near 1: `1.43`.
pub(crate) fn ratio(ratio: f64) -> String {
    if ratio >= 99.95 { grouped(ratio) } else { format!("{ratio:.2}") }
}

/// A whole number with its thousands set apart: `14,300`.
fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number <= -0.5 {
        text.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "1 key", "21 keys".
pub(crate) fn counted(number: u64, singular: &str) -> String {
    format!("{} {singular}{}", grouped(number as f64), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_round_over_an_edge() {
        let cases = [
            (0.0, "0%"),
            (0.00001, "<0.01%"),
            (0.0042, "0.42%"),
            (0.4614, "46.1%"),
            (0.985, "98.50%"),
            (0.9997, "99.97%"),
            (0.99992, "99.99%"),
            (0.999996, ">99.99%"),
            (1.0, "100%"),
        ];
        for (share, text) in cases {
            assert_eq!(percent(share), text, "{share}");
        }
        assert_eq!(percent_interval(0.4614, [0.4523, 0.47]), "45.2–47.0");
    }

    #[test]
    fn times_have_two_units() {
        let cases = [
            (0.0, "0 s"),
            (0.352, "0.35 s"),
            (9.94, "9.9 s"),
            (9.96, "10 s"),
            (59.6, "1 min"),
            (2000.0, "33 min 20 s"),
            (7200.0, "2 h"),
            (9000.0, "2 h 30 min"),
            (f64::NAN, "–"),
        ];
        for (time, text) in cases {
            assert_eq!(seconds(time), text, "{time}");
        }
        assert_eq!(milliseconds(21_450), "21 s");
    }

    #[test]
    fn money_keeps_its_cents_while_they_matter() {
        let cases =
            [(0.0, "0 USD"), (0.001, "<0.01 USD"), (3.1, "3.10 USD"), (999.4, "999.40 USD"), (14300.4, "14,300 USD")];
        for (amount, text) in cases {
            assert_eq!(usd(amount), text, "{amount}");
        }
        assert_eq!(usd_interval(14300.0, [13887.2, 14713.0]), "13,887–14,713");
        assert_eq!(usd_interval(3.1, [2.8, 3.4]), "2.80–3.40");
    }

    #[test]
    fn counts_show_a_fraction_only_where_there_is_one() {
        let cases = [(0.0, "0"), (0.033, "0.03"), (118.5, "118.5"), (999.7, "1,000"), (1_234_567.0, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(count(number), text, "{number}");
        }
        assert_eq!(
            (ratio(1.426), counted(1, "key"), counted(21, "key")),
            ("1.43".into(), "1 key".into(), "21 keys".into())
        );
    }
}
