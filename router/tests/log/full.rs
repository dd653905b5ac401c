//! A storage that fails: behaviour as declared, visible, and no count lost.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use stormproof_router::core::{Duration, Input, Output, RequestId, Route, Timestamp};
use stormproof_router::log::{
    Committed, Condition, Disk, Event, Gap, InFlight, Options, Storage, StorageFile, Sync, What, WhenFull, WriteError,
    Writer, rebuild, verify,
};

use crate::toy::{Day, Recorder, Toy, opening};
use crate::{read, small};

/// A disk with so many bytes left, which tears the write that does not fit.
#[derive(Clone)]
struct Small {
    disk: Disk,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    left: AtomicU64,
    sync_fails: AtomicBool,
    syncs: AtomicU64,
}

struct SmallFile {
    file: std::fs::File,
    state: Arc<State>,
}

impl Small {
    fn new(directory: &Path, left: u64) -> Self {
        let state = Arc::new(State { left: AtomicU64::new(left), ..State::default() });
        Self { disk: Disk::new(directory), state }
    }

    fn grow(&self, bytes: u64) {
        self.state.left.store(bytes, Ordering::SeqCst);
    }
}

impl Storage for Small {
    type File = SmallFile;

    fn create(&mut self, name: &str) -> io::Result<SmallFile> {
        Ok(SmallFile { file: self.disk.create(name)?, state: Arc::clone(&self.state) })
    }

    fn reopen(&mut self, name: &str, end: u64) -> io::Result<SmallFile> {
        Ok(SmallFile { file: self.disk.reopen(name, end)?, state: Arc::clone(&self.state) })
    }
}

impl StorageFile for SmallFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.state.left.load(Ordering::SeqCst);
        let fits = (bytes.len() as u64).min(left);
        self.state.left.store(left - fits, Ordering::SeqCst);
        self.file.append(&bytes[..fits as usize])?;
        if fits < bytes.len() as u64 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn cut(&mut self, end: u64) -> io::Result<()> {
        self.file.cut(end)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.state.syncs.fetch_add(1, Ordering::SeqCst);
        if self.state.sync_fails.load(Ordering::SeqCst) { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
    }

    fn twin(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.twin()?, state: Arc::clone(&self.state) })
    }
}

/// Hears what a driver of the live proxy would do, with the result of the last commit.
struct Live {
    writer: Writer<Small>,
    last: Result<Committed, WriteError>,
    dropped: u64,
}

impl Recorder for Live {
    fn record(&mut self, now: Timestamp, input: &Input) {
        self.writer.record(now, input);
    }

    fn decided(&mut self, output: &Output) {
        self.writer.decided(output);
    }

    fn commit<R: Route>(&mut self, now: Timestamp, router: &R, in_flight: &InFlight) {
        self.last = self.writer.commit();
        self.dropped += u64::from(matches!(self.last, Ok(Committed::Dropped)));
        if self.writer.checkpoint_due() {
            self.last = self.writer.checkpoint(now, router, in_flight.clone());
        }
    }
}

fn live(log: &Path, storage: &Small, options: Options) -> Live {
    let (mut writer, _) = Writer::open_on(storage.clone(), log, opening(), options).unwrap();
    writer.begin(Timestamp::ZERO, opening().epoch, &Toy::default(), true);
    Live { writer, last: Ok(Committed::Written), dropped: 0 }
}

fn gaps(events: &[Event]) -> Vec<Gap> {
    events.iter().filter_map(|event| if let What::Gap(gap) = event.what { Some(gap) } else { None }).collect()
}

#[test]
fn refusing_keeps_what_was_decided_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    // Every byte of a frame is the one at which the disk is full.
    for left in 3_000..3_060 {
        let log = folder.path().join(left.to_string());
        let storage = Small::new(&log, left);
        let mut live = live(&log, &storage, Options { segment: 1 << 20, ..small() });
        let mut day = Day::new(Toy::default(), 1, 200);
        while live.last.is_ok() {
            assert!(day.step(&mut live), "the disk is too small for the day");
        }
        let Err(WriteError::Storage { source, .. }) = &live.last else { panic!("{:?}", live.last) };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        assert!(matches!(live.writer.condition(), Condition::Refusing { .. }));
        // A process that dies now loses the one step on which nobody has acted.
        let (before, _) = read(&log).unwrap();

        assert!(live.writer.commit().is_err(), "still full");
        storage.grow(1 << 20);
        assert_eq!(live.writer.commit().unwrap(), Committed::Written);
        assert_eq!(live.writer.condition(), Condition::Writing);
        let now = day.now;
        live.writer.close(now).unwrap();
        let (after, torn) = read(&log).unwrap();
        assert_eq!(after[..before.len()], before);
        assert!(after.len() > before.len() + 1 && torn.is_none());
        assert_eq!(gaps(&after), []);
        assert_eq!(verify::<Toy>(&log).unwrap().events, after.len() as u64);
        assert_eq!(rebuild::<Toy>(&log).unwrap().unwrap().router.state_hash(), day.router.state_hash());
    }
}

