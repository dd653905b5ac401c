//! Where segments are written: a seam, so that tests can fill the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A place for segments.
pub trait Storage: Send {
    /// An open segment.
    type File: StorageFile;

    /// A new and empty file, in place of any of that name.
    ///
    /// # Errors
    /// Those of the file system.
    fn create(&mut self, name: &str) -> io::Result<Self::File>;

    /// An existing file, cut to `end`, to go on there.
    ///
    /// # Errors
    /// Those of the file system.
    fn reopen(&mut self, name: &str, end: u64) -> io::Result<Self::File>;
}

/// A file that grows at its end.
pub trait StorageFile: Send + 'static {
    /// Appends all of it, or fails; after a failure the end is anywhere until [`StorageFile::cut`].
    ///
    /// # Errors
    /// Those of the file system.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts to `end` and goes on there.
    ///
    /// # Errors
    /// Those of the file system.
    fn cut(&mut self, end: u64) -> io::Result<()>;

    /// Brings what was appended to the disk, through a power loss.
    ///
    /// # Errors
    /// Those of the file system. What was not on disk yet may then be lost, whatever a later call says.
    fn sync(&mut self) -> io::Result<()>;

    /// A second handle on the same file, for syncing on another thread.
    ///
    /// # Errors
    /// Those of the file system.
    fn twin(&self) -> io::Result<Self>
    where
        Self: Sized;
}

/// A directory of the file system.
#[derive(Clone, Debug)]
pub struct Disk {
    directory: PathBuf,
}

impl Disk {
    /// The files of this directory.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_path_buf() }
    }
}

impl Storage for Disk {
    type File = File;

    fn create(&mut self, name: &str) -> io::Result<File> {
        let file = File::create(self.directory.join(name))?;
        // The name must survive a power loss too, and so must the folder's own, which may be new.
        File::open(&self.directory)?.sync_all()?;
        if let Some(parent) = self.directory.canonicalize()?.parent().and_then(|parent| File::open(parent).ok()) {
            parent.sync_all()?;
        }
        Ok(file)
    }

    fn reopen(&mut self, name: &str, end: u64) -> io::Result<File> {
        let mut file = OpenOptions::new().write(true).open(self.directory.join(name))?;
        StorageFile::cut(&mut file, end)?;
        Ok(file)
    }
}

impl StorageFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn cut(&mut self, end: u64) -> io::Result<()> {
        self.set_len(end)?;
        self.seek(SeekFrom::Start(end))?;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn twin(&self) -> io::Result<Self> {
        self.try_clone()
    }
}
