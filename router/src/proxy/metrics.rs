//! What Prometheus reads. Counters of the hot path are plain atomics; what the router knows anyway is asked when
//! somebody scrapes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::gen_ai::GenAi;
use crate::core::{Cause, Ending, Outcome, Transport, Verdict};

/// Counts since the process started.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Requests by model and [`Outcome`], in the order of [`OUTCOMES`].
    outcomes: Mutex<BTreeMap<Arc<str>, [u64; OUTCOMES.len()]>>,
    /// Attempts by HTTP status, 100 to 599.
    statuses: Statuses,
    /// Attempts without one, in the order of [`TRANSPORTS`].
    transports: [AtomicU64; TRANSPORTS.len()],
    /// Refused requests by what bound their first tier, in the order of [`CAUSES`].
    refusals: [AtomicU64; CAUSES.len()],
    /// Micro-dollars.
    spend: AtomicI64,
    /// The part of it that requests cost which ended on a tier behind their model's first.
    fallback_spend: AtomicI64,
    /// Durations and tokens by upstream model.
    pub(super) gen_ai: GenAi,
    log_stalled: AtomicBool,
    log_stalls: AtomicU64,
    /// Events that are missing from the log at present; 0 when it is written.
    log_dropped: AtomicU64,
    log_gaps: AtomicU64,
}

/// How the event log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogState {
    /// It takes nothing, and no request is let in.
    pub(super) stalled: bool,
    /// How often that began.
    pub(super) stalls: u64,
    /// Events that are missing from it at present, because the proxy goes on without.
    pub(super) dropped: u64,
    /// How often that began.
    pub(super) gaps: u64,
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
    pub(super) fn close(&self, verdict: &Verdict, model: &str, fell_back: bool) {
        if let Some(place) = OUTCOMES.iter().position(|(outcome, _)| *outcome == verdict.outcome) {
            let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            match outcomes.get_mut(model) {
                Some(counts) => counts[place] += 1,
                None => {
                    let mut counts = [0; OUTCOMES.len()];
                    counts[place] = 1;
                    outcomes.insert(model.into(), counts);
                }
            }
        }
        self.spend.fetch_add(verdict.spend.as_micros(), Ordering::Relaxed);
        if fell_back {
            self.fallback_spend.fetch_add(verdict.spend.as_micros(), Ordering::Relaxed);
        }
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

    /// How many events are missing from the log at present.
    pub(super) fn log_dropped(&self, events: u64) {
        if self.log_dropped.swap(events, Ordering::Relaxed) == 0 && events > 0 {
            self.log_gaps.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Requests by model and outcome, in the order of [`Outcome`].
    pub(super) fn requests(&self) -> BTreeMap<Arc<str>, Vec<(&'static str, u64)>> {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let named = |counts: &[u64; OUTCOMES.len()]| OUTCOMES.iter().map(|(_, name)| *name).zip(*counts).collect();
        outcomes.iter().map(|(model, counts)| (Arc::clone(model), named(counts))).collect()
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

    /// The part of it that requests cost which ended on a tier behind their model's first, in dollars.
    pub(super) fn fallback_spend_usd(&self) -> f64 {
        self.fallback_spend.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// How the event log is.
    pub(super) fn log_state(&self) -> LogState {
        LogState {
            stalled: self.log_stalled.load(Ordering::Relaxed),
            stalls: self.log_stalls.load(Ordering::Relaxed),
            dropped: self.log_dropped.load(Ordering::Relaxed),
            gaps: self.log_gaps.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Usd;

    #[test]
    fn endings_are_counted_by_their_name() {
        let metrics = Metrics::default();
        metrics.attempt(Ending::Status(503));
        metrics.attempt(Ending::Status(503));
        metrics.attempt(Ending::Status(7));
        metrics.attempt(Ending::Transport(Transport::Cut));
        assert_eq!(metrics.attempts_by_status(), [("503".to_owned(), 2), ("cut".to_owned(), 1)]);
        metrics.close(&Verdict::new(Outcome::Deadline, 504), "m", false);
        metrics.close(&Verdict { spend: Usd::from_micros(500_000), ..Verdict::new(Outcome::Answered, 200) }, "m", true);
        metrics.close(
            &Verdict { spend: Usd::from_micros(250_000), ..Verdict::new(Outcome::Answered, 200) },
            "n",
            false,
        );
        let requests = metrics.requests();
        assert_eq!(requests["m"][..2], [("answered", 1), ("deadline", 1)]);
        assert_eq!((metrics.spend_usd(), metrics.fallback_spend_usd()), (0.75, 0.5));
    }

    #[test]
    fn a_stall_counts_once_however_often_it_is_told() {
        let metrics = Metrics::default();
        for stalled in [false, true, true, false, true] {
            metrics.log_stalled(stalled);
        }
        for events in [0, 3, 7, 0, 1] {
            metrics.log_dropped(events);
        }
        assert_eq!(metrics.log_state(), LogState { stalled: true, stalls: 2, dropped: 1, gaps: 2 });
    }
}
