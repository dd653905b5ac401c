//! A value that satisfies a schema: JSON Schema as OpenAI takes it, or Gemini's `Schema` with its upper-case types.
//!
//! `pattern` is not satisfied: that would take a generator of regular expressions.

use serde_json::{Map, Value, json};

/// Below this depth only what is required is made, so that schemas may refer to themselves.
const OPTIONAL_DEPTH: usize = 4;

/// Below this depth nothing is made: such a schema has no finite value.
const DEPTH_MAX: usize = 32;

/// A value of this schema. Texts in it are made of `topic`.
pub(super) fn sample(schema: &Value, topic: &str) -> Value {
    Sampler { root: schema, topic }.value(schema, 0)
}

struct Sampler<'a> {
    /// What references start from.
    root: &'a Value,
    topic: &'a str,
}

impl Sampler<'_> {
    fn value(&self, schema: &Value, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return Value::Null;
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(first) = list(schema, "enum").first() {
            return first.clone();
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = self.root.pointer(target.trim_start_matches('#')).unwrap_or(&Value::Null);
            return self.value(target, depth + 1);
        }
        let all = list(schema, "allOf");
        if !all.is_empty() {
            return self.value(&self.merged(schema, all), depth + 1);
        }
        for name in ["anyOf", "oneOf"] {
            let choices = list(schema, name);
            if let Some(choice) = choices.iter().find(|choice| kind(choice) != Some("null")).or(choices.first()) {
                return self.value(choice, depth + 1);
            }
        }
        match kind(schema).map(str::to_ascii_lowercase).as_deref() {
            Some("object") => self.object(schema, depth),
            Some("array") => self.array(schema, depth),
            Some("integer") => integer(schema),
            Some("number") => number(schema),
            Some("boolean") => Value::Bool(true),
            Some("null") => Value::Null,
            None if schema.get("properties").is_some() => self.object(schema, depth),
            Some(_) | None => self.string(schema),
        }
    }

    /// One schema with the members of all of them.
    fn merged(&self, schema: &Value, all: &[Value]) -> Value {
        let mut merged = schema.as_object().cloned().unwrap_or_default();
        merged.remove("allOf");
        for one in all {
            let one = match one.get("$ref").and_then(Value::as_str) {
                Some(target) => self.root.pointer(target.trim_start_matches('#')).unwrap_or(&Value::Null),
                None => one,
            };
            for (name, value) in one.as_object().into_iter().flatten() {
                match (merged.get_mut(name), value) {
                    (Some(Value::Object(known)), Value::Object(more)) => known.extend(more.clone()),
                    (Some(Value::Array(known)), Value::Array(more)) => known.extend(more.iter().cloned()),
                    (_, value) => {
                        merged.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        Value::Object(merged)
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let required = list(schema, "required");
        let wanted = |name: &str| depth < OPTIONAL_DEPTH || required.iter().any(|one| one.as_str() == Some(name));
        let mut made = Map::new();
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if wanted(name) {
                made.insert(name.clone(), self.value(property, depth + 1));
            }
        }
        if let Some(others @ Value::Object(_)) = schema.get("additionalProperties")
            && made.is_empty()
        {
            made.insert("name".to_owned(), self.value(others, depth + 1));
        }
        Value::Object(made)
    }

    fn array(&self, schema: &Value, depth: usize) -> Value {
        let mut items: Vec<Value> =
            list(schema, "prefixItems").iter().map(|item| self.value(item, depth + 1)).collect();
        let least = count(schema, "minItems").unwrap_or(0).max(usize::from(depth < OPTIONAL_DEPTH));
        let most = count(schema, "maxItems").unwrap_or(usize::MAX);
        if let Some(item) = schema.get("items").filter(|item| item.is_object()) {
            while items.len() < least.min(most) {
                items.push(self.value(item, depth + 1));
            }
        }
        Value::Array(items)
    }

    fn string(&self, schema: &Value) -> Value {
        let fixed = match schema.get("format").and_then(Value::as_str) {
            Some("date-time") => Some("2025-04-19T05:20:57Z"),
            Some("date") => Some("2025-04-19"),
            Some("time") => Some("05:20:57Z"),
            Some("duration") => Some("PT1H"),
            Some("email") => Some("somebody@example.com"),
            Some("uuid") => Some("00000000-0000-4000-8000-000000000000"),
            Some("uri" | "url") => Some("https://example.com/"),
            Some("ipv4") => Some("127.0.0.1"),
            Some("ipv6") => Some("::1"),
            Some("hostname") => Some("example.com"),
            Some(_) | None => None,
        };
        if let Some(fixed) = fixed {
            return fixed.into();
        }
        let (least, most) = (count(schema, "minLength").unwrap_or(0), count(schema, "maxLength").unwrap_or(usize::MAX));
        let mut text: String = self.topic.chars().take(most.min(40)).collect();
        let missing = least.saturating_sub(text.chars().count());
        text.extend(std::iter::repeat_n('.', missing));
        text.into()
    }
}

fn list<'a>(schema: &'a Value, name: &str) -> &'a [Value] {
    schema.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The type; of several, the first that is not null.
fn kind(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(kind) => Some(kind),
        Value::Array(kinds) => {
            let mut kinds = kinds.iter().filter_map(Value::as_str);
            let first = kinds.next()?;
            if first == "null" { kinds.next().or(Some(first)) } else { Some(first) }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// A count; Gemini writes 64-bit ones as texts.
fn count(schema: &Value, name: &str) -> Option<usize> {
    let value = schema.get(name)?;
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    usize::try_from(number).ok()
}

fn integer(schema: &Value) -> Value {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let least = bound("minimum").map(f64::ceil).or_else(|| bound("exclusiveMinimum").map(|least| least.floor() + 1.0));
    let most = bound("maximum").map(f64::floor).or_else(|| bound("exclusiveMaximum").map(|most| most.ceil() - 1.0));
    let step = bound("multipleOf").filter(|step| *step > 0.0).unwrap_or(1.0);
    let near = least.unwrap_or_else(|| most.map_or(1.0, |most| most.min(1.0)));
    let above = (near / step).ceil() * step;
    let value = if most.is_some_and(|most| above > most) { (near / step).floor() * step } else { above };
    json!(value as i64)
}

fn number(schema: &Value) -> Value {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let least = bound("minimum").or_else(|| bound("exclusiveMinimum"));
    let most = bound("maximum").or_else(|| bound("exclusiveMaximum"));
    let value = match (least, most) {
        (Some(least), Some(most)) => (least + most) / 2.0,
        (Some(least), None) => least + 0.5,
        (None, Some(most)) => most - 0.5,
        (None, None) => 1.5,
    };
    match bound("multipleOf").filter(|step| *step > 0.0) {
        Some(step) => json!((value / step).ceil() * step),
        None => json!(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(schema: Value) -> Value {
        sample(&schema, "rain in Spain")
    }

    #[test]
    fn every_kind_of_schema_has_a_value() {
        let cases = [
            (json!({"type": "STRING"}), json!("rain in Spain")),
            (json!({"type": "string", "maxLength": 4}), json!("rain")),
            (json!({"type": "string", "minLength": 15}), json!("rain in Spain..")),
            (json!({"type": ["null", "integer"], "minimum": 3}), json!(3)),
            (json!({"type": "integer", "exclusiveMinimum": 3, "multipleOf": 5}), json!(5)),
            (json!({"type": "integer", "maximum": -2}), json!(-2)),
            (json!({"type": "NUMBER", "minimum": 0, "maximum": 1}), json!(0.5)),
            (json!({"enum": ["b", "a"]}), json!("b")),
            (json!({"const": 7}), json!(7)),
            (json!({"anyOf": [{"type": "null"}, {"type": "boolean"}]}), json!(true)),
            (json!({"type": "array", "items": {"type": "boolean"}, "minItems": 2}), json!([true, true])),
            (json!({"type": "array", "items": {"type": "boolean"}, "maxItems": "0"}), json!([])),
            (json!({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}]}), json!([1, 2])),
            (json!({"type": "object", "additionalProperties": {"type": "boolean"}}), json!({"name": true})),
            (json!({"properties": {"a": {"type": "null"}}}), json!({"a": null})),
            (
                json!({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}),
                json!({"a": 1, "b": 2}),
            ),
            (
                json!({"$ref": "#/$defs/point", "$defs": {"point": {"properties": {"x": {"type": "integer"}}}}}),
                json!({"x": 1}),
            ),
            (json!({"type": "string", "format": "date"}), json!("2025-04-19")),
            (json!({}), json!("rain in Spain")),
        ];
        for (schema, expected) in cases {
            assert_eq!(of(schema.clone()), expected, "{schema}");
        }
    }

    #[test]
    fn a_schema_may_refer_to_itself() {
        let tree = json!({"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}}}});
        let mut depth = 0;
        let mut node = &of(tree);
        while let Some(child) = node.get("children").and_then(|children| children.get(0)) {
            assert!(node["name"].is_string());
            (node, depth) = (child, depth + 1);
        }
        assert!((1..10).contains(&depth));
        let endless = json!({"type": "object", "required": ["me"], "properties": {"me": {"$ref": "#"}}});
        assert!(of(endless).is_object());
    }
}
