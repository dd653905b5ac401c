//! What the router remembers of everyone: requests, attempts, and the owners of quota, health and money.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use super::budget::Purse;
use super::cooldown::Cooldown;
use super::health::Health;
use super::ids::{DeploymentId, ModelId, RequestId};
use super::input::{Endpoint, TokenEstimate};
use super::knobs::Knobs;
use super::latency::Latency;
use super::output::Cause;
use super::plan::{Place, Way};
use super::quota::{Charging, Reservation};
use super::retry::RetryBudget;
use super::settings::Priority;
use super::spill::Trailing;
use super::time::{Duration, Timestamp};
use super::units::Usd;
use super::waiting::{Kind, LaneId, Urgency};
use super::window::Window;

/// A request that has no outcome yet. With thousands of them what costs is how many lines of a cache its end touches:
/// what it needs then comes first, and is one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[repr(C, align(64))]
pub(super) struct Request {
    pub(super) id: RequestId,
    pub(super) stage: Stage,
    pub(super) spend: Usd,
    pub(super) deadline: Timestamp,
    /// Whether a slot holds a request shows in the first field that has many bits to spare: in this line, too.
    pub(super) tokens: TokenEstimate,
    pub(super) attempts: u16,
    pub(super) priority: Priority,
    pub(super) endpoint: Endpoint,
    pub(super) stream: bool,
    /// `None` when new settings do not know its model any more.
    pub(super) model: Option<ModelId>,
    /// Arena index of its client.
    pub(super) client: u32,
    /// The model's tiers that take such a prompt.
    pub(super) suited: u32,
    /// The model's tiers that it has been on.
    pub(super) tried: u32,
    /// Grows whenever it stops waiting, so that old places and timers find out that they are stale.
    pub(super) ticket: u32,
    pub(super) arrived: Timestamp,
    /// Since when it has wanted to start its next attempt.
    pub(super) since: Timestamp,
    /// Its next review, while it waits.
    pub(super) review: Timestamp,
    pub(super) failures: Failures,
}

impl Failures {
    /// Until when the request leaves this node alone, if it has just failed there.
    pub(super) fn back_until(&self, node: u32) -> Option<Timestamp> {
        (self.in_row > 0 && self.node == node).then_some(self.back_until)
    }

    /// The key that the last attempt failed on.
    pub(super) fn key(&self) -> Option<u32> {
        self.last.map(|(_, key)| key)
    }
}

/// How a request's attempts have failed.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Failures {
    /// Those that count against the limits on attempts.
    pub(super) charged: u16,
    pub(super) overload: u16,
    pub(super) server: u16,
    pub(super) rate: u16,
    pub(super) auth: u16,
    /// How often in a row it has failed on this node, and until when it leaves that alone.
    pub(super) in_row: u16,
    pub(super) node: u32,
    pub(super) back_until: Timestamp,
    /// Class of the last failure, and the key that it was on: another is taken if there is one.
    pub(super) last: Option<(Cause, u32)>,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// It is being decided on.
    Deciding,
    /// It waits for something of its own: a back-off, a budget.
    Parked,
    /// It waits for capacity.
    Waiting(LaneId),
    /// Its attempt is in flight.
    Running,
    /// The client sees its attempt.
    Relayed,
}

/// An attempt that has not been reported as finished: one line of a cache. A request has one at most, in the slot of the
/// same number.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[repr(align(64))]
pub(super) struct Attempt {
    /// Whose it is, in flight or gone.
    pub(super) id: RequestId,
    pub(super) dispatched: Timestamp,
    /// When it was counted as accepted; [`Timestamp::MAX`] before.
    pub(super) accepted: Timestamp,
    pub(super) reserved: Usd,
    pub(super) quota: Reservation,
    /// Which way, in the register.
    pub(super) way: u32,
    /// Arena index of the client whose money it may cost.
    pub(super) client: u32,
    /// Which scopes it probes.
    pub(super) probes: Probes,
    pub(super) marks: Marks,
    pub(super) stream: bool,
}

