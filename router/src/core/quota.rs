//! The quota of one project for one upstream model, as we count it: requests and tokens of the last minute, requests
//! of the quota day, and limits that the provider taught us.
//!
//! Everything is reserved at dispatch and put right when the attempt ends. What we count is what we sent; what others
//! spend from the same project shows only in refusals.

use serde::{Deserialize, Serialize};

use super::cooldown::Cooldown;
use super::facts::{Violation, Violations};
use super::knobs::ChargeErrors;
use super::output::Cause;
use super::settings::Limits;
use super::time::{Duration, Timestamp};
use super::window::{Charge, Tally, Window};

/// How limits are read, for all quotas of one router.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Length of the minute window, guard included.
    pub(super) window: Duration,
    /// The running quota day.
    pub(super) day: u32,
    /// When it ends.
    pub(super) day_ends: Timestamp,
}

/// One project's quota for one upstream model and kind of call.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Quota {
    configured: Limits,
    learnt: Learnt,
    /// Share of every limit that is never used.
    margin: f64,
    /// What follows from these three.
    usable: Usable,
    parts: Parts,
    window: Window,
    day: Day,
    /// Hard facts about this project and model.
    pub(super) cooldown: Cooldown,
    /// When errors that may not count may be tried again with one marked probe.
    pub(super) next_learning: Timestamp,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Learnt {
    rpm: Option<u32>,
    tpm: Option<u32>,
    rpd: Option<u32>,
}

/// The limits that are believed, less the margin.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Usable {
    rpm: Option<u32>,
    tpm: Option<u32>,
    rpd: Option<u32>,
}

/// Which part of its limit one request or token is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Parts {
    rpm: f64,
    tpm: f64,
    rpd: f64,
}

/// Requests of one quota day.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Day {
    number: u32,
    charged: u32,
    errored: u32,
    /// How often the count was begun anew: with each day, and whenever an operator has said what is used.
    book: u32,
}

/// A dispatched attempt's share of a quota.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Reservation {
    sequence: u32,
    book: u32,
    tokens: u32,
}

impl Reservation {
    /// Tokens that were estimated.
    pub(super) fn tokens(&self) -> u64 {
        self.tokens.into()
    }
}

/// Whether a quota has room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Room {
    /// It has.
    Free {
        /// `min(rpm left, tpm left) / limit + rpd left / limit`: 2 when untouched or unlimited.
        headroom: f64,
        /// Tokens of the longest call that still fits.
        tokens_left: u64,
    },
    /// It has not.
    Full {
        /// When it will, without sends to come.
        until: Timestamp,
        /// Which limit binds.
        cause: Cause,
        /// Used and limit.
        count: (u32, u32),
    },
}

impl Quota {
    /// Takes over what the settings say; what was learnt stays.
    pub(super) fn configure(&mut self, limits: Limits, margin: f64) {
        (self.configured, self.margin) = (limits, margin);
        self.review_limits();
    }

    fn review_limits(&mut self) {
        let Self { configured, learnt, margin, .. } = *self;
        let usable = |learnt: Option<u32>, configured| usable(learnt.or(configured), margin);
        self.usable = Usable {
            rpm: usable(learnt.rpm, configured.rpm),
            tpm: usable(learnt.tpm, configured.tpm),
            rpd: usable(learnt.rpd, configured.rpd),
        };
        let part = |limit: Option<u32>| 1.0 / f64::from(limit.unwrap_or(0).max(1));
        let Usable { rpm, tpm, rpd } = self.usable;
        self.parts = Parts { rpm: part(rpm), tpm: part(tpm), rpd: part(rpd) };
    }

    /// Requests per minute that may be sent, if limited.
    pub(super) fn rpm(&self) -> Option<u32> {
        self.usable.rpm
    }

    /// Requests per day that may be sent, if limited.
    pub(super) fn rpd(&self) -> Option<u32> {
        self.usable.rpd
    }

    /// Tokens per minute that may be sent, if limited.
    pub(super) fn tpm(&self) -> Option<u32> {
        self.usable.tpm
    }

    /// Whether a call of so many tokens may be sent now. A call larger than the whole token limit may be sent into an
    /// empty window: its size is an estimate, and the provider's verdict a fact.
    pub(super) fn room(&mut self, now: Timestamp, tokens: u32, count_errors: bool, rules: &Rules) -> Room {
        match self.free(now, tokens, count_errors, rules) {
            Some((headroom, tokens_left)) => Room::Free { headroom, tokens_left },
            None => {
                let (until, cause, count) = self.full(tokens, count_errors, rules);
                Room::Full { until, cause, count }
            }
        }
    }

