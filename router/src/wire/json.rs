//! Reading JSON one level at a time.
//!
//! Translation looks at few members and carries the rest along. So an object is read as a list of names with the
//! *source text* of their values, and a value is opened only when its meaning matters: a prompt of a hundred kilobytes
//! is copied as it stands, escapes included, and never decoded and encoded again. Members keep their order, unknown
//! ones are seen, and every refusal names the member by its path.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr2;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

/// Why a request cannot be sent on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The client's request is at fault, or asks for what the upstream's dialect cannot express: a 400.
    #[error("{param}: {problem}")]
    BadRequest {
        /// The member at fault, as a path: `messages[3].content`.
        param: String,
        /// What is wrong with it.
        problem: String,
    },
    /// These addresses stand where the upstream's dialect needs the bytes. Fetch them, if that is allowed, and ask
    /// again with [`Fetched`](super::Fetched) values.
    #[error("images must be fetched first: {}", .0.join(", "))]
    NeedsFetching(Vec<String>),
}

/// A place in a document, as a chain of steps that lives on the stack; written out only for a refusal.
#[derive(Clone, Copy)]
pub(super) struct At<'p> {
    parent: Option<&'p Self>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root,
    Field(&'p str),
    Index(usize),
}

impl<'p> At<'p> {
    pub(super) const ROOT: Self = Self { parent: None, step: Step::Root };

    pub(super) fn field(&'p self, name: &'p str) -> Self {
        Self { parent: Some(self), step: Step::Field(name) }
    }

    pub(super) fn index(&'p self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    pub(super) fn refuse(&self, problem: impl Into<String>) -> Refusal {
        Refusal::BadRequest { param: self.to_string(), problem: problem.into() }
    }

