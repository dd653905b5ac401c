//! Opening a log for writing: a new one, or one that exists, after whatever became of its last writer.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::event::What;
use super::lock::Lock;
use super::options::Options;
use super::reader::{self, Place, ReadError, Reader, Select, Torn};
use super::segment::{self, Header, SegmentFile};
use super::storage::{Disk, Storage, StorageFile};
use super::upkeep;
use super::writer::{Opening, Start, WriteError, Writer, create_segment};
use crate::core::Timestamp;

/// What was found in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The last event on record, if there is any: its time, and the number of events up to and with it.
    pub last: Option<(Timestamp, u64)>,
    /// Whether the last writer ended in order. An empty log counts as ended in order.
    pub in_order: bool,
    /// A torn last frame that was cut off.
    pub cut: Option<Torn>,
}

impl Writer<Disk> {
    /// Opens the log in a directory, made if need be, for writing on at its end.
    ///
    /// # Errors
    /// When another process owns it, when what is there is damaged or newer than this build, or when the file system
    /// fails.
    pub fn open(directory: &Path, opening: Opening, options: Options) -> Result<(Self, Recovery), WriteError> {
        Self::open_on(Disk::new(directory), directory, opening, options)
    }
}

impl<S: Storage> Writer<S> {
    /// The same on another storage, whose files appear in the directory.
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub fn open_on(
        mut storage: S,
        directory: &Path,
        opening: Opening,
        options: Options,
    ) -> Result<(Self, Recovery), WriteError> {
        let storage_error = |source: io::Error| WriteError::Storage { directory: directory.to_path_buf(), source };
        let unreadable = |source: ReadError| WriteError::Unreadable { directory: directory.to_path_buf(), source };
        fs::create_dir_all(directory).map_err(storage_error)?;
        let Some(lock) = Lock::take(directory, options.patience).map_err(storage_error)? else {
            return Err(WriteError::Owned { directory: directory.to_path_buf() });
        };
        upkeep::tidy(directory).map_err(storage_error)?;
        let mut segments = segment::list(directory).map_err(storage_error)?;

        let mut cut = None;
        let mut tail = None;
        if let Some(last) = segments.pop() {
            match Reader::at_segment(directory, last.clone(), true).map_err(unreadable)? {
                reader::Opened::Reader(reader) => tail = Some(Tail::read(directory, *reader).map_err(unreadable)?),
                reader::Opened::Torn(torn) => {
                    fs::remove_file(&last.path).map_err(storage_error)?;
                    cut = Some(torn);
                    if let Some(before) = segments.pop()
                        && let reader::Opened::Reader(reader) =
                            Reader::at_segment(directory, before, false).map_err(unreadable)?
                    {
                        tail = Some(Tail::read(directory, *reader).map_err(unreadable)?);
                    }
                }
            }
        }
        let Some(tail) = tail else {
            let header = Header {
                policy: opening.policy.to_owned(),
                seed: opening.seed,
                epoch: opening.epoch,
                segment: 1,
                sequence: 0,
                at: Timestamp::ZERO,
                settings: opening.settings,
            };
            let (file, end) = create_segment(&mut storage, directory, &header).map_err(storage_error)?;
            let writer = Self::start(Start {
                directory: directory.to_path_buf(),
                options,
                storage,
                file,
                end,
                has_frames: false,
                sequence: 0,
                now: Timestamp::ZERO,
                checkpoint_segment: header.segment,
                header,
                lock,
            });
            return Ok((writer, Recovery { last: None, in_order: true, cut }));
        };

        let recovery = Recovery {
            last: (tail.sequence > 0).then_some((tail.at, tail.sequence)),
            in_order: tail.in_order || tail.sequence == 0,
            cut: tail.torn.clone().or(cut),
        };
        let checkpoint_segment = Reader::at_checkpoint(directory, Place::End).map_err(unreadable)?.header().segment;
        let same = tail.header.policy == opening.policy && tail.header.seed == opening.seed;
        // What a killed process has left unsynced must not be at stake together with what this one will write.
        let reopened = if tail.file.is_compressed() {
            None
        } else {
            let mut file = storage.reopen(&tail.file.name(), tail.end).map_err(storage_error)?;
            file.sync().map_err(storage_error)?;
            Some(file)
        };
        let (header, file, end, has_frames) = if let Some(file) = reopened.filter(|_| same) {
            (tail.header, file, tail.end, tail.has_frames)
        } else {
            let header = Header {
                policy: opening.policy.to_owned(),
                seed: opening.seed,
                segment: tail.file.index + 1,
                sequence: tail.sequence,
                at: tail.at,
                ..tail.header
            };
            let (file, end) = create_segment(&mut storage, directory, &header).map_err(storage_error)?;
            (header, file, end, false)
        };
        let writer = Self::start(Start {
            directory: directory.to_path_buf(),
            options,
            storage,
            header,
            file,
            end,
            has_frames,
            sequence: tail.sequence,
            now: tail.at,
            checkpoint_segment,
            lock,
        });
        Ok((writer, recovery))
    }
}

/// The end of the last segment.
struct Tail {
    file: SegmentFile,
    /// With the settings in force at the end.
    header: Header,
    /// Where the last good frame ends.
    end: u64,
    /// Of the next record.
    sequence: u64,
    at: Timestamp,
    has_frames: bool,
    in_order: bool,
    torn: Option<Torn>,
}

impl Tail {
    fn read(directory: &Path, mut reader: Reader) -> Result<Self, ReadError> {
        let spot = reader.last_frame(|_frame| Select::Take)?;
        let has_frames = spot.is_some();
        let end = reader.end();
        let torn = reader.torn().cloned();
        let file = reader.file().clone();
        let header = reader.header().clone();
        let (sequence, at) = (reader.sequence(), header.at);
        let mut tail = Self { file, header, end, sequence, at, has_frames, in_order: false, torn };
        let last = match spot {
            Some(spot) => Reader::at_spot(directory, tail.file.clone(), spot)?,
            None => None,
        };
        if let Some(mut last) = last {
            while let Some(event) = last.read()? {
                tail.at = event.at;
                tail.in_order = event.what == What::Closed;
                tail.sequence = event.sequence + 1;
            }
            tail.header.settings = Arc::clone(last.settings());
        }
        Ok(tail)
    }
}
