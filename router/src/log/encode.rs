//! Writing records.
//!
//! What happens thousands of times a second is written field by field, straight from the core's types to the end of the
//! frame. The bytes are those that postcard gives the [`Record`] of the same name, through which everything is read: the
//! variant's place, then its fields in order, integers as varints. What is rare goes through the type itself.

use serde::Serialize;

use super::boot::{Boot, BootId};
use super::codec::{Context, Mark, difference};
use super::event::{Beginning, Checkpoint, Gap, Opened};
use super::mirror::{CauseRecord, FactsRecord, Nanos, SpillRecord, TransportRecord, shape};
use super::record::{BeginningRecord, Bytes, Record, TierCauseRecord, TimeoutsRecord, VerdictRecord};
use super::settings_record::SettingsRecord;
use crate::core::{
    Arrived, AttemptId, Dispatch, Duration, Ending, Facts, Finished, Input, Outcome, Output, RequestId, TierCause,
    Timestamp, Usage, Verdict, Why,
};

/// Places of the variants of [`Record`] that are written field by field.
mod tag {
    pub(super) const ARRIVED: u8 = 2;
    pub(super) const FIRST_BYTE: u8 = 3;
    pub(super) const ANSWERED: u8 = 4;
    pub(super) const STATUS: u8 = 5;
    pub(super) const FINISHED: u8 = 6;
    pub(super) const WOKE: u8 = 9;
    pub(super) const WOKE_ON_TIME: u8 = 10;
    pub(super) const DISPATCH: u8 = 11;
    pub(super) const RELAY: u8 = 12;
    pub(super) const ABANDON: u8 = 13;
    pub(super) const CLOSE_ANSWERED: u8 = 14;
    pub(super) const WAKE_AT: u8 = 16;
    pub(super) const WAKE_NEVER: u8 = 17;
}

/// The end of a frame, to write on.
pub(super) struct Pen<'a>(pub(super) &'a mut Vec<u8>);

/// What cannot be put into bytes.
pub(super) type Written = postcard::Result<()>;

impl Context {
    /// Writes an input at `now`.
    pub(super) fn write_input(&mut self, now: Timestamp, input: &Input, pen: &mut Pen<'_>) -> Written {
        let after = self.after(now);
        match input {
            Input::Arrived(arrived) => self.write_arrival(now, after, arrived, pen),
            Input::FirstByte { attempt } => {
                pen.tag(tag::FIRST_BYTE);
                pen.number(after);
                self.write_attempt(*attempt, pen);
            }
            Input::Finished(finished) => self.write_finish(after, finished, pen)?,
            Input::Woke if self.wake() == Some(now) => pen.tag(tag::WOKE_ON_TIME),
            Input::Woke => {
                pen.tag(tag::WOKE);
                pen.number(after);
            }
            Input::Configured { settings } => {
                let settings = Box::new(SettingsRecord::from(&**settings));
                pen.record(&Record::Configured { after, settings })?;
            }
            Input::Clock { wall } => pen.record(&Record::Clock { after, wall: wall.as_nanos() })?,
            Input::Cancelled { request } => {
                pen.record(&Record::Cancelled { after, request: self.request_from(*request) })?;
            }
            Input::Operator { action, author } => {
                let author = author.as_ref().to_owned();
                pen.record(&Record::Operator { after, action: action.into(), author })?;
            }
        }
        self.follow_input(now, input);
        Ok(())
    }

    /// Writes a decision.
    pub(super) fn write_output(&mut self, output: &Output, pen: &mut Pen<'_>) -> Written {
        match output {
            Output::Dispatch(dispatch) => self.write_dispatch(dispatch, pen)?,
            Output::Relay { request, attempt } => {
                pen.tag(tag::RELAY);
                pen.signed(self.request_from(*request));
                self.write_attempt(*attempt, pen);
            }
            Output::Abandon { attempt } => {
                pen.tag(tag::ABANDON);
                self.write_attempt(*attempt, pen);
            }
            Output::Close { request, verdict } => self.write_close(*request, verdict, pen)?,
            Output::WakeAt(Timestamp::MAX) => pen.tag(tag::WAKE_NEVER),
            Output::WakeAt(at) => {
                pen.tag(tag::WAKE_AT);
                pen.signed(difference(at.as_nanos(), self.now().as_nanos()));
            }
        }
        self.follow_output(output);
        Ok(())
    }

