//! Where one deployment's calls go, and with which credential.

use std::fmt;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use super::outgoing::Outgoing;
use crate::wire::{Dialect, Flavor};

const GOOGLE_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
/// Headers of a call: ours, and those that hyper adds.
const HEADERS: usize = 6;
const SELF: HeaderValue = HeaderValue::from_static(concat!("stormproof/", env!("CARGO_PKG_VERSION")));

/// How a credential is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// `x-goog-api-key`: Gemini, and Vertex in express mode.
    GoogleKey,
    /// `Authorization: Bearer`: OpenAI-compatible APIs, and Vertex with an OAuth token.
    Bearer,
}

/// A deployment as the network knows it. Its `Debug` shows no credential.
#[derive(Clone)]
pub struct Target {
    dialect: Dialect,
    scheme: Scheme,
    authority: Authority,
    /// Without a slash at the end.
    path: String,
    model: String,
    credential: (HeaderName, HeaderValue),
    flavor: Flavor,
    /// What nearly every call asks for, so that its address need not be put together each time.
    whole: Uri,
    stream: Uri,
}

/// A target that cannot be called.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// The base address is not one.
    #[error("`{0}` is not an address such as `https://api.example.com/v1`")]
    Address(String),
    /// The model's name cannot stand in an address.
    #[error("`{0}` makes no address; is it the provider's name for the model?")]
    Model(String),
    /// The credential cannot stand in a header.
    #[error("the secret of key `{0}` holds a character that no header may hold, such as a line break")]
    Secret(String),
}

/// What is asked of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Verb {
    /// A whole answer.
    Generate,
    /// An answer as server-sent events.
    Stream,
    /// An answer as a JSON array that grows: Gemini alone.
    StreamArray,
    /// Embeddings, several in one call.
    Embed,
    /// One embedding, in Gemini's single form.
    EmbedOne,
    /// Embeddings as Vertex gives them.
    Predict,
    /// Counting tokens.
    Count,
    /// The list of models: what a check of a key asks for.
    Models,
}

