//! Logs that lie under a right checksum, given to the routers that wrote them: whatever a router is told to do over again,
//! it does so to the end, without a panic.

#[path = "../../router/tests/log/mutate.rs"]
mod mutate;

use std::fs;
use std::sync::Arc;

use mutate::{Dice, lie, mutate};
use stormproof_router::config::Zone;
use stormproof_router::core::{Duration, RequestId, Router};
use stormproof_router::log::rebuild;
use stormproof_simulator::study::families::FAMILIES;
use stormproof_simulator::study::record::{folder, record};
use stormproof_simulator::study::recorded::{Verification, account};
use stormproof_simulator::study::{Case, Contender, Policy};

#[test]
fn a_log_that_lies_is_replayed_to_an_end() {
    let parent = tempfile::tempdir().expect("a folder");
    let mut case: Case = FAMILIES[0].case();
    case.day.duration = Duration::from_secs(240);
    let policy = Policy::Stormproof(Arc::clone(&case.settings));
    record(&case, &Contender { name: "whole".to_owned(), policy }, 1, parent.path()).expect("recorded");
    let whole = fs::read(folder(parent.path(), "whole", 1).join("00000001.log")).expect("readable");
    let harmed = parent.path().join("harmed");
    fs::create_dir(&harmed).expect("a folder");
    let (mut different, mut refused) = (0, 0);
    for round in 0..1_200 {
        let mut dice = Dice { seed: round, drawn: 1 << 50 };
        let mut bytes = lie(&whole, &mut dice);
        if round % 8 == 0 {
            mutate(&mut bytes, &mut dice);
        }
        fs::write(harmed.join("00000001.log"), bytes).expect("written");
        let result = Verification::new(&harmed, None).and_then(|mut verification| {
            while verification.step(1_000)? {}
            Ok(())
        });
        match result {
            Ok(()) => {}
            Err(stormproof_router::log::VerifyError::Different(_)) => different += 1,
            Err(_) => refused += 1,
        }
        drop(rebuild::<Router>(&harmed));
        drop(account(&harmed, RequestId::new(3)).map(|account| account.story(&Zone::utc())));
    }
    assert!(different > 50 && refused > 50, "{different} told another story, {refused} made no sense");
}
