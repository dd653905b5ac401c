//! What a run amounted to: counted by the engine from what really happened, not from what a router says about itself.

use stormproof_router::core::{Duration, Ending, Outcome, Price, Timestamp, TokenPrice, Transport, Usage, Usd};

/// The counts of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    /// Every turn, in order of arrival; closed loops add theirs as they go.
    pub turns: Vec<TurnEnd>,
    /// Calls that clients made.
    pub client_calls: u64,
    /// Client calls by the HTTP status seen; 0 when the client had gone.
    pub client_statuses: Statuses,
    /// Calls to providers by how they ended.
    pub upstream_statuses: Statuses,
    /// Calls to providers by transport error, in the order of [`TRANSPORTS`].
    pub transports: [u64; TRANSPORTS.len()],
    /// Client calls whose 200 turned out to carry an error.
    pub errors_in_streams: u64,
    /// Calls to providers.
    pub attempts: u64,
    /// Turns answered by a tier that is not their model's first.
    pub fallback_answers: u64,
    /// Money that providers charged on tiers that are not the model's first, failed attempts included.
    pub fallback_spend: Usd,
    /// Money that providers charged.
    pub total_spend: Usd,
    /// Longest time with turns waiting and none answered. A failed turn waits out its patience.
    pub longest_gap: Duration,
    /// Turns that failed, by what became of them, in the order of [`FAILURES`].
    pub failures: [u64; FAILURES.len()],
    /// What the router did that no router may do.
    pub faults: Faults,
    /// Events that the engine handled.
    pub events: u64,
    /// A hash of every output with its time.
    pub decision_hash: u64,
    /// When the last event happened.
    pub end: Timestamp,
}

/// Names of [`Tally::transports`].
pub const TRANSPORTS: [&str; 10] = [
    "connect",
    "reset",
    "reused_connection",
    "first_byte_timeout",
    "idle_timeout",
    "total_timeout",
    "cut",
    "error_event",
    "malformed",
    "abandoned",
];

/// Names of [`Tally::failures`]. `patience` is a user who went away during a call.
pub const FAILURES: [&str; 6] = ["deadline", "refused", "failed", "cut", "cancelled", "patience"];

/// The index of `patience` in [`FAILURES`].
pub(super) const PATIENCE: u8 = 5;

/// The place of an unsuccessful outcome in [`FAILURES`].
pub(super) fn failure_index(outcome: Outcome) -> u8 {
    match outcome {
        // An answer that came, but not within the turn's patience.
        Outcome::Deadline | Outcome::Answered => 0,
        Outcome::Refused => 1,
        Outcome::Failed => 2,
        Outcome::Cut => 3,
        Outcome::Cancelled => 4,
    }
}

/// What no router may do: how often each of it happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Requests that were never closed.
    pub unclosed: u64,
    /// Outputs for a request that does not exist or is closed, or to a deployment that does not exist.
    pub unknown_requests: u64,
    /// Attempts abandoned that do not exist or are over.
    pub unknown_attempts: u64,
    /// Requests closed as answered that no provider has answered.
    pub false_answers: u64,
    /// Wake-ups asked for again and again without time passing.
    pub stuck: u64,
}

impl Faults {
    /// Whether there was none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How one turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnEnd {
    /// Its intended arrival.
    pub at: Timestamp,
    /// When its complete answer was there; for a failed turn the end of its patience.
    pub end: Timestamp,
    /// Whether it was answered in time.
    pub answered: bool,
}

/// A count for each HTTP status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(Box<[u64; 600]>);

impl Default for Statuses {
    fn default() -> Self {
        Self(Box::new([0; 600]))
    }
}

impl Statuses {
    /// Counts one; statuses from 600 on, which no provider sends, count as 599.
    pub(super) fn count(&mut self, status: u16) {
        self.0[usize::from(status.min(599))] += 1;
    }

    /// How often this status was seen.
    pub fn of(&self, status: u16) -> u64 {
        self.0.get(usize::from(status)).copied().unwrap_or(0)
    }

    /// All that were seen, ascending.
    pub fn seen(&self) -> impl Iterator<Item = (u16, u64)> {
        self.0.iter().enumerate().filter(|(_, count)| **count > 0).map(|(status, count)| (status as u16, *count))
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            turns: Vec::new(),
            client_calls: 0,
            client_statuses: Statuses::default(),
            upstream_statuses: Statuses::default(),
            transports: [0; TRANSPORTS.len()],
            errors_in_streams: 0,
            attempts: 0,
            fallback_answers: 0,
            fallback_spend: Usd::ZERO,
            total_spend: Usd::ZERO,
            longest_gap: Duration::ZERO,
            failures: [0; FAILURES.len()],
            faults: Faults::default(),
            events: 0,
            decision_hash: 0,
            end: Timestamp::ZERO,
        }
    }
}

