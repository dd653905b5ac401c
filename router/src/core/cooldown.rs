//! Cooldowns: a scope that is not used until a time, with the cause and where the time comes from.
//!
//! A cooldown that a rule of ours inferred ends half-open: a bounded number of probes pass, a good one closes it, a bad
//! one reopens it for longer, one that says nothing gives its slot back, and a slot that nobody gives back times out.
//! A provider's own word ends when it says. Where the provider contradicted itself, one early probe may overturn it.
//!
//! Providers refuse within moments. So a probe of a scope that was refused opens it as soon as it counts as accepted
//! (`health.accept_after`), and nobody who could wait so long is turned away meanwhile. A fault may take its time to show:
//! only an answer refutes it, and only an answer ends a row of cooldowns.

use serde::{Deserialize, Serialize};

use super::observer::Provenance;
use super::output::Cause;
use super::time::{Duration, Timestamp};

/// The cooldown of one scope; the default is none.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Cooldown {
    until: Timestamp,
    cause: Cause,
    provenance: Provenance,
    /// Cooldowns in a row: what the growth counts.
    streak: u16,
    /// When it was imposed, and the one before it in the row.
    since: Timestamp,
    before: Timestamp,
    /// Whether it ends half-open.
    half_open: bool,
    /// Probes in flight, and when their slots are given up for lost.
    probes: u16,
    probes_expire: Timestamp,
    /// From when one probe may contradict it.
    early: Option<Timestamp>,
}

/// Whether a scope lets an attempt pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// It does.
    Open,
    /// It does if the attempt is marked as a probe.
    Probe,
    /// Not before this time.
    Closed(Timestamp, Cause),
}

/// One cooldown to impose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sentence {
    /// Until when; [`Timestamp::MAX`] for retired.
    pub(super) until: Timestamp,
    /// Why.
    pub(super) cause: Cause,
    /// Where the time comes from.
    pub(super) provenance: Provenance,
    /// Whether it ends half-open.
    pub(super) half_open: bool,
    /// From when one probe may contradict it.
    pub(super) early: Option<Timestamp>,
    /// The number of cooldowns in a row that it makes.
    pub(super) streak: u16,
}

impl Cooldown {
    /// Whether an attempt may pass at `now`, with at most `concurrent` probes at once.
    pub(super) fn gate(&self, now: Timestamp, concurrent: u32) -> Gate {
        if self.cause == Cause::None {
            return Gate::Open;
        }
        let slot_free = u32::from(self.probes) < concurrent || now >= self.probes_expire;
        if now < self.until {
            return match self.early {
                Some(early) if early > now => Gate::Closed(early, self.cause),
                Some(_) if slot_free => Gate::Probe,
                Some(_) => Gate::Closed(self.probes_expire.min(self.until), self.cause),
                None => Gate::Closed(self.until, self.cause),
            };
        }
        match (self.half_open, slot_free) {
            (false, _) => Gate::Open,
            (true, true) => Gate::Probe,
            (true, false) => Gate::Closed(self.probes_expire, self.cause),
        }
    }

    /// Whether nothing is held against the scope, however long ago.
    #[inline]
    pub(super) fn is_none(&self) -> bool {
        self.cause == Cause::None
    }

    /// When time alone may change what [`Cooldown::gate`] says at `now`.
    #[inline]
    pub(super) fn changes_at(&self, now: Timestamp) -> Timestamp {
        if self.cause == Cause::None {
            return Timestamp::MAX;
        }
        let ahead = [self.until, self.early.unwrap_or_default(), self.probes_expire].into_iter();
        ahead.filter(|at| *at > now).min().unwrap_or(Timestamp::MAX)
    }

    /// Why it rests and until when, while it does.
    pub(super) fn active(&self, now: Timestamp) -> Option<(Timestamp, Cause, Provenance)> {
        (self.cause != Cause::None && now < self.until).then_some((self.until, self.cause, self.provenance))
    }

    /// Whether only soft facts speak against the scope: panic may ignore them, and no others.
    pub(super) fn is_soft(&self) -> bool {
        matches!(self.cause, Cause::Server | Cause::Overload)
    }

