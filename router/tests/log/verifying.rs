//! Verification finds the first difference and shows both sides.

use stormproof_router::config::Zone;
use stormproof_router::core::{AttemptId, Output};
use stormproof_router::log::{Options, Place, Recording, Sides, Verifier, VerifyError, What, verify};

use crate::toy::{Day, Odd, Toy, opening};
use crate::{read, record, small};

#[test]
fn a_recorded_day_verifies_from_the_start_and_from_every_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), Options { compress: Some(3), ..small() }, 100);
    let report = verify::<Toy>(folder.path()).unwrap();
    let (events, _) = read(folder.path()).unwrap();
    assert_eq!(report.events, events.len() as u64);
    assert!(report.inputs > 300 && report.decisions > 200 && report.checkpoints > 5, "{report:?}");
    for sequence in (0..report.events).step_by(37) {
        let later = Verifier::<Toy>::from(folder.path(), Place::Sequence(sequence)).unwrap().run().unwrap();
        assert!(later.events <= report.events && later.events >= report.events - sequence);
        assert_eq!((later.unverified, later.end), (0, report.end));
    }
}

#[test]
fn another_decision_is_shown_with_both_sides_and_its_neighbourhood() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), small(), 30);
    let error = verify::<Odd<true, false>>(folder.path()).unwrap_err();
    let VerifyError::Different(difference) = error else { panic!("{error}") };
    let Sides::Decision { recorded: Some(Output::Dispatch(recorded)), replayed: Some(Output::Dispatch(replayed)) } =
        &difference.sides
    else {
        panic!("{difference}")
    };
    assert_eq!((recorded.attempt, replayed.attempt), (AttemptId::new(1), AttemptId::new(2)));
    let (events, _) = read(folder.path()).unwrap();
    let place = difference.sequence as usize;
    assert!(difference.around == events[..=place + 10], "{difference:?}");
    assert!(place < 10, "the beginning of the log is nearer than ten events");
    let text = difference.text(&Zone::utc());
    assert!(text.starts_with(&format!("event {place} at 2025-04-18 18:")), "{text}");
    assert!(text.contains(&format!("\n> {place:>8}  18:")), "{text}");
    assert!(text.contains("\n  they differ in: attempt\n"), "{text}");
    for side in ["recorded", "replayed"] {
        assert!(text.contains(&format!("\n  {side}: dispatch    request=")), "{text}");
    }
    assert!(text.contains(" key=free-") && !text.contains("Dispatch {"), "{text}");
}

#[test]
fn a_router_that_decides_less_is_different_at_the_first_decision() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), small(), 30);
    let error = verify::<Odd<false, true>>(folder.path()).unwrap_err();
    let VerifyError::Different(difference) = error else { panic!("{error}") };
    assert!(matches!(difference.sides, Sides::Decision { recorded: Some(_), replayed: None }), "{difference}");
}

#[test]
fn a_router_that_decides_more_is_different_at_the_next_input() {
    let folder = tempfile::tempdir().unwrap();
    let mut recording = Recording::create(folder.path(), opening(), small(), &Toy::default()).unwrap();
    let mut day = Day::new(Odd::<false, true>::new(), 1, 30);
    day.run(&mut recording);
    recording.finish(day.now).unwrap();
    let error = verify::<Toy>(folder.path()).unwrap_err();
    let VerifyError::Different(difference) = error else { panic!("{error}") };
    assert!(matches!(difference.sides, Sides::Decision { recorded: None, replayed: Some(_) }), "{difference}");
}

#[test]
fn a_state_that_differs_is_found_at_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut recording = Recording::create(folder.path(), opening(), small(), &Toy::default()).unwrap();
    let mut day = Day::new(Odd::<false, true>::new(), 1, 30);
    day.run(&mut recording);
    recording.finish(day.now).unwrap();
    let error = verify::<Odd<true, true>>(folder.path()).unwrap_err();
    let VerifyError::Different(difference) = error else { panic!("{error}") };
    assert!(matches!(difference.sides, Sides::State { .. }), "{difference}");
    assert!(matches!(difference.around[10].what, What::Checkpoint(_)), "{difference}");
}
