//! Cuts and flips at every byte: each is recovered from, with writing going on behind the last good frame, or reported as
//! damage with its place.

use std::fs;
use std::path::Path;

use stormproof_router::core::{Duration, Input, RequestId, Timestamp};
use stormproof_router::log::{Event, Options, ReadError, What, WriteError, Writer};

use crate::toy::opening;
use crate::{copy, read, record, segments, small};

/// What became of a harmed log.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It reads as a beginning of the whole, and what is written then follows that.
    Recovered {
        /// Events that are left.
        events: usize,
    },
    /// It is reported, with its place, by the reader and by the writer.
    Damaged { segment: String, offset: u64 },
}

/// Reads a harmed log, writes on, and reads again.
fn fate(log: &Path, whole: &[Event]) -> Fate {
    let before = match read(log) {
        Ok((events, _)) => events,
        // The only segment lost its head: nothing was in it.
        Err(ReadError::Empty { .. }) => Vec::new(),
        Err(ReadError::Damaged(damage)) => {
            return Fate::Damaged { segment: damage.segment, offset: damage.offset };
        }
        Err(other) => panic!("neither recovered nor reported as damage: {other}"),
    };
    assert_eq!(before, whole[..before.len()], "what is read is a beginning of the whole");

    let (mut writer, recovery) = Writer::open(log, opening(), small()).unwrap();
    let last = before.last().map(|event| (event.at, event.sequence + 1));
    assert_eq!(recovery.last, last);
    assert_eq!(recovery.in_order, before.last().is_none_or(|event| event.what == What::Closed));
    let now = writer.last() + Duration::from_secs(1);
    let marker = Input::Cancelled { request: RequestId::new(4_711) };
    writer.record(now, &marker);
    writer.commit().unwrap();
    drop(writer);

    let (after, torn) = read(log).unwrap();
    assert_eq!(after[..before.len()], before);
    assert_eq!(after[before.len()..], [Event { sequence: before.len() as u64, at: now, what: What::Input(marker) }]);
    assert_eq!(torn, None, "the torn tail is gone");
    Fate::Recovered { events: before.len() }
}

/// A log in a folder, and a second folder to harm copies in.
fn harmed<T>(options: Options, requests: u64, check: impl FnOnce(&Path, &Path, &[Event]) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let (log, harmed) = (folder.path().join("log"), folder.path().join("harmed"));
    record(&log, options, requests);
    let (whole, torn) = read(&log).unwrap();
    assert_eq!(torn, None);
    check(&log, &harmed, &whole)
}

/// The event with which each frame of a log begins is where a cut log may end.
fn ends_on_a_step(whole: &[Event], events: usize) -> bool {
    whole.get(events).is_none_or(|next| !matches!(next.what, What::Output(_)))
}

#[test]
fn every_cut_of_the_last_segment_recovers_to_the_last_good_frame() {
    harmed(Options { segment: 1 << 20, ..small() }, 8, |log, copied, whole| {
        let file = segments(log).pop().unwrap();
        let bytes = fs::read(&file).unwrap();
        let mut last = 0;
        for cut in 0..bytes.len() {
            copy(log, copied);
            fs::write(copied.join(file.file_name().unwrap()), &bytes[..cut]).unwrap();
            let Fate::Recovered { events } = fate(copied, whole) else { panic!("cut at {cut} is taken for damage") };
            assert!(events >= last, "a longer log has no fewer events");
            assert!(ends_on_a_step(whole, events), "an input never stands without its decisions");
            last = events;
        }
        assert!(last < whole.len() && last + 3 > whole.len());
    });
}

#[test]
fn every_flip_recovers_in_the_last_frame_and_is_damage_elsewhere() {
    harmed(Options { segment: 1 << 20, ..small() }, 8, |log, copied, whole| {
        let file = segments(log).pop().unwrap();
        let bytes = fs::read(&file).unwrap();
        let (mut recovered, mut damaged) = (0, 0);
        for at in 0..bytes.len() {
            copy(log, copied);
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(copied.join(file.file_name().unwrap()), &flipped).unwrap();
            match fate(copied, whole) {
                Fate::Recovered { events } => {
                    assert_eq!(events, whole.len() - 1, "only the last frame may go, not what a flip at {at} took");
                    recovered += 1;
                }
                Fate::Damaged { segment, offset } => {
                    assert_eq!(segment, "00000001.log");
                    assert!(offset <= at as u64, "the damage at {at} is reported at {offset}");
                    damaged += 1;
                    assert!(matches!(
                        Writer::open(copied, opening(), small()),
                        Err(WriteError::Unreadable { source: ReadError::Damaged(_), .. })
                    ));
                }
            }
        }
        assert!(recovered > 8 && damaged > 1_000, "{recovered} recovered, {damaged} damaged");
    });
}