    /// Writes a mark at `now`.
    pub(super) fn write_mark(&mut self, now: Timestamp, mark: Mark, pen: &mut Pen<'_>) -> Written {
        let after = self.after(now);
        self.pass(now);
        pen.record(&match mark {
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
        })
    }

    fn write_arrival(&self, now: Timestamp, after: u64, arrived: &Arrived, pen: &mut Pen<'_>) {
        let Arrived { request, turn, client, model, endpoint, stream, tokens, priority, deadline } = arrived;
        let patience = difference(deadline.as_nanos(), now.as_nanos());
        pen.tag(tag::ARRIVED);
        pen.number(after);
        pen.signed(self.request_from(*request));
        pen.signed(self.turn_from(*turn));
        pen.number(client.get().into());
        pen.number(model.get().into());
        pen.tag(shape(*endpoint, *priority, *stream));
        pen.number(tokens.input.get().into());
        pen.maybe(tokens.output_max, |pen, tokens| pen.number(tokens.get().into()));
        pen.maybe((patience != self.patience()).then_some(patience), Pen::signed);
    }

    fn write_finish(&self, after: u64, finished: &Finished, pen: &mut Pen<'_>) -> Written {
        let Finished { attempt, ending, ref facts, usage } = *finished;
        let says_nothing = *facts == Facts::default();
        match (ending, usage) {
            (Ending::Status(200), Some(usage)) if says_nothing => {
                pen.tag(tag::ANSWERED);
                pen.number(after);
                self.write_attempt(attempt, pen);
                pen.usage(usage);
            }
            (Ending::Status(status), None) if says_nothing => {
                pen.tag(tag::STATUS);
                pen.number(after);
                self.write_attempt(attempt, pen);
                pen.number(status.into());
            }
            (ending, usage) => {
                pen.tag(tag::FINISHED);
                pen.number(after);
                self.write_attempt(attempt, pen);
                match ending {
                    Ending::Status(status) => {
                        pen.tag(0);
                        pen.number(status.into());
                    }
                    Ending::Transport(transport) => {
                        pen.tag(1);
                        pen.tag(TransportRecord::from(transport) as u8);
                    }
                }
                pen.record(&FactsRecord::from(*facts))?;
                pen.maybe(usage, Pen::usage);
            }
        }
        Ok(())
    }

    fn write_dispatch(&self, dispatch: &Dispatch, pen: &mut Pen<'_>) -> Written {
        let Dispatch { request, attempt, deployment, ref timeouts, why } = *dispatch;
        pen.tag(tag::DISPATCH);
        pen.signed(self.request_from(request));
        self.write_attempt(attempt, pen);
        pen.number(deployment.get().into());
        match self.timeouts_record(timeouts) {
            TimeoutsRecord::Usual => pen.tag(0),
            TimeoutsRecord::UntilDeadline { mask } => {
                pen.tag(1);
                pen.tag(mask);
            }
            TimeoutsRecord::Cut { mask, length } => {
                pen.tag(2);
                pen.tag(mask);
                pen.length(length.into());
            }
            explicit @ TimeoutsRecord::Explicit { .. } => pen.record(&explicit)?,
        }
        match why {
            Why::First => pen.tag(0),
            Why::Waited { waited } => {
                pen.tag(1);
                pen.length(waited);
            }
            Why::Retry { before } => {
                pen.tag(2);
                pen.number(before.into());
            }
            Why::Spill { cause, failure_ppm, quota_ppm } => {
                pen.tag(3);
                pen.tag(SpillRecord::from(cause) as u8);
                pen.number(failure_ppm.into());
                pen.number(quota_ppm.into());
            }
            Why::Probe { failure_ppm } => {
                pen.tag(4);
                pen.number(failure_ppm.into());
            }
            Why::Panic { usable_ppm } => {
                pen.tag(5);
                pen.number(usable_ppm.into());
            }
        }
        Ok(())
    }

