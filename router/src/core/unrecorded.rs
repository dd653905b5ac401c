//! What a power loss may take from the record, and how it is made up for.
//!
//! What a log is told reaches the disk a little later, and is forgotten when the power fails in between, though the
//! providers have counted it. So a driver lets only a share of every limit that outlasts the loss be at stake at a time:
//! the router says what each attempt that it dispatches puts [at stake](super::Route::stake), and what would be too
//! much waits for the disk before it leaves. After a power loss all of that share counts as used
//! ([`Action::PowerLost`](super::Action::PowerLost)): never less than what was spent, whatever the rate of calls and
//! however long a disk takes, and never more than the share.
//!
//! What has no limit needs no such care, and nothing of it is charged.

use serde::{Deserialize, Serialize};

use super::budget::Purse;
use super::ids::AttemptId;
use super::observer::{Note, Observer};
use super::quota::{Quota, Rules};
use super::router::{Router, Scene};
use super::slab::Handle;
use super::state::Marks;
use super::time::Timestamp;
use super::units::Usd;

/// The share of every limit that may be at stake, in parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AtRisk(u32);

/// A limit that is counted for long enough to matter after a power loss. Indexes are the router's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limited {
    /// Requests of one project for one upstream model.
    Requests(u32),
    /// Their tokens.
    Tokens(u32),
    /// Micro-dollars of a tier.
    Tier(u32),
    /// Micro-dollars of a client.
    Client(u32),
}

/// What one attempt takes of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stake {
    /// Of which.
    pub limited: Limited,
    /// So much at most.
    pub amount: u64,
    /// So much of it may be at stake in all.
    pub most: u64,
}

/// What the last power loss has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerLoss {
    /// The last moment on record before it.
    pub since: Timestamp,
    /// When it was made up for.
    pub at: Timestamp,
    /// Requests that were taken as used, of all quotas together.
    pub requests: u32,
    /// The most of them for one project and model.
    pub requests_each: u32,
    /// Money of tiers that was taken as spent.
    pub money: Usd,
    /// The quota day that was charged.
    day: u32,
}

impl AtRisk {
    /// Nothing may be.
    pub const NONE: Self = Self(0);

    /// From parts per million; more than all is all.
    pub const fn from_ppm(ppm: u32) -> Self {
        Self(if ppm > 1_000_000 { 1_000_000 } else { ppm })
    }

    /// In parts per million.
    pub const fn as_ppm(self) -> u32 {
        self.0
    }

    /// The part of an amount, rounded down.
    pub(super) fn of(self, whole: u64) -> u64 {
        (u128::from(whole) * u128::from(self.0) / 1_000_000) as u64
    }

    /// The part of a limit on requests. One request at least, or small limits would wait for the disk with every call.
    pub(super) fn requests_of(self, limit: u32) -> u32 {
        if self == Self::NONE { 0 } else { (self.of(limit.into()) as u32).max(1) }
    }

    fn money_of(self, budget: Usd) -> u64 {
        self.of(budget.as_micros().max(0).unsigned_abs())
    }
}

impl Router {
    /// What a dispatched attempt puts at stake, where it is limited.
    pub(super) fn stakes(&self, attempt: AttemptId, at_risk: AtRisk) -> [Option<Stake>; 4] {
        let attempt = Handle::unpack(attempt.get()).and_then(|handle| self.attempts.get(handle));
        let Some(attempt) = attempt.map(|attempt| self.register.sent(attempt)) else { return [None; 4] };
        let index = attempt.place.quota;
        let quota = &self.quotas[index as usize];
        let day = self.calendar.day();
        let money = |purse: &Purse, limited| {
            let most = at_risk.money_of(purse.budget(day)?);
            let amount = attempt.reserved.as_micros().max(0).unsigned_abs();
            (amount > 0).then_some(Stake { limited, amount, most })
        };
        let requests = quota.requests_at_risk(at_risk);
        let tokens = quota.tokens_at_risk(at_risk);
        [
            requests.map(|most| Stake { limited: Limited::Requests(index), amount: 1, most: most.into() }),
            tokens.map(|most| Stake { limited: Limited::Tokens(index), amount: attempt.quota.tokens(), most }),
            money(&self.tiers[attempt.tier as usize].purse, Limited::Tier(attempt.tier)),
            money(&self.clients[attempt.client as usize].purse, Limited::Client(attempt.client)),
        ]
    }

