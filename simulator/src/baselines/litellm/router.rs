//! The state machine: inputs in, dispatches and verdicts out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stormproof_router::core::{
    Arrived, AttemptId, Finished, Foreign, Input, Observer, Outcome, Output, RequestId, RestoreError, Route, Settings,
    Timestamp, Verdict, WallTime, mix,
};

use super::bench::{Bench, repeatable};
use super::call::{Call, Resume, sdk_pause};
use super::course::Step;
use super::failure::{Failure, Mapping, Origin, failure_of};
use super::graph::{Graph, Slot};
use super::options::Options;
use super::text::Size;
use super::version::Rules;

/// An emulated LiteLLM.
#[derive(Clone, Debug)]
pub struct LiteLlm {
    pub(super) state: State,
    /// Follows from options and settings.
    pub(super) graph: Graph,
    /// Sizes of providers' errors, measured so far. Follows from the settings, too.
    pub(super) measured: Vec<(Origin, Size)>,
    pub(super) outputs: VecDeque<Output>,
}

/// All that future decisions depend on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) options: Options,
    pub(super) settings: Arc<Settings>,
    /// The wall time of the epoch.
    pub(super) epoch: WallTime,
    /// By slot.
    pub(super) bench: Vec<Bench>,
    /// Open calls, and closed ones whose place is free.
    pub(super) calls: Vec<Call>,
    free: Vec<u32>,
    by_request: BTreeMap<RequestId, u32>,
    timers: BTreeSet<Timer>,
    /// When we asked to be woken.
    wish: Timestamp,
    /// Upstream calls made.
    pub(super) serial: u32,
    /// The highest request seen.
    last_request: Option<RequestId>,
    /// It has choked on its own texts.
    pub(super) hung: bool,
}

/// In the order in which simultaneous ones act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Timer {
    at: Timestamp,
    class: TimerClass,
    request: RequestId,
    index: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum TimerClass {
    /// Fires when a client stops waiting.
    Deadline,
    /// Fires when a pause before a retry is over.
    Sleep,
}

impl LiteLlm {
    /// A router of these options, without any deployment until it is configured.
    pub fn new(options: Options) -> Self {
        let state = State {
            options,
            settings: Arc::new(Settings::default()),
            epoch: WallTime::default(),
            bench: Vec::new(),
            calls: Vec::new(),
            free: Vec::new(),
            by_request: BTreeMap::new(),
            timers: BTreeSet::new(),
            wish: Timestamp::MAX,
            serial: 0,
            last_request: None,
            hung: false,
        };
        Self { state, graph: Graph::default(), measured: Vec::new(), outputs: VecDeque::new() }
    }

    /// What it was told.
    pub fn options(&self) -> &Options {
        &self.state.options
    }

