//! Lists of models.

use serde::Deserialize;
use serde_json::json;

use super::Malformed;

/// `GET /v1/models` for OpenAI's clients. `created` is in seconds since the Unix epoch.
pub fn open_ai_list<'m>(names: impl IntoIterator<Item = &'m str>, created: u64) -> Vec<u8> {
    let data: Vec<_> = names.into_iter().map(|name| open_ai_model(name, created)).collect();
    json!({"object": "list", "data": data}).to_string().into_bytes()
}

/// `GET /v1/models/M` for OpenAI's clients.
pub fn open_ai_model(name: &str, created: u64) -> serde_json::Value {
    json!({"id": name, "object": "model", "created": created, "owned_by": "stormproof"})
}

/// `GET /v1beta/models` for Gemini's clients.
pub fn gemini_list<'m>(names: impl IntoIterator<Item = &'m str>) -> Vec<u8> {
    let models: Vec<_> = names.into_iter().map(gemini_model).collect();
    json!({ "models": models }).to_string().into_bytes()
}

/// `GET /v1beta/models/M` for Gemini's clients.
pub fn gemini_model(name: &str) -> serde_json::Value {
    json!({
        "name": format!("models/{name}"),
        "version": "001",
        "displayName": name,
        "supportedGenerationMethods": ["generateContent", "countTokens", "embedContent"],
    })
}

/// The models in a provider's list, in either dialect, and the token of the next page.
pub fn names_in(body: &[u8]) -> Result<(Vec<String>, Option<String>), Malformed> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        data: Option<Vec<OpenAi>>,
        #[serde(default)]
        models: Option<Vec<Gemini>>,
        #[serde(default, rename = "nextPageToken")]
        next: Option<String>,
    }
    #[derive(Deserialize)]
    struct OpenAi {
        id: String,
    }
    #[derive(Deserialize)]
    struct Gemini {
        name: String,
    }
    let body: Body = serde_json::from_slice(body).map_err(|_unreadable| Malformed)?;
    let bare = |name: String| name.rsplit('/').next().map(str::to_owned).unwrap_or_default();
    let names = match (body.data, body.models) {
        (Some(data), _) => {
            data.into_iter().map(|model| model.id).map(|id| id.trim_start_matches("models/").to_owned()).collect()
        }
        (None, Some(models)) => models.into_iter().map(|model| bare(model.name)).collect(),
        // The last page of a list may be empty, and then says nothing at all.
        (None, None) => Vec::new(),
    };
    Ok((names, body.next.filter(|token| !token.is_empty())))
}
