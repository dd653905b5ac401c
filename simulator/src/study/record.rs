//! Simulated runs on record: one log for each policy and seed, of the same kind as the live proxy writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use stormproof_router::core::{Input, Note, Observer, Output, Route, Router, Settings, Timestamp};
use stormproof_router::log::{InFlight, Opening, Options, Recording, WriteError};

use super::case::{Case, Contender, Policy};
use super::compare::simulate;
use crate::baselines::litellm::LiteLlm;
use crate::engine::{Tally, Witness};

/// Puts a run on record while it happens.
pub struct Recorder(Recording);

impl Recorder {
    /// Begins a log in a folder of its own.
    ///
    /// # Errors
    /// When the folder cannot be made or holds a log already.
    pub fn create<R: Route>(
        folder: &Path,
        case: &Case,
        settings: &Arc<Settings>,
        router: &R,
        seed: u64,
        options: Options,
    ) -> Result<Self, WriteError> {
        let opening = Opening { policy: router.policy(), seed, epoch: case.day.start, settings: Arc::clone(settings) };
        Recording::create(folder, opening, options, router).map(Self)
    }

    /// Ends the log; the number of events on record.
    ///
    /// # Errors
    /// The first thing that went wrong since it was begun.
    pub fn finish(self, now: Timestamp) -> Result<u64, WriteError> {
        self.0.finish(now)
    }
}

impl Observer for Recorder {
    const LISTENS: bool = false;

    fn note(&mut self, _now: Timestamp, _note: Note) {}
}

impl Witness for Recorder {
    #[inline]
    fn input(&mut self, now: Timestamp, input: &Input) {
        self.0.record(now, input);
    }

    #[inline(always)]
    fn output(&mut self, _now: Timestamp, output: &Output) {
        self.0.decided(output);
    }

    #[inline]
    fn settled<R: Route>(&mut self, now: Timestamp, router: &R) {
        // Nobody takes over a simulated run, so nobody has to be told what was in flight.
        self.0.commit(now, router, InFlight::default);
    }
}

/// Where the log of one run lies, below a folder for all of them: `stormproof-1`, `litellm-1.66-1`.
pub fn folder(parent: &Path, contender: &str, seed: u64) -> PathBuf {
    parent.join(format!("{contender}-{seed}"))
}

/// Runs every contender on seeds 1 to `seeds` on record, each in its [`folder`]. The runs are those of
/// [`compare`](super::compare) again: recording changes no decision. `done` is called after each run, from any thread.
///
/// # Errors
/// When one of the folders holds a log already, before anything is run; when a log cannot be written.
pub fn record_all(
    case: &Case,
    contenders: &[Contender],
    seeds: u32,
    parent: &Path,
    done: &(dyn Fn() + Sync),
) -> Result<(), WriteError> {
    let runs = contenders.iter().flat_map(|contender| (1..=u64::from(seeds)).map(move |seed| (contender, seed)));
    let runs: Vec<(&Contender, u64)> = runs.collect();
    let taken = runs.iter().map(|(contender, seed)| folder(parent, &contender.name, *seed)).find(|log| log.exists());
    if let Some(directory) = taken {
        return Err(WriteError::NotEmpty { directory });
    }
    runs.into_par_iter().try_for_each(|(contender, seed)| {
        record(case, contender, seed, parent)?;
        done();
        Ok(())
    })
}

/// Runs one contender's day on record, in [`folder`].
///
/// # Errors
/// When the log cannot be written.
pub fn record(case: &Case, contender: &Contender, seed: u64, parent: &Path) -> Result<Tally, WriteError> {
    let folder = folder(parent, &contender.name, seed);
    let options = Options::simulation();
    let mut recorder = match &contender.policy {
        Policy::Stormproof(settings) => Recorder::create(&folder, case, settings, &Router::new(), seed, options)?,
        Policy::LiteLlm { settings, options: litellm } => {
            Recorder::create(&folder, case, settings, &LiteLlm::new(litellm.as_ref().clone()), seed, options)?
        }
    };
    let (tally, _) = simulate(case, &contender.policy, seed, &mut recorder);
    recorder.finish(tally.end)?;
    Ok(tally)
}
