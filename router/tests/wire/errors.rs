//! Every error body that we know of, and what it must be read as.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use stormproof_router::core::{Duration, Facts, Reason, Violation, Violations, WallTime};
use stormproof_router::wire::{facts, redact};

/// 2025-04-19T05:20:57Z.
const NOW: WallTime = WallTime::from_nanos(1_745_040_057_000_000_000);

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire/errors")
}

fn answer(name: &str) -> Answer {
    let text = fs::read_to_string(directory().join(format!("{name}.http"))).unwrap();
    let (head, body) = text.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().strip_prefix("HTTP ").unwrap().parse().unwrap();
    let headers =
        lines.map(|line| line.split_once(": ").unwrap()).map(|(name, value)| (name.into(), value.into())).collect();
    Answer { status, headers, body: body.into() }
}

fn read(answer: &Answer) -> Facts {
    facts(answer.status, &answer.headers, answer.body.as_bytes(), NOW)
}

fn because(reason: Reason) -> Facts {
    Facts { reason: Some(reason), ..Facts::default() }
}

fn after(retry_after: Duration, violations: Violations) -> Facts {
    Facts { retry_after: Some(retry_after), violations, ..Facts::default() }
}

fn expected() -> Vec<(&'static str, Facts)> {
    let nothing = Facts::default();
    let none = Violations::default();
    let secs = Duration::from_secs;
    vec![
        ("gemini-503-overloaded", because(Reason::Overloaded)),
        ("gemini-503-high-demand", because(Reason::Overloaded)),
        ("gemini-429-bare", nothing),
        (
            "gemini-429-2025-04-exp-day",
            Facts { violations: Violations { requests_day: Violation::Unvalued, ..none }, ..nothing },
        ),
        (
            "gemini-429-2025-05-preview-no-free-tier",
            Facts {
                violations: Violations {
                    requests_minute: Violation::Unvalued,
                    requests_day: Violation::Unvalued,
                    tokens_minute: Violation::Unvalued,
                    tokens_day: Violation::Unvalued,
                },
                retry_after: Some(secs(33)),
                reason: Some(Reason::NoFreeTier),
                ..nothing
            },
        ),
        ("gemini-429-2025-07-minute", after(secs(46), Violations { requests_minute: Violation::Limit(2), ..none })),
        (
            "gemini-429-2025-07-tokens-day",
            after(secs(16), Violations { tokens_day: Violation::Limit(6_000_000), ..none }),
        ),
        (
            "gemini-429-2025-11-day",
            after(Duration::from_nanos(48_805_646_254), Violations { requests_day: Violation::Limit(50), ..none }),
        ),
        (
            "gemini-429-2026-limit-0",
            Facts {
                violations: Violations {
                    requests_minute: Violation::Limit(0),
                    requests_day: Violation::Limit(0),
                    tokens_minute: Violation::Limit(0),
                    ..none
                },
                retry_after: Some(Duration::from_nanos(45_837_906_927)),
                reason: Some(Reason::NoFreeTier),
                ..nothing
            },
        ),
        (
            "gemini-429-2024-error-info",
            Facts { violations: Violations { requests_minute: Violation::Limit(60), ..none }, ..nothing },
        ),
        ("gemini-500-internal", nothing),
        ("gemini-504-deadline", nothing),
        ("gemini-400-key-invalid", because(Reason::KeyInvalid)),
        ("gemini-400-key-not-found", because(Reason::KeyInvalid)),
        ("gemini-400-echoes-the-client", nothing),
        ("gemini-400-unknown-name", nothing),
        ("gemini-400-context-window", because(Reason::ContextWindow)),
        ("gemini-400-location", because(Reason::LocationUnsupported)),
        ("gemini-400-server-timeout", nothing),
        ("gemini-403-suspended", because(Reason::KeySuspended)),
        ("gemini-403-leaked", because(Reason::KeyLeaked)),
        ("gemini-403-no-key", because(Reason::Credential)),
        ("gemini-403-service-disabled", because(Reason::ServiceDisabled)),
        ("gemini-401-forwarded-authorization", because(Reason::Credential)),
        ("gemini-404-model", because(Reason::ModelNotFound)),
        ("gemini-404-new-users", because(Reason::ClosedToNewUsers)),
        ("gemini-200-stream-event", Facts { inner_status: Some(503), ..because(Reason::Overloaded) }),
        ("gemini-200-success", nothing),
        ("compat-429", after(secs(21), Violations { requests_minute: Violation::Limit(5), ..none })),
        ("compat-400-no-auth", because(Reason::Credential)),
        ("vertex-429-shared", nothing),
        (
            "vertex-429-base-model",
            Facts { violations: Violations { requests_minute: Violation::Unvalued, ..none }, ..nothing },
        ),
        ("vertex-403-predict", nothing),
        ("code-assist-429-capacity", because(Reason::Overloaded)),
        ("mistral-429-2025", nothing),
        ("mistral-429-2026", after(secs(7), Violations { requests_minute: Violation::Limit(60), ..none })),
        ("mistral-429-capacity", because(Reason::Overloaded)),
        ("mistral-422-detail", nothing),
        ("mistral-400-too-long", because(Reason::ContextWindow)),
        (
            "openai-429-rate",
            after(Duration::from_millis(1_520), Violations { tokens_minute: Violation::Limit(30_000), ..none }),
        ),
        ("openai-429-no-money", because(Reason::OutOfFunds)),
        ("openai-401-key", because(Reason::KeyInvalid)),
        ("openai-404-model", because(Reason::ModelNotFound)),
        ("openai-400-context", because(Reason::ContextWindow)),
        ("openai-200-stream-event", Facts { inner_status: Some(500), ..nothing }),
        ("groq-429-day", after(secs(483), Violations { tokens_day: Violation::Limit(100_000), ..none })),
        ("front-end-502", nothing),
        ("front-end-429-sorry", because(Reason::AddressThrottled)),
        ("fastapi-401", nothing),
        ("gateway-503-string", Facts { retry_after: Some(secs(60)), ..because(Reason::Overloaded) }),
    ]
}

