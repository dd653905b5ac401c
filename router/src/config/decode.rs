//! From a tree to types, by their `Deserialize`, with every mistake instead of the first.
//!
//! Serde gives up at the first mistake. So [`decode`] notes it, cuts out the node that it is about, and asks again,
//! until nothing complains: the types stay plain serde, and a reader gets the whole list. A field that is missing only
//! because it was cut out is not a second mistake.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::{Deserialize, Deserializer};

use super::node::{Entry, Node, Value};
use super::placed::{At, MANY, PLACED};
use super::problem::{Errors, Problem, Spot, suggest};

/// Mistakes after which we stop looking: each one is another walk over the tree.
const PROBLEMS_MAX: usize = 50;

/// Reads a `T` from a tree.
///
/// # Errors
/// Unknown fields, missing fields, and values that are not what their field wants: all of them, up to 50.
pub fn decode<T: DeserializeOwned>(node: &Node, origin: &Arc<str>) -> Result<T, Errors> {
    let walk = Walk { cut: RefCell::default(), problems: RefCell::default(), origin };
    loop {
        let result = T::deserialize(Tree { node, walk: &walk });
        let failure = match result {
            Ok(value) => return Errors::of(walk.problems.into_inner()).map_or(Ok(value), Err),
            Err(failure) => failure,
        };
        if !failure.consequence {
            walk.note(failure.spot.unwrap_or(node.spot), &failure.message);
        }
        let culprit = failure.culprit.unwrap_or(node);
        let known = !walk.cut.borrow_mut().insert(culprit);
        if std::ptr::eq(culprit, node) || known || walk.problems.borrow().len() >= PROBLEMS_MAX {
            let problems = walk.problems.into_inner();
            let whole = Problem::new(origin, Some(node.spot), failure.message);
            return Err(Errors::of(problems).unwrap_or_else(|| Errors::one(whole)));
        }
    }
}

/// The tree itself, for what can be read only once more is known.
impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let At { value, spot } = At::deserialize(deserializer)?;
        Ok(Self { spot, value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;

        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Nothing)
            }
            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Value::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
                let mut map = Vec::new();
                while let Some((key, value)) = entries.next_entry::<At<String>, Node>()? {
                    map.push(Entry { key: key.value, key_spot: key.spot, value });
                }
                Ok(Value::Map(map))
            }
        }

        deserializer.deserialize_any(ValueVisitor)
    }
}

struct Walk<'a> {
    origin: &'a Arc<str>,
    /// Nodes that were wrong, by their address: the tree does not move while it is walked.
    cut: RefCell<BTreeSet<*const Node>>,
    problems: RefCell<Vec<Problem>>,
}

impl Walk<'_> {
    fn note(&self, spot: Spot, message: &str) {
        self.problems.borrow_mut().push(Problem::new(self.origin, Some(spot), message));
    }

    fn is_cut(&self, node: &Node) -> bool {
        self.cut.borrow().contains(&std::ptr::from_ref(node))
    }
}

/// One mistake on its way up.
#[derive(Debug)]
struct Failure {
    message: String,
    spot: Option<Spot>,
    /// The node to cut out.
    culprit: Option<*const Node>,
    /// The field whose absence is the mistake.
    missing: Option<&'static str>,
    /// It follows from a mistake that is known already.
    consequence: bool,
}

impl Failure {
    fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), spot: None, culprit: None, missing: None, consequence: false }
    }

    /// The innermost node that a mistake passes is where it stands.
    fn at(mut self, node: &Node) -> Self {
        self.spot.get_or_insert(node.spot);
        self.culprit.get_or_insert(node);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Str(text) => format!("`{}`", short(text)),
            Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "a map".to_owned(),
            Unexpected::Bool(_)
            | Unexpected::Unsigned(_)
            | Unexpected::Signed(_)
            | Unexpected::Float(_)
            | Unexpected::Char(_)
            | Unexpected::Bytes(_)
            | Unexpected::NewtypeStruct
            | Unexpected::Enum
            | Unexpected::UnitVariant
            | Unexpected::NewtypeVariant
            | Unexpected::TupleVariant
            | Unexpected::StructVariant
            | Unexpected::Other(_) => found.to_string(),
        };
        Self::new(format!("{found} is not what belongs here; expected {expected}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let words: Vec<String> = expected.iter().map(|word| format!("`{word}`")).collect();
        Self::new(format!("`{}` is not one of the words known here; expected {}", short(variant), words.join(", ")))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("there is no field `{}` here; {}", short(field), suggest(field, expected.iter().copied())))
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::new(format!("`{field}` is missing here; add it")) }
    }
}