    fn write_close(&self, request: RequestId, verdict: &Verdict, pen: &mut Pen<'_>) -> Written {
        let Verdict { outcome, status, retry_after, attempts, spend, causes, foreign } = verdict;
        let request = self.request_from(request);
        let plain = *outcome == Outcome::Answered
            && *status == 200
            && retry_after.is_none()
            && causes.is_empty()
            && foreign.is_none();
        if plain {
            pen.tag(tag::CLOSE_ANSWERED);
            pen.signed(request);
            pen.number((*attempts).into());
            pen.signed(spend.as_micros());
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
        pen.record(&Record::Close { request, verdict: Box::new(verdict) })
    }

    fn write_attempt(&self, attempt: AttemptId, pen: &mut Pen<'_>) {
        let attempt = self.attempt_from(attempt);
        pen.signed(attempt.slot.into());
        pen.signed(attempt.count.into());
    }
}

impl Pen<'_> {
    /// The place of a variant, below 128; or a byte.
    fn tag(&mut self, tag: u8) {
        self.0.push(tag);
    }

    /// An unsigned integer of any width: seven bits a byte, the lowest first.
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A signed integer of any width: 0, -1, 1, -2, and so on as 0, 1, 2, 3.
    fn signed(&mut self, value: i64) {
        self.number((value << 1 ^ value >> 63) as u64);
    }

    /// As [`Nanos`].
    fn length(&mut self, length: Duration) {
        match length.as_nanos() {
            nanos if nanos.is_multiple_of(1_000_000) => self.number((nanos / 1_000_000) << 1 | 1),
            nanos if nanos >> 63 == 0 => self.number(nanos << 1),
            nanos => {
                // One bit more than a number has: the lowest seven, then the rest.
                self.0.push((nanos << 1) as u8 | 0x80);
                self.number(nanos >> 6);
            }
        }
    }

    fn usage(&mut self, usage: Usage) {
        for tokens in [usage.input, usage.cached, usage.output] {
            self.number(tokens.get().into());
        }
    }

    fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn record(&mut self, record: &impl Serialize) -> Written {
        postcard::serialize_with_flavor(record, Pen(self.0))
    }
}

impl postcard::ser_flavors::Flavor for Pen<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> Written {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> Written {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> Written {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        ClientId, DeploymentId, Endpoint, ModelId, Priority, Reason, Spill, Timeouts, TokenEstimate, Tokens, Transport,
        TurnId, Usd, Violation, Violations,
    };

    const NUMBERS: [u64; 9] = [0, 1, 127, 128, 1_000_000, 1 << 32, (1 << 63) - 1, 1 << 63, u64::MAX];

    /// What was written field by field must be what postcard writes, byte by byte.
    fn is_as_postcard_writes(write: impl FnOnce(&mut Context, &mut Pen<'_>) -> Written) {
        let mut bytes = Vec::new();
        write(&mut Context::new(Timestamp::from_nanos(5)), &mut Pen(&mut bytes)).unwrap();
        let (record, rest) = postcard::take_from_bytes::<Record>(&bytes).unwrap();
        assert!(rest.is_empty(), "{record:?} and {rest:?}");
        assert_eq!(postcard::to_stdvec(&record).unwrap(), bytes, "{record:?}");
    }

    fn input(at: u64, input: &Input) {
        is_as_postcard_writes(|context, pen| context.write_input(Timestamp::from_nanos(at), input, pen));
    }

    fn output(output: &Output) {
        is_as_postcard_writes(|context, pen| context.write_output(output, pen));
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
        is_as_postcard_writes(|context, pen| {
            context.write_output(&Output::WakeAt(Timestamp::from_nanos(9)), &mut Pen(&mut Vec::new()))?;
            context.write_input(Timestamp::from_nanos(9), &Input::Woke, pen)
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
