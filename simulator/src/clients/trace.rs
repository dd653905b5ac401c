//! Recorded arrivals from a CSV file: a header, then one turn a line.

use stormproof_router::core::{Duration, Timestamp, Tokens};
use thiserror::Error;

use super::spec::TraceTurn;

/// Why a file is no arrival trace.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TraceError {
    /// The first line does not name the columns.
    #[error(
        "line 1: expected the columns `at`, and optionally `input`, `output` and `leaves`, separated by commas; found `{found}`"
    )]
    Header {
        /// What it says.
        found: String,
    },
    /// A field cannot be read.
    #[error("line {line}: `{found}` is not a {expected}")]
    Field {
        /// Which line, counted from 1.
        line: usize,
        /// What it says.
        found: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// A line has too few or too many fields.
    #[error("line {line}: {found} fields where the header has {expected}")]
    Fields {
        /// Which line, counted from 1.
        line: usize,
        /// How many it has.
        found: usize,
        /// How many it should have.
        expected: usize,
    },
    /// Time goes back.
    #[error("line {line}: earlier than the line before; sort the file by `at`")]
    Order {
        /// Which line, counted from 1.
        line: usize,
    },
}

/// Reads a trace. `at` is a duration since the start of the run (`12.5`, `3m20s`), `input` and `output` are tokens, and
/// `leaves` is how long after that the user goes away; an empty field is drawn like the turns of a client without a trace,
/// and nobody leaves before their patience ends.
///
/// # Errors
/// With the line, when a column is missing, a field cannot be read, or time goes back.
pub fn parse_trace(text: &str) -> Result<Vec<TraceTurn>, TraceError> {
    let mut lines = text.lines().enumerate();
    let header = lines.next().map_or("", |(_, line)| line);
    let columns: Vec<&str> = header.split(',').map(str::trim).collect();
    let known = columns.iter().all(|column| ["at", "input", "output", "leaves"].contains(column));
    if !known || !columns.contains(&"at") {
        return Err(TraceError::Header { found: header.to_owned() });
    }
    let mut turns: Vec<TraceTurn> = Vec::new();
    for (index, text) in lines.filter(|(_, text)| !text.trim().is_empty()) {
        let turn = parse_line(index + 1, text, &columns)?;
        if turns.last().is_some_and(|before| turn.at < before.at) {
            return Err(TraceError::Order { line: index + 1 });
        }
        turns.push(turn);
    }
    Ok(turns)
}

fn parse_line(line: usize, text: &str, columns: &[&str]) -> Result<TraceTurn, TraceError> {
    let fields: Vec<&str> = text.split(',').map(str::trim).collect();
    if fields.len() != columns.len() {
        return Err(TraceError::Fields { line, found: fields.len(), expected: columns.len() });
    }
    let mut turn = TraceTurn { at: Timestamp::ZERO, input: None, output: None, leaves: None };
    for (column, field) in columns.iter().zip(fields) {
        let wrong = |expected| TraceError::Field { line, found: field.to_owned(), expected };
        let length = |expected| field.parse::<Duration>().map_err(|_not_a_duration| wrong(expected));
        let tokens = || field.parse().map(Tokens::new).map_err(|_not_a_number| wrong("number of tokens"));
        match *column {
            "at" => turn.at = Timestamp::ZERO + length("time since the start, such as `12.5` or `3m20s`")?,
            _other if field.is_empty() => {}
            "leaves" => turn.leaves = Some(length("time since the arrival, such as `12.5` or `3m20s`")?),
            "input" => turn.input = Some(tokens()?),
            _output => turn.output = Some(tokens()?),
        }
    }
    Ok(turn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_with_its_gaps() {
        let turns = parse_trace("at,input,output\n0,8000,1000\n12.5,,\n1m, 10 ,\n").unwrap();
        assert_eq!(turns.len(), 3);
        assert_eq!(turns[0].output, Some(Tokens::new(1000)));
        assert_eq!((turns[1].at, turns[1].input), (Timestamp::from_nanos(12_500_000_000), None));
        assert_eq!(turns[2].input, Some(Tokens::new(10)));
        assert_eq!(parse_trace("at\n5\n").unwrap().len(), 1);
        let left = parse_trace("at,leaves\n5,\n6,1m5s\n").unwrap();
        assert_eq!((left[0].leaves, left[1].leaves), (None, Some(Duration::from_secs(65))));
    }

    #[test]
    fn a_wrong_trace_says_where_and_why() {
        let said = |text: &str| parse_trace(text).unwrap_err().to_string();
        assert!(said("").starts_with("line 1: expected the columns `at`"));
        assert!(said("time,input\n1,2\n").contains("found `time,input`"));
        assert_eq!(
            said("at,input\n1,2\nx,2\n"),
            "line 3: `x` is not a time since the start, such as `12.5` or `3m20s`"
        );
        assert_eq!(said("at,input\n1,-2\n"), "line 2: `-2` is not a number of tokens");
        assert_eq!(
            said("at,leaves\n1,soon\n"),
            "line 2: `soon` is not a time since the arrival, such as `12.5` or `3m20s`"
        );
        assert_eq!(said("at,input\n1\n"), "line 2: 1 fields where the header has 2");
        assert_eq!(said("at\n2\n1\n"), "line 3: earlier than the line before; sort the file by `at`");
    }
}
