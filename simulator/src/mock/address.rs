//! Which API a path belongs to, and what it asks for.

use http::{Method, Uri};
use stormproof_router::wire::Framing;

/// Whose rules a call follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// `generativelanguage.googleapis.com`, native methods.
    Gemini,
    /// The same behind `/v1beta/openai/`.
    Compat,
    /// `aiplatform.googleapis.com`.
    Vertex,
    /// `/v1/chat/completions` and its neighbours.
    OpenAi,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// `generateContent`.
    Generate,
    /// `streamGenerateContent`.
    Stream(Framing),
    /// `countTokens`.
    Count,
    /// `embedContent`.
    EmbedOne,
    /// `batchEmbedContents`.
    EmbedMany,
    /// Vertex's `predict`, for embeddings.
    Predict,
    /// The list of models.
    Models,
    /// One model.
    Model,
    /// `/chat/completions`.
    Chat,
    /// `/responses`.
    Responses,
    /// `/embeddings`.
    Embeddings,
}

/// A path that some API has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) api: Api,
    pub(super) verb: Verb,
    /// The model, where the path names it.
    pub(super) model: Option<String>,
}

impl Address {
    /// What a call is for; `None` where no API has such a path. `bearer` says that it came with `Authorization`, which
    /// decides what `/v1/models` means.
    pub(super) fn of(method: &Method, uri: &Uri, bearer: bool) -> Option<Self> {
        let segments: Vec<&str> = uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
        let (version, rest) = segments.split_first()?;
        let query = uri.query().unwrap_or_default();
        let get = *method == Method::GET;
        if !get && *method != Method::POST {
            return None;
        }
        let make = |api, verb, model: Option<&str>| Self { api, verb, model: model.map(str::to_owned) };
        match (*version, rest) {
            ("v1beta", ["openai", rest @ ..]) => {
                let (verb, model) = open_ai(get, rest)?;
                Some(make(Api::Compat, verb, model))
            }
            (
                "v1" | "v1beta1",
                ["projects", _, "locations", _, "publishers", "google", "models", name]
                | ["publishers", "google", "models", name],
            ) => {
                let (model, verb) = vertex(get, name, query)?;
                Some(make(Api::Vertex, verb, Some(model)))
            }
            ("v1", ["models"] | ["models", _]) if get && bearer => {
                let (verb, model) = open_ai(get, rest)?;
                Some(make(Api::OpenAi, verb, model))
            }
            ("v1" | "v1alpha" | "v1beta", ["models"]) if get => Some(make(Api::Gemini, Verb::Models, None)),
            ("v1" | "v1alpha" | "v1beta", ["models", name]) => {
                let (model, verb) = gemini(get, name, query)?;
                Some(make(Api::Gemini, verb, Some(model)))
            }
            ("v1", _) => {
                let (verb, model) = open_ai(get, rest)?;
                Some(make(Api::OpenAi, verb, model))
            }
            (_, _) => None,
        }
    }
}

fn gemini<'a>(get: bool, name: &'a str, query: &str) -> Option<(&'a str, Verb)> {
    if get {
        return Some((name, Verb::Model));
    }
    let (model, method) = name.rsplit_once(':')?;
    Some((model, method_of(method, query)?))
}

fn vertex<'a>(get: bool, name: &'a str, query: &str) -> Option<(&'a str, Verb)> {
    let (model, method) = name.rsplit_once(':').filter(|_| !get)?;
    let verb = if method == "predict" { Verb::Predict } else { method_of(method, query)? };
    Some((model, verb))
}

fn method_of(method: &str, query: &str) -> Option<Verb> {
    let sse = query.split('&').any(|pair| pair == "alt=sse" || pair == "$alt=sse" || pair == "%24alt=sse");
    Some(match method {
        "generateContent" => Verb::Generate,
        "streamGenerateContent" => Verb::Stream(if sse { Framing::Sse } else { Framing::Array }),
        "countTokens" => Verb::Count,
        "embedContent" => Verb::EmbedOne,
        "batchEmbedContents" => Verb::EmbedMany,
        _ => return None,
    })
}

fn open_ai<'a>(get: bool, rest: &[&'a str]) -> Option<(Verb, Option<&'a str>)> {
    Some(match (get, rest) {
        (false, ["chat", "completions"]) => (Verb::Chat, None),
        (false, ["embeddings"]) => (Verb::Embeddings, None),
        (false, ["responses"]) => (Verb::Responses, None),
        (true, ["models"]) => (Verb::Models, None),
        (true, ["models", name] | ["models", "models", name]) => (Verb::Model, Some(*name)),
        (_, _) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_its_api() {
        let cases = [
            ("POST /v1beta/models/m-1:generateContent", "Gemini Generate m-1"),
            ("POST /v1/models/m:streamGenerateContent?alt=sse", "Gemini Stream(Sse) m"),
            ("POST /v1/models/m:streamGenerateContent?alt=sse&key=k bearer", "Gemini Stream(Sse) m"),
            ("POST //v1beta/models/m:streamGenerateContent", "Gemini Stream(Array) m"),
            ("POST /v1beta/models/m:countTokens", "Gemini Count m"),
            ("POST /v1beta/models/m:batchEmbedContents", "Gemini EmbedMany m"),
            ("GET /v1beta/models?pageSize=2", "Gemini Models -"),
            ("GET /v1/models", "Gemini Models -"),
            ("GET /v1/models bearer", "OpenAi Models -"),
            ("GET /v1/models/m bearer", "OpenAi Model m"),
            ("GET /v1/models/m", "Gemini Model m"),
            ("POST /v1/chat/completions bearer", "OpenAi Chat -"),
            ("POST /v1/responses", "OpenAi Responses -"),
            ("POST /v1beta/openai/chat/completions bearer", "Compat Chat -"),
            ("POST /v1beta/openai/embeddings bearer", "Compat Embeddings -"),
            ("GET /v1beta/openai/models/models/m bearer", "Compat Model m"),
            ("POST /v1/projects/p/locations/l/publishers/google/models/m:generateContent bearer", "Vertex Generate m"),
            ("POST /v1beta1/publishers/google/models/m:predict", "Vertex Predict m"),
            ("DELETE /v1/models/m", "nothing"),
            ("POST /v1beta/models/m:tune", "nothing"),
            ("GET /", "nothing"),
        ];
        for (line, expected) in cases {
            let mut words = line.split(' ');
            let method: Method = words.next().unwrap().parse().unwrap();
            let uri: Uri = words.next().unwrap().parse().unwrap();
            let found = Address::of(&method, &uri, words.next().is_some()).map_or("nothing".to_owned(), |address| {
                let Address { api, verb, model } = address;
                format!("{api:?} {verb:?} {}", model.as_deref().unwrap_or("-"))
            });
            assert_eq!(found, expected, "{line}");
        }
    }
}
