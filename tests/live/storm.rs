//! Everything at once: overloads, limits, hangs, resets, cut streams, garbage and slow streams under a crowd in both
//! dialects, streaming and not. Every request ends in time and in its dialect, and the recorded day replays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stormproof_router::core::{self, Input, Outcome, Output, Router, Timestamp};
use stormproof_router::log::{Reader, What, verify};
use stormproof_simulator::mock::{Answer as Planned, Manners};
use stormproof_simulator::scenario::{Document, Embedded};
use tokio::task::JoinSet;

use crate::ONE_AT_A_TIME;
use crate::http::{Answer, Ask, End};
use crate::stage::Stage;

/// Callers at once, and how often each asks.
const CROWD: u32 = 200;
const CALLS: u32 = 4;

/// Three minutes in twelve seconds.
const SCALE: u32 = 15;

/// The driver wakes up when it is to, or five seconds later on a machine that is busy with other things.
const LATE: core::Duration = core::Duration::from_secs(5 * SCALE as u64);

/// However busy the machine is, no request takes longer.
const PATIENCE: Duration = Duration::from_secs(240);

/// The four ways to ask; the last member says whether it is a stream.
fn ask(number: u32) -> (Ask, bool) {
    let (model, stream) = (["cheap", "dear", "cheap"][number as usize % 3], number.is_multiple_of(2));
    let ask = if number % 4 < 2 {
        let body =
            json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": format!("q{number}")}]});
        Ask::post("/v1/chat/completions", &body)
    } else {
        let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        let body = json!({"contents": [{"role": "user", "parts": [{"text": format!("q{number}")}]}]});
        Ask::post(&format!("/v1beta/models/{model}:{method}"), &body)
    };
    (ask, stream)
}

/// Whether an answer is one that a client of its dialect understands: a whole answer, an error with advice, or a stream
/// that says how it failed and does not end cleanly.
fn judge(answer: &Answer, stream: bool, gemini: bool) -> &'static str {
    let text = answer.text();
    if answer.status != 200 {
        assert!(answer.end == End::Whole && answer.status >= 400, "{answer:?}");
        let error = &answer.json()["error"];
        assert!(error["message"].is_string() && error.get("status").is_some() == gemini, "{text}");
        assert!(["x-should-retry", "retry-after"].iter().any(|name| answer.header(name).is_some()), "{answer:?}");
        return "refused";
    }
    if !stream {
        let body = answer.json();
        let has = if gemini { "candidates" } else { "choices" };
        assert!(
            answer.end == End::Whole && (body.get(has).is_some() || body.get("promptFeedback").is_some()),
            "{text}"
        );
        return "answered";
    }
    let events: Vec<&str> = text.split("data: ").skip(1).map(str::trim_end).collect();
    let last = events.last().copied().unwrap_or_default();
    if answer.end == End::Whole {
        let over =
            if gemini { text.contains("finishReason") || text.contains("blockReason") } else { last == "[DONE]" };
        assert!(over, "a clean end without one: {text}");
        return "answered";
    }
    let error = serde_json::from_str::<Value>(last).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(error["error"]["message"].is_string(), "a stream that failed says so: {text}");
    "broken off"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_in_the_storm_is_answered_in_time_and_on_record() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let document = Document::parse(include_str!("storm.yaml"), "storm.yaml", Embedded(&[]));
    let document = document.unwrap_or_else(|errors| panic!("{errors}"));
    let stage = Arc::new(Stage::open(&document, 1, SCALE, Manners::default()).await);
    let mut crowd = JoinSet::new();
    for caller in 0..CROWD {
        let stage = Arc::clone(&stage);
        crowd.spawn(async move {
            // They do not all begin at once.
            stage.until(Timestamp::from_nanos(u64::from(caller) * 200_000_000)).await;
            let mut ends = Vec::new();
            for call in 0..CALLS {
                let number = caller + call;
                let (ask, stream) = ask(number);
                let answer = tokio::time::timeout(PATIENCE, ask.answer(stage.serving.address())).await;
                let answer = answer.unwrap_or_else(|_| panic!("request {number} of caller {caller} does not end"));
                ends.push(judge(&answer, stream, number % 4 >= 2));
            }
            ends
        });
    }
    let mut ends: BTreeMap<&str, u32> = BTreeMap::new();
    for end in crowd.join_all().await.into_iter().flatten() {
        *ends.entry(end).or_default() += 1;
    }
    let closed = Arc::into_inner(stage).expect("everybody has gone").close().await;
    let met: BTreeSet<Planned> = closed.mock.calls(0, usize::MAX).into_iter().map(|call| call.answer).collect();
    for fault in [429, 500, 503, 504].map(Planned::Status) {
        assert!(met.contains(&fault), "no {fault:?} among {met:?}");
    }
    for fault in ["connect", "reset", "malformed", "cut", "error-event"].map(Planned::Broken) {
        assert!(met.contains(&fault), "no {fault:?} among {met:?}");
    }
    assert_eq!(ends.len(), 3, "all kinds of ends: {ends:?}");
    assert!(ends["answered"] > CROWD * CALLS / 2, "a storm, not the end of the world: {ends:?}");

    let verified = verify::<Router>(&closed.log).expect("it replays with identical decisions");
    assert!(verified.decisions > u64::from(CROWD * CALLS) && verified.missing == 0, "{verified:?}");
    let mut reader = Reader::open(&closed.log).expect("a log");
    let (mut deadlines, mut shown, mut closed) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    // Requests whose clients have seen nothing yet, the next deadline first; and when the last input was.
    let (mut unseen, mut before) = (BTreeSet::new(), Timestamp::ZERO);
    while let Some(event) = reader.read().expect("an undamaged log") {
        if let What::Input(_) = event.what {
            let late = unseen.first().filter(|(deadline, _)| *deadline <= before);
            assert_eq!(late, None, "the first input at or after a deadline ends its request; {before:?} did not");
            before = event.at;
        }
        match event.what {
            What::Input(Input::Arrived(arrived)) => {
                deadlines.insert(arrived.request, arrived.deadline);
                unseen.insert((arrived.deadline, arrived.request));
            }
            What::Output(Output::Relay { request, .. }) => {
                assert!(event.at <= deadlines[&request], "{request} is shown after its deadline");
                unseen.remove(&(deadlines[&request], request));
                shown.insert(request);
            }
            What::Output(Output::Close { request, verdict }) => {
                let deadline = deadlines[&request];
                unseen.remove(&(deadline, request));
                match verdict.outcome {
                    Outcome::Deadline => {
                        let late = event.at.since(deadline);
                        assert!(event.at >= deadline && late <= LATE, "{request} is told of its deadline {late} late");
                    }
                    Outcome::Answered | Outcome::Refused | Outcome::Failed | Outcome::Cut | Outcome::Cancelled => {
                        let in_time = event.at <= deadline || shown.contains(&request);
                        assert!(in_time, "{request} ends after its deadline: {verdict:?}");
                    }
                }
                assert_eq!(closed.insert(request, verdict.outcome), None, "{request} ends twice");
            }
            What::Input(_)
            | What::Output(_)
            | What::Opened(_)
            | What::Boot(_)
            | What::Closed
            | What::Checkpoint(_)
            | What::Gap(_) => {}
        }
    }
    assert_eq!((deadlines.len(), closed.len()), ((CROWD * CALLS) as usize, (CROWD * CALLS) as usize), "each ends once");
}
