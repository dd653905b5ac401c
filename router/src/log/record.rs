//! The record types of format 1, owned by the log: what stands in a frame, in postcard's stable encoding.
//!
//! The core's types may change with every version; these may not. Variants are only ever *appended*, and a field is
//! never added to a variant that exists: old logs are read for ever. The conversions are exhaustive, so a change in the
//! core that the log cannot express does not compile.
//!
//! Records are small because they are relative: ids to those seen in the same frame, times to the last input,
//! and what a request usually looks like has a short variant of its own (see [`codec`](super::codec)). A frame never
//! refers to an earlier one.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::mirror::{
    ActionRecord, CauseRecord, EndingRecord, FactsRecord, ForeignRecord, Nanos, OutcomeRecord, UsageRecord, WhyRecord,
};
use super::settings_record::SettingsRecord;

/// One thing on record. `after` is the time since the last input or mark, in nanoseconds; ids are differences, taken
/// modulo 2^64 so that every id can be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Record {
    /// Settings came into force.
    Configured { after: u64, settings: Box<SettingsRecord> },
    /// The wall clock was read: nanoseconds since 1970.
    Clock { after: u64, wall: u64 },
    /// A client asked. `deadline` is the time left; absent when it is the same as for the arrival before.
    Arrived {
        after: u64,
        request: i64,
        turn: i64,
        client: u16,
        model: u16,
        /// Bits 0-1 endpoint, 2-3 priority, 4 stream.
        shape: u8,
        input: u32,
        output_max: Option<u32>,
        deadline: Option<i64>,
    },
    /// An attempt was accepted.
    FirstByte { after: u64, attempt: AttemptRecord },
    /// An attempt ended with 200 and its usage, and its answer said nothing else.
    Answered { after: u64, attempt: AttemptRecord, usage: UsageRecord },
    /// An attempt ended with this status, and its answer said nothing else.
    Status { after: u64, attempt: AttemptRecord, status: u16 },
    /// An attempt ended in any other way.
    Finished {
        after: u64,
        attempt: AttemptRecord,
        ending: EndingRecord,
        facts: FactsRecord,
        usage: Option<UsageRecord>,
    },
    /// A client went away.
    Cancelled { after: u64, request: i64 },
    /// An operator acted.
    Operator { after: u64, action: ActionRecord, author: String },
    /// The router was woken.
    Woke { after: u64 },
    /// The router was woken at the very time that the last wake-up in this frame asked for.
    WokeOnTime,

    /// An attempt is to be made.
    Dispatch { request: i64, attempt: AttemptRecord, deployment: u32, timeouts: TimeoutsRecord, why: WhyRecord },
    /// The client sees this attempt from here on.
    Relay { request: i64, attempt: AttemptRecord },
    /// Nobody waits for this attempt any more.
    Abandon { attempt: AttemptRecord },
    /// A request ended with a plain 200.
    CloseAnswered { request: i64, attempts: u16, spend: i64 },
    /// A request ended in any other way.
    Close { request: i64, verdict: Box<VerdictRecord> },
    /// The router wants to be woken so long after the last input.
    WakeAt { after: i64 },
    /// The router wants not to be woken.
    WakeNever,

    /// A process began to write here.
    Opened { after: u64, wall: u64, router: BeginningRecord },
    /// It ended in order.
    Closed { after: u64 },
    /// The router's whole state, and what was in flight.
    Checkpoint { after: u64, state_hash: u64, requests: Vec<u64>, attempts: Vec<u64>, snapshot: Bytes },
    /// So many events were decided but could not be written. A checkpoint follows in the same frame.
    Gap { after: u64, events: u64, since: u64 },
    /// Under which boot is written, and how much of every limit may be at stake, in parts per million.
    Boot { after: u64, id: Option<u128>, at_risk: u32 },
}

/// With what a process begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum BeginningRecord {
    /// A new router's snapshot.
    New(Bytes),
    /// The state hash of one that was rebuilt.
    Carried(u64),
}

/// Bytes, written and read as one piece: postcard gives them the bytes of a sequence of `u8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(|bytes| Self(bytes.to_vec()))
    }
}

/// An attempt's id, of which nothing is known but that routers like to build it from a small slot (the low half) and
/// a count (the high half). The slot is relative to the one seen last, the count to the last one seen with that slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AttemptRecord {
    pub(super) slot: i32,
    pub(super) count: i32,
}

/// The timeouts of a dispatch. In a mask, bits 0 to 3 are connect, first byte, idle and total; what a mask leaves out
/// is as in the last [`TimeoutsRecord::Explicit`] of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TimeoutsRecord {
    /// All as last said in full.
    Usual,
    /// Those in the mask end at the deadline of the last arrival.
    UntilDeadline { mask: u8 },
    /// Those in the mask are this long.
    Cut { mask: u8, length: Nanos },
    /// In full.
    Explicit { connect: Nanos, first_byte: Nanos, idle: Nanos, total: Nanos },
}

/// How a request ended for its client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VerdictRecord {
    pub(super) outcome: OutcomeRecord,
    pub(super) status: u16,
    pub(super) retry_after: Option<Nanos>,
    pub(super) attempts: u16,
    pub(super) spend: i64,
    pub(super) causes: Vec<TierCauseRecord>,
    pub(super) foreign: Option<ForeignRecord>,
}

/// What was wrong with one tier; `until` is relative to the last input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TierCauseRecord {
    pub(super) tier: u16,
    pub(super) usable: u32,
    pub(super) total: u32,
    pub(super) cause: CauseRecord,
    pub(super) until: Option<i64>,
}
