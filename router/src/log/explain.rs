//! The story of one request: what was decided on it, why, and what was passed over.
//!
//! The log holds decisions with their reason codes. What was passed over is not on record, since it would make the log
//! several times as large: it is told once more by a router of the same policy version that runs again, from the
//! checkpoint nearest before the request, with somebody listening. Without that version the codes are all there is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use super::event::{Beginning, Checkpoint, Event, Opened, What};
use super::reader::{Place, ReadError, Reader};
use super::subject::Subjects;
use super::verify::{VerifyError, restore};
use crate::core::{
    Action, Arrived, AtRisk, AttemptId, Finished, Input, KeyId, Note, Output, ProjectId, RequestId, Route, Scope,
    Settings, Timestamp, UpstreamId, WallTime,
};

/// Why there is no story.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nobody made this request.
    #[error("request {request} is not in this log, which has requests {first} to {last}")]
    NoSuchRequest {
        /// Which.
        request: RequestId,
        /// The first on record.
        first: RequestId,
        /// The last on record.
        last: RequestId,
    },
    /// Nobody made any.
    #[error("there is no request in this log")]
    NoRequests,
}

/// Everything that is known of one request, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Which request.
    pub request: RequestId,
    /// The wall time of [`Timestamp::ZERO`].
    pub epoch: WallTime,
    /// The settings in force when it came.
    pub settings: Arc<Settings>,
    /// When it came.
    pub at: Timestamp,
    /// What was asked.
    pub arrived: Arrived,
    /// What happened, from its arrival to its outcome and the end of its last attempt.
    pub steps: Vec<Step>,
    /// Where the reasons come from.
    pub telling: Telling,
    /// A power loss on the same quota day before it, which is still counted.
    pub power_lost: Option<PowerLost>,
}

/// What a power loss made of the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerLost {
    /// The last moment on record before it.
    pub since: Timestamp,
    /// When it was made up for.
    pub at: Timestamp,
    /// So much of every limit has counted as used since.
    pub at_risk: AtRisk,
}

/// An input that concerned the request, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// The input on record.
    pub input: Input,
    /// Whether the input itself is about this request.
    pub is_own: bool,
    /// What was decided on this request.
    pub decisions: Vec<Output>,
    /// What the router told, of this request and of what it could have used.
    pub notes: Vec<Told>,
}

/// Something that the router told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// What.
    pub note: Note,
    /// Of a deployment that was passed over for a cooldown: how that began.
    pub since: Option<Since>,
}

/// How a cooldown began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// When.
    pub at: Timestamp,
    /// Whose failed attempt began it, where it was one, and one that was seen to start.
    pub request: Option<RequestId>,
}

/// Where the reasons come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Telling {
    /// From the same router, run again.
    Whole,
    /// From the recorded codes alone.
    Codes {
        /// Why not from the router.
        because: String,
    },
}

/// What is known of a request.
///
/// # Errors
/// When the log cannot be read, or has no such request.
pub fn explain<R: Route>(log: &Path, request: RequestId) -> Result<Account, ExplainError> {
    let mut recorded = recorded(log, request)?;
    match told::<R>(log, &recorded) {
        Ok(notes) => {
            let mut notes = notes.into_iter().peekable();
            for (sequence, step) in &mut recorded.steps {
                while let Some((_, note)) = notes.next_if(|(at, _)| at == sequence) {
                    step.notes.push(note);
                }
            }
        }
        Err(because) => recorded.account.telling = Telling::Codes { because },
    }
    let Recorded { mut account, steps, .. } = recorded;
    // A step of others belongs to the story only if something is told of it.
    let belongs = |step: &Step| step.is_own || !step.decisions.is_empty() || !step.notes.is_empty();
    account.steps = steps.into_iter().map(|(_, step)| step).filter(belongs).collect();
    Ok(account)
}

/// What the log says of a request.
struct Recorded {
    account: Account,
    /// By the sequence of their input: those that concern it, and all others during its life.
    steps: Vec<(u64, Step)>,
    first: u64,
    last: u64,
}