/// An attempt that is being looked at, with where it went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    attempt: Attempt,
    pub(super) place: Place,
    /// What the settings of that time call it.
    pub(super) deployment: DeploymentId,
    /// Arena index of the tier whose money it may cost.
    pub(super) tier: u32,
    /// Its price, in the register.
    pub(super) price: u32,
}

impl Sent {
    /// `way` is the attempt's.
    pub(super) fn new(attempt: Attempt, way: Way) -> Self {
        let Way { place, deployment, tier, price } = way;
        Self { attempt, place, deployment, tier, price }
    }
}

impl Deref for Sent {
    type Target = Attempt;

    fn deref(&self) -> &Attempt {
        &self.attempt
    }
}

impl Attempt {
    /// Whether it was counted as accepted.
    pub(super) fn is_accepted(&self) -> bool {
        self.accepted < Timestamp::MAX
    }
}

macro_rules! sets {
    ($($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident = $bit:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub(super) struct $name(u8);

        impl $name {
            pub(super) const NONE: Self = Self(0);
            $($(#[$member_doc])* pub(super) const $member: Self = Self(1 << $bit);)*

            /// These and those.
            pub(super) fn with(self, others: Self) -> Self {
                Self(self.0 | others.0)
            }

            /// Whether any of those is among these.
            pub(super) fn has(self, others: Self) -> bool {
                self.0 & others.0 != 0
            }
        }
    )*};
}

sets! {
    /// The scopes whose probe an attempt is.
    Probes {
        KEY = 0,
        QUOTA = 1,
        PROVIDER = 2,
        NODE = 3,
        /// Asks whether failed calls count.
        CHARGING = 4,
    }
    /// What is true of an attempt.
    Marks {
        FIRST_BYTE = 0,
        /// It passed its quota only because failed calls were taken not to count.
        CONTESTED = 1,
        /// Its end may be lost although its answer was whole: it was in flight when the power failed.
        PERHAPS_ANSWERED = 2,
    }
}

impl Probes {
    /// These but for those.
    pub(super) fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether the attempt is a probe of anything.
    pub(super) fn any(self) -> bool {
        self != Self::NONE
    }
}

/// A credential.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct KeyState {
    pub(super) cooldown: Cooldown,
    /// An operator drains it until then.
    pub(super) drained: Timestamp,
}

/// A key serving one upstream model.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Site {
    pub(super) in_flight: u32,
    /// Moving mean of its answers' latency.
    pub(super) latency: Duration,
    pub(super) last_success: Option<Timestamp>,
    pub(super) last_failure: Option<Timestamp>,
    pub(super) failed_in_row: u32,
}

/// One upstream model and kind of call.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) health: Health,
    /// Time to the end of an answer, and to the first byte of a stream.
    pub(super) whole: Latency,
    pub(super) first_byte: Latency,
    pub(super) retries: RetryBudget,
    pub(super) charging: Charging,
    pub(super) in_flight: u32,
}

/// A tier's money, demand and orders.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct TierState {
    pub(super) purse: Purse,
    pub(super) skipped: Timestamp,
    pub(super) pinned: Timestamp,
    /// Requests that wanted it first.
    pub(super) demand: Trailing,
    /// Requests whose model leads to it at all.
    pub(super) reach: Trailing,
    pub(super) starved: bool,
    /// When `starved` is worth computing anew.
    pub(super) starved_until: Timestamp,
    /// Requests per minute over all its projects, where limited.
    pub(super) nominal_rpm: Option<u32>,
    /// The deployment used last, for `round-robin`.
    pub(super) cursor: u32,
}

/// A client's money and rate.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct ClientState {
    pub(super) purse: Purse,
    pub(super) window: Window,
}

impl Request {
    /// What it has in common with others that wait; `None` when its model is gone.
    pub(super) fn kind(&self) -> Option<Kind> {
        self.model.map(|model| Kind { model, endpoint: self.endpoint, suited: self.suited })
    }

    /// How urgent it is.
    pub(super) fn urgency(&self) -> Urgency {
        Urgency::new(self.priority, self.deadline, self.id)
    }

    /// Whether it waits for something.
    pub(super) fn waits(&self) -> bool {
        matches!(self.stage, Stage::Parked | Stage::Waiting(_))
    }
}

