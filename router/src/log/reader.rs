//! Reading a log: event by event across its segments, from the start or from a checkpoint, while it grows.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::codec::{Context, Senseless};
use super::event::{Event, What};
use super::frame::{self, Frame, LENGTH_MAX, Parsed};
use super::record::Record;
use super::segment::{self, Head, Header, SegmentFile};
use super::source::Source;
use crate::core::{Duration, Input, Settings, Timestamp};

/// A log that cannot be read on.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file system's error.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// There is nothing of that name.
    #[error("there is no {path}; name the folder of a log, or one of its segments")]
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// There is nothing to read.
    #[error("{path} holds no log: expected segments such as 00000001.log{}", hint(.logs))]
    Empty {
        /// Where.
        path: PathBuf,
        /// Folders in it that do hold one, by name.
        logs: Vec<String>,
    },
    /// Something was changed or lost after it had been written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// A newer program wrote it.
    #[error("{path} is written in log format {format}; this build reads format {ours}: take a newer build", ours = segment::FORMAT)]
    NewerFormat {
        /// Which file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// Its checksum is right, and this build does not know what it says: a newer program wrote it.
    #[error(
        "{path}, offset {offset}: cannot tell what record {sequence} says ({reason}); read it with the build that wrote it"
    )]
    Senseless {
        /// Which file.
        path: PathBuf,
        /// Where its frame begins, uncompressed.
        offset: u64,
        /// Its place in the log.
        sequence: u64,
        /// What was wrong.
        reason: String,
    },
}

/// Something was changed or lost after it had been written. Never skipped silently.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{segment} is damaged at offset {offset}: {what}; everything before it can be read: restore the file from a copy, or \
     move it and the segments after it elsewhere"
)]
pub struct Damage {
    /// Name of the file.
    pub segment: String,
    /// Where, in bytes from its start; of a compressed segment, in its uncompressed form.
    pub offset: u64,
    /// What is wrong there.
    pub what: &'static str,
}

/// A last frame that was not written to its end: what a crash leaves. Nothing had come of it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Name of the file.
    pub segment: String,
    /// Where it must be cut.
    pub offset: u64,
    /// Bytes after that.
    pub bytes: u64,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, offset, bytes } = self;
        write!(
            f,
            "{bytes} bytes of {segment} from offset {offset} on that are no whole frame: a crash leaves that, and so does \
             damage to the last frame"
        )
    }
}

/// Which checkpoint to begin at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The last one.
    End,
    /// The last one at or before this sequence.
    Sequence(u64),
    /// The last one at or before this time.
    Time(Timestamp),
}

impl Place {
    /// Whether an event is there or after it.
    pub fn is_reached(self, event: &Event) -> bool {
        match self {
            Self::End => true,
            Self::Sequence(sequence) => event.sequence >= sequence,
            Self::Time(at) => event.at >= at,
        }
    }

    /// A place so much earlier that what is in flight here was seen to begin.
    pub fn with_lead(self) -> Self {
        match self {
            Self::End => Self::End,
            // How long that is in events, nobody knows.
            Self::Sequence(_) => Self::Sequence(0),
            Self::Time(at) => Self::Time(at - LEAD),
        }
    }
}

/// Longer than any request lives that is not forgotten.
const LEAD: Duration = Duration::from_secs(3_600);

/// Reads events in order.
pub struct Reader {
    log: PathBuf,
    file: SegmentFile,
    source: Source,
    header: Header,
    settings: Arc<Settings>,
    /// Sequence of the next record.
    sequence: u64,
    /// The part of the current frame that is not read yet, from the start of the frame; empty between frames.
    rest: std::ops::Range<usize>,
    context: Context,
    torn: Option<Torn>,
}

/// What to do about a frame.
pub(super) enum Select {
    Take,
    Pass,
    Stop,
}

/// Where a frame begins.
pub(super) struct Spot {
    offset: u64,
    sequence: u64,
    settings: Arc<Settings>,
}

/// What lies between two frames.
enum Between {
    Frame(Frame),
    End,
}

