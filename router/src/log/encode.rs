//! Writing records.
//!
//! What happens thousands of times a second is written field by field, straight from the core's types to the end of the
//! frame. The bytes are those that postcard gives the [`Record`] of the same name, through which everything is read: the
//! variant's place, then its fields in order, integers as varints. What is rare goes through the type itself.

use super::boot::{Boot, BootId};
use super::codec::{Context, Mark, difference};
use super::event::{Beginning, Checkpoint, Gap, Opened};
use super::mirror::{CauseRecord, Nanos, ReasonRecord, SpillRecord, TransportRecord, shape};
use super::pen::{Pen, signed};
use super::record::{BeginningRecord, Bytes, Record, TierCauseRecord, TimeoutsRecord, VerdictRecord};
use super::settings_record::SettingsRecord;
use crate::core::{
    Arrived, AttemptId, Dispatch, Ending, Facts, Finished, Input, Outcome, Output, RequestId, TierCause, Timestamp,
    Usage, Verdict, Violation, Violations, Why,
};

/// Places of the variants of [`Record`] that are written field by field.
mod tag {
    pub(super) const ARRIVED: u64 = 2;
    pub(super) const FIRST_BYTE: u64 = 3;
    pub(super) const ANSWERED: u64 = 4;
    pub(super) const STATUS: u64 = 5;
    pub(super) const FINISHED: u64 = 6;
    pub(super) const WOKE: u64 = 9;
    pub(super) const WOKE_ON_TIME: u64 = 10;
    pub(super) const DISPATCH: u64 = 11;
    pub(super) const RELAY: u64 = 12;
    pub(super) const ABANDON: u64 = 13;
    pub(super) const CLOSE_ANSWERED: u64 = 14;
    pub(super) const WAKE_AT: u64 = 16;
    pub(super) const WAKE_NEVER: u64 = 17;
}

/// What cannot be put into bytes.
pub(super) type Written = postcard::Result<()>;

impl Context {
    /// Writes an input at `now` at the end of a frame.
    pub(super) fn write_input(&mut self, now: Timestamp, input: &Input, frame: &mut Vec<u8>) -> Written {
        match input {
            Input::Arrived(arrived) => self.write_arrival(now, arrived, frame),
            Input::FirstByte { attempt } => self.write_first_byte(now, *attempt, frame),
            Input::Finished(finished) => self.write_finish(now, finished, frame),
            Input::Woke => self.write_woke(now, frame),
            Input::Configured { settings } => {
                let settings = Box::new(SettingsRecord::from(&**settings));
                write_record(&Record::Configured { after: self.after_from(now), settings }, frame)?;
            }
            Input::Clock { wall } => {
                write_record(&Record::Clock { after: self.after_from(now), wall: wall.as_nanos() }, frame)?;
            }
            Input::Cancelled { request } => {
                let (after, request) = (self.after_from(now), self.request_from(*request));
                write_record(&Record::Cancelled { after, request }, frame)?;
            }
            Input::Operator { action, author } => {
                let (after, author) = (self.after_from(now), author.as_ref().to_owned());
                write_record(&Record::Operator { after, action: action.into(), author }, frame)?;
            }
        }
        Ok(())
    }

    /// Writes a decision at the end of a frame.
    #[inline]
    pub(super) fn write_output(&mut self, output: &Output, frame: &mut Vec<u8>) -> Written {
        match output {
            Output::Dispatch(dispatch) => self.write_dispatch(dispatch, frame),
            Output::Relay { request, attempt } => self.write_relay(*request, *attempt, frame),
            Output::Abandon { attempt } => self.write_abandon(*attempt, frame),
            Output::Close { request, verdict } => self.write_close(*request, verdict, frame)?,
            Output::WakeAt(at) => self.write_wake(*at, frame),
        }
        Ok(())
    }

    /// Writes a mark at `now` at the end of a frame.
    pub(super) fn write_mark(&mut self, now: Timestamp, mark: Mark, frame: &mut Vec<u8>) -> Written {
        let after = self.after_from(now);
        let record = match mark {
            Mark::Opened(Opened { wall, router }) => {
                let router = match router {
                    Beginning::New(snapshot) => BeginningRecord::New(Bytes(snapshot)),
                    Beginning::Carried(state_hash) => BeginningRecord::Carried(state_hash),
                };
                Record::Opened { after, wall: wall.as_nanos(), router }
            }
            Mark::Closed => Record::Closed { after },
            Mark::Checkpoint(Checkpoint { state_hash, snapshot, in_flight }) => Record::Checkpoint {
                after,
                state_hash,
                requests: in_flight.requests.iter().map(|request| request.get()).collect(),
                attempts: in_flight.attempts.iter().map(|attempt| attempt.get()).collect(),
                snapshot: Bytes(snapshot),
            },
            Mark::Gap(Gap { events, since }) => Record::Gap { after, events, since: since.as_nanos() },
            Mark::Boot(Boot { id, at_risk }) => {
                Record::Boot { after, id: id.map(|BootId(id)| id), at_risk: at_risk.as_ppm() }
            }
        };
        write_record(&record, frame)
    }

