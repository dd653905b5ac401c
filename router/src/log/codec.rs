//! Between the core's types and the records: what is relative to what.
//!
//! Both directions keep the same [`Context`] and move it on by the same two functions, so they cannot drift apart. It
//! begins anew with every frame: a frame can be read without those before it.

use std::sync::Arc;

use super::boot::{Boot, BootId};
use super::event::{Beginning, Checkpoint, Gap, InFlight, Opened, What};
use super::mirror::{Nanos, unshape};
use super::record::{AttemptRecord, BeginningRecord, Bytes, Record, TierCauseRecord, TimeoutsRecord, VerdictRecord};
use crate::core::{
    Arrived, AtRisk, AttemptId, ClientId, DeploymentId, Dispatch, Duration, Ending, Facts, Finished, Input, ModelId,
    Outcome, Output, RequestId, Settings, TierCause, TierId, Timeouts, Timestamp, TokenEstimate, Tokens, TurnId, Usd,
    Verdict, WallTime,
};

/// So many slots are told apart. Part of the format.
const SLOTS: usize = 4096;

/// What records refer to.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// Time of the last input or mark.
    now: Timestamp,
    /// The largest request seen.
    request: u64,
    /// The slot of the last attempt seen.
    slot: u32,
    /// The count of the last attempt seen with each slot, modulo [`SLOTS`], and in which frame that was; zero in every
    /// other frame, and beyond the end.
    counts: Vec<(u32, u32)>,
    /// Which frame this is, so that a new one need not forget the counts one by one.
    frame: u32,
    /// The turn of the last arrival.
    turn: u64,
    /// Its deadline.
    deadline: Timestamp,
    /// How far that was off, in nanoseconds, when it arrived.
    patience: i64,
    /// The last timeouts said in full.
    timeouts: Timeouts,
    /// The last wake-up asked for.
    wake: Option<Timestamp>,
}

/// A record that says nothing in this context: written by a newer or a broken writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Senseless(pub(super) String);

/// `to` as seen from `from`, modulo 2^64.
pub(super) fn difference(to: u64, from: u64) -> i64 {
    to.wrapping_sub(from) as i64
}

/// The way back from [`difference`].
fn moved(from: u64, difference: i64) -> u64 {
    from.wrapping_add(difference as u64)
}

