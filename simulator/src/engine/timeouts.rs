//! The driver's part of an attempt: what the world plans, cut short by the timeouts that the router asked for.

use stormproof_router::core::{Ending, Timeouts, Timestamp, Transport};

use crate::world::Plan;

/// What will happen to an attempt, unless it is abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// When the router hears of the first good chunk; `None` when it never does or needs not.
    pub(super) first_byte: Option<Timestamp>,
    /// When it is over.
    pub(super) end: Timestamp,
    /// What ends it before the plan is fulfilled.
    pub(super) timeout: Option<Transport>,
}

/// The plan's times, or those of the timeout that strikes before it is fulfilled.
pub(super) fn fate(plan: &Plan, now: Timestamp, timeouts: &Timeouts) -> Fate {
    let (struck, transport) = timeout(plan, now, timeouts);
    let (end, timeout) = if plan.end <= struck { (plan.end, None) } else { (struck, Some(transport)) };
    Fate { first_byte: plan.first_byte.filter(|first| *first < end), end, timeout }
}

/// The earliest timeout that this plan runs into. A plain answer's head comes with its body.
fn timeout(plan: &Plan, now: Timestamp, timeouts: &Timeouts) -> (Timestamp, Transport) {
    let mut earliest = (now + timeouts.total, Transport::TotalTimeout);
    let mut strike = |at: Timestamp, transport| {
        if at < earliest.0 {
            earliest = (at, transport);
        }
    };
    if plan.ending == Ending::Transport(Transport::Connect) {
        strike(now + timeouts.connect, Transport::Connect);
    }
    let head = plan.first_byte.unwrap_or(plan.end);
    if head > now + timeouts.first_byte {
        strike(now + timeouts.first_byte, Transport::FirstByteTimeout);
    } else if let Some(first) = plan.first_byte {
        if plan.chunk_gap() > timeouts.idle {
            strike(first + timeouts.idle, Transport::IdleTimeout);
        }
        if let Some(silent) = plan.silent_from {
            strike(silent + timeouts.idle, Transport::IdleTimeout);
        }
    }
    earliest
}

#[cfg(test)]
mod tests {
    use stormproof_router::core::{Duration, Usage};

    use super::*;

    const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000_000);

    fn after(secs: u64) -> Timestamp {
        NOW + Duration::from_secs(secs)
    }

    fn timeouts() -> Timeouts {
        let secs = Duration::from_secs;
        Timeouts { connect: secs(5), first_byte: secs(30), idle: secs(10), total: secs(100) }
    }

    fn plan(first_byte: Option<u64>, chunks: u32, end: u64) -> Plan {
        Plan {
            first_byte: first_byte.map(after),
            chunks,
            silent_from: None,
            end: after(end),
            ending: Ending::Status(200),
            facts: None,
            usage: Some(Usage::default()),
        }
    }

    fn ends(plan: &Plan) -> (Option<Timestamp>, Timestamp, Ending) {
        let fate = fate(plan, NOW, &timeouts());
        (fate.first_byte, fate.end, fate.timeout.map_or(plan.ending, Ending::Transport))
    }

    #[test]
    fn a_good_answer_within_all_timeouts_is_left_alone() {
        assert_eq!(ends(&plan(None, 0, 30)), (None, after(30), Ending::Status(200)));
        assert_eq!(ends(&plan(Some(20), 9, 100)), (Some(after(20)), after(100), Ending::Status(200)));
    }

    #[test]
    fn each_timeout_strikes_when_its_time_has_come() {
        let struck = |transport| Ending::Transport(transport);
        assert_eq!(ends(&plan(None, 0, 31)), (None, after(30), struck(Transport::FirstByteTimeout)));
        assert_eq!(ends(&plan(Some(31), 9, 40)), (None, after(30), struck(Transport::FirstByteTimeout)));
        assert_eq!(ends(&plan(Some(20), 2, 31)), (Some(after(20)), after(30), struck(Transport::IdleTimeout)));
        assert_eq!(ends(&plan(Some(20), 99, 101)), (Some(after(20)), after(100), struck(Transport::TotalTimeout)));
        let refused = Plan { ending: struck(Transport::Connect), usage: None, ..plan(None, 0, 6) };
        assert_eq!(ends(&refused), (None, after(5), struck(Transport::Connect)));
        let hung = Plan { end: Timestamp::MAX, usage: None, ..plan(None, 0, 0) };
        assert_eq!(ends(&hung), (None, after(30), struck(Transport::FirstByteTimeout)));
        let stalled = Plan { end: Timestamp::MAX, silent_from: Some(after(25)), ..plan(Some(20), 5, 0) };
        assert_eq!(ends(&stalled), (Some(after(20)), after(35), struck(Transport::IdleTimeout)));
    }
}