    pub(super) fn rules(&self) -> &'static Rules {
        self.state.options.version.rules()
    }

    /// New settings are a restart.
    fn configure(&mut self, settings: &Arc<Settings>) {
        for index in self.open_calls() {
            let outcome = if self.call(index).relayed { Outcome::Cut } else { Outcome::Failed };
            self.close(index, Verdict::new(outcome, 503));
        }
        self.graph = Graph::new(&self.state.options, settings);
        self.state.bench = vec![Bench::default(); self.graph.slots.len()];
        self.state.settings = Arc::clone(settings);
        self.state.hung = false;
        self.measured.clear();
    }

    fn open_calls(&self) -> Vec<u32> {
        self.state.by_request.values().copied().collect()
    }

    fn arrive<O: Observer>(&mut self, now: Timestamp, arrived: Arrived, observer: &mut O) {
        if self.state.last_request.is_some_and(|last| arrived.request <= last) {
            return;
        }
        self.state.last_request = Some(arrived.request);
        let index = self.open(arrived);
        if arrived.deadline <= now {
            self.close(index, Verdict::new(Outcome::Deadline, 0));
        } else if arrived.model.index() >= self.graph.groups.len() {
            self.close(index, Verdict::new(Outcome::Failed, 400));
        } else if !self.state.hung {
            self.run(index, now, Step::Attempt, observer);
        }
    }

    fn first_byte(&mut self, attempt: AttemptId) {
        let Some(index) = self.in_flight(attempt) else { return };
        let hung = self.state.hung;
        let call = self.call(index);
        if call.arrived.stream && !call.relayed && !hung {
            self.relay(index, attempt);
        }
    }

    fn finished<O: Observer>(&mut self, now: Timestamp, finished: &Finished, observer: &mut O) {
        let Some(index) = self.in_flight(finished.attempt) else { return };
        if self.state.hung && !self.call(index).relayed {
            self.call_mut(index).attempt = None;
            return;
        }
        let call = self.call(index);
        let Some(slot) = call.tried else { return };
        let deployed = &self.graph.slots[slot];
        let (stream, relayed) = (call.arrived.stream, call.relayed);
        let rules = self.rules();
        let gemini_stream = stream && !deployed.openai_like;
        let mapping = Mapping {
            provider: deployed.provider,
            openai_like: deployed.openai_like,
            raw: gemini_stream && (rules.lazy_streams || rules.raw_stream_status),
        };
        let failed = failure_of(finished, mapping);
        let cost = self.cost(slot, finished, failed.is_none());
        let call = self.call_mut(index);
        call.spend += cost;
        let Some((failure, origin)) = failed else {
            return self.answered(index, now, slot, finished);
        };
        if mapping.openai_like && !relayed && call.sdk_calls < rules.sdk_calls && sdk_retries(&failure) {
            let draw = self.jitter(index);
            let call = self.call_mut(index);
            call.attempt = None;
            let pause = sdk_pause(failure.retry_after, call.sdk_calls, draw);
            return self.sleep(index, now + pause, Resume::SdkCall);
        }
        self.call_mut(index).attempt = None;
        self.note_failure(index, now, finished.attempt, origin, observer);
        let lazy = gemini_stream && rules.lazy_streams;
        self.count(index, slot, now, &failure, origin, gemini_stream && !relayed, observer);
        if lazy || relayed {
            let outcome = if relayed { Outcome::Cut } else { Outcome::Failed };
            let foreign = Foreign { error_in_stream: true, text_bytes: self.stream_error(finished, mapping).bytes };
            return self.close(index, Verdict { foreign: Some(foreign), ..Verdict::new(outcome, 200) });
        }
        let failure = Failure { text: self.provider_error(origin, mapping.openai_like), ..failure };
        if !repeatable(failure.status)
            && let Some(hop) = self.call_mut(index).hops.last_mut()
        {
            hop.refusers.push(slot);
        }
        self.run(index, now, Step::Failed(failure), observer);
    }

    /// The provider took the request. That it refused to answer it (a blocked prompt is a 200) is a success, too.
    fn answered(&mut self, index: u32, now: Timestamp, slot: Slot, finished: &Finished) {
        let rules = self.rules();
        self.state.bench[slot].succeed(now, rules);
        if !self.call(index).relayed {
            self.relay(index, finished.attempt);
        }
        self.call_mut(index).attempt = None;
        let outcome = if finished.facts.reason.is_none() { Outcome::Answered } else { Outcome::Failed };
        self.close(index, Verdict::new(outcome, 200));
    }

    /// Ends a call with its one outcome; an attempt in flight is given up.
    pub(super) fn close(&mut self, index: u32, verdict: Verdict) {
        let call = &mut self.state.calls[index as usize];
        let request = call.arrived.request;
        let verdict = Verdict { attempts: call.attempts, spend: call.spend, ..verdict };
        call.hops.clear();
        if let Some(attempt) = call.attempt.take() {
            self.outputs.push_back(Output::Abandon { attempt });
        }
        let (deadline, sleep) = (call.arrived.deadline, call.sleep.take());
        self.state.timers.remove(&Timer { at: deadline, class: TimerClass::Deadline, request, index });
        if let Some((at, _)) = sleep {
            self.state.timers.remove(&Timer { at, class: TimerClass::Sleep, request, index });
        }
        self.state.by_request.remove(&request);
        self.state.free.push(index);
        self.outputs.push_back(Output::Close { request, verdict });
    }

    /// From here the client sees the attempt, and its deadline no longer binds.
    fn relay(&mut self, index: u32, attempt: AttemptId) {
        let call = &mut self.state.calls[index as usize];
        call.relayed = true;
        let (request, at) = (call.arrived.request, call.arrived.deadline);
        self.state.timers.remove(&Timer { at, class: TimerClass::Deadline, request, index });
        self.outputs.push_back(Output::Relay { request, attempt });
    }

    /// Lets a call sleep.
    pub(super) fn sleep(&mut self, index: u32, at: Timestamp, resume: Resume) {
        let call = &mut self.state.calls[index as usize];
        call.sleep = Some((at, resume));
        let request = call.arrived.request;
        self.state.timers.insert(Timer { at, class: TimerClass::Sleep, request, index });
    }

    fn open(&mut self, arrived: Arrived) -> u32 {
        let (request, at) = (arrived.request, arrived.deadline);
        let index = match self.state.free.pop() {
            Some(index) => index,
            None => {
                self.state.calls.push(Call::new(arrived));
                self.state.calls.len() as u32 - 1
            }
        };
        self.call_mut(index).begin(arrived);
        self.state.by_request.insert(request, index);
        if at < Timestamp::MAX {
            self.state.timers.insert(Timer { at, class: TimerClass::Deadline, request, index });
        }
        index
    }

    pub(super) fn call(&self, index: u32) -> &Call {
        &self.state.calls[index as usize]
    }

    pub(super) fn call_mut(&mut self, index: u32) -> &mut Call {
        &mut self.state.calls[index as usize]
    }

    /// The call whose current attempt this is.
    fn in_flight(&self, attempt: AttemptId) -> Option<u32> {
        let index = attempt.get() as u32;
        let call = self.state.calls.get(index as usize)?;
        (call.attempt == Some(attempt)).then_some(index)
    }

    /// Closes what nobody waits for any more, then lets go on what has slept enough.
    fn fire_timers<O: Observer>(&mut self, now: Timestamp, observer: &mut O) {
        let due = |timers: &BTreeSet<Timer>, class: TimerClass| {
            timers.iter().take_while(|timer| timer.at <= now).find(|timer| timer.class == class).copied()
        };
        while let Some(timer) = due(&self.state.timers, TimerClass::Deadline) {
            self.close(timer.index, Verdict::new(Outcome::Deadline, 0));
        }
        while let Some(timer) = due(&self.state.timers, TimerClass::Sleep) {
            self.state.timers.remove(&timer);
            let Some((_, resume)) = self.call_mut(timer.index).sleep.take() else { continue };
            if self.state.hung {
                continue;
            }
            match resume {
                Resume::Attempt => self.run(timer.index, now, Step::Attempt, observer),
                Resume::GiveUp => self.run(timer.index, now, Step::GroupFailed, observer),
                Resume::SdkCall => self.dispatch(timer.index),
            }
        }
    }

    fn announce_wake(&mut self) {
        let next = self.state.timers.first().map_or(Timestamp::MAX, |timer| timer.at);
        if next != self.state.wish {
            self.state.wish = next;
            self.outputs.push_back(Output::WakeAt(next));
        }
    }
}

