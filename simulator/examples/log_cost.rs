//! What the event log costs: a simulated day of a million requests without and with a log, verified, rebuilt; and the
//! encoding on the live hot path.
//!
//! `cargo run --release -p stormproof-simulator --example log_cost [HOURS]`
//!
//! Ratios are the result; absolute times depend on the machine. CPU time is that of the whole process with its threads,
//! as Linux counts it, and the least of three runs.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock and prints")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use hdrhistogram::Histogram;
use stormproof_router::core::{Duration, Input, Output, RequestId, Route, Router, Timestamp};
use stormproof_router::log::{
    Opening, Options, Reader, Storage, StorageFile, Subjects, Sync, What, Writer, rebuild, verify,
};
use stormproof_simulator::engine::{Calendar, run};
use stormproof_simulator::study::Case;
use stormproof_simulator::study::families::{FAMILIES, Family, crowd};
use stormproof_simulator::study::record::Recorder;

const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let hours: u64 = std::env::args().nth(1).map_or(Ok(24), |hours| hours.parse())?;
    let busy =
        Family { load: 12.5, rpm: 63, dear_rpm: 1_875, duration: Duration::from_secs(3_600 * hours), ..FAMILIES[2] };
    measure("family C, 12.5 times", &busy.case())?;
    measure("10 000 in flight", &Family { duration: Duration::from_secs(75 * hours), ..crowd() }.case())?;
    live(&Family { duration: Duration::from_secs(600 * hours), ..busy }.case())
}

fn measure(name: &str, case: &Case) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("log");
    let (bare, ended) = least(|| Ok(run::<_, Calendar<_>, _>(&case.day, &case.settings, Router::new(), 1, &mut ())))?;
    let recorded = |options: Options| {
        let remove_last = || fs::remove_dir_all(&log).or_else(absent);
        least_after(remove_last, || {
            let router = Router::new();
            let mut recorder = Recorder::create(&log, case, &case.settings, &router, 1, options)?;
            let ended = run::<_, Calendar<_>, _>(&case.day, &case.settings, router, 1, &mut recorder);
            let events = recorder.finish(ended.tally.end)?;
            Ok((events, ended.tally.decision_hash))
        })
    };
    let (packed, _) = recorded(Options { compress: Some(3), ..Options::simulation() })?;
    let packed_bytes = size(&log)?;
    let (with_log, (events, hash)) = recorded(Options::simulation())?;
    assert_eq!(hash, ended.tally.decision_hash, "recording changes no decision");
    let bytes = size(&log)?;
    let (checkpoints, snapshots) = checkpoints(&log)?;
    let (replay, report) = least(|| Ok(verify::<Router>(&log)?))?;
    let (rebuilding, rebuilt) = least(|| Ok(rebuild::<Router>(&log)?))?;
    let rebuilt = rebuilt.ok_or("no router on record")?;
    assert_eq!(rebuilt.router.state_hash(), ended.router.state_hash(), "the rebuilt router is the one that wrote");
    let requests = ended.tally.client_calls;
    println!("{name}: {requests} requests, {events} events");
    println!(
        "  simulating           {bare:6.2} s CPU   1      ({:.2} M requests per CPU second)",
        requests as f64 / bare / 1e6
    );
    println!(
        "  simulating on record {with_log:6.2} s CPU   {:.3}  (zstd on closed segments {:.3})",
        with_log / bare,
        packed / bare
    );
    println!(
        "  verifying            {replay:6.2} s CPU   {:.3}  ({} decisions equal)",
        replay / bare,
        report.decisions
    );
    println!("  rebuilding the end   {rebuilding:6.2} s CPU, as a restart does");
    println!(
        "  {:.2} bytes per event, {:.2} without the {checkpoints} checkpoints, {:.2} with zstd",
        bytes as f64 / events as f64,
        (bytes - snapshots) as f64 / events as f64,
        packed_bytes as f64 / events as f64,
    );
    Ok(())
}

/// The least CPU time of a few rounds, with the last result.
fn least<T>(round: impl FnMut() -> Result<T, Box<dyn Error>>) -> Result<(f64, T), Box<dyn Error>> {
    least_after(|| Ok(()), round)
}

