//! A day under an emulated LiteLLM, with everything written down that happened.

use std::sync::Arc;

use stormproof_router::core::{
    DeploymentId, Duration, Input, Note, Observer, Output, RequestId, Settings, Timestamp, UpstreamId, Verdict,
};
use stormproof_simulator::baselines::litellm::{LiteLlm, Options};
use stormproof_simulator::engine::{self, Day, Heap, Tally, Witness};

/// What became of one client call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) arrived: Timestamp,
    pub(crate) closed: Timestamp,
    pub(crate) verdict: Option<Verdict>,
    /// Deployments called, in order, and what they serve.
    pub(crate) called: Vec<(DeploymentId, UpstreamId)>,
}

/// All of one day.
pub(crate) struct Watched {
    /// By request, in the order of arrival.
    pub(crate) told: Vec<Told>,
    /// Every input with the outputs that followed it.
    pub(crate) steps: Vec<(Timestamp, Input, Vec<Output>)>,
    pub(crate) tally: Tally,
    pub(crate) router: LiteLlm,
}

/// Lets the day happen to a router of these options.
pub(crate) fn watch(day: &Day, settings: &Settings, options: &Options, seed: u64) -> Watched {
    let settings = Arc::new(settings.clone());
    let mut record = Record { settings: Arc::clone(&settings), told: Vec::new(), steps: Vec::new() };
    let router = LiteLlm::new(options.clone());
    let ended = engine::run::<_, Heap<engine::Event>, _>(day, &settings, router, seed, &mut record);
    assert!(ended.tally.faults.is_none(), "the router broke its contract: {:?}", ended.tally.faults);
    Watched { told: record.told, steps: record.steps, tally: ended.tally, router: ended.router }
}

impl Told {
    pub(crate) fn answered(&self) -> bool {
        self.status() == 200 && !self.error_in_stream()
    }

    /// 0 when it was never answered.
    pub(crate) fn status(&self) -> u16 {
        self.verdict.as_ref().map_or(0, |verdict| verdict.status)
    }

    pub(crate) fn error_in_stream(&self) -> bool {
        self.verdict.as_ref().and_then(|verdict| verdict.foreign).is_some_and(|foreign| foreign.error_in_stream)
    }

    pub(crate) fn text_bytes(&self) -> u64 {
        self.verdict.as_ref().and_then(|verdict| verdict.foreign).map_or(0, |foreign| foreign.text_bytes)
    }

    pub(crate) fn served_by(&self) -> Option<UpstreamId> {
        self.called.last().filter(|_| self.answered()).map(|(_, upstream)| *upstream)
    }
}

struct Record {
    settings: Arc<Settings>,
    told: Vec<Told>,
    steps: Vec<(Timestamp, Input, Vec<Output>)>,
}

impl Record {
    fn told(&mut self, request: RequestId) -> &mut Told {
        let index = request.get() as usize - 1;
        if self.told.len() <= index {
            self.told.resize(index + 1, Told::default());
        }
        &mut self.told[index]
    }
}

impl Observer for Record {
    fn note(&mut self, _now: Timestamp, _note: Note) {}
}

impl Witness for Record {
    fn input(&mut self, now: Timestamp, input: &Input) {
        if let Input::Arrived(arrived) = input {
            self.told(arrived.request).arrived = now;
        }
        self.steps.push((now, input.clone(), Vec::new()));
    }

    fn output(&mut self, now: Timestamp, output: &Output) {
        match output {
            Output::Dispatch(dispatch) => {
                let tier = self.settings.deployments[dispatch.deployment.index()].tier;
                let upstream = self.settings.tiers[tier.index()].upstream;
                self.told(dispatch.request).called.push((dispatch.deployment, upstream));
            }
            Output::Close { request, verdict } => {
                let told = self.told(*request);
                (told.closed, told.verdict) = (now, Some(verdict.clone()));
            }
            Output::Relay { .. } | Output::Abandon { .. } | Output::WakeAt(_) => {}
        }
        if let Some((_, _, outputs)) = self.steps.last_mut() {
            outputs.push(output.clone());
        }
    }
}

/// A moment of the day, in seconds from its beginning.
pub(crate) fn at(secs: f64) -> Timestamp {
    Timestamp::ZERO + Duration::from_secs_f64(secs)
}