    /// This member has no counterpart in the upstream's dialect.
    pub(super) fn no_place(&self) -> Refusal {
        self.refuse("is not supported by the model's provider; leave it out")
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent = match self.parent {
            Some(Self { step: Step::Root, .. }) | None => None,
            Some(parent) => Some(parent),
        };
        if let Some(parent) = parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => f.write_str("body"),
            Step::Field(name) if parent.is_some() => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A string that borrows from its source unless it has escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// An object's members in their order, those that are `null` left out: in these APIs `null` means absent.
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Opens a whole body.
    pub(super) fn of_body(body: &'a [u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(body).map_err(|error| At::ROOT.refuse(format!("is not a JSON object: {error}")))
    }

    pub(super) fn of(value: &'a RawValue, at: &At<'_>) -> Result<Self, Refusal> {
        serde_json::from_str(value.get()).map_err(|_not_an_object| at.refuse("must be an object"))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.iter().filter(|(own, _)| *own == name).map(|(_, value)| value).last()
    }

    /// The member that must be there.
    pub(super) fn need(&self, name: &str, at: &At<'_>) -> Result<&'a RawValue, Refusal> {
        self.get(name).ok_or_else(|| at.field(name).refuse("is required"))
    }

    /// With names in camel case, for dialects that take both spellings.
    pub(super) fn camel(mut self) -> Self {
        for (name, _) in &mut self.0 {
            if name.contains('_') {
                *name = Cow::Owned(camel(name));
            }
        }
        self
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some((name, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    if value.get() != "null" {
                        fields.push((name.0, value));
                    }
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

fn camel(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = !camel.is_empty();
        } else {
            camel.push(if upper { c.to_ascii_uppercase() } else { c });
            upper = false;
        }
    }
    camel
}

/// A string's content.
pub(super) fn string<'a>(value: &'a RawValue, at: &At<'_>) -> Result<Cow<'a, str>, Refusal> {
    serde_json::from_str::<Text<'a>>(value.get()).map(|text| text.0).map_err(|_other| at.refuse("must be a string"))
}

/// An array's elements.
pub(super) fn elements<'a>(value: &'a RawValue, at: &At<'_>) -> Result<Vec<&'a RawValue>, Refusal> {
    serde_json::from_str(value.get()).map_err(|_other| at.refuse("must be an array"))
}

/// Anything small that serde knows.
pub(super) fn value<T: DeserializeOwned>(value: &RawValue, expected: &str, at: &At<'_>) -> Result<T, Refusal> {
    serde_json::from_str(value.get()).map_err(|_other| at.refuse(format!("must be {expected}")))
}

pub(super) fn is_string(value: &RawValue) -> bool {
    value.get().starts_with('"')
}

pub(super) fn is_array(value: &RawValue) -> bool {
    value.get().starts_with('[')
}

pub(super) fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

/// Whether a value says nothing: `""`, `[]`, `{}`, `false`, `null`, whatever the blanks inside.
pub(super) fn is_empty(value: &RawValue) -> bool {
    let mut bytes = value.get().bytes().filter(|byte| !byte.is_ascii_whitespace());
    let first_two = (bytes.next(), bytes.next());
    matches!(first_two, (Some(b'['), Some(b']')) | (Some(b'{'), Some(b'}')) | (Some(b'n'), _) | (Some(b'f'), _))
        || value.get() == "\"\""
}

/// A value on its way to the other side: source text where possible, rebuilt where necessary.
#[derive(Clone, Debug)]
pub(super) enum Json<'a> {
    /// As it stood in its source.
    Raw(&'a RawValue),
    /// As it stood inside a string of its source.
    Own(Box<RawValue>),
    /// A string.
    Text(Cow<'a, str>),
    /// Anything.
    Tree(Value),
    /// An array of ours.
    List(Vec<Self>),
    /// An object of ours.
    Members(Members<'a>),
}

/// An object of ours, with its members in the order in which they were set.
#[derive(Clone, Debug, Default)]
pub(super) struct Members<'a>(Vec<(&'static str, Json<'a>)>);

impl<'a> Members<'a> {
    pub(super) fn of<const N: usize>(members: [(&'static str, Json<'a>); N]) -> Self {
        Self(members.into())
    }

    /// Sets a member; set twice, the last value counts.
    pub(super) fn set(&mut self, name: &'static str, value: Json<'a>) {
        match self.0.iter_mut().find(|(own, _)| *own == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One member's value.
    pub(super) fn into_value(self, name: &str) -> Option<Json<'a>> {
        self.0.into_iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }
}

impl<'a> Json<'a> {
    pub(super) const NULL: Self = Self::Tree(Value::Null);

    pub(super) fn object<const N: usize>(members: [(&'static str, Self); N]) -> Self {
        Self::Members(Members::of(members))
    }

    pub(super) const fn constant(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    pub(super) fn tree(value: impl Into<Value>) -> Self {
        Self::Tree(value.into())
    }

    /// JSON text from inside a string, if it is an object.
    pub(super) fn object_in(text: &str) -> Option<Self> {
        let raw: Box<RawValue> = serde_json::from_str(text).ok()?;
        is_object(&raw).then_some(Self::Own(raw))
    }

    /// Whether it is the empty string.
    pub(super) fn is_empty_text(&self) -> bool {
        match self {
            Self::Raw(raw) => raw.get() == "\"\"",
            Self::Text(text) => text.is_empty(),
            Self::Own(_) | Self::Tree(_) | Self::List(_) | Self::Members(_) => false,
        }
    }

    /// Its content, if it is a string.
    pub(super) fn text(&self) -> Option<Cow<'a, str>> {
        match self {
            Self::Raw(raw) => serde_json::from_str::<Text<'a>>(raw.get()).ok().map(|text| text.0),
            Self::Text(text) => Some(text.clone()),
            Self::Own(_) | Self::Tree(_) | Self::List(_) | Self::Members(_) => None,
        }
    }

    /// Its source text.
    pub(super) fn source(&self) -> Cow<'a, str> {
        match self {
            Self::Raw(raw) => Cow::Borrowed(raw.get()),
            Self::Own(_) | Self::Text(_) | Self::Tree(_) | Self::List(_) | Self::Members(_) => {
                Cow::Owned(String::from_utf8(to_vec(self)).unwrap_or_default())
            }
        }
    }
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Raw(raw) => raw.serialize(serializer),
            Self::Own(raw) => raw.serialize(serializer),
            Self::Text(text) => text.serialize(serializer),
            Self::Tree(tree) => tree.serialize(serializer),
            Self::List(list) => list.serialize(serializer),
            Self::Members(members) => members.serialize(serializer),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Self::Raw)
    }
}

/// For members that servers send as `null` where they mean "none of them".
pub(super) fn null_is_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    Option::deserialize(d).map(Option::unwrap_or_default)
}

/// For members whose presence is all that matters.
pub(super) type Present = Option<IgnoredAny>;

/// Serialises what consists of text, numbers and raw values only, which cannot fail.
pub(super) fn to_vec(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// Appends one event. A payload must be one line; source text that was carried along may have more, outside of its
/// strings.
pub(super) fn write_event(out: &mut Vec<u8>, before: &[u8], payload: &[u8], after: &[u8]) {
    out.extend_from_slice(before);
    if memchr2(b'\n', b'\r', payload).is_none() {
        out.extend_from_slice(payload);
    } else {
        // A line end inside of a string is escaped, so every bare one is between tokens.
        out.extend(payload.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')));
    }
    out.extend_from_slice(after);
}

/// Appends one event whose payload is this value, as [`write_event`] does, without writing the payload twice.
pub(super) fn write_value(out: &mut Vec<u8>, before: &[u8], value: &impl Serialize, after: &[u8]) {
    out.extend_from_slice(before);
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        // As in `to_vec`.
        out.truncate(start);
    }
    if memchr2(b'\n', b'\r', &out[start..]).is_some() {
        let payload = out.split_off(start);
        out.extend(payload.into_iter().filter(|byte| !matches!(byte, b'\n' | b'\r')));
    }
    out.extend_from_slice(after);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_people_write_them() {
        let root = At::ROOT;
        let (messages, first);
        messages = root.field("messages");
        first = messages.index(3);
        assert_eq!(first.field("content").to_string(), "messages[3].content");
        assert_eq!(root.to_string(), "body");
    }

    #[test]
    fn both_spellings_become_one() {
        let source = r#"{"max_output_tokens":1,"topP":2,"_x_y":3,"gone":null}"#;
        let fields = Fields::of_body(source.as_bytes()).unwrap().camel();
        let names: Vec<&str> = fields.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["maxOutputTokens", "topP", "xY"]);
    }

    #[test]
    fn emptiness_is_seen_through_blanks() {
        let empty = |text: &str| is_empty(&RawValue::from_string(text.to_owned()).unwrap());
        for text in ["\"\"", "[]", "[ ]", "{\n}", "null", "false"] {
            assert!(empty(text), "{text}");
        }
        for text in ["\" \"", "[1]", "{\"a\":1}", "true", "0"] {
            assert!(!empty(text), "{text}");
        }
    }
}
