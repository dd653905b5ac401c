//! Lists of models, and counts of tokens.

use serde_json::{Value, json};

/// Models on one page unless told otherwise.
const PAGE: usize = 50;

/// Gemini's list, cut into pages as the query asks.
pub(in crate::mock) fn gemini(names: &[&str], query: &str) -> Value {
    let number = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(own, _)| *own == name).find_map(|(_, value)| value.parse::<usize>().ok())
    };
    let start = number("pageToken").unwrap_or(0).min(names.len());
    let end = (start + number("pageSize").unwrap_or(PAGE).clamp(1, 1000)).min(names.len());
    let models: Vec<Value> = names[start..end].iter().map(|name| gemini_model(name)).collect();
    match end < names.len() {
        true => json!({"models": models, "nextPageToken": end.to_string()}),
        false => json!({ "models": models }),
    }
}

/// One of Gemini's models.
pub(in crate::mock) fn gemini_model(name: &str) -> Value {
    let methods: &[&str] = match name.contains("embedding") {
        true => &["embedContent", "countTokens"],
        false => &["generateContent", "countTokens", "createCachedContent", "batchGenerateContent"],
    };
    json!({
        "name": format!("models/{name}"),
        "version": "001",
        "displayName": name,
        "description": "A model that a scenario simulates",
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": methods,
        "temperature": 1,
        "topP": 0.95,
        "topK": 64,
        "maxTemperature": 2,
    })
}

/// OpenAI's list.
pub(in crate::mock) fn open_ai(names: &[&str], lead: &str, owner: &str) -> Value {
    let data: Vec<Value> = names.iter().map(|name| open_ai_model(name, lead, owner)).collect();
    json!({"object": "list", "data": data})
}

/// One model of OpenAI's list. The compatibility endpoint leads names with `models/`.
pub(in crate::mock) fn open_ai_model(name: &str, lead: &str, owner: &str) -> Value {
    json!({"id": format!("{lead}{name}"), "object": "model", "created": 1_742_860_800, "owned_by": owner})
}

/// `countTokens`' answer.
pub(in crate::mock) fn count(tokens: u32) -> Value {
    json!({"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let names = ["a", "b", "c"];
        let first = gemini(&names, "pageSize=2");
        assert_eq!(first["models"].as_array().map(Vec::len), Some(2));
        let second = gemini(&names, &format!("pageSize=2&pageToken={}", first["nextPageToken"].as_str().unwrap()));
        assert_eq!((&second["models"][0]["name"], second.get("nextPageToken")), (&json!("models/c"), None));
        assert_eq!(gemini(&names, "pageToken=99")["models"], json!([]));
    }
}
