//! The power fails at any moment under load: the disk is left with what had been synced, and the router that starts
//! there has counted at least what the provider has seen, and hardly more.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use stormproof_router::config::Config;
use stormproof_router::core::{AtRisk, Duration, RequestId, Route, Router, Timestamp, Usd};
use stormproof_router::log::{
    Boot, BootId, Disk, InFlight, Opening, Options as LogOptions, Salt, Storage, StorageFile, Sync, Writer, rebuild,
    verify,
};
use stormproof_router::proxy::{Clock, Listeners, Options, Proxy, Serving, Setup, Source, live, wall_now};
use tokio::net::TcpListener;

use crate::serving::{call, environment};
use crate::streams::{ANSWER, ASK};
use crate::support::provider::Provider;

/// Before and after the power loss.
const BOOTS: [BootId; 2] = [BootId(1), BootId(2)];
const FREE: &str = "g-free";
/// Requests a day of each of the two free keys: two of each may be at stake.
const RPD: u64 = 40;

/// A disk that forgets, when the power fails, whatever was not synced.
#[derive(Clone)]
struct Forgetful {
    disk: Disk,
    /// How long each file is on the platter.
    synced: Arc<Mutex<BTreeMap<String, u64>>>,
}

struct ForgetfulFile {
    file: std::fs::File,
    name: String,
    synced: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Forgetful {
    fn file(&self, name: &str, file: std::fs::File) -> ForgetfulFile {
        ForgetfulFile { file, name: name.to_owned(), synced: Arc::clone(&self.synced) }
    }

    /// What a power loss at this moment leaves, in another folder.
    fn lose_power(&self, log: &Path, left: &Path) {
        std::fs::create_dir_all(left).expect("a folder");
        std::fs::copy(log.join("salt"), left.join("salt")).expect("it was synced when it was made");
        for (name, length) in &*self.synced.lock().expect("no panic") {
            let bytes = std::fs::read(log.join(name)).expect("a segment");
            std::fs::write(left.join(name), &bytes[..*length as usize]).expect("written");
        }
    }
}

impl Storage for Forgetful {
    type File = ForgetfulFile;

    fn create(&mut self, name: &str) -> io::Result<ForgetfulFile> {
        let file = self.disk.create(name)?;
        self.synced.lock().expect("no panic").insert(name.to_owned(), 0);
        Ok(self.file(name, file))
    }

    fn reopen(&mut self, name: &str, end: u64) -> io::Result<ForgetfulFile> {
        let file = self.disk.reopen(name, end)?;
        Ok(self.file(name, file))
    }
}

impl StorageFile for ForgetfulFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }

    fn cut(&mut self, end: u64) -> io::Result<()> {
        self.file.cut(end)
    }

    fn sync(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        self.synced.lock().expect("no panic").insert(self.name.clone(), length);
        Ok(())
    }

    fn twin(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.twin()?, name: self.name.clone(), synced: Arc::clone(&self.synced) })
    }
}

/// A disk after a power loss, and what the provider had seen by then.
struct Wreck {
    log: PathBuf,
    free: u64,
    paid: u64,
}