impl Target {
    /// The target for `model` at `base` (`https://host/path`), shown the secret of the key called `key`.
    ///
    /// # Errors
    /// When the address is not one, or the secret cannot stand in a header.
    pub fn new(
        dialect: Dialect,
        base: &str,
        model: &str,
        credential: Credential,
        key: &str,
        secret: &SecretString,
    ) -> Result<Self, TargetError> {
        let unusable = || TargetError::Address(base.to_owned());
        let parts = base.parse::<Uri>().map_err(|_not_an_address| unusable())?.into_parts();
        let scheme = parts.scheme.filter(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
        let path = parts.path_and_query.as_ref().map_or("", PathAndQuery::path).trim_end_matches('/');
        let shown = match credential {
            Credential::GoogleKey => (GOOGLE_KEY, HeaderValue::from_str(secret.expose_secret())),
            Credential::Bearer => (AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {}", secret.expose_secret()))),
        };
        let mut value = shown.1.map_err(|_not_a_header| TargetError::Secret(key.to_owned()))?;
        value.set_sensitive(true);
        let mut target = Self {
            dialect,
            scheme: scheme.ok_or_else(unusable)?,
            authority: parts.authority.ok_or_else(unusable)?,
            path: path.to_owned(),
            model: model.to_owned(),
            credential: (shown.0, value),
            flavor: Flavor::of_base_url(base),
            whole: Uri::default(),
            stream: Uri::default(),
        };
        let no_address = |_not_an_address| TargetError::Model(model.to_owned());
        (target.whole, target.stream) =
            (target.address(Verb::Generate).map_err(no_address)?, target.address(Verb::Stream).map_err(no_address)?);
        Ok(target)
    }

    /// The language it speaks.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whose idea of OpenAI's dialect it has.
    pub(in crate::proxy) fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// The provider's name for the model.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// A call to this target. Nothing of the client's own headers or query is in it.
    ///
    /// # Errors
    /// When the model's name makes no address.
    pub(in crate::proxy) fn request(&self, verb: Verb, body: Bytes) -> Result<Request<Outgoing>, http::Error> {
        let mut request = Request::new(Outgoing::new(body));
        *request.uri_mut() = match verb {
            Verb::Generate => self.whole.clone(),
            Verb::Stream => self.stream.clone(),
            Verb::StreamArray | Verb::Embed | Verb::EmbedOne | Verb::Predict | Verb::Count | Verb::Models => {
                self.address(verb)?
            }
        };
        *request.method_mut() = if verb == Verb::Models { Method::GET } else { Method::POST };
        let headers = request.headers_mut();
        headers.reserve(HEADERS);
        headers.insert(self.credential.0.clone(), self.credential.1.clone());
        headers.insert(USER_AGENT, SELF);
        headers.insert(ACCEPT, if verb == Verb::Stream { EVENTS } else { JSON });
        if verb != Verb::Models {
            headers.insert(CONTENT_TYPE, JSON);
        }
        Ok(request)
    }

    fn address(&self, verb: Verb) -> Result<Uri, http::Error> {
        let (scheme, authority) = (self.scheme.clone(), self.authority.clone());
        Uri::builder().scheme(scheme).authority(authority).path_and_query(self.path_of(verb)).build()
    }

    fn path_of(&self, verb: Verb) -> String {
        let google = match self.dialect {
            Dialect::Gemini => "models",
            Dialect::Vertex => "publishers/google/models",
            Dialect::OpenAi => {
                let method = match verb {
                    Verb::Generate | Verb::Stream | Verb::StreamArray | Verb::Count => "chat/completions",
                    Verb::Embed | Verb::EmbedOne | Verb::Predict => "embeddings",
                    Verb::Models => "models",
                };
                return format!("{}/{method}", self.path);
            }
        };
        let method = match verb {
            Verb::Generate => "generateContent",
            Verb::Stream => "streamGenerateContent?alt=sse",
            Verb::StreamArray => "streamGenerateContent",
            Verb::Predict => "predict",
            Verb::Embed => "batchEmbedContents",
            Verb::EmbedOne => "embedContent",
            Verb::Count => "countTokens",
            Verb::Models => return format!("{}/{google}?pageSize=1000", self.path),
        };
        format!("{}/{google}/{}:{method}", self.path, self.model)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{} {} ({})", self.scheme, self.authority, self.path, self.model, self.credential.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(dialect: Dialect, base: &str, credential: Credential) -> Target {
        Target::new(dialect, base, "m-1", credential, "k", &SecretString::from("hush")).expect("a good target")
    }

    #[test]
    fn every_dialect_has_its_addresses() {
        let gemini = target(Dialect::Gemini, "https://g.example/v1beta/", Credential::GoogleKey);
        let stream = gemini.request(Verb::Stream, Bytes::new()).expect("an address");
        assert_eq!(stream.uri(), "https://g.example/v1beta/models/m-1:streamGenerateContent?alt=sse");
        assert_eq!(stream.headers()["x-goog-api-key"], "hush");
        assert!(!stream.headers().contains_key(AUTHORIZATION));

        let base = "https://r.example/v1/projects/p/locations/r";
        let vertex = target(Dialect::Vertex, base, Credential::Bearer);
        let count = vertex.request(Verb::Count, Bytes::new()).expect("an address");
        assert_eq!(count.uri(), "https://r.example/v1/projects/p/locations/r/publishers/google/models/m-1:countTokens");
        assert_eq!(count.headers()[AUTHORIZATION], "Bearer hush");

        let mistral = target(Dialect::OpenAi, "http://m.example:81/v1", Credential::Bearer);
        let chat = mistral.request(Verb::Stream, Bytes::new()).expect("an address");
        assert_eq!(chat.uri(), "http://m.example:81/v1/chat/completions");
    }

    #[test]
    fn a_target_never_shows_its_secret() {
        let target = target(Dialect::Gemini, "https://g.example/v1beta", Credential::GoogleKey);
        assert!(!format!("{target:?}").contains("hush"));
        let request = target.request(Verb::Generate, Bytes::new()).expect("an address");
        assert!(!format!("{request:?}").contains("hush"));
    }

    #[test]
    fn what_cannot_be_called_is_refused() {
        let make = |base: &str, secret: &str| {
            Target::new(Dialect::OpenAi, base, "m", Credential::Bearer, "k-01", &SecretString::from(secret))
        };
        assert!(matches!(make("api.example.com/v1", "s"), Err(TargetError::Address(_))));
        assert!(matches!(make("ftp://api.example.com", "s"), Err(TargetError::Address(_))));
        let secret = SecretString::from("s");
        let odd = Target::new(Dialect::Gemini, "https://g.example", "no model", Credential::GoogleKey, "k", &secret);
        assert_eq!(odd.expect_err("a blank in an address"), TargetError::Model("no model".into()));
        let error = make("https://api.example.com", "hush\nhush").expect_err("not a header");
        assert_eq!(error, TargetError::Secret("k-01".into()));
        assert!(!error.to_string().contains("hush"), "{error}");
    }
}
