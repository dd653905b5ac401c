//! A YAML file as a tree in which every value knows its place.
//!
//! The tree is what lets one run report all mistakes instead of the first: [`decode`](super::decode::decode) walks it
//! again without the parts that were wrong. Scalars keep the text that was written, so that a value means what its
//! field says it means: `off` is a word, `1.10` a version and `22:20` a time, whatever YAML would make of them.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::problem::{Errors, Problem, Spot};

/// Largest file that is read, in bytes; a scenario with a scripted day fits many times.
const BYTES_MAX: usize = 16 << 20;

/// One value of a file.
#[derive(Clone)]
pub struct Node {
    /// Where it begins.
    pub(super) spot: Spot,
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Clone)]
pub(super) enum Value {
    Nothing,
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One line of a map.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_spot: Spot,
    pub(super) value: Node,
}

impl Node {
    /// Reads a file's text; `origin` is what messages call the file.
    ///
    /// # Errors
    /// What is not YAML, keys that stand twice in one map, more than one document, and files made to exhaust memory
    /// (alias bombs, deep nesting, more than 16 MiB).
    pub fn parse(text: &str, origin: &Arc<str>) -> Result<Self, Errors> {
        if text.len() > BYTES_MAX {
            let message = format!("the file is larger than {} MiB; is it the right one?", BYTES_MAX >> 20);
            return Err(Errors::one(Problem::new(origin, None, message)));
        }
        // No snippets: a file may hold inline keys, and messages end in logs.
        let options = serde_saphyr::options! {
            with_snippet: false,
            strict_booleans: true,
            duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
            non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
        };
        let raw: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let spot = error.location().map(|at| spot(at.line(), at.column()));
            let said = error.to_string();
            // The place stands in front already.
            let said = said.split(" at line ").next().unwrap_or_default();
            Errors::one(Problem::new(origin, spot, format!("not readable as YAML: {said}")))
        })?;
        let mut reader = Reader { text, origin, problems: Vec::new() };
        let node = reader.node(raw);
        Errors::of(reader.problems).map_or(Ok(node), Err)
    }

    /// Where it begins.
    pub fn spot(&self) -> Spot {
        self.spot
    }

    /// Its text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Nothing | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The entries of a map, with the places of their names; none of anything else.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Spot, &Node)> {
        let entries: &[Entry] = match &self.value {
            Value::Map(entries) => entries,
            Value::Nothing | Value::Text(_) | Value::List(_) => &[],
        };
        entries.iter().map(|entry| (entry.key.as_str(), entry.key_spot, &entry.value))
    }

    /// The entry of that name.
    pub fn entry(&self, name: &str) -> Option<&Node> {
        self.entries().find_map(|(key, _, value)| (key == name).then_some(value))
    }

    /// A map without these entries; anything else as it is.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        let value = match &self.value {
            Value::Map(entries) => {
                Value::Map(entries.iter().filter(|entry| !names.contains(&entry.key.as_str())).cloned().collect())
            }
            Value::Nothing | Value::Text(_) | Value::List(_) => self.value.clone(),
        };
        Self { spot: self.spot, value }
    }

    /// Puts `node` in the place of the entry of that name, or adds it. What is no map becomes one.
    pub fn put(&mut self, name: &str, node: Node) {
        if !matches!(self.value, Value::Map(_)) {
            self.value = Value::Map(Vec::new());
        }
        let Value::Map(entries) = &mut self.value else { return };
        match entries.iter_mut().find(|entry| entry.key == name) {
            Some(entry) => entry.value = node,
            None => entries.push(Entry { key: name.to_owned(), key_spot: Spot::default(), value: node }),
        }
    }

    /// What a dotted path leads to. Names may hold dots themselves; a number is a place in a list, counted from 0.
    pub fn find(&self, path: &str) -> Option<&Node> {
        if path.is_empty() {
            return Some(self);
        }
        if let Value::List(items) = &self.value {
            let (index, rest) = path.split_once('.').unwrap_or((path, ""));
            return items.get(index.parse::<usize>().ok()?)?.find(rest);
        }
        self.entries().find_map(|(key, _, value)| value.find(after(key, path)?))
    }

    /// Sets what a dotted path leads to; sections on the way are made where they are missing.
    pub fn set(&mut self, path: &str, node: Node) {
        if path.is_empty() {
            *self = node;
            return;
        }
        if let Value::List(items) = &mut self.value {
            let (index, rest) = path.split_once('.').unwrap_or((path, ""));
            if let Some(item) = index.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                item.set(rest, node);
                return;
            }
        }
        if let Value::Map(entries) = &mut self.value {
            // The longest name wins: `trip.ratio` before `trip`.
            let fitting = entries.iter_mut().filter(|entry| after(&entry.key, path).is_some());
            if let Some(entry) = fitting.max_by_key(|entry| entry.key.len()) {
                let rest = after(&entry.key, path).unwrap_or_default();
                entry.value.set(rest, node);
                return;
            }
        }
        let (name, rest) = path.split_once('.').unwrap_or((path, ""));
        let mut made = Self { spot: Spot::default(), value: Value::Nothing };
        made.set(rest, node);
        self.put(name, made);
    }

    /// The same without places, for what stands in no file.
    #[must_use]
    pub fn unplaced(&self) -> Self {
        let spot = Spot::default();
        let value = match &self.value {
            Value::Nothing | Value::Text(_) => self.value.clone(),
            Value::List(items) => Value::List(items.iter().map(Self::unplaced).collect()),
            Value::Map(entries) => {
                let unplaced =
                    |entry: &Entry| Entry { key: entry.key.clone(), key_spot: spot, value: entry.value.unplaced() };
                Value::Map(entries.iter().map(unplaced).collect())
            }
        };
        Self { spot, value }
    }

    /// As JSON, which is YAML too. Every scalar is a string there; a field reads it as if it stood without quotes.
    pub fn to_json(&self) -> String {
        self.json().to_string()
    }

    fn json(&self) -> serde_json::Value {
        match &self.value {
            Value::Nothing => serde_json::Value::Null,
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::json).collect(),
            Value::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), entry.value.json())).collect(),
        }
    }

    /// As one line, the way it could be written.
    pub fn brief(&self) -> String {
        match &self.value {
            Value::Nothing => "~".to_owned(),
            Value::Text(text) => text.clone(),
            Value::List(items) => format!("[{}]", items.iter().map(Self::brief).collect::<Vec<_>>().join(", ")),
            Value::Map(entries) => {
                let brief = |entry: &Entry| format!("{}: {}", entry.key, entry.value.brief());
                format!("{{{}}}", entries.iter().map(brief).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// What of a path is left behind a name; `None` where the path does not begin with it.
fn after<'a>(name: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(name)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
}

/// Shows the place only: a file may hold inline keys.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.spot)
    }
}

fn spot(line: u64, column: u64) -> Spot {
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Spot { line: narrow(line), column: narrow(column) }
}

/// The tree as the YAML library gives it.
enum Raw {
    Nothing,
    Text(String),
    /// A boolean or a number; the text tells what was written.
    Literal(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

struct Reader<'a> {
    text: &'a str,
    origin: &'a Arc<str>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn node(&mut self, raw: Spanned<Raw>) -> Node {
        let at = raw.defined;
        let value = match raw.value {
            Raw::Nothing => Value::Nothing,
            Raw::Text(text) => Value::Text(text),
            Raw::Literal(fallback) => Value::Text(self.written(at).unwrap_or(fallback)),
            Raw::List(items) => Value::List(items.into_iter().map(|item| self.node(item)).collect()),
            Raw::Map(entries) => Value::Map(self.entries(entries)),
        };
        Node { spot: spot(at.line(), at.column()), value }
    }

    fn entries(&mut self, raw: Vec<(Spanned<Raw>, Spanned<Raw>)>) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::with_capacity(raw.len());
        let mut seen = std::collections::BTreeMap::new();
        for (key, value) in raw {
            let key_spot = spot(key.defined.line(), key.defined.column());
            let key = match key.value {
                Raw::Text(text) => text,
                Raw::Literal(fallback) => self.written(key.defined).unwrap_or(fallback),
                Raw::Nothing | Raw::List(_) | Raw::Map(_) => {
                    self.problems.push(Problem::new(self.origin, Some(key_spot), "a name is expected here"));
                    continue;
                }
            };
            if let Some(first) = seen.insert(key.clone(), key_spot) {
                let message = format!("`{key}` stands here twice, first in line {}; keep one", first.line);
                self.problems.push(Problem::new(self.origin, Some(key_spot), message));
                continue;
            }
            entries.push(Entry { key, key_spot, value: self.node(value) });
        }
        entries
    }

    /// The text that stands at a place, if the library tells where it ends.
    fn written(&self, at: serde_saphyr::Location) -> Option<String> {
        let span = at.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
        let text = self.text.get(start..end)?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RawVisitor;

        impl<'de> Visitor<'de> for RawVisitor {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Nothing)
            }
            fn visit_none<E>(self) -> Result<Raw, E> {
                Ok(Raw::Nothing)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
                Ok(Raw::Literal(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
                Ok(Raw::Literal(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
                Ok(Raw::Literal(value.to_string()))
            }
            fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
                Ok(Raw::Literal(value.to_string()))
            }
            fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
                Ok(Raw::Literal(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
                Ok(Raw::Literal(value.to_string()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
                Ok(Raw::Text(value.to_owned()))
            }
            fn visit_string<E>(self, value: String) -> Result<Raw, E> {
                Ok(Raw::Text(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Raw::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
                let mut map = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    map.push(entry);
                }
                Ok(Raw::Map(map))
            }
        }

        deserializer.deserialize_any(RawVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Node, Errors> {
        Node::parse(text, &"t.yaml".into())
    }

    fn show(node: &Node) -> String {
        match &node.value {
            Value::Nothing => format!("~@{}", node.spot),
            Value::Text(text) => format!("{text}@{}", node.spot),
            Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
            Value::Map(entries) => {
                let show_entry = |entry: &Entry| format!("{}@{}={}", entry.key, entry.key_spot, show(&entry.value));
                format!("{{{}}}", entries.iter().map(show_entry).collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn scalars_keep_the_text_that_was_written() {
        let text = "a: off\nb: 1.10\nc: {503: true, x: 22:20:50}\nd: [40%, 0x1F, 1_000, '7', ~]\ne:\nf: 1e400\n";
        let expected = "{a@1:1=off@1:4 b@2:1=1.10@2:4 c@3:1={503@3:5=true@3:10 x@3:16=22:20:50@3:19} \
                        d@4:1=[40%@4:5 0x1F@4:10 1_000@4:16 7@4:23 ~@4:28] e@5:1=~@5:2 f@6:1=1e400@6:4}";
        assert_eq!(show(&parse(text).expect("readable")), expected);
    }

    #[test]
    fn anchors_and_merges_are_expanded() {
        let text = "base: &b {rpm: 5}\ncopy: {<<: *b, rpd: 1.50}\n";
        let expected = "{base@1:1={rpm@1:11=5@1:16} copy@2:1={rpm@1:11=5@1:16 rpd@2:16=1.50@2:21}}";
        let shown = show(&parse(text).expect("readable"));
        assert!(shown == expected || shown.contains("rpm@1:11=5@1:16"), "{shown}");
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_with_both_places() {
        let errors = parse("a: 1\nb: 2\na: 3\n").expect_err("twice");
        assert_eq!(errors.to_string(), "t.yaml:3:1: `a` stands here twice, first in line 1; keep one");
    }

    #[test]
    fn paths_lead_through_names_that_hold_dots() {
        let mut node = parse("a.b: {c: 1, trip.ratio: 2}\nl: [x, {y: z}]\n").expect("readable");
        let found = |node: &Node, path: &str| node.find(path).map(Node::brief);
        assert_eq!(found(&node, "a.b.trip.ratio"), Some("2".into()));
        assert_eq!(found(&node, "l.1.y"), Some("z".into()));
        assert_eq!(found(&node, "a.c"), None);
        let text = |text: &str| Node { spot: Spot::default(), value: Value::Text(text.into()) };
        for (path, value) in [("a.b.trip.ratio", "3"), ("a.b.new.deep", "4"), ("l.0", "w")] {
            node.set(path, text(value));
        }
        assert_eq!(node.brief(), "{a.b: {c: 1, trip.ratio: 3, new: {deep: 4}}, l: [w, {y: z}]}");
    }

    #[test]
    fn bombs_are_refused() {
        let deep = "[".repeat(100_000);
        assert!(parse(&deep).is_err());
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert!(parse(&bomb).is_err());
    }
}