    fn write_arrival(&mut self, now: Timestamp, arrived: &Arrived, frame: &mut Vec<u8>) {
        let Arrived { request, turn, client, model, endpoint, stream, tokens, priority, deadline } = arrived;
        let after = self.after_from(now);
        Pen::write(frame, |pen| {
            pen.small([tag::ARRIVED]);
            pen.number(after);
            pen.small([
                signed(self.request_from(*request)),
                signed(self.turn_from(*turn)),
                client.get().into(),
                model.get().into(),
                shape(*endpoint, *priority, *stream).into(),
            ]);
            pen.number(tokens.input.get().into());
            pen.maybe(tokens.output_max, |pen, tokens| pen.number(tokens.get().into()));
            pen.maybe(self.deadline_from(*deadline), |pen, patience| pen.number(signed(patience)));
        });
    }

    fn write_first_byte(&mut self, now: Timestamp, attempt: AttemptId, frame: &mut Vec<u8>) {
        let after = self.after_from(now);
        Pen::write(frame, |pen| {
            pen.small([tag::FIRST_BYTE]);
            pen.number(after);
            pen.small(self.attempt(attempt));
        });
    }

    fn write_finish(&mut self, now: Timestamp, finished: &Finished, frame: &mut Vec<u8>) {
        let Finished { attempt, ending, ref facts, usage } = *finished;
        let Facts { inner_status, violations, retry_after, reason } = facts;
        let says_nothing = inner_status.is_none() && !violations.any() && retry_after.is_none() && reason.is_none();
        let after = self.after_from(now);
        let attempt = self.attempt(attempt);
        Pen::write(frame, |pen| match (ending, usage) {
            (Ending::Status(200), Some(usage)) if says_nothing => {
                pen.small([tag::ANSWERED]);
                pen.number(after);
                pen.small(attempt);
                write_usage(usage, pen);
            }
            (Ending::Status(status), None) if says_nothing => {
                pen.small([tag::STATUS]);
                pen.number(after);
                pen.small(attempt);
                pen.number(status.into());
            }
            (ending, usage) => {
                pen.small([tag::FINISHED]);
                pen.number(after);
                pen.small(attempt);
                match ending {
                    Ending::Status(status) => pen.small([0, status.into()]),
                    Ending::Transport(transport) => pen.small([1, TransportRecord::from(transport) as u64]),
                }
                write_facts(facts, pen);
                pen.maybe(usage, |pen, usage| write_usage(usage, pen));
            }
        });
    }

    fn write_woke(&mut self, now: Timestamp, frame: &mut Vec<u8>) {
        let is_on_time = self.is_wake(now);
        let after = self.after_from(now);
        Pen::write(
            frame,
            |pen| if is_on_time { pen.small([tag::WOKE_ON_TIME]) } else { pen.small([tag::WOKE, after]) },
        );
    }

    fn write_dispatch(&mut self, dispatch: &Dispatch, frame: &mut Vec<u8>) {
        let Dispatch { request, attempt, deployment, ref timeouts, why } = *dispatch;
        let request = signed(self.request_from(request));
        let [slot, count] = self.attempt(attempt);
        Pen::write(frame, |pen| {
            pen.small([tag::DISPATCH]);
            pen.number(request);
            pen.small([slot, count, deployment.get().into()]);
            match self.timeouts_from(timeouts) {
                TimeoutsRecord::Usual => pen.small([0]),
                TimeoutsRecord::UntilDeadline { mask } => pen.small([1, mask.into()]),
                TimeoutsRecord::Cut { mask, length } => {
                    pen.small([2, mask.into()]);
                    pen.length(length.into());
                }
                TimeoutsRecord::Explicit { connect, first_byte, idle, total } => {
                    pen.small([3]);
                    for length in [connect, first_byte, idle, total] {
                        pen.length(length.into());
                    }
                }
            }
            match why {
                Why::First => pen.small([0]),
                Why::Waited { waited } => {
                    pen.small([1]);
                    pen.length(waited);
                }
                Why::Retry { before } => pen.small([2, before.into()]),
                Why::Spill { cause, failure_ppm, quota_ppm } => {
                    pen.small([3, SpillRecord::from(cause) as u64, failure_ppm.into(), quota_ppm.into()]);
                }
                Why::Probe { failure_ppm } => pen.small([4, failure_ppm.into()]),
                Why::Panic { usable_ppm } => pen.small([5, usable_ppm.into()]),
            }
        });
    }

