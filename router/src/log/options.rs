//! How a log is kept.

use super::boot::Boot;
use super::lock::Patience;
use super::upkeep::Keep;
use crate::core::Duration;

/// How a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A commit writes once so many bytes are gathered; 0 writes at every commit, which is what a live driver needs:
    /// nothing may leave before it is on record.
    pub batch: usize,
    /// When what is written is brought to the disk.
    pub sync: Sync,
    /// What to do when the storage takes no more.
    pub when_full: WhenFull,
    /// Size from which on a segment is closed, in bytes.
    pub segment: u64,
    /// Events from one checkpoint to the next. More, while the last checkpoint was more than a fifth of what was written;
    /// a new segment wants one in any case.
    pub checkpoint: u64,
    /// Level of zstd for closed segments; `None` leaves them as they are.
    pub compress: Option<i32>,
    /// How long closed segments stay.
    pub keep: Keep,
    /// Whether to wait for another process to let go of the directory.
    pub patience: Patience,
    /// Who writes; `None` where no power loss is to fear.
    pub boot: Option<Boot>,
}

/// When what is written is brought to the disk. What is written survives the end of the process in any case; this is
/// about power losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// When a segment is closed.
    Never,
    /// Before a commit returns.
    EveryCommit,
    /// On another thread, at most this long after a commit.
    Every(Duration),
}

/// What to do when the storage takes no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Stop: a commit fails and keeps what it was to write; the driver must hold its outputs back until a later commit
    /// succeeds.
    #[default]
    Refuse,
    /// Go on without a record, raise an alarm, and try again; the gap is put on record with a full checkpoint behind it.
    Drop,
}

impl Options {
    /// For the live proxy.
    pub fn live() -> Self {
        Self {
            batch: 0,
            sync: Sync::Every(Duration::from_millis(100)),
            when_full: WhenFull::Refuse,
            segment: 64 << 20,
            checkpoint: 20_000,
            compress: Some(3),
            keep: Keep { age: Some(Duration::from_secs(30 * 86_400)), bytes: None },
            patience: Patience::None,
            boot: None,
        }
    }

    /// For a simulation: large batches, nothing removed, no power loss to fear, and nobody who waits for a restart.
    pub fn simulation() -> Self {
        Self {
            batch: 32 << 10,
            sync: Sync::Never,
            compress: None,
            keep: Keep::default(),
            checkpoint: 50_000,
            ..Self::live()
        }
    }
}