impl Reader {
    /// At the first event of a log: a directory, or one segment alone.
    ///
    /// # Errors
    /// When there is none, or its head cannot be read.
    pub fn open(log: &Path) -> Result<Self, ReadError> {
        let segments = list(log)?;
        let last = segments.len();
        for (number, file) in segments.into_iter().enumerate() {
            if let Opened::Reader(reader) = Self::at_segment(log, file, number + 1 == last)? {
                return Ok(*reader);
            }
        }
        Err(ReadError::Empty { path: log.to_path_buf(), logs: logs_in(log) })
    }

    /// At the checkpoint nearest before a place, or at the first event where there is none. The first event is then the
    /// checkpoint, or a gap just before it.
    ///
    /// # Errors
    /// When the log cannot be read up to there.
    pub fn at_checkpoint(log: &Path, place: Place) -> Result<Self, ReadError> {
        let segments = list(log)?;
        let last = segments.len();
        for (number, file) in segments.into_iter().enumerate().rev() {
            let Opened::Reader(mut reader) = Self::at_segment(log, file, number + 1 == last)? else { continue };
            let spot = reader.last_frame(|frame| {
                let beyond = match place {
                    Place::End => false,
                    Place::Sequence(sequence) => frame.sequence > sequence,
                    Place::Time(at) => frame.at > at,
                };
                match (beyond, frame.kind & frame::CHECKPOINT != 0) {
                    (true, _) => Select::Stop,
                    (false, true) => Select::Take,
                    (false, false) => Select::Pass,
                }
            })?;
            if let Some(spot) = spot
                && let Some(reader) = Self::at_spot(log, reader.file, spot)?
            {
                return Ok(reader);
            }
        }
        Self::open(log)
    }

    /// The next event; `None` at the end of what has been written, where it may be asked again later.
    ///
    /// # Errors
    /// When the log is damaged, or cannot be read. The same error comes again.
    pub fn read(&mut self) -> Result<Option<Event>, ReadError> {
        while self.rest.is_empty() {
            match self.between()? {
                Between::Frame(frame) => self.enter(frame),
                Between::End => {
                    if !self.next_segment()? {
                        return Ok(None);
                    }
                }
            }
        }
        let bytes = &self.source.bytes()[self.rest.clone()];
        // A value at each step, for a chain of closures would copy it at each.
        let (record, left) = match postcard::take_from_bytes::<Record>(bytes) {
            Ok((record, left)) => (record, left.len()),
            Err(error) => return Err(self.senseless(error.to_string())),
        };
        let what = match self.context.read(record) {
            Ok(what) => what,
            Err(Senseless(reason)) => return Err(self.senseless(reason)),
        };
        let event = Event { sequence: self.sequence, at: self.context.now(), what };
        if let What::Input(Input::Configured { settings }) = &event.what {
            self.settings = Arc::clone(settings);
        }
        self.sequence += 1;
        self.rest.start = self.rest.end - left;
        if left == 0 {
            self.leave();
        }
        Ok(Some(event))
    }

    /// The log being read: a directory, or one segment alone.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The head of the segment being read.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The settings in force at this place: what ids in the next event mean, unless it changes them.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// The sequence of the next event.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What a crash left at the end, once [`Reader::read`] has come there.
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    /// Name of the segment being read, and the offset in it, uncompressed.
    pub fn position(&self) -> (String, u64) {
        (self.file.name(), self.source.offset())
    }

