//! What a study found, as a terminal table, JSON, SVG, HTML and JUnit.
//!
//! Everything here is a pure function of a [`Summary`] or a [`Sweep`](stormproof_simulator::study::summary::Sweep):
//! the same numbers give the same bytes. Only [`write_directory`] and [`sweep::write_directory`] touch the file system.

mod chart;
mod format;
mod headline;
mod json;
mod junit;
mod numbers;
mod page;
mod picture;
pub mod sweep;
mod table;
pub mod whatif;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use plotters::drawing::DrawingAreaErrorKind;
use stormproof_simulator::study::summary::Summary;
use thiserror::Error;

pub use chart::pictures;
pub use headline::{Headline, headline};
pub use json::json;
pub use junit::junit;
pub use page::html;
pub use picture::Picture;
pub use table::{Terminal, table};

/// Why a report could not be made.
#[derive(Debug, Error)]
pub enum Error {
    /// A picture could not be drawn: a defect of ours.
    #[error("a picture could not be drawn: {0}")]
    Drawing(String),
    /// JSON, CSV or XML could not be written from it.
    #[error("the summary does not fit into a document: {0}")]
    Document(String),
    /// The file system said no.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for Error {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self::Drawing(error.to_string())
    }
}

/// Writes `report.html`, `summary.json`, `trace.json` and one SVG a picture into `directory`, which is made if need be.
/// Gives the paths written, the report first.
///
/// # Errors
/// When the directory or a file in it cannot be written.
pub fn write_directory(summary: &Summary, directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let pictures = pictures(summary)?;
    let mut files = vec![
        ("report.html".to_owned(), page::html_with(summary, &pictures)),
        ("summary.json".to_owned(), json(summary)?),
        ("trace.json".to_owned(), json::document(&summary.trace)?),
    ];
    files.extend(pictures.iter().map(|picture| (format!("{}.svg", picture.name()), picture.to_svg())));
    write_files(directory, files)
}

fn write_files(directory: &Path, files: Vec<(String, String)>) -> Result<Vec<PathBuf>, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    fs::create_dir_all(directory).map_err(failed(directory))?;
    let mut written = Vec::with_capacity(files.len());
    for (name, content) in files {
        let path = directory.join(name);
        fs::write(&path, content).map_err(failed(&path))?;
        written.push(path);
    }
    Ok(written)
}
