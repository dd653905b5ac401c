//! The vocabulary's knobs in a file: `trip.ratio: 15%`, or nested, `trip: {ratio: 15%}`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use super::node::{Entry, Node, Value};
use super::placed::At;
use super::problem::{Problem, Report};
use crate::core::{KNOBS, Knob, KnobError, Knobs, Range};

/// Knobs with their texts, as a file sets them.
#[derive(Clone, Debug, Default)]
pub struct KnobTexts(Vec<(At<String>, String)>);

impl KnobTexts {
    /// Takes one more; what is set later wins.
    pub fn push(&mut self, name: At<String>, text: String) {
        self.0.push((name, text));
    }

    /// Takes all knobs of a part of a file, whose dotted names begin with `prefix`.
    ///
    /// # Errors
    /// The name of a knob that has a list or nothing for a value.
    pub fn flatten(&mut self, prefix: &At<String>, node: &Node) -> Result<(), String> {
        match &node.value {
            Value::Text(text) => self.push(prefix.clone(), text.clone()),
            Value::Map(entries) => {
                for Entry { key, key_spot, value } in entries {
                    let dotted = if prefix.is_empty() { key.clone() } else { format!("{}.{key}", prefix.value) };
                    self.flatten(&At { value: dotted, spot: *key_spot }, value)?;
                }
            }
            Value::Nothing | Value::List(_) if prefix.is_empty() => {}
            Value::Nothing | Value::List(_) => return Err(format!("the knob `{}` needs one value", prefix.value)),
        }
        Ok(())
    }

    /// The knobs that stand here, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, (At<String>, String)> {
        self.0.iter()
    }

    /// Sets them, and reports what does not fit.
    pub(super) fn apply(&self, knobs: &mut Knobs, report: &mut Report) {
        for (name, text) in &self.0 {
            if let Err(error) = knobs.set(name, text) {
                report.say(name.spot, message(&error));
            }
        }
    }

    /// Sets them on `knobs`; a problem for each that does not fit.
    pub fn set(&self, knobs: &mut Knobs, origin: &std::sync::Arc<str>) -> Vec<Problem> {
        let failed = |(name, text): &(At<String>, String)| {
            let error = knobs.set(name, text).err()?;
            Some(Problem::new(origin, Some(name.spot), message(&error)))
        };
        self.0.iter().filter_map(failed).collect()
    }
}

/// What is wrong with a knob, and what to do.
fn message(error: &KnobError) -> String {
    match error {
        KnobError::Unknown { name, nearest } => format!("there is no knob `{name}`; did you mean `{nearest}`?"),
        KnobError::Unreadable { .. } | KnobError::OutOfRange { .. } => error.to_string(),
    }
}

impl<'de> Deserialize<'de> for KnobTexts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut texts = Self::default();
        let nowhere = At { value: String::new(), spot: super::Spot::default() };
        texts.flatten(&nowhere, &Node::deserialize(deserializer)?).map_err(de::Error::custom)?;
        Ok(texts)
    }
}

impl JsonSchema for KnobTexts {
    fn schema_name() -> Cow<'static, str> {
        "Knobs".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let mut properties = serde_json::Map::new();
        let mut groups: BTreeMap<&str, serde_json::Map<String, serde_json::Value>> = BTreeMap::new();
        for knob in KNOBS {
            let schema = knob_schema(knob);
            if let Some((group, name)) = knob.name.split_once('.') {
                groups.entry(group).or_default().insert(name.to_owned(), schema.clone());
            }
            properties.insert(knob.name.to_owned(), schema);
        }
        for (group, members) in groups {
            let nested = json_schema!({"type": "object", "properties": members, "additionalProperties": false});
            properties.insert(group.to_owned(), nested.into());
        }
        json_schema!({
            "type": "object",
            "description": "The router's knobs, by dotted name or nested.",
            "properties": properties,
            "additionalProperties": false,
        })
    }
}

/// What an editor should know of one knob.
pub fn knob_schema(knob: &Knob) -> serde_json::Value {
    let defaults = Knobs::default();
    let range = match knob.range {
        Range::Linear(low, high) | Range::Log(low, high) => format!("From {low} to {high} ({}).", knob.unit),
        Range::Choice => format!("One of {}.", knob.unit),
    };
    let default = defaults.value(knob.name).unwrap_or_default();
    let meaning: Vec<&str> = knob.doc.lines().map(str::trim).collect();
    serde_json::json!({
        "type": ["string", "number", "boolean"],
        "description": format!("{} {range} Unless told: {default}.", meaning.join(" ")),
    })
}
