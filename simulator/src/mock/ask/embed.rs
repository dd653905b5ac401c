//! Reading embedding requests of every dialect.

use serde_json::Value;

use super::open_ai::{self, model};
use super::{Refused, Tally, count_of, elements, gemini, member, object, text_of};

/// What is to be embedded.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::mock) struct Embed {
    /// For which model, where the body says so.
    pub(in crate::mock) model: Option<String>,
    /// The texts, in order.
    pub(in crate::mock) texts: Vec<String>,
    /// How long the vectors are to be.
    pub(in crate::mock) dimensions: Option<u32>,
    /// Whether they are wanted as base64.
    pub(in crate::mock) base64: bool,
    /// Tokens of all texts.
    pub(in crate::mock) input: u32,
    /// The same for every repetition.
    pub(in crate::mock) identity: u64,
}

/// Reads OpenAI's form: a text, or several, or tokens of one, or of several.
pub(in crate::mock) fn open_ai(body: &[u8]) -> Result<Embed, Refused> {
    let body = object(body).map_err(open_ai::invalid_json)?;
    let model = model(&body)?;
    let is_tokens = |items: &[Value]| items.first().is_some_and(Value::is_number);
    let texts: Vec<String> = match body.get("input") {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) if is_tokens(items) => vec![Value::from(items.clone()).to_string()],
        Some(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect()
        }
        Some(_) | None => Vec::new(),
    };
    if texts.is_empty() {
        return Err(Refused::member("'$.input' is invalid. Please check the API reference.", "input"));
    }
    let base64 = text_of(&body, "encoding_format") == "base64";
    Ok(embed(Some(model), texts, count_of(&body, "dimensions"), base64))
}

/// Reads `embedContent`.
pub(in crate::mock) fn one(body: &[u8]) -> Result<Embed, Refused> {
    let body = object(body).map_err(gemini::invalid_json)?;
    Ok(embed(None, vec![content(&body)?], count_of(&body, "outputDimensionality"), false))
}

/// Reads `batchEmbedContents`.
pub(in crate::mock) fn many(body: &[u8]) -> Result<Embed, Refused> {
    let body = object(body).map_err(gemini::invalid_json)?;
    let requests = elements(member(&body, "requests"));
    if requests.is_empty() {
        return Err(Refused::bad("* BatchEmbedContentsRequest.requests: at least one request is required\n"));
    }
    let texts = requests.iter().map(content).collect::<Result<_, _>>()?;
    let dimensions = requests.first().and_then(|request| count_of(request, "outputDimensionality"));
    Ok(embed(None, texts, dimensions, false))
}

/// Reads Vertex's `predict`.
pub(in crate::mock) fn predict(body: &[u8]) -> Result<Embed, Refused> {
    let body = object(body).map_err(gemini::invalid_json)?;
    let texts: Vec<String> =
        elements(body.get("instances")).iter().map(|instance| text_of(instance, "content").to_owned()).collect();
    if texts.is_empty() {
        return Err(Refused::bad("Request contains an invalid argument."));
    }
    let dimensions = body.get("parameters").and_then(|parameters| count_of(parameters, "outputDimensionality"));
    Ok(embed(None, texts, dimensions, false))
}

fn content(request: &Value) -> Result<String, Refused> {
    let parts = elements(member(request, "content").and_then(|content| member(content, "parts")));
    if parts.is_empty() {
        return Err(Refused::bad("* EmbedContentRequest.content: contents is not specified\n"));
    }
    Ok(parts.iter().map(|part| text_of(part, "text")).collect())
}

fn embed(model: Option<String>, texts: Vec<String>, dimensions: Option<u32>, base64: bool) -> Embed {
    let mut tally = Tally::default();
    for text in &texts {
        tally.text(text);
    }
    Embed { model, texts, dimensions, base64, input: tally.tokens(), identity: tally.hash }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_dialect_gives_the_same_texts() {
        let texts = ["one".to_owned(), "two".to_owned()];
        let part = |text: &str| json!({"content": {"parts": [{"text": text}]}, "outputDimensionality": 8});
        let read = |result: Result<Embed, Refused>| result.expect("a good request");
        let bytes = |body: Value| body.to_string().into_bytes();
        let embeds = [
            read(open_ai(&bytes(json!({"model": "m", "input": ["one", "two"], "dimensions": 8})))),
            read(many(&bytes(json!({"requests": [part("one"), part("two")]})))),
            read(predict(&bytes(json!({"instances": [{"content": "one"}, {"content": "two"}],
                "parameters": {"outputDimensionality": 8}})))),
        ];
        for embed in &embeds {
            assert_eq!((&embed.texts[..], embed.dimensions, embed.input), (&texts[..], Some(8), 2));
        }
        let single = read(one(&bytes(part("one"))));
        assert_eq!((&single.texts[..], single.base64), (&texts[..1], false));
        let encoded = read(open_ai(&bytes(json!({"model": "m", "input": [[1, 2]], "encoding_format": "base64"}))));
        assert_eq!((&encoded.texts[..], encoded.base64), (&["[1,2]".to_owned()][..], true));
        assert!(open_ai(&bytes(json!({"model": "m", "input": []}))).is_err());
        assert!(many(b"{}").is_err());
    }
}
