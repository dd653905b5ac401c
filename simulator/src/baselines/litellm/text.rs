//! The original's error texts: written out on request, and otherwise only measured.
//!
//! 1.66 quotes in every "No deployments available" the texts of all benched deployments, and its own earlier texts
//! among them, escaped once more each time, so that texts grow to megabytes within a dozen generations. One
//! description of a text therefore serves two ends, [`String`] and [`Size`]; the size of a quotation follows from how
//! many characters of each kind a text has, without the text.

use serde::{Deserialize, Serialize};
use stormproof_router::core::Duration;

use super::failure::Origin;

/// Where a text goes.
pub(super) trait Text: Sized + Default {
    /// Appends plain text.
    fn push(&mut self, text: &str);

    /// Appends a text of the same sort.
    fn append(&mut self, text: &Self);

    /// Appends `inner` as Python's `repr` prints a string.
    fn push_repr(&mut self, inner: &Self);

    /// Appends a text of which only the size is known.
    fn push_counted(&mut self, size: &Size);

    /// Appends one line of the cooldown list, whose size is known.
    fn push_entry<'a>(&mut self, size: &Size, entry: impl FnOnce() -> Entry<'a>);

    /// Whether nothing has been appended yet.
    fn is_blank(&self) -> bool;
}

/// How many characters of each kind a text has: what its length, and the length of every quotation of it, follow from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Size {
    /// Bytes in all.
    pub(super) bytes: u64,
    single_quotes: u64,
    double_quotes: u64,
    backslashes: u64,
    newlines: u64,
}

impl Size {
    /// No text.
    pub(super) const EMPTY: Self = Self { bytes: 0, single_quotes: 0, double_quotes: 0, backslashes: 0, newlines: 0 };

    /// Both texts, one after the other.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            single_quotes: self.single_quotes.saturating_add(other.single_quotes),
            double_quotes: self.double_quotes.saturating_add(other.double_quotes),
            backslashes: self.backslashes.saturating_add(other.backslashes),
            newlines: self.newlines.saturating_add(other.newlines),
        }
    }

    /// The text as `repr` prints it: in single quotes unless only double ones can do without escapes; backslashes
    /// doubled, newlines written as two characters.
    pub(super) const fn repr(self) -> Self {
        let in_double = self.single_quotes > 0 && self.double_quotes == 0;
        let escaped_quotes = if in_double { 0 } else { self.single_quotes };
        let escapes = self.backslashes.saturating_add(self.newlines).saturating_add(escaped_quotes);
        Self {
            bytes: self.bytes.saturating_add(escapes).saturating_add(2),
            single_quotes: self.single_quotes.saturating_add(if in_double { 0 } else { 2 }),
            double_quotes: self.double_quotes.saturating_add(if in_double { 2 } else { 0 }),
            backslashes: self.backslashes.saturating_add(escapes),
            newlines: 0,
        }
    }

    /// The first `bytes` of the text at most, of whose characters nothing more is known.
    pub(super) const fn cut(self, bytes: u64) -> Self {
        if self.bytes <= bytes { self } else { Self { bytes, ..Self::EMPTY } }
    }
}

impl Text for Size {
    fn push(&mut self, text: &str) {
        // One pass a character instead of one for all: these loops become vector instructions.
        let count = |wanted: u8| text.bytes().map(|byte| u64::from(byte == wanted)).sum();
        *self = self.plus(Self {
            bytes: text.len() as u64,
            single_quotes: count(b'\''),
            double_quotes: count(b'"'),
            backslashes: count(b'\\'),
            newlines: count(b'\n'),
        });
    }

    fn append(&mut self, text: &Self) {
        *self = self.plus(*text);
    }

    fn push_repr(&mut self, inner: &Self) {
        *self = self.plus(inner.repr());
    }

    fn push_counted(&mut self, size: &Size) {
        *self = self.plus(*size);
    }

    fn push_entry<'a>(&mut self, size: &Size, _entry: impl FnOnce() -> Entry<'a>) {
        *self = self.plus(*size);
    }

    fn is_blank(&self) -> bool {
        self.bytes == 0
    }
}

impl Text for String {
    fn push(&mut self, text: &str) {
        self.push_str(text);
    }

