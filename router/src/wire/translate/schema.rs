//! Between JSON schema, which OpenAI's clients write, and the `Schema` of Google's older models.
//!
//! `Schema` is a subset of OpenAPI 3.0: no references, no `null` type but `nullable`, one type each, enumerations of
//! strings only, and an unknown keyword is an error 400. Newer models take a JSON schema as it is, and nothing here is
//! used for them.

use serde_json::{Map, Value};

use super::super::json::{At, Refusal};

/// References can multiply a small schema beyond all bounds; nobody's tool has so many nodes. What a reference brings in
/// counts by its size too.
const NODES_MAX: usize = 10_000;
const BYTES_PER_NODE: usize = 100;
const DEPTH_MAX: usize = 64;

/// Rewrites a JSON schema as a `Schema`. What only narrows the choice and has no counterpart (`additionalProperties`,
/// `exclusiveMinimum`, …) is dropped; what cannot be expressed at all, a recursive schema, is refused.
pub(super) fn to_gemini(schema: &Value, at: &At<'_>) -> Result<Value, Refusal> {
    let mut writer = Writer { root: schema, nodes: 0, at };
    writer.schema(schema, 0)
}

/// Rewrites a `Schema` as a JSON schema.
pub(super) fn to_json_schema(schema: &Value) -> Value {
    match schema {
        Value::Object(object) => Value::Object(object_to_json_schema(object)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => schema.clone(),
    }
}

struct Writer<'s> {
    root: &'s Value,
    nodes: usize,
    at: &'s At<'s>,
}

/// Keywords that both languages share.
const KEPT: &[&str] = &[
    "title",
    "description",
    "default",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "pattern",
    "nullable",
    "propertyOrdering",
];