    fn write_relay(&mut self, request: RequestId, attempt: AttemptId, frame: &mut Vec<u8>) {
        let request = signed(self.request_from(request));
        let [slot, count] = self.attempt(attempt);
        Pen::write(frame, |pen| {
            pen.small([tag::RELAY]);
            pen.number(request);
            pen.small([slot, count]);
        });
    }

    fn write_abandon(&mut self, attempt: AttemptId, frame: &mut Vec<u8>) {
        let [slot, count] = self.attempt(attempt);
        Pen::write(frame, |pen| pen.small([tag::ABANDON, slot, count]));
    }

    fn write_close(&mut self, request: RequestId, verdict: &Verdict, frame: &mut Vec<u8>) -> Written {
        let Verdict { outcome, status, retry_after, attempts, spend, causes, foreign } = verdict;
        let request = self.request_from(request);
        let plain = *outcome == Outcome::Answered
            && *status == 200
            && retry_after.is_none()
            && causes.is_empty()
            && foreign.is_none();
        if plain {
            Pen::write(frame, |pen| {
                pen.small([tag::CLOSE_ANSWERED]);
                pen.number(signed(request));
                pen.small([(*attempts).into()]);
                pen.number(signed(spend.as_micros()));
            });
            return Ok(());
        }
        let cause = |cause: &TierCause| {
            let TierCause { tier, usable, total, cause, until } = *cause;
            let until = until.map(|until| difference(until.as_nanos(), self.now().as_nanos()));
            TierCauseRecord { tier: tier.get(), usable, total, cause: CauseRecord::from(cause), until }
        };
        let verdict = VerdictRecord {
            outcome: (*outcome).into(),
            status: *status,
            retry_after: retry_after.map(Nanos::from),
            attempts: *attempts,
            spend: spend.as_micros(),
            causes: causes.iter().map(cause).collect(),
            foreign: foreign.map(Into::into),
        };
        write_record(&Record::Close { request, verdict: Box::new(verdict) }, frame)
    }

    fn write_wake(&mut self, at: Timestamp, frame: &mut Vec<u8>) {
        let after = signed(self.wake_from(at));
        let is_never = at == Timestamp::MAX;
        Pen::write(frame, |pen| if is_never { pen.small([tag::WAKE_NEVER]) } else { pen.small([tag::WAKE_AT, after]) });
    }

    /// The numbers of an [`AttemptRecord`](super::record::AttemptRecord).
    #[inline]
    fn attempt(&mut self, attempt: AttemptId) -> [u64; 2] {
        let attempt = self.attempt_from(attempt);
        [signed(attempt.slot), signed(attempt.count)]
    }
}

/// As [`FactsRecord`](super::mirror::FactsRecord).
fn write_facts(facts: &Facts, pen: &mut Pen<'_>) {
    let Facts { inner_status, violations, retry_after, reason } = *facts;
    let Violations { requests_minute, requests_day, tokens_minute, tokens_day } = violations;
    pen.maybe(inner_status, |pen, status| pen.number(status.into()));
    pen.maybe(violations.any().then_some(()), |pen, ()| {
        for violation in [requests_minute, requests_day, tokens_minute, tokens_day] {
            match violation {
                Violation::None => pen.small([0]),
                Violation::Unvalued => pen.small([1]),
                Violation::Limit(limit) => pen.small([2, limit.into()]),
            }
        }
    });
    pen.maybe(retry_after, Pen::length);
    pen.maybe(reason, |pen, reason| pen.small([ReasonRecord::from(reason) as u64]));
}

/// As [`UsageRecord`](super::mirror::UsageRecord).
fn write_usage(usage: Usage, pen: &mut Pen<'_>) {
    for tokens in [usage.input, usage.cached, usage.output] {
        pen.number(tokens.get().into());
    }
}