/// Reads what is on record of a request.
fn recorded(log: &Path, request: RequestId) -> Result<Recorded, ExplainError> {
    let mut reader = Reader::open(log)?;
    let epoch = reader.header().epoch;
    let mut subjects = Subjects::new(Arc::clone(reader.settings()));
    let mut range: Option<(RequestId, RequestId)> = None;
    let mut found: Option<Recorded> = None;
    let mut open: BTreeSet<AttemptId> = BTreeSet::new();
    let mut closed = false;
    let mut power_lost: Option<PowerLost> = None;
    while let Some(event) = reader.read()? {
        let Event { sequence, at, ref what } = event;
        let is_ours = subjects.follow(&event).request == Some(request);
        if let What::Input(input) = what {
            if closed && open.is_empty() {
                break;
            }
            if let Input::Operator { action: Action::PowerLost { at_risk, since }, .. } = *input {
                power_lost = Some(PowerLost { since, at, at_risk });
            }
            if let Input::Arrived(arrived) = input {
                range = Some((range.map_or(arrived.request, |(first, _)| first), arrived.request));
                if arrived.request == request {
                    let settings = Arc::clone(subjects.settings());
                    let telling = Telling::Whole;
                    let (arrived, steps) = (*arrived, Vec::new());
                    let power_lost = power_lost.filter(|lost| is_one_day(&settings, epoch, lost.at, at));
                    let account = Account { request, epoch, settings, at, arrived, steps, telling, power_lost };
                    found = Some(Recorded { account, steps: Vec::new(), first: sequence, last: sequence });
                }
            }
            if let Input::Finished(Finished { attempt, .. }) = input {
                open.remove(attempt);
            }
        }
        let Some(recorded) = &mut found else { continue };
        recorded.last = sequence;
        match what {
            What::Input(input) => {
                let step = Step { at, input: input.clone(), is_own: is_ours, decisions: Vec::new(), notes: Vec::new() };
                recorded.steps.push((sequence, step));
            }
            What::Output(output) if is_ours => {
                match output {
                    Output::Dispatch(dispatch) => {
                        open.insert(dispatch.attempt);
                    }
                    Output::Close { .. } => closed = true,
                    Output::Relay { .. } | Output::Abandon { .. } | Output::WakeAt(_) => {}
                }
                if let Some((_, step)) = recorded.steps.last_mut() {
                    step.decisions.push(output.clone());
                }
            }
            What::Output(_) | What::Opened(_) | What::Boot(_) | What::Closed | What::Checkpoint(_) | What::Gap(_) => {}
        }
    }
    found.ok_or(match range {
        Some((first, last)) => ExplainError::NoSuchRequest { request, first, last },
        None => ExplainError::NoRequests,
    })
}

/// Whether no quota day ends between two moments.
fn is_one_day(settings: &Settings, epoch: WallTime, from: Timestamp, to: Timestamp) -> bool {
    let wall = |at: Timestamp| epoch + at.since(Timestamp::ZERO);
    !settings.resets.iter().any(|reset| wall(from) < *reset && *reset <= wall(to))
}

/// What the router tells of the request when it runs again, by the sequence of the input; or why it cannot be asked.
fn told<R: Route>(log: &Path, recorded: &Recorded) -> Result<Vec<(u64, Told)>, String> {
    let unreadable = |error: ReadError| error.to_string();
    let mut reader = Reader::at_checkpoint(log, Place::Sequence(recorded.first)).map_err(unreadable)?;
    let concern = Concern::of(&recorded.account);
    let own: BTreeSet<u64> = recorded.steps.iter().filter(|(_, step)| step.is_own).map(|(at, _)| *at).collect();
    let mut router: Option<R> = None;
    let mut cooling = Cooling::default();
    let mut notes = Vec::new();
    let mut decided = VecDeque::new();
    let differs = |at: u64| format!("this build decides otherwise at event {at}, so it cannot say why");
    while let Some(event) = reader.read().map_err(unreadable)? {
        let sequence = event.sequence;
        if sequence > recorded.last {
            break;
        }
        match event.what {
            What::Opened(Opened { router: Beginning::New(snapshot), .. })
            | What::Checkpoint(Checkpoint { snapshot, .. })
                if router.is_none() || sequence < recorded.first =>
            {
                router = Some(restore(&reader, sequence, &snapshot).map_err(|error: VerifyError| error.to_string())?);
            }
            What::Input(input) => {
                let Some(router) = &mut router else { continue };
                let (is_story, is_own) = (sequence >= recorded.first, own.contains(&sequence));
                let cause = cooling.cause_of(&input);
                let mut heard: Vec<(Timestamp, Note)> = Vec::new();
                router.observe(event.at, input, &mut heard);
                for (_, note) in heard {
                    cooling.follow(event.at, cause, &note);
                    if is_story && concern.covers(&note, is_own) {
                        let since = cooling.since(&note, &recorded.account.settings);
                        notes.push((sequence, Told { note, since }));
                    }
                }
                decided.clear();
                while let Some(output) = router.poll_output() {
                    decided.push_back(output);
                }
            }
            What::Output(output) if router.is_some() => {
                cooling.dispatched(&output);
                if decided.pop_front().as_ref() != Some(&output) {
                    return Err(differs(sequence));
                }
            }
            What::Gap(_) => router = None,
            What::Output(_) | What::Opened(_) | What::Boot(_) | What::Closed | What::Checkpoint(_) => {}
        }
    }
    if router.is_none() {
        return Err("the log has no checkpoint before this request any more".to_owned());
    }
    Ok(notes)
}