impl Context {
    /// At the start of a frame. These values are part of the format.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            request: 0,
            slot: 0,
            counts: Vec::new(),
            frame: 0,
            turn: 0,
            deadline: Timestamp::ZERO,
            patience: 180_000_000_000,
            timeouts: Timeouts {
                connect: Duration::from_secs(5),
                first_byte: Duration::from_secs(120),
                idle: Duration::from_secs(60),
                total: Duration::from_secs(600),
            },
            wake: None,
        }
    }

    /// Begins a frame, as [`Context::new`].
    pub(super) fn begin(&mut self, now: Timestamp) {
        let mut counts = std::mem::take(&mut self.counts);
        let frame = self.frame.wrapping_add(1);
        if frame == 0 {
            counts.clear();
        }
        *self = Self { counts, frame, ..Self::new(now) };
    }

    /// Time of the last input or mark.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// How far the last arrival's deadline was off, in nanoseconds.
    pub(super) fn patience(&self) -> i64 {
        self.patience
    }

    /// The last wake-up asked for.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        self.wake
    }

    /// What a record says.
    pub(super) fn read(&mut self, record: Record) -> Result<What, Senseless> {
        let what = match record {
            Record::Configured { after, settings } => {
                let settings = Settings::try_from(*settings).map_err(|error| Senseless(error.to_string()))?;
                self.read_input(after, Input::Configured { settings: Arc::new(settings) })
            }
            Record::Clock { after, wall } => self.read_input(after, Input::Clock { wall: WallTime::from_nanos(wall) }),
            Record::Arrived { .. } => self.read_arrival(record)?,
            Record::FirstByte { after, attempt } => {
                self.read_input(after, Input::FirstByte { attempt: self.attempt_to(attempt) })
            }
            Record::Answered { after, attempt, usage } => {
                self.read_finish(after, attempt, Ending::Status(200), Facts::default(), Some(usage.into()))
            }
            Record::Status { after, attempt, status } => {
                self.read_finish(after, attempt, Ending::Status(status), Facts::default(), None)
            }
            Record::Finished { after, attempt, ending, facts, usage } => {
                self.read_finish(after, attempt, ending.into(), facts.into(), usage.map(Into::into))
            }
            Record::Cancelled { after, request } => {
                self.read_input(after, Input::Cancelled { request: self.request_to(request) })
            }
            Record::Operator { after, action, author } => {
                self.read_input(after, Input::Operator { action: action.into(), author: author.into() })
            }
            Record::Woke { after } => self.read_input(after, Input::Woke),
            Record::WokeOnTime => {
                let wake = self.wake.ok_or_else(|| Senseless("a wake-up that nobody asked for".to_owned()))?;
                self.read_input(self.after(wake), Input::Woke)
            }
            Record::Dispatch { request, attempt, deployment, timeouts, why } => {
                let timeouts = self.timeouts_of(timeouts);
                self.read_output(Output::Dispatch(Dispatch {
                    request: self.request_to(request),
                    attempt: self.attempt_to(attempt),
                    deployment: DeploymentId::new(deployment),
                    timeouts,
                    why: why.into(),
                }))
            }
            Record::Relay { request, attempt } => {
                self.read_output(Output::Relay { request: self.request_to(request), attempt: self.attempt_to(attempt) })
            }
            Record::Abandon { attempt } => self.read_output(Output::Abandon { attempt: self.attempt_to(attempt) }),
            Record::CloseAnswered { request, attempts, spend } => {
                let plain = Verdict::new(Outcome::Answered, 200);
                let verdict = Verdict { attempts, spend: Usd::from_micros(spend), ..plain };
                self.read_output(Output::Close { request: self.request_to(request), verdict })
            }
            Record::Close { request, verdict } => {
                let verdict = self.verdict_of(*verdict);
                self.read_output(Output::Close { request: self.request_to(request), verdict })
            }
            Record::WakeAt { after } => {
                self.read_output(Output::WakeAt(Timestamp::from_nanos(moved(self.now.as_nanos(), after))))
            }
            Record::WakeNever => self.read_output(Output::WakeAt(Timestamp::MAX)),
            Record::Opened { after, wall, router } => {
                let router = match router {
                    BeginningRecord::New(Bytes(snapshot)) => Beginning::New(snapshot),
                    BeginningRecord::Carried(state_hash) => Beginning::Carried(state_hash),
                };
                self.read_mark(after, What::Opened(Opened { wall: WallTime::from_nanos(wall), router }))
            }
            Record::Closed { after } => self.read_mark(after, What::Closed),
            Record::Checkpoint { after, state_hash, requests, attempts, snapshot: Bytes(snapshot) } => {
                let in_flight = InFlight {
                    requests: requests.into_iter().map(RequestId::new).collect(),
                    attempts: attempts.into_iter().map(AttemptId::new).collect(),
                };
                self.read_mark(after, What::Checkpoint(Checkpoint { state_hash, snapshot, in_flight }))
            }
            Record::Gap { after, events, since } => {
                self.read_mark(after, What::Gap(Gap { events, since: Timestamp::from_nanos(since) }))
            }
            Record::Boot { after, id, at_risk } => {
                let boot = Boot { id: id.map(BootId), at_risk: AtRisk::from_ppm(at_risk) };
                self.read_mark(after, What::Boot(boot))
            }
        };
        Ok(what)
    }

    pub(super) fn after(&self, now: Timestamp) -> u64 {
        now.as_nanos().wrapping_sub(self.now.as_nanos())
    }

    pub(super) fn turn_from(&self, turn: TurnId) -> i64 {
        difference(turn.get(), self.turn)
    }

    pub(super) fn request_from(&self, request: RequestId) -> i64 {
        difference(self.request, request.get())
    }

    fn request_to(&self, back: i64) -> RequestId {
        RequestId::new(self.request.wrapping_sub(back as u64))
    }

    pub(super) fn attempt_from(&self, attempt: AttemptId) -> AttemptRecord {
        let (slot, count) = halves(attempt);
        AttemptRecord {
            slot: slot.wrapping_sub(self.slot) as i32,
            count: count.wrapping_sub(self.count_of(slot)) as i32,
        }
    }

    fn attempt_to(&self, record: AttemptRecord) -> AttemptId {
        let slot = self.slot.wrapping_add(record.slot as u32);
        let count = self.count_of(slot).wrapping_add(record.count as u32);
        AttemptId::new(u64::from(count) << 32 | u64::from(slot))
    }

    fn count_of(&self, slot: u32) -> u32 {
        self.counts.get(slot as usize % SLOTS).map_or(0, |(frame, count)| if *frame == self.frame { *count } else { 0 })
    }

    fn read_arrival(&mut self, record: Record) -> Result<What, Senseless> {
        let Record::Arrived { after, request, turn, client, model, shape, input, output_max, deadline } = record else {
            return Err(Senseless("not an arrival".to_owned()));
        };
        let (endpoint, priority, stream) =
            unshape(shape).ok_or_else(|| Senseless(format!("no arrival has the shape {shape:#04x}")))?;
        let now = moved(self.now.as_nanos(), after as i64);
        let input = Input::Arrived(Arrived {
            request: self.request_to(request),
            turn: TurnId::new(moved(self.turn, turn)),
            client: ClientId::new(client),
            model: ModelId::new(model),
            endpoint,
            stream,
            tokens: TokenEstimate { input: Tokens::new(input), output_max: output_max.map(Tokens::new) },
            priority,
            deadline: Timestamp::from_nanos(moved(now, deadline.unwrap_or(self.patience))),
        });
        Ok(self.read_input(after, input))
    }

    fn read_finish(
        &mut self,
        after: u64,
        attempt: AttemptRecord,
        ending: Ending,
        facts: Facts,
        usage: Option<crate::core::Usage>,
    ) -> What {
        let attempt = self.attempt_to(attempt);
        self.read_input(after, Input::Finished(Finished { attempt, ending, facts, usage }))
    }

    pub(super) fn timeouts_record(&self, timeouts: &Timeouts) -> TimeoutsRecord {
        let (all, usual) = (each(timeouts), each(&self.timeouts));
        let mask = (0..4).filter(|&i| all[i] != usual[i]).fold(0u8, |mask, i| mask | 1 << i);
        if mask == 0 {
            return TimeoutsRecord::Usual;
        }
        let length = all[mask.trailing_zeros() as usize];
        if (0..4).any(|i| mask >> i & 1 == 1 && all[i] != length) {
            let [connect, first_byte, idle, total] = all.map(Nanos::from);
            return TimeoutsRecord::Explicit { connect, first_byte, idle, total };
        }
        if length == self.deadline.since(self.now) {
            TimeoutsRecord::UntilDeadline { mask }
        } else {
            TimeoutsRecord::Cut { mask, length: length.into() }
        }
    }

    fn timeouts_of(&mut self, record: TimeoutsRecord) -> Timeouts {
        let cut = |mask: u8, length: Duration| {
            let usual = each(&self.timeouts);
            let of = |i: usize| if mask >> i & 1 == 1 { length } else { usual[i] };
            Timeouts { connect: of(0), first_byte: of(1), idle: of(2), total: of(3) }
        };
        match record {
            TimeoutsRecord::Usual => self.timeouts,
            TimeoutsRecord::UntilDeadline { mask } => cut(mask, self.deadline.since(self.now)),
            TimeoutsRecord::Cut { mask, length } => cut(mask, length.into()),
            TimeoutsRecord::Explicit { connect, first_byte, idle, total } => Timeouts {
                connect: connect.into(),
                first_byte: first_byte.into(),
                idle: idle.into(),
                total: total.into(),
            },
        }
    }

    fn verdict_of(&self, record: VerdictRecord) -> Verdict {
        let cause = |cause: TierCauseRecord| {
            let TierCauseRecord { tier, usable, total, cause, until } = cause;
            let until = until.map(|until| Timestamp::from_nanos(moved(self.now.as_nanos(), until)));
            TierCause { tier: TierId::new(tier), usable, total, cause: cause.into(), until }
        };
        Verdict {
            outcome: record.outcome.into(),
            status: record.status,
            retry_after: record.retry_after.map(Into::into),
            attempts: record.attempts,
            spend: Usd::from_micros(record.spend),
            causes: record.causes.into_iter().map(cause).collect(),
            foreign: record.foreign.map(Into::into),
        }
    }

    fn read_input(&mut self, after: u64, input: Input) -> What {
        self.follow_input(Timestamp::from_nanos(self.now.as_nanos().wrapping_add(after)), &input);
        What::Input(input)
    }

    fn read_output(&mut self, output: Output) -> What {
        self.follow_output(&output);
        What::Output(output)
    }

    fn read_mark(&mut self, after: u64, what: What) -> What {
        self.pass(Timestamp::from_nanos(self.now.as_nanos().wrapping_add(after)));
        what
    }

    /// Moves on to a mark's time.
    pub(super) fn pass(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Moves on past an input.
    pub(super) fn follow_input(&mut self, now: Timestamp, input: &Input) {
        self.now = now;
        match input {
            Input::Arrived(arrived) => {
                self.request = self.request.max(arrived.request.get());
                self.turn = arrived.turn.get();
                self.deadline = arrived.deadline;
                self.patience = difference(arrived.deadline.as_nanos(), now.as_nanos());
            }
            Input::FirstByte { attempt } | Input::Finished(Finished { attempt, .. }) => self.saw_attempt(*attempt),
            Input::Cancelled { request } => self.request = self.request.max(request.get()),
            Input::Configured { .. } | Input::Clock { .. } | Input::Operator { .. } | Input::Woke => {}
        }
    }

    /// Moves on past a decision.
    pub(super) fn follow_output(&mut self, output: &Output) {
        match output {
            Output::Dispatch(dispatch) => {
                // Only what cannot be told from the context is said in full, and becomes what is usual.
                if matches!(self.timeouts_record(&dispatch.timeouts), TimeoutsRecord::Explicit { .. }) {
                    self.timeouts = dispatch.timeouts;
                }
                self.request = self.request.max(dispatch.request.get());
                self.saw_attempt(dispatch.attempt);
            }
            Output::Relay { request, attempt } => {
                self.request = self.request.max(request.get());
                self.saw_attempt(*attempt);
            }
            Output::Abandon { attempt } => self.saw_attempt(*attempt),
            Output::Close { request, .. } => self.request = self.request.max(request.get()),
            Output::WakeAt(at) => self.wake = Some(*at),
        }
    }

    fn saw_attempt(&mut self, attempt: AttemptId) {
        let (slot, count) = halves(attempt);
        self.slot = slot;
        let place = slot as usize % SLOTS;
        if place >= self.counts.len() {
            self.counts.resize(place + 1, (self.frame, 0));
        }
        self.counts[place] = (self.frame, count);
    }
}

/// Low and high half of an attempt's id.
fn halves(attempt: AttemptId) -> (u32, u32) {
    (attempt.get() as u32, (attempt.get() >> 32) as u32)
}

/// What the log itself has to say.
#[derive(Debug)]
pub(super) enum Mark {
    Opened(Opened),
    Closed,
    Checkpoint(Checkpoint),
    Gap(Gap),
    Boot(Boot),
}

fn each(timeouts: &Timeouts) -> [Duration; 4] {
    [timeouts.connect, timeouts.first_byte, timeouts.idle, timeouts.total]
}
