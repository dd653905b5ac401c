//! New settings without a restart: the configuration is read again when its file changes or when somebody asks, and
//! put in force if it is good. If it is not, the last good one stays, and the log says what is wrong.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
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
    /// The text of what is in force.
    pub(super) known: Arc<str>,
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
        let config = self.source.parse(&self.known)?;
        let (live, warnings) = site::live(&config, &*self.environment, &self.salt, self.clock.wall())?;
        for warning in warnings {
            warn!(%warning, "the configuration is unwise");
        }
        Ok(live)
    }

    /// Watches the configuration and hands every good version to `put`, until `asked` is closed. A message in `asked`
    /// loads it at once, changed or not.
    pub(super) async fn run<F>(mut self, mut asked: mpsc::Receiver<()>, put: impl Fn(Live) -> F)
    where
        F: Future<Output = ()>,
    {
        let (changes, mut changed) = mpsc::channel(1);
        let _watcher = match &self.source {
            Source::File(path) => watch(path, changes)
                .inspect_err(|error| warn!(%error, "the configuration is not watched; send a hang-up signal instead"))
                .ok(),
            Source::Text(_) => None,
        };
        // What changed while nobody watched is seen now.
        let mut forced = false;
        loop {
            let text = self.source.text().ok();
            if let Some(text) = text.filter(|text| forced || *text != self.known) {
                self.known = text;
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

/// Watches the folder, not the file: editors and mounts replace the file by another.
fn watch(path: &Path, changes: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // When the channel is full a look at the file is due anyway.
            let _ = changes.try_send(());
        }
    })?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
