//! Parts of a scenario that are written in more than one way.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use stormproof_router::config::{At, Count, Named, Period, Projects, Rate, Share};
use stormproof_router::core::Transport;

use super::file::{
    AnswerWord, DetailedLatency, Latency, LimitsTruth, ProjectsTruth, Quota, QuotaWord, RateFrom, RateWord, TurnsWord,
    UsedWord,
};
use super::quantity::Drawn;

/// Declares words that stand for a value: how a text is read, and what is expected.
macro_rules! words {
    ($($name:ident = $read:path, $expected:literal;)*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct WordVisitor;

                impl Visitor<'_> for WordVisitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $read(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
                    }
                }

                deserializer.deserialize_str(WordVisitor)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": ["string", "number"], "description": concat!("Write ", $expected, ".")})
            }
        }
    )*};
}

words! {
    UsedWord = used_word, "a share such as `40%`, or a number of requests such as `10`";
    QuotaWord = quota_word, "a number such as `5` or `250k`, or `none`";
    RateWord = rate_word, "a rate such as `0.04/s`, or `none`";
    AnswerWord = answer_word, "an HTTP status from 100 to 599, or one of `connect`, `reset`, `first-byte-timeout`, `idle-timeout`, `cut`, `error-event`, `malformed`";
}

fn used_word(text: &str) -> Option<UsedWord> {
    match text.parse::<Count>() {
        Ok(Count(requests)) => Some(UsedWord::Requests(requests)),
        Err(_not_a_count) => text.parse::<Share>().ok().map(|share| UsedWord::Share(share.0)),
    }
}

fn quota_word(text: &str) -> Option<QuotaWord> {
    match text {
        "none" => Some(QuotaWord::None),
        _ => text.parse::<Count>().ok().map(|count| QuotaWord::Limit(count.0)),
    }
}

fn rate_word(text: &str) -> Option<RateWord> {
    match text {
        "none" => Some(RateWord(0.0)),
        _ => text.parse::<Rate>().ok().map(|rate| RateWord(rate.0)),
    }
}

fn answer_word(text: &str) -> Option<AnswerWord> {
    let transport = match text {
        "connect" => Transport::Connect,
        "reset" => Transport::Reset,
        "first-byte-timeout" => Transport::FirstByteTimeout,
        "idle-timeout" => Transport::IdleTimeout,
        "cut" => Transport::Cut,
        "error-event" => Transport::ErrorEvent,
        "malformed" => Transport::Malformed,
        _ => {
            let status: u16 = text.parse().ok()?;
            return (100..600).contains(&status).then_some(AnswerWord::Status(status));
        }
    };
    Some(AnswerWord::Broken(transport))
}

impl<'de> Deserialize<'de> for TurnsWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TurnsVisitor;

        impl<'de> Visitor<'de> for TurnsVisitor {
            type Value = TurnsWord;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rate above zero such as `0.04/s`, `2.4/min` or `100/h`, or a list such as `[{from: \"22:00\", rate: 0.1/s}]`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<TurnsWord, E> {
                let wrong = |_unreadable| E::invalid_value(de::Unexpected::Str(text), &self);
                text.parse().map(TurnsWord::Steady).map_err(wrong)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<TurnsWord, A::Error> {
                let mut steps: Vec<RateFrom> = Vec::new();
                while let Some(step) = items.next_element()? {
                    steps.push(step);
                }
                Ok(TurnsWord::Steps(steps))
            }
        }

        deserializer.deserialize_any(TurnsVisitor)
    }
}

impl<'de> Deserialize<'de> for LimitsTruth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LimitsVisitor;

        impl<'de> Visitor<'de> for LimitsVisitor {
            type Value = LimitsTruth;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "`as-configured`, or the true quota of upstream models such as `{gemini-2.5-pro: {rpd: 20}}`",
                )
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<LimitsTruth, E> {
                match text {
                    "as-configured" => Ok(LimitsTruth::AsConfigured),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LimitsTruth, A::Error> {
                let mut differing = Named::default();
                while let Some(entry) = map.next_entry::<At<String>, Quota>()? {
                    differing.0.push(entry);
                }
                Ok(LimitsTruth::Differing(differing))
            }
        }

        deserializer.deserialize_any(LimitsVisitor)
    }
}

impl<'de> Deserialize<'de> for ProjectsTruth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ProjectsVisitor;

        impl<'de> Visitor<'de> for ProjectsVisitor {
            type Value = ProjectsTruth;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`shared`, `separate`, a number of buckets, or a list with one bucket's name for each key")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ProjectsTruth, E> {
                match text {
                    "shared" => Ok(ProjectsTruth::Named(Projects::Shared)),
                    "separate" => Ok(ProjectsTruth::Named(Projects::Separate)),
                    _ => match text.parse() {
                        Ok(number) if number > 0 => Ok(ProjectsTruth::Number(number)),
                        Ok(_) | Err(_) => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                    },
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ProjectsTruth, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = items.next_element()? {
                    names.push(name);
                }
                Ok(ProjectsTruth::Named(Projects::Named(names)))
            }
        }

        deserializer.deserialize_any(ProjectsVisitor)
    }
}

/// `{time: ..., ...}` is detailed; everything else is a time.
impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LatencyVisitor;

        impl<'de> Visitor<'de> for LatencyVisitor {
            type Value = Latency;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `20s`, `{p50: 20s, p99: 80s}`, or `{time: ..., per: turn}`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Latency, E> {
                let drawn = Drawn::<Period>::deserialize(de::value::StrDeserializer::<E>::new(text))?;
                Ok(Latency::Time(drawn))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Latency, A::Error> {
                let mut map = Peeked { map, key: None };
                match map.peek()? {
                    Some("time" | "tokens_per_s" | "per") => {
                        DetailedLatency::deserialize(MapAccessDeserializer::new(map)).map(Latency::Detailed)
                    }
                    Some(_) | None => Drawn::deserialize(MapAccessDeserializer::new(map)).map(Latency::Time),
                }
            }
        }

        deserializer.deserialize_any(LatencyVisitor)
    }
}

/// A map whose first name has been looked at.
struct Peeked<A> {
    map: A,
    key: Option<String>,
}

impl<'de, A: MapAccess<'de>> Peeked<A> {
    fn peek(&mut self) -> Result<Option<&str>, A::Error> {
        self.key = self.map.next_key()?;
        Ok(self.key.as_deref())
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Peeked<A> {
    type Error = A::Error;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        match self.key.take() {
            Some(key) => seed.deserialize(de::value::StringDeserializer::new(key)).map(Some),
            None => self.map.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
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
    TurnsWord = |generator| json_schema!({
        "description": "Turns that begin independently of the answers: a rate, or a list of rates over time.",
        "anyOf": [
            generator.subschema_for::<Rate>(),
            {"type": "array", "items": generator.subschema_for::<RateFrom>()},
        ],
    });
    LimitsTruth = |generator| json_schema!({
        "description": "True quota: `as-configured`, or by upstream model where it differs.",
        "anyOf": [
            {"const": "as-configured"},
            {"type": "object", "additionalProperties": generator.subschema_for::<Quota>()},
        ],
    });
    ProjectsTruth = |_generator| json_schema!({
        "description": "Who really shares a quota bucket.",
        "anyOf": [
            {"enum": ["shared", "separate"]},
            {"type": "integer", "minimum": 1},
            {"type": "array", "items": {"type": "string"}},
        ],
    });
    Latency = |generator| json_schema!({
        "description": "How long a good answer takes.",
        "anyOf": [generator.subschema_for::<Drawn<Period>>(), generator.subschema_for::<DetailedLatency>()],
    });
}
