//! The router under arbitrary interleavings: late, duplicate and unknown completions, cancellations, time jumps to quota
//! edges and past deadlines, every kind of answer, operator orders, clock drift and changes of settings.

mod court;
mod steps;

use proptest::collection::vec;
use proptest::prelude::*;
use stormproof_router::core::ChargeErrors;

use self::court::Court;
use self::steps::{Answer, Step, a_step};

fn cases() -> ProptestConfig {
    // A case of this test is a whole day's worth of steps.
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { 400 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_router_keeps_its_promises(
        charge in prop_oneof![Just(ChargeErrors::Yes), Just(ChargeErrors::No), Just(ChargeErrors::Learn)],
        steps in vec(a_step(), 1..120),
    ) {
        play(charge, &steps);
    }
}

fn play(charge: ChargeErrors, steps: &[Step]) {
    let mut court = Court::new(charge);
    for step in steps {
        court.step(step);
    }
    court.settle();
}

/// Once found by chance: a key is doubted, probed, leaves the settings, is cleared by the probe's answer, and returns.
#[test]
fn a_probe_clears_a_key_that_has_left_and_returns() {
    let arrive = || Step::Arrive {
        model: 1,
        client: 0,
        endpoint: 2,
        stream: false,
        input: 10,
        output: Some(10),
        priority: 1,
        patience: 100_000,
    };
    let finish = |answer| Step::Finish { which: 0, answer, share: 50 };
    let steps = [
        arrive(),
        finish(Answer::Day { short: Some(30) }),
        finish(Answer::Good),
        Step::Pass { millis: 40_000 },
        arrive(),
        Step::Configure { variant: 2 },
        finish(Answer::Good),
        Step::Configure { variant: 0 },
        arrive(),
        finish(Answer::Good),
    ];
    play(ChargeErrors::Yes, &steps);
}