    /// The room that there is, as in [`Room::Free`].
    #[inline]
    pub(super) fn free(
        &mut self,
        now: Timestamp,
        tokens: u32,
        count_errors: bool,
        rules: &Rules,
    ) -> Option<(f64, u64)> {
        self.window.expire(now, rules.window);
        let used = self.window.used(count_errors);
        let (Usable { rpm, tpm, rpd }, parts) = (self.usable, &self.parts);
        let (mut minute_left, mut tokens_left, mut day_left) = (1.0, u64::MAX, 1.0);
        if let Some(limit) = rpm {
            if used.requests >= limit {
                return None;
            }
            minute_left = 1.0 - f64::from(used.requests) * parts.rpm;
        }
        if let Some(limit) = tpm {
            tokens_left = u64::from(limit).saturating_sub(used.tokens);
            if tokens_left < u64::from(tokens.min(limit)) {
                return None;
            }
            minute_left = f64::min(minute_left, 1.0 - used.tokens as f64 * parts.tpm);
        }
        if let Some(limit) = rpd {
            let today = self.used_today(count_errors, rules.day);
            if today >= limit {
                return None;
            }
            day_left = 1.0 - f64::from(today) * parts.rpd;
        }
        Some((minute_left + day_left, tokens_left))
    }

    /// What is in the way where [`Quota::free`] has just found no room: the fields of [`Room::Full`].
    pub(super) fn full(&self, tokens: u32, count_errors: bool, rules: &Rules) -> (Timestamp, Cause, (u32, u32)) {
        let used = self.window.used(count_errors);
        let Usable { rpm, tpm, rpd } = self.usable;
        let today = self.used_today(count_errors, rules.day);
        let (requests_full, day_full) =
            (rpm.is_some_and(|limit| used.requests >= limit), rpd.is_some_and(|limit| today >= limit));
        if day_full {
            let count = (today, rpd.unwrap_or(u32::MAX));
            return (rules.day_ends, Cause::RateDay, count);
        }
        let (cause, count) = if requests_full {
            (Cause::RateMinute, (used.requests, rpm.unwrap_or(u32::MAX)))
        } else {
            (Cause::TokensMinute, (used.tokens.min(u64::from(u32::MAX)) as u32, tpm.unwrap_or(u32::MAX)))
        };
        let requests = rpm.map_or(u32::MAX, |limit| limit.saturating_sub(1));
        let room = tpm.map_or(u64::MAX, |limit| u64::from(limit - tokens.min(limit)));
        let until = match rpm {
            // No request at all: only another limit can help, and none is known to come.
            Some(0) => Timestamp::MAX,
            Some(_) | None => self.window.room_at(requests, room, count_errors, rules.window),
        };
        (until, cause, count)
    }

    /// Whether a call that has no room if failed calls count has it if they do not.
    pub(super) fn has_room_but_for_errors(&mut self, now: Timestamp, tokens: u32, rules: &Rules) -> bool {
        self.has_errors(rules) && self.free(now, tokens, false, rules).is_some()
    }

    /// Whether a limit is reached if failed calls count: what is sent now asks the provider.
    pub(super) fn is_contested(&self, rules: &Rules) -> bool {
        self.has_errors(rules)
            && (self.usable.rpm.is_some_and(|limit| self.window.used(true).requests >= limit)
                || self.usable.rpd.is_some_and(|limit| self.used_today(true, rules.day) >= limit))
    }

    /// Whether it makes a difference if failed calls count.
    pub(super) fn has_errors(&self, rules: &Rules) -> bool {
        self.window.used(true) != self.window.used(false) || (self.day.number == rules.day && self.day.errored > 0)
    }

    /// When each send leaves the window, in order: between them time alone changes what [`Quota::room`] says only at the
    /// day's end.
    pub(super) fn leaving(&self, window: Duration) -> impl Iterator<Item = Timestamp> {
        self.window.leaving(window)
    }

    /// Whether tokens are limited, so that room is a matter of a call's length.
    pub(super) fn limits_tokens(&self) -> bool {
        self.usable.tpm.is_some()
    }

    /// Tokens of the last minute, as it was last looked at.
    pub(super) fn tokens_used(&self, count_errors: bool) -> u64 {
        self.window.used(count_errors).tokens
    }

    /// When the window has room again for one more request, by our own count.
    pub(super) fn window_edge(&self, now: Timestamp, rules: &Rules) -> Timestamp {
        let used = self.window.used(true);
        let requests = self.usable.rpm.map_or(used.requests, |limit| limit.min(used.requests));
        self.window.room_at(requests.saturating_sub(1), u64::MAX, true, rules.window).max(now)
    }

