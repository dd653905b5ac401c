//! New settings without a restart: the configuration is read again when its file changes, or one that holds its secrets,
//! or when somebody asks, and put in force if it is good. If it is not, the last good one stays, and the log says what is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::clock::Clock;
use super::live::Live;
use super::site::{self, SiteError};
use crate::config::{Config, Environment};

/// Editors write a file in several steps; they are waited for.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(200);

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file, watched.
    File(PathBuf),
    /// A text that this program wrote itself.
    Text(Arc<str>),
}

/// Reads the configuration, now and whenever it changes.
pub(super) struct Loader {
    pub(super) source: Source,
    pub(super) environment: Arc<dyn Environment + Send + Sync>,
    pub(super) salt: Vec<u8>,
    pub(super) clock: Clock,
    /// What is in force was read from this.
    pub(super) known: Origin,
}

/// What a configuration is read from, so that a change of any part is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    text: Arc<str>,
    /// The files that hold secrets, by a digest of what they hold; `None` of those that cannot be read.
    files: BTreeMap<PathBuf, Option<[u8; 32]>>,
}

/// Why a configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its file cannot be read.
    #[error("the configuration {path} cannot be read: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a good configuration.
    #[error(transparent)]
    Site(#[from] SiteError),
}

impl Source {
    /// The text, as it is now.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn text(&self) -> Result<Arc<str>, LoadError> {
        match self {
            Self::Text(text) => Ok(Arc::clone(text)),
            Self::File(path) => std::fs::read_to_string(path)
                .map(Arc::from)
                .map_err(|source| LoadError::File { path: path.clone(), source }),
        }
    }

    /// The configuration that a text from here holds.
    ///
    /// # Errors
    /// Whatever is wrong in it.
    pub fn parse(&self, text: &str) -> Result<Config, LoadError> {
        let origin = match self {
            Self::File(path) => path.display().to_string(),
            Self::Text(_) => "the built-in configuration".to_owned(),
        };
        Config::parse(text, &origin).map_err(|errors| LoadError::Site(errors.into()))
    }
}

impl Loader {
    /// What the configuration means now. Warnings go to the log.
    pub(super) fn load(&self) -> Result<Live, LoadError> {
        let config = self.source.parse(&self.known.text)?;
        let (live, warnings) = site::live(&config, &*self.environment, &self.salt, self.clock.wall())?;
        for warning in warnings {
            warn!(%warning, "the configuration is unwise");
        }
        Ok(live)
    }

    /// Watches the configuration and the files with its secrets, and hands every good version to `put`, until `asked` is
    /// closed. A message in `asked` loads it at once, changed or not.
    pub(super) async fn run<F>(mut self, mut asked: mpsc::Receiver<()>, put: impl Fn(Live) -> F)
    where
        F: Future<Output = ()>,
    {
        let (changes, mut changed) = mpsc::channel(1);
        let mut watch = Watch::new(changes);
        // What changed while nobody watched is seen now.
        let mut forced = false;
        loop {
            watch.folders_of(self.places());
            if let Some(now) = self.look().filter(|now| forced || *now != self.known) {
                self.known = now;
                // Files may be named that were not before.
                watch.folders_of(self.places());
                self.renew(&put).await;
            }
            forced = tokio::select! {
                asked = asked.recv() => match asked {
                    Some(()) => true,
                    None => return,
                },
                Some(()) = changed.recv() => false,
            };
            if !forced {
                tokio::time::sleep(SETTLE).await;
                while changed.try_recv().is_ok() {}
            }
        }
    }

    /// What the configuration is read from at present; `None` when it cannot be read. One that makes no sense names no
    /// files: those known so far stay.
    fn look(&self) -> Option<Origin> {
        let text = self.source.text().ok()?;
        let files = match self.source.parse(&text) {
            Ok(config) => digests(&config, &*self.environment),
            Err(_said_when_it_is_loaded) => self.known.files.clone(),
        };
        Some(Origin { text, files })
    }

    /// The files to watch.
    fn places(&self) -> impl Iterator<Item = PathBuf> {
        let itself = match &self.source {
            Source::File(path) => Some(path.clone()),
            Source::Text(_) => None,
        };
        itself.into_iter().chain(self.known.files.keys().filter_map(|path| self.environment.place(path)))
    }

    async fn renew<F: Future<Output = ()>>(&self, put: &impl Fn(Live) -> F) {
        match self.load() {
            Ok(live) => {
                put(live).await;
                info!("the new configuration is in force");
            }
            Err(error) => error!(%error, "the configuration is not good; the last good one stays in force"),
        }
    }
}

impl Origin {
    /// Of a configuration with this text.
    pub(super) fn of(text: Arc<str>, config: &Config, environment: &dyn Environment) -> Self {
        Self { text, files: digests(config, environment) }
    }
}

fn digests(config: &Config, environment: &dyn Environment) -> BTreeMap<PathBuf, Option<[u8; 32]>> {
    let digest = |path: &Path| environment.file(path).ok().map(|secrets| Sha256::digest(secrets).into());
    config.secret_files().map(|path| (path.to_path_buf(), digest(path))).collect()
}

/// Watches folders, not files: editors and mounts replace a file by another.
struct Watch {
    /// `None` when the system does not watch anything for us.
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

impl Watch {
    fn new(changes: mpsc::Sender<()>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // When the channel is full a look at the files is due anyway.
                let _ = changes.try_send(());
            }
        });
        let watcher = watcher.inspect_err(|error| not_watched(Path::new("nothing"), error)).ok();
        Self { watcher, folders: BTreeSet::new() }
    }

    /// Watches the folders of these files too.
    fn folders_of(&mut self, files: impl Iterator<Item = PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for file in files {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if self.folders.insert(folder.to_path_buf())
                && let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive)
            {
                not_watched(folder, &error);
            }
        }
    }
}

fn not_watched(folder: &Path, error: &notify::Error) {
    warn!(folder = %folder.display(), %error, "changes are not noticed; send a hang-up signal instead");
}
