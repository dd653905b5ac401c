//! Writing a log. Time is an argument; only the background thread waits for the disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use super::codec::{Context, Mark};
use super::encode::Written;
use super::event::{Beginning, Checkpoint, Gap, InFlight, Opened};
use super::frame;
use super::lock::Lock;
use super::options::{Options, Sync, WhenFull};
use super::reader::ReadError;
use super::segment::{self, Header};
use super::settings_record::SettingsRecord;
use super::storage::{Disk, Storage, StorageFile};
use super::upkeep;
use super::worker::Worker;
use crate::core::{Duration, Input, Output, Route, Settings, Timestamp, WallTime};

/// How long after a failure the storage is tried again when events are being dropped.
const RETRY: Duration = Duration::from_secs(1);

/// A log that cannot be written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The storage took nothing more. Nothing is lost yet: commit again once there is room.
    #[error("cannot write the log in {directory}: {source}; free some space or give it another folder")]
    Storage {
        /// Where.
        directory: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Another process writes it.
    #[error("another process writes the log in {directory}; stop it, or wait for it")]
    Owned {
        /// Where.
        directory: PathBuf,
    },
    /// What is there already cannot be read, so nothing can be added to it.
    #[error("cannot go on with the log in {directory}: {source}")]
    Unreadable {
        /// Where.
        directory: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// A recording needs a folder of its own.
    #[error("{directory} is there already; name another folder, or remove it")]
    NotEmpty {
        /// Where.
        directory: PathBuf,
    },
    /// The log's format has no way to say this.
    #[error("cannot put this on record: {0}")]
    Inexpressible(String),
}

/// What a new log begins with.
#[derive(Clone, Debug)]
pub struct Opening {
    /// [`Route::policy`] of the router.
    pub policy: &'static str,
    /// Seed of the run; 0 for a live one.
    pub seed: u64,
    /// The wall time of [`Timestamp::ZERO`]. A log that exists keeps its own: see [`Writer::header`].
    pub epoch: WallTime,
    /// The settings that the router will be configured with.
    pub settings: Arc<Settings>,
}

/// What a commit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Everything recorded is written.
    Written,
    /// It is gathered for a later commit.
    Gathered,
    /// It is not on record; see [`Condition::Dropping`].
    Dropped,
}

/// How the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Fine.
    Writing,
    /// The storage takes no more, and commits fail.
    Refusing {
        /// Since when.
        since: Timestamp,
    },
    /// The storage takes no more, and events go unrecorded.
    Dropping {
        /// Since when.
        since: Timestamp,
        /// So many.
        events: u64,
        /// When it is tried again.
        retry_at: Timestamp,
    },
}

/// Writes a log. Record an input, then its decisions; commit when the steps so far may be acted upon.
pub struct Writer<S: Storage = Disk> {
    directory: PathBuf,
    options: Options,
    storage: S,
    /// Of the current segment, but with the settings in force now.
    header: Header,
    file: S::File,
    /// Where the last good frame ends.
    end: u64,
    /// Whether there may be something after that.
    dirty: bool,
    /// Whether this segment has a frame yet.
    has_frames: bool,
    /// Whether a new segment must be begun.
    rotate: bool,

    frame: Vec<u8>,
    frame_at: Timestamp,
    frame_events: u64,
    context: Context,
    /// Of the next record.
    sequence: u64,
    /// The same, as far as it is written.
    written: u64,
    /// Settings that come into force in the gathered frame.
    settings_next: Option<Arc<Settings>>,
    /// The first thing that could not be expressed.
    inexpressible: Option<String>,
    now: Timestamp,

    condition: Condition,
    since_checkpoint: u64,
    bytes_since_checkpoint: u64,
    checkpoint_bytes: u64,
    /// The segment of the last checkpoint.
    checkpoint_segment: u32,
    synced_at: Timestamp,
    unsynced: bool,
    /// Records that are on disk: those before this sequence.
    synced: Arc<AtomicU64>,
    syncs: Worker,
    upkeep: Worker,
    _lock: Lock,
}

