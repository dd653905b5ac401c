//! Cuts a stream of server-sent events at its seams, without looking into them and without copying what arrived whole.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr_iter;

/// The longest single event; a generated image is one, of up to 20 MB.
const EVENT_MAX: usize = 32 << 20;

/// Collects what arrives and gives it back event by event.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// What has not been given back yet.
    held: Bytes,
    /// So much of `held` holds no seam.
    searched: usize,
}

/// An event is longer than any provider sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Events {
    /// Takes what has arrived.
    pub(super) fn push(&mut self, chunk: Bytes) -> Result<(), TooLong> {
        if self.held.is_empty() {
            self.held = chunk;
            self.searched = 0;
        } else {
            let mut joined = BytesMut::from(std::mem::take(&mut self.held));
            joined.extend_from_slice(&chunk);
            self.held = joined.freeze();
        }
        if self.held.len() > EVENT_MAX { Err(TooLong) } else { Ok(()) }
    }

    /// The next whole event with the empty line after it.
    pub(super) fn pull(&mut self) -> Option<Bytes> {
        // A seam may have begun in what was searched before: the longest is 4 bytes.
        let from = self.searched.saturating_sub(3);
        match seam(&self.held, from) {
            Some(end) => {
                self.searched = 0;
                Some(self.held.split_to(end))
            }
            None => {
                self.searched = self.held.len();
                None
            }
        }
    }

    /// What is left without an end.
    pub(super) fn rest(&mut self) -> Bytes {
        self.searched = 0;
        let length = self.held.len();
        self.held.copy_to_bytes(length)
    }
}

/// The end of the first event: behind the first empty line at or after `from`. Lines end with LF or CRLF.
fn seam(bytes: &[u8], from: usize) -> Option<usize> {
    for at in memchr_iter(b'\n', bytes.get(from..)?).map(|at| at + from) {
        let after = bytes.get(at + 1..)?;
        match after {
            [b'\n', ..] => return Some(at + 2),
            [b'\r', b'\n', ..] => return Some(at + 3),
            _ => {}
        }
    }
    None
}

/// The data of an event: its one `data:` line without the line end, or all of them joined by line feeds. `None` for
/// comments and events without data.
pub(super) fn data(event: &Bytes) -> Option<Bytes> {
    let mut found: Option<Bytes> = None;
    for line in event.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(value) = line.strip_prefix(b"data:") else { continue };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        found = Some(match found {
            None => event.slice_ref(value),
            Some(before) => [&before[..], b"\n", value].concat().into(),
        });
    }
    found
}

/// Whether these bytes are a JSON value outside of any event: how some gateways report that they have failed.
pub(super) fn is_bare_json(bytes: &[u8]) -> bool {
    matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"data: {\"a\": 1}\r\n\r\n: hush\n\ndata: 2\ndata: 3\n\nevent: x\n\ndata: tail";

    fn cut(pieces: &[&[u8]]) -> (Vec<Bytes>, Bytes) {
        let mut events = Events::default();
        let mut found = Vec::new();
        for piece in pieces {
            events.push(Bytes::copy_from_slice(piece)).expect("short");
            found.extend(std::iter::from_fn(|| events.pull()));
        }
        (found, events.rest())
    }

    #[test]
    fn the_cuts_do_not_depend_on_how_it_arrives() {
        let (whole, rest) = cut(&[STREAM]);
        assert_eq!(whole.len(), 4);
        assert_eq!(rest, "data: tail");
        for at in 0..STREAM.len() {
            assert_eq!(cut(&[&STREAM[..at], &STREAM[at..]]), (whole.clone(), rest.clone()), "cut at {at}");
        }
        let bytes: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(cut(&bytes), (whole, rest));
    }

    #[test]
    fn data_is_what_stands_in_data_lines() {
        let (events, _) = cut(&[STREAM]);
        let data: Vec<Option<Bytes>> = events.iter().map(data).collect();
        assert_eq!(data, [Some("{\"a\": 1}".into()), None, Some("2\n3".into()), None]);
    }
}