impl Writer<'_> {
    fn schema(&mut self, schema: &Value, depth: usize) -> Result<Value, Refusal> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(self.at.refuse("is too large once its references are resolved"));
        }
        if depth > DEPTH_MAX {
            return Err(self.at.refuse("is recursive, which this model does not support"));
        }
        let Value::Object(source) = schema else {
            // `true`: anything goes. Google has no word for it; a string comes nearest.
            return Ok(typed("STRING"));
        };
        if let Some(target) = source.get("$ref").and_then(Value::as_str) {
            let mut resolved = self.resolve(target)?.clone();
            self.nodes += resolved.to_string().len() / BYTES_PER_NODE;
            if let Value::Object(resolved) = &mut resolved {
                for (name, value) in source.iter().filter(|(name, _)| *name != "$ref") {
                    resolved.insert(name.clone(), value.clone());
                }
            }
            return self.schema(&resolved, depth + 1);
        }
        if let Some(parts) = source.get("allOf").and_then(Value::as_array) {
            let merged = self.merge(source, parts)?;
            self.nodes += parts.len();
            return self.schema(&Value::Object(merged), depth + 1);
        }
        let alternatives = ["anyOf", "oneOf"].iter().find_map(|name| source.get(*name)?.as_array());
        match alternatives {
            Some(alternatives) => self.any_of(source, alternatives, depth),
            None => self.plain(source, depth),
        }
    }

    fn resolve(&self, target: &str) -> Result<&Value, Refusal> {
        let pointer = target.strip_prefix('#').ok_or_else(|| self.at.refuse("refers to another document"))?;
        self.root.pointer(pointer).ok_or_else(|| self.at.refuse(format!("refers to {target}, which is not there")))
    }

    /// All parts at once: later ones win, `properties` and `required` add up.
    fn merge(&self, source: &Map<String, Value>, parts: &[Value]) -> Result<Map<String, Value>, Refusal> {
        let mut merged = source.clone();
        merged.shift_remove("allOf");
        for part in parts {
            let part = match part.get("$ref").and_then(Value::as_str) {
                Some(target) => self.resolve(target)?,
                None => part,
            };
            for (name, value) in part.as_object().into_iter().flatten() {
                match (merged.get_mut(name), value) {
                    (Some(Value::Object(known)), Value::Object(more)) if name == "properties" => {
                        known.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
                    }
                    (Some(Value::Array(known)), Value::Array(more)) if name == "required" => {
                        known.extend(more.iter().cloned());
                    }
                    (_, _) => {
                        merged.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        Ok(merged)
    }

    /// `null` among the alternatives becomes `nullable`; what is left alone stands by itself.
    fn any_of(&mut self, source: &Map<String, Value>, alternatives: &[Value], depth: usize) -> Result<Value, Refusal> {
        let is_null = |schema: &&Value| schema.get("type").and_then(Value::as_str) == Some("null");
        let rest: Vec<&Value> = alternatives.iter().filter(|schema| !is_null(schema)).collect();
        let nullable = rest.len() < alternatives.len();
        let mut out = match rest.as_slice() {
            [] => typed("STRING"),
            [only] => self.schema(only, depth + 1)?,
            several => {
                let several: Result<Vec<Value>, Refusal> =
                    several.iter().map(|schema| self.schema(schema, depth + 1)).collect();
                Value::Object(Map::from_iter([("anyOf".to_owned(), Value::Array(several?))]))
            }
        };
        if let Value::Object(out) = &mut out {
            for name in KEPT {
                if let Some(value) = source.get(*name) {
                    out.insert((*name).to_owned(), value.clone());
                }
            }
            if nullable {
                out.insert("nullable".to_owned(), Value::Bool(true));
            }
        }
        Ok(out)
    }

    fn plain(&mut self, source: &Map<String, Value>, depth: usize) -> Result<Value, Refusal> {
        let (types, nullable) = types(source);
        if let [_, _, ..] = types.as_slice() {
            let one_each: Vec<Value> = types
                .iter()
                .map(|name| {
                    let mut one = source.clone();
                    one.insert("type".to_owned(), Value::from(*name));
                    Value::Object(one)
                })
                .chain(nullable.then(|| Value::Object(Map::from_iter([("type".to_owned(), Value::from("null"))]))))
                .collect();
            return self.any_of(&Map::new(), &one_each, depth);
        }
        let name = types.first().copied().unwrap_or_else(|| inferred(source)).to_ascii_uppercase();
        let mut out = Map::from_iter([("type".to_owned(), Value::from(name.as_str()))]);
        for kept in KEPT {
            if let Some(value) = source.get(*kept) {
                out.insert((*kept).to_owned(), value.clone());
            }
        }
        if nullable {
            out.insert("nullable".to_owned(), Value::Bool(true));
        }
        if let Some(format) = format(source, &name) {
            out.insert("format".to_owned(), Value::from(format));
        }
        let choices = choices(source);
        if name == "STRING" && !choices.is_empty() {
            out.insert("enum".to_owned(), Value::Array(choices));
        }
        match name.as_str() {
            "ARRAY" => {
                let items = match source.get("items") {
                    Some(items) => self.schema(items, depth + 1)?,
                    None => typed("STRING"),
                };
                out.insert("items".to_owned(), items);
            }
            "OBJECT" => self.members(source, &mut out, depth)?,
            _ => {}
        }
        Ok(Value::Object(out))
    }

    fn members(
        &mut self,
        source: &Map<String, Value>,
        out: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), Refusal> {
        let Some(properties) = source.get("properties").and_then(Value::as_object) else { return Ok(()) };
        let mut written = Map::new();
        for (name, property) in properties {
            written.insert(name.clone(), self.schema(property, depth + 1)?);
        }
        let required = source.get("required").and_then(Value::as_array).into_iter().flatten();
        let required: Vec<Value> =
            required.filter(|name| name.as_str().is_some_and(|name| written.contains_key(name))).cloned().collect();
        // "properties: should be non-empty for OBJECT type".
        if !written.is_empty() {
            out.insert("properties".to_owned(), Value::Object(written));
        }
        if !required.is_empty() {
            out.insert("required".to_owned(), Value::Array(required));
        }
        Ok(())
    }
}

fn typed(name: &str) -> Value {
    Value::Object(Map::from_iter([("type".to_owned(), Value::from(name))]))
}

/// The types named, without `null`, and whether `null` was among them.
fn types(source: &Map<String, Value>) -> (Vec<&'static str>, bool) {
    let names: Vec<&str> = match source.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => Vec::new(),
    };
    let known = ["string", "number", "integer", "boolean", "array", "object"];
    let named = known.into_iter().filter(|known| names.iter().any(|name| name.eq_ignore_ascii_case(known)));
    (named.collect(), names.contains(&"null"))
}

/// The type that a schema without one must have meant.
fn inferred(source: &Map<String, Value>) -> &'static str {
    if source.contains_key("properties") {
        "object"
    } else if source.contains_key("items") {
        "array"
    } else {
        "string"
    }
}

/// Strings of an enumeration, `const` included; empty ones are an error at Google.
fn choices(source: &Map<String, Value>) -> Vec<Value> {
    let all = source.get("enum").and_then(Value::as_array).into_iter().flatten().chain(source.get("const"));
    all.filter(|choice| choice.as_str().is_some_and(|text| !text.is_empty())).cloned().collect()
}

/// The formats that Google knows; others are an error.
fn format<'s>(source: &'s Map<String, Value>, name: &str) -> Option<&'s str> {
    let format = source.get("format")?.as_str()?;
    let known = match name {
        "STRING" => matches!(format, "enum" | "date-time"),
        "INTEGER" => matches!(format, "int32" | "int64"),
        "NUMBER" => matches!(format, "float" | "double"),
        _ => false,
    };
    known.then_some(format)
}

