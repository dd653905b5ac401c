//! A log of an outage, in the state in which people send such things, read and replayed.

use std::sync::Arc;

use proptest::prelude::*;
use stormproof_router::core::{Duration, WallTime};
use stormproof_simulator::baselines::litellm::LiteLlm;
use stormproof_simulator::engine::{self, Heap};
use stormproof_simulator::import::{LiteLlmLog, Pool};
use stormproof_simulator::scenario::{self, Embedded, Scenario};
use stormproof_simulator::study::Policy;

const OUTAGE: &str = include_str!("outage.txt");
/// `BLESS=1` writes it anew.
const PRINTED: &str = include_str!("outage.yaml");

fn outage() -> LiteLlmLog {
    LiteLlmLog::read(OUTAGE).expect("it is full of refusals")
}

fn pool() -> Vec<Pool> {
    vec!["gemini-2.5-pro=21".parse().expect("a pool")]
}

fn meaning(text: &str) -> Scenario {
    scenario::parse(text, "logged.yaml", Embedded(&[])).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// The end of the line that the proxy wrote, without what stands before it.
fn refusal() -> &'static str {
    let from = OUTAGE.find("No deployments").expect("there is one");
    OUTAGE[from..].lines().next().expect("it has a line")
}

#[test]
fn a_log_tells_what_deployments_answered() {
    let log = outage();
    let seen: Vec<_> = log.deployments.iter().map(|seen| (&seen.id[..8], seen.answers.len())).collect();
    assert_eq!(
        seen,
        [("9ca5d601", 1), ("8842c90a", 1), ("50f51d85", 1)],
        "each answer once, whatever copies there are"
    );
    let answers: Vec<_> = log.deployments.iter().flat_map(|seen| &seen.answers).collect();
    let at = answers.iter().map(|answer| answer.at.as_nanos()).collect::<Vec<_>>();
    assert_eq!(at, [1_745_040_057_644_344_300, 1_745_040_061_228_798_400, 1_745_039_683_773_912_400]);
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [503, 503, 429]);
    assert_eq!(answers[0].message, "The model is overloaded. Please try again later.");
    assert_eq!(answers[2].message, "Requests rate limit exceeded");
    assert_eq!([&answers[0].provider, &answers[2].provider], [&Some("gemini".to_owned()), &Some("mistral".to_owned())]);
    assert!(answers[0].in_stream && !answers[2].in_stream);
    assert_eq!(log.cooldown_time, Some(Duration::from_secs(2000)));
    assert_eq!(log.asked.iter().map(|asked| asked.model.as_str()).collect::<Vec<_>>(), ["gemini-2.5-pro-preview"]);
    assert_eq!(log.version, Some("1.66.2"));
    assert!(log.dead_end && log.raw_errors);
    assert_eq!(log.refused_at, [Duration::from_secs(5 * 3600 + 22 * 60 + 41)]);
    assert_eq!(log.pauses, [200, 500, 1000, 32_000].map(Duration::from_millis));
    assert_eq!((log.copies, log.broken_off.len()), (3, 2));
}

/// The scenario that a log becomes lets the same things happen at the same times.
#[test]
fn the_replay_is_the_log() {
    let text = outage().scenario(&pool());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/import/outage.yaml"), &text).expect("written");
    }
    assert_eq!(text, PRINTED);
    let Scenario { case, contenders, .. } = meaning(&text);
    let Policy::LiteLlm { settings, options } = &contenders[0].policy else { panic!("the logged proxy comes first") };
    assert_eq!(contenders[0].name, "litellm-1.66");
    let router = LiteLlm::new((**options).clone());
    let ended = engine::run::<_, Heap<engine::Event>, _>(&case.day, settings, router, 1, &mut ());
    assert!(ended.tally.faults.is_none());
    let wall = |secs: f64| {
        let since = WallTime::from_nanos(Duration::from_secs_f64(secs).as_nanos()).since(case.day.start);
        stormproof_router::core::Timestamp::ZERO + since
    };
    let refused = wall(1_745_040_161.0);
    let mut ends: Vec<(String, u64)> = ended
        .router
        .cooling(refused)
        .map(|(id, until)| (id[..8].to_owned(), until.as_nanos() / 1_000_000_000))
        .collect();
    ends.sort_by_key(|(_, until)| *until);
    // 05:48:03, 05:54:17 and 05:54:21, in seconds after 05:10.
    let [mistral, first, second] = [38 * 60 + 3, 44 * 60 + 17, 44 * 60 + 21];
    let logged = [("50f51d85", mistral), ("9ca5d601", first), ("8842c90a", second)];
    assert_eq!(ends, logged.map(|(id, until)| (id.to_owned(), until)));
    let model = settings.model_named("gemini-2.5-pro-preview").expect("it was asked for");
    let text = ended.router.no_deployments_text(refused, model);
    assert_eq!(without_timestamps(&text), without_timestamps(refusal()));
    let again = |at| ended.router.no_deployments_text(at, model).matches("exception_received").count();
    assert_eq!([again(wall(1_745_041_683.0)), again(wall(1_745_041_684.0))], [3, 2], "at 05:48:03 Mistral comes back");
}

/// The scenario that everybody may run is what this log prints, with more comments.
#[test]
fn the_scenario_in_the_folder_is_what_is_printed() {
    let committed = include_str!("../../../scenarios/logged-outage.yaml");
    assert_eq!(without_comments(committed), without_comments(PRINTED));
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    lines.map(|line| line.split(" # ").next().unwrap_or_default().to_owned() + "\n").collect()
}

