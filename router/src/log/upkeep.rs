//! Closed segments: compressed, and removed when they are old or too many.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::reader::{Opened, Reader};
use super::segment::{self, SegmentFile};
use crate::core::{Duration, Timestamp};

/// How long closed segments stay. Whatever the last checkpoint needs stays in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Segments whose last event is older go; `None` keeps all.
    pub age: Option<Duration>,
    /// The oldest go while all together are larger, in bytes on disk; `None` keeps all.
    pub bytes: Option<u64>,
}

/// Compresses a closed segment: a copy beside it, complete and on disk, then the original goes. A crash in between leaves
/// the original, which counts.
pub(super) fn compress(path: &Path, level: i32) -> io::Result<()> {
    let draft = with_suffix(path, ".zst.new");
    let mut input = File::open(path)?;
    let mut encoder = zstd::stream::write::Encoder::new(File::create(&draft)?, level)?;
    encoder.include_checksum(true)?;
    io::copy(&mut input, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::rename(&draft, with_suffix(path, ".zst"))?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    fs::remove_file(path)
}

/// Removes what a crash left of [`compress`].
pub(super) fn tidy(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        let is_draft = name.ends_with(".log.zst.new");
        let is_copy = name.strip_suffix(".zst").is_some_and(|original| Path::new(original).exists());
        if is_draft || is_copy {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Removes the oldest segments that `keep` does not cover, never one from `needed` on.
pub(super) fn retain(directory: &Path, keep: Keep, now: Timestamp, needed: u32) -> io::Result<()> {
    let segments = segment::list(directory)?;
    let size = |segment: &SegmentFile| fs::metadata(&segment.path).map_or(0, |metadata| metadata.len());
    let mut total: u64 = segments.iter().map(size).sum();
    for pair in segments.windows(2) {
        let [oldest, next] = pair else { break };
        let too_large = keep.bytes.is_some_and(|bytes| total > bytes);
        // A segment ends where the next one begins.
        let too_old = keep.age.is_some_and(|age| began(directory, next).is_some_and(|end| end + age < now));
        if oldest.index >= needed || !(too_large || too_old) {
            break;
        }
        total -= size(oldest);
        fs::remove_file(&oldest.path)?;
    }
    Ok(())
}

fn began(directory: &Path, segment: &SegmentFile) -> Option<Timestamp> {
    match Reader::at_segment(directory, segment.clone(), false) {
        Ok(Opened::Reader(reader)) => Some(reader.header().at),
        // What cannot be read is not taken to be old.
        Ok(Opened::Torn(_)) | Err(_) => None,
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