/// What of a text a message may quote.
fn short(text: &str) -> String {
    let mut kept: String = text.chars().take(60).collect();
    if kept.len() < text.len() {
        kept.push('…');
    }
    kept
}

/// A node as serde sees it.
#[derive(Clone, Copy)]
struct Tree<'a> {
    node: &'a Node,
    walk: &'a Walk<'a>,
}

impl<'a> Tree<'a> {
    fn text(self, expected: &str) -> Result<&'a str, Failure> {
        let found = match &self.node.value {
            Value::Text(text) => return Ok(text),
            Value::Nothing => "nothing",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        };
        Err(Failure::new(format!("{found} is not what belongs here; expected {expected}")).at(self.node))
    }

    fn parsed<T: std::str::FromStr>(self, expected: &str) -> Result<T, Failure> {
        let text = self.text(expected)?;
        text.parse().map_err(|_unreadable| {
            Failure::new(format!("`{}` is not what belongs here; expected {expected}", short(text))).at(self.node)
        })
    }

    fn entries(self, entries: &'a [Entry]) -> Entries<'a> {
        Entries { entries: entries.iter(), value: None, walk: self.walk }
    }

    /// Notes what a struct does not know, all of it, and cuts it out.
    fn refuse_unknown(self, fields: &'static [&'static str]) {
        let Value::Map(entries) = &self.node.value else { return };
        for entry in entries {
            if !fields.contains(&entry.key.as_str()) && self.walk.cut.borrow_mut().insert(&entry.value) {
                let failure: Failure = de::Error::unknown_field(&entry.key, fields);
                self.walk.note(entry.key_spot, &failure.message);
            }
        }
    }

    /// Whether a field is missing because it was cut out.
    fn has_cut(self, field: &str) -> bool {
        let Value::Map(entries) = &self.node.value else { return false };
        entries.iter().any(|entry| entry.key == field && self.walk.is_cut(&entry.value))
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty, $expected:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            let number = self.parsed::<$type>($expected)?;
            visitor.$visit(number).map_err(|failure: Failure| failure.at(self.node))
        }
    )*};
}

