//! Asking a recorded day.

use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;
use stormproof_router::core::{DeploymentId, Timestamp, WallTime};
use thiserror::Error;

use super::evidence::{Evidence, EvidenceError};
use super::figures::{Estimates, Figures};
use super::model::{Model, key_changes, under};
use crate::clients::Spec;
use crate::engine::Happening;
use crate::study::{Contender, Policy, StudyError, simulate};
use crate::world::Reuse;

/// A day on record, ready to be asked.
#[derive(Clone, Debug)]
pub struct RecordedDay {
    log: String,
    pub(super) evidence: Evidence,
}

/// What a recorded day says to a question, and how far it is to be trusted.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// Which log.
    pub log: String,
    /// Which policy wrote it.
    pub recorded_by: String,
    /// Time from its first event to its last.
    pub duration_s: f64,
    /// Guesses at what the log does not tell: seeds 1 to this number.
    pub seeds: u32,
    /// What was assumed, one sentence each.
    pub assumed: Vec<String>,
    /// The day itself.
    pub recorded: Figures,
    /// The same day by the model alone.
    pub calibration: Calibration,
    /// How much of the time was dark, by upstream model.
    pub dark: Vec<Dark>,
    /// The day under each policy that was asked about.
    pub answers: Vec<Answer>,
}

/// The model under the settings that were in force, with not one answer taken from the record, against the record: what
/// it gets wrong here it gets wrong elsewhere, too.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Calibration {
    /// What the model says.
    pub modelled: Estimates,
    /// Its mean less the record, in points: 0.01 is one of a hundred turns.
    pub success_error: f64,
    /// Its mean less the record, as a share of the record; nothing where nothing was spent.
    pub spend_error: Option<f64>,
    /// The same of calls to providers.
    pub attempts_error: f64,
    /// The same of the 99th percentile of the latency.
    pub p99_error: f64,
}

/// How much the log does not show of one upstream model.
#[derive(Clone, Debug, Serialize)]
pub struct Dark {
    /// Its provider's name for it.
    pub upstream: String,
    /// Share of the time that is more than half a minute away from every call that tells whether it was overloaded.
    pub share: f64,
    /// Probability that it is overloaded when the model is of which most was seen, and only then; nothing for that one.
    pub follows: Option<f64>,
}

/// The day under one policy.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// Its name.
    pub policy: String,
    /// What it is.
    pub about: String,
    /// What would have happened.
    pub estimates: Estimates,
    /// Share of the providers' answers that were given as they are on record; the others were modelled.
    pub reused_share: f64,
    /// Share of the calls that came while the log saw nothing of their model: what they met is a guess.
    pub dark_share: f64,
    /// Whether the guesses agree well enough for their mean to be a forecast: see [`Estimates::agree`]. Where they do not,
    /// the log does not tell, and only the intervals count.
    pub is_told: bool,
    /// The guesses, by seed.
    pub per_seed: Vec<Figures>,
}

impl RecordedDay {
    /// Reads a log, from its first event to its last.
    ///
    /// # Errors
    /// When it cannot be read, or nobody asked on that day.
    pub fn read(log: &Path) -> Result<Self, EvidenceError> {
        Ok(Self { log: log.display().to_string(), evidence: Evidence::read(log)? })
    }

    /// The policy that was in force, with the settings that it had at first.
    pub fn policy(&self) -> Policy {
        let settings = Arc::clone(&self.evidence.first.settings);
        match &self.evidence.litellm {
            Some(options) => Policy::LiteLlm { settings, options: Arc::new(options.clone()) },
            None => Policy::Stormproof(settings),
        }
    }

    /// The wall time at which the log's own time begins.
    pub fn epoch(&self) -> WallTime {
        self.evidence.epoch
    }

    /// Figures of the day itself.
    pub fn figures(&self) -> Figures {
        Figures::recorded(&self.evidence, &super::clients::Crowd::new(&self.evidence))
    }