/// Where a writer begins: what [`opening`](super::opening) found out.
pub(super) struct Start<S: Storage> {
    pub(super) directory: PathBuf,
    pub(super) options: Options,
    pub(super) storage: S,
    pub(super) header: Header,
    pub(super) file: S::File,
    pub(super) end: u64,
    pub(super) has_frames: bool,
    pub(super) sequence: u64,
    pub(super) now: Timestamp,
    pub(super) checkpoint_segment: u32,
    pub(super) lock: Lock,
}

impl<S: Storage> Writer<S> {
    pub(super) fn start(start: Start<S>) -> Self {
        let Start {
            directory,
            options,
            storage,
            header,
            file,
            end,
            has_frames,
            sequence,
            now,
            checkpoint_segment,
            lock,
        } = start;
        Self {
            directory,
            options,
            storage,
            header,
            file,
            end,
            dirty: false,
            has_frames,
            rotate: false,
            frame: Vec::with_capacity(options.batch + (4 << 10)),
            frame_at: now,
            frame_events: 0,
            context: Context::new(now),
            sequence,
            written: sequence,
            settings_next: None,
            inexpressible: None,
            now,
            condition: Condition::Writing,
            since_checkpoint: 0,
            bytes_since_checkpoint: 0,
            checkpoint_bytes: 0,
            checkpoint_segment,
            synced_at: now,
            unsynced: false,
            synced: Arc::new(AtomicU64::new(sequence)),
            syncs: Worker::default(),
            upkeep: Worker::default(),
            _lock: lock,
        }
    }

    /// What stands at the head of the current segment, with the settings in force now.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The time of the last event on record; time must not go back behind it.
    pub fn last(&self) -> Timestamp {
        self.now
    }

    /// The sequence of the next event.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How the log is.
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// Says that a process begins to write here, with a router that is new or was rebuilt from this log.
    pub fn begin<R: Route>(&mut self, now: Timestamp, wall: WallTime, router: &R, is_new: bool) {
        let router = if is_new { Beginning::New(router.snapshot()) } else { Beginning::Carried(router.state_hash()) };
        self.mark(now, Mark::Opened(Opened { wall, router }));
        self.say_boot(now);
    }

    fn say_boot(&mut self, now: Timestamp) {
        if let Some(boot) = self.options.boot {
            self.mark(now, Mark::Boot(boot));
        }
    }

    /// Puts an input on record, before it is handed to the router.
    #[inline]
    pub fn record(&mut self, now: Timestamp, input: &Input) {
        self.put(now, |context, frame| context.write_input(now, input, frame));
        if let Input::Configured { settings } = input {
            self.configured(settings);
        }
    }

    /// Puts a decision on record: an answer to the last input.
    #[inline]
    pub fn decided(&mut self, output: &Output) {
        self.put(self.now, |context, frame| context.write_output(output, frame));
    }

    /// Makes everything recorded so far permanent, or at least complete: the last input has all its decisions.
    ///
    /// # Errors
    /// When the storage fails and the log may not drop anything. What was recorded is kept, and the next commit tries
    /// again; the driver must not act on it before.
    #[inline]
    pub fn commit(&mut self) -> Result<Committed, WriteError> {
        if let Some(reason) = self.inexpressible.take() {
            return Err(WriteError::Inexpressible(reason));
        }
        match self.condition {
            Condition::Dropping { .. } => Ok(Committed::Dropped),
            Condition::Writing if self.frame.len() < self.options.batch => Ok(Committed::Gathered),
            Condition::Writing | Condition::Refusing { .. } => {
                self.check_workers();
                self.flush()
            }
        }
    }