fn without_timestamps(text: &str) -> String {
    let mut parts = text.split("'timestamp': ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |kept, part| kept + part.split_once(',').map_or(part, |(_, rest)| rest))
}

#[test]
fn every_scenario_that_is_printed_means_something() {
    let mut log = outage();
    meaning(&log.scenario(&[]));
    let odd = ["mistral=5", "odd:#{\"name\"}=2"].map(|pool| pool.parse().expect("a pool"));
    meaning(&log.scenario(&odd));
    log.deployments.pop();
    log.pauses.clear();
    log.refused_at.clear();
    log.version = None;
    meaning(&log.scenario(&pool()));
}

#[test]
fn what_cannot_be_read_is_said_with_its_line() {
    let head =
        "No deployments available for selected model, Try again in 5 seconds. Passed model=a. pre-call-checks=False, ";
    let cases = [
        (
            "".to_owned(),
            "no refusal of a LiteLLM proxy in these 0 lines: nowhere is there \"No deployments available for selected model\"; give the proxy's log or a client's output, as it was",
        ),
        (
            "INFO started\nINFO stopped\n".to_owned(),
            "no refusal of a LiteLLM proxy in these 2 lines: nowhere is there \"No deployments available for selected model\"; give the proxy's log or a client's output, as it was",
        ),
        (
            "\n\nNo deployments available for selected model".to_owned(),
            "line 3: this refusal does not list what its deployments answered (its list is empty or missing); look for a longer copy of it in the proxy's log",
        ),
        (
            format!("x\n{head}cooldown_list=[]"),
            "line 2: this refusal does not list what its deployments answered (its list is empty or missing); look for a longer copy of it in the proxy's log",
        ),
        (
            format!("{head}cooldown_list=['a1', 'b2']"),
            "line 1: this refusal does not list what its deployments answered (later releases print ids only); look for a longer copy of it in the proxy's log",
        ),
        (
            format!("{head}\ncooldown_list=[(17, {{}})]"),
            "line 2: in the cooldown list there should be a deployment's id in quotes here",
        ),
        (
            format!("{head}cooldown_list=[('a1',\n{{'exception_received': 'x', 'status_code': '503'}})]"),
            "line 2: in the cooldown list there should be `timestamp` in the entry here",
        ),
        (
            format!("{head}cooldown_list=[('a1', {{'exception_received' 'x'"),
            "line 1: in the cooldown list there should be a colon after the name of a field here",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(LiteLlmLog::read(&text).expect_err(&text).to_string(), message);
    }
    for text in ["", "a", "a=", "a=0", "=3", "a b=3", "a=many"] {
        let message =
            format!("`{text}` is not a pool; write a model and how many keys serve it, such as `gemini-2.5-pro=21`");
        assert_eq!(text.parse::<Pool>().expect_err(text).to_string(), message);
    }
}

/// Wherever the text ends, what was complete before the end is read, and nothing else.
#[test]
fn a_text_may_end_anywhere() {
    let whole = outage();
    let mut most = 0;
    for end in (0..OUTAGE.len()).filter(|end| OUTAGE.is_char_boundary(*end)) {
        let Ok(log) = LiteLlmLog::read(&OUTAGE[..end]) else {
            assert_eq!(most, 0, "what was read once is not lost by reading on, at byte {end}");
            continue;
        };
        assert!(log.deployments.len() >= most);
        most = log.deployments.len();
        assert_eq!(log.deployments, whole.deployments[..most], "up to byte {end}");
        meaning_if_new(&log, end);
    }
    assert_eq!(most, 3);
}

/// Parsing a scenario takes a while: not at every byte.
fn meaning_if_new(log: &LiteLlmLog, end: usize) {
    if end.is_multiple_of(500) {
        meaning(&log.scenario(&pool()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A window of any width breaks lines anywhere; the facts stay.
    #[test]
    fn lines_may_break_anywhere(width in 2usize..200, carriage in proptest::bool::ANY, prose in "[ -~]{0,40}") {
        let end = if carriage { "\r\n" } else { "\n" };
        let characters: Vec<char> = refusal().chars().collect();
        let broken: Vec<String> = characters.chunks(width).map(|line| line.iter().collect()).collect();
        let text = format!("{prose}\n{}{end}{prose}", broken.join(end));
        let log = LiteLlmLog::read(&text).expect("it is whole");
        let facts = |log: &LiteLlmLog| {
            let answers = log.deployments.iter().flat_map(|seen| seen.answers.iter().map(|answer| (seen.id.clone(), answer.at, answer.status)));
            (answers.collect::<Vec<_>>(), log.asked.clone(), log.cooldown_time)
        };
        prop_assert_eq!(facts(&log), facts(&outage()));
    }

    #[test]
    fn no_text_makes_it_panic(text in "(No deployments available for selected model, Try again in |cooldown_list=|\\[|\\(|'|\\{|\\\\|5|: |,|\\}|\n|é|Retrying in ){0,40}") {
        let _ = LiteLlmLog::read(&text).map(|log| log.scenario(&[]));
    }
}

#[test]
fn the_logged_day_is_shared_between_routers() {
    let Scenario { case, contenders, .. } = meaning(&outage().scenario(&pool()));
    let names: Vec<&str> = contenders.iter().map(|contender| contender.name.as_str()).collect();
    assert!(names.contains(&"stormproof") && names.contains(&"litellm-1.66-edge"));
    assert!(case.assumed.len() >= 5);
    let keys: Vec<usize> = contenders
        .iter()
        .map(|contender| match &contender.policy {
            Policy::Stormproof(settings) | Policy::LiteLlm { settings, .. } => Arc::clone(settings).keys.len(),
        })
        .collect();
    assert!(keys.iter().all(|count| *count == 25), "2 preview keys, 2 of Mistral, 21 that the owner speaks of");
}
