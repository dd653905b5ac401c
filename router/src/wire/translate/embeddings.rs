//! Embeddings: OpenAI's `/embeddings`, Gemini's `embedContent` and `batchEmbedContents`, Vertex's `predict`.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Malformed;
use crate::core::Tokens;
use crate::wire::json::{At, Fields, Json, Members, Refusal, elements, is_array, is_empty, is_string, string, to_vec};
use crate::wire::usage::OpenAiCounts;

/// OpenAI's request as a `batchEmbedContents` request. Says whether the client wants base64.
pub fn open_ai_to_gemini(body: &[u8], model: &str) -> Result<(Vec<u8>, bool), Refusal> {
    let wanted = Wanted::of(body)?;
    let requests = wanted
        .texts
        .iter()
        .map(|text| {
            let parts = Json::List(vec![Json::object([("text", Json::Raw(text))])]);
            let mut request = Members::of([
                ("model", Json::tree(format!("models/{model}"))),
                ("content", Json::object([("parts", parts)])),
            ]);
            if let Some(dimensions) = wanted.dimensions {
                request.set("outputDimensionality", Json::Raw(dimensions));
            }
            Json::Members(request)
        })
        .collect();
    Ok((to_vec(&Json::object([("requests", Json::List(requests))])), wanted.base64))
}

/// OpenAI's request as a Vertex `predict` request. Says whether the client wants base64.
pub fn open_ai_to_vertex(body: &[u8]) -> Result<(Vec<u8>, bool), Refusal> {
    let wanted = Wanted::of(body)?;
    let instances = wanted.texts.iter().map(|text| Json::object([("content", Json::Raw(text))])).collect();
    let mut out = Members::of([("instances", Json::List(instances))]);
    if let Some(dimensions) = wanted.dimensions {
        out.set("parameters", Json::object([("outputDimensionality", Json::Raw(dimensions))]));
    }
    Ok((to_vec(&out), wanted.base64))
}

/// What an OpenAI request asks for.
struct Wanted<'a> {
    texts: Vec<&'a RawValue>,
    dimensions: Option<&'a RawValue>,
    base64: bool,
}

impl<'a> Wanted<'a> {
    fn of(body: &'a [u8]) -> Result<Self, Refusal> {
        let fields = Fields::of_body(body)?;
        let mut base64 = false;
        for (name, value) in fields.iter() {
            let at = At::ROOT.field(name);
            match name {
                "model" | "input" | "dimensions" | "user" => {}
                "encoding_format" => match &*string(value, &at)? {
                    "base64" => base64 = true,
                    "float" => {}
                    _ => return Err(at.refuse("must be float or base64")),
                },
                _ if is_empty(value) => {}
                _ => return Err(at.no_place()),
            }
        }
        let at = At::ROOT.field("input");
        let input = fields.need("input", &At::ROOT)?;
        let texts = if is_array(input) { elements(input, &at)? } else { vec![input] };
        if texts.is_empty() {
            return Err(at.refuse("must not be empty"));
        }
        if let Some(place) = texts.iter().position(|text| !is_string(text)) {
            return Err(at
                .index(place)
                .refuse("must be a string: tokens of another model's vocabulary mean nothing here"));
        }
        Ok(Self { texts, dimensions: fields.get("dimensions"), base64 })
    }
}

/// The answer of Gemini or Vertex as OpenAI's. Gemini counts nothing, so `input` is what the caller estimated.
pub fn gemini_to_open_ai(body: &[u8], model: &str, base64: bool, input: Tokens) -> Result<Vec<u8>, Malformed> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        embedding: Option<Values>,
        #[serde(default)]
        embeddings: Vec<Values>,
        #[serde(default)]
        predictions: Vec<Prediction>,
    }
    #[derive(Deserialize)]
    struct Values {
        values: Vec<f32>,
    }
    #[derive(Deserialize)]
    struct Prediction {
        embeddings: Values,
    }
    let body: Body = serde_json::from_slice(body).map_err(|_unreadable| Malformed)?;
    let predictions = body.predictions.into_iter().map(|prediction| prediction.embeddings);
    let vectors: Vec<Values> = body.embedding.into_iter().chain(body.embeddings).chain(predictions).collect();
    if vectors.is_empty() {
        return Err(Malformed);
    }
    let data = vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| {
            let embedding = if base64 {
                let bytes: Vec<u8> = vector.values.iter().flat_map(|value| value.to_le_bytes()).collect();
                Json::tree(STANDARD.encode(bytes))
            } else {
                Json::tree(vector.values.clone())
            };
            Json::object([
                ("object", Json::constant("embedding")),
                ("index", Json::tree(index)),
                ("embedding", embedding),
            ])
        })
        .collect();
    let usage = [("prompt_tokens", Json::tree(input.get())), ("total_tokens", Json::tree(input.get()))];
    Ok(to_vec(&Json::object([
        ("object", Json::constant("list")),
        ("data", Json::List(data)),
        ("model", Json::Text(Cow::Borrowed(model))),
        ("usage", Json::object(usage)),
    ])))
}