#[test]
fn every_known_body_is_read_as_what_it_says() {
    for (name, expected) in expected() {
        assert_eq!(read(&answer(name)), expected, "{name}");
    }
}

#[test]
fn no_body_of_the_corpus_is_left_out() {
    let mut files: Vec<String> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".http").to_owned())
        .collect();
    files.sort();
    let mut named: Vec<String> = expected().into_iter().map(|(name, _)| name.to_owned()).collect();
    named.sort();
    assert_eq!(files, named);
}

#[test]
fn the_suspended_key_is_not_passed_on() {
    let body = answer("gemini-403-suspended").body;
    assert!(body.contains("AIzaSyFAKE"));
    let clean = redact(&body, []);
    assert!(!clean.contains("AIza"), "{clean}");
    serde_json::from_str::<serde_json::Value>(&clean).expect("still JSON");
}

#[test]
fn a_huge_body_is_not_read_to_its_end() {
    let mut body = b"{\"error\": {\"message\": \"".to_vec();
    body.resize(64 << 20, b'[');
    assert_eq!(facts(503, &[("", ""); 0], &body, NOW), Facts::default());
    let deep = "[".repeat(60_000);
    assert_eq!(facts(429, &[("", ""); 0], deep.as_bytes(), NOW), Facts::default());
}

proptest! {
    #[test]
    fn arbitrary_bytes_give_some_facts(status in 100_u16..700, body in prop::collection::vec(any::<u8>(), 0..300), header in ".{0,40}") {
        let headers = [("retry-after", header.as_str()), ("retry-after-ms", header.as_str())];
        let read = facts(status, &headers, &body, NOW);
        if (200..300).contains(&status) && !body.windows(5).any(|five| five == b"error") {
            prop_assert_eq!(read, Facts::default());
        }
    }

    /// Cut, flipped and spliced bodies: no panic, and what is cut off is not made up.
    #[test]
    fn mutilated_bodies_give_some_facts(which in 0_usize..60, cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let corpus = expected();
        let answer = answer(corpus[which % corpus.len()].0);
        let mut body = answer.body.clone().into_bytes();
        let at = flip.index(body.len());
        body[at] = byte;
        body.truncate(cut.index(answer.body.len() + 1));
        let _facts = facts(answer.status, &answer.headers, &body, NOW);
        let _clean = redact(&String::from_utf8_lossy(&body), ["AIzaSy"]).into_owned();
    }
}
