//! Between the core's types and the records: what is relative to what.
//!
//! Both directions keep the same [`Context`]. What `x_from` makes of a field `x_to` takes back, and each moves the
//! context on past that field at once; no field is relative to another of the same record, except that time comes first.
//! The context begins anew with every frame: a frame can be read without those before it.

use std::sync::Arc;

use super::boot::{Boot, BootId};
use super::event::{Beginning, Checkpoint, Gap, InFlight, Opened, What};
use super::mirror::{Nanos, unshape};
use super::record::{AttemptRecord, BeginningRecord, Bytes, Record, TierCauseRecord, TimeoutsRecord, VerdictRecord};
use crate::core::{
    Arrived, AtRisk, AttemptId, ClientId, DeploymentId, Dispatch, Duration, Ending, Facts, Finished, Input, ModelId,
    Outcome, Output, RequestId, Settings, TierCause, TierId, Timeouts, Timestamp, TokenEstimate, Tokens, TurnId, Usage,
    Usd, Verdict, WallTime,
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
    /// other frame.
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
    /// At the start of a first frame.
    pub(super) fn new(now: Timestamp) -> Self {
        Self::at_start(now, 0, vec![(0, 0); SLOTS])
    }

    /// Begins another frame.
    pub(super) fn begin(&mut self, now: Timestamp) {
        let mut counts = std::mem::take(&mut self.counts);
        let frame = self.frame.wrapping_add(1);
        if frame == 0 {
            counts.fill((0, 0));
        }
        *self = Self::at_start(now, frame, counts);
    }

    /// These values are part of the format.
    fn at_start(now: Timestamp, frame: u32, counts: Vec<(u32, u32)>) -> Self {
        Self {
            now,
            request: 0,
            slot: 0,
            counts,
            frame,
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

    /// Time of the last input or mark.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// What a record says.
    #[inline(always)]
    pub(super) fn read(&mut self, record: Record) -> Result<What, Senseless> {
        let what = match record {
            Record::Configured { after, settings } => {
                let settings = Settings::try_from(*settings).map_err(|error| Senseless(error.to_string()))?;
                self.after_to(after);
                What::Input(Input::Configured { settings: Arc::new(settings) })
            }
            Record::Clock { after, wall } => {
                self.after_to(after);
                What::Input(Input::Clock { wall: WallTime::from_nanos(wall) })
            }
            Record::Arrived { .. } => self.read_arrival(record)?,
            Record::FirstByte { after, attempt } => {
                self.after_to(after);
                What::Input(Input::FirstByte { attempt: self.attempt_to(attempt) })
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
                self.after_to(after);
                What::Input(Input::Cancelled { request: self.request_to(request) })
            }
            Record::Operator { after, action, author } => {
                self.after_to(after);
                What::Input(Input::Operator { action: action.into(), author: author.into() })
            }
            Record::Woke { after } => {
                self.after_to(after);
                What::Input(Input::Woke)
            }
            Record::WokeOnTime => {
                self.now = self.wake.ok_or_else(|| Senseless("a wake-up that nobody asked for".to_owned()))?;
                What::Input(Input::Woke)
            }
            Record::Dispatch { request, attempt, deployment, timeouts, why } => {
                What::Output(Output::Dispatch(Dispatch {
                    request: self.request_to(request),
                    attempt: self.attempt_to(attempt),
                    deployment: DeploymentId::new(deployment),
                    timeouts: self.timeouts_to(timeouts),
                    why: why.into(),
                }))
            }
            Record::Relay { request, attempt } => {
                What::Output(Output::Relay { request: self.request_to(request), attempt: self.attempt_to(attempt) })
            }
            Record::Abandon { attempt } => What::Output(Output::Abandon { attempt: self.attempt_to(attempt) }),
            Record::CloseAnswered { request, attempts, spend } => {
                let plain = Verdict::new(Outcome::Answered, 200);
                let verdict = Verdict { attempts, spend: Usd::from_micros(spend), ..plain };
                What::Output(Output::Close { request: self.request_to(request), verdict })
            }
            Record::Close { request, verdict } => {
                let verdict = self.verdict_of(*verdict);
                What::Output(Output::Close { request: self.request_to(request), verdict })
            }
            Record::WakeAt { after } => What::Output(Output::WakeAt(self.wake_to(after))),
            Record::WakeNever => What::Output(Output::WakeAt(self.wake_never())),
            Record::Opened { after, wall, router } => {
                self.after_to(after);
                let router = match router {
                    BeginningRecord::New(Bytes(snapshot)) => Beginning::New(snapshot),
                    BeginningRecord::Carried(state_hash) => Beginning::Carried(state_hash),
                };
                What::Opened(Opened { wall: WallTime::from_nanos(wall), router })
            }
            Record::Closed { after } => {
                self.after_to(after);
                What::Closed
            }
            Record::Checkpoint { after, state_hash, requests, attempts, snapshot: Bytes(snapshot) } => {
                self.after_to(after);
                let in_flight = InFlight {
                    requests: requests.into_iter().map(RequestId::new).collect(),
                    attempts: attempts.into_iter().map(AttemptId::new).collect(),
                };
                What::Checkpoint(Checkpoint { state_hash, snapshot, in_flight })
            }
            Record::Gap { after, events, since } => {
                self.after_to(after);
                What::Gap(Gap { events, since: Timestamp::from_nanos(since) })
            }
            Record::Boot { after, id, at_risk } => {
                self.after_to(after);
                What::Boot(Boot { id: id.map(BootId), at_risk: AtRisk::from_ppm(at_risk) })
            }
        };
        Ok(what)
    }

    fn read_arrival(&mut self, record: Record) -> Result<What, Senseless> {
        let Record::Arrived { after, request, turn, client, model, shape, input, output_max, deadline } = record else {
            return Err(Senseless("not an arrival".to_owned()));
        };
        let (endpoint, priority, stream) =
            unshape(shape).ok_or_else(|| Senseless(format!("no arrival has the shape {shape:#04x}")))?;
        self.after_to(after);
        Ok(What::Input(Input::Arrived(Arrived {
            request: self.request_to(request),
            turn: self.turn_to(turn),
            client: ClientId::new(client),
            model: ModelId::new(model),
            endpoint,
            stream,
            tokens: TokenEstimate { input: Tokens::new(input), output_max: output_max.map(Tokens::new) },
            priority,
            deadline: self.deadline_to(deadline),
        })))
    }

    fn read_finish(
        &mut self,
        after: u64,
        attempt: AttemptRecord,
        ending: Ending,
        facts: Facts,
        usage: Option<Usage>,
    ) -> What {
        self.after_to(after);
        What::Input(Input::Finished(Finished { attempt: self.attempt_to(attempt), ending, facts, usage }))
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
}

/// Fields in both directions.
impl Context {
    #[inline]
    pub(super) fn after_from(&mut self, now: Timestamp) -> u64 {
        let after = now.as_nanos().wrapping_sub(self.now.as_nanos());
        self.now = now;
        after
    }

    fn after_to(&mut self, after: u64) {
        self.now = Timestamp::from_nanos(self.now.as_nanos().wrapping_add(after));
    }

    pub(super) fn request_from(&mut self, request: RequestId) -> i64 {
        let back = difference(self.request, request.get());
        self.request = self.request.max(request.get());
        back
    }

    fn request_to(&mut self, back: i64) -> RequestId {
        let request = self.request.wrapping_sub(back as u64);
        self.request = self.request.max(request);
        RequestId::new(request)
    }

    pub(super) fn turn_from(&mut self, turn: TurnId) -> i64 {
        let on = difference(turn.get(), self.turn);
        self.turn = turn.get();
        on
    }

    fn turn_to(&mut self, on: i64) -> TurnId {
        self.turn = moved(self.turn, on);
        TurnId::new(self.turn)
    }

    #[inline]
    pub(super) fn attempt_from(&mut self, attempt: AttemptId) -> AttemptRecord {
        let (slot, count) = (attempt.get() as u32, (attempt.get() >> 32) as u32);
        let slot_on = slot.wrapping_sub(self.slot) as i32;
        self.slot = slot;
        let last = self.count_of(slot);
        let count_on = count.wrapping_sub(*last) as i32;
        *last = count;
        AttemptRecord { slot: slot_on, count: count_on }
    }

    fn attempt_to(&mut self, record: AttemptRecord) -> AttemptId {
        let slot = self.slot.wrapping_add(record.slot as u32);
        self.slot = slot;
        let last = self.count_of(slot);
        *last = last.wrapping_add(record.count as u32);
        AttemptId::new(u64::from(*last) << 32 | u64::from(slot))
    }

    /// The count of the last attempt seen with this slot.
    fn count_of(&mut self, slot: u32) -> &mut u32 {
        let (frame, count) = &mut self.counts[slot as usize % SLOTS];
        if *frame != self.frame {
            (*frame, *count) = (self.frame, 0);
        }
        count
    }

    /// What is left until the deadline, when it is not what was left for the arrival before.
    pub(super) fn deadline_from(&mut self, deadline: Timestamp) -> Option<i64> {
        let usual = self.patience;
        self.deadline = deadline;
        self.patience = difference(deadline.as_nanos(), self.now.as_nanos());
        (self.patience != usual).then_some(self.patience)
    }

    fn deadline_to(&mut self, patience: Option<i64>) -> Timestamp {
        self.patience = patience.unwrap_or(self.patience);
        self.deadline = Timestamp::from_nanos(moved(self.now.as_nanos(), self.patience));
        self.deadline
    }

    /// Only what cannot be told from the context is said in full, and becomes what is usual.
    pub(super) fn timeouts_from(&mut self, timeouts: &Timeouts) -> TimeoutsRecord {
        let all = each(timeouts);
        let (mut mask, mut cut) = (0u8, None);
        for (place, usual) in each(&self.timeouts).into_iter().enumerate() {
            if all[place] != usual {
                mask |= 1 << place;
                if *cut.get_or_insert(all[place]) != all[place] {
                    self.timeouts = *timeouts;
                    let [connect, first_byte, idle, total] = all.map(Nanos::from);
                    return TimeoutsRecord::Explicit { connect, first_byte, idle, total };
                }
            }
        }
        let Some(length) = cut else { return TimeoutsRecord::Usual };
        if length == self.deadline.since(self.now) {
            TimeoutsRecord::UntilDeadline { mask }
        } else {
            TimeoutsRecord::Cut { mask, length: length.into() }
        }
    }

    fn timeouts_to(&mut self, record: TimeoutsRecord) -> Timeouts {
        let cut = |mask: u8, length: Duration| {
            let usual = each(&self.timeouts);
            let of = |i: usize| if mask >> i & 1 == 1 { length } else { usual[i] };
            Timeouts { connect: of(0), first_byte: of(1), idle: of(2), total: of(3) }
        };
        match record {
            TimeoutsRecord::Usual => self.timeouts,
            TimeoutsRecord::UntilDeadline { mask } => cut(mask, self.deadline.since(self.now)),
            TimeoutsRecord::Cut { mask, length } => cut(mask, length.into()),
            TimeoutsRecord::Explicit { connect, first_byte, idle, total } => {
                self.timeouts = Timeouts {
                    connect: connect.into(),
                    first_byte: first_byte.into(),
                    idle: idle.into(),
                    total: total.into(),
                };
                self.timeouts
            }
        }
    }

    pub(super) fn wake_from(&mut self, at: Timestamp) -> i64 {
        self.wake = Some(at);
        difference(at.as_nanos(), self.now.as_nanos())
    }

    fn wake_to(&mut self, after: i64) -> Timestamp {
        let at = Timestamp::from_nanos(moved(self.now.as_nanos(), after));
        self.wake = Some(at);
        at
    }

    pub(super) fn wake_never(&mut self) -> Timestamp {
        self.wake = Some(Timestamp::MAX);
        Timestamp::MAX
    }

    /// Whether this is the very time that the last wake-up asked for.
    pub(super) fn is_wake(&self, now: Timestamp) -> bool {
        self.wake == Some(now)
    }
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