impl Tally {
    /// Turns that were answered in time.
    pub fn succeeded(&self) -> u64 {
        self.turns.iter().filter(|turn| turn.answered).count() as u64
    }

    #[inline]
    pub(super) fn count_attempt(&mut self, ending: Ending) {
        self.attempts += 1;
        match ending {
            Ending::Status(status) => self.upstream_statuses.count(status),
            Ending::Transport(transport) => self.transports[transport_index(transport)] += 1,
        }
    }
}

/// The place of a transport error in [`TRANSPORTS`].
pub(crate) fn transport_index(transport: Transport) -> usize {
    match transport {
        Transport::Connect => 0,
        Transport::Reset => 1,
        Transport::ReusedConnection => 2,
        Transport::FirstByteTimeout => 3,
        Transport::IdleTimeout => 4,
        Transport::TotalTimeout => 5,
        Transport::Cut => 6,
        Transport::ErrorEvent => 7,
        Transport::Malformed => 8,
        Transport::Abandoned => 9,
    }
}

/// The longest time with turns waiting and none answered, told in the order of events.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gap {
    waiting: u64,
    since: Timestamp,
    longest: Duration,
}

impl Gap {
    pub(super) fn begins_to_wait(&mut self, now: Timestamp) {
        if self.waiting == 0 {
            self.since = now;
        }
        self.waiting += 1;
    }

    pub(super) fn answered(&mut self, now: Timestamp) {
        self.close(now);
        self.since = now;
        self.waiting -= 1;
    }

    /// A failed turn's patience is over.
    pub(super) fn gone(&mut self, now: Timestamp) {
        self.close(now);
        self.waiting -= 1;
    }

    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    fn close(&mut self, now: Timestamp) {
        self.longest = self.longest.max(now.since(self.since));
    }
}

/// What the provider charges: tokens at their price, and the price of an answer if there was one.
#[inline]
pub(crate) fn bill(price: &Price, usage: Usage, answered: bool) -> Usd {
    let rate = match price.above {
        Some((threshold, above)) if usage.input > threshold => above,
        Some(_) | None => price.tokens,
    };
    let TokenPrice { input, cached, output } = rate;
    if rate == TokenPrice::default() {
        return if answered { price.answer } else { Usd::ZERO };
    }
    let cached_tokens = usage.cached.get().min(usage.input.get());
    let parts = [(usage.input.get() - cached_tokens, input), (cached_tokens, cached), (usage.output.get(), output)];
    // Prices are per million tokens, so token count times micro-dollars is in millionths of a micro-dollar.
    let millionths: i128 =
        parts.iter().map(|(tokens, price)| i128::from(*tokens) * i128::from(price.as_micros())).sum();
    let tokens = Usd::from_micros(((millionths + 500_000) / 1_000_000) as i64);
    if answered { tokens + price.answer } else { tokens }
}

#[cfg(test)]
mod tests {
    use stormproof_router::core::Tokens;

    use super::*;

    fn secs(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn a_gap_needs_somebody_waiting_and_ends_with_an_answer() {
        let mut gap = Gap::default();
        gap.begins_to_wait(secs(10));
        gap.answered(secs(15));
        assert_eq!(gap.longest(), Duration::from_secs(5));
        gap.begins_to_wait(secs(100));
        gap.begins_to_wait(secs(101));
        gap.answered(secs(104));
        gap.answered(secs(110));
        assert_eq!(gap.longest(), Duration::from_secs(6), "nobody waited from 15 to 100");
        gap.begins_to_wait(secs(200));
        gap.begins_to_wait(secs(250));
        gap.gone(secs(280));
        gap.gone(secs(330));
        assert_eq!(gap.longest(), Duration::from_secs(130), "turns that fail fast still wait out their patience");
    }

    #[test]
    fn a_bill_counts_tokens_and_answers() {
        let micros = Usd::from_micros;
        let tokens = TokenPrice { input: micros(1_250_000), cached: micros(125_000), output: micros(10_000_000) };
        let doubled = TokenPrice { input: micros(2_500_000), cached: micros(250_000), output: micros(15_000_000) };
        let price = Price { tokens, above: Some((Tokens::new(200_000), doubled)), answer: Usd::ZERO };
        let usage = |input, cached, output| Usage {
            input: Tokens::new(input),
            cached: Tokens::new(cached),
            output: Tokens::new(output),
        };
        assert_eq!(bill(&price, usage(8000, 0, 1000), true), micros(20_000));
        assert_eq!(bill(&price, usage(8000, 4000, 1000), true), micros(15_500));
        assert_eq!(
            bill(&price, usage(200_001, 0, 0), true),
            micros(500_003),
            "above the threshold all of it is dearer"
        );
        let flat = Price { answer: micros(10_000_000), ..Price::default() };
        assert_eq!(bill(&flat, usage(8000, 0, 1000), true), micros(10_000_000));
        assert_eq!(bill(&flat, usage(8000, 0, 1000), false), Usd::ZERO);
    }
}
