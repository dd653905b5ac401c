//! A reader of JSON for serde, made for bodies that are one long text.
//!
//! Prompts and answers are strings, byte for byte nearly all of them. Here a string is looked through many bytes at a
//! time, and text that is known to be UTF-8 is not checked again when a value inside of it is opened. What is accepted is
//! what serde_json accepts.
//!
//! In serde's terms *bytes* are JSON as it stands here: whoever asks for them gets the source of the next value, see
//! [`Source`](super::json::Source).

use std::ops::Range;

use memchr::memchr2;
use serde::de::{self, Deserialize, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use thiserror::Error;

/// How many values may be read inside of each other. What is only passed over may be as deep as it likes.
const DEPTH_MAX: u8 = 127;

/// So much of a string is looked at byte by byte, and the rest many bytes at a time.
const SHORT: usize = 16;

/// Bytes that do not stand for themselves inside of a string.
static SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut control = 0;
    while control < b' ' as usize {
        special[control] = true;
        control += 1;
    }
    special[b'"' as usize] = true;
    special[b'\\' as usize] = true;
    special
};

/// Why a text is not the JSON that was expected.
#[derive(Debug, Error)]
#[error("{problem} at line {line} column {column}")]
pub(super) struct Error {
    problem: Box<str>,
    line: usize,
    column: usize,
}

/// Reads a whole text.
pub(super) fn from_slice<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Error> {
    // Asked once for all, not for every name and value in it. What is only passed over need not be UTF-8.
    Reader::new(json, std::str::from_utf8(json).ok()).whole()
}

/// The same, of what is known to be UTF-8.
pub(super) fn from_str<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Error> {
    Reader::new(json.as_bytes(), Some(json)).whole()
}

impl Error {
    fn new(problem: impl Into<Box<str>>) -> Self {
        Self { problem: problem.into(), line: 0, column: 0 }
    }

    fn placed(self, before: &[u8]) -> Self {
        let line = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        Self { line: 1 + before.iter().filter(|byte| **byte == b'\n').count(), column: line.len(), ..self }
    }
}

impl de::Error for Error {
    fn custom<T: std::fmt::Display>(problem: T) -> Self {
        Self::new(problem.to_string())
    }
}

