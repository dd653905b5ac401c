//! Who calls, and in which words it is answered.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use stormproof_router::core::{KeyId, Price, ProviderId, Reason, Settings, UpstreamId};
use stormproof_router::wire::ClientError;
use stormproof_router::wire::render::{About, Surface, Voice};

use super::address::Api;
use super::ask::Refused;
use super::keys::KeyRing;
use crate::world::{Spec, Wording};

/// The credentials that a call shows.
#[derive(Debug)]
pub(super) struct Shown {
    /// `x-goog-api-key`, or `key` in the query.
    pub(super) google: Option<String>,
    /// `Authorization: Bearer`.
    pub(super) bearer: Option<String>,
}

impl Shown {
    pub(super) fn of(headers: &HeaderMap, query: &str) -> Self {
        let header = headers.get("x-goog-api-key").and_then(|value| value.to_str().ok());
        let in_query = || query.split('&').find_map(|pair| pair.strip_prefix("key="));
        let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = authorization.map(|text| text.strip_prefix("Bearer ").unwrap_or(text));
        Self { google: header.or_else(in_query).map(str::to_owned), bearer: bearer.map(str::to_owned) }
    }

    /// Whichever there is.
    pub(super) fn any(&self) -> Option<&str> {
        self.google.as_deref().or(self.bearer.as_deref())
    }
}

/// The key that an API accepts a call with.
pub(super) fn key(api: Api, shown: &Shown, ring: &KeyRing, directory: &Directory<'_>) -> Result<KeyId, Refused> {
    let refused = |status, reason| Err(Refused::Reason { status, reason });
    let (secret, unknown) = match (api, &shown.google, &shown.bearer) {
        // A client's own token that a proxy has passed on.
        (Api::Gemini, _, Some(_)) => return refused(401, Reason::Credential),
        (Api::Gemini, None, None) => return refused(403, Reason::Credential),
        (Api::Compat, _, None) => {
            return Err(Refused::Message(ClientError::new(400, "Missing or invalid Authorization header.")));
        }
        (Api::Vertex | Api::OpenAi, None, None) | (Api::OpenAi, Some(_), None) => {
            return refused(401, Reason::Credential);
        }
        (Api::Gemini | Api::Vertex, Some(secret), None) => (secret, (400, Reason::KeyInvalid)),
        (Api::Compat, _, Some(secret)) => (secret, (400, Reason::KeyInvalid)),
        (Api::Vertex, _, Some(secret)) => (secret, (401, Reason::Credential)),
        (Api::OpenAi, _, Some(secret)) => (secret, (401, Reason::KeyInvalid)),
    };
    match ring.find(secret).filter(|key| directory.serves(api, *key)) {
        Some(key) => Ok(key),
        None => refused(unknown.0, unknown.1),
    }
}

/// Which keys, models and wordings there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Directory<'a> {
    pub(super) settings: &'a Settings,
    pub(super) spec: &'a Spec,
}

impl<'a> Directory<'a> {
    /// Whether this key's provider has that API.
    fn serves(&self, api: Api, key: KeyId) -> bool {
        let provider = self.provider(key);
        self.upstreams(provider).all(|(upstream, _)| has(api, self.wording(upstream)))
    }

    /// Whose key it is.
    pub(super) fn provider(&self, key: KeyId) -> ProviderId {
        self.settings.projects[self.settings.keys[key.index()].project.index()].provider
    }

    /// The models of a provider, with their names.
    pub(super) fn upstreams(&self, provider: ProviderId) -> impl Iterator<Item = (UpstreamId, &'a str)> {
        let all = self.settings.upstreams.iter().zip(0..);
        all.filter(move |(upstream, _)| upstream.provider == provider)
            .map(|(upstream, id)| (UpstreamId::new(id), upstream.model.as_str()))
    }

    /// The model of that name.
    pub(super) fn find(&self, provider: ProviderId, model: &str) -> Result<UpstreamId, Refused> {
        let found = self.upstreams(provider).find(|(_, name)| *name == model);
        found.map(|(id, _)| id).ok_or(Refused::Reason { status: 404, reason: Reason::ModelNotFound })
    }

    /// The words of an API for this model; without one, for any of the key's provider; without that, for any of the
    /// API's.
    pub(super) fn voice(&self, api: Api, upstream: Option<UpstreamId>, key: Option<KeyId>) -> Voice {
        let any = || self.spec.upstreams.iter().map(|upstream| upstream.wording).find(|wording| has(api, *wording));
        let of_key = || self.upstreams(self.provider(key?)).map(|(id, _)| self.wording(id)).next();
        let wording = upstream.map(|upstream| self.wording(upstream)).or_else(of_key).or_else(any);
        let own = wording.unwrap_or(Wording::Gemini2026).voice();
        let surface = match api {
            Api::Gemini => Surface::Gemini,
            Api::Compat => Surface::GeminiCompat,
            Api::Vertex => Surface::Vertex,
            Api::OpenAi if own.surface == Surface::Mistral => Surface::Mistral,
            Api::OpenAi => Surface::OpenAi,
        };
        Voice { surface, ..own }
    }

    /// What an error about this model names.
    pub(super) fn about<'b>(&self, upstream: Option<UpstreamId>, model: &'b str, key: &'b str) -> About<'b> {
        let tiers = self.settings.tiers.iter();
        let free = |id| tiers.clone().filter(|tier| tier.upstream == id).any(|tier| tier.price == Price::default());
        About { model, key, free_tier: upstream.is_some_and(free) }
    }

    fn wording(&self, upstream: UpstreamId) -> Wording {
        self.spec.upstreams[upstream.index()].wording
    }
}

/// Whether errors of this kind are an API's.
fn has(api: Api, wording: Wording) -> bool {
    let google = match wording {
        Wording::GeminiSpring2025
        | Wording::GeminiSummer2025
        | Wording::GeminiLate2025
        | Wording::Gemini2026
        | Wording::GeminiBare
        | Wording::Vertex => true,
        Wording::OpenAi | Wording::Mistral | Wording::MistralLate2025 => false,
    };
    match api {
        Api::Gemini | Api::Compat | Api::Vertex => google,
        Api::OpenAi => !google,
    }
}
