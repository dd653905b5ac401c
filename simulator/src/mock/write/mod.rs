//! Answers as providers write them.

pub(super) mod embeddings;
pub(super) mod gemini;
pub(super) mod lists;
pub(super) mod open_ai;

use std::io;

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

/// What an answer is called, and by whom.
#[derive(Clone, Debug)]
pub(super) struct Label {
    /// The model, as it was asked for.
    pub(super) model: String,
    /// Letters and digits, unique.
    pub(super) id: String,
    /// Seconds since the Unix epoch, in the scenario's time.
    pub(super) created: u64,
    /// Whether answers tell the service tier, as they do since 2026.
    pub(super) tells_tier: bool,
}

/// JSON over several lines, as Google writes bodies.
pub(super) fn pretty(value: &Value) -> Vec<u8> {
    let mut text = format!("{value:#}").into_bytes();
    text.push(b'\n');
    text
}

/// JSON on one line with a space after colons, as Google writes events.
pub(super) fn spaced(value: &Value) -> Vec<u8> {
    struct Spaced;

    impl Formatter for Spaced {
        fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
            writer.write_all(b": ")
        }
    }

    let mut text = Vec::new();
    // A tree into memory: neither side can fail.
    let _infallible = value.serialize(&mut Serializer::with_formatter(&mut text, Spaced));
    text
}

/// Cuts a text into `pieces` of about the same length; some may be empty.
fn pieces(text: &str, pieces: usize) -> impl Iterator<Item = &str> {
    let mut start = 0;
    (1..=pieces).map(move |number| {
        let end = text.floor_char_boundary(text.len() * number / pieces.max(1));
        let piece = &text[start..end];
        start = end;
        piece
    })
}

/// The part of a count that has been reached after `number` of `pieces`.
fn reached(count: u32, number: usize, pieces: usize) -> u32 {
    let reached = u64::from(count) * number as u64 / pieces.max(1) as u64;
    u32::try_from(reached).unwrap_or(count)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_have_one_line_and_spaces_after_colons() {
        let event = json!({"a": [1, {"b": "x: y\n"}], "c": null});
        assert_eq!(spaced(&event), br#"{"a": [1,{"b": "x: y\n"}],"c": null}"#);
        assert_eq!(pretty(&json!({"a": 1})), b"{\n  \"a\": 1\n}\n");
    }

    #[test]
    fn pieces_are_the_whole() {
        let text = "Zwölf Boxkämpfer 🥊 jagen Viktor";
        for count in 1..60 {
            let cut: Vec<&str> = pieces(text, count).collect();
            assert_eq!((cut.len(), cut.concat().as_str()), (count, text));
        }
        assert_eq!((reached(10, 1, 3), reached(10, 3, 3)), (3, 10));
    }
}