impl<'de> Deserializer<'de> for Tree<'_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let result = match &self.node.value {
            Value::Nothing => visitor.visit_unit(),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter(), walk: self.walk }),
            Value::Map(entries) => visitor.visit_map(self.entries(entries)),
        };
        result.map_err(|mut failure| {
            failure.consequence |=
                failure.culprit.is_none() && failure.missing.is_some_and(|field| self.has_cut(field));
            failure.at(self.node)
        })
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let value = match self.text("`on` or `off`")? {
            "true" | "on" | "yes" => true,
            "false" | "off" | "no" => false,
            other => {
                let message = format!("`{}` is not what belongs here; expected `on` or `off`", short(other));
                return Err(Failure::new(message).at(self.node));
            }
        };
        visitor.visit_bool(value).map_err(|failure: Failure| failure.at(self.node))
    }

    numbers! {
        deserialize_u8 visit_u8 u8, "a whole number from 0 to 255";
        deserialize_u16 visit_u16 u16, "a whole number from 0 to 65535";
        deserialize_u32 visit_u32 u32, "a whole number";
        deserialize_u64 visit_u64 u64, "a whole number";
        deserialize_i64 visit_i64 i64, "a whole number";
        deserialize_f64 visit_f64 f64, "a number";
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Nothing => visitor.visit_none(),
            Value::Text(_) | Value::List(_) | Value::Map(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Failure> {
        match name {
            PLACED => visitor.visit_seq(Placed { spot: self.node.spot, value: Some(self), part: 0 }),
            MANY => {
                let items = match &self.node.value {
                    Value::List(items) => items,
                    Value::Nothing | Value::Text(_) | Value::Map(_) => std::slice::from_ref(self.node),
                };
                visitor.visit_seq(Items { items: items.iter(), walk: self.walk })
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.refuse_unknown(fields);
        match &self.node.value {
            // An empty section is a section with nothing but defaults.
            Value::Nothing => visitor.visit_map(self.entries(&[])).map_err(|failure| failure.at(self.node)),
            Value::Map(_) => self.deserialize_any(visitor),
            Value::Text(_) | Value::List(_) => {
                let words: Vec<String> = fields.iter().take(4).map(|field| format!("`{field}: ...`")).collect();
                let found = match &self.node.value {
                    Value::Text(text) => format!("`{}`", short(text)),
                    Value::Nothing | Value::List(_) | Value::Map(_) => "a list".to_owned(),
                };
                let message = format!("{found} is not what belongs here; expected fields such as {}", words.join(", "));
                Err(Failure::new(message).at(self.node))
            }
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let result = match &self.node.value {
            Value::Text(text) => visitor.visit_enum(Variant::<Self> { name: text, value: None }),
            Value::Map(entries) if entries.len() == 1 => {
                let Entry { key, value, .. } = &entries[0];
                visitor.visit_enum(Variant { name: key, value: Some(Tree { node: value, walk: self.walk }) })
            }
            Value::Nothing | Value::List(_) | Value::Map(_) => {
                let words: Vec<String> = variants.iter().map(|word| format!("`{word}`")).collect();
                self.text(&format!("one of {}", words.join(", "))).and(Err(Failure::new("one entry is expected here")))
            }
        };
        result.map_err(|failure| failure.at(self.node))
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i128 u128 f32 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier ignored_any
    }
}

/// The items of a list that were not cut out.
struct Items<'a> {
    items: std::slice::Iter<'a, Node>,
    walk: &'a Walk<'a>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let walk = self.walk;
        let Some(node) = self.items.by_ref().find(|node| !walk.is_cut(node)) else { return Ok(None) };
        seed.deserialize(Tree { node, walk }).map(Some).map_err(|failure| failure.at(node))
    }
}

/// The entries of a map that were not cut out.
struct Entries<'a> {
    entries: std::slice::Iter<'a, Entry>,
    value: Option<&'a Node>,
    walk: &'a Walk<'a>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let walk = self.walk;
        let Some(entry) = self.entries.by_ref().find(|entry| !walk.is_cut(&entry.value)) else { return Ok(None) };
        self.value = Some(&entry.value);
        let key = KeyText { text: &entry.key, spot: entry.key_spot };
        seed.deserialize(key).map(Some).map_err(|mut failure| {
            failure.spot.get_or_insert(entry.key_spot);
            failure.at(&entry.value)
        })
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Failure> {
        let node = self.value.take().ok_or_else(|| Failure::new("a value was asked for before its name"))?;
        seed.deserialize(Tree { node, walk: self.walk }).map_err(|failure| failure.at(node))
    }
}

/// A map's name as serde sees it.
struct KeyText<'a> {
    text: &'a str,
    spot: Spot,
}

impl<'de> Deserializer<'de> for KeyText<'_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_str(self.text)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Failure> {
        match name {
            PLACED => visitor.visit_seq(Placed { spot: self.spot, value: Some(self), part: 0 }),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let number = self.text.parse().map_err(|_unreadable| {
            Failure::new(format!("`{}` is not what belongs here; expected a number", short(self.text)))
        })?;
        visitor.visit_u16(number)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_enum(Variant::<Tree<'_>> { name: self.text, value: None })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

/// A place, then the value there.
struct Placed<D> {
    spot: Spot,
    value: Option<D>,
    part: u8,
}

impl<'de, D: Deserializer<'de, Error = Failure>> SeqAccess<'de> for Placed<D> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        self.part += 1;
        match self.part {
            1 => seed.deserialize(self.spot.line.into_deserializer()).map(Some),
            2 => seed.deserialize(self.spot.column.into_deserializer()).map(Some),
            _ => self.value.take().map(|value| seed.deserialize(value)).transpose(),
        }
    }
}

