//! What is rendered is read back as the facts that were told.

use proptest::prelude::*;
use stormproof_router::core::{Duration, Facts, Reason, Violation, Violations, WallTime};
use stormproof_router::wire::facts;
use stormproof_router::wire::render::{About, Surface, Voice, Wording};

const NOW: WallTime = WallTime::from_nanos(1_745_040_057_000_000_000);
const SURFACES: [Surface; 6] =
    [Surface::Gemini, Surface::GeminiCompat, Surface::Vertex, Surface::CodeAssist, Surface::OpenAi, Surface::Mistral];
const WORDINGS: [Wording; 4] = [Wording::April2025, Wording::Mid2025, Wording::Late2025, Wording::Year2026];
const REASONS: [Reason; 14] = [
    Reason::Overloaded,
    Reason::KeyInvalid,
    Reason::KeySuspended,
    Reason::KeyLeaked,
    Reason::NoFreeTier,
    Reason::ClosedToNewUsers,
    Reason::ServiceDisabled,
    Reason::OutOfFunds,
    Reason::ModelNotFound,
    Reason::LocationUnsupported,
    Reason::AddressThrottled,
    Reason::ContextWindow,
    Reason::ContentBlocked,
    Reason::Credential,
];
const STATUSES: [u16; 12] = [400, 401, 403, 404, 413, 429, 499, 500, 502, 503, 504, 529];

fn violation() -> impl Strategy<Value = Violation> {
    prop_oneof![
        3 => Just(Violation::None),
        1 => Just(Violation::Unvalued),
        2 => prop_oneof![Just(0), any::<u32>()].prop_map(Violation::Limit),
    ]
}

prop_compose! {
    fn any_facts()(
        inner_status in prop::option::weighted(0.2, prop::sample::select(&STATUSES[..])),
        requests_minute in violation(), requests_day in violation(), tokens_minute in violation(), tokens_day in violation(),
        retry_after in prop::option::of(prop_oneof![
            (0_u64..600).prop_map(Duration::from_secs),
            (0_u64..600_000_000_000).prop_map(Duration::from_nanos),
        ]),
        reason in prop::option::of(prop::sample::select(&REASONS[..])),
    ) -> Facts {
        let violations = Violations { requests_minute, requests_day, tokens_minute, tokens_day };
        Facts { inner_status, violations, retry_after, reason }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10000))]

    #[test]
    fn reading_gives_back_what_was_told(
        surface in prop::sample::select(&SURFACES[..]),
        wording in prop::sample::select(&WORDINGS[..]),
        status in prop::sample::select(&STATUSES[..]),
        facts_in in any_facts(),
        free_tier in any::<bool>(),
    ) {
        let voice = Voice { surface, wording };
        // An error event comes in a 200 stream; everything else speaks for itself.
        let status = if facts_in.inner_status.is_some() { 200 } else { status };
        let told = voice.tells(status, &facts_in);
        prop_assert_eq!(voice.tells(status, &told), told, "telling twice is telling once");
        let about = About { model: "gemini-2.5-pro", key: "AIzaSyFAKEFAKEFAKE", free_tier };
        let answer = voice.render(status, &facts_in, about);
        prop_assert_eq!(answer.status, status);
        prop_assert_eq!(facts(answer.status, &answer.headers, answer.body.as_bytes(), NOW), told, "{}", answer.body);
    }
}

#[test]
fn the_incident_reads_as_it_was_logged() {
    let facts = Facts { reason: Some(Reason::Overloaded), ..Facts::default() };
    let voice = Voice { surface: Surface::Gemini, wording: Wording::April2025 };
    let answer = voice.render(503, &facts, About { model: "gemini-2.5-pro-preview-03-25", key: "", free_tier: false });
    let logged = "{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"The model is overloaded. Please try again later.\",\n    \"status\": \"UNAVAILABLE\"\n  }\n}\n";
    assert_eq!(answer.body, logged);
}

#[test]
fn a_provider_of_today_tells_every_quota_fact() {
    let facts = Facts {
        violations: Violations {
            requests_minute: Violation::Limit(5),
            requests_day: Violation::Limit(25),
            tokens_minute: Violation::Limit(250_000),
            tokens_day: Violation::Unvalued,
        },
        retry_after: Some(Duration::from_nanos(48_805_646_254)),
        ..Facts::default()
    };
    let today = Voice { surface: Surface::Gemini, wording: Wording::Year2026 };
    assert_eq!(today.tells(429, &facts), facts);
    let april = Voice { wording: Wording::April2025, ..today };
    let told = april.tells(429, &facts);
    assert_eq!(told.retry_after, None, "a spent day came without a delay");
    assert_eq!(told.violations.requests_minute, Violation::Unvalued);
}

#[test]
fn bodies_of_each_year() {
    let facts = Facts {
        violations: Violations {
            requests_day: Violation::Limit(25),
            requests_minute: Violation::Limit(5),
            ..Violations::default()
        },
        retry_after: Some(Duration::from_millis(33_250)),
        ..Facts::default()
    };
    let about = About { model: "gemini-2.5-pro", key: "", free_tier: true };
    let bodies: Vec<String> = WORDINGS
        .into_iter()
        .map(|wording| {
            format!("{wording:?}\n{}", Voice { surface: Surface::Gemini, wording }.render(429, &facts, about).body)
        })
        .collect();
    insta::assert_snapshot!(bodies.join("\n"));
}