    /// Asks what would have happened under each of these policies, over seeds 1 to `seeds`. `done` is called after each
    /// simulated day, of which there are `seeds` for each policy and as many for the calibration.
    ///
    /// # Errors
    /// When a policy does not have a model that was asked for, or a router breaks its contract.
    pub fn ask(&self, contenders: &[Contender], seeds: u32, done: &(dyn Fn() + Sync)) -> Result<Findings, AskError> {
        let mut evidence = self.evidence.clone();
        let numbers: Vec<_> =
            contenders.iter().map(|contender| evidence.universe.number(contender.policy.settings())).collect();
        let mut model = Model::new(&evidence, seeds);
        for (contender, numbers) in contenders.iter().zip(&numbers) {
            let settings = contender.policy.settings();
            for (place, deployment) in settings.deployments.iter().enumerate() {
                if let Some((key, upstream)) = numbers.deployment(DeploymentId::new(place as u32))
                    && !evidence.knows(key, upstream)
                {
                    model.fences.allow(key, upstream, settings.tiers[deployment.tier.index()].limits);
                }
            }
        }
        let answers = contenders.iter().zip(&numbers).map(|(contender, numbers)| {
            let (settings, changes) = key_changes(contender.policy.settings(), numbers, &evidence);
            let policy = under(&contender.policy, settings);
            let name = &contender.name;
            let asked = Asked::new(name, policy, changes, &model, &evidence)?;
            let (per_seed, reuse) = asked.runs(&model, seeds, true, done)?;
            let calls = (reuse.recorded + reuse.modelled).max(1);
            let estimates = Estimates::new(&per_seed);
            Ok(Answer {
                policy: name.clone(),
                about: asked.policy.about(),
                estimates,
                reused_share: reuse.recorded as f64 / calls as f64,
                dark_share: reuse.dark as f64 / calls as f64,
                is_told: estimates.agree(),
                per_seed,
            })
        });
        let answers = answers.collect::<Result<Vec<Answer>, AskError>>()?;
        let recorded = Figures::recorded(&evidence, &model.crowd);
        let names = &evidence.universe.tables().upstreams;
        let dark = names.iter().zip(&model.upstreams);
        Ok(Findings {
            log: self.log.clone(),
            recorded_by: evidence.policy.clone(),
            duration_s: evidence.until.since(evidence.from).as_secs_f64(),
            seeds,
            assumed: super::assumed::sentences(&evidence, &model),
            calibration: self.calibrate(&evidence, &model, &recorded, seeds, done)?,
            recorded,
            dark: dark
                .map(|(upstream, fit)| Dark {
                    upstream: upstream.model.clone(),
                    share: fit.watch.dark,
                    follows: fit.watch.follows,
                })
                .collect(),
            answers,
        })
    }

    fn calibrate(
        &self,
        evidence: &Evidence,
        model: &Model,
        recorded: &Figures,
        seeds: u32,
        done: &(dyn Fn() + Sync),
    ) -> Result<Calibration, AskError> {
        let renumber = |configured: &super::evidence::Configured| {
            Arc::new(evidence.universe.renumber(&configured.settings, &configured.numbers))
        };
        let policy = under(&self.policy(), renumber(&evidence.first));
        let later: Vec<(Timestamp, Happening)> =
            evidence.later.iter().map(|(at, configured)| (*at, Happening::Configured(renumber(configured)))).collect();
        let asked = Asked::new("the recorded policy", policy, later, model, evidence)?;
        let (days, _) = asked.runs(model, seeds, false, done)?;
        let modelled = Estimates::new(&days);
        let relative = |mean: f64, truth: f64| if truth > 0.0 { Some(mean / truth - 1.0) } else { None };
        Ok(Calibration {
            modelled,
            success_error: modelled.success_rate.mean - recorded.success_rate,
            spend_error: relative(modelled.total_spend_usd.mean, recorded.total_spend_usd),
            attempts_error: relative(modelled.upstream_attempts.mean, recorded.upstream_attempts as f64).unwrap_or(0.0),
            p99_error: relative(modelled.p99_ms.mean, recorded.p99_ms as f64).unwrap_or(0.0),
        })
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// The policy cannot be asked for what clients asked for.
    #[error("the recorded clients asked for `{model}`, which `{policy}` does not have; add it to its `models`")]
    NoModel {
        /// Its name.
        policy: String,
        /// What it lacks.
        model: String,
    },
    /// A router broke its contract.
    #[error(transparent)]
    Study(#[from] StudyError),
}

/// A policy with all that the modelled day needs to know of it.
struct Asked<'a> {
    name: &'a str,
    policy: Policy,
    clients: Vec<Spec>,
    changes: Vec<(Timestamp, Happening)>,
}

impl<'a> Asked<'a> {
    fn new(
        name: &'a str,
        policy: Policy,
        changes: Vec<(Timestamp, Happening)>,
        model: &Model,
        evidence: &Evidence,
    ) -> Result<Self, AskError> {
        let clients = model.crowd.under(policy.settings(), &evidence.universe);
        let clients = clients.map_err(|model| AskError::NoModel { policy: name.to_owned(), model })?;
        Ok(Self { name, policy, clients, changes })
    }

    /// The modelled day, once for each seed.
    fn runs(
        &self,
        model: &Model,
        seeds: u32,
        reuse: bool,
        done: &(dyn Fn() + Sync),
    ) -> Result<(Vec<Figures>, Reuse), StudyError> {
        let one = |seed: u64| {
            let case = model.case(seed, self.policy.settings(), (&self.clients, &self.changes), reuse);
            let (tally, world) = simulate(&case, &self.policy, seed, &mut ());
            if !tally.faults.is_none() {
                return Err(StudyError::Contract { policy: self.name.to_owned(), seed, faults: tally.faults });
            }
            done();
            Ok((Figures::of(&tally), world.reuse()))
        };
        let days: Vec<(Figures, Reuse)> = (1..=u64::from(seeds)).into_par_iter().map(one).collect::<Result<_, _>>()?;
        let sum = days.iter().fold(Reuse::default(), |sum, (_, reuse)| Reuse {
            recorded: sum.recorded + reuse.recorded,
            modelled: sum.modelled + reuse.modelled,
            dark: sum.dark + reuse.dark,
        });
        Ok((days.into_iter().map(|(day, _)| day).collect(), sum))
    }
}