#[test]
fn a_closed_segment_that_is_cut_or_flipped_is_damage_with_its_place() {
    harmed(small(), 16, |log, copied, whole| {
        let files = segments(log);
        assert!(files.len() > 2, "several segments: {files:?}");
        let file = &files[1];
        let name = file.file_name().unwrap();
        let bytes = fs::read(file).unwrap();
        for at in 0..bytes.len() {
            for harm in [&bytes[..at], &flip(&bytes, at)] {
                copy(log, copied);
                fs::write(copied.join(name), harm).unwrap();
                let Fate::Damaged { segment, offset } = fate(copied, whole) else { panic!("{at} went unnoticed") };
                // A cut between two frames shows only when the next segment begins too late.
                let next = files[2].file_name().unwrap().to_string_lossy();
                assert!(segment == name.to_string_lossy() && offset <= at as u64 || segment == next && offset == 0);
            }
        }
    });
}

#[test]
fn a_compressed_segment_that_is_cut_or_flipped_is_damage_with_its_place() {
    harmed(Options { compress: Some(3), ..small() }, 16, |log, copied, whole| {
        let files = segments(log);
        let file = &files[1];
        assert!(file.to_string_lossy().ends_with("00000002.log.zst"), "{files:?}");
        let name = file.file_name().unwrap();
        let bytes = fs::read(file).unwrap();
        let mut unharmed = 0;
        for at in 0..bytes.len() {
            for harm in [&bytes[..at], &flip(&bytes, at)] {
                copy(log, copied);
                fs::write(copied.join(name), harm).unwrap();
                // A few bits of the compressed form mean nothing: what comes out is the same.
                match read(copied) {
                    Ok((events, _)) => {
                        assert_eq!(events, whole);
                        unharmed += 1;
                    }
                    Err(ReadError::Damaged(damage)) => assert_eq!(damage.segment, "00000002.log.zst"),
                    Err(other) => panic!("neither recovered nor reported as damage: {other}"),
                }
            }
        }
        assert!(unharmed <= 8, "{unharmed}");
    });
}

#[test]
fn a_missing_segment_is_damage() {
    harmed(small(), 16, |log, copied, whole| {
        copy(log, copied);
        fs::remove_file(copied.join("00000002.log")).unwrap();
        assert_eq!(fate(copied, whole), Fate::Damaged { segment: "00000002.log".to_owned(), offset: 0 });
    });
}

#[test]
fn a_flip_in_the_last_of_several_segments_recovers_only_its_last_frame() {
    harmed(small(), 16, |log, copied, whole| {
        let file = segments(log).pop().unwrap();
        let bytes = fs::read(&file).unwrap();
        for at in 0..bytes.len() {
            copy(log, copied);
            fs::write(copied.join(file.file_name().unwrap()), flip(&bytes, at)).unwrap();
            match fate(copied, whole) {
                Fate::Recovered { events } => assert_eq!(events, whole.len() - 1),
                Fate::Damaged { segment, offset } => {
                    assert!(file.ends_with(&segment) && offset <= at as u64);
                }
            }
        }
    });
}

#[test]
fn a_crash_at_any_step_of_closing_a_segment_loses_nothing() {
    harmed(Options { compress: Some(3), ..small() }, 16, |log, copied, whole| {
        // A segment and its finished copy, and the unfinished copy of another.
        copy(log, copied);
        let plain = Options { compress: None, ..small() };
        let again = copied.with_file_name("plain");
        record(&again, plain, 16);
        fs::copy(again.join("00000001.log"), copied.join("00000001.log")).unwrap();
        fs::write(copied.join("00000002.log.zst.new"), b"half a copy").unwrap();
        assert_eq!(fate(copied, whole), Fate::Recovered { events: whole.len() });
        assert!(!copied.join("00000002.log.zst.new").exists() && !copied.join("00000001.log.zst").exists());
    });
}

fn flip(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    flipped[at] ^= 1 << (at % 8);
    flipped
}

#[test]
fn zeros_after_the_end_are_a_torn_tail() {
    harmed(Options { segment: 1 << 20, ..small() }, 8, |log, copied, whole| {
        copy(log, copied);
        let file = segments(copied).pop().unwrap();
        let mut bytes = fs::read(&file).unwrap();
        bytes.extend([0; 4096]);
        fs::write(&file, bytes).unwrap();
        assert_eq!(fate(copied, whole), Fate::Recovered { events: whole.len() });
        assert!(read(copied).unwrap().0.last().unwrap().at > Timestamp::ZERO);
    });
}
