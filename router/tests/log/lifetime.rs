//! A log over its life: restarts, segments, compression, retention, one owner, and no secret anywhere.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use stormproof_router::core::{Duration, Fingerprint, Input, Output, Route, Settings, Timestamp};
use stormproof_router::log::{
    Committed, InFlight, Keep, Opening, Options, Patience, Place, ReadError, Reader, Recording, Salt, Sync, What,
    WriteError, Writer, rebuild, verify,
};

use crate::toy::{Day, Recorder, Toy, opening, secret, settings, stranger};
use crate::{read, record, segments, small};

/// The writer as a driver uses it, where nothing fails.
struct Live(Writer);

impl Recorder for Live {
    fn record(&mut self, now: Timestamp, input: &Input) {
        self.0.record(now, input);
    }

    fn decided(&mut self, output: &Output) {
        self.0.decided(output);
    }

    fn commit<R: Route>(&mut self, now: Timestamp, router: &R, in_flight: &InFlight) {
        assert_eq!(self.0.commit().unwrap(), Committed::Written);
        if self.0.checkpoint_due() {
            self.0.checkpoint(now, router, in_flight.clone()).unwrap();
        }
    }
}

#[test]
fn a_router_rebuilt_after_any_step_is_the_one_that_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _) = Writer::open(folder.path(), opening(), small()).unwrap();
    writer.begin(Timestamp::ZERO, opening().epoch, &Toy::default(), true);
    let mut live = Live(writer);
    let mut day = Day::new(Toy::default(), 1, 60);
    let mut steps = 0;
    while day.step(&mut live) {
        steps += 1;
        if steps % 5 == 0 {
            let rebuilt = rebuild::<Toy>(folder.path()).unwrap().unwrap();
            assert_eq!(rebuilt.router.state_hash(), day.router.state_hash(), "after {steps} steps");
            assert_eq!((rebuilt.at, rebuilt.in_flight), (day.now, day.in_flight()));
        }
    }
    assert!(steps > 150 && segments(folder.path()).len() > 3);
}

#[test]
fn a_day_with_restarts_verifies_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut day = Day::new(Toy::default(), 1, 60);
    let mut is_first = true;
    loop {
        let (mut writer, recovery) = Writer::open(folder.path(), opening(), small()).unwrap();
        assert_eq!(recovery.in_order, is_first, "the process before was killed");
        assert_eq!(recovery.last.is_none(), is_first);
        writer.begin(day.now, opening().epoch, &day.router, is_first);
        writer.commit().unwrap();
        let mut live = Live(writer);
        if !(0..30).all(|_| day.step(&mut live)) {
            break;
        }
        // Killed; the next one goes on with the router of the log.
        drop(live);
        let rebuilt = rebuild::<Toy>(folder.path()).unwrap().unwrap();
        day.router = rebuilt.router;
        is_first = false;
    }
    let report = verify::<Toy>(folder.path()).unwrap();
    assert!(report.checkpoints > 3 && report.decisions > 100, "{report:?}");
    assert_eq!((report.missing, report.unverified), (0, 0));
}

#[test]
fn another_policy_version_begins_a_segment_and_is_read_but_not_verified() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), Options { segment: 1 << 20, ..small() }, 10);
    let (mut writer, recovery) =
        Writer::open(folder.path(), Opening { policy: "toy/2", ..opening() }, small()).unwrap();
    assert!(recovery.in_order);
    writer.begin(writer.last(), opening().epoch, &Toy::default(), true);
    writer.commit().unwrap();
    drop(writer);
    let (events, _) = read(folder.path()).unwrap();
    assert!(matches!(events.last().unwrap().what, What::Opened(_)));
    assert_eq!(segments(folder.path()).len(), 2);
    let report = verify::<Toy>(folder.path()).unwrap();
    assert_eq!(report.others, ["toy/2".to_owned()].into());
    assert_eq!(report.events, events.len() as u64);
    assert!(report.decisions > 20 && report.unverified == 0, "{report:?}");
    let refused = rebuild::<Toy>(folder.path()).unwrap_err().to_string();
    assert!(refused.ends_with("was decided by toy/2 and this is toy/1: it can be read, but not verified"), "{refused}");
}

#[test]
fn compressed_segments_read_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, compressed) = (folder.path().join("plain"), folder.path().join("compressed"));
    record(&plain, small(), 60);
    record(&compressed, Options { compress: Some(3), ..small() }, 60);
    assert_eq!(read(&plain).unwrap(), read(&compressed).unwrap());
    let packed = segments(&compressed).iter().filter(|path| path.extension().unwrap() == "zst").count();
    assert_eq!(packed, segments(&plain).len() - 1, "all but the open one");
    verify::<Toy>(&compressed).unwrap();
}