/// One word, or one word with what belongs to it.
struct Variant<'a, D> {
    name: &'a str,
    value: Option<D>,
}

impl<'a, 'de, D: Deserializer<'de, Error = Failure>> EnumAccess<'de> for Variant<'a, D> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Failure> {
        let name: StrDeserializer<'a, Failure> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de, D: Deserializer<'de, Error = Failure>> VariantAccess<'de> for Variant<'_, D> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        match self.value {
            None => Ok(()),
            Some(_) => Err(Failure::new(format!("`{}` takes no value", self.name))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        let name = self.name;
        let value = self.value.ok_or_else(|| Failure::new(format!("`{name}` needs a value: `{{{name}: ...}}`")))?;
        seed.deserialize(value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Failure> {
        let name = self.name;
        self.value.ok_or_else(|| Failure::new(format!("`{name}` needs a list")))?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Failure> {
        let name = self.name;
        let value = self.value.ok_or_else(|| Failure::new(format!("`{name}` needs its fields: `{{{name}: ...}}`")))?;
        value.deserialize_struct("", fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::super::placed::Named;
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Limits {
        rpm: Option<u32>,
        share: Option<f64>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Tier {
        keys: At<String>,
        #[serde(default)]
        limits: Limits,
        kind: Kind,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Plain,
        File(String),
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Root {
        tiers: Named<Tier>,
        #[serde(default)]
        on: bool,
    }

    fn read(text: &str) -> Result<Root, Errors> {
        let origin = "t.yaml".into();
        decode(&Node::parse(text, &origin)?, &origin)
    }

    #[test]
    fn values_come_with_their_places() {
        let root =
            read("tiers:\n  b: {keys: k1, kind: plain}\n  a: {keys: 7, limits: {rpm: 5}, kind: {file: x}}\non: yes\n");
        let root = root.expect("nothing wrong");
        assert_eq!(root.tiers.names().collect::<Vec<_>>(), ["b", "a"]);
        let a = root.tiers.named("a").expect("it is there");
        assert_eq!((a.keys.as_str(), a.keys.spot.to_string()), ("7", "3:13".to_owned()));
        assert_eq!((a.limits.rpm, &a.kind, root.on), (Some(5), &Kind::File("x".into()), true));
    }

    #[test]
    fn every_mistake_is_reported_and_no_consequence() {
        let text =
            "tiers:\n  a: {keyz: k, kind: plain}\n  b: {keys: [], kind: odd, limits: {rpm: five, shar: 1}}\non: 3\n";
        let expected = "t.yaml:2:6: `keys` is missing here; add it\n\
                        t.yaml:2:7: there is no field `keyz` here; did you mean `keys`?\n\
                        t.yaml:3:13: a list is not what belongs here; expected a string\n\
                        t.yaml:3:23: `odd` is not one of the words known here; expected `plain`, `file`\n\
                        t.yaml:3:42: `five` is not what belongs here; expected a whole number\n\
                        t.yaml:3:48: there is no field `shar` here; did you mean `share`?\n\
                        t.yaml:4:5: `3` is not what belongs here; expected `on` or `off`";
        assert_eq!(read(text).expect_err("much is wrong").to_string(), expected);
    }

    #[test]
    fn a_file_of_the_wrong_shape_is_one_mistake() {
        let errors = read("- 1\n- 2\n").expect_err("a list");
        assert_eq!(
            errors.to_string(),
            "t.yaml:1:1: a list is not what belongs here; expected fields such as `tiers: ...`, `on: ...`"
        );
        assert_eq!(read("").expect_err("empty").to_string(), "t.yaml:1:1: `tiers` is missing here; add it");
    }
}
