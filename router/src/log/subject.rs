//! What an event is about: most name an attempt or a request only, and the rest is known from events before them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::event::{Event, What};
use crate::core::{
    Arrived, AttemptId, ClientId, DeploymentId, Finished, Input, ModelId, Output, RequestId, Settings, TurnId,
};

/// What an event is about, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The client call.
    pub request: Option<RequestId>,
    /// The intention behind it.
    pub turn: Option<TurnId>,
    /// Who asked.
    pub client: Option<ClientId>,
    /// For what.
    pub model: Option<ModelId>,
    /// The upstream call.
    pub attempt: Option<AttemptId>,
    /// Where it goes.
    pub deployment: Option<DeploymentId>,
}

/// Follows a log and knows what belongs to what. Begun in the middle, it does not know what was in flight there.
#[derive(Clone, Debug, Default)]
pub struct Subjects {
    settings: Arc<Settings>,
    requests: BTreeMap<RequestId, Subject>,
    attempts: BTreeMap<AttemptId, Subject>,
    /// The attempt that ended last: a complete answer is relayed after its end.
    ended: Subject,
}

impl Subjects {
    /// With the settings in force where the reading begins.
    pub fn new(settings: Arc<Settings>) -> Self {
        Self { settings, ..Self::default() }
    }

    /// The settings in force.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// What the next event is about.
    pub fn follow(&mut self, event: &Event) -> Subject {
        match &event.what {
            What::Input(Input::Configured { settings }) => {
                self.settings = Arc::clone(settings);
                Subject::default()
            }
            What::Input(Input::Arrived(Arrived { request, turn, client, model, .. })) => {
                let (client, model) = (Some(*client), Some(*model));
                let subject =
                    Subject { request: Some(*request), turn: Some(*turn), client, model, ..Subject::default() };
                self.requests.insert(*request, subject);
                subject
            }
            What::Input(Input::FirstByte { attempt }) | What::Output(Output::Abandon { attempt }) => {
                self.attempt(*attempt)
            }
            What::Input(Input::Finished(Finished { attempt, .. })) => {
                let subject = self.attempt(*attempt);
                self.attempts.remove(attempt);
                self.ended = subject;
                subject
            }
            What::Input(Input::Cancelled { request }) => self.request(*request),
            What::Output(Output::Dispatch(dispatch)) => {
                let attempt = Some(dispatch.attempt);
                let subject =
                    Subject { attempt, deployment: Some(dispatch.deployment), ..self.request(dispatch.request) };
                self.attempts.insert(dispatch.attempt, subject);
                subject
            }
            What::Output(Output::Relay { request, attempt }) => {
                let known = [self.attempt(*attempt), self.ended]
                    .into_iter()
                    .find(|known| known.attempt == Some(*attempt) && known.deployment.is_some());
                Subject {
                    attempt: Some(*attempt),
                    deployment: known.and_then(|known| known.deployment),
                    ..self.request(*request)
                }
            }
            What::Output(Output::Close { request, .. }) => {
                let subject = self.request(*request);
                self.requests.remove(request);
                subject
            }
            What::Input(Input::Clock { .. } | Input::Operator { .. } | Input::Woke)
            | What::Output(Output::WakeAt(_))
            | What::Opened(_)
            | What::Boot(_)
            | What::Closed
            | What::Checkpoint(_)
            | What::Gap(_) => Subject::default(),
        }
    }

    fn request(&self, request: RequestId) -> Subject {
        let unknown = Subject { request: Some(request), ..Subject::default() };
        self.requests.get(&request).copied().unwrap_or(unknown)
    }

    fn attempt(&self, attempt: AttemptId) -> Subject {
        let unknown = Subject { attempt: Some(attempt), ..Subject::default() };
        self.attempts.get(&attempt).copied().unwrap_or(unknown)
    }
}