#[test]
fn the_reader_begins_at_the_checkpoint_nearest_before_a_place() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), Options { compress: Some(3), ..small() }, 60);
    let (events, _) = read(folder.path()).unwrap();
    let checkpoints: Vec<_> = events.iter().filter(|event| matches!(event.what, What::Checkpoint(_))).collect();
    assert!(checkpoints.len() > 4);
    for event in &events {
        let expected = checkpoints.iter().rfind(|checkpoint| checkpoint.sequence <= event.sequence);
        let mut reader = Reader::at_checkpoint(folder.path(), Place::Sequence(event.sequence)).unwrap();
        let found = reader.read().unwrap().unwrap();
        assert_eq!(found.sequence, expected.map_or(0, |checkpoint| checkpoint.sequence));
        let mut reader = Reader::at_checkpoint(folder.path(), Place::Time(event.at)).unwrap();
        assert!(reader.read().unwrap().unwrap().at <= event.at);
    }
    let last = Reader::at_checkpoint(folder.path(), Place::End).unwrap().read().unwrap().unwrap();
    assert_eq!(last.sequence, checkpoints.last().unwrap().sequence);
}

#[test]
fn a_growing_log_is_followed_across_segments() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _) = Writer::open(folder.path(), opening(), Options { compress: Some(1), ..small() }).unwrap();
    writer.begin(Timestamp::ZERO, opening().epoch, &Toy::default(), true);
    writer.commit().unwrap();
    let mut live = Live(writer);
    let mut reader = Reader::open(folder.path()).unwrap();
    let mut followed = Vec::new();
    let mut day = Day::new(Toy::default(), 1, 60);
    while day.step(&mut live) {
        while let Some(event) = reader.read().unwrap() {
            followed.push(event);
        }
        assert_eq!(followed.len() as u64, live.0.sequence(), "everything committed is seen at once");
    }
    drop(live);
    assert_eq!(followed, read(folder.path()).unwrap().0);
}

#[test]
fn retention_removes_what_the_last_checkpoint_does_not_need() {
    let folder = tempfile::tempdir().unwrap();
    let keep = Keep { bytes: Some(6 << 10), age: None };
    let router = record(folder.path(), Options { keep, ..small() }, 120);
    let left = segments(folder.path());
    assert!(!left[0].ends_with("00000001.log"), "{left:?}");
    let size: u64 = left.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(size < 12 << 10, "{size} bytes in {left:?}");
    let rebuilt = rebuild::<Toy>(folder.path()).unwrap().unwrap();
    assert_eq!(rebuilt.router.state_hash(), router.state_hash());
    let report = verify::<Toy>(folder.path()).unwrap();
    assert!(report.unverified < report.events && report.checkpoints > 1, "{report:?}");

    let folder = tempfile::tempdir().unwrap();
    let keep = Keep { bytes: None, age: Some(Duration::from_secs(60)) };
    record(folder.path(), Options { keep, ..small() }, 120);
    let first = Reader::open(folder.path()).unwrap().read().unwrap().unwrap();
    let (events, _) = read(folder.path()).unwrap();
    assert!(first.sequence > 0 && events.last().unwrap().at.since(first.at) >= Duration::from_secs(60));
}

#[test]
fn without_a_checkpoint_nothing_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let keep = Keep { bytes: Some(0), age: Some(Duration::ZERO) };
    let (mut writer, _) = Writer::open(folder.path(), opening(), Options { keep, ..small() }).unwrap();
    writer.begin(Timestamp::ZERO, opening().epoch, &Toy::default(), true);
    /// Never asked for a checkpoint.
    struct Deaf(Writer);
    impl Recorder for Deaf {
        fn record(&mut self, now: Timestamp, input: &Input) {
            self.0.record(now, input);
        }
        fn decided(&mut self, output: &Output) {
            self.0.decided(output);
        }
        fn commit<R: Route>(&mut self, _now: Timestamp, _router: &R, _in_flight: &InFlight) {
            self.0.commit().unwrap();
        }
    }
    let mut day = Day::new(Toy::default(), 1, 60);
    let mut deaf = Deaf(writer);
    day.run(&mut deaf);
    deaf.0.close(day.now).unwrap();
    assert_eq!(read(folder.path()).unwrap().0[0].sequence, 0);
}