/// A place in a text.
struct Reader<'a> {
    json: &'a [u8],
    /// The same, where all of it is UTF-8.
    text: Option<&'a str>,
    at: usize,
    depth: u8,
    /// What closes the arrays and objects that are being passed over.
    open: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn new(json: &'a [u8], text: Option<&'a str>) -> Self {
        Self { json, text, at: 0, depth: 0, open: Vec::new() }
    }

    fn whole<T: Deserialize<'a>>(mut self) -> Result<T, Error> {
        let read = T::deserialize(&mut self).and_then(|value| match self.peek() {
            None => Ok(value),
            Some(_) => Err(Error::new("trailing characters")),
        });
        read.map_err(|error| error.placed(self.json.get(..self.at).unwrap_or(self.json)))
    }

    /// The next byte that is not blank, which is not taken yet.
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.json.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn take(&mut self, wanted: u8) -> Result<(), Error> {
        match self.peek() {
            Some(byte) if byte == wanted => {
                self.at += 1;
                Ok(())
            }
            found => Err(unexpected(found, wanted)),
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.json.get(self.at..).unwrap_or_default()
    }

    /// A stretch of the text, which begins and ends with ASCII.
    fn piece(&self, range: Range<usize>) -> Result<&'a str, Error> {
        let piece = match self.text {
            Some(text) => text.get(range),
            None => self.json.get(range).and_then(|bytes| std::str::from_utf8(bytes).ok()),
        };
        piece.ok_or_else(|| Error::new("invalid unicode code point"))
    }

    /// Passes over a value of any kind.
    fn skip(&mut self) -> Result<(), Error> {
        loop {
            let opened = match self.peek() {
                Some(b'"') => self.string().map(|_escaped| None)?,
                Some(b'{') => Some(b'}'),
                Some(b'[') => Some(b']'),
                Some(b't') => self.word(b"true").map(|()| None)?,
                Some(b'f') => self.word(b"false").map(|()| None)?,
                Some(b'n') => self.word(b"null").map(|()| None)?,
                Some(b'-' | b'0'..=b'9') => self.number().map(|()| None)?,
                Some(_) => return Err(Error::new("expected value")),
                None => return Err(Error::new("EOF while parsing a value")),
            };
            let mut first = false;
            if let Some(closes) = opened {
                self.at += 1;
                self.open.push(closes);
                first = true;
            }
            // Behind a value, or in front of the first one of an array or object.
            loop {
                let Some(&closes) = self.open.last() else { return Ok(()) };
                if self.peek() == Some(closes) {
                    self.at += 1;
                    self.open.pop();
                    first = false;
                    continue;
                }
                if !first {
                    self.take(b',')?;
                }
                if closes == b'}' {
                    self.name()?;
                }
                break;
            }
        }
    }

    /// Passes over a member's name and its colon.
    fn name(&mut self) -> Result<(), Error> {
        match self.peek() {
            Some(b'"') => self.string()?,
            Some(_) => return Err(Error::new("key must be a string")),
            None => return Err(Error::new("EOF while parsing an object")),
        };
        self.take(b':')
    }

    /// Passes over a string. Says whether it has escapes.
    fn string(&mut self) -> Result<bool, Error> {
        let mut escaped = false;
        self.at += 1;
        loop {
            let rest = self.rest();
            let plain = plain(rest).ok_or_else(|| Error::new("EOF while parsing a string"))?;
            self.at += plain;
            match rest.get(plain) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) | None => {
                    return Err(Error::new("control character (\\u0000-\\u001F) found while parsing a string"));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<(), Error> {
        match self.rest() {
            [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
            [_, b'u', digits @ ..] if digits.len() >= 4 && digits.iter().take(4).all(u8::is_ascii_hexdigit) => {
                self.at += 6;
            }
            _ => return Err(Error::new("invalid escape")),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Error> {
        let has_sign = self.rest().first() == Some(&b'-');
        self.at += usize::from(has_sign);
        let has_zero = self.rest().first() == Some(&b'0');
        let digits = self.digits()?;
        if has_zero && digits > 1 {
            return Err(Error::new("invalid number"));
        }
        if self.rest().first() == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let [b'e' | b'E', rest @ ..] = self.rest() {
            self.at += 1 + usize::from(matches!(rest.first(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    /// Passes over at least one digit.
    fn digits(&mut self) -> Result<usize, Error> {
        let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        if digits == 0 { Err(Error::new("invalid number")) } else { Ok(digits) }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Error> {
        if !self.rest().starts_with(word) {
            return Err(Error::new("expected ident"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Goes one level deeper while `read` reads there.
    fn inside<T>(&mut self, closes: u8, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == DEPTH_MAX {
            return Err(Error::new("recursion limit exceeded"));
        }
        self.at += 1;
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        self.take(closes)?;
        Ok(value)
    }

    fn read_string<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        let begin = self.at;
        if self.string()? {
            let decoded = serde_json::from_str::<String>(self.piece(begin..self.at)?);
            return visitor.visit_string(decoded.map_err(|_lone_surrogate| Error::new("invalid escape"))?);
        }
        visitor.visit_borrowed_str(self.piece(begin + 1..self.at - 1)?)
    }

    fn read_number<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        let begin = self.at;
        self.number()?;
        let source = self.piece(begin..self.at)?;
        if let Ok(number) = source.parse() {
            return visitor.visit_u64(number);
        }
        // A zero below zero is no integer.
        if let Ok(number @ ..0) = source.parse() {
            return visitor.visit_i64(number);
        }
        match source.parse::<f64>() {
            Ok(number) if number.is_finite() => visitor.visit_f64(number),
            Ok(_) | Err(_) => Err(Error::new("number out of range")),
        }
    }
}

/// How many bytes at the start of a string's rest stand for themselves; `None` if nothing follows them.
fn plain(rest: &[u8]) -> Option<usize> {
    // Names are over before a search would have begun.
    let (short, long) = rest.split_at(rest.len().min(SHORT));
    if let Some(place) = short.iter().position(|byte| SPECIAL[usize::from(*byte)]) {
        return Some(place);
    }
    let end = memchr2(b'"', b'\\', long)?;
    let text = long.get(..end)?;
    // The least of all bytes takes a fraction of the time that the first one below a limit would take.
    let has_control = text.iter().fold(u8::MAX, |least, byte| least.min(*byte)) < b' ';
    let control = if has_control { text.iter().position(|byte| *byte < b' ') } else { None };
    Some(SHORT + control.unwrap_or(end))
}

fn unexpected(found: Option<u8>, wanted: u8) -> Error {
    match found {
        Some(_) => Error::new(format!("expected `{}`", char::from(wanted))),
        None => Error::new("EOF while parsing"),
    }
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b'"') => self.read_string(visitor),
            Some(b'{') => self.inside(b'}', |reader| visitor.visit_map(Members { reader, first: true })),
            Some(b'[') => self.inside(b']', |reader| visitor.visit_seq(Elements { reader, first: true })),
            Some(b't') => self.word(b"true").and_then(|()| visitor.visit_bool(true)),
            Some(b'f') => self.word(b"false").and_then(|()| visitor.visit_bool(false)),
            Some(b'n') => self.word(b"null").and_then(|()| visitor.visit_unit()),
            Some(b'-' | b'0'..=b'9') => self.read_number(visitor),
            Some(_) => Err(Error::new("expected value")),
            None => Err(Error::new("EOF while parsing a value")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b'n') => self.word(b"null").and_then(|()| visitor.visit_none()),
            Some(_) | None => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    /// The source of the next value.
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.peek();
        let begin = self.at;
        self.skip()?;
        visitor.visit_borrowed_str(self.piece(begin..self.at)?)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.skip()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier
    }
}

/// The members of the object that the reader is in.
struct Members<'r, 'a> {
    reader: &'r mut Reader<'a>,
    first: bool,
}

impl<'a> MapAccess<'a> for Members<'_, 'a> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if self.reader.peek() == Some(b'}') {
            return Ok(None);
        }
        if !std::mem::replace(&mut self.first, false) {
            self.reader.take(b',')?;
        }
        if self.reader.peek() != Some(b'"') {
            return Err(Error::new("key must be a string"));
        }
        let name = seed.deserialize(&mut *self.reader)?;
        self.reader.take(b':')?;
        Ok(Some(name))
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(&mut *self.reader)
    }
}

/// The elements of the array that the reader is in.
struct Elements<'r, 'a> {
    reader: &'r mut Reader<'a>,
    first: bool,
}

impl<'a> SeqAccess<'a> for Elements<'_, 'a> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if self.reader.peek() == Some(b']') {
            return Ok(None);
        }
        if !std::mem::replace(&mut self.first, false) {
            self.reader.take(b',')?;
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }

    /// Most arrays have one element: one message, one candidate, one part.
    fn size_hint(&self) -> Option<usize> {
        self.first.then_some(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::Value;

    use super::*;
    use crate::wire::json::Source;

    /// Read whole, passed over, and as source, from bytes and from text: all of them, or none.
    fn read(json: &[u8]) -> Option<(Value, String)> {
        let tree = from_slice::<Value>(json).ok();
        assert_eq!(from_slice::<IgnoredAny>(json).is_ok(), serde_json::from_slice::<IgnoredAny>(json).is_ok());
        let source = from_slice::<Source<'_>>(json).ok().map(|source| source.get().to_owned());
        if let Ok(text) = std::str::from_utf8(json) {
            assert_eq!(from_str::<Value>(text).ok(), tree);
            assert_eq!(from_str::<Source<'_>>(text).ok().map(Source::get), source.as_deref());
        }
        tree.zip(source)
    }

    fn agrees(json: &[u8]) {
        let theirs = serde_json::from_slice::<Value>(json).ok();
        let ours = read(json);
        assert_eq!(ours.as_ref().map(|(tree, _)| tree), theirs.as_ref(), "{:?}", String::from_utf8_lossy(json));
        if let (Some((_, source)), Ok(text)) = (ours, std::str::from_utf8(json)) {
            assert_eq!(source, text.trim_matches([' ', '\n', '\t', '\r']));
        }
    }

    #[test]
    fn what_is_accepted_is_what_serde_json_accepts() {
        for json in [
            "",
            " ",
            "{",
            "}",
            "[",
            "[]",
            "[ ]",
            "[,]",
            "[1,]",
            "[1 2]",
            "[1}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":[{\"b\":{}}],\"c\":[[],[1]]} ",
            "nul",
            "null",
            "nullx",
            "true",
            "false1",
            "0",
            "-0",
            "00",
            "01",
            "-",
            "1.",
            ".5",
            "1.5e3",
            "1e",
            "1e+",
            "1E-2",
            "1e999",
            "-1e999",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775808",
            "-9223372036854775809",
            "0x1",
            "+1",
            "\"",
            "\"a",
            "\"a\"b",
            r#""\""#,
            r#""\"""#,
            r#""\u00e9\n\/""#,
            r#""\u00g0""#,
            r#""\u12""#,
            r#""\x""#,
            r#""\ud83d\ude00""#,
            r#""\ud83d""#,
            "\"\u{1f}\"",
            "\"\t\"",
            "\"\u{7f}\u{e9}\"",
            "// no",
            "\u{feff}1",
            "{\"a\":1,\"a\":2}",
        ] {
            // At every distance from where the second way begins.
            for lead in [0, 1, SHORT - 3, SHORT - 1, SHORT, SHORT + 1] {
                agrees(format!("{}{json}", " ".repeat(lead)).as_bytes());
                let text = format!("\"{}{}\"", "x".repeat(lead), json.replace('"', ""));
                agrees(text.as_bytes());
            }
        }
        for bytes in [&b"\"\xff\""[..], b"\"\xe9", b"[\"\xc3\xa9\", \"\xc3\"]", b"{\"\xff\":1}"] {
            agrees(bytes);
        }
    }

    #[test]
    fn depth_is_limited_only_where_it_is_read() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        for levels in [1, 126, 127, 128, 129] {
            agrees(deep(levels).as_bytes());
        }
        assert!(from_str::<IgnoredAny>(&deep(100_000)).is_ok());
        assert!(from_str::<Source<'_>>(&deep(100_000)).is_ok());
    }

    #[test]
    fn problems_have_a_place() {
        let error = from_str::<Value>("{\"a\": 1,\n \"b\": x}").expect_err("no JSON");
        assert_eq!(error.to_string(), "expected value at line 2 column 6");
    }

    fn trees() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // Numbers that every parser reads alike.
            any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
            "\\PC{0,80}".prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_serde_json_writes_is_read(tree in trees(), pretty: bool) {
            let json = if pretty { serde_json::to_vec_pretty(&tree) } else { serde_json::to_vec(&tree) };
            agrees(&json.expect("a tree"));
        }

        #[test]
        fn whatever_is_damaged_is_judged_alike(tree in trees(), at: prop::sample::Index, byte: u8, cut: bool) {
            let mut json = serde_json::to_vec(&tree).expect("a tree");
            let at = at.index(json.len());
            if cut { json.truncate(at) } else { json[at] = byte }
            agrees(&json);
        }

        #[test]
        fn soup_is_judged_alike(soup in "[\\[\\]{}\",:\\\\u0-3eE.+tfn \n-]{0,24}") {
            agrees(soup.as_bytes());
        }
    }
}