fn object_to_json_schema(schema: &Map<String, Value>) -> Map<String, Value> {
    let nullable = schema.get("nullable") == Some(&Value::Bool(true));
    let mut out = Map::new();
    for (name, value) in schema {
        let value = match (name.as_str(), value) {
            ("nullable" | "propertyOrdering" | "property_ordering" | "example", _) => continue,
            ("type", Value::String(name)) if nullable => {
                Value::Array(vec![Value::from(name.to_ascii_lowercase()), Value::from("null")])
            }
            ("type", Value::String(name)) => Value::from(name.to_ascii_lowercase()),
            ("items", value) => to_json_schema(value),
            ("properties", Value::Object(properties)) => {
                Value::Object(properties.iter().map(|(name, value)| (name.clone(), to_json_schema(value))).collect())
            }
            ("anyOf" | "any_of", Value::Array(alternatives)) => {
                let mut alternatives: Vec<Value> = alternatives.iter().map(to_json_schema).collect();
                if nullable {
                    alternatives.push(typed("null"));
                }
                Value::Array(alternatives)
            }
            (_, value) => value.clone(),
        };
        // Counts are strings in protobuf's JSON.
        let value = match (name.as_str(), &value) {
            (
                "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties",
                Value::String(digits),
            ) => digits.parse::<u64>().map_or(value, Value::from),
            (_, _) => value,
        };
        out.insert(if name == "any_of" { "anyOf".to_owned() } else { name.clone() }, value);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn gemini(schema: Value) -> Value {
        to_gemini(&schema, &At::ROOT).unwrap()
    }

    #[test]
    fn references_are_inlined_and_order_is_kept() {
        let schema = json!({
            "$defs": {"Place": {"type": "object", "properties": {"zip": {"type": "string"}, "city": {"type": "string"}}}},
            "type": "object",
            "properties": {
                "to": {"$ref": "#/$defs/Place", "description": "where to"},
                "from": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]},
            },
            "required": ["to", "gone"],
            "additionalProperties": false,
        });
        let place = json!({"type": "OBJECT", "properties": {"zip": {"type": "STRING"}, "city": {"type": "STRING"}}});
        let mut to = place.clone();
        to["description"] = json!("where to");
        let mut from = place;
        from["nullable"] = json!(true);
        let out = gemini(schema);
        assert_eq!(out, json!({"type": "OBJECT", "properties": {"to": to, "from": from}, "required": ["to"]}));
        let names: Vec<&String> = out["properties"]["to"]["properties"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["zip", "city"]);
    }

    #[test]
    fn what_google_refuses_is_rewritten() {
        let cases = [
            (json!({"type": ["integer", "null"]}), json!({"type": "INTEGER", "nullable": true})),
            (json!({"type": ["string", "number"]}), json!({"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}]})),
            (json!({"const": "a"}), json!({"type": "STRING", "enum": ["a"]})),
            (json!({"type": "integer", "enum": [1, 2]}), json!({"type": "INTEGER"})),
            (json!({"type": "string", "enum": ["", "a"]}), json!({"type": "STRING", "enum": ["a"]})),
            (json!({"type": "array"}), json!({"type": "ARRAY", "items": {"type": "STRING"}})),
            (json!({"type": "string", "format": "email"}), json!({"type": "STRING"})),
            (json!({"type": "object", "properties": {}}), json!({"type": "OBJECT"})),
            (json!({"oneOf": [{"type": "string"}], "description": "d"}), json!({"type": "STRING", "description": "d"})),
            (
                json!({"allOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"b": true}}]}),
                json!({"type": "OBJECT", "properties": {"a": {"type": "STRING"}, "b": {"type": "STRING"}}}),
            ),
        ];
        for (schema, expected) in cases {
            assert_eq!(gemini(schema.clone()), expected, "{schema}");
        }
    }

    #[test]
    fn endless_schemas_are_refused() {
        let recursive = json!({"$defs": {"T": {"properties": {"next": {"$ref": "#/$defs/T"}}}}, "$ref": "#/$defs/T"});
        let itself = json!({"$ref": "#"});
        let outside = json!({"$ref": "https://example.org/schema"});
        let absent = json!({"$ref": "#/$defs/None"});
        let mut bomb = json!({"$defs": {"0": {"type": "string"}}});
        for level in 1..30 {
            let both = json!({"$ref": format!("#/$defs/{}", level - 1)});
            bomb["$defs"][level.to_string()] = json!({"properties": {"a": both, "b": both}});
        }
        bomb["$ref"] = json!("#/$defs/29");
        for schema in [recursive, itself, outside, absent, bomb] {
            to_gemini(&schema, &At::ROOT).unwrap_err();
        }
    }

    #[test]
    fn the_way_back() {
        let schema = json!({"type": "OBJECT", "nullable": true, "propertyOrdering": ["b"], "properties": {
            "b": {"type": "ARRAY", "items": {"type": "INTEGER", "format": "int32"}, "minItems": "1"}}});
        let expected = json!({"type": ["object", "null"], "properties": {
            "b": {"type": "array", "items": {"type": "integer", "format": "int32"}, "minItems": 1}}});
        assert_eq!(to_json_schema(&schema), expected);
    }

    fn any_schema() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!({"type": "string"})),
            Just(json!({"type": ["string", "null"]})),
            Just(json!({"$ref": "#/$defs/a"})),
            Just(json!(true)),
            Just(json!({"type": 7, "enum": {}})),
            Just(json!(null)),
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|list| json!({"anyOf": list})),
                prop::collection::vec(inner.clone(), 0..4).prop_map(|list| json!({"allOf": list})),
                inner.clone().prop_map(|items| json!({"type": "array", "items": items})),
                (inner.clone(), inner).prop_map(|(a, b)| json!({"$defs": {"a": a}, "properties": {"b": b}})),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_schema_ends_and_has_types(schema in any_schema()) {
            fn check(schema: &Value) {
                assert!(schema.get("type").is_some() || schema.get("anyOf").is_some(), "{schema}");
                assert!(schema.get("$ref").is_none());
            }
            if let Ok(written) = to_gemini(&schema, &At::ROOT) {
                check(&written);
                if let Some(items) = written.get("items") {
                    check(items);
                }
            }
        }
    }
}