fn config(log: &Path, provider: &Provider) -> String {
    format!(
        "
listen: 127.0.0.1:0
log: {{dir: \"{}\"}}
providers:
  gemini: {{dialect: gemini, base_url: \"http://{}\"}}
keys:
  free: {{provider: gemini, secrets: {{env: FREE}}, expect: 2, projects: separate}}
  paid: {{provider: gemini, secrets: {{env: PAID}}, projects: shared}}
tiers:
  free: {{keys: free, upstream: {FREE}, limits: {{rpm: 1000, rpd: {RPD}}}, price: free}}
  paid: {{keys: paid, upstream: g-paid, price: 1 USD/answer, budget: 100 USD/day}}
models:
  m: {{tiers: [free, paid], deadline: 60s}}
",
        log.display(),
        provider.gemini().address
    )
}

/// Serves on a forgetful disk that is synced as told, with so many callers at once, until the provider has seen so many
/// calls; the power fails after every few.
async fn wrecks(folder: &Path, provider: &Provider, sync: Sync, callers: u64, calls: usize) -> Vec<Wreck> {
    let log = folder.join("log");
    std::fs::create_dir_all(&log).expect("a folder");
    let salt = Salt::of(&log, || Ok([7; 32])).expect("stored");
    let parsed = Config::parse(&config(&log, provider), "test").expect("a good file");
    let (live, _) = live(&parsed, &environment(), salt.bytes(), wall_now()).expect("it makes sense");
    let disk = Forgetful { disk: Disk::new(&log), synced: Arc::default() };
    let at_risk = AtRisk::from_ppm(50_000);
    let options = LogOptions {
        sync,
        // Short segments: the power fails between two of them as well.
        segment: 16 << 10,
        compress: None,
        boot: Some(Boot { id: Some(BOOTS[0]), at_risk }),
        ..LogOptions::live()
    };
    let router = Router::new();
    let opening = Opening { policy: router.policy(), seed: 1, epoch: wall_now(), settings: Arc::clone(&live.settings) };
    let (mut writer, _) = Writer::open_on(disk.clone(), &log, opening.clone(), options).expect("it opens");
    writer.begin(Timestamp::ZERO, opening.epoch, &router, true);
    let setup = Setup {
        router,
        journal: writer,
        clock: Clock::start(opening.epoch, Timestamp::ZERO, NonZeroU32::MIN),
        live,
        last_request: RequestId::new(0),
        lost: InFlight::default(),
        power_lost: None,
        at_risk,
        roots: None,
    };
    let front = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let proxy = Proxy::start(setup, Listeners { front, tls: None }).expect("it starts");
    let address = proxy.address();
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..callers {
        load.spawn(async move {
            loop {
                call(address, http::Method::POST, "/v1beta/models/m:generateContent", "", ASK).await;
            }
        });
    }
    let mut wrecks = Vec::new();
    loop {
        // Everything here runs on one thread, so between two looks nobody calls and nobody writes.
        let asked = provider.asked();
        if asked.len() > wrecks.len() * 7 {
            let free = asked.iter().filter(|asked| asked.address.contains(FREE)).count() as u64;
            let left = folder.join(format!("left-{}", wrecks.len()));
            disk.lose_power(&log, &left);
            wrecks.push(Wreck { log: left, free, paid: asked.len() as u64 - free });
        }
        if asked.len() >= calls {
            load.abort_all();
            return wrecks;
        }
        tokio::task::yield_now().await;
    }
}

/// Requests of free keys that count, and what is spent on the paid one.
fn used(router: &Router) -> (u64, Usd) {
    let tiers = router.tiers();
    (2 * RPD - tiers[0].left_today.expect("it is limited"), tiers[1].spent + tiers[1].reserved)
}

fn dollars(dollars: u64) -> Usd {
    Usd::from_micros(dollars as i64 * 1_000_000)
}

/// Starts the proxy on what a power loss has left, and ends it in order.
async fn start(wreck: &Wreck, provider: &Provider, boot: BootId) -> Router {
    let options = Options {
        source: Source::Text(config(&wreck.log, provider).into()),
        environment: Arc::new(environment()),
        boot: Some(boot),
        time_scale: NonZeroU32::MIN,
        roots: None,
    };
    Serving::start(options).await.expect("it serves").stop().await;
    verify::<Router>(&wreck.log).expect("every decision is the same again");
    rebuild(&wreck.log).expect("it can be read").expect("a router").router
}

/// Whether anything was lost that the provider had seen; that it counts in any case is asserted.
async fn holds(sync: Sync, callers: u64) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let provider = Provider::start().await;
    for _ in 0..400 {
        provider.will_say(200, ANSWER);
    }
    let mut has_lost = false;
    for wreck in wrecks(folder.path(), &provider, sync, callers, 140).await {
        let on_record = rebuild::<Router>(&wreck.log).expect("it can be read").map(|rebuilt| used(&rebuilt.router));
        let (free, paid) = on_record.unwrap_or_default();
        has_lost |= free < wreck.free || paid < dollars(wreck.paid);

        let router = start(&wreck, &provider, BOOTS[1]).await;
        let (free, paid) = used(&router);
        assert!(free >= wreck.free, "{free} count, the provider has seen {}", wreck.free);
        assert!(paid >= dollars(wreck.paid), "{paid} counts, the provider has seen {} calls", wreck.paid);
        // What was on record and not at the provider yet is counted, too.
        assert!(free <= wreck.free + callers + 2 * 2, "{free} count, the provider has seen {}", wreck.free);
        assert!(paid <= dollars(wreck.paid + callers + 5), "{paid} counts, the provider has seen {}", wreck.paid);
        assert!(router.power_lost().is_some());
        let again = start(&wreck, &provider, BootId(3)).await;
        assert_eq!(used(&again), (free, paid), "closed in order, and booted again: nothing more is charged");
    }
    has_lost
}

#[tokio::test]
async fn whenever_the_power_fails_no_less_is_counted_than_was_spent() {
    // The background never gets to sync: all that may be at stake is.
    let never = Sync::Every(Duration::from_secs(3600));
    assert!(holds(never, 1).await && holds(never, 3).await, "something was lost, or nothing is shown");
    holds(Sync::Every(Duration::from_millis(5)), 8).await;
}

#[tokio::test]
async fn with_every_write_on_disk_nothing_is_lost() {
    assert!(!holds(Sync::EveryCommit, 3).await);
}

#[tokio::test]
async fn a_process_killed_under_the_same_boot_is_charged_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let provider = Provider::start().await;
    for _ in 0..100 {
        provider.will_say(200, ANSWER);
    }
    drop(wrecks(folder.path(), &provider, Sync::Every(Duration::from_secs(3600)), 3, 30).await);
    // The page cache has it all.
    let log = folder.path().join("left-all");
    std::fs::create_dir_all(&log).expect("a folder");
    for entry in std::fs::read_dir(folder.path().join("log")).expect("a folder") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), log.join(entry.file_name())).expect("copied");
    }
    let before = rebuild::<Router>(&log).expect("it can be read").expect("a router").router;
    let killed = Wreck { log, free: 0, paid: 0 };
    let after = start(&killed, &provider, BOOTS[0]).await;
    assert_eq!((used(&after), after.power_lost()), (used(&before), None));
}
