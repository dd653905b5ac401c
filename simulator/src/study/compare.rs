//! The comparison: every contender on the same seeds, in parallel over runs.

use std::sync::{Mutex, PoisonError};

use hdrhistogram::CreationError;
use rayon::prelude::*;
use stormproof_router::core::Router;
use thiserror::Error;

use super::case::{Case, Contender, Policy};
use super::picture::{Picture, overload_trace};
use super::replication::{Latencies, combined, merge, per_seed};
use super::summary::{PerSeed, Run, Summary};
use super::trace::{PolicyTrace, Trace};
use crate::baselines::litellm::LiteLlm;
use crate::engine::{Calendar, Ended, Event, Faults, Queue, Tally, Witness, run as drive};
use crate::world::World;

/// Why a study has no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StudyError {
    /// A router did what no router may do: left requests open, or claimed answers that no provider gave.
    #[error("`{policy}` broke its contract under seed {seed}, which is a fault of the router: {faults:?}")]
    Contract {
        /// Its name.
        policy: String,
        /// In which run.
        seed: u64,
        /// What it did, and how often.
        faults: Faults,
    },
    /// A histogram could not be made.
    #[error("latencies cannot be recorded: {0}")]
    Histogram(#[from] CreationError),
}

/// Runs every contender on seeds 1 to `seeds`. `done` is called after each run, from any thread.
///
/// # Errors
/// When a router breaks its contract.
pub fn compare(
    case: &Case,
    contenders: &[Contender],
    seeds: u32,
    done: &(dyn Fn() + Sync),
) -> Result<Summary, StudyError> {
    let runs: Vec<(Run, Option<PolicyTrace>)> = contenders
        .par_iter()
        .map(|contender| replicate(case, contender, seeds, true, done))
        .collect::<Result<_, StudyError>>()?;
    let (runs, traces): (Vec<Run>, Vec<Option<PolicyTrace>>) = runs.into_iter().unzip();
    Ok(Summary {
        scenario: case.name.clone(),
        seeds,
        assumed: case.assumed.clone(),
        duration_s: case.day.duration.as_secs_f64(),
        runs,
        trace: Trace { policies: traces.into_iter().flatten().collect(), ..overload_trace(case, TRACED_SEED) },
        ..Summary::default()
    })
}

/// The seed whose day is drawn.
const TRACED_SEED: u64 = 1;

/// One contender on seeds 1 to `seeds`, with the trace of the first where `traced`.
///
/// # Errors
/// When the router breaks its contract.
pub fn replicate(
    case: &Case,
    contender: &Contender,
    seeds: u32,
    traced: bool,
    done: &(dyn Fn() + Sync),
) -> Result<(Run, Option<PolicyTrace>), StudyError> {
    let template = Latencies::new()?;
    let all = Mutex::new(template.clone());
    let trace = Mutex::new(None);
    let one = |seed: u64| -> Result<(PerSeed, u64), StudyError> {
        let (tally, world) = if traced && seed == TRACED_SEED {
            let mut picture = Picture::default();
            let (tally, world) = simulate(case, &contender.policy, seed, &mut picture);
            *trace.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(picture.develop(case, contender, &tally, &world));
            (tally, world)
        } else {
            simulate(case, &contender.policy, seed, &mut ())
        };
        if !tally.faults.is_none() {
            return Err(StudyError::Contract { policy: contender.name.clone(), seed, faults: tally.faults });
        }
        let mut latencies = template.clone();
        latencies.record(&tally);
        merge(&mut all.lock().unwrap_or_else(PoisonError::into_inner), &latencies);
        done();
        Ok((per_seed(seed, &tally, &world, &latencies), tally.decision_hash))
    };
    let results: Vec<(PerSeed, u64)> =
        (1..=u64::from(seeds)).into_par_iter().map(one).collect::<Result<_, StudyError>>()?;
    let (per_seed, hashes): (Vec<PerSeed>, Vec<u64>) = results.into_iter().unzip();
    let latencies = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    let run = combined(&contender.name, &contender.policy.about(), per_seed, &hashes, &latencies);
    Ok((run, trace.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

/// One run of one policy.
pub fn simulate<W: Witness>(case: &Case, policy: &Policy, seed: u64, witness: &mut W) -> (Tally, World) {
    simulate_on::<Calendar<Event>, W>(case, policy, seed, witness)
}

/// One run of one policy on a queue of the caller's choice, which changes how fast it runs and nothing else.
pub fn simulate_on<Q: Queue<Event>, W: Witness>(
    case: &Case,
    policy: &Policy,
    seed: u64,
    witness: &mut W,
) -> (Tally, World) {
    match policy {
        Policy::Stormproof(settings) => {
            let Ended { tally, world, .. } = drive::<_, Q, W>(&case.day, settings, Router::new(), seed, witness);
            (tally, world)
        }
        Policy::LiteLlm { settings, options } => {
            let router = LiteLlm::new(options.as_ref().clone());
            let Ended { tally, world, .. } = drive::<_, Q, W>(&case.day, settings, router, seed, witness);
            (tally, world)
        }
    }
}
