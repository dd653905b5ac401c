//! A router that is simple enough to predict: round robin over the deployments of the model's first tier, a number of
//! tries at once, no waiting.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use stormproof_router::core::{
    AttemptId, DeploymentId, Dispatch, Ending, Input, Observer, Outcome, Output, RequestId, RestoreError, Route,
    Settings, Timestamp, Verdict, Why,
};

#[derive(Clone, Default)]
pub(crate) struct RoundRobin {
    /// Attempts for one request.
    tries: u16,
    /// Whether it calls every outcome an answer.
    lies: bool,
    settings: Arc<Settings>,
    next: u32,
    attempts: u64,
    /// By attempt: for whom, and which of its tries.
    running: BTreeMap<AttemptId, (RequestId, u16)>,
    deadlines: BTreeMap<(Timestamp, RequestId), ()>,
    open: BTreeMap<RequestId, Timestamp>,
    outputs: VecDeque<Output>,
}

impl RoundRobin {
    pub(crate) fn with_tries(tries: u16) -> Self {
        Self { tries, ..Self::default() }
    }

    pub(crate) fn liar() -> Self {
        Self { tries: 1, lies: true, ..Self::default() }
    }

    fn dispatch(&mut self, request: RequestId, tries: u16) {
        let tier = self.settings.models[0].tiers[0];
        let deployments: Vec<usize> =
            (0..self.settings.deployments.len()).filter(|d| self.settings.deployments[*d].tier == tier).collect();
        let deployment = deployments[self.next as usize % deployments.len()];
        self.next += 1;
        self.attempts += 1;
        let attempt = AttemptId::new(self.attempts);
        self.running.insert(attempt, (request, tries));
        self.outputs.push_back(Output::Dispatch(Dispatch {
            request,
            attempt,
            deployment: DeploymentId::new(deployment as u32),
            timeouts: self.settings.tiers[tier.index()].timeouts,
            why: Why::First,
        }));
    }

    fn close(&mut self, request: RequestId, outcome: Outcome, status: u16) {
        let Some(deadline) = self.open.remove(&request) else { return };
        let outcome = if self.lies { Outcome::Answered } else { outcome };
        self.deadlines.remove(&(deadline, request));
        for (attempt, _) in self.running.iter().filter(|(_, (other, _))| *other == request) {
            self.outputs.push_back(Output::Abandon { attempt: *attempt });
        }
        self.running.retain(|_, (other, _)| *other != request);
        self.outputs.push_back(Output::Close { request, verdict: Verdict::new(outcome, status) });
    }
}

impl Route for RoundRobin {
    fn observe<O: Observer>(&mut self, now: Timestamp, input: Input, _observer: &mut O) {
        while let Some(((_, request), ())) = self.deadlines.first_key_value().filter(|((at, _), ())| *at <= now) {
            let request = *request;
            self.close(request, Outcome::Deadline, 504);
        }
        match input {
            Input::Configured { settings } => self.settings = settings,
            Input::Arrived(arrived) => {
                self.open.insert(arrived.request, arrived.deadline);
                self.deadlines.insert((arrived.deadline, arrived.request), ());
                self.dispatch(arrived.request, 1);
            }
            Input::FirstByte { attempt } => {
                if let Some((request, _)) = self.running.get(&attempt) {
                    self.deadlines.retain(|(_, other), ()| other != request);
                    self.outputs.push_back(Output::Relay { request: *request, attempt });
                }
            }
            Input::Finished(finished) => {
                if let Some((request, tries)) = self.running.remove(&finished.attempt) {
                    match finished.ending {
                        Ending::Status(200) if finished.facts.reason.is_none() => {
                            self.close(request, Outcome::Answered, 200);
                        }
                        Ending::Status(_) if tries < self.tries => self.dispatch(request, tries + 1),
                        Ending::Status(status) => self.close(request, Outcome::Failed, status),
                        Ending::Transport(_) => self.close(request, Outcome::Failed, 502),
                    }
                }
            }
            Input::Cancelled { request } => self.close(request, Outcome::Cancelled, 0),
            Input::Clock { .. } | Input::Operator { .. } | Input::Woke => {}
        }
        let wake = self.deadlines.first_key_value().map_or(Timestamp::MAX, |((at, _), ())| *at);
        self.outputs.push_back(Output::WakeAt(wake));
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(_snapshot: &[u8]) -> Result<Self, RestoreError> {
        Err(RestoreError { policy: "round-robin", reason: "it keeps no snapshots".to_owned() })
    }

    fn state_hash(&self) -> u64 {
        self.attempts
    }

    fn policy(&self) -> &'static str {
        "round-robin"
    }
}
