//! What Prometheus reads. Counters of the hot path are plain atomics; what the router knows anyway is asked when
//! somebody scrapes.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::core::{Cause, Ending, Outcome, Transport, Verdict};

/// Counts since the process started.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Requests by [`Outcome`], in its order.
    outcomes: [AtomicU64; OUTCOMES.len()],
    /// Attempts by HTTP status, 100 to 599.
    statuses: Statuses,
    /// Attempts without one, in the order of [`TRANSPORTS`].
    transports: [AtomicU64; TRANSPORTS.len()],
    /// Refused requests by what bound their first tier, in the order of [`CAUSES`].
    refusals: [AtomicU64; CAUSES.len()],
    /// Micro-dollars.
    spend: AtomicI64,
    log_stalled: AtomicBool,
    log_stalls: AtomicU64,
}

#[derive(Debug)]
struct Statuses(Box<[AtomicU64]>);

impl Default for Statuses {
    fn default() -> Self {
        Self((0..500).map(|_| AtomicU64::new(0)).collect())
    }
}

/// Outcomes with their label.
const OUTCOMES: [(Outcome, &str); 6] = [
    (Outcome::Answered, "answered"),
    (Outcome::Deadline, "deadline"),
    (Outcome::Refused, "refused"),
    (Outcome::Failed, "failed"),
    (Outcome::Cut, "cut"),
    (Outcome::Cancelled, "cancelled"),
];

/// Transport endings with their label.
const TRANSPORTS: [(Transport, &str); 10] = [
    (Transport::Connect, "connect"),
    (Transport::Reset, "reset"),
    (Transport::ReusedConnection, "reused_connection"),
    (Transport::FirstByteTimeout, "first_byte_timeout"),
    (Transport::IdleTimeout, "idle_timeout"),
    (Transport::TotalTimeout, "total_timeout"),
    (Transport::Cut, "cut"),
    (Transport::ErrorEvent, "error_event"),
    (Transport::Malformed, "malformed"),
    (Transport::Abandoned, "abandoned"),
];

/// Causes with their label.
const CAUSES: [(Cause, &str); 23] = [
    (Cause::None, "none"),
    (Cause::RateMinute, "rate_minute"),
    (Cause::TokensMinute, "tokens_minute"),
    (Cause::RateDay, "rate_day"),
    (Cause::RateUnknown, "rate_unknown"),
    (Cause::Overload, "overload"),
    (Cause::Server, "server"),
    (Cause::Auth, "auth"),
    (Cause::Dead, "dead"),
    (Cause::NotFound, "not_found"),
    (Cause::Request, "request"),
    (Cause::StreamCut, "stream_cut"),
    (Cause::Budget, "budget"),
    (Cause::ClientRate, "client_rate"),
    (Cause::ClientBudget, "client_budget"),
    (Cause::ClientModel, "client_model"),
    (Cause::RetryBudget, "retry_budget"),
    (Cause::Attempts, "attempts"),
    (Cause::Operator, "operator"),
    (Cause::ContextWindow, "context_window"),
    (Cause::ContentBlocked, "content_blocked"),
    (Cause::Address, "address"),
    (Cause::Deadline, "deadline"),
];

/// Adds one in the place of `key`.
fn count<K: PartialEq, const N: usize>(counters: &[AtomicU64; N], keys: &[(K, &str); N], key: &K) {
    let place = keys.iter().position(|(known, _)| known == key);
    if let Some(counter) = place.and_then(|place| counters.get(place)) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Every label with its count.
fn counts<K, const N: usize>(counters: &[AtomicU64; N], keys: &[(K, &'static str); N]) -> Vec<(&'static str, u64)> {
    keys.iter().zip(counters).map(|((_, label), counter)| (*label, counter.load(Ordering::Relaxed))).collect()
}

impl Metrics {
    /// An attempt is over.
    pub(super) fn attempt(&self, ending: Ending) {
        match ending {
            Ending::Status(status) => {
                if let Some(counter) = usize::from(status).checked_sub(100).and_then(|place| self.statuses.0.get(place))
                {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ending::Transport(transport) => count(&self.transports, &TRANSPORTS, &transport),
        }
    }

    /// A request has its outcome.
    pub(super) fn close(&self, verdict: &Verdict) {
        count(&self.outcomes, &OUTCOMES, &verdict.outcome);
        self.spend.fetch_add(verdict.spend.as_micros(), Ordering::Relaxed);
        if let (Outcome::Refused, Some(first)) = (verdict.outcome, verdict.causes.first()) {
            count(&self.refusals, &CAUSES, &first.cause);
        }
    }

    /// Whether the log takes nothing at present.
    pub(super) fn log_stalled(&self, stalled: bool) {
        if self.log_stalled.swap(stalled, Ordering::Relaxed) != stalled && stalled {
            self.log_stalls.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Requests by outcome.
    pub(super) fn requests_by_outcome(&self) -> Vec<(&'static str, u64)> {
        counts(&self.outcomes, &OUTCOMES)
    }

    /// Attempts by status or transport ending; only those that happened.
    pub(super) fn attempts_by_status(&self) -> Vec<(String, u64)> {
        let statuses = self.statuses.0.iter().enumerate();
        let statuses = statuses.map(|(place, counter)| ((place + 100).to_string(), counter.load(Ordering::Relaxed)));
        let transports = counts(&self.transports, &TRANSPORTS);
        let transports = transports.into_iter().map(|(label, count)| (label.to_owned(), count));
        statuses.chain(transports).filter(|(_, count)| *count > 0).collect()
    }

    /// Refusals by cause; only those that happened.
    pub(super) fn refusals_by_cause(&self) -> Vec<(&'static str, u64)> {
        counts(&self.refusals, &CAUSES).into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// Money spent, in dollars.
    pub(super) fn spend_usd(&self) -> f64 {
        self.spend.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// Whether the log takes nothing at present, and how often that began.
    pub(super) fn log_state(&self) -> (bool, u64) {
        (self.log_stalled.load(Ordering::Relaxed), self.log_stalls.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_counted_by_their_name() {
        let metrics = Metrics::default();
        metrics.attempt(Ending::Status(503));
        metrics.attempt(Ending::Status(503));
        metrics.attempt(Ending::Status(7));
        metrics.attempt(Ending::Transport(Transport::Cut));
        assert_eq!(metrics.attempts_by_status(), [("503".to_owned(), 2), ("cut".to_owned(), 1)]);
        metrics.close(&Verdict::new(Outcome::Deadline, 504));
        assert!(metrics.requests_by_outcome().contains(&("deadline", 1)));
    }

    #[test]
    fn a_stall_counts_once_however_often_it_is_told() {
        let metrics = Metrics::default();
        for stalled in [false, true, true, false, true] {
            metrics.log_stalled(stalled);
        }
        assert_eq!(metrics.log_state(), (true, 2));
    }
}