#[test]
fn dropping_goes_on_and_leaves_a_gap_with_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    for left in 3_000..3_060 {
        let log = folder.path().join(left.to_string());
        let storage = Small::new(&log, left);
        let mut live = live(&log, &storage, Options { when_full: WhenFull::Drop, segment: 4 << 10, ..small() });
        let mut day = Day::new(Toy::default(), 1, 200);
        for _ in 0..400 {
            assert!(day.step(&mut live));
        }
        assert!(live.dropped > 100);
        let Condition::Dropping { events, .. } = live.writer.condition() else { panic!("not dropping") };
        assert!(events > 100);
        storage.grow(1 << 20);
        while day.step(&mut live) {}
        assert_eq!(live.writer.condition(), Condition::Writing);
        let end = day.now;
        live.writer.close(end).unwrap();

        let (after, torn) = read(&log).unwrap();
        assert_eq!(torn, None);
        let [gap] = gaps(&after)[..] else { panic!("one gap: {:?}", gaps(&after)) };
        assert!(gap.events >= events);
        let place = after.iter().position(|event| matches!(event.what, What::Gap(_))).unwrap();
        assert_eq!(after[place].sequence, after[place - 1].sequence + 1 + gap.events);
        // Nothing is lost from the count: what is read and what is missing is what happened.
        let mut whole = Count::default();
        Day::new(Toy::default(), 1, 200).run(&mut whole);
        let happened = after.iter().filter(|event| matches!(event.what, What::Input(_) | What::Output(_))).count();
        assert_eq!(happened as u64 + gap.events, whole.0);
        let report = verify::<Toy>(&log).unwrap();
        assert_eq!(report.missing, gap.events);
        assert_eq!(rebuild::<Toy>(&log).unwrap().unwrap().router.state_hash(), day.router.state_hash());
    }
}

#[derive(Default)]
struct Count(u64);

impl Recorder for Count {
    fn record(&mut self, _now: Timestamp, _input: &Input) {
        self.0 += 1;
    }

    fn decided(&mut self, _output: &Output) {
        self.0 += 1;
    }

    fn commit<R: Route>(&mut self, _now: Timestamp, _router: &R, _in_flight: &InFlight) {}
}

#[test]
fn syncs_come_as_often_as_asked_for_and_no_write_waits_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let count = |sync: Sync, name: &str| {
        let log = folder.path().join(name);
        let storage = Small::new(&log, 1 << 20);
        let mut live = live(&log, &storage, Options { sync, segment: 1 << 20, checkpoint: u64::MAX, ..small() });
        let mut commits = 0;
        for number in 0..40 {
            let now = Timestamp::ZERO + Duration::from_millis(50 * number);
            live.record(now, &Input::Cancelled { request: RequestId::new(number) });
            live.commit(now, &Toy::default(), &InFlight::default());
            live.last.as_ref().unwrap();
            commits += 1;
        }
        let due = live.writer.sync_due();
        live.writer.close(Timestamp::ZERO + Duration::from_secs(2)).unwrap();
        (storage.state.syncs.load(Ordering::SeqCst), commits, due)
    };
    // The last sync is the one at the end.
    let (syncs, commits, _) = count(Sync::EveryCommit, "every");
    assert_eq!(syncs, commits + 2);
    assert_eq!(count(Sync::Never, "never").0, 1);
    let (syncs, _, due) = count(Sync::Every(Duration::from_millis(200)), "interval");
    assert!((2..=11).contains(&syncs), "{syncs} syncs in 2 s");
    assert!(due.is_some(), "what came after the last sync is due");
}

#[test]
fn after_a_failed_sync_a_new_segment_begins_with_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Small::new(folder.path(), 1 << 20);
    let options = Options { sync: Sync::Every(Duration::from_millis(1)), segment: 1 << 20, ..small() };
    let mut live = live(folder.path(), &storage, Options { checkpoint: u64::MAX, ..options });
    let mut day = Day::new(Toy::default(), 1, 60);
    for _ in 0..10 {
        day.step(&mut live);
    }
    storage.state.sync_fails.store(true, Ordering::SeqCst);
    // The sync fails on its own thread; a step after that learns of it.
    while live.writer.header().segment == 1 {
        assert!(day.step(&mut live), "the failure went unnoticed");
        let seen = storage.state.syncs.load(Ordering::SeqCst);
        (0..10_000)
            .take_while(|_| storage.state.syncs.load(Ordering::SeqCst) == seen)
            .for_each(|_| thread::yield_now());
    }
    storage.state.sync_fails.store(false, Ordering::SeqCst);
    day.run(&mut live);
    drop(live);
    let (events, _) = read(folder.path()).unwrap();
    assert!(events.iter().any(|event| matches!(event.what, What::Checkpoint(_))));
    assert_eq!(rebuild::<Toy>(folder.path()).unwrap().unwrap().router.state_hash(), day.router.state_hash());
}
