//! What is told of a request, and which requests are worth it.

use std::collections::BTreeMap;
use std::path::Path;

use stormproof_router::config::Zone;
use stormproof_router::core::{Cause, Note, Outcome, Output, RequestId, Verdict};
use stormproof_router::log::{Account, Calendar, ExplainError, Options, Telling, What, explain, worst};

use crate::toy::{Odd, Toy, opening};
use crate::{read, record, small};

fn told(log: &Path, request: u64) -> Account {
    explain::<Toy>(log, RequestId::new(request)).unwrap()
}

fn skipped(account: &Account) -> bool {
    account.steps.iter().flat_map(|step| &step.notes).any(|told| matches!(told.note, Note::Skipped { .. }))
}

#[test]
fn a_story_has_everything_that_happened_to_its_request_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), Options { compress: Some(3), ..small() }, 60);
    let (events, _) = read(folder.path()).unwrap();
    let mut answered = 0;
    for request in 1..=60 {
        let account = told(folder.path(), request);
        assert_eq!(account.telling, Telling::Whole);
        let own = |output: &Output| match output {
            Output::Dispatch(dispatch) => dispatch.request.get() == request,
            Output::Relay { request: of, .. } | Output::Close { request: of, .. } => of.get() == request,
            Output::Abandon { .. } | Output::WakeAt(_) => false,
        };
        let recorded = events.iter().filter(|event| matches!(&event.what, What::Output(output) if own(output)));
        let told = account.steps.iter().flat_map(|step| &step.decisions).filter(|output| own(output));
        assert_eq!(told.count(), recorded.count(), "request {request}");
        let story = account.story(&Zone::utc());
        assert!(story.starts_with(&format!("Request {request} of turn ")), "{story}");
        // The toy forgets those who go away while they wait.
        assert_eq!(account.verdict().is_some(), story.contains("\nIn the end: "), "{story}");
        assert_ne!(account.verdict().is_some(), story.contains("\nIt has no outcome on record."), "{story}");
        let attempts = story.lines().filter(|line| line.contains(" goes to ")).count();
        let dispatched = account.steps.iter().flat_map(|step| &step.decisions);
        assert_eq!(attempts, dispatched.filter(|decision| matches!(decision, Output::Dispatch(_))).count(), "{story}");
        answered += usize::from(account.verdict().is_some_and(|(_, verdict)| verdict.outcome == Outcome::Answered));
    }
    assert!(answered > 20, "{answered}");
}

#[test]
fn what_was_passed_over_is_told_with_its_count_and_its_end() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), small(), 120);
    let account = (1..=120).map(|request| told(folder.path(), request)).find(skipped).expect("a busy minute");
    let story = account.story(&Zone::utc());
    let line = story.lines().find(|line| line.contains("skipped")).unwrap_or_else(|| panic!("{story}"));
    // `free-03 skipped: 5/5 rpm until 18:14:21`, or as many at once.
    let is_single = line.trim().starts_with("free-0") && line.contains(" skipped: 5/5 rpm until 18:");
    let is_many = line.contains("5 of free skipped: 5/5 rpm; the first is back at 18:");
    assert!(is_single || is_many, "{story}");
}

#[test]
fn without_the_router_that_decided_the_codes_are_told_and_said_to_be_all() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), small(), 30);
    let account = explain::<Odd<true, false>>(folder.path(), RequestId::new(7)).unwrap();
    let Telling::Codes { because } = &account.telling else { panic!("told by another router") };
    assert!(because.starts_with("this build decides otherwise at event "), "{because}");
    assert!(account.steps.iter().all(|step| step.notes.is_empty()));
    let story = account.story(&Zone::utc());
    assert!(story.contains("\nOnly the recorded codes are told, and not what was passed over: "), "{story}");
    let whole = told(folder.path(), 7).story(&Zone::utc());
    let attempts = |story: &str| story.lines().filter(|line| line.contains(" goes to ")).map(str::to_owned).collect();
    let (codes, whole): (Vec<String>, Vec<String>) = (attempts(&story), attempts(&whole));
    assert_eq!(codes, whole);
}

#[test]
fn a_request_that_nobody_made_is_named_with_those_that_were() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), small(), 12);
    let error = explain::<Toy>(folder.path(), RequestId::new(99)).unwrap_err();
    assert_eq!(error.to_string(), "request 99 is not in this log, which has requests 1 to 12");
    let empty = tempfile::tempdir().unwrap();
    record(empty.path(), small(), 0);
    assert!(matches!(explain::<Toy>(empty.path(), RequestId::new(1)), Err(ExplainError::NoRequests)));
}

#[test]
fn the_worst_are_of_every_way_to_go_wrong_and_count_their_like() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), small(), 200);
    let (events, _) = read(folder.path()).unwrap();
    // The toy closes some twice; the first time counts.
    let mut verdicts = BTreeMap::new();
    for event in &events {
        if let What::Output(Output::Close { request, verdict }) = &event.what {
            verdicts.entry(*request).or_insert(verdict);
        }
    }
    let verdicts: Vec<&Verdict> = verdicts.into_values().collect();
    let all = worst(folder.path(), 1_000).unwrap();
    assert_eq!(all.len(), verdicts.len());
    let ways = all.iter().filter(|worst| worst.outcome != Outcome::Answered && worst.alike > 0).count();
    assert!(ways > 0, "something went wrong more than once");
    // Those that lead a way stand for all.
    let leads: Vec<_> = all.iter().filter(|worst| worst.outcome != Outcome::Answered).collect();
    let mut seen: Vec<(Outcome, u16, Option<Cause>)> = Vec::new();
    for lead in leads {
        let way = (lead.outcome, lead.status, lead.cause);
        if seen.contains(&way) {
            assert_eq!(lead.alike, 0);
            continue;
        }
        seen.push(way);
        let like =
            |other: &&&Verdict| (other.outcome, other.status, other.causes.first().map(|cause| cause.cause)) == way;
        assert_eq!(lead.alike + 1, verdicts.iter().filter(like).count() as u64);
    }
    let calendar = Calendar::new(opening().epoch, Zone::utc().time_zone());
    let line = all[0].line(&calendar);
    assert!(line.starts_with(&format!("request {}  ", all[0].request)), "{line}");
    assert_eq!(worst(folder.path(), 3).unwrap().len(), 3);
}
