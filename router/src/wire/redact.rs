//! Keeping secrets out of every text that leaves: logs, errors passed to clients, status pages.
//!
//! Two nets, one behind the other: the values we know, and whatever looks like a credential. The second one matters
//! because providers echo keys (the suspended-consumer error holds the whole key) and because clients send keys that
//! we never knew.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem;

/// What stands where a secret was. It has no character that a token may begin with, so redacting twice changes
/// nothing.
const MARK: &str = "[redacted]";

/// Known values shorter than this are no secrets: removing every "a" would hide nothing and ruin the text.
const KNOWN_MIN: usize = 6;

/// Removes from `text` every one of the `secrets` (of 6 bytes or more) and everything key-like: `AIza…`, `AQ.…`, `sk-…`,
/// `gsk_…`, `xai-…`, `ya29.…`, JSON web tokens, `Bearer …`, private key blocks, and the values of names such as `key=`
/// in an address, `api_key:`, `x-goog-api-key:` or `access_token=`. What is not removed stays byte for byte.
pub fn redact<'t, 's>(text: &'t str, secrets: impl IntoIterator<Item = &'s str>) -> Cow<'t, str> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    for secret in secrets.into_iter().filter(|secret| secret.len() >= KNOWN_MIN) {
        spans.extend(occurrences(text, secret).map(|start| start..start + secret.len()));
    }
    find_prefixed(text, &mut spans);
    find_bearer(text, &mut spans);
    find_named(text, &mut spans);
    find_private_keys(text, &mut spans);
    if spans.is_empty() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(without(text, spans))
}

/// Every place where `needle` stands, overlapping ones too.
fn occurrences<'t>(text: &'t str, needle: &'t str) -> impl Iterator<Item = usize> {
    let finder = memmem::Finder::new(needle.as_bytes());
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + finder.find(text.as_bytes().get(from..)?)?;
        from = start + 1;
        Some(start)
    })
}

fn without(text: &str, mut spans: Vec<Range<usize>>) -> String {
    spans.sort_unstable_by_key(|span| (span.start, span.end));
    let mut merged: Vec<Range<usize>> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            Some(_) | None => merged.push(span),
        }
    }
    let mut clean = String::with_capacity(text.len());
    let mut done = 0;
    for span in merged {
        clean.push_str(&text[done..span.start]);
        clean.push_str(MARK);
        done = span.end;
    }
    clean.push_str(&text[done..]);
    clean
}

/// Whether a byte may belong to a token: the characters of base64, its URL-safe variant, and JSON web tokens.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=' | b'%')
}

fn token_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    start + bytes[start..].iter().position(|byte| !is_token(*byte)).unwrap_or(bytes.len() - start)
}

/// Whether a word begins at `start`: a prefix in the middle of another word ("task-force") is not one.
fn begins_word(text: &str, start: usize) -> bool {
    !text.as_bytes()[..start].last().is_some_and(u8::is_ascii_alphanumeric)
}

/// Credentials that say what they are: prefix, and how many more characters at least.
const PREFIXES: &[(&str, usize)] =
    &[("AIza", 8), ("AQ.", 16), ("sk-", 8), ("gsk_", 8), ("xai-", 16), ("ya29.", 8), ("eyJ", 20)];

fn find_prefixed(text: &str, spans: &mut Vec<Range<usize>>) {
    for (prefix, rest_min) in PREFIXES {
        let mut done = 0; // what lies inside the last find is not looked at again, so that the work stays linear
        for start in occurrences(text, prefix).filter(|start| begins_word(text, *start)) {
            if start < done {
                continue;
            }
            done = token_end(text, start);
            if done - start >= prefix.len() + rest_min {
                spans.push(start..done);
            }
        }
    }
}

/// `Bearer TOKEN` in any case; shorter words than eight characters are prose ("bearer token").
fn find_bearer(text: &str, spans: &mut Vec<Range<usize>>) {
    let lower = text.to_ascii_lowercase();
    for start in occurrences(&lower, "bearer") {
        let gap = &text[start + "bearer".len()..];
        let token = start + "bearer".len() + (gap.len() - gap.trim_start_matches([' ', '\t']).len());
        let end = token_end(text, token);
        if token > start + "bearer".len() && end - token >= 8 {
            spans.push(token..end);
        }
    }
}

/// Names whose value is a credential, in lower case with `_` for `-`.
const NAMES: &[&str] =
    &["key", "api_key", "apikey", "x_goog_api_key", "access_token", "client_secret", "authorization"];

/// `name=value`, `name: value`, `"name": "value"`, also percent-encoded. `key` alone is a common word, so it counts
/// only with `=`, as in an address.
fn find_named(text: &str, spans: &mut Vec<Range<usize>>) {
    let lower = text.to_ascii_lowercase().replace('-', "_");
    for name in NAMES {
        let mut done = 0;
        for start in occurrences(&lower, name).filter(|start| begins_name(&lower, *start)) {
            if start < done {
                continue;
            }
            let Some(value) = value_after(text, start + name.len(), *name == "key") else { continue };
            let end = token_end(text, value);
            done = text[value..end].find("%26").map_or(end, |and| value + and);
            // "Authorization: Bearer …" is `find_bearer`'s; the scheme itself is no secret.
            let scheme = matches!(&lower[value..done], "bearer" | "basic");
            if done > value && !scheme {
                spans.push(value..done);
            }
        }
    }
}