    /// How far the reading is: bytes on disk up to here, and in all.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn progress(&mut self) -> Result<(u64, u64), ReadError> {
        let mut done = self.source.stored().map_err(|error| self.trouble(error))?;
        let mut all = 0;
        for segment in list(&self.log)? {
            let size = segment.size().map_err(|error| trouble(&segment, 0, error))?;
            all += size;
            done += if segment.index < self.file.index { size } else { 0 };
        }
        Ok((done.min(all), all))
    }

    /// At the first frame of a segment. A last segment without an unbroken head and without a frame was being made when
    /// its writer died.
    pub(super) fn at_segment(log: &Path, mut file: SegmentFile, is_last: bool) -> Result<Opened, ReadError> {
        let mut opened = Source::open(&file);
        if matches!(&opened, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            // Compressed since it was listed.
            file = file.compressed();
            opened = Source::open(&file);
        }
        let trouble = |offset, error| trouble(&file, offset, error);
        let mut source = opened.map_err(|error| trouble(0, error))?;
        loop {
            match Header::parse(source.bytes()) {
                Head::Header(header, length) => {
                    source.consume(length);
                    let context = Context::new(header.at);
                    let (sequence, settings) = (header.sequence, Arc::clone(&header.settings));
                    return Ok(Opened::Reader(Box::new(Self {
                        log: log.to_path_buf(),
                        file,
                        source,
                        header: *header,
                        settings,
                        sequence,
                        rest: 0..0,
                        context,
                        torn: None,
                    })));
                }
                Head::Short(wanted) if source.fill(wanted).map_err(|error| trouble(0, error))? >= wanted => continue,
                Head::Short(_) | Head::Broken => {}
                Head::Newer(format) => return Err(ReadError::NewerFormat { path: file.path, format }),
                Head::Senseless(reason) => {
                    return Err(ReadError::Senseless { path: file.path, offset: 0, sequence: 0, reason });
                }
            }
            let available = source.fill(LENGTH_MAX).map_err(|error| trouble(0, error))?;
            return if is_last && !file.is_compressed() && !frame::any_after(source.bytes(), 0) {
                Ok(Opened::Torn(Torn { segment: file.name(), offset: 0, bytes: available as u64 }))
            } else {
                Err(Damage { segment: file.name(), offset: 0, what: "the head of the segment is broken" }.into())
            };
        }
    }

    /// The last frame of this segment that `select` takes, before the first at which it stops.
    pub(super) fn last_frame(&mut self, select: impl Fn(&Frame) -> Select) -> Result<Option<Spot>, ReadError> {
        let mut found = None;
        while let Between::Frame(frame) = self.between()? {
            match select(&frame) {
                Select::Take => {
                    let settings = Arc::clone(&self.settings);
                    found = Some(Spot { offset: self.source.offset(), sequence: frame.sequence, settings });
                }
                Select::Pass => {}
                Select::Stop => break,
            }
            if frame.kind & frame::SETTINGS != 0 {
                self.enter(frame);
                while !self.rest.is_empty() {
                    self.read()?;
                }
            } else {
                self.pass(&frame)?;
            }
        }
        Ok(found)
    }

    /// At a frame of the segment with this file.
    pub(super) fn at_spot(log: &Path, file: SegmentFile, spot: Spot) -> Result<Option<Self>, ReadError> {
        let Opened::Reader(mut reader) = Self::at_segment(log, file, false)? else { return Ok(None) };
        reader.source.skip_to(spot.offset).map_err(|error| reader.trouble(error))?;
        reader.sequence = spot.sequence;
        reader.settings = spot.settings;
        Ok(Some(*reader))
    }

    /// Goes past a frame without reading its records; the next one tells how many there were.
    fn pass(&mut self, frame: &Frame) -> Result<(), ReadError> {
        self.source.consume(frame.records.end);
        if let Parsed::Frame(next) = self.parse()? {
            self.sequence = next.sequence;
        }
        Ok(())
    }

    /// The offset reached in this segment: at its end, the place to write on.
    pub(super) fn end(&self) -> u64 {
        self.source.offset()
    }

    /// The segment being read.
    pub(super) fn file(&self) -> &SegmentFile {
        &self.file
    }

    fn enter(&mut self, frame: Frame) {
        self.torn = None;
        self.sequence = frame.sequence;
        self.context.begin(frame.at);
        self.rest = frame.records;
    }

    fn leave(&mut self) {
        self.source.consume(self.rest.end);
        self.rest = 0..0;
    }

    /// What the bytes at this place are, reading as many as it takes.
    fn parse(&mut self) -> Result<Parsed, ReadError> {
        loop {
            let parsed = frame::parse(self.source.bytes());
            let Parsed::Short(wanted) = parsed else { return Ok(parsed) };
            if self.source.fill(wanted).map_err(|error| self.trouble(error))? < wanted {
                return Ok(parsed);
            }
        }
    }

    /// The next frame, or a proper end: nothing left, or a torn last frame.
    fn between(&mut self) -> Result<Between, ReadError> {
        let parsed = self.parse()?;
        if let Parsed::Frame(frame) = parsed {
            let follows = frame.sequence == self.sequence;
            let after_gap = frame.kind & frame::GAP != 0 && frame.sequence > self.sequence;
            if !follows && !after_gap {
                return Err(self.damage("records are missing before this frame"));
            }
            return Ok(Between::Frame(frame));
        }
        if self.source.bytes().is_empty() {
            return Ok(Between::End);
        }
        let left = self.source.fill(LENGTH_MAX).map_err(|error| self.trouble(error))?;
        if self.file.is_compressed() {
            return Err(self.damage("a broken frame in a compressed segment"));
        }
        if frame::any_after(&self.source.bytes()[1..], self.sequence) {
            return Err(self.damage("a broken frame with sound ones after it"));
        }
        if self.following()?.is_some() {
            // The writer may have finished this segment since.
            return match self.parse()? {
                Parsed::Frame(_) => self.between(),
                Parsed::Short(_) | Parsed::Broken => {
                    Err(self.damage("the segment ends in a broken frame, and is not the last"))
                }
            };
        }
        self.torn = Some(Torn { segment: self.file.name(), offset: self.source.offset(), bytes: left as u64 });
        self.source.forget().map_err(|error| self.trouble(error))?;
        Ok(Between::End)
    }

    /// The segment after this one.
    fn following(&self) -> Result<Option<(SegmentFile, bool)>, ReadError> {
        if !self.log.is_dir() {
            return Ok(None);
        }
        let mut after: Vec<SegmentFile> = list(&self.log)?;
        after.retain(|segment| segment.index > self.file.index);
        let is_last = after.len() == 1;
        match after.into_iter().next() {
            Some(next) if next.index != self.file.index + 1 => {
                let segment = segment::file_name(self.file.index + 1);
                Err(Damage { segment, offset: 0, what: "the segment is missing" }.into())
            }
            next => Ok(next.map(|next| (next, is_last))),
        }
    }

    /// Goes to the next segment, if there is one.
    fn next_segment(&mut self) -> Result<bool, ReadError> {
        let Some((file, is_last)) = self.following()? else {
            return Ok(false);
        };
        // The writer may have written on here before it began the next one.
        if self.source.fill(1).map_err(|error| self.trouble(error))? > 0 {
            return Ok(true);
        }
        let name = file.name();
        match Self::at_segment(&self.log, file, is_last)? {
            Opened::Torn(torn) => {
                self.torn = Some(torn);
                Ok(false)
            }
            Opened::Reader(next) if next.sequence != self.sequence => {
                Err(Damage { segment: name, offset: 0, what: "records are missing before this segment" }.into())
            }
            Opened::Reader(next) => {
                *self = *next;
                Ok(true)
            }
        }
    }

    fn damage(&self, what: &'static str) -> ReadError {
        Damage { segment: self.file.name(), offset: self.source.offset(), what }.into()
    }

    fn trouble(&self, error: io::Error) -> ReadError {
        trouble(&self.file, self.source.offset(), error)
    }

    fn senseless(&self, reason: String) -> ReadError {
        ReadError::Senseless {
            path: self.file.path.clone(),
            offset: self.source.offset(),
            sequence: self.sequence,
            reason,
        }
    }
}

