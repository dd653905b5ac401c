//! The plainest router that keeps the contract: deployments in their order, one attempt on each, until one answers or
//! the deadline comes.

use std::collections::{BTreeMap, VecDeque};

use stormproof_router::core::{
    Arrived, AttemptId, DeploymentId, Dispatch, Ending, Finished, Input, Observer, Outcome, Output, RequestId,
    RestoreError, Route, Settings, Timestamp, Transport, Verdict, Why,
};

#[derive(Clone, Default)]
pub(crate) struct FirstCome {
    settings: std::sync::Arc<Settings>,
    open: BTreeMap<RequestId, Open>,
    attempts: BTreeMap<AttemptId, RequestId>,
    last: u64,
    outputs: VecDeque<Output>,
}

#[derive(Clone)]
struct Open {
    arrived: Arrived,
    tried: u32,
    running: Option<AttemptId>,
    relayed: bool,
}

impl FirstCome {
    fn dispatch(&mut self, request: RequestId) {
        let Some(open) = self.open.get_mut(&request) else { return };
        let Some(deployment) = self.settings.deployments.get(open.tried as usize) else { return };
        self.last += 1;
        let attempt = AttemptId::new(self.last);
        let deployment_id = DeploymentId::new(open.tried);
        open.tried += 1;
        open.running = Some(attempt);
        self.attempts.insert(attempt, request);
        let timeouts = self.settings.tiers[deployment.tier.index()].timeouts;
        self.outputs.push_back(Output::Dispatch(Dispatch {
            request,
            attempt,
            deployment: deployment_id,
            timeouts,
            why: Why::First,
        }));
    }

    fn close(&mut self, request: RequestId, outcome: Outcome, status: u16) {
        let Some(open) = self.open.remove(&request) else { return };
        if let Some(attempt) = open.running.filter(|attempt| self.attempts.contains_key(attempt)) {
            self.outputs.push_back(Output::Abandon { attempt });
        }
        let verdict = Verdict { attempts: open.tried as u16, ..Verdict::new(outcome, status) };
        self.outputs.push_back(Output::Close { request, verdict });
    }

    fn finish(&mut self, finished: Finished) {
        let Some(request) = self.attempts.remove(&finished.attempt) else { return };
        let Some(open) = self.open.get_mut(&request) else { return };
        open.running = None;
        let more = (open.tried as usize) < self.settings.deployments.len();
        match finished.ending {
            Ending::Status(200) => self.close(request, Outcome::Answered, 200),
            _ if open.relayed => self.close(request, Outcome::Cut, 200),
            Ending::Status(400) => self.close(request, Outcome::Failed, 400),
            Ending::Transport(Transport::Abandoned) => {}
            _ if more => self.dispatch(request),
            Ending::Status(_) | Ending::Transport(_) => self.close(request, Outcome::Refused, 503),
        }
    }
}

impl Route for FirstCome {
    fn observe<O: Observer>(&mut self, now: Timestamp, input: Input, _observer: &mut O) {
        let late: Vec<RequestId> = self
            .open
            .iter()
            .filter(|(_, open)| !open.relayed && open.arrived.deadline <= now)
            .map(|(request, _)| *request)
            .collect();
        late.into_iter().for_each(|request| self.close(request, Outcome::Deadline, 504));
        match input {
            Input::Configured { settings } => self.settings = settings,
            Input::Arrived(arrived) => {
                self.open.insert(arrived.request, Open { arrived, tried: 0, running: None, relayed: false });
                self.dispatch(arrived.request);
            }
            Input::FirstByte { attempt } => {
                let Some(request) = self.attempts.get(&attempt).copied() else { return };
                if let Some(open) = self.open.get_mut(&request).filter(|open| open.arrived.stream) {
                    open.relayed = true;
                    self.outputs.push_back(Output::Relay { request, attempt });
                }
            }
            Input::Finished(finished) => self.finish(finished),
            Input::Cancelled { request } => self.close(request, Outcome::Cancelled, 0),
            Input::Clock { .. } | Input::Operator { .. } | Input::Woke => {}
        }
        let waiting = self.open.values().filter(|open| !open.relayed);
        let next = waiting.map(|open| open.arrived.deadline).min().unwrap_or(Timestamp::MAX);
        self.outputs.push_back(Output::WakeAt(next));
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(_snapshot: &[u8]) -> Result<Self, RestoreError> {
        Ok(Self::default())
    }

    fn state_hash(&self) -> u64 {
        self.last
    }

    fn policy(&self) -> &'static str {
        "first-come/1"
    }
}