/// What is rare, through its type.
fn write_record(record: &Record, frame: &mut Vec<u8>) -> Written {
    postcard::to_io(record, frame).map(|_frame| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        ClientId, DeploymentId, Duration, Endpoint, ModelId, Priority, Reason, Spill, Timeouts, TokenEstimate, Tokens,
        Transport, TurnId, Usd, Violation, Violations,
    };

    const NUMBERS: [u64; 9] = [0, 1, 127, 128, 1_000_000, 1 << 32, (1 << 63) - 1, 1 << 63, u64::MAX];

    /// What was written field by field must be what postcard writes, byte by byte.
    fn is_as_postcard_writes(write: impl FnOnce(&mut Context, &mut Vec<u8>) -> Written) {
        let mut bytes = Vec::new();
        write(&mut Context::new(Timestamp::from_nanos(5)), &mut bytes).unwrap();
        let (record, rest) = postcard::take_from_bytes::<Record>(&bytes).unwrap();
        assert!(rest.is_empty(), "{record:?} and {rest:?}");
        assert_eq!(postcard::to_stdvec(&record).unwrap(), bytes, "{record:?}");
    }

    fn input(at: u64, input: &Input) {
        is_as_postcard_writes(|context, frame| context.write_input(Timestamp::from_nanos(at), input, frame));
    }

    fn output(output: &Output) {
        is_as_postcard_writes(|context, frame| context.write_output(output, frame));
    }

    #[test]
    fn inputs_are_written_as_their_records() {
        for number in NUMBERS {
            let small = number as u32;
            let attempt = AttemptId::new(number.rotate_left(17));
            input(number, &Input::FirstByte { attempt });
            input(number, &Input::Woke);
            input(number, &Input::Cancelled { request: RequestId::new(number) });
            for output_max in [None, Some(Tokens::new(small))] {
                let arrived = Arrived {
                    request: RequestId::new(number),
                    turn: TurnId::new(!number),
                    client: ClientId::new(number as u16),
                    model: ModelId::new(300),
                    endpoint: Endpoint::Count,
                    stream: true,
                    tokens: TokenEstimate { input: Tokens::new(small), output_max },
                    priority: Priority::High,
                    deadline: Timestamp::from_nanos(number),
                };
                input(7, &Input::Arrived(arrived));
                input(
                    number,
                    &Input::Arrived(Arrived {
                        deadline: Timestamp::from_nanos(number) + Duration::from_secs(180),
                        ..arrived
                    }),
                );
            }
            let usage = Usage { input: Tokens::new(small), cached: Tokens::new(0), output: Tokens::new(128) };
            let said = Facts {
                inner_status: Some(503),
                violations: Violations { requests_day: Violation::Limit(small), ..Violations::default() },
                retry_after: Some(Duration::from_nanos(number)),
                reason: Some(Reason::Credential),
            };
            for ending in [Ending::Status(200), Ending::Status(number as u16), Ending::Transport(Transport::Abandoned)]
            {
                for (facts, usage) in
                    [(Facts::default(), Some(usage)), (said, Some(usage)), (said, None), (Facts::default(), None)]
                {
                    input(number, &Input::Finished(Finished { attempt, ending, facts, usage }));
                }
            }
        }
        is_as_postcard_writes(|context, frame| {
            context.write_output(&Output::WakeAt(Timestamp::from_nanos(9)), &mut Vec::new())?;
            context.write_input(Timestamp::from_nanos(9), &Input::Woke, frame)
        });
    }

    #[test]
    fn decisions_are_written_as_their_records() {
        output(&Output::WakeAt(Timestamp::MAX));
        for number in NUMBERS {
            let (request, attempt) = (RequestId::new(number), AttemptId::new(number.rotate_left(40)));
            let small = number as u32;
            output(&Output::Relay { request, attempt });
            output(&Output::Abandon { attempt });
            output(&Output::WakeAt(Timestamp::from_nanos(number)));
            let plain = Verdict {
                attempts: 200,
                spend: Usd::from_micros(number as i64),
                ..Verdict::new(Outcome::Answered, 200)
            };
            output(&Output::Close { request, verdict: plain.clone() });
            output(&Output::Close {
                request,
                verdict: Verdict { retry_after: Some(Duration::from_nanos(number)), ..plain },
            });
            let length = Duration::from_nanos(number);
            let usual = Timeouts {
                connect: Duration::from_secs(5),
                first_byte: Duration::from_secs(120),
                idle: Duration::from_secs(60),
                total: Duration::from_secs(600),
            };
            for timeouts in [
                usual,
                Timeouts { first_byte: length, total: length, ..usual },
                Timeouts { first_byte: Duration::ZERO, total: length, ..usual },
                Timeouts { first_byte: Timestamp::ZERO.since(Timestamp::from_nanos(5)), ..usual },
            ] {
                for why in [
                    Why::First,
                    Why::Waited { waited: length },
                    Why::Retry { before: number as u16 },
                    Why::Spill { cause: Spill::Unsuited, failure_ppm: small, quota_ppm: 500_000 },
                    Why::Probe { failure_ppm: small },
                    Why::Panic { usable_ppm: small },
                ] {
                    let deployment = DeploymentId::new(small);
                    output(&Output::Dispatch(Dispatch { request, attempt, deployment, timeouts, why }));
                }
            }
        }
    }
}
