//! Whatever the bytes, reading ends: with events, with damage, or with an error that says what is wrong. Never with a
//! panic, never without an end.
//!
//! [`fuzz_log`] is the target. It meets a fixed number of seeded mutations of recorded logs, also such whose checksums
//! were made right again, so that the records themselves are put to the test. A finding is named by its round.

use std::fs;
use std::path::Path;

use stormproof_router::config::Zone;
use stormproof_router::core::{Duration, RequestId, Timestamp, draw};
use stormproof_router::log::{
    Export, Filter, Options, Place, ReadError, Reader, Stats, Subjects, Verifier, VerifyError, Writer, explain,
    rebuild, worst,
};

use crate::mutate::{Dice, lie, mutate, parts};
use crate::toy::{Toy, opening};
use crate::{copy, record, segments, small};

/// Reads a log in every way there is. What is wrong with it may be said, and nothing else may happen.
fn fuzz_log(log: &Path) {
    if let Ok(mut reader) = Reader::open(log) {
        let export = Export::new(reader.header().epoch);
        let mut subjects = Subjects::new(reader.settings().clone());
        let filter = Filter { key: Some("free-00".to_owned()), ..Filter::default() };
        let size: u64 = segments(log).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        let mut events = 0;
        while let Ok(Some(event)) = reader.read() {
            let subject = subjects.follow(&event);
            let line = export.line(&event, subject, subjects.settings());
            assert!(line.starts_with('{') && !line.contains('\n'));
            let _ = filter.takes(&event, subject, subjects.settings());
            events += 1;
            assert!(events <= size * 64, "more events than a compressed log of this size can hold");
        }
        let again = reader.read().map(|event| event.is_some());
        assert!(!matches!(again, Ok(true)), "an end is an end");
    }
    let _ = Stats::of(log);
    let _ = worst(log, 3);
    let _ = rebuild::<Toy>(log);
    let _ = Verifier::<Toy>::from(log, Place::Time(Timestamp::ZERO + Duration::from_secs(20))).and_then(Verifier::run);
    let _ = explain::<Toy>(log, RequestId::new(3)).map(|account| account.story(&Zone::utc()));
    // Last, since it may cut.
    drop(Writer::open(log, opening(), small()));
}

/// Logs to begin with: one segment, several, compressed ones.
fn seeds(folder: &Path) -> Vec<std::path::PathBuf> {
    let all = [
        ("one", Options { segment: 1 << 20, ..small() }),
        ("batched", Options { segment: 1 << 20, batch: 4 << 10, ..small() }),
        ("several", small()),
        ("compressed", Options { compress: Some(1), ..small() }),
    ];
    all.map(|(name, options)| {
        let log = folder.join(name);
        record(&log, options, 14);
        log
    })
    .into()
}

#[test]
fn mutated_files_are_read_to_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let harmed = folder.path().join("harmed");
    for (number, log) in seeds(folder.path()).into_iter().enumerate() {
        for round in 0..150 {
            let mut dice = Dice { seed: round, drawn: (number as u64) << 32 };
            copy(&log, &harmed);
            let files = segments(&harmed);
            let file = &files[dice.below(files.len())];
            let mut bytes = fs::read(file).unwrap();
            for _ in 0..=dice.below(4) {
                if !bytes.is_empty() {
                    mutate(&mut bytes, &mut dice);
                }
            }
            fs::write(file, bytes).unwrap();
            fuzz_log(&harmed);
        }
    }
}

#[test]
fn frames_that_lie_under_a_right_checksum_are_read_to_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let harmed = folder.path().join("harmed");
    for (number, log) in seeds(folder.path()).into_iter().enumerate().take(3) {
        for round in 0..300 {
            let mut dice = Dice { seed: round, drawn: (1 + number as u64) << 40 };
            copy(&log, &harmed);
            let files = segments(&harmed);
            let file = &files[dice.below(files.len())];
            fs::write(file, lie(&fs::read(file).unwrap(), &mut dice)).unwrap();
            fuzz_log(&harmed);
        }
    }
}

#[test]
fn nonsense_is_not_taken_for_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("00000001.log");
    for round in 0..300u64 {
        let length = draw(round, 1, 0, 0) % 3_000;
        let bytes: Vec<u8> = (0..length).map(|index| draw(round, 2, index, 0) as u8).collect();
        fs::write(&file, bytes).unwrap();
        assert!(matches!(Reader::open(folder.path()), Err(ReadError::Empty { .. })));
    }
}

#[test]
fn a_record_of_a_later_build_is_named_and_not_taken_for_damage() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), Options { segment: 1 << 20, ..small() }, 3);
    let file = segments(folder.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let (_, frames) = parts(&bytes);
    let last = frames.last().unwrap().clone();
    // The tag of the last record, which is one byte with one more: behind kind, sequence and time.
    let mut body = bytes[last.start + 8..last.end].to_vec();
    let tag = body.len() - 2;
    body[tag] = 0x7f;
    let length = (body.len() as u32).to_le_bytes();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&length), &body).to_le_bytes();
    bytes.splice(last, [length.to_vec(), crc.to_vec(), body].concat());
    fs::write(&file, bytes).unwrap();
    let Err(VerifyError::Read(error)) = Verifier::<Toy>::new(folder.path()).and_then(Verifier::run) else {
        panic!("the record went unnoticed");
    };
    assert!(matches!(error, ReadError::Senseless { .. }), "{error}");
    assert!(error.to_string().contains("read it with the build that wrote it"), "{error}");
}
