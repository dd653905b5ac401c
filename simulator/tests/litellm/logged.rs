//! The scenario of the logged outage, as everybody may run it: every row of what the log proves, at its second.

use std::ops::Range;

use stormproof_router::core::{Timestamp, UpstreamId};
use stormproof_simulator::scenario::{Scenario, built_in};
use stormproof_simulator::study::{Contender, Policy};

use crate::incident::LOGGED;
use crate::watch::{Told, Watched, at, watch};

/// A time of day after 05:00 UTC; the scenario starts at 05:10.
fn clock(minutes: u32, seconds: f64) -> Timestamp {
    at((f64::from(minutes) - 10.0) * 60.0 + seconds)
}

/// The day under the logged proxy, and the upstream model that was asked for.
fn replay() -> (Watched, UpstreamId) {
    let scenario = built_in("logged-outage").expect("built in").and_then(|document| document.scenario());
    let Scenario { case, contenders, .. } = scenario.unwrap_or_else(|errors| panic!("{errors}"));
    let logged = contenders.into_iter().find(|contender| contender.name == "litellm-1.66");
    let Some(Contender { policy: Policy::LiteLlm { settings, options }, .. }) = logged else { panic!("no LiteLLM") };
    let preview = settings.upstreams.iter().position(|upstream| upstream.model == "gemini-2.5-pro-preview");
    (watch(&case.day, &settings, &options, 1), UpstreamId::new(preview.expect("it was asked for") as u16))
}

fn arrived(watched: &Watched, when: Range<Timestamp>) -> impl Iterator<Item = &Told> {
    watched.told.iter().filter(move |told| when.contains(&told.arrived))
}

/// From the text of a refusal, for each deployment in its list: the first digits of its id, what it answered, and when.
fn listed(text: &str) -> Vec<(String, u16, f64)> {
    let between = |text: &str, before: &str, end: char| {
        let from = text.find(before).unwrap_or_else(|| panic!("no {before} in {text}")) + before.len();
        text[from..].split(end).next().unwrap_or_default().to_owned()
    };
    let entries =
        text.split_once("cooldown_list=").expect("a list").1.split("'cooldown_time': 2000}").map(str::to_owned);
    let entries = entries.filter(|entry| entry.contains("exception_received"));
    let read = |entry: String| {
        let status = between(&entry, "'status_code': '", '\'').parse().expect("a status");
        (
            between(&entry, "('", '\'')[..8].to_owned(),
            status,
            between(&entry, "'timestamp': ", ',').parse().expect("a time"),
        )
    };
    entries.map(read).collect()
}

#[test]
fn every_row_of_the_log_at_its_second() {
    let (watched, preview) = replay();
    let model = stormproof_router::core::ModelId::new(0);

    // 05:14:43 Mistral: 429, benched for 2000 s. 05:20:57 and 05:21:01: the two preview keys, 503.
    let text = watched.router.no_deployments_text(clock(22, 41.0), model);
    let (told, logged) = (listed(&text), listed(LOGGED));
    assert_eq!(
        logged.iter().map(|(id, status, _)| (id.as_str(), *status)).collect::<Vec<_>>(),
        [("9ca5d601", 503), ("8842c90a", 503), ("50f51d85", 429)]
    );
    for (told, logged) in told.iter().zip(&logged) {
        assert_eq!((&told.0, told.1), (&logged.0, logged.1));
        assert_eq!(told.2.floor(), logged.2.floor(), "{} failed at its second", told.0);
    }
    // The refusal at 05:22:41, to the letter; only the Mistral library's pauses are drawn.
    let with_times_of_the_log = told.iter().zip(&logged).fold(text.clone(), |text, (told, logged)| {
        text.replace(&format!("'timestamp': {}", told.2), &format!("'timestamp': {}", logged.2))
    });
    assert_eq!(with_times_of_the_log, LOGGED);
    let asks = arrived(&watched, clock(22, 41.0)..clock(22, 41.001)).next().expect("somebody asks at 05:22:41");
    assert_eq!((asks.status(), asks.called.len(), asks.text_bytes()), (429, 0, text.len() as u64));

    // The benches end at 05:48:03, 05:54:17 and 05:54:21; the list shrinks accordingly.
    let mut ends: Vec<u64> =
        watched.router.cooling(clock(22, 41.0)).map(|(_, until)| until.as_nanos() / 1_000_000_000).collect();
    ends.sort_unstable();
    assert_eq!(ends, [clock(48, 3.0), clock(54, 17.0), clock(54, 21.0)].map(|at| at.as_nanos() / 1_000_000_000));
    let entries = |at| listed(&watched.router.no_deployments_text(at, model)).len();
    assert_eq!([entries(clock(48, 3.0)), entries(clock(48, 4.0)), entries(clock(54, 17.0))], [3, 2, 2]);
    let at_the_end = watched.router.no_deployments_text(clock(54, 17.0), model);
    assert!(at_the_end.starts_with("No deployments available for selected model, Try again in 2000 seconds."));

    // The wall of 429s: no call for the preview model gets through before the first bench ends.
    let wall: Vec<&Told> = arrived(&watched, clock(21, 1.3)..clock(54, 17.6)).collect();
    assert!(wall.len() > 200, "{} calls", wall.len());
    assert!(wall.iter().all(|told| told.status() == 429 && told.called.is_empty()));
    let after: Vec<&Told> = arrived(&watched, clock(54, 18.0)..clock(59, 0.0)).collect();
    assert!(after.iter().any(|told| told.answered() && told.served_by() == Some(preview)), "it answers again");
    assert!(after.iter().all(|told| told.status() != 429));
}
