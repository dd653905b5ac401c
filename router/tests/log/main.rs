//! The event log from outside: what is written is read back, whatever happens to the files in between.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its own files has failed")]

mod crash;
mod full;
mod fuzz;
mod golden;
mod lifetime;
mod mutate;
mod roundtrip;
mod telling;
mod toy;
mod verifying;

use std::fs;
use std::path::{Path, PathBuf};

use stormproof_router::core::Duration;
use stormproof_router::log::{Event, Options, ReadError, Reader, Recording, Torn};
use toy::{Day, Toy, opening};

/// All events, and what a crash left at the end.
fn read(log: &Path) -> Result<(Vec<Event>, Option<Torn>), ReadError> {
    let mut reader = Reader::open(log)?;
    let mut events = Vec::new();
    while let Some(event) = reader.read()? {
        events.push(event);
    }
    Ok((events, reader.torn().cloned()))
}

/// Records a day of so many requests; its router as it ends.
fn record(log: &Path, options: Options, requests: u64) -> Toy {
    let mut recording = Recording::create(log, opening(), options, &Toy::default()).unwrap();
    let mut day = Day::new(Toy::default(), 1, requests);
    day.run(&mut recording);
    recording.finish(day.now + Duration::from_secs(1)).unwrap();
    day.router
}

/// Small frames and segments, so that a small log has everything.
fn small() -> Options {
    Options { batch: 0, segment: 2 << 10, checkpoint: 40, ..Options::simulation() }
}

/// Segments in order.
fn segments(log: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(log)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(".log"))
        .collect();
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(to).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
