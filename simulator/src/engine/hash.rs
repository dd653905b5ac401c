//! The decision hash: one word for everything that a router wanted done, and when.

use stormproof_router::core::{Outcome, Output, Timestamp, mix};

/// Folds one output into the hash of those before it: its time, its kind and its ids. Each step can be undone, so two
/// pasts that differ stay different whatever follows.
#[inline]
pub fn fold(hash: u64, now: Timestamp, output: &Output) -> u64 {
    let (kind, first, second) = match output {
        Output::Dispatch(dispatch) => {
            let place = u64::from(dispatch.deployment.get()).wrapping_mul(THIRD);
            (1, dispatch.request.get().wrapping_add(place), dispatch.attempt.get())
        }
        Output::Relay { request, attempt } => (2, request.get(), attempt.get()),
        Output::Abandon { attempt } => (3, 0, attempt.get()),
        Output::Close { request, verdict } => {
            (4, request.get(), u64::from(verdict.status) << 8 | u64::from(outcome_code(verdict.outcome)))
        }
        Output::WakeAt(at) => (5, 0, at.as_nanos()),
    };
    let ids = first.wrapping_mul(FIRST).wrapping_add(second.wrapping_mul(SECOND)).wrapping_add(kind);
    let word = now.as_nanos().wrapping_mul(TIME).wrapping_add(ids);
    // A product's upper half is mixed best, so the next output meets it as the lower one.
    (hash ^ word).wrapping_mul(STEP).rotate_left(32)
}

/// Odd constants that keep the parts of one output apart, and the outputs.
const TIME: u64 = 0xa076_1d64_78bd_642f;
const FIRST: u64 = 0x9fb2_1c65_1e98_df25;
const SECOND: u64 = 0xd6e8_feb8_6659_fd93;
const THIRD: u64 = 0xc2b2_ae3d_27d4_eb4f;
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Folds the hash of one run into that of the runs before it.
pub fn fold_runs(hash: u64, run: u64) -> u64 {
    mix(hash ^ run)
}

fn outcome_code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Answered => 1,
        Outcome::Deadline => 2,
        Outcome::Refused => 3,
        Outcome::Failed => 4,
        Outcome::Cut => 5,
        Outcome::Cancelled => 6,
    }
}

#[cfg(test)]
mod tests {
    use stormproof_router::core::{AttemptId, RequestId, Verdict};

    use super::*;

    #[test]
    fn every_part_of_an_output_counts() {
        let relay =
            |request, attempt| Output::Relay { request: RequestId::new(request), attempt: AttemptId::new(attempt) };
        let close =
            |outcome, status| Output::Close { request: RequestId::new(1), verdict: Verdict::new(outcome, status) };
        let at = Timestamp::from_nanos;
        let hashes = [
            fold(0, at(1), &relay(1, 1)),
            fold(0, at(2), &relay(1, 1)),
            fold(0, at(1), &relay(2, 1)),
            fold(0, at(1), &relay(1, 2)),
            fold(1, at(1), &relay(1, 1)),
            fold(0, at(1), &Output::Abandon { attempt: AttemptId::new(1) }),
            fold(0, at(1), &Output::WakeAt(at(1))),
            fold(0, at(1), &Output::WakeAt(at(2))),
            fold(0, at(1), &close(Outcome::Answered, 200)),
            fold(0, at(1), &close(Outcome::Failed, 200)),
            fold(0, at(1), &close(Outcome::Failed, 503)),
        ];
        for (index, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..index].contains(hash), "output {index} hashes like an earlier one");
        }
    }
}