impl KeyState {
    /// Whether nothing is in the way of its use.
    #[inline]
    pub(super) fn is_plain(&self, now: Timestamp) -> bool {
        self.cooldown.is_none() && self.drained <= now
    }
}

impl Node {
    /// The latency that a deadline governs: of the first byte on a stream, of the whole answer otherwise.
    pub(super) fn latency(&self, stream: bool) -> &Latency {
        if stream { &self.first_byte } else { &self.whole }
    }

    /// The same, to learn from.
    pub(super) fn latency_mut(&mut self, stream: bool) -> &mut Latency {
        if stream { &mut self.first_byte } else { &mut self.whole }
    }
}

impl Site {
    /// A good answer came after so long.
    pub(super) fn succeeded(&mut self, now: Timestamp, after: Duration) {
        self.last_success = Some(now);
        self.failed_in_row = 0;
        let mean = self.latency.as_nanos();
        self.latency = if mean == 0 { after } else { Duration::from_nanos(mean - mean / 5 + after.as_nanos() / 5) };
    }

    /// A failure that may be the key's.
    pub(super) fn failed(&mut self, now: Timestamp) {
        self.last_failure = Some(now);
        self.failed_in_row = self.failed_in_row.saturating_add(1);
    }
}

/// Whose doing an ambiguous failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The model's.
    Model,
    /// The key's.
    Key,
    /// Nobody can tell: half each.
    Unclear,
}

/// Infers it from what the other keys of the model saw inside `scope.window`: `sites` are all of them, `failed` the one
/// whose failure is asked about, already counted.
pub(super) fn infer_fault<'a>(
    now: Timestamp,
    failed: &Site,
    sites: impl Iterator<Item = &'a Site>,
    knobs: &Knobs,
) -> Fault {
    let recent = |at: Option<Timestamp>| at.is_some_and(|at| now.since(at) <= knobs.scope_window);
    let (mut bad, mut good, mut others_good) = (0u32, 0u32, 0u32);
    for site in sites {
        bad += u32::from(recent(site.last_failure));
        good += u32::from(recent(site.last_success));
        others_good += u32::from(recent(site.last_success) && !std::ptr::eq(site, failed));
    }
    let seen = f64::from(bad + good).max(1.0);
    if bad >= knobs.scope_distinct_keys && f64::from(bad) / seen > knobs.trip_ratio {
        Fault::Model
    } else if knobs.trip_consecutive > 0 && failed.failed_in_row >= knobs.trip_consecutive && others_good >= 2 {
        Fault::Key
    } else {
        Fault::Unclear
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(failed: bool, succeeded: bool, in_row: u32) -> Site {
        let at = |yes: bool| yes.then_some(Timestamp::ZERO);
        Site { last_failure: at(failed), last_success: at(succeeded), failed_in_row: in_row, ..Site::default() }
    }

    #[test]
    fn what_is_kept_of_a_call_stays_small() {
        assert_eq!(size_of::<Option<Attempt>>(), 64);
        assert_eq!(size_of::<Option<Request>>(), 128);
        assert!(std::mem::offset_of!(Request, stream) < 64, "what its end needs is in one line");
    }

    #[test]
    fn faults_are_told_apart_by_what_the_other_keys_saw() {
        let knobs = Knobs::default();
        let now = Timestamp::ZERO + Duration::from_secs(10);
        let fault = |sites: &[Site]| infer_fault(now, &sites[0], sites.iter(), &knobs);
        let good = site(false, true, 0);
        assert_eq!(fault(&[site(true, false, 1), site(true, false, 1), good, good]), Fault::Model);
        assert_eq!(fault(&[site(true, false, 5), good, good, good]), Fault::Key);
        assert_eq!(fault(&[site(true, false, 5), good]), Fault::Unclear, "one other key is no evidence");
        assert_eq!(fault(&[site(true, false, 1), good, good]), Fault::Unclear);
        let late = Timestamp::ZERO + Duration::from_secs(100);
        let old = [site(true, false, 5), good, good];
        assert_eq!(infer_fault(late, &old[0], old.iter(), &knobs), Fault::Unclear, "all that is too long ago");
    }
}
