//! Values as the files that people write: maps in braces on one line, quotes only where they are needed.

use std::fmt::Write;

use serde_json::{Map, Value};

/// A value on one line.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Bool(true) => "on".to_owned(),
        Value::Bool(false) => "off".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => word(text),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entry = |(name, value): (&String, &Value)| format!("{}: {}", word(name), flow(value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A section: a name, and one line for each of its entries. Nothing where there are none.
pub(super) fn section(out: &mut String, indent: usize, name: &str, entries: &Map<String, Value>) {
    if entries.is_empty() {
        return;
    }
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{:indent$}{name}:", "");
    for (name, value) in entries {
        let _ = writeln!(out, "{:indent$}  {}: {}", "", word(name), flow(value));
    }
}

/// The same for a list.
pub(super) fn list(out: &mut String, indent: usize, name: &str, items: &[Value]) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(out, "{:indent$}{name}:", "");
    for item in items {
        let _ = writeln!(out, "{:indent$}  - {}", "", flow(item));
    }
}

/// A text, bare where YAML reads it back as the same text.
fn word(text: &str) -> String {
    let harmless = |character: char| character.is_ascii_alphanumeric() || "-_.%/ ".contains(character);
    let begins = text.starts_with(|character: char| character.is_ascii_alphanumeric());
    let special = ["true", "false", "yes", "no", "on", "off", "null", "none", "y", "n"];
    let is_other =
        special.contains(&text.to_lowercase().as_str()) || text.parse::<f64>().is_ok() || text.ends_with(' ');
    if begins && !is_other && text.chars().all(harmless) {
        text.to_owned()
    } else {
        // As JSON escapes it, which YAML reads, too.
        Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_written_as_people_write_them() {
        let value = json!({"upstream": "gemini-2.5-pro", "p503": "90%", "on": true, "n": [1, "2", "a: b", "none"]});
        assert_eq!(flow(&value), r#"{upstream: gemini-2.5-pro, p503: 90%, "on": on, "n": [1, "2", "a: b", "none"]}"#);
    }
}