#[test]
fn a_log_has_one_owner_and_a_second_one_may_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, _) = Writer::open(folder.path(), opening(), small()).unwrap();
    let refused = Writer::open(folder.path(), opening(), small()).err().unwrap();
    assert!(matches!(refused, WriteError::Owned { .. }), "{refused}");
    let (sender, opened) = channel();
    let directory = folder.path().to_path_buf();
    let waiting = thread::spawn(move || {
        let options = Options { patience: Patience::Wait, ..small() };
        sender.send(()).unwrap();
        Writer::open(&directory, opening(), options).map(|(_, recovery)| recovery.in_order).unwrap()
    });
    opened.recv().unwrap();
    writer.close(Timestamp::ZERO).unwrap();
    assert!(waiting.join().unwrap(), "the second came after the first had closed");
}

#[test]
fn a_recording_does_not_mix_with_another() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), small(), 3);
    let refused = Recording::create(folder.path(), opening(), small(), &Toy::default()).err().unwrap();
    assert!(matches!(refused, WriteError::NotEmpty { .. }), "{refused}");
}

#[test]
fn no_secret_stands_anywhere_in_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let salt = Salt::of(folder.path(), || Ok([5; 32])).unwrap();
    record(folder.path(), Options { compress: Some(3), ..small() }, 60);
    let mut files = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "zst") {
            bytes = zstd::decode_all(&bytes[..]).unwrap();
        }
        files += 1;
        for index in 0..5 {
            let secret = secret(index);
            for part in [secret.as_bytes(), &secret.as_bytes()[10..]] {
                assert!(!bytes.windows(part.len()).any(|window| window == part), "{}", path.display());
            }
            assert_ne!(salt.fingerprint(&secret), settings().keys[index as usize].fingerprint);
        }
        if path.to_string_lossy().contains(".log") {
            let name = settings().keys[0].name.clone().into_bytes();
            assert!(bytes.windows(name.len()).any(|window| window == name), "names do stand there");
        }
    }
    assert!(files > 4);
}

#[test]
fn settings_that_would_not_read_back_are_refused_when_written() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _) = Writer::open(folder.path(), opening(), small()).unwrap();
    let mut settings = settings();
    settings.knobs.degraded_share = f64::INFINITY;
    writer.record(Timestamp::ZERO, &Input::Configured { settings: Arc::new(settings) });
    let refused = writer.commit().unwrap_err();
    assert!(matches!(refused, WriteError::Inexpressible(_)), "{refused}");
}

#[test]
fn settings_follow_the_place_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _) = Writer::open(folder.path(), opening(), small()).unwrap();
    writer.begin(Timestamp::ZERO, opening().epoch, &Toy::default(), true);
    let mut later: Settings = settings();
    later.keys[0].fingerprint = stranger();
    later.retries.overload = Some(3);
    for (second, settings) in [settings(), later.clone()].into_iter().enumerate() {
        let now = Timestamp::ZERO + Duration::from_secs(second as u64);
        writer.record(now, &Input::Configured { settings: Arc::new(settings) });
        writer.commit().unwrap();
        writer.checkpoint(now, &Toy::default(), InFlight::default()).unwrap();
    }
    drop(writer);
    let of = |place| {
        Fingerprint::clone(&Reader::at_checkpoint(folder.path(), place).unwrap().settings().keys[0].fingerprint)
    };
    assert_eq!(of(Place::Time(Timestamp::ZERO)), settings().keys[0].fingerprint);
    assert_eq!(of(Place::End), stranger());
    assert_eq!(**Reader::at_checkpoint(folder.path(), Place::End).unwrap().settings(), later);
    let (writer, _) = Writer::open(folder.path(), opening(), small()).unwrap();
    assert_eq!(*writer.header().settings, later);
}

#[test]
fn what_is_no_log_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Reader::open(folder.path()), Err(ReadError::Empty { .. })));
    assert!(matches!(Reader::open(Path::new("no/such/folder")), Err(ReadError::Missing { .. })));
    let file = folder.path().join("something.txt");
    fs::write(&file, "a text that is much longer than any head of a segment would have to be").unwrap();
    assert!(matches!(Reader::open(&file), Err(ReadError::Empty { .. })));
    record(&folder.path().join("log"), Options { sync: Sync::EveryCommit, ..small() }, 3);
    let mut newer = fs::read(folder.path().join("log/00000001.log")).unwrap();
    newer[8] = 9;
    let length = u32::from_le_bytes(newer[12..16].try_into().unwrap()) as usize;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&newer[..16]), &newer[20..20 + length]);
    newer[16..20].copy_from_slice(&crc.to_le_bytes());
    fs::write(&file, newer).unwrap();
    let refused = Reader::open(&file).err().unwrap().to_string();
    assert!(
        refused.ends_with("is written in log format 9; this build reads format 1: take a newer build"),
        "{refused}"
    );
}