/// The cooldowns in force, and how each began, as far as the router was listened to.
#[derive(Default)]
struct Cooling {
    requests: BTreeMap<AttemptId, RequestId>,
    scopes: BTreeMap<Scope, (Timestamp, Since)>,
}

impl Cooling {
    fn dispatched(&mut self, output: &Output) {
        if let Output::Dispatch(dispatch) = output {
            self.requests.insert(dispatch.attempt, dispatch.request);
        }
    }

    /// Whose attempt it is that ends with this input.
    fn cause_of(&mut self, input: &Input) -> Option<RequestId> {
        match input {
            Input::Finished(finished) => self.requests.remove(&finished.attempt),
            Input::Configured { .. }
            | Input::Clock { .. }
            | Input::Arrived(_)
            | Input::FirstByte { .. }
            | Input::Cancelled { .. }
            | Input::Operator { .. }
            | Input::Woke => None,
        }
    }

    fn follow(&mut self, at: Timestamp, request: Option<RequestId>, note: &Note) {
        match note {
            Note::Cooled { scope, until, .. } => {
                self.scopes.insert(*scope, (*until, Since { at, request }));
            }
            Note::Cleared { scope } => {
                self.scopes.remove(scope);
            }
            Note::Classified { .. }
            | Note::Skipped { .. }
            | Note::Waits { .. }
            | Note::Spilled { .. }
            | Note::Degraded { .. }
            | Note::Learnt { .. }
            | Note::BackedOff { .. }
            | Note::Alert { .. }
            | Note::PowerLost { .. }
            | Note::Limited { .. } => {}
        }
    }

    /// How the cooldown began for which a deployment is passed over: the one that ends when the note says.
    fn since(&self, note: &Note, settings: &Settings) -> Option<Since> {
        let Note::Skipped { deployment, count: None, until, .. } = note else { return None };
        let deployment = settings.deployments.get(deployment.index())?;
        let key = settings.keys.get(deployment.key.index())?;
        let upstream = settings.tiers.get(deployment.tier.index())?.upstream;
        let provider = settings.upstreams.get(upstream.index())?.provider;
        let scopes = [
            Scope::Key(deployment.key),
            Scope::ProjectModel(key.project, upstream),
            Scope::Upstream(upstream),
            Scope::Provider(provider),
        ];
        let until = until.unwrap_or(Timestamp::MAX);
        let standing = scopes.iter().filter_map(|scope| self.scopes.get(scope));
        standing.filter(|(ends, _)| *ends == until).map(|(_, since)| *since).next()
    }
}

/// What concerns a request: itself, and what it could have used.
struct Concern {
    request: RequestId,
    keys: BTreeSet<KeyId>,
    projects: BTreeSet<(ProjectId, UpstreamId)>,
    upstreams: BTreeSet<UpstreamId>,
}

impl Concern {
    fn of(account: &Account) -> Self {
        let settings = &account.settings;
        let model = settings.models.get(account.arrived.model.index());
        let tiers: BTreeSet<_> = model.iter().flat_map(|model| &model.tiers).collect();
        let usable = settings.deployments.iter().filter(|deployment| tiers.contains(&deployment.tier));
        let mut concern = Self {
            request: account.request,
            keys: BTreeSet::new(),
            projects: BTreeSet::new(),
            upstreams: BTreeSet::new(),
        };
        for deployment in usable {
            // Recorded settings may be of any build, so nothing is taken for granted about them.
            let Some(upstream) = settings.tiers.get(deployment.tier.index()).map(|tier| tier.upstream) else {
                continue;
            };
            concern.keys.insert(deployment.key);
            if let Some(key) = settings.keys.get(deployment.key.index()) {
                concern.projects.insert((key.project, upstream));
            }
            concern.upstreams.insert(upstream);
        }
        concern
    }

    fn touches(&self, scope: Scope) -> bool {
        match scope {
            Scope::Key(key) => self.keys.contains(&key),
            Scope::ProjectModel(project, upstream) => self.projects.contains(&(project, upstream)),
            Scope::Upstream(upstream) => self.upstreams.contains(&upstream),
            Scope::Provider(_) => true,
        }
    }

    /// Whether a note belongs to the story: what is told of the request itself; what its own steps did to the pool;
    /// and, whoever caused it, that a model it could use turned bad or well.
    fn covers(&self, note: &Note, is_own: bool) -> bool {
        match note {
            Note::Classified { request, .. }
            | Note::Skipped { request, .. }
            | Note::Waits { request, .. }
            | Note::Spilled { request, .. }
            | Note::BackedOff { request, .. } => *request == self.request,
            Note::Cooled { scope, .. }
            | Note::Cleared { scope }
            | Note::Learnt { scope, .. }
            | Note::Alert { scope, .. } => is_own && self.touches(*scope),
            Note::Degraded { upstream, .. } => self.upstreams.contains(upstream),
            Note::Limited { .. } => is_own,
            Note::PowerLost { .. } => true,
        }
    }
}
