//! One process owns a log directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// Held while a log is being written; the operating system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Whether to wait for a directory that another process owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    /// Fail at once.
    #[default]
    None,
    /// Until the other process lets go, as in a hand-over from an old version to a new one.
    Wait,
}

impl Lock {
    /// Takes the directory; `None` when another process has it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn take(directory: &Path, patience: Patience) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(directory.join("lock"))?;
        match patience {
            Patience::Wait => file.lock()?,
            Patience::None => match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            },
        }
        Ok(Some(Self { _file: file }))
    }
}