    /// The number, counting from 1, of the cooldown that a call earns which was sent at `sent`. What was on its way when
    /// the last one came is of the same trouble, and repeats nothing.
    pub(super) fn next_in_row(&self, sent: Timestamp) -> u16 {
        if self.streak > 0 && sent < self.since { self.streak } else { self.streak.saturating_add(1) }
    }

    /// Imposes a cooldown and says whether it came into force: one that lasts longer stays.
    pub(super) fn impose(&mut self, now: Timestamp, sentence: Sentence) -> bool {
        let before = if sentence.streak > self.streak { self.since } else { self.before };
        (self.streak, self.before) = (sentence.streak, before);
        let stands = self.cause != Cause::None && self.until > now && self.until >= sentence.until;
        if stands && sentence.provenance != Provenance::Operator {
            return false;
        }
        // A day that was already doubted once is not doubted again by the same words.
        let doubted = self.cause == sentence.cause && now < self.until && self.early.is_none();
        *self = Self {
            until: sentence.until,
            cause: sentence.cause,
            provenance: sentence.provenance,
            half_open: sentence.half_open,
            early: if doubted { None } else { sentence.early },
            streak: sentence.streak,
            since: now,
            before,
            probes: self.probes,
            probes_expire: self.probes_expire,
        };
        true
    }

    /// A probe is on its way. It counts as accepted at `accepted` and is lost at `lost`; its slot times out at what
    /// comes first of that which would prove the scope well.
    pub(super) fn probe_sent(&mut self, now: Timestamp, accepted: Timestamp, lost: Timestamp) {
        if now >= self.probes_expire {
            self.probes = 0;
        }
        self.probes = self.probes.saturating_add(1);
        let expires = if self.is_refusal() { accepted.min(lost) } else { lost };
        self.probes_expire = self.probes_expire.max(expires);
    }

    /// Whether the provider refuses calls to the scope, which it does at once, if at all.
    pub(super) fn is_refusal(&self) -> bool {
        self.cause != Cause::Server
    }

    /// A probe that was sent at `sent` was accepted: the scope is open from `now` on. Says whether that stands.
    pub(super) fn probe_accepted(&mut self, sent: Timestamp, now: Timestamp) -> bool {
        self.probe_returned();
        if self.outdates(sent) {
            return false;
        }
        (self.until, self.half_open, self.early) = (self.until.min(now), false, None);
        true
    }

    /// A probe that was sent at `sent` was answered: all is well. Says whether that stands.
    pub(super) fn probe_answered(&mut self, sent: Timestamp) -> bool {
        if self.outdates(sent) {
            self.probe_returned();
            return false;
        }
        self.clear();
        true
    }

    /// Whether the provider or an operator has spoken since a probe was sent.
    fn outdates(&self, sent: Timestamp) -> bool {
        self.provenance != Provenance::Inferred && sent < self.since
    }

    /// The probe came back and said nothing: its slot is free.
    pub(super) fn probe_returned(&mut self) {
        self.probes = self.probes.saturating_sub(1);
    }

    /// The probe failed: there will be no other early one, and a half-open scope waits for the next sentence.
    pub(super) fn probe_failed(&mut self) {
        self.probe_returned();
        self.early = None;
    }

    /// All is well: a probe was answered, or an operator says so.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A retired scope is configured anew.
    pub(super) fn revive(&mut self) {
        if self.until == Timestamp::MAX {
            self.clear();
        }
    }

    /// A good answer to a call that was sent at `sent`. On a scope that rests no more, the next cooldown is a first one
    /// again; on one that rests, the last is the first of its row if the call was sent after the one before.
    pub(super) fn succeeded(&mut self, sent: Timestamp, now: Timestamp) {
        if self.cause == Cause::None {
            return;
        }
        if now >= self.until && !self.half_open {
            self.clear();
        } else if sent >= self.before {
            self.streak = self.streak.min(1);
        }
    }
}