/// An `embedContent` or `batchEmbedContents` request as OpenAI's. Says whether it was a batch.
pub fn gemini_to_open_ai_request(body: &[u8], model: &str) -> Result<(Vec<u8>, bool), Refusal> {
    let fields = Fields::of_body(body)?.camel();
    let (requests, batch) = match fields.get("requests") {
        Some(requests) => {
            let at = At::ROOT.field("requests");
            let mut all = Vec::new();
            for (index, request) in elements(requests, &at)?.into_iter().enumerate() {
                all.push(Fields::of(request, &at.index(index))?.camel());
            }
            (all, true)
        }
        None => (vec![fields], false),
    };
    let (mut input, mut dimensions) = (Vec::new(), None);
    for (index, request) in requests.iter().enumerate() {
        let list = At::ROOT.field("requests");
        let at = if batch { list.index(index) } else { At::ROOT };
        for (name, value) in request.iter() {
            match name {
                // The task is a hint that OpenAI's models do not take.
                "model" | "content" | "taskType" | "title" => {}
                "outputDimensionality" => {
                    if dimensions.is_some_and(|known: &RawValue| known.get() != value.get()) {
                        return Err(at.field(name).refuse("must be the same in all requests"));
                    }
                    dimensions = Some(value);
                }
                _ if is_empty(value) => {}
                _ => return Err(at.field(name).no_place()),
            }
        }
        input.push(text_in(request.need("content", &at)?, &at.field("content"))?);
    }
    if input.is_empty() {
        return Err(At::ROOT.field("requests").refuse("must not be empty"));
    }
    let mut out = Members::of([("model", Json::Text(Cow::Borrowed(model))), ("input", Json::List(input))]);
    if let Some(dimensions) = dimensions {
        out.set("dimensions", Json::Raw(dimensions));
    }
    Ok((to_vec(&out), batch))
}

fn text_in<'a>(content: &'a RawValue, at: &At<'_>) -> Result<Json<'a>, Refusal> {
    if is_string(content) {
        return Ok(Json::Raw(content));
    }
    let parts = Fields::of(content, at)?;
    let at = at.field("parts");
    let parts = parts.get("parts").ok_or_else(|| at.refuse("is required"))?;
    let mut texts = Vec::new();
    for (index, part) in elements(parts, &at)?.into_iter().enumerate() {
        let at = at.index(index);
        let text = Fields::of(part, &at)?.get("text").filter(|text| is_string(text));
        texts.push(Json::Raw(text.ok_or_else(|| at.refuse("must be a text"))?));
    }
    super::gemini_answers::joined(texts).ok_or_else(|| at.refuse("must not be empty"))
}

/// OpenAI's answer as that of `embedContent` or `batchEmbedContents`.
pub fn open_ai_to_gemini_answer(body: &[u8], batch: bool) -> Result<Vec<u8>, Malformed> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        data: Vec<Item<'a>>,
        #[serde(default)]
        usage: Option<OpenAiCounts>,
    }
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(borrow)]
        embedding: &'a RawValue,
        #[serde(default)]
        index: usize,
    }
    let mut body: Body<'_> = serde_json::from_slice(body).map_err(|_unreadable| Malformed)?;
    body.data.sort_by_key(|item| item.index);
    if body.data.is_empty() || body.data.iter().any(|item| !is_array(item.embedding)) {
        return Err(Malformed);
    }
    let mut vectors = body.data.iter().map(|item| Json::object([("values", Json::Raw(item.embedding))]));
    let mut out = if batch {
        Members::of([("embeddings", Json::List(vectors.collect()))])
    } else {
        Members::of([("embedding", vectors.next().ok_or(Malformed)?)])
    };
    if let Some(usage) = body.usage {
        let counts = crate::wire::usage::GeminiCounts::from(&usage);
        let prompt = counts.prompt_token_count.or_zero();
        out.set("usageMetadata", Json::object([("promptTokenCount", Json::tree(prompt))]));
    }
    Ok(to_vec(&out))
}