/// What opening a segment gives.
pub(super) enum Opened {
    Reader(Box<Reader>),
    Torn(Torn),
}

fn list(log: &Path) -> Result<Vec<SegmentFile>, ReadError> {
    if !log.exists() {
        return Err(ReadError::Missing { path: log.to_path_buf() });
    }
    segment::list(log).map_err(|source| ReadError::Io { path: log.to_path_buf(), source })
}

/// Names of the folders right below that hold logs: somebody may have meant one of them.
fn logs_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let holds_log = |path: &Path| path.is_dir() && segment::list(path).is_ok_and(|segments| !segments.is_empty());
    let found = entries.filter(|entry| holds_log(&entry.path()));
    let mut names: Vec<String> = found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn hint(logs: &[String]) -> String {
    match logs {
        [] => String::new(),
        [one] => format!("; but {one} in it does"),
        [first, .., last] => format!("; but {} folders in it do, from {first} to {last}", logs.len()),
    }
}

/// An error that the operating system did not report comes from the decompressor: the bytes are wrong.
fn trouble(file: &SegmentFile, offset: u64, source: io::Error) -> ReadError {
    if file.is_compressed() && source.raw_os_error().is_none() {
        return Damage { segment: file.name(), offset, what: "it cannot be decompressed from here on" }.into();
    }
    ReadError::Io { path: file.path.clone(), source }
}
