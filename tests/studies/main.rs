//! The commands that study a day, as their user meets them: what they print, what they write, how they end.

mod contract;
mod incident;
mod mistakes;

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

/// Runs the program in the repository's folder.
fn stormproof(arguments: &[&str]) -> Output {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_stormproof"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("NO_COLOR", "1").env("COLUMNS", "110");
    command.args(arguments).output().expect("it runs")
}

/// Runs it where it has to succeed; what it printed.
fn succeeds(arguments: &[&str]) -> String {
    let output = stormproof(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "{arguments:?}");
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The one document that `printed` is.
fn document(printed: &str) -> Value {
    serde_json::from_str(printed).expect("one JSON document and nothing else")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of a folder's files, sorted.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let name = |path: PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    let mut names: Vec<String> = entries.map(|entry| name(entry.expect("readable").path())).collect();
    names.sort();
    names
}
