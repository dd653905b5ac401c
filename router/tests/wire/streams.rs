//! Streams in recorded form, through every translation, cut into every kind of piece.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use stormproof_router::core::{Reason, Usage};
use stormproof_router::wire::{Dialect, Failure, Framing, Front, Identity, Stream};

fn recorded(name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire/streams").join(name)).unwrap()
}

fn identity() -> Identity {
    Identity { id: "q7".into(), created: 1_745_040_057, model: "gemini-2.5-pro".into() }
}

fn dialect_of(name: &str) -> (Dialect, Framing) {
    let framing = if name.ends_with(".json") { Framing::Array } else { Framing::Sse };
    (if name.starts_with("gemini") { Dialect::Gemini } else { Dialect::OpenAi }, framing)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    out: String,
    ending: Result<(), Failure>,
    good: bool,
    usage: Option<Usage>,
}

/// What comes out of a stream that is cut into pieces at the given places.
fn through(front: Front, name: &str, bytes: &[u8], cuts: &[usize]) -> Seen {
    let (dialect, framing) = dialect_of(name);
    let mut stream = Stream::new(front, dialect, framing, identity()).include_usage(true);
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
    places.sort_unstable();
    let mut out = Vec::new();
    let mut ending = Ok(());
    for pair in places.windows(2) {
        ending = stream.push(&bytes[pair[0]..pair[1]], &mut out);
        if ending.is_err() {
            break;
        }
    }
    let ending = ending.and_then(|()| stream.end(&mut out));
    Seen { out: String::from_utf8(out).unwrap(), ending, good: stream.is_good(), usage: stream.usage() }
}

const NAMES: [&str; 16] = [
    "gemini-thoughts.sse",
    "gemini-tools.sse",
    "gemini-error-event.sse",
    "gemini-raw-error.sse",
    "gemini-cut.sse",
    "gemini-blocked.sse",
    "gemini-vertex.sse",
    "gemini-max-tokens.sse",
    "gemini-array.json",
    "gemini-array-error.json",
    "mistral.sse",
    "openai-tools.sse",
    "openai-comments.sse",
    "openai-error-event.sse",
    "mistral-error-event.sse",
    "openai-thinking-parts.sse",
];
const FRONTS: [Front; 3] = [Front::Chat, Front::Responses, Front::Gemini];

#[test]
fn golden_translations() {
    for name in NAMES {
        let bytes = recorded(name);
        for front in FRONTS {
            let seen = through(front, name, &bytes, &[]);
            let text = format!(
                "ending: {:?}\ngood: {}\nusage: {:?}\n---\n{}",
                seen.ending,
                seen.good,
                seen.usage,
                seen.out.replace('\r', "\\r")
            );
            insta::assert_snapshot!(format!("{name}-{front:?}"), text);
        }
    }
}

#[test]
fn the_same_dialect_passes_byte_for_byte() {
    for (front, names) in [
        (Front::Gemini, &["gemini-thoughts.sse", "gemini-tools.sse", "gemini-vertex.sse", "gemini-array.json"][..]),
        (Front::Chat, &["mistral.sse", "openai-tools.sse", "openai-comments.sse"][..]),
    ] {
        for name in names {
            let bytes = recorded(name);
            let seen = through(front, name, &bytes, &[]);
            assert_eq!(seen.out.as_bytes(), bytes, "{name}");
            assert_eq!(seen.ending, Ok(()), "{name}");
        }
    }
}