impl Route for LiteLlm {
    fn observe<O: Observer>(&mut self, now: Timestamp, input: Input, observer: &mut O) {
        if self.state.wish <= now {
            self.state.wish = Timestamp::MAX;
        }
        self.fire_timers(now, observer);
        match input {
            Input::Configured { settings } => self.configure(&settings),
            Input::Clock { wall } => {
                self.state.epoch = WallTime::from_nanos(wall.as_nanos().saturating_sub(now.as_nanos()));
            }
            Input::Arrived(arrived) => self.arrive(now, arrived, observer),
            Input::FirstByte { attempt } => self.first_byte(attempt),
            Input::Finished(finished) => self.finished(now, &finished, observer),
            Input::Cancelled { request } => {
                if let Some(&index) = self.state.by_request.get(&request) {
                    self.close(index, Verdict::new(Outcome::Cancelled, 0));
                }
            }
            Input::Operator { .. } | Input::Woke => {}
        }
        self.announce_wake();
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn snapshot(&self) -> Vec<u8> {
        // Into memory, and of nothing but plain data: there is no way for this to fail.
        postcard::to_stdvec(&self.state).unwrap_or_default()
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        let refuse = |reason: String| RestoreError { policy: "litellm", reason };
        let (state, rest): (State, &[u8]) =
            postcard::take_from_bytes(snapshot).map_err(|error| refuse(error.to_string()))?;
        if !rest.is_empty() {
            return Err(refuse(format!("{} bytes are left over", rest.len())));
        }
        let graph = Graph::new(&state.options, &state.settings);
        if graph.slots.len() != state.bench.len() {
            return Err(refuse("its deployments are not those of its settings".to_owned()));
        }
        Ok(Self { state, graph, measured: Vec::new(), outputs: VecDeque::new() })
    }

    fn state_hash(&self) -> u64 {
        self.snapshot().iter().fold(0, |hash, byte| mix(hash ^ u64::from(*byte)))
    }

    fn policy(&self) -> &'static str {
        self.rules().policy
    }
}

/// Whether the SDK underneath repeats such a call by itself.
fn sdk_retries(failure: &Failure) -> bool {
    repeatable(failure.status)
}
