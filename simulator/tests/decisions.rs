//! Golden decisions: what every router does on the first seeds of every scenario, to the last output.
//!
//! The file beside this test holds one hash for each scenario, router and seed. Whatever should leave decisions alone
//! (another queue, a witness, a log, more threads, another build) is compared with it; so is every change of the code.
//! A change that is meant renews it: `BLESS=1 cargo test -p stormproof-simulator --test decisions`. The same test in the
//! release profile shows that optimisation decides nothing.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use stormproof_simulator::engine::{Calendar, Event, Heap, Queue, fold_runs};
use stormproof_simulator::scenario::{Scenario, built_in, built_in_names};
use stormproof_simulator::study::record::record;
use stormproof_simulator::study::{Contender, compare, simulate_on};

/// How many seeds of each scenario are on file.
const SEEDS: u32 = 2;

/// The hashes by scenario, router and seed.
type Decisions = BTreeMap<(String, String, u64), u64>;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/decisions.txt")
}

fn on_file() -> Decisions {
    let text = std::fs::read_to_string(golden()).expect("the golden file is committed");
    let read = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [scenario, router, seed, hash] = fields.as_slice() else { panic!("four fields in `{line}`") };
        let hash = u64::from_str_radix(hash, 16).expect("a hash");
        (((*scenario).to_owned(), (*router).to_owned(), seed.parse().expect("a seed")), hash)
    };
    text.lines().map(read).collect()
}

fn scenarios() -> Vec<Scenario> {
    let open = |name| built_in(name).expect("built in").and_then(|document| document.scenario());
    built_in_names().map(|name| open(name).unwrap_or_else(|errors| panic!("{errors}"))).collect()
}

/// Every run of every scenario.
fn decisions(decide: impl Fn(&Scenario, &Contender, u64) -> u64 + Sync) -> Decisions {
    let scenarios = scenarios();
    let runs: Vec<(&Scenario, &Contender, u64)> = scenarios
        .iter()
        .flat_map(|scenario| scenario.contenders.iter().map(move |contender| (scenario, contender)))
        .flat_map(|(scenario, contender)| (1..=u64::from(SEEDS)).map(move |seed| (scenario, contender, seed)))
        .collect();
    let run = |(scenario, contender, seed): (&Scenario, &Contender, u64)| {
        let name = (scenario.case.name.clone(), contender.name.clone(), seed);
        (name, decide(scenario, contender, seed))
    };
    runs.into_par_iter().map(run).collect()
}

fn on_queue<Q: Queue<Event>>(scenario: &Scenario, contender: &Contender, seed: u64) -> u64 {
    simulate_on::<Q, _>(&scenario.case, &contender.policy, seed, &mut ()).0.decision_hash
}

/// Says which runs differ, rather than printing both sides whole.
fn assert_same(found: &Decisions, what: &str) {
    let expected = on_file();
    let differ: Vec<String> = found
        .iter()
        .filter(|(run, hash)| expected.get(*run) != Some(hash))
        .map(|((scenario, router, seed), _)| format!("{scenario}/{router}/{seed}"))
        .collect();
    assert!(differ.is_empty(), "{what}: other decisions than on file in {}", differ.join(", "));
    assert_eq!(found.len(), expected.len(), "{what}: the golden file holds runs that no scenario has");
}

#[test]
fn decisions_are_those_on_file() {
    let found = decisions(on_queue::<Calendar<Event>>);
    if std::env::var_os("BLESS").is_some() {
        let mut text = String::new();
        for ((scenario, router, seed), hash) in &found {
            writeln!(text, "{scenario} {router} {seed} {hash:016x}").expect("a string takes it");
        }
        std::fs::write(golden(), text).expect("written");
    }
    assert_same(&found, "as usual");
}

#[test]
fn the_other_queue_decides_nothing() {
    assert_same(&decisions(on_queue::<Heap<Event>>), "heap");
}

#[test]
fn a_log_decides_nothing() {
    let parent = tempfile::tempdir().expect("a folder");
    let found = decisions(|scenario, contender, seed| {
        let folder = parent.path().join(&scenario.case.name);
        let tally = record(&scenario.case, contender, seed, &folder).expect("recorded");
        tally.decision_hash
    });
    assert_same(&found, "on record");
}

/// The report watches the first seed of every router, and threads share the seeds.
#[test]
fn reports_and_threads_decide_nothing() {
    let expected = on_file();
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        for Scenario { case, contenders, .. } in scenarios() {
            let summary = pool.install(|| compare(&case, &contenders, SEEDS, &|| ())).expect("a summary");
            assert_eq!(summary.trace.policies.len(), contenders.len());
            for run in &summary.runs {
                let of =
                    |seed| expected.get(&(case.name.clone(), run.policy.clone(), seed)).copied().unwrap_or_default();
                let folded = (1..=u64::from(SEEDS)).map(of).fold(0, fold_runs);
                assert_eq!(
                    run.decision_hash,
                    format!("{folded:016x}"),
                    "{} {}, {threads} threads",
                    case.name,
                    run.policy
                );
            }
        }
    }
}