    /// Reserves one call.
    pub(super) fn reserve(&mut self, now: Timestamp, tokens: u32, rules: &Rules) -> Reservation {
        self.roll(rules.day);
        self.day.charged += 1;
        Reservation { sequence: self.window.push(now, tokens), book: self.day.book, tokens }
    }

    /// Puts a reservation right, and says whether that changed anything: `tokens` is what the provider counted, where it
    /// said.
    pub(super) fn settle(&mut self, reservation: Reservation, tokens: Option<u32>, charge: Charge) -> bool {
        let tokens = tokens.unwrap_or(reservation.tokens);
        // Most calls end as they were reserved.
        if charge == Charge::Charged && tokens == reservation.tokens {
            return false;
        }
        let changed = self.window.settle(reservation.sequence, tokens, charge);
        if reservation.book != self.day.book || charge == Charge::Charged {
            return changed;
        }
        self.day.charged -= 1;
        if charge == Charge::Errored {
            self.day.errored += 1;
        }
        true
    }

    /// Requests of the running day that count.
    pub(super) fn used_today(&self, count_errors: bool, day: u32) -> u32 {
        match (self.day.number == day, count_errors) {
            (false, _) => 0,
            (true, true) => self.day.charged + self.day.errored,
            (true, false) => self.day.charged,
        }
    }

    /// What counts of the last minute.
    pub(super) fn used_minute(&self, now: Timestamp, count_errors: bool, length: Duration) -> Tally {
        let mut window = self.window.clone();
        window.expire(now, length);
        window.used(count_errors)
    }

    /// An operator's word on what is used. It covers what is in flight: no refund of that lowers it.
    pub(super) fn set_used_today(&mut self, requests: u32, day: u32) {
        self.day = Day { number: day, charged: requests, errored: 0, book: self.day.book.wrapping_add(1) };
    }

    /// Believes the configured limits again.
    pub(super) fn forget_learnt(&mut self) {
        self.learnt = Learnt::default();
        self.review_limits();
    }

    /// Takes limits from an error body, where they differ from what is believed; tells `learnt` each that is new.
    /// Where limits are to be learnt from errors alone, a quota that is named without its value is taken to be what we
    /// had used.
    pub(super) fn learn(&mut self, violations: &Violations, mut learnt: impl FnMut(Cause, u32)) {
        let used = self.window.used(true);
        let guess = |known: Option<u32>, used: u64| {
            (self.configured.learn && known.is_none()).then(|| used.clamp(1, u64::from(u32::MAX)) as u32)
        };
        let limits = [
            (
                violations.requests_minute,
                Cause::RateMinute,
                self.learnt.rpm.or(self.configured.rpm),
                used.requests.into(),
            ),
            (violations.tokens_minute, Cause::TokensMinute, self.learnt.tpm.or(self.configured.tpm), used.tokens),
            (violations.requests_day, Cause::RateDay, self.learnt.rpd.or(self.configured.rpd), u64::MAX),
        ];
        let found = limits.map(|(violation, cause, known, used)| match violation {
            Violation::Limit(limit) if limit > 0 && known != Some(limit) => Some((cause, limit)),
            Violation::Unvalued if used < u64::MAX => guess(known, used).map(|limit| (cause, limit)),
            Violation::None | Violation::Unvalued | Violation::Limit(_) => None,
        });
        for (slot, found) in [&mut self.learnt.rpm, &mut self.learnt.tpm, &mut self.learnt.rpd].into_iter().zip(found) {
            if let Some((cause, limit)) = found {
                *slot = Some(limit);
                learnt(cause, limit);
            }
        }
        self.review_limits();
    }

    fn roll(&mut self, day: u32) {
        if self.day.number != day {
            self.day = Day { number: day, charged: 0, errored: 0, book: self.day.book.wrapping_add(1) };
        }
    }
}

/// A limit less its margin, rounded down to whole units withheld.
fn usable(limit: Option<u32>, margin: f64) -> Option<u32> {
    limit.map(|limit| limit - ((f64::from(limit) * margin) as u32).min(limit))
}

/// Whether failed calls consume an upstream model's quota, as far as is known.
///
/// While it is not known they are taken to count: that wastes quota and never sends a call that comes back as 429. One
/// marked probe per project and hour then asks. Two good answers without a contradiction are believed; one refusal
/// where only failed calls could have filled the quota turns the belief round at once.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Charging {
    /// Answers that should not have come if failed calls counted, since the last contradiction.
    free_votes: u8,
}

impl Charging {
    const BELIEVED: u8 = 2;

    /// Whether failed calls are taken to count.
    pub(super) fn counts(self, knob: ChargeErrors) -> bool {
        match knob {
            ChargeErrors::Yes => true,
            ChargeErrors::No => false,
            ChargeErrors::Learn => self.free_votes < Self::BELIEVED,
        }
    }

