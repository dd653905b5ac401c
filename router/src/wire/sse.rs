//! Cutting a byte stream into events, whatever pieces it arrives in.
//!
//! Two framings are in use. *Server-sent events* (WHATWG HTML, section 9.2.6): blocks of lines, each ended by an empty
//! line, with LF, CR or CRLF as line ends; Gemini writes CRLF, everybody else LF. *A JSON array*: what Gemini streams
//! without `alt=sse`, one element an event. An event is given out once it is complete, together with the exact bytes
//! it came in, so that a stream can be inspected and still be passed on byte for byte.

use std::borrow::Cow;

use memchr::{memchr2, memchr2_iter};

/// An event larger than this is a broken stream. Generated images come inside events, so it is generous.
const EVENT_MAX: usize = 64 << 20;

/// How events are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    #[default]
    Sse,
    /// One JSON array, an element an event.
    Array,
}

/// What a block of the stream was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// Something with a payload.
    Data(Cow<'a, [u8]>),
    /// A comment, a name without data, the brackets and commas of an array.
    Filler,
    /// Lines that belong to no framing: what servers print raw when they fail in the middle of a stream.
    Stray,
}

/// The stream cannot be cut: an event is too large, or an array is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unframed;

/// Cuts a stream. Holds at most one incomplete event.
#[derive(Debug)]
pub(super) struct Splitter {
    framing: Framing,
    /// Bytes not yet given out; those before `scanned` have been looked at.
    held: Vec<u8>,
    scanned: usize,
    /// Something stands in the current line.
    line_filled: bool,
    array: ArrayState,
}

#[derive(Clone, Copy, Debug, Default)]
struct ArrayState {
    /// How many braces and brackets are open.
    depth: usize,
    /// Depth at which elements stand: 1 inside an array, 0 for a lone object.
    base: Option<usize>,
    in_string: bool,
    escaped: bool,
}

impl Splitter {
    pub(super) fn new(framing: Framing) -> Self {
        Self { framing, held: Vec::new(), scanned: 0, line_filled: false, array: ArrayState::default() }
    }

