//! How long a router takes to come back after the providers have.

use stormproof_router::core::{Duration, Timestamp};

use crate::engine::TurnEnd;
use crate::world::World;

/// A stretch of time in which any upstream model was overloaded.
pub(super) type Span = (Timestamp, Timestamp);

/// Turns that must do well before success counts as back.
const NEXT_TURNS: usize = 20;

/// How far below the healthy level those turns may stay: one of twenty may fail by bad luck.
const TOLERANCE: f64 = 0.05;

/// The times in which any of the world's models was overloaded, merged and ascending.
pub(super) fn overloads(world: &World) -> Vec<Span> {
    let upstreams = 0..world.spec().upstreams.len() as u16;
    let mut spans: Vec<Span> = upstreams
        .flat_map(|upstream| world.episodes(stormproof_router::core::UpstreamId::new(upstream)))
        .filter(|episode| episode.p503 > 0.0)
        .map(|episode| (episode.from, episode.until))
        .collect();
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::new();
    for (from, until) in spans {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            Some(_) | None => merged.push((from, until)),
        }
    }
    merged
}

/// The time from the end of the last overload that turns still followed, to the first answer after which success is
/// back: of the next twenty turns before another overload, the answered share is at most five points below that of the
/// turns before the first overload. The second value is false where that never happened before the end of the run, up
/// to which the first one then goes.
pub(super) fn recovery(turns: &[TurnEnd], overloads: &[Span], end: Timestamp) -> (Duration, bool) {
    let Some(last_arrival) = turns.last().map(|turn| turn.at) else { return (Duration::ZERO, true) };
    let Some(index) = overloads.iter().rposition(|(_, until)| *until < last_arrival) else {
        return (Duration::ZERO, true);
    };
    let healed = overloads[index].1;
    let next = overloads.get(index + 1).map_or(Timestamp::MAX, |(from, _)| *from);
    let healthy = answered_share(&turns[..turns.partition_point(|turn| turn.at < overloads[0].0)]).unwrap_or(1.0);

    let after = &turns[turns.partition_point(|turn| turn.at < healed)..turns.partition_point(|turn| turn.at < next)];
    let mut answers: Vec<Timestamp> = turns
        .iter()
        .filter(|turn| turn.answered && turn.end >= healed && turn.end < next)
        .map(|turn| turn.end)
        .collect();
    answers.sort_unstable();
    let back = answers.into_iter().find(|answer| {
        let following = &after[after.partition_point(|turn| turn.at < *answer)..];
        let share = answered_share(&following[..following.len().min(NEXT_TURNS)]);
        share.is_none_or(|share| share >= healthy - TOLERANCE)
    });
    match back {
        Some(answer) => (answer.since(healed), true),
        None => (end.since(healed), false),
    }
}

fn answered_share(turns: &[TurnEnd]) -> Option<f64> {
    let answered = turns.iter().filter(|turn| turn.answered).count();
    (!turns.is_empty()).then(|| answered as f64 / turns.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    /// One turn a second, answered after 2 s unless it begins in a bad time.
    fn day(bad: impl Fn(u64) -> bool) -> Vec<TurnEnd> {
        (0..1000)
            .map(|at| TurnEnd { at: secs(at), end: secs(at + if bad(at) { 60 } else { 2 }), answered: !bad(at) })
            .collect()
    }

    #[test]
    fn it_begins_with_the_weather_and_ends_with_lasting_success() {
        let overload = [(secs(100), secs(200))];
        let prompt = recovery(&day(|at| (100..200).contains(&at)), &overload, secs(1100));
        assert_eq!(prompt, (Duration::from_secs(2), true));
        let benched = recovery(&day(|at| (100..500).contains(&at)), &overload, secs(1100));
        assert_eq!(benched, (Duration::from_secs(302), true));
        let lucky_once = recovery(&day(|at| (100..500).contains(&at) && at != 300), &overload, secs(1100));
        assert_eq!(lucky_once, (Duration::from_secs(302), true), "one answer in between is no recovery");
        let never = recovery(&day(|at| at >= 100), &overload, secs(1100));
        assert_eq!(never, (Duration::from_secs(900), false));
    }

    #[test]
    fn without_an_overload_that_turns_followed_there_is_nothing_to_recover_from() {
        assert_eq!(recovery(&day(|_| false), &[], secs(1100)), (Duration::ZERO, true));
        assert_eq!(recovery(&day(|at| at > 900), &[(secs(900), secs(2000))], secs(1100)), (Duration::ZERO, true));
        assert_eq!(recovery(&[], &[(secs(900), secs(2000))], secs(1100)), (Duration::ZERO, true));
    }

    #[test]
    fn a_second_overload_does_not_count_against_the_first_one_s_recovery() {
        let bad = |at: u64| (100..200).contains(&at) || at >= 300;
        let overloads = [(secs(100), secs(200)), (secs(300), secs(5000))];
        assert_eq!(recovery(&day(bad), &overloads, secs(1100)), (Duration::from_secs(2), true));
    }
}