    /// A contested call was answered, or refused for its quota.
    pub(super) fn vote(&mut self, answered: bool) {
        self.free_votes = if answered { self.free_votes.saturating_add(1).min(Self::BELIEVED) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules =
        Rules { window: Duration::from_secs(60), day: 0, day_ends: Timestamp::from_nanos(86_400_000_000_000) };

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    fn quota(rpm: u32, rpd: u32) -> Quota {
        let mut quota = Quota::default();
        quota.configure(Limits { rpm: Some(rpm), tpm: Some(1000), rpd: Some(rpd), learn: false }, 0.0);
        quota
    }

    fn is_full(room: Room) -> Option<(Timestamp, Cause)> {
        match room {
            Room::Full { until, cause, .. } => Some((until, cause)),
            Room::Free { .. } => None,
        }
    }

    #[test]
    fn each_limit_binds_with_its_own_cause_and_time() {
        let mut quota = quota(2, 3);
        quota.reserve(at(0), 100, &RULES);
        assert_eq!(is_full(quota.room(at(1), 901, true, &RULES)), Some((at(60), Cause::TokensMinute)));
        quota.reserve(at(10), 100, &RULES);
        assert_eq!(is_full(quota.room(at(11), 1, true, &RULES)), Some((at(60), Cause::RateMinute)));
        quota.reserve(at(60), 100, &RULES);
        assert_eq!(is_full(quota.room(at(61), 1, true, &RULES)), Some((RULES.day_ends, Cause::RateDay)));
        let tomorrow = Rules { day: 1, ..RULES };
        assert_eq!(is_full(quota.room(at(121), 1, true, &tomorrow)), None);
    }

    #[test]
    fn what_was_reserved_is_given_back_on_its_own_day_only() {
        let mut quota = quota(5, 10);
        let refused = quota.reserve(at(0), 100, &RULES);
        quota.settle(refused, None, Charge::Void);
        assert_eq!((quota.used_today(true, 0), quota.used_minute(at(0), true, RULES.window)), (0, Tally::default()));
        let late = quota.reserve(at(1), 100, &RULES);
        let tomorrow = Rules { day: 1, ..RULES };
        quota.reserve(at(2), 100, &tomorrow);
        quota.settle(late, None, Charge::Void);
        assert_eq!(quota.used_today(true, 1), 1, "yesterday's refund is not today's");
    }

    #[test]
    fn failed_calls_count_only_where_they_are_taken_to() {
        let mut quota = quota(1, 10);
        let failed = quota.reserve(at(0), 10, &RULES);
        quota.settle(failed, None, Charge::Errored);
        assert!(is_full(quota.room(at(1), 10, true, &RULES)).is_some());
        assert!(quota.has_room_but_for_errors(at(1), 10, &RULES));
        assert!(matches!(quota.room(at(1), 10, false, &RULES), Room::Free { .. }));
    }

    #[test]
    fn limits_are_learnt_where_they_differ_and_forgotten_on_demand() {
        let mut quota = quota(5, 10);
        let violations = Violations { requests_minute: Violation::Limit(2), ..Violations::default() };
        let mut heard = Vec::new();
        quota.learn(&violations, |cause, limit| heard.push((cause, limit)));
        quota.learn(&violations, |cause, limit| heard.push((cause, limit)));
        assert_eq!(heard, [(Cause::RateMinute, 2)]);
        assert_eq!(quota.rpm(), Some(2));
        quota.forget_learnt();
        assert_eq!(quota.rpm(), Some(5));
    }

    #[test]
    fn an_unknown_limit_named_without_a_value_is_what_we_had_used() {
        let mut quota = Quota::default();
        quota.configure(Limits { learn: true, ..Limits::default() }, 0.0);
        for second in 0..3 {
            quota.reserve(at(second), 10, &RULES);
        }
        let violations = Violations { requests_minute: Violation::Unvalued, ..Violations::default() };
        quota.learn(&violations, |_, _| ());
        assert_eq!(quota.rpm(), Some(3));
    }

    #[test]
    fn the_margin_withholds_whole_units() {
        assert_eq!(usable(Some(5), 0.1), Some(5));
        assert_eq!(usable(Some(25), 0.1), Some(23));
        assert_eq!(usable(None, 0.1), None);
    }

    #[test]
    fn learning_believes_two_answers_and_one_refusal() {
        let mut charging = Charging::default();
        charging.vote(true);
        assert!(charging.counts(ChargeErrors::Learn));
        charging.vote(true);
        assert!(!charging.counts(ChargeErrors::Learn));
        charging.vote(false);
        assert!(charging.counts(ChargeErrors::Learn));
    }
}