    /// Takes the next bytes and hands out every event that they complete, with the bytes that it came in.
    pub(super) fn push<E: From<Unframed>>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Event<'_>, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.held.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(end) = self.next_end()? {
            let raw = &self.held[start..end];
            start = end;
            let event = match self.framing {
                Framing::Sse => sse_event(raw),
                Framing::Array => array_event(raw),
            };
            if let Err(stop) = each(event, raw) {
                self.drop_before(start);
                return Err(stop);
            }
        }
        self.drop_before(start);
        if self.held.len() > EVENT_MAX { Err(Unframed.into()) } else { Ok(()) }
    }

    /// The stream is over: what was left without its end.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        self.scanned = 0;
        std::mem::take(&mut self.held)
    }

    fn drop_before(&mut self, start: usize) {
        self.held.drain(..start);
        self.scanned -= start;
    }

    /// The end of the next complete event in `held`, looking at every byte once.
    fn next_end(&mut self) -> Result<Option<usize>, Unframed> {
        match self.framing {
            Framing::Sse => Ok(self.next_block_end()),
            Framing::Array => self.next_element_end(),
        }
    }

    fn next_block_end(&mut self) -> Option<usize> {
        while let Some(&byte) = self.held.get(self.scanned) {
            match (byte, self.held.get(self.scanned + 1)) {
                // Whether an LF belongs to it only the next piece can tell.
                (b'\r', None) => return None,
                (b'\r' | b'\n', next) => {
                    let two = byte == b'\r' && next == Some(&b'\n');
                    self.scanned += if two { 2 } else { 1 };
                    if !std::mem::replace(&mut self.line_filled, false) {
                        return Some(self.scanned);
                    }
                }
                (_, _) => {
                    self.line_filled = true;
                    let rest = &self.held[self.scanned..];
                    self.scanned += memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                }
            }
        }
        None
    }

    fn next_element_end(&mut self) -> Result<Option<usize>, Unframed> {
        while let Some(&byte) = self.held.get(self.scanned) {
            self.scanned += 1;
            let state = &mut self.array;
            if state.in_string {
                match byte {
                    _ if state.escaped => state.escaped = false,
                    b'\\' => state.escaped = true,
                    b'"' => state.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' if state.base.is_some() => state.in_string = true,
                b'[' | b'{' => {
                    let base = *state.base.get_or_insert(usize::from(byte == b'['));
                    state.depth += 1;
                    if state.depth == base {
                        return Ok(Some(self.scanned)); // the opening bracket, an event of its own
                    }
                }
                b']' | b'}' => {
                    let Some(base) = state.base else { return Err(Unframed) };
                    state.depth = state.depth.checked_sub(1).ok_or(Unframed)?;
                    if state.depth <= base {
                        return Ok(Some(self.scanned));
                    }
                }
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ if state.base.is_none() => return Err(Unframed),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// The payload of one block of server-sent events.
fn sse_event(raw: &[u8]) -> Event<'_> {
    let raw = raw.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(raw);
    let mut data: Option<Cow<'_, [u8]>> = None;
    let mut stray = false;
    for line in lines(raw).filter(|line| !line.is_empty()) {
        let (name, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        match name {
            b"data" => {
                let value = value.strip_prefix(b" ").unwrap_or(value);
                match &mut data {
                    None => data = Some(Cow::Borrowed(value)),
                    Some(data) => {
                        data.to_mut().push(b'\n');
                        data.to_mut().extend_from_slice(value);
                    }
                }
            }
            b"" | b"event" | b"id" | b"retry" => {}
            _ => stray = true,
        }
    }
    match data {
        Some(data) => Event::Data(data),
        None if stray => Event::Stray,
        None => Event::Filler,
    }
}

/// What stands between line ends, found many bytes at a time: an event is one long line as a rule.
fn lines(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr2_iter(b'\r', b'\n', raw).chain([raw.len()]).map(move |end| {
        let line = &raw[start..end];
        start = end + 1;
        line
    })
}

/// The payload of one piece of an array.
fn array_event(raw: &[u8]) -> Event<'_> {
    match raw.iter().position(|byte| !(byte.is_ascii_whitespace() || *byte == b',')) {
        Some(start) if raw[start] == b'{' => Event::Data(Cow::Borrowed(&raw[start..])),
        Some(_) | None => Event::Filler,
    }
}

/// An incomplete last block, read as if its empty line had come.
pub(super) fn last_event(raw: &[u8]) -> Event<'_> {
    sse_event(raw)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything that comes out, cut at the given places.
    fn events(framing: Framing, stream: &[u8], cuts: &[usize]) -> (Vec<String>, Vec<u8>, Vec<u8>) {
        let mut splitter = Splitter::new(framing);
        let (mut payloads, mut raws) = (Vec::new(), Vec::new());
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).chain([0, stream.len()]).collect();
        places.sort_unstable();
        for pair in places.windows(2) {
            let result = splitter.push(&stream[pair[0]..pair[1]], |event, raw| {
                raws.extend_from_slice(raw);
                match event {
                    Event::Data(data) => payloads.push(String::from_utf8_lossy(&data).into_owned()),
                    Event::Filler => {}
                    Event::Stray => payloads.push("stray".into()),
                }
                Ok::<(), Unframed>(())
            });
            if result.is_err() {
                payloads.push("unframed".into());
                return (payloads, Vec::new(), Vec::new());
            }
        }
        (payloads, raws, splitter.rest())
    }

    #[test]
    fn every_line_end_and_every_kind_of_line() {
        let stream = b": hello\r\n\r\ndata: {\"a\": 1}\r\n\r\nevent: x\ndata:two\ndata:  lines\n\nid: 7\n\ndata: cr\r\rdata: tail";
        let (payloads, raws, rest) = events(Framing::Sse, stream, &[]);
        assert_eq!(payloads, ["{\"a\": 1}", "two\n lines", "cr"]);
        assert_eq!(rest, b"data: tail");
        assert_eq!([raws, rest].concat(), stream);
    }

    #[test]
    fn a_raw_error_is_stray() {
        let stream = b"data: 1\n\n{\n  \"error\": {\n  }\n}\n\n";
        assert_eq!(events(Framing::Sse, stream, &[]).0, ["1", "stray"]);
    }

    #[test]
    fn arrays_give_their_elements() {
        let stream = b"[{\"a\": \"},{\\\"\"}\n,\r\n{\"b\": [{}]}\n]\n";
        assert_eq!(events(Framing::Array, stream, &[]).0, ["{\"a\": \"},{\\\"\"}", "{\"b\": [{}]}"]);
        assert_eq!(events(Framing::Array, b"{\"error\": {}}", &[]).0, ["{\"error\": {}}"]);
        assert_eq!(events(Framing::Array, b"<html>", &[]).0, ["unframed"]);
        assert_eq!(events(Framing::Array, b"[]]", &[]).0, ["unframed"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn sse_events_do_not_depend_on_the_pieces(
            lines in prop::collection::vec(("(data:|data: |: |event: |x|)", "[a-z{}\" ]{0,6}", "(\r|\n|\r\n){1,3}"), 0..12),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let stream: String = lines.iter().map(|(lead, text, end)| format!("{lead}{text}{end}")).collect();
            let whole = events(Framing::Sse, stream.as_bytes(), &[]);
            prop_assert_eq!(&[whole.1.clone(), whole.2.clone()].concat(), stream.as_bytes());
            prop_assert_eq!(whole, events(Framing::Sse, stream.as_bytes(), &cuts));
        }

        #[test]
        fn array_events_do_not_depend_on_the_pieces(
            stream in "[\\[\\]{}\",:\\\\a \n]{0,40}",
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let whole = events(Framing::Array, stream.as_bytes(), &[]).0;
            prop_assert_eq!(whole, events(Framing::Array, stream.as_bytes(), &cuts).0);
        }
    }
}