/// Whether a name begins at `start`: not in the middle of a longer one, unless that is percent-encoded (`%3Fkey`).
fn begins_name(lower: &str, start: usize) -> bool {
    let before = &lower[..start];
    let inside = before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    !inside || before.ends_with("%3f") || before.ends_with("%26")
}

/// Where the value begins after a name that ends at `end`.
fn value_after(text: &str, end: usize, only_equals: bool) -> Option<usize> {
    const QUOTES: [char; 3] = ['"', '\'', '\\'];
    let rest = text[end..].trim_start_matches(QUOTES).trim_start();
    let after = rest
        .strip_prefix('=')
        .or_else(|| rest.strip_prefix("%3D"))
        .or_else(|| rest.strip_prefix("%3d"))
        .or_else(|| if only_equals { None } else { rest.strip_prefix(':') })?;
    Some(text.len() - after.trim_start().trim_start_matches(QUOTES).len())
}

/// PEM blocks, up to their end line or the end of the text.
fn find_private_keys(text: &str, spans: &mut Vec<Range<usize>>) {
    const BEGIN: &str = "-----BEGIN ";
    let mut done = 0;
    for start in occurrences(text, BEGIN) {
        let label = &text[start + BEGIN.len()..];
        let private = label.find("-----").is_some_and(|end| label[..end].ends_with("PRIVATE KEY"));
        if private && start >= done {
            done = text[start..].find("-----END ").map_or(text.len(), |end| start + end);
            spans.push(start..done);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "AIzaSyD-test-key-that-nobody-was-given-";

    fn clean(text: &str) -> Cow<'_, str> {
        redact(text, [])
    }

    #[test]
    fn key_like_things_are_removed_and_nothing_else() {
        let cases = [
            (
                "Permission denied: Consumer 'api_key:abc' has been suspended.",
                "Permission denied: Consumer 'api_key:[redacted]' has been suspended.",
            ),
            ("GET /v1beta/models?pageSize=5&key=short&alt=sse", "GET /v1beta/models?pageSize=5&key=[redacted]&alt=sse"),
            ("https://h/p?key=a%2Bb&alt=sse", "https://h/p?key=[redacted]&alt=sse"),
            (
                "to=https%3A%2F%2Fh%2Fp%3Fkey%3Dsecret%26alt%3Dsse",
                "to=https%3A%2F%2Fh%2Fp%3Fkey%3D[redacted]%26alt%3Dsse",
            ),
            ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer [redacted]"),
            ("authorization: bearer\tabcdefgh12345", "authorization: bearer\t[redacted]"),
            ("Authorization: abcdefgh12345", "Authorization: [redacted]"),
            (r#"{"x-goog-api-key": "abc", "n": 1}"#, r#"{"x-goog-api-key": "[redacted]", "n": 1}"#),
            (r#"{\"api_key\": \"abc\"}"#, r#"{\"api_key\": \"[redacted]\"}"#),
            ("Incorrect API key provided: sk-proj-abcdefgh.", "Incorrect API key provided: [redacted]"),
            ("gsk_0123456789 and xai-0123456789abcdef", "[redacted] and [redacted]"),
            ("-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----", "[redacted]-----END PRIVATE KEY-----"),
        ];
        for (text, expected) in cases {
            assert_eq!(clean(text), expected);
            assert_eq!(clean(expected), expected, "a second time");
        }
    }

    #[test]
    fn prose_stays() {
        for text in [
            "a task-force of monkeys; the key point: retry",
            "Missing bearer token",
            r#"{"key": "value", "keys": 21, "monkey=": 1}"#,
            "The model is overloaded. Please try again later.",
            "desk-research-institute",
            "",
            "café ☕ key",
        ] {
            assert!(matches!(clean(text), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn known_values_go_wherever_they_stand() {
        assert_eq!(redact("xhunter2hunter2y hunter2", ["hunter2", "", "x"]), "x[redacted]y [redacted]");
        assert_eq!(redact("abcabcabcabc", ["abcabcabc"]), MARK);
    }

    proptest! {
        #[test]
        fn no_known_secret_survives(
            secrets in prop::collection::vec("[a-zA-Z0-9+/=_éß-]{8,40}", 1..4),
            between in prop::collection::vec(".{0,20}", 5),
            picks in prop::collection::vec(0_usize..4, 5),
        ) {
            prop_assume!(!secrets.iter().any(|secret| MARK.contains(secret.as_str())));
            let text: String = between.iter().zip(&picks)
                .map(|(text, pick)| format!("{text}{}", secrets[pick % secrets.len()])).collect();
            let clean = redact(&text, secrets.iter().map(String::as_str));
            for secret in &secrets {
                prop_assert!(!clean.contains(secret.as_str()), "{secret} in {clean}");
            }
        }

        #[test]
        fn no_google_key_survives(before in ".{0,30}[^a-zA-Z0-9]", after in "[^a-zA-Z0-9].{0,30}") {
            let text = format!("{before}{KEY}{after}");
            prop_assert!(!clean(&text).contains("AIzaSyD"));
        }

        #[test]
        fn whatever_follows_a_key_parameter_goes(value in "[a-zA-Z0-9_.~-]{1,60}", before in "[a-z/]{0,20}") {
            let text = format!("https://host/{before}?alt=sse&key={value}&n=1");
            let expected = format!("https://host/{before}?alt=sse&key=[redacted]&n=1");
            prop_assert_eq!(clean(&text), expected);
        }

        #[test]
        fn any_text_twice_is_once(text in ".{0,200}") {
            let once = clean(&text).into_owned();
            prop_assert_eq!(clean(&once), once.as_str());
        }
    }
}
