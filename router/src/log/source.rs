//! The bytes of one segment, compressed or not, with as much look-ahead as is asked for.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use zstd::stream::read::Decoder;

use super::segment::SegmentFile;

const CHUNK: usize = 1 << 16;
const STEP: usize = 1 << 20;

/// A segment being read.
pub(super) struct Source {
    input: Input,
    buffer: Vec<u8>,
    /// Where the unread part of the buffer begins.
    start: usize,
    /// Offset of that place in the segment, uncompressed.
    offset: u64,
}

enum Input {
    Plain(File),
    Compressed(Box<Decoder<'static, BufReader<File>>>),
}

impl Source {
    pub(super) fn open(segment: &SegmentFile) -> io::Result<Self> {
        let file = File::open(&segment.path)?;
        let input =
            if segment.is_compressed() { Input::Compressed(Box::new(Decoder::new(file)?)) } else { Input::Plain(file) };
        Ok(Self { input, buffer: Vec::new(), start: 0, offset: 0 })
    }

    /// Offset of the next byte, uncompressed.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the file that have been read: of a compressed one, compressed.
    pub(super) fn stored(&mut self) -> io::Result<u64> {
        match &mut self.input {
            Input::Plain(_) => Ok(self.offset),
            Input::Compressed(decoder) => decoder.get_mut().stream_position(),
        }
    }

    /// What has been read and not consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads on until there are `wanted` unread bytes or the file ends; says how many there are. A file that has grown
    /// since is read on.
    pub(super) fn fill(&mut self, wanted: usize) -> io::Result<usize> {
        while self.buffer.len() - self.start < wanted {
            if self.start > CHUNK {
                self.buffer.drain(..self.start);
                self.start = 0;
            }
            let end = self.buffer.len();
            let missing = wanted - (end - self.start);
            // In steps, since a broken length may ask for far more than there is.
            self.buffer.resize(end + missing.clamp(CHUNK, STEP), 0);
            let read = match &mut self.input {
                Input::Plain(file) => file.read(&mut self.buffer[end..]),
                Input::Compressed(decoder) => decoder.read(&mut self.buffer[end..]),
            };
            self.buffer.truncate(end + read.as_ref().map_or(0, |read| *read));
            if read? == 0 {
                break;
            }
        }
        Ok(self.buffer.len() - self.start)
    }

    /// Goes past this many of the bytes that were read.
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
    }

    /// Goes to an offset further on.
    pub(super) fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        while self.offset < offset {
            let missing = usize::try_from(offset - self.offset).unwrap_or(CHUNK).min(CHUNK);
            let available = self.fill(missing)?;
            if available == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.consume(available.min(missing));
        }
        Ok(())
    }

    /// Forgets what was read ahead: another process may rewrite a torn tail. Compressed segments do not change.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        if let Input::Plain(file) = &mut self.input {
            file.seek(SeekFrom::Start(self.offset))?;
            self.buffer.clear();
            self.start = 0;
        }
        Ok(())
    }
}
