//! Both arms: one case, in the simulator and over sockets, gives the same dispatches, answers, causes and verdicts in
//! the same order. The turns of a case are so far apart that no two inputs meet within a second.

use std::path::Path;
use std::sync::Arc;

use stormproof_router::core::{Output, Router, Settings};
use stormproof_router::log::{Reader, What, verify};
use stormproof_simulator::mock::Manners;
use stormproof_simulator::scenario::{Document, Folder};
use stormproof_simulator::study::record::record;

use crate::ONE_AT_A_TIME;
use crate::callers::everybody;
use crate::stage::Stage;

/// A case: a scenario, and what is different in it.
struct Case {
    name: &'static str,
    changes: &'static [(&'static str, &'static str)],
    /// When turns begin, in seconds.
    asks: &'static [u32],
    /// What must be among the decisions, lest the case be about nothing.
    shows: &'static [&'static str],
}

const CASES: [Case; 15] = [
    Case {
        name: "keys are rotated within their limits, then the dear one answers",
        changes: &[],
        asks: &[0, 5, 10, 15, 20, 25, 30, 35],
        shows: &["cheap free-01", "cheap free-02", "cheap free-03", "dear paid-01"],
    },
    Case {
        name: "an overloaded model is left after a few tries",
        changes: &[("world.upstreams", "{gemini-2.5-flash: {noise: 100%}}")],
        asks: &[0, 15, 30, 45],
        shows: &["dear paid-01", "Answered 200"],
    },
    Case {
        name: "an overload with nowhere to go ends at the deadline",
        changes: &[
            ("world.upstreams", "{gemini-2.5-flash: {noise: 100%}}"),
            ("config.models.m.tiers", "[cheap]"),
            ("config.models.n.tiers", "[dear]"),
        ],
        asks: &[0],
        shows: &["503 ["],
    },
    Case {
        name: "a dead key is retired and another one asked",
        changes: &[("world.deaths", "[{key: free-02, reason: key-suspended}]")],
        asks: &[0, 6, 12, 18, 24],
        shows: &["free-02", "Answered 200"],
    },
    Case {
        name: "a day quota that is smaller than configured is learned",
        changes: &[
            ("world.limits", "{gemini-2.5-flash: {rpd: 1}}"),
            ("config.models.m.tiers", "[cheap]"),
            ("config.models.n.tiers", "[dear]"),
        ],
        asks: &[0, 6, 12, 18, 30],
        shows: &["Refused 503 [cheap 0/3 RateDay"],
    },
    Case {
        name: "a minute limit that is smaller than configured costs a call, and then none",
        changes: &[("world.limits", "{gemini-2.5-flash: {rpm: 1}}")],
        asks: &[0, 6, 12, 18, 30, 40],
        shows: &["dear paid-01", "Answered 200 [] attempts 4"],
    },
    Case {
        name: "a request waits for what the trial of a refused key shows",
        changes: &[
            ("config.keys.free.expect", "1"),
            ("config.models.m.tiers", "[cheap]"),
            ("config.models.n.tiers", "[dear]"),
            ("world.latency", "12s"),
            ("world.script", "[{upstream: gemini-2.5-flash, times: 1, after: 1s, answer: 429}]"),
        ],
        // The first is refused and is the trial by the time of the second.
        asks: &[0, 8],
        shows: &["Answered 200 [] attempts 2", "Answered 200 [] attempts 1"],
    },
    Case {
        name: "silence ends at the deadline",
        changes: &[
            ("world.upstreams", "{gemini-2.5-flash: {faults: {hang: 100%}}}"),
            ("config.models.m.tiers", "[cheap]"),
            ("config.models.n.tiers", "[dear]"),
        ],
        asks: &[0, 15],
        shows: &["Deadline"],
    },
    Case {
        name: "a failing server is tried again",
        changes: &[("world.script", "[{upstream: gemini-2.5-flash, times: 2, after: 2s, answer: 500}]")],
        asks: &[0, 15],
        shows: &["dear paid-01", "Answered 200 [] attempts 2"],
    },
    Case {
        name: "a reset connection is tried again",
        changes: &[("world.script", "[{upstream: gemini-2.5-flash, times: 1, after: 2s, answer: reset}]")],
        asks: &[0, 15],
        shows: &["Answered 200 [] attempts 2"],
    },
    Case {
        name: "an answer that breaks off after its beginning is not tried again",
        changes: &[("world.upstreams", "{gemini-2.5-flash: {faults: {cut: 100%}}}"), ("clients.0.stream", "true")],
        asks: &[0, 15],
        shows: &["Cut 200"],
    },
    Case {
        name: "an error inside a stream ends it",
        changes: &[
            ("world.upstreams", "{gemini-2.5-flash: {faults: {error_event: 100%}}}"),
            ("clients.0.stream", "true"),
        ],
        asks: &[0, 15],
        shows: &["Cut 200"],
    },
    Case {
        name: "a body that is none is tried again elsewhere",
        changes: &[("world.upstreams", "{gemini-2.5-flash: {faults: {malformed: 100%}}}")],
        asks: &[0, 20],
        shows: &["dear paid-01", "Answered 200"],
    },
    Case {
        name: "a blocked prompt goes to the model that is named for it",
        changes: &[
            ("world.upstreams", "{gemini-2.5-flash: {faults: {blocked: 100%}}}"),
            ("config.models.m.tiers", "[cheap]"),
            ("config.models.m.content_fallback", "n"),
            ("config.models.n.tiers", "[dear]"),
        ],
        asks: &[0, 15],
        shows: &["dear paid-01", "Answered 200"],
    },
    Case {
        name: "a blocked stream without another model is the provider's word",
        changes: &[
            ("world.upstreams", "{gemini-2.5-flash: {faults: {blocked: 100%}}}"),
            ("config.models.m.tiers", "[cheap]"),
            ("config.models.n.tiers", "[dear]"),
            ("clients.0.stream", "true"),
        ],
        asks: &[0],
        shows: &["Failed 200"],
    },
];

