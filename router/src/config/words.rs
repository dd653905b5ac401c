//! Settings that are either a word or a section: `price: free`, or `price: {input: 1.25, output: 10}`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::file::{KeyUse, KeyUseWord, KnownLimits, LimitsWord, PriceWord, Projects, TokenPrices};
use super::written::answer_money;

const LIMITS: &str = "`learn`, `none`, or numbers such as `{rpm: 5, tpm: 250k, rpd: 25}`";
const PRICE: &str =
    "`free`, an amount such as `10 USD/answer`, or dollars per million tokens such as `{input: 1.25, output: 10}`";
const PROJECTS: &str = "`separate`, `shared`, or a list with a project's name for each key";
const KEYS: &str = "the name of a key group, or `{group: NAME, weight: 2, order: 0}`";

fn unreadable<E: de::Error>(text: &str, expected: &'static str) -> E {
    let kept: String = text.chars().take(60).collect();
    E::custom(format!("`{kept}` is not what belongs here; expected {expected}"))
}

/// Declares how a word or a section is read.
macro_rules! word_or_section {
    ($($name:ident = $expected:expr, $word:path, $section:ty => $of:path;)*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct EitherVisitor;

                impl<'de> Visitor<'de> for EitherVisitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $word(text).ok_or_else(|| unreadable(text, $expected))
                    }
                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<$name, A::Error> {
                        <$section>::deserialize(MapAccessDeserializer::new(map)).map($of)
                    }
                }

                deserializer.deserialize_any(EitherVisitor)
            }
        }
    )*};
}

word_or_section! {
    LimitsWord = LIMITS, limits_word, KnownLimits => LimitsWord::Known;
    PriceWord = PRICE, price_word, TokenPrices => PriceWord::Tokens;
    KeyUseWord = KEYS, key_word, KeyUse => KeyUseWord::Use;
}

fn limits_word(text: &str) -> Option<LimitsWord> {
    match text {
        "learn" => Some(LimitsWord::Learn),
        "none" => Some(LimitsWord::None),
        _ => None,
    }
}

fn price_word(text: &str) -> Option<PriceWord> {
    match text {
        "free" => Some(PriceWord::Free),
        _ => answer_money(text).map(PriceWord::Answer),
    }
}

fn key_word(text: &str) -> Option<KeyUseWord> {
    (!text.is_empty()).then(|| KeyUseWord::Group(text.to_owned()))
}

impl<'de> Deserialize<'de> for Projects {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ProjectsVisitor;

        impl<'de> Visitor<'de> for ProjectsVisitor {
            type Value = Projects;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(PROJECTS)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Projects, E> {
                match text {
                    "separate" => Ok(Projects::Separate),
                    "shared" => Ok(Projects::Shared),
                    _ => Err(unreadable(text, PROJECTS)),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Projects, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = items.next_element()? {
                    names.push(name);
                }
                Ok(Projects::Named(names))
            }
        }

        deserializer.deserialize_any(ProjectsVisitor)
    }
}

macro_rules! schemas {
    ($($name:ident = |$generator:ident| $schema:expr;)*) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}

schemas! {
    LimitsWord = |generator| json_schema!({
        "description": format!("Quota of one project: {LIMITS}."),
        "anyOf": [{"enum": ["learn", "none"]}, generator.subschema_for::<KnownLimits>()],
    });
    PriceWord = |generator| json_schema!({
        "description": format!("What an answer costs: {PRICE}."),
        "anyOf": [{"const": "free"}, {"type": "string"}, generator.subschema_for::<TokenPrices>()],
    });
    Projects = |_generator| json_schema!({
        "description": format!("Which quota buckets the keys spend: {PROJECTS}."),
        "anyOf": [{"enum": ["separate", "shared"]}, {"type": "array", "items": {"type": "string"}}],
    });
    KeyUseWord = |generator| json_schema!({
        "description": "A key group, alone or with its weight and order.",
        "anyOf": [{"type": "string"}, generator.subschema_for::<KeyUse>()],
    });
}
