//! The one task that owns the router.
//!
//! It takes a batch of messages, stamps one time on all of them, lets the router handle each, writes inputs and
//! decisions to the log with one write, and only then lets the decisions leave. So queue order is log order is decision
//! order, a recorded day replays exactly, and a killed process has spent nothing that is not on record.
//!
//! What a power loss would take of what was written is bounded: of every limit only so much may be used while the disk
//! does not have the record. What would be more waits for the disk before it leaves.
//!
//! When the log takes nothing any more, no new request enters and no call to a provider leaves; everything else still
//! does, so requests inside keep their deadlines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::clock::Clock;
use super::exposure::Exposure;
use super::journal::Journal;
use super::live::Live;
use super::mailbox::{Note, Sender};
use super::message::{Arrival, Message, View};
use super::metrics::Metrics;
use super::upstream::Target;
use crate::core::{
    Action, Arrived, AtRisk, AttemptId, DeploymentId, Dispatch, Duration, Ending, Facts, Finished, Input, Model,
    ModelId, Outcome, Output, RequestId, Route, Timestamp, Transport, Verdict, WallTime,
};
use crate::log::{InFlight, WriteError};

/// Messages taken at once; so many share one write to the log.
const BATCH: usize = 256;

/// How far wall clock and router's time may drift apart before the router is told.
const DRIFT: Duration = Duration::from_millis(50);

/// How often the drift is looked at, and a full log tried again. The world's time, not the router's.
const TICK: std::time::Duration = std::time::Duration::from_secs(1);

/// Who speaks of power losses.
const RECOVERY: &str = "recovery";

/// How a driver's run begins.
pub(super) struct Start<R, J> {
    /// New, or rebuilt from the log.
    pub(super) router: R,
    pub(super) journal: J,
    pub(super) clock: Clock,
    pub(super) live: Arc<Live>,
    pub(super) metrics: Arc<Metrics>,
    /// The highest request number on record.
    pub(super) last_request: RequestId,
    /// Requests and attempts that the process before this one took with it.
    pub(super) lost: InFlight,
    /// The power failed since: what is to be said of it.
    pub(super) power_lost: Option<Action>,
    /// The share of every limit that may be used before the disk has the record.
    pub(super) at_risk: AtRisk,
}

/// The router and everything that only its driver may touch.
pub(super) struct Driver<R, J> {
    router: R,
    journal: J,
    clock: Clock,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    last_request: RequestId,
    /// Requests without an outcome.
    requests: BTreeMap<RequestId, Open>,
    /// Attempts without an end.
    attempts: BTreeMap<AttemptId, Flight>,
    /// Decisions of the batch being handled.
    decided: Vec<Output>,
    /// Calls that may not leave because they are not on record.
    held: Vec<Dispatch>,
    /// What a power loss would take.
    exposure: Exposure,
    at_risk: AtRisk,
    wake: Timestamp,
    /// Wall time at the router's time zero, as the router was last told.
    told: Option<WallTime>,
    problem: Option<String>,
    draining: bool,
}

/// A request without an outcome.
struct Open {
    sender: Sender,
    /// The settings that `model` belongs to.
    live: Arc<Live>,
    model: ModelId,
    /// Its last attempt was on a tier behind the model's first.
    fell_back: bool,
}

/// An attempt without an end.
struct Flight {
    request: RequestId,
    since: Timestamp,
    /// The settings that `deployment` belongs to.
    live: Arc<Live>,
    deployment: DeploymentId,
}

impl Open {
    fn model(&self) -> Option<&Model> {
        self.live.settings.models.get(self.model.index())
    }
}

impl Flight {
    /// The upstream model that is called.
    fn upstream(&self) -> Option<&str> {
        self.live.target(self.deployment).map(Target::model)
    }
}

