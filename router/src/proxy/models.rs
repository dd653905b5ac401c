//! The list of models, in either dialect. OpenAI's and Gemini's newest libraries ask for it at the same address; the
//! credentials tell them apart.

use bytes::Bytes;
use http::{HeaderMap, Uri};
use serde_json::{Value, json};

use super::auth;
use super::live::Live;
use crate::core::{ClientId, ModelId};
use crate::wire::Front;

/// How whoever asks for models speaks: `/v1beta` is Gemini's but for its OpenAI corner, elsewhere it is Gemini for
/// those who show a Google key.
pub(super) fn front(headers: &HeaderMap, address: &Uri) -> Front {
    let path = address.path();
    let open_ai = path.starts_with("/v1beta/openai/");
    if !open_ai && (path.starts_with("/v1beta") || auth::shows_google_key(headers, address)) {
        Front::Gemini
    } else {
        Front::Chat
    }
}

/// Every model that a client may ask for.
pub(super) fn list(live: &Live, client: ClientId, front: Front) -> Bytes {
    let ids = (0..live.settings.models.len()).map(|index| ModelId::new(index as u16));
    let items: Vec<Value> =
        ids.filter(|model| live.allows(client, *model)).map(|model| item(live, model, front)).collect();
    let list = match front {
        Front::Chat | Front::Responses => json!({"object": "list", "data": items}),
        Front::Gemini => json!({"models": items}),
    };
    Bytes::from(list.to_string())
}

/// One model.
pub(super) fn one(live: &Live, model: ModelId, front: Front) -> Bytes {
    Bytes::from(item(live, model, front).to_string())
}

fn item(live: &Live, model: ModelId, front: Front) -> Value {
    let settings = &live.settings;
    let Some(model) = settings.models.get(model.index()) else { return Value::Null };
    let name = &model.name;
    match front {
        Front::Chat | Front::Responses => {
            json!({"id": name, "object": "model", "created": 0, "owned_by": "stormproof"})
        }
        Front::Gemini => {
            let mut item = json!({
                "name": format!("models/{name}"),
                "displayName": name,
                "supportedGenerationMethods":
                    ["generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"],
            });
            let tiers = || model.tiers.iter().filter_map(|tier| settings.tiers.get(tier.index()));
            if let Some(limit) = tiers().filter_map(|tier| tier.input_max).max() {
                item["inputTokenLimit"] = json!(limit.get());
            }
            if let Some(limit) = tiers().filter_map(|tier| tier.output_max).max() {
                item["outputTokenLimit"] = json!(limit.get());
            }
            item
        }
    }
}