impl Default for Cooldown {
    fn default() -> Self {
        Self {
            until: Timestamp::ZERO,
            cause: Cause::None,
            provenance: Provenance::Inferred,
            streak: 0,
            since: Timestamp::ZERO,
            before: Timestamp::ZERO,
            half_open: false,
            probes: 0,
            probes_expire: Timestamp::ZERO,
            early: None,
        }
    }
}

/// The length of the `streak`-th cooldown in a row: `base * growth^(streak-1)`, at most `max`, and equal-jittered: half
/// of it for certain, the rest by `chance`, a uniform number in [0, 1).
pub(super) fn growing(base: Duration, growth: f64, max: Duration, streak: u16, chance: f64) -> Duration {
    let steps = f64::from(streak.saturating_sub(1));
    let length = base.mul_f64(libm::pow(growth, steps)).min(max.max(base));
    length.mul_f64(0.5 + 0.5 * chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    fn sentence(until: u64, cause: Cause, half_open: bool) -> Sentence {
        Sentence { until: at(until), cause, provenance: Provenance::Inferred, half_open, early: None, streak: 1 }
    }

    #[test]
    fn a_half_open_scope_lets_exactly_one_probe_pass_and_a_lost_slot_times_out() {
        let mut cooldown = Cooldown::default();
        assert!(cooldown.impose(at(0), sentence(5, Cause::Server, true)));
        assert_eq!(cooldown.gate(at(4), 1), Gate::Closed(at(5), Cause::Server));
        assert_eq!(cooldown.gate(at(5), 1), Gate::Probe);
        cooldown.probe_sent(at(5), at(9), at(65));
        assert_eq!(cooldown.gate(at(6), 1), Gate::Closed(at(65), Cause::Server));
        assert_eq!(cooldown.gate(at(6), 2), Gate::Probe);
        assert_eq!(cooldown.gate(at(65), 1), Gate::Probe, "nobody gave the slot back");
        cooldown.probe_returned();
        assert_eq!(cooldown.gate(at(6), 1), Gate::Probe, "an outcome that says nothing returns the slot");
        cooldown.clear();
        assert_eq!(cooldown.gate(at(6), 1), Gate::Open);
    }

    #[test]
    fn a_contradicted_day_is_doubted_once() {
        let mut cooldown = Cooldown::default();
        let day = Sentence { early: Some(at(30)), ..sentence(1000, Cause::RateDay, false) };
        assert!(cooldown.impose(at(0), day));
        assert_eq!(cooldown.gate(at(29), 1), Gate::Closed(at(30), Cause::RateDay));
        assert_eq!(cooldown.gate(at(30), 1), Gate::Probe);
        cooldown.probe_sent(at(30), at(34), at(90));
        assert_eq!(cooldown.gate(at(31), 1), Gate::Closed(at(34), Cause::RateDay));
        cooldown.probe_failed();
        assert!(!cooldown.impose(at(31), Sentence { early: Some(at(61)), ..day }));
        assert_eq!(cooldown.gate(at(62), 1), Gate::Closed(at(1000), Cause::RateDay));
        assert_eq!(cooldown.gate(at(1000), 1), Gate::Open);
    }

    #[test]
    fn the_longer_cooldown_stays_unless_an_operator_speaks() {
        let mut cooldown = Cooldown::default();
        assert!(cooldown.impose(at(0), sentence(100, Cause::Auth, true)));
        assert!(!cooldown.impose(at(1), sentence(10, Cause::Server, true)));
        assert_eq!(cooldown.active(at(1)), Some((at(100), Cause::Auth, Provenance::Inferred)));
        let word = Sentence { provenance: Provenance::Operator, ..sentence(50, Cause::Operator, false) };
        assert!(cooldown.impose(at(2), word));
    }

    #[test]
    fn cooldowns_grow_to_their_cap_with_half_of_it_certain() {
        let second = Duration::from_secs(1);
        let lengths: Vec<u64> =
            (1..=5).map(|streak| growing(second, 2.0, Duration::from_secs(6), streak, 1.0).as_millis()).collect();
        assert_eq!(lengths, [1000, 2000, 4000, 6000, 6000]);
        assert_eq!(growing(second, 2.0, Duration::from_secs(6), 3, 0.0).as_millis(), 2000);
    }
}