/// As [`least`], of rounds that are prepared, which is not counted.
fn least_after<T>(
    mut prepare: impl FnMut() -> io::Result<()>,
    mut round: impl FnMut() -> Result<T, Box<dyn Error>>,
) -> Result<(f64, T), Box<dyn Error>> {
    let mut best = f64::MAX;
    let mut result = None;
    for _ in 0..ROUNDS {
        prepare()?;
        let before = cpu_seconds()?;
        result = Some(round()?);
        best = best.min(cpu_seconds()? - before);
    }
    result.map(|result| (best, result)).ok_or_else(|| "no round was run".into())
}

/// CPU time of this process so far, in seconds: user and system, in the kernel's ticks of 10 ms.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn size(log: &Path) -> io::Result<u64> {
    fs::read_dir(log)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

/// How many checkpoints, and their bytes.
fn checkpoints(log: &Path) -> Result<(u64, u64), Box<dyn Error>> {
    let mut reader = Reader::open(log)?;
    let (mut count, mut bytes) = (0, 0);
    while let Some(event) = reader.read()? {
        if let What::Checkpoint(checkpoint) = event.what {
            count += 1;
            bytes += checkpoint.snapshot.len() as u64;
        }
    }
    Ok((count, bytes))
}

/// Frames as the live driver writes them, one for each step, into nowhere.
fn live(case: &Case) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let router = Router::new();
    let log = folder.path().join("log");
    let mut recorder = Recorder::create(&log, case, &case.settings, &router, 1, Options::simulation())?;
    let ended = run::<_, Calendar<_>, _>(&case.day, &case.settings, router, 1, &mut recorder);
    recorder.finish(ended.tally.end)?;

    let policy = Router::new().policy();
    let opening = Opening { policy, seed: 1, epoch: case.day.start, settings: case.settings.clone() };
    let options = Options { sync: Sync::Never, segment: u64::MAX, ..Options::live() };
    let (mut writer, _) = Writer::open_on(Nowhere, &folder.path().join("live"), opening, options)?;
    let mut reader = Reader::open(&log)?;
    let mut subjects = Subjects::new(Arc::clone(reader.settings()));
    let (mut by_step, mut by_request) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
    let mut spent: BTreeMap<RequestId, u64> = BTreeMap::new();
    let mut step: Option<Step> = None;
    loop {
        let event = reader.read()?;
        let ends = event.as_ref().is_none_or(|event| !matches!(event.what, What::Output(_)));
        if ends && let Some(Step { now, input, outputs, request }) = step.take() {
            let begun = Instant::now();
            writer.record(now, &input);
            outputs.iter().for_each(|output| writer.decided(output));
            writer.commit()?;
            let nanos = u64::try_from(begun.elapsed().as_nanos())?;
            by_step.record(nanos)?;
            if let Some(request) = request {
                *spent.entry(request).or_default() += nanos;
            }
            for output in outputs {
                if let Output::Close { request, .. } = output {
                    by_request.record(spent.remove(&request).unwrap_or_default())?;
                }
            }
        }
        let Some(event) = event else { break };
        let request = subjects.follow(&event).request;
        match event.what {
            What::Input(input) => step = Some(Step { now: event.at, input, outputs: Vec::new(), request }),
            What::Output(output) => {
                if let Some(step) = &mut step {
                    step.outputs.push(output);
                    step.request = step.request.or(request);
                }
            }
            What::Opened(_) | What::Boot(_) | What::Closed | What::Checkpoint(_) | What::Gap(_) => {}
        }
    }
    let us = |nanos: u64| nanos as f64 / 1e3;
    let steps = by_step.len() as f64 / ended.tally.client_calls as f64;
    println!("live hot path, one frame and one write into nowhere a step, {steps:.2} steps a request");
    for (what, histogram) in [("step   ", &by_step), ("request", &by_request)] {
        let (p50, p99) = (us(histogram.value_at_quantile(0.5)), us(histogram.value_at_quantile(0.99)));
        println!("  encoding a {what}  p50 {p50:.2} us, p99 {p99:.2} us");
    }
    Ok(())
}

/// An input with its decisions, and the request that they are about.
struct Step {
    now: Timestamp,
    input: Input,
    outputs: Vec<Output>,
    request: Option<RequestId>,
}

/// A storage that keeps nothing.
struct Nowhere;

impl Storage for Nowhere {
    type File = Self;

    fn create(&mut self, _name: &str) -> io::Result<Self> {
        Ok(Self)
    }

    fn reopen(&mut self, _name: &str, _end: u64) -> io::Result<Self> {
        Ok(Self)
    }
}

impl StorageFile for Nowhere {
    fn append(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn cut(&mut self, _end: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn twin(&self) -> io::Result<Self> {
        Ok(Self)
    }
}