    fn append(&mut self, text: &Self) {
        self.push_str(text);
    }

    fn push_repr(&mut self, inner: &Self) {
        let quote = if inner.contains('\'') && !inner.contains('"') { '"' } else { '\'' };
        self.push(quote);
        for character in inner.chars() {
            match character {
                '\\' => self.push_str("\\\\"),
                '\n' => self.push_str("\\n"),
                quoted if quoted == quote => {
                    self.push('\\');
                    self.push(quoted);
                }
                other => self.push(other),
            }
        }
        self.push(quote);
    }

    fn push_counted(&mut self, size: &Size) {
        self.push_str(&format!("<{} bytes that quote an earlier list>", size.bytes));
    }

    fn push_entry<'a>(&mut self, _size: &Size, line: impl FnOnce() -> Entry<'a>) {
        self.push_str(&entry::<Self>(&line()));
    }

    fn is_blank(&self) -> bool {
        self.is_empty()
    }
}

/// One line of the cooldown list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) id: &'a str,
    pub(super) received: Received,
    pub(super) provider: &'a str,
    pub(super) openai_like: bool,
    pub(super) status: u16,
    /// Seconds since the Unix epoch.
    pub(super) timestamp: f64,
    pub(super) cooldown_time: Duration,
    /// Whether the list says more than the id.
    pub(super) quoted: bool,
}

/// What a deployment was benched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Received {
    /// A provider's error.
    Provider(Origin),
    /// The router's own "No deployments available", counted and not kept.
    Selection(Size),
}

/// The text of `exception_received` for a provider's error, which for a mapped one is what clients are shown, too.
pub(super) fn provider_error<T: Text>(origin: Origin, provider: &str, openai_like: bool) -> T {
    let mut text = T::default();
    if openai_like {
        let mut name = provider.to_owned();
        if let Some(first) = name.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        text.push(&format!("litellm.{0}: {0}: {name}Exception - ", origin.kind.class()));
        text.push(flat_message(origin.status));
        return text;
    }
    if !origin.raw {
        text.push(&format!("litellm.{0}: litellm.{0}: VertexAIException - ", origin.kind.class()));
    }
    let mut body = T::default();
    let (status, message) = google_message(origin.status);
    body.push(&format!(
        "{{\n  \"error\": {{\n    \"code\": {},\n    \"message\": \"{message}\",\n    \"status\": \"{status}\"\n  }}\n}}\n",
        origin.status
    ));
    text.push("b");
    text.push_repr(&body);
    text
}

/// One entry of the list: `('id', {...})` as 1.66 prints it, or just `'id'`.
pub(super) fn entry<T: Text>(entry: &Entry<'_>) -> T {
    if !entry.quoted {
        let mut text = T::default();
        text.push(&format!("'{}'", entry.id));
        return text;
    }
    let received = match entry.received {
        Received::Provider(origin) => provider_error::<T>(origin, entry.provider, entry.openai_like),
        Received::Selection(size) => {
            let mut text = T::default();
            text.push_counted(&size);
            text
        }
    };
    let mut text = T::default();
    text.push(&format!("('{}', {{'exception_received': ", entry.id));
    text.push_repr(&received);
    text.push(&format!(
        ", 'status_code': '{}', 'timestamp': {}, 'cooldown_time': {}}})",
        entry.status,
        entry.timestamp,
        seconds(entry.cooldown_time)
    ));
    text
}

/// "No deployments available" around the list, whose entries are rendered already.
pub(super) fn no_deployments<T: Text>(group: &str, cooldown: Duration, list: &T, quoted: bool) -> T {
    let mut text = T::default();
    if !quoted {
        text.push("All deployments for selected model are in cooldown. ");
    }
    text.push("No deployments available for selected model, Try again in ");
    text.push(&seconds(cooldown));
    text.push(" seconds. Passed model=");
    text.push(group);
    text.push(". pre-call-checks=False, cooldown_list=[");
    text.append(list);
    text.push("]");
    text
}

