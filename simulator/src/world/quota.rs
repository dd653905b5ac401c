//! True quota: sliding minute windows and a day count, for requests and input tokens.

use std::collections::VecDeque;

use stormproof_router::core::{Duration, Timestamp};

use super::spec::Quota;
use super::wording::Exceeded;

/// The providers' minute.
const WINDOW: Duration = Duration::from_secs(60);

/// One project's quota for one upstream model, and what is used of it. The windows are exact logs of charged calls.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    quota: Quota,
    minute: VecDeque<(Timestamp, u32)>,
    minute_tokens: u64,
    day_requests: u32,
    day_tokens: u64,
    /// How many resets have passed.
    day: usize,
}

impl Meter {
    pub(super) fn new(quota: Quota) -> Self {
        Self {
            quota,
            minute: VecDeque::new(),
            minute_tokens: 0,
            day_requests: quota.used_requests,
            day_tokens: u64::from(quota.used_tokens),
            day: 0,
        }
    }

    /// Replaces the limits; what is used stays used.
    pub(super) fn set_limits(&mut self, quota: Quota) {
        self.quota = quota;
    }

    /// Forgets what has left the windows by now, and the days before the last of these resets.
    pub(super) fn let_time_pass(&mut self, now: Timestamp, resets: &[Timestamp]) {
        while let Some(&(at, spent)) = self.minute.front()
            && now >= at + WINDOW
        {
            self.minute.pop_front();
            self.minute_tokens -= u64::from(spent);
        }
        while resets.get(self.day).is_some_and(|reset| now >= *reset) {
            self.day += 1;
            (self.day_requests, self.day_tokens) = (0, 0);
        }
    }

    /// Whether a call of this size would exceed no limit.
    pub(super) fn has_room(&self, tokens: u32) -> bool {
        self.minute_has_room(self.minute.len() as u64, self.minute_tokens, tokens)
            && self.quota.rpd.is_none_or(|rpd| self.day_requests < rpd)
            && self.quota.tpd.is_none_or(|tpd| self.day_tokens + u64::from(tokens) <= u64::from(tpd))
    }

    /// Whether a call of this size would fit into a minute that has seen so many calls of so many tokens.
    fn minute_has_room(&self, calls: u64, spent: u64, tokens: u32) -> bool {
        self.quota.rpm.is_none_or(|rpm| calls < u64::from(rpm))
            && self.quota.tpm.is_none_or(|tpm| spent + u64::from(tokens) <= u64::from(tpm))
    }

    /// Which limits a call of this size would exceed.
    pub(super) fn exceeded(&self, tokens: u32) -> Exceeded {
        let over =
            |limit: Option<u32>, used: u64, more: u32| limit.filter(|limit| used + u64::from(more) > u64::from(*limit));
        Exceeded {
            rpm: over(self.quota.rpm, self.minute.len() as u64, 1),
            tpm: over(self.quota.tpm, self.minute_tokens, tokens),
            rpd: over(self.quota.rpd, u64::from(self.day_requests), 1),
            tpd: over(self.quota.tpd, self.day_tokens, tokens),
        }
    }

    /// Counts a call.
    pub(super) fn charge(&mut self, now: Timestamp, tokens: u32) {
        if self.quota.rpm.is_some() || self.quota.tpm.is_some() {
            self.minute.push_back((now, tokens));
            self.minute_tokens += u64::from(tokens);
        }
        self.day_requests = self.day_requests.saturating_add(1);
        self.day_tokens += u64::from(tokens);
    }

    /// Time until the minute windows have room for a call of this size; zero when they have, [`WINDOW`] when they never
    /// will.
    pub(super) fn minute_left(&self, now: Timestamp, tokens: u32) -> Duration {
        let mut used = self.minute_tokens;
        let mut count = self.minute.len() as u64;
        if self.minute_has_room(count, used, tokens) {
            return Duration::ZERO;
        }
        for &(at, spent) in &self.minute {
            count -= 1;
            used -= u64::from(spent);
            if self.minute_has_room(count, used, tokens) {
                return (at + WINDOW).since(now);
            }
        }
        WINDOW
    }

    /// Requests charged in the running minute and day.
    pub(super) fn used(&self) -> (u32, u32) {
        (self.minute.len() as u32, self.day_requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    fn call(meter: &mut Meter, at: Timestamp, tokens: u32) -> Exceeded {
        meter.let_time_pass(at, &[secs(1000)]);
        let exceeded = meter.exceeded(tokens);
        assert_eq!(meter.has_room(tokens), exceeded.is_empty());
        if exceeded.is_empty() {
            meter.charge(at, tokens);
        }
        exceeded
    }

    #[test]
    fn a_minute_slides() {
        let mut meter = Meter::new(Quota { rpm: Some(2), ..Quota::default() });
        assert!(call(&mut meter, secs(0), 1).is_empty());
        assert!(call(&mut meter, secs(30), 1).is_empty());
        assert_eq!(call(&mut meter, secs(59), 1).rpm, Some(2));
        assert_eq!(meter.minute_left(secs(59), 1), Duration::from_secs(1));
        assert!(call(&mut meter, secs(60), 1).is_empty(), "the first call has left the window");
        assert_eq!(call(&mut meter, secs(89), 1).rpm, Some(2));
        assert!(call(&mut meter, secs(90), 1).is_empty());
    }

    #[test]
    fn tokens_have_a_window_of_their_own() {
        let mut meter = Meter::new(Quota { tpm: Some(100), ..Quota::default() });
        assert!(call(&mut meter, secs(0), 60).is_empty());
        let exceeded = call(&mut meter, secs(10), 50);
        assert_eq!((exceeded.tpm, exceeded.rpm), (Some(100), None));
        assert_eq!(meter.minute_left(secs(10), 50), Duration::from_secs(50));
        assert_eq!(meter.minute_left(secs(10), 101), WINDOW, "it never fits");
        assert!(call(&mut meter, secs(10), 40).is_empty());
    }

    #[test]
    fn a_day_counts_what_was_used_before_and_begins_anew_at_its_reset() {
        let quota = Quota { rpd: Some(25), tpd: Some(1000), used_requests: 24, used_tokens: 900, ..Quota::default() };
        let mut meter = Meter::new(quota);
        assert!(call(&mut meter, secs(0), 10).is_empty());
        assert_eq!(call(&mut meter, secs(999), 10).rpd, Some(25));
        assert_eq!(call(&mut meter, secs(999), 91).tpd, Some(1000));
        assert!(call(&mut meter, secs(1000), 10).is_empty());
        assert_eq!(meter.used(), (0, 1), "no minute limit, no minute log");
    }
}