/// Three keys of two requests a minute, and one that costs money.
const POOL: &str = "
about: A small pool for one question
start: 2026-03-02 09:00 America/Los_Angeles
duration: 2m
config:
  providers: {gemini: {dialect: gemini}}
  keys:
    free: {provider: gemini, expect: 3, projects: separate}
    paid: {provider: gemini, expect: 1, projects: shared}
  tiers:
    cheap: {keys: free, upstream: gemini-2.5-flash, limits: {rpm: 2, rpd: 100}, price: free}
    dear: {keys: paid, upstream: gemini-2.5-pro, limits: {rpm: 100}, price: {input: 1.25, output: 10}}
  models:
    m: {tiers: [cheap, dear], deadline: 30s}
clients:
  - {model: m, trace: asks.csv, tokens: {input: 100, output: 100}, patience: 60s}
world:
  latency: 3s
  refusals: {overload: 2s, limit: 2s, request: 2s}
compare:
  stormproof: {router: stormproof}
";

/// On a machine that stalls for longer than the gaps between inputs their order is another. So a case that differs is
/// tried again at a slower clock, and counts at the slowest.
const SCALES: [u32; 3] = [20, 5, 2];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_arms_decide_the_same() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let cases = futures_util::future::join_all(CASES.iter().map(both)).await;
    let failed: Vec<String> = cases.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// Runs a case in both arms.
async fn both(case: &Case) -> Result<(), String> {
    let document = document(case);
    let simulated = simulated(&document);
    for shown in case.shows {
        if !simulated.iter().any(|decision| decision.contains(shown)) {
            return Err(format!("{}: nothing shows {shown:?}:\n{}", case.name, simulated.join("\n")));
        }
    }
    let mut live = Vec::new();
    for scale in SCALES {
        live = over_sockets(&document, scale).await;
        if live == simulated {
            return Ok(());
        }
    }
    Err(format!("{}\nsimulated:\n{}\nlive:\n{}", case.name, simulated.join("\n"), live.join("\n")))
}

fn document(case: &Case) -> Document {
    let folder = tempfile::tempdir().expect("a folder");
    let asks: String = case.asks.iter().map(|at| format!("{at}\n")).collect();
    std::fs::write(folder.path().join("asks.csv"), format!("at\n{asks}")).expect("written");
    // The trace is read with the scenario, so the folder has to last.
    let document = Document::parse(POOL, "pool.yaml", Folder(folder.keep())).expect("a good pool");
    let change = |document: Document, (path, value): &(&str, &str)| document.with(path, value);
    case.changes.iter().try_fold(document, change).unwrap_or_else(|errors| panic!("{}: {errors}", case.name))
}

const SEED: u64 = 1;

fn simulated(document: &Document) -> Vec<String> {
    let scenario = document.scenario().unwrap_or_else(|errors| panic!("{errors}"));
    let folder = tempfile::tempdir().expect("a folder");
    record(&scenario.case, &scenario.contenders[0], SEED, folder.path()).expect("a log");
    decisions(&stormproof_simulator::study::record::folder(folder.path(), "stormproof", SEED))
}

async fn over_sockets(document: &Document, scale: u32) -> Vec<String> {
    let stage = Arc::new(Stage::open(document, SEED, scale, Manners::default()).await);
    everybody(&stage).await;
    let closed = Arc::into_inner(stage).expect("everybody has gone").close().await;
    verify::<Router>(&closed.log).expect("it replays");
    decisions(&closed.log)
}

/// What was decided, without times: who was called, what was shown, and how it ended.
fn decisions(log: &Path) -> Vec<String> {
    let mut reader = Reader::open(log).expect("a log");
    let mut decisions = Vec::new();
    while let Some(event) = reader.read().expect("an undamaged log") {
        if let What::Output(output) = &event.what {
            decisions.extend(told(output, reader.settings()));
        }
    }
    decisions
}

fn told(output: &Output, settings: &Settings) -> Option<String> {
    match output {
        Output::Dispatch(dispatch) => {
            let deployment = settings.deployments[dispatch.deployment.index()];
            let tier = &settings.tiers[deployment.tier.index()].name;
            let key = &settings.keys[deployment.key.index()].name;
            Some(format!("{} to {tier} {key}", dispatch.request))
        }
        Output::Relay { request, .. } => Some(format!("{request} is shown")),
        Output::Close { request, verdict } => {
            let causes: Vec<String> = verdict
                .causes
                .iter()
                .map(|cause| {
                    let tier = &settings.tiers[cause.tier.index()].name;
                    format!("{tier} {}/{} {:?}", cause.usable, cause.total, cause.cause)
                })
                .collect();
            let (outcome, status, attempts) = (verdict.outcome, verdict.status, verdict.attempts);
            Some(format!("{request} {outcome:?} {status} {causes:?} attempts {attempts}").replace('"', ""))
        }
        Output::Abandon { .. } | Output::WakeAt(_) => None,
    }
}