    /// Whether it is time for [`Writer::checkpoint`]: after so many events, in a new segment, and when dropping is to end.
    #[inline]
    pub fn checkpoint_due(&self) -> bool {
        match self.condition {
            Condition::Dropping { retry_at, .. } => self.now >= retry_at,
            Condition::Writing => {
                let is_small = self.bytes_since_checkpoint >= 4 * self.checkpoint_bytes;
                self.since_checkpoint >= self.options.checkpoint && is_small
                    || self.rotate
                    || self.checkpoint_segment != self.header.segment && self.has_frames
            }
            Condition::Refusing { .. } => false,
        }
    }

    /// Puts the router's state on record, after a commit. After dropped events this is where the record resumes.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn checkpoint<R: Route>(
        &mut self,
        now: Timestamp,
        router: &R,
        in_flight: InFlight,
    ) -> Result<Committed, WriteError> {
        let gap = match self.condition {
            Condition::Dropping { since, events, .. } => Some(Gap { events, since }),
            Condition::Writing | Condition::Refusing { .. } => {
                self.flush()?;
                None
            }
        };
        let (snapshot, state_hash) = router.checkpoint();
        let checkpoint = Checkpoint { state_hash, snapshot, in_flight };
        self.condition = Condition::Writing;
        if let Some(gap) = gap {
            self.mark(now, Mark::Gap(gap));
            frame::mark(&mut self.frame, frame::GAP);
        }
        self.mark(now, Mark::Checkpoint(checkpoint));
        frame::mark(&mut self.frame, frame::CHECKPOINT);
        self.say_boot(now);
        let bytes = self.frame.len() as u64;
        match (self.write(), gap) {
            (Ok(()), gap) => {
                self.since_checkpoint = 0;
                (self.bytes_since_checkpoint, self.checkpoint_bytes) = (0, bytes);
                self.checkpoint_segment = self.header.segment;
                if let Some(Gap { events, .. }) = gap {
                    tracing::warn!(directory = %self.directory.display(), events, "the event log is being written again");
                }
                Ok(Committed::Written)
            }
            (Err(_), Some(Gap { events, since })) => {
                self.discard();
                self.condition = Condition::Dropping { since, events, retry_at: now + RETRY };
                Ok(Committed::Dropped)
            }
            (Err(error), None) => self.failed(error, 0),
        }
    }

    /// Writes what is gathered.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn flush(&mut self) -> Result<Committed, WriteError> {
        if self.frame.is_empty() {
            return Ok(Committed::Written);
        }
        match self.write() {
            Ok(()) => Ok(Committed::Written),
            Err(error) => self.failed(error, self.frame_events),
        }
    }

    /// When [`Writer::tick`] has something to do.
    pub fn sync_due(&self) -> Option<Timestamp> {
        match self.options.sync {
            Sync::Every(interval) if self.unsynced => Some(self.synced_at + interval),
            Sync::Every(_) | Sync::EveryCommit | Sync::Never => None,
        }
    }

    /// Starts the sync that is due, on the other thread.
    pub fn tick(&mut self, now: Timestamp) {
        if self.sync_due().is_some_and(|due| due <= now) {
            self.synced_at = now;
            // While the last one is still under way the next has to wait for another interval.
            if self.syncs.is_idle() {
                self.unsynced = false;
                let (synced, written) = (Arc::clone(&self.synced), self.written);
                let job = |mut twin: S::File| {
                    move || {
                        twin.sync()?;
                        synced.fetch_max(written, Ordering::SeqCst);
                        Ok(())
                    }
                };
                if let Err(error) = self.file.twin().and_then(|twin| self.syncs.run(job(twin))) {
                    self.sync_failed(&error);
                }
            }
        }
        self.check_workers();
    }

    /// Records that a power loss does not touch: those before this sequence.
    pub fn durable(&self) -> u64 {
        self.synced.load(Ordering::SeqCst)
    }

    /// Brings all that is written to the disk before it returns. What is being dropped has no disk to wait for.
    ///
    /// # Errors
    /// When the storage fails. A new segment with a checkpoint is begun next, after which this may be tried again.
    pub fn sync(&mut self) -> Result<(), WriteError> {
        if self.durable() >= self.written || matches!(self.condition, Condition::Dropping { .. }) {
            return Ok(());
        }
        if let Err(source) = self.file.sync() {
            self.sync_failed(&source);
            return Err(self.storage_error(source));
        }
        self.synced.fetch_max(self.written, Ordering::SeqCst);
        self.unsynced = false;
        Ok(())
    }

    /// Ends the log in order: everything written and on disk, upkeep done.
    ///
    /// # Errors
    /// As [`Writer::commit`]; also when upkeep failed.
    pub fn close(mut self, now: Timestamp) -> Result<(), WriteError> {
        self.mark(now, Mark::Closed);
        if self.commit()? != Committed::Dropped {
            self.flush()?;
        }
        let ended = self.file.sync().and(self.syncs.finish()).and(self.upkeep.finish());
        ended.map_err(|source| self.storage_error(source))
    }

    fn mark(&mut self, now: Timestamp, mark: Mark) {
        self.put(now, |context, frame| context.write_mark(now, mark, frame));
    }

    /// Adds a record to the frame.
    #[inline(always)]
    fn put(&mut self, now: Timestamp, write: impl FnOnce(&mut Context, &mut Vec<u8>) -> Written) {
        self.now = now;
        if let Condition::Dropping { events, .. } = &mut self.condition {
            *events += 1;
            self.sequence += 1;
            return;
        }
        if self.frame.is_empty() {
            self.begin_frame();
        }
        if let Err(error) = write(&mut self.context, &mut self.frame) {
            self.inexpressible.get_or_insert_with(|| error.to_string());
        }
        self.sequence += 1;
        self.frame_events += 1;
        self.since_checkpoint += 1;
    }

    fn begin_frame(&mut self) {
        frame::begin(&mut self.frame, self.sequence, self.now);
        self.frame_at = self.now;
        self.context.begin(self.now);
    }

    /// Keeps up with settings, and makes sure that they can be read back.
    fn configured(&mut self, settings: &Arc<Settings>) {
        frame::mark(&mut self.frame, frame::SETTINGS);
        match Settings::try_from(SettingsRecord::from(&**settings)) {
            Ok(back) if back == **settings => {}
            Ok(_differs) => self.inexpressible = Some("these settings would not read back as they are".to_owned()),
            Err(error) => self.inexpressible = Some(error.to_string()),
        }
        self.settings_next = Some(Arc::clone(settings));
        if matches!(self.condition, Condition::Dropping { .. }) {
            self.header.settings = Arc::clone(settings);
        }
    }

    /// Writes the frame at the last good end.
    fn write(&mut self) -> io::Result<()> {
        if self.frame.len() - frame::HEAD > frame::LENGTH_MAX {
            return Err(io::Error::other(format!("a frame of {} bytes is too long", self.frame.len())));
        }
        frame::seal(&mut self.frame);
        let full = self.has_frames && self.end + self.frame.len() as u64 > self.options.segment;
        if full || self.rotate {
            self.begin_segment()?;
        }
        if self.dirty {
            self.file.cut(self.end)?;
        }
        self.dirty = true;
        self.file.append(&self.frame)?;
        if self.options.sync == Sync::EveryCommit {
            self.file.sync()?;
            self.synced.fetch_max(self.sequence, Ordering::SeqCst);
        }
        self.dirty = false;
        self.end += self.frame.len() as u64;
        self.written = self.sequence;
        self.bytes_since_checkpoint += self.frame.len() as u64;
        self.has_frames = true;
        self.unsynced = true;
        self.condition = Condition::Writing;
        self.empty();
        self.tick(self.now);
        Ok(())
    }

    /// Closes the current segment and begins the next one. Nothing changes when that fails.
    fn begin_segment(&mut self) -> io::Result<()> {
        if self.dirty {
            self.file.cut(self.end)?;
            self.dirty = false;
        }
        match self.options.sync {
            // After a power loss the next segment must not be there without the end of this one.
            Sync::Every(_) | Sync::EveryCommit => {
                if let Err(error) = self.file.sync() {
                    // Whether or not this one is whole: the next begins with a checkpoint.
                    tracing::error!(directory = %self.directory.display(), %error, "a segment of the event log did not reach the disk");
                }
            }
            Sync::Never => {}
        }
        let header = Header {
            segment: self.header.segment + 1,
            sequence: self.written,
            at: self.frame_at,
            ..self.header.clone()
        };
        let (file, end) = create_segment(&mut self.storage, &self.directory, &header)?;
        let closed = self.directory.join(segment::file_name(self.header.segment));
        let mut old = std::mem::replace(&mut self.file, file);
        (self.header, self.end) = (header, end);
        (self.has_frames, self.rotate) = (false, false);
        let (directory, keep, now, needed) =
            (self.directory.clone(), self.options.keep, self.now, self.checkpoint_segment);
        let compress = self.options.compress;
        self.syncs.run(move || old.sync())?;
        self.upkeep.run(move || {
            compress.map_or(Ok(()), |level| upkeep::compress(&closed, level))?;
            upkeep::retain(&directory, keep, now, needed)
        })
    }

    /// The storage did not take the frame, which holds so many things that happened.
    fn failed(&mut self, source: io::Error, events: u64) -> Result<Committed, WriteError> {
        let since = self.now;
        match self.options.when_full {
            WhenFull::Refuse => {
                if self.condition == Condition::Writing {
                    self.condition = Condition::Refusing { since };
                }
                Err(self.storage_error(source))
            }
            WhenFull::Drop => {
                tracing::error!(
                    directory = %self.directory.display(), error = %source,
                    "the event log cannot be written: what is decided from here on is not on record"
                );
                let since = self.frame_at;
                if events == 0 {
                    self.discard();
                } else {
                    self.empty();
                }
                self.condition = Condition::Dropping { since, events, retry_at: self.now + RETRY };
                Ok(Committed::Dropped)
            }
        }
    }

    /// Gives up marks that could not be written; nothing that happened is among them.
    fn discard(&mut self) {
        self.sequence -= self.frame_events;
        self.empty();
    }

    fn empty(&mut self) {
        self.frame.clear();
        self.frame_events = 0;
        if let Some(settings) = self.settings_next.take() {
            self.header.settings = settings;
        }
    }

    fn storage_error(&self, source: io::Error) -> WriteError {
        WriteError::Storage { directory: self.directory.clone(), source }
    }

    /// Raises what the background threads met.
    fn check_workers(&mut self) {
        if let Some(error) = self.syncs.error() {
            self.sync_failed(&error);
        }
        if let Some(error) = self.upkeep.error() {
            tracing::error!(directory = %self.directory.display(), %error, "a closed segment of the event log could not be compressed or removed");
        }
    }

    /// What was written may not be on disk, and no later sync would tell. A new segment with a checkpoint makes it
    /// dispensable.
    fn sync_failed(&mut self, error: &io::Error) {
        tracing::error!(directory = %self.directory.display(), %error, "the event log did not reach the disk; a new segment is begun");
        self.rotate = true;
    }
}

/// A new segment with its head.
pub(super) fn create_segment<S: Storage>(
    storage: &mut S,
    directory: &Path,
    header: &Header,
) -> io::Result<(S::File, u64)> {
    let name = segment::file_name(header.segment);
    let bytes = header.bytes().map_err(io::Error::other)?;
    let mut file = storage.create(&name)?;
    if let Err(error) = file.append(&bytes) {
        // Best effort: a head that is torn is recognised and made anew.
        fs::remove_file(directory.join(&name)).ok();
        return Err(error);
    }
    Ok((file, bytes.len() as u64))
}
