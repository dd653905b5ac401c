//! Embeddings: vectors that depend on nothing but the text, in every dialect.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use stormproof_router::core::{mix, unit};

use crate::mock::ask::embed::Embed;

/// OpenAI's answer.
pub(in crate::mock) fn open_ai(embed: &Embed, model: &str) -> Value {
    let data: Vec<Value> = vectors(embed, model)
        .enumerate()
        .map(|(index, vector)| {
            let embedding = match embed.base64 {
                true => {
                    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                    Value::String(STANDARD.encode(bytes))
                }
                false => json!(vector),
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let usage = json!({"prompt_tokens": embed.input, "total_tokens": embed.input});
    json!({"object": "list", "data": data, "model": model, "usage": usage})
}

/// `embedContent`'s answer.
pub(in crate::mock) fn one(embed: &Embed, model: &str) -> Value {
    let values = vectors(embed, model).next().unwrap_or_default();
    json!({"embedding": {"values": values}})
}

/// `batchEmbedContents`' answer.
pub(in crate::mock) fn many(embed: &Embed, model: &str) -> Value {
    let embeddings: Vec<Value> = vectors(embed, model).map(|values| json!({ "values": values })).collect();
    json!({ "embeddings": embeddings })
}

/// Vertex's answer.
pub(in crate::mock) fn predict(embed: &Embed, model: &str) -> Value {
    let prediction = |(text, values): (&String, Vec<f32>)| {
        let statistics = json!({"truncated": false, "token_count": text.len().div_ceil(4)});
        json!({"embeddings": {"statistics": statistics, "values": values}})
    };
    let predictions: Vec<Value> = embed.texts.iter().zip(vectors(embed, model)).map(prediction).collect();
    json!({ "predictions": predictions })
}

fn vectors<'a>(embed: &'a Embed, model: &str) -> impl Iterator<Item = Vec<f32>> + 'a {
    let dimensions = embed.dimensions.unwrap_or_else(|| usual_dimensions(model)).clamp(1, 4096);
    embed.texts.iter().map(move |text| vector(text, dimensions))
}

/// How long a model's vectors are unless told otherwise.
fn usual_dimensions(model: &str) -> u32 {
    match model {
        "gemini-embedding-001" | "text-embedding-3-large" => 3072,
        "text-embedding-3-small" | "text-embedding-ada-002" => 1536,
        "mistral-embed" => 1024,
        _ => 768,
    }
}

/// A direction that hangs on the text, of length one.
fn vector(text: &str, dimensions: u32) -> Vec<f32> {
    let seed = text.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
    let numbers: Vec<f64> = (0..dimensions).map(|index| 2.0 * unit(mix(seed ^ mix(u64::from(index)))) - 1.0).collect();
    let length = libm::sqrt(numbers.iter().map(|number| number * number).sum());
    numbers.into_iter().map(|number| if length > 0.0 { (number / length) as f32 } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_the_texts_own_and_has_length_one() {
        let embed = |base64| Embed {
            model: None,
            texts: vec!["one".into(), "two".into()],
            dimensions: Some(16),
            base64,
            input: 2,
            identity: 0,
        };
        let plain = open_ai(&embed(false), "m");
        let floats: Vec<f64> =
            plain["data"][0]["embedding"].as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
        assert_eq!(floats.len(), 16);
        assert!((floats.iter().map(|float| float * float).sum::<f64>() - 1.0).abs() < 1e-6);
        assert_ne!(plain["data"][0]["embedding"], plain["data"][1]["embedding"]);
        let encoded = open_ai(&embed(true), "m");
        let bytes = STANDARD.decode(encoded["data"][0]["embedding"].as_str().expect("a text")).expect("base64");
        let decoded: Vec<f32> =
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
        assert_eq!(json!(decoded), plain["data"][0]["embedding"]);
        assert_eq!(many(&embed(false), "m")["embeddings"][1]["values"], plain["data"][1]["embedding"]);
        assert_eq!(one(&embed(false), "m")["embedding"]["values"], plain["data"][0]["embedding"]);
    }
}