impl<R: Route + 'static, J: Journal> Driver<R, J> {
    /// Tells the router what a power loss may have cost, under the settings of that time; then the settings, the wall
    /// clock, and what was lost with the process before. All of that is on disk before anything leaves.
    pub(super) fn new(start: Start<R, J>) -> Self {
        let mut driver = Self {
            router: start.router,
            journal: start.journal,
            clock: start.clock,
            live: start.live,
            metrics: start.metrics,
            last_request: start.last_request,
            requests: BTreeMap::new(),
            attempts: BTreeMap::new(),
            decided: Vec::new(),
            held: Vec::new(),
            exposure: Exposure::default(),
            at_risk: start.at_risk,
            wake: Timestamp::MAX,
            told: None,
            problem: None,
            draining: false,
        };
        let now = driver.clock.now();
        if let Some(action) = start.power_lost {
            driver.handle(now, Input::Operator { action, author: RECOVERY.into() });
        }
        driver.handle(now, Input::Configured { settings: Arc::clone(&driver.live.settings) });
        driver.tell_wall(now);
        for attempt in start.lost.attempts {
            driver.handle(now, Input::Finished(abandoned(attempt)));
        }
        for request in start.lost.requests {
            driver.handle(now, Input::Cancelled { request });
        }
        driver.exposure.insist();
        driver.commit(now);
        driver
    }

    /// Runs until it has been drained, or until every handle is gone.
    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Message<R>>) {
        let mut batch = Vec::with_capacity(BATCH);
        let alarm = tokio::time::sleep(TICK);
        tokio::pin!(alarm);
        let mut tick = Instant::now() + TICK;
        while !(self.draining && self.requests.is_empty() && self.attempts.is_empty() && inbox.is_empty()) {
            let next = self.journal.tick_due().map_or(self.wake, |due| due.min(self.wake));
            let due = self.clock.instant(next).map_or(tick, |next| next.min(tick));
            // An alarm that rings too early costs one turn of this loop; setting it anew costs a lock every time.
            if due < alarm.deadline() || alarm.is_elapsed() {
                alarm.as_mut().reset(due);
            }
            tokio::select! {
                biased;
                received = inbox.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        break;
                    }
                    give_way().await;
                    let more = std::iter::from_fn(|| inbox.try_recv().ok());
                    batch.extend(more.take(BATCH));
                }
                () = &mut alarm => {}
            }
            let now = self.clock.now();
            if Instant::now() >= tick {
                tick = Instant::now() + TICK;
                self.tell_wall(now);
            }
            if now >= self.wake {
                self.wake = Timestamp::MAX;
                self.handle(now, Input::Woke);
            }
            for message in batch.drain(..) {
                self.take(now, message);
            }
            self.commit(now);
            self.journal.tick(now);
        }
        let now = self.clock.now();
        match self.journal.close(now) {
            Ok(()) => info!("the event log is closed"),
            Err(error) => error!(%error, "the event log could not be closed in order"),
        }
    }

    fn take(&mut self, now: Timestamp, message: Message<R>) {
        match message {
            Message::Arrived(arrival) => self.arrive(now, arrival),
            Message::FirstByte(attempt) => self.handle(now, Input::FirstByte { attempt }),
            Message::Finished(finished) => {
                // Once only, whoever reports it.
                if let Some(flight) = self.attempts.remove(&finished.attempt) {
                    self.metrics.attempt(finished.ending);
                    if let Some(upstream) = flight.upstream() {
                        self.metrics.gen_ai.observe(upstream, now.since(flight.since), finished.usage);
                    }
                    self.handle(now, Input::Finished(finished));
                }
            }
            Message::Gone(mailbox) => {
                if let Some(request) = mailbox.request().filter(|request| self.requests.contains_key(request)) {
                    self.handle(now, Input::Cancelled { request });
                }
            }
            Message::Configured(live, done) => {
                self.live = live;
                self.handle(now, Input::Configured { settings: Arc::clone(&self.live.settings) });
                // Whoever asked may have gone.
                let _ = done.send(());
            }
            Message::Operator { spell, author, done } => {
                let spelt = spell(&self.live, now);
                if let Ok(action) = &spelt {
                    self.exposure.insist();
                    self.handle(now, Input::Operator { action: action.clone(), author });
                }
                drop(done.send(spelt));
            }
            Message::Inspect(look) => look(View {
                router: &self.router,
                live: &self.live,
                now,
                log_problem: self.problem.as_deref(),
                requests: self.requests.len(),
            }),
            Message::Drain => self.draining = true,
        }
    }

    fn arrive(&mut self, now: Timestamp, mut arrival: Arrival) {
        if self.problem.is_some() {
            let verdict = Verdict::new(Outcome::Refused, 503);
            arrival.sender.send(Note::Close(verdict, Arc::clone(&self.live)));
            return;
        }
        if let Err(status) = rename(&mut arrival, &self.live) {
            let verdict = Verdict::new(Outcome::Failed, status);
            arrival.sender.send(Note::Close(verdict, Arc::clone(&self.live)));
            return;
        }
        self.last_request = RequestId::new(self.last_request.get() + 1);
        arrival.sender.number(self.last_request);
        let live = Arc::clone(&self.live);
        let open = Open { sender: arrival.sender, live, model: arrival.model, fell_back: false };
        self.requests.insert(self.last_request, open);
        self.handle(
            now,
            Input::Arrived(Arrived {
                request: self.last_request,
                turn: arrival.turn,
                client: arrival.client,
                model: arrival.model,
                endpoint: arrival.endpoint,
                stream: arrival.stream,
                tokens: arrival.tokens,
                priority: arrival.priority,
                deadline: arrival.deadline,
            }),
        );
    }

    /// One input, noted with all that it decides.
    fn handle(&mut self, now: Timestamp, input: Input) {
        self.journal.record(now, &input);
        self.router.handle(now, input);
        while let Some(output) = self.router.poll_output() {
            self.journal.decided(&output);
            match output {
                // What is in flight counts from here on, whether or not it has left.
                Output::Dispatch(dispatch) => self.note(now, dispatch),
                Output::WakeAt(at) => self.wake = at,
                Output::Relay { .. } | Output::Abandon { .. } | Output::Close { .. } => {}
            }
            self.decided.push(output);
        }
    }

    /// Keeps in mind what is in flight.
    fn note(&mut self, now: Timestamp, dispatch: Dispatch) {
        let Dispatch { request, deployment, attempt, .. } = dispatch;
        let sequence = self.journal.sequence();
        for stake in self.router.stake(attempt, self.at_risk).into_iter().flatten() {
            self.exposure.add(sequence, stake);
        }
        if let Some(open) = self.requests.get_mut(&request) {
            let tier = self.live.settings.deployments.get(deployment.index()).map(|deployment| deployment.tier);
            let first = open.live.settings.models.get(open.model.index()).and_then(|model| model.tiers.first());
            open.fell_back = tier.as_ref() != first;
        }
        let flight = Flight { request, since: now, live: Arc::clone(&self.live), deployment };
        self.attempts.insert(attempt, flight);
    }

    /// Writes, then lets the decisions leave; what a decision that could not leave causes is written in its turn.
    fn commit(&mut self, now: Timestamp) {
        loop {
            let written = self.write(now);
            self.log_says(written.err().map(|error| error.to_string()));
            if self.problem.is_none() {
                for dispatch in std::mem::take(&mut self.held) {
                    self.leave(now, Output::Dispatch(dispatch));
                }
            }
            let mut decided = std::mem::take(&mut self.decided);
            for output in decided.drain(..) {
                self.leave(now, output);
            }
            if self.decided.is_empty() {
                // Its room is good for the next batch.
                self.decided = decided;
                return;
            }
        }
    }

    fn write(&mut self, now: Timestamp) -> Result<(), WriteError> {
        self.journal.commit()?;
        if self.journal.checkpoint_due() {
            let in_flight = InFlight {
                requests: self.requests.keys().copied().collect(),
                attempts: self.attempts.keys().copied().collect(),
            };
            self.journal.checkpoint(now, &self.router, in_flight)?;
        }
        self.exposure.safe(self.journal.durable());
        if self.exposure.wants_disk() {
            self.journal.sync()?;
            self.exposure.settled();
        }
        Ok(())
    }

    fn log_says(&mut self, problem: Option<String>) {
        match (&problem, &self.problem) {
            (Some(problem), None) => error!(%problem, "the event log takes nothing: no request is let in"),
            (None, Some(_)) => info!("the event log takes events again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        self.metrics.log_stalled(problem.is_some());
        self.metrics.log_dropped(self.journal.dropped());
        self.problem = problem;
    }

    fn leave(&mut self, now: Timestamp, output: Output) {
        match output {
            Output::Dispatch(dispatch) if self.problem.is_some() => self.held.push(dispatch),
            Output::Dispatch(dispatch) => match self.requests.get(&dispatch.request) {
                Some(open) => open.sender.send(Note::Dispatch(dispatch, Arc::clone(&self.live))),
                None => self.never_left(now, dispatch.attempt),
            },
            Output::Relay { request, attempt } => {
                if let Some(open) = self.requests.get(&request) {
                    open.sender.send(Note::Relay(attempt));
                }
            }
            Output::Abandon { attempt } => {
                if let Some(place) = self.held.iter().position(|dispatch| dispatch.attempt == attempt) {
                    self.held.remove(place);
                    self.never_left(now, attempt);
                } else if let Some(open) =
                    self.attempts.get(&attempt).and_then(|flight| self.requests.get(&flight.request))
                {
                    open.sender.send(Note::Abandon(attempt));
                }
            }
            Output::Close { request, verdict } => {
                if let Some(open) = self.requests.remove(&request) {
                    let model = open.model().map_or("?", |model| model.name.as_str());
                    self.metrics.close(&verdict, model, open.fell_back);
                    debug!(%request, model, outcome = ?verdict.outcome, status = verdict.status,
                        attempts = verdict.attempts, spend = %verdict.spend, "a request has ended");
                    open.sender.send(Note::Close(verdict, Arc::clone(&self.live)));
                }
            }
            Output::WakeAt(_) => {}
        }
    }

    /// A call that nobody will make is over.
    fn never_left(&mut self, now: Timestamp, attempt: AttemptId) {
        if self.attempts.remove(&attempt).is_some() {
            self.handle(now, Input::Finished(abandoned(attempt)));
        }
    }

    /// Tells the router the wall clock where it has drifted from what the router believes.
    fn tell_wall(&mut self, now: Timestamp) {
        let wall = self.clock.wall();
        let zero = WallTime::from_nanos(wall.as_nanos().saturating_sub(now.as_nanos()));
        let drift = self.told.map_or(Duration::MAX, |told| told.since(zero) + zero.since(told));
        if drift > DRIFT {
            if self.told.is_some() {
                warn!(%drift, "the wall clock was moved");
            }
            self.told = Some(zero);
            self.handle(now, Input::Clock { wall });
        }
    }
}

/// Lets every task that is ready run before this one goes on. The runtime runs a task that was just woken next, so the
/// driver would handle each message by itself, with a write to the log for each; when nobody else is ready it costs
/// nothing.
async fn give_way() {
    let mut gave_way = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut gave_way, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Spells an arrival in the settings in force, if it was read under older ones. An `Err` is the status for a model or
/// a client that is no more.
fn rename(arrival: &mut Arrival, live: &Arc<Live>) -> Result<(), u16> {
    if Arc::ptr_eq(&arrival.live, live) {
        return Ok(());
    }
    let (old, new) = (&arrival.live.settings, &live.settings);
    let model = old.models.get(arrival.model.index()).and_then(|model| new.model_named(&model.name));
    let client = old.clients.get(arrival.client.index()).and_then(|client| new.client_named(&client.name));
    arrival.model = model.ok_or(404_u16)?;
    arrival.client = client.ok_or(401_u16)?;
    Ok(())
}

/// The end of an attempt that nobody carried out, or that died with its process.
fn abandoned(attempt: AttemptId) -> Finished {
    Finished { attempt, ending: Ending::Transport(Transport::Abandoned), facts: Facts::default(), usage: None }
}