#[test]
fn failures_are_told_and_never_passed_on() {
    for front in FRONTS {
        for (name, status, reason) in [
            ("gemini-error-event.sse", 503, Some(Reason::Overloaded)),
            ("gemini-raw-error.sse", 503, Some(Reason::Overloaded)),
            ("gemini-array-error.json", 429, None),
            ("openai-error-event.sse", 500, None),
            ("mistral-error-event.sse", 429, Some(Reason::Overloaded)),
        ] {
            let seen = through(front, name, &recorded(name), &[]);
            let Err(Failure::Error(facts)) = seen.ending else { panic!("{name}: {seen:?}") };
            assert_eq!((facts.inner_status, facts.reason), (Some(status), reason), "{name}");
            for word in ["overloaded", "UNAVAILABLE", "exhausted", "capacity", "server_error"] {
                assert!(!seen.out.contains(word), "{name}: {}", seen.out);
            }
            assert_eq!(seen.good, name != "gemini-array-error.json", "{name}");
        }
        let seen = through(front, "gemini-cut.sse", &recorded("gemini-cut.sse"), &[]);
        assert_eq!(seen.ending, Err(Failure::Cut));
        assert!(!seen.out.contains("[DONE]") && !seen.out.contains("response.completed"));
    }
}

#[test]
fn garbage_is_malformed_and_emptiness_is_cut() {
    for front in FRONTS {
        let seen = through(front, "gemini.sse", b"data: <html>\n\n", &[]);
        assert_eq!((seen.ending, seen.good), (Err(Failure::Malformed), false));
        let seen = through(front, "gemini.sse", b"", &[]);
        assert_eq!((seen.ending, seen.good), (Err(Failure::Cut), false));
    }
}

#[test]
fn a_hidden_usage_chunk_is_counted_and_kept_back() {
    let bytes = recorded("openai-tools.sse");
    let mut stream = Stream::new(Front::Chat, Dialect::OpenAi, Framing::Sse, identity()).hide_usage(true);
    let mut out = Vec::new();
    stream.push(&bytes, &mut out).unwrap();
    stream.end(&mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(!out.contains("usage") && out.ends_with("data: [DONE]\n\n"), "{out}");
    assert_eq!(stream.usage().map(|usage| usage.output.get()), Some(9));
}

/// A model may lay out its arguments over several lines; an event has only one.
#[test]
fn no_line_end_breaks_an_event() {
    let chunk = r#"data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f",
data:  "arguments":"{\n  \"a\": \"b\\nc\"\n}"}}]},"finish_reason":"tool_calls"}]}

data: [DONE]

"#;
    let seen = through(Front::Gemini, "openai.sse", chunk.as_bytes(), &[]);
    assert_eq!(seen.ending, Ok(()));
    let data = seen.out.strip_prefix("data: ").and_then(|rest| rest.strip_suffix("\r\n\r\n")).unwrap();
    assert!(!data.contains('\n'), "{data}");
    let event: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(event["candidates"][0]["content"]["parts"][0]["functionCall"]["args"]["a"], "b\nc");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_pieces_make_no_difference(
        which in 0..NAMES.len(),
        front in prop::sample::select(&FRONTS[..]),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
    ) {
        let name = NAMES[which];
        let bytes = recorded(name);
        prop_assert_eq!(through(front, name, &bytes, &[]), through(front, name, &bytes, &cuts), "{}", name);
    }

    #[test]
    fn mutilated_streams_end_somehow(
        which in 0..NAMES.len(),
        front in prop::sample::select(&FRONTS[..]),
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6),
        cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        let name = NAMES[which];
        let mut bytes = recorded(name);
        for (place, byte) in changes {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        let (dialect, framing) = dialect_of(name);
        let mut stream = Stream::new(front, dialect, framing, identity());
        let mut out = Vec::new();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
        places.sort_unstable();
        for pair in places.windows(2) {
            if stream.push(&bytes[pair[0]..pair[1]], &mut out).is_err() {
                break;
            }
        }
        let _ending = stream.end(&mut out);
        if front != Front::Gemini && dialect == Dialect::Gemini {
            // Whatever came in, what went out is well-formed.
            for block in String::from_utf8_lossy(&out).split("\n\n").filter(|block| !block.is_empty()) {
                let data = block.lines().find_map(|line| line.strip_prefix("data: "));
                let data = data.unwrap_or_else(|| panic!("{block}"));
                prop_assert!(data == "[DONE]" || serde_json::from_str::<serde_json::Value>(data).is_ok(), "{}", data);
            }
        }
    }
}