/// What 1.66 appends to a group's exception once its fallbacks have failed, too: where it had looked.
pub(super) fn looked_at<'a, T: Text>(group: &str, targets: Option<impl Iterator<Item = &'a str>>) -> T {
    let mut text = T::default();
    text.push(". Received Model Group=");
    text.push(group);
    text.push("\nAvailable Model Group Fallbacks=");
    let Some(targets) = targets else {
        text.push("None");
        return text;
    };
    for (index, target) in targets.enumerate() {
        text.push(if index == 0 { "['" } else { "', '" });
        text.push(target);
    }
    text.push("']");
    text
}

/// What a group's exception gets appended for a fallback that failed.
pub(super) fn also_failed<T: Text>(group: &str, target: &str, failure: &T, early: bool) -> T {
    let mut text = T::default();
    if early {
        text.push("\nError doing the fallback: ");
    } else {
        text.push(" LiteLLM: model group '");
        text.push(group);
        text.push("' failed with the error above. Fallback to ");
        text.push(target);
        text.push(" also failed: ");
    }
    text.append(failure);
    text
}

/// A number of seconds as Python prints it: whole ones without a fraction, as they stand in configurations.
fn seconds(duration: Duration) -> String {
    duration.as_secs_f64().to_string()
}

/// Status word and message of Google's errors, as they were in 2025.
const fn google_message(status: u16) -> (&'static str, &'static str) {
    match status {
        400 => ("INVALID_ARGUMENT", "Request contains an invalid argument."),
        401 => ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
        403 => ("PERMISSION_DENIED", "Permission denied."),
        404 => ("NOT_FOUND", "The model is not found, or is not supported for generateContent."),
        429 => ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
        503 => ("UNAVAILABLE", "The model is overloaded. Please try again later."),
        504 => ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
        _ => ("INTERNAL", "Internal error encountered."),
    }
}

/// The message of an OpenAI-like provider.
const fn flat_message(status: u16) -> &'static str {
    match status {
        401 | 403 => "Unauthorized",
        404 => "Not found",
        429 => "Requests rate limit exceeded",
        400..=499 => "Bad request",
        _ => "Service unavailable.",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn measured(text: &str) -> Size {
        let mut size = Size::default();
        size.push(text);
        size
    }

    fn printed(text: &str) -> String {
        let mut printed = String::default();
        printed.push_repr(&text.to_owned());
        printed
    }

    #[test]
    fn quotations_look_like_pythons() {
        let cases = [
            ("plain", "'plain'"),
            ("it's", "\"it's\""),
            ("say \"it's\"", "'say \"it\\'s\"'"),
            ("two\nlines\\", "'two\\nlines\\\\'"),
        ];
        for (text, quoted) in cases {
            assert_eq!(printed(text), quoted);
        }
    }

    proptest! {
        /// The size of a quotation, of a quotation of it, and so on, without any of the texts.
        #[test]
        fn a_size_knows_the_size_of_its_quotations(text in "[a-c'\"\\\\\n]{0,24}", head in "[a-c'\"\n]{0,8}") {
            let (mut text, mut size) = (text.clone(), measured(&text));
            for _ in 0..6 {
                let (quoted, quoted_size) = (printed(&text), size.repr());
                text = format!("{head}{quoted}{quoted}");
                size = measured(&head).plus(quoted_size).plus(quoted_size);
                prop_assert_eq!(size, measured(&text));
            }
        }
    }

    #[test]
    fn a_list_is_measured_as_it_is_written() {
        let provider = stormproof_router::core::ProviderId::new(0);
        for (status, openai_like, raw) in
            [(503, false, true), (503, false, false), (429, true, false), (500, false, false)]
        {
            let origin = Origin { provider, status, kind: super::super::failure::Kind::InternalServer, raw };
            let line = Entry {
                id: "a1",
                received: Received::Provider(origin),
                provider: "mistral",
                openai_like,
                status,
                timestamp: 1_745_040_057.644_344_3,
                cooldown_time: Duration::from_millis(2_500),
                quoted: true,
            };
            let (written, size): (String, Size) = (entry(&line), entry(&line));
            assert_eq!(measured(&written), size);
            assert!(written.ends_with("'timestamp': 1745040057.6443443, 'cooldown_time': 2.5})"), "{written}");
            let list: String = no_deployments("a", Duration::from_secs(60), &written, true);
            assert_eq!(measured(&list), no_deployments("a", Duration::from_secs(60), &size, true));
        }
    }
}
