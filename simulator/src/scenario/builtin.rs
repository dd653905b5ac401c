//! The scenarios that are built into the program.

use stormproof_router::config::Errors;

use super::document::{Document, Embedded};

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        /// Every file of `scenarios/` that a program carries: its name and its text.
        pub const BUILT_IN: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../scenarios/", $name)))),+];
    };
}

files! {
    "stormproof.yaml",
    "logged-outage.yaml",
    "expected-rotation.yaml",
    "gain.yaml",
    "family-a.yaml",
    "family-b.yaml",
    "family-c.yaml",
    "family-e.yaml",
    "family-g.yaml",
    "family-i.yaml",
    "family-j.yaml",
    "quiet-pool.yaml",
    "crowded-pool.yaml",
    "learn.yaml",
    "contradicting-quota.yaml",
    "shared-projects.yaml",
    "address-throttle.yaml",
    "mid-stream-cuts.yaml",
    "aider-storm.yaml",
}

/// The names of the built-in scenarios.
pub fn built_in_names() -> impl Iterator<Item = &'static str> {
    // One file is the configuration that some of them share.
    BUILT_IN.iter().filter_map(|(file, _)| file.strip_suffix(".yaml")).filter(|name| *name != "stormproof")
}

/// The scenario of that name, without its extension; `None` where there is none.
///
/// # Errors
/// As [`Document::parse`].
pub fn built_in(name: &str) -> Option<Result<Document, Errors>> {
    let file = format!("{name}.yaml");
    let (_, text) = BUILT_IN.iter().find(|(known, _)| *known == file)?;
    Some(Document::parse(text, &file, Embedded(BUILT_IN)))
}
