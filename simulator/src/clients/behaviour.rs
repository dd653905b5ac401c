//! What a client does about a failed call: a library's quick retries inside a program's slow ladder.

use stormproof_router::core::{Duration, unit};

use super::spec::Retries;

/// How far one turn's client has come. Starts with the first call made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// Retries that the library has made inside the running attempt of the program.
    quick: u8,
    /// Pauses that the program has made.
    pauses: u8,
}

/// What the client saw of a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The HTTP status.
    pub status: u16,
    /// The time that the answer told it to wait.
    pub retry_after: Option<Duration>,
    /// Whether the status had promised an answer that then broke off or turned into an error event.
    pub in_stream: bool,
}

/// What the client does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It calls again after this pause.
    Call {
        /// How long it waits.
        after: Duration,
    },
    /// It tells its user that it failed.
    GiveUp,
}

impl Behaviour {
    /// The client's next step after a failed call; `bits` are its jitter.
    pub fn failed(&mut self, retries: &Retries, failure: Failure, bits: u64) -> Next {
        let transient = failure.in_stream || matches!(failure.status, 408 | 409 | 429 | 500..);
        if !transient {
            return Next::GiveUp;
        }
        if let Some(sdk) = &retries.sdk
            && !failure.in_stream
            && u32::from(self.quick) + 1 < sdk.calls
        {
            let gap = doubled(sdk.base, self.quick).min(sdk.max);
            let own = gap.mul_f64(1.0 - sdk.jitter * unit(bits));
            self.quick += 1;
            return Next::Call { after: failure.retry_after.filter(|told| *told <= sdk.obeys_up_to).unwrap_or(own) };
        }
        if let Some(ladder) = &retries.ladder {
            let pause = doubled(ladder.first, self.pauses);
            if pause <= ladder.last {
                self.pauses += 1;
                self.quick = 0;
                return Next::Call { after: pause };
            }
        }
        Next::GiveUp
    }
}

fn doubled(first: Duration, times: u8) -> Duration {
    first.saturating_mul(1u64.checked_shl(u32::from(times)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Failure = Failure { status: 429, retry_after: None, in_stream: false };

    fn pauses(retries: &Retries, failure: Failure, bits: u64) -> Vec<Duration> {
        let mut behaviour = Behaviour::default();
        std::iter::from_fn(|| match behaviour.failed(retries, failure, bits) {
            Next::Call { after } => Some(after),
            Next::GiveUp => None,
        })
        .collect()
    }

    #[test]
    fn aider_pauses_63_75_s_in_eight_steps_and_calls_27_times() {
        let calls = pauses(&Retries::AIDER, REFUSED, 0);
        assert_eq!(calls.len() + 1, 27);
        let slow: Vec<f64> = calls.iter().skip(2).step_by(3).map(|pause| pause.as_secs_f64()).collect();
        assert_eq!(slow, [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]);
        assert_eq!(slow.iter().sum::<f64>(), 63.75);
        assert_eq!(calls[0], Duration::from_millis(500), "bits of zero take nothing off the gap");
        assert_eq!(calls[1], Duration::from_secs(1));
    }

    #[test]
    fn jitter_takes_off_up_to_a_quarter() {
        let shortest = pauses(&Retries::AIDER, REFUSED, 0);
        for bits in 1..200u64 {
            for (gap, longest) in pauses(&Retries::AIDER, REFUSED, bits.wrapping_mul(0x9e37_79b9)).iter().zip(&shortest)
            {
                assert!(*gap <= *longest && *gap >= longest.mul_f64(0.75));
            }
        }
    }

    #[test]
    fn an_error_inside_a_stream_skips_the_library() {
        let failure = Failure { status: 200, retry_after: None, in_stream: true };
        assert_eq!(pauses(&Retries::AIDER, failure, 0).len() + 1, 9);
    }

    #[test]
    fn a_minute_is_obeyed_and_more_is_not() {
        let told =
            |secs| pauses(&Retries::AIDER, Failure { retry_after: Some(Duration::from_secs(secs)), ..REFUSED }, 0)[0];
        assert_eq!(told(60), Duration::from_secs(60));
        assert_eq!(told(61), Duration::from_millis(500));
    }

    #[test]
    fn a_fault_of_the_caller_is_not_repeated() {
        for status in [400, 401, 403, 404, 413] {
            assert!(pauses(&Retries::AIDER, Failure { status, ..REFUSED }, 0).is_empty());
        }
        assert!(pauses(&Retries::default(), REFUSED, 0).is_empty());
    }
}
