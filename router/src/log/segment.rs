//! Segments: the files of a log, and what stands at the head of each.
//!
//! ```text
//! segment = "STORMLOG" | format version: u32 le | length of header: u32 le | crc32c over all of these and the header: u32 le
//!         | header | frames
//! ```
//!
//! The first 20 bytes stay as they are in every format, so that a newer one can be named and not be taken for damage.
//! Files are numbered from 1: `00000001.log`, and `00000001.log.zst` when closed and compressed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::frame::word;
use super::settings_record::SettingsRecord;
use crate::core::{Settings, Timestamp, WallTime};

/// The format that this build writes.
pub const FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"STORMLOG";
/// Bytes before the header.
pub(super) const PREFIX: usize = 20;
/// A header beyond this is not one.
const HEADER_MAX: usize = 1 << 26;

/// What stands at the head of a segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Which policy decided, and its version: `stormproof/1`.
    pub policy: String,
    /// Seed of the run; 0 for a live one.
    pub seed: u64,
    /// The wall time of [`Timestamp::ZERO`].
    pub epoch: WallTime,
    /// Number of the segment, from 1.
    pub segment: u32,
    /// Sequence of the first record in it.
    pub sequence: u64,
    /// When it was begun.
    pub at: Timestamp,
    /// The settings in force then: names, fingerprints and limits by index, without a secret.
    pub settings: Arc<Settings>,
}

/// The header of format 1.
#[derive(Serialize, Deserialize)]
struct HeaderRecord {
    policy: String,
    seed: u64,
    epoch: u64,
    segment: u32,
    sequence: u64,
    at: u64,
    settings: SettingsRecord,
}

/// What the head of a file is.
#[derive(Debug)]
pub(super) enum Head {
    /// A header, so many bytes long with all that stands before it.
    Header(Box<Header>, usize),
    /// It would end after the bytes that there are; so many are wanted.
    Short(usize),
    /// Written by a format that this build does not know.
    Newer(u32),
    /// No header, or a broken one.
    Broken,
    /// An unbroken header that makes no sense to this build.
    Senseless(String),
}

impl Header {
    /// The first bytes of a segment.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, postcard::Error> {
        let record = HeaderRecord {
            policy: self.policy.clone(),
            seed: self.seed,
            epoch: self.epoch.as_nanos(),
            segment: self.segment,
            sequence: self.sequence,
            at: self.at.as_nanos(),
            settings: SettingsRecord::from(&*self.settings),
        };
        let header = postcard::to_stdvec(&record)?;
        let mut bytes = Vec::with_capacity(PREFIX + header.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), &header);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&header);
        Ok(bytes)
    }

    /// Reads the head of a segment.
    pub(super) fn parse(bytes: &[u8]) -> Head {
        let Some((prefix, rest)) = bytes.split_at_checked(PREFIX) else {
            let so_far = bytes.len().min(MAGIC.len());
            return if bytes[..so_far] == MAGIC[..so_far] { Head::Short(PREFIX) } else { Head::Broken };
        };
        let (format, length, crc) = (word(&prefix[8..12]), word(&prefix[12..16]) as usize, word(&prefix[16..]));
        if &prefix[..8] != MAGIC || length > HEADER_MAX {
            return Head::Broken;
        }
        let Some(header) = rest.get(..length) else {
            return Head::Short(PREFIX + length);
        };
        if crc32c::crc32c_append(crc32c::crc32c(&prefix[..16]), header) != crc {
            return Head::Broken;
        }
        if format != FORMAT {
            return Head::Newer(format);
        }
        match postcard::from_bytes::<HeaderRecord>(header) {
            Ok(record) => match Settings::try_from(record.settings) {
                Ok(settings) => Head::Header(
                    Box::new(Self {
                        policy: record.policy,
                        seed: record.seed,
                        epoch: WallTime::from_nanos(record.epoch),
                        segment: record.segment,
                        sequence: record.sequence,
                        at: Timestamp::from_nanos(record.at),
                        settings: Arc::new(settings),
                    }),
                    PREFIX + length,
                ),
                Err(error) => Head::Senseless(error.to_string()),
            },
            Err(error) => Head::Senseless(error.to_string()),
        }
    }
}

/// One file of a log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentFile {
    /// Its number.
    pub(super) index: u32,
    /// Where it lies.
    pub(super) path: PathBuf,
}

impl SegmentFile {
    /// The file with this path, if it is named as segments are.
    fn of(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let index = name.strip_suffix(".zst").unwrap_or(name).strip_suffix(".log")?;
        let index = (index.len() == 8).then(|| index.parse().ok())??;
        Some(Self { index, path })
    }

    /// Its size on disk, in bytes; 0 when it is gone since it was listed.
    pub(super) fn size(&self) -> io::Result<u64> {
        match fs::metadata(&self.path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Whether it is compressed.
    pub(super) fn is_compressed(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "zst")
    }

    /// The same segment, compressed.
    pub(super) fn compressed(self) -> Self {
        if self.is_compressed() {
            return self;
        }
        let mut path = self.path.into_os_string();
        path.push(".zst");
        Self { index: self.index, path: path.into() }
    }

    /// Its name, for messages.
    pub(super) fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// Name of an open segment.
pub(super) fn file_name(index: u32) -> String {
    format!("{index:08}.log")
}

/// The segments of a log in order: those of a directory, or one file alone. Where a crash left a segment and its
/// compressed copy, the original counts.
pub(super) fn list(log: &Path) -> io::Result<Vec<SegmentFile>> {
    if !log.is_dir() {
        let name = SegmentFile::of(log.to_path_buf());
        return Ok(vec![name.unwrap_or(SegmentFile { index: 1, path: log.to_path_buf() })]);
    }
    let mut found: Vec<SegmentFile> = Vec::new();
    for entry in fs::read_dir(log)? {
        found.extend(SegmentFile::of(entry?.path()));
    }
    // `1.log` sorts before `1.log.zst`.
    found.sort();
    found.dedup_by_key(|segment| segment.index);
    Ok(found)
}