    /// Takes everything as used that may have been at stake when the power failed, some time after `since`.
    pub(super) fn charge_unrecorded<O: Observer>(
        &mut self,
        scene: &mut Scene<'_, O>,
        at_risk: AtRisk,
        since: Timestamp,
    ) {
        let (rules, day) = (self.rules(), self.calendar.day());
        let mut loss = PowerLoss { since, at: scene.now, requests: 0, requests_each: 0, money: Usd::ZERO, day };
        for quota in &mut self.quotas {
            let requests = quota.charge_unrecorded(scene.now, at_risk, &rules);
            loss.requests = loss.requests.saturating_add(requests);
            loss.requests_each = loss.requests_each.max(requests);
        }
        for tier in &self.plan.tiers {
            loss.money += charge(&mut self.tiers[tier.owner as usize].purse, at_risk, day);
        }
        for client in &self.plan.clients {
            charge(&mut self.clients[*client as usize].purse, at_risk, day);
        }
        // Of an attempt that was in flight even the end may be lost: its answer may have come whole, and is paid for.
        for attempt in self.attempts.iter_mut() {
            attempt.marks = attempt.marks.with(Marks::PERHAPS_ANSWERED);
        }
        self.power_lost = Some(loss);
        scene.tell(|| Note::PowerLost { loss });
    }

    /// The last power loss, while what it has cost still counts.
    pub fn power_lost(&self) -> Option<PowerLoss> {
        self.power_lost.filter(|loss| loss.day == self.calendar.day())
    }
}

/// Takes from a purse what may have been spent unseen; says how much that is.
fn charge(purse: &mut Purse, at_risk: AtRisk, day: u32) -> Usd {
    let most = purse.budget(day).map_or(0, |budget| at_risk.money_of(budget));
    purse.charge_unseen(Usd::from_micros(most as i64), day)
}

impl Quota {
    /// Requests that may be at stake, if they are limited: of the stricter limit, be it of a minute or of a day.
    fn requests_at_risk(&self, at_risk: AtRisk) -> Option<u32> {
        let limits = [self.rpm(), self.rpd()];
        limits.into_iter().flatten().min().map(|limit| at_risk.requests_of(limit))
    }

    /// Tokens of a minute that may be at stake, if they are limited.
    fn tokens_at_risk(&self, at_risk: AtRisk) -> Option<u64> {
        self.tpm().map(|limit| at_risk.of(limit.into()))
    }

    /// Takes as used what may have been at stake, and says how many requests that are. No more than the day had left:
    /// nobody would have sent them.
    fn charge_unrecorded(&mut self, now: Timestamp, at_risk: AtRisk, rules: &Rules) -> u32 {
        let requests = self.requests_at_risk(at_risk);
        let tokens = self.tokens_at_risk(at_risk);
        let left = self.rpd().map_or(u32::MAX, |limit| {
            // Where failed calls are taken not to count, fewer are counted.
            limit.saturating_sub(self.used_today(false, rules.day))
        });
        // Without a limit on requests there are still tokens to take, with one call.
        let requests = requests.unwrap_or(u32::from(tokens.is_some())).min(left);
        let tokens = u32::try_from(tokens.unwrap_or(0)).unwrap_or(u32::MAX);
        for number in 0..requests {
            let part = if number == 0 { tokens } else { 0 };
            self.reserve(now, part, rules);
        }
        requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_down_but_for_the_one_request_that_every_limit_has() {
        let at_risk = AtRisk::from_ppm(50_000);
        assert_eq!([5, 25, 1_000].map(|limit| at_risk.requests_of(limit)), [1, 1, 50]);
        assert_eq!(at_risk.of(250_000), 12_500);
        assert_eq!(at_risk.of(u64::MAX), u64::MAX / 20);
        assert_eq!(at_risk.money_of(Usd::from_micros(-1)), 0);
        assert_eq!(AtRisk::NONE.requests_of(1_000), 0);
        assert_eq!(AtRisk::from_ppm(u32::MAX).of(7), 7);
    }
}
