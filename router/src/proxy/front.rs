//! What clients reach: OpenAI's methods and Gemini's.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use super::auth;
use super::body::Body;
use super::by_size::by_size;
use super::deadline::deadline;
use super::door::Door;
use super::early;
use super::exchange::{Presence, exchange};
use super::live::Live;
use super::mailbox::{Mailbox, Sender};
use super::message::{Arrival, Message, Place};
use super::models;
use super::respond::{self, coded};
use super::server::Answer;
use super::stall::Cutoff;
use super::translate::{Question, Surface};
use crate::core::{ClientId, ModelId, Priority, Route};
use crate::wire::{ClientError, Framing, Front as Dialect};

/// How long a client may take to send a body, from its head on: slower ones are not waited for.
const BODY_PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// The front door.
pub(super) struct Front<R>(pub(super) Arc<Door<R>>);

/// What a request's address means.
#[derive(Debug, PartialEq, Eq)]
enum Call<'a> {
    /// A call to a provider; the model, where the address names it.
    Ask(Surface, Option<Cow<'a, str>>),
    /// The list of models.
    Models,
    /// One model.
    Model(Cow<'a, str>),
    /// Nothing that is here, or not by this method.
    Nothing,
}

impl<R> Clone for Front<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: Route + 'static> Answer for Front<R> {
    type Body = Body;

    async fn answer(&self, request: Request<Incoming>, cutoff: Cutoff) -> Response<Body> {
        let address = request.uri().clone();
        match call(request.method(), &address) {
            Call::Ask(surface, model) => serve(Arc::clone(&self.0), surface, model.as_deref(), request, cutoff).await,
            Call::Models => {
                let live = self.0.live.load();
                let front = models::front(request.headers(), &address);
                match known(&live, request.headers(), &address) {
                    Ok(client) => respond::whole(models::list(&live, client, front)),
                    Err(error) => respond::error(&error, front),
                }
            }
            Call::Model(name) => {
                let live = self.0.live.load();
                let front = models::front(request.headers(), &address);
                let found = known(&live, request.headers(), &address);
                match found.and_then(|client| permitted(&live, client, &name)) {
                    Ok(model) => respond::whole(models::one(&live, model, front)),
                    Err(error) => respond::error(&error, front),
                }
            }
            Call::Nothing => {
                let path = address.path();
                let is_gemini = path.contains("/v1beta/models") || path.contains("/models/") && path.contains(':');
                let front = if is_gemini { Dialect::Gemini } else { models::front(request.headers(), &address) };
                let hint = if names_two_versions(path) {
                    "; the version stands there twice: take it out of the base address that the client is given"
                } else {
                    ""
                };
                let message = format!("There is no {} {path} here{hint}", request.method());
                respond::error(&coded(404, "not_found", message), front)
            }
        }
    }
}

/// Where OpenAI's dialect is spoken: at its home, where Gemini offers it, and at the root, to which many clients of other
/// proxies are pointed.
const OPEN_AI: [&str; 3] = ["/v1/", "/v1beta/openai/", "/"];

/// Where Gemini's models are.
const GEMINI: [&str; 3] = ["/v1beta/models/", "/v1/models/", "/models/"];

/// Where only OpenAI's dialect has a model's description.
const OPEN_AI_MODELS: &str = "/v1beta/openai/models/";

/// Reads a request's address. Gemini's newest libraries speak to `/v1`, where OpenAI's are at home.
fn call<'a>(method: &Method, address: &'a Uri) -> Call<'a> {
    let is_post = method == Method::POST;
    let is_get = method == Method::GET || method == Method::HEAD;
    let path = address.path();
    let below = |homes: &[&str]| homes.iter().find_map(|home| path.strip_prefix(home));
    match below(&OPEN_AI) {
        Some("chat/completions") if is_post => return Call::Ask(Surface::Chat, None),
        Some("responses") if is_post => return Call::Ask(Surface::Responses, None),
        Some("embeddings") if is_post => return Call::Ask(Surface::Embeddings, None),
        Some("models") if is_get => return Call::Models,
        Some(_) | None => {}
    }
    if path == "/v1beta/models" && is_get {
        return Call::Models;
    }
    let (named, described) = (below(&GEMINI), below(&[OPEN_AI_MODELS]).filter(|_| is_get));
    match named.or(described).map(decoded) {
        Some(name) if is_post => gemini(name, address.query()),
        Some(name) if is_get && !name.is_empty() => Call::Model(name),
        Some(_) | None => Call::Nothing,
    }
}

/// Whether an address begins with a version and then another: a base address with a version was given to a client that
/// adds its own.
fn names_two_versions(path: &str) -> bool {
    let is_version = |part: &str| matches!(part, "v1" | "v1beta" | "v1alpha" | "v1beta1");
    let mut parts = path.split('/').skip(1).filter(|part| *part != "openai");
    parts.next().is_some_and(is_version) && parts.next().is_some_and(is_version)
}

/// A name without its escapes, which hardly any has.
fn decoded(name: &str) -> Cow<'_, str> {
    if name.contains('%') { percent_decode_str(name).decode_utf8_lossy() } else { Cow::Borrowed(name) }
}

/// Reads `MODEL:METHOD`.
fn gemini<'a>(name: Cow<'a, str>, query: Option<&str>) -> Call<'a> {
    let Some((model, method)) = name.rsplit_once(':') else { return Call::Nothing };
    let surface = match method {
        "generateContent" => Surface::Generate,
        "streamGenerateContent" => {
            let events = query.is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"));
            Surface::GenerateStream(if events { Framing::Sse } else { Framing::Array })
        }
        "countTokens" => Surface::CountTokens,
        "embedContent" => Surface::EmbedContent,
        "batchEmbedContents" => Surface::BatchEmbed,
        _ => return Call::Nothing,
    };
    let model = match name {
        Cow::Borrowed(name) => Cow::Borrowed(&name[..model.len()]),
        Cow::Owned(_) => Cow::Owned(model.to_owned()),
    };
    Call::Ask(surface, Some(model))
}

/// A call to a provider, from its head to its answer.
async fn serve<R: Route + 'static>(
    door: Arc<Door<R>>,
    surface: Surface,
    model: Option<&str>,
    request: Request<Incoming>,
    cutoff: Cutoff,
) -> Response<Body> {
    let since = tokio::time::Instant::now();
    let live = door.live.load_full();
    let (head, body) = request.into_parts();
    let admitted = admit(&door, &live, surface, model, &head, body).await;
    let (question, client, model, place) = match admitted {
        Ok(admitted) => admitted,
        Err(error) => return respond::error(&error, surface.front()),
    };
    let mailbox = Arc::new(Mailbox::default());
    let settings = &live.settings;
    let patience = deadline(&head.headers, &live.rules, settings.models[model.index()].deadline);
    let priority = settings.clients.get(client.index()).map_or(Priority::Normal, |client| client.priority);
    let presence = Presence::new(door.handle.clone(), Arc::clone(&mailbox), place, cutoff);
    let early = live.rules.early_stream.filter(|_| question.stream() && question.front() != Dialect::Gemini);
    let (early, front) = (early.map(|early| door.clock.real(early)), question.front());
    door.handle.send(Message::Arrived(Arrival {
        turn: question.turn(client.get()),
        client,
        model,
        endpoint: question.endpoint(),
        stream: question.stream(),
        tokens: question.tokens(),
        priority,
        deadline: door.clock.at(since) + patience,
        sender: Sender::new(&mailbox),
        live,
    }));
    let exchange = exchange(door, Arc::new(question), presence);
    match early {
        None => exchange.await,
        Some(patience) => early::answer(exchange, &mailbox, patience, front).await,
    }
}

/// Lets a call in: who asks, whether there is room, what is asked.
async fn admit<R>(
    door: &Door<R>,
    live: &Live,
    surface: Surface,
    model: Option<&str>,
    head: &http::request::Parts,
    body: Incoming,
) -> Result<(Question, ClientId, ModelId, Place), ClientError> {
    let client = known(live, &head.headers, &head.uri)?;
    let mut place = door.handle.enter().map_err(respond::shut)?;
    let body = read_body(body, live.rules.body_max, &mut place).await?;
    let wall = door.clock.wall();
    let question = by_size(body.len(), || Question::read(surface, model, body, wall));
    let question = question.map_err(|refusal| ClientError::from(&refusal))?;
    let model = permitted(live, client, question.model())?;
    Ok((question, client, model, place))
}

/// Who asks.
fn known(live: &Live, headers: &HeaderMap, address: &Uri) -> Result<ClientId, ClientError> {
    let token = || auth::token(headers, address).map(auth::digest);
    let shown = if live.knows_clients() { token() } else { None };
    live.client(shown.as_ref())
        .ok_or_else(|| coded(401, "invalid_api_key", "This proxy does not know the key that was shown"))
}

/// Which model is asked for, if this client may.
fn permitted(live: &Live, client: ClientId, name: &str) -> Result<ModelId, ClientError> {
    let model = live.model(name).ok_or_else(|| {
        let ids = (0..live.settings.models.len()).map(|index| ModelId::new(index as u16));
        let names =
            ids.filter(|model| live.allows(client, *model)).map(|model| &*live.settings.models[model.index()].name);
        let message = format!("There is no model `{name}` here; there is {}", names.collect::<Vec<_>>().join(", "));
        coded(404, "model_not_found", message)
    })?;
    if live.allows(client, model) {
        Ok(model)
    } else {
        Err(coded(403, "model_not_allowed", format!("This key may not ask for `{name}`")))
    }
}

/// Reads a body to its end, if it comes soon enough and is not too long.
async fn read_body(mut body: Incoming, most: usize, place: &mut Place) -> Result<Bytes, ClientError> {
    let too_long = || coded(413, "body_too_large", format!("The body is longer than {most} bytes"));
    if hyper::body::Body::size_hint(&body).lower() > most as u64 {
        return Err(too_long());
    }
    let read = async {
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_broken| coded(400, "body_cut", "The body broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if first.len() + rest.len() + data.len() > most {
                return Err(too_long());
            }
            place.hold(data.len()).map_err(respond::shut)?;
            if first.is_empty() {
                first = data;
            } else {
                if rest.is_empty() {
                    rest.extend_from_slice(&first);
                }
                rest.extend_from_slice(&data);
            }
        }
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    };
    let mut read = pin!(read);
    // Nearly every body comes together with its head.
    if let Some(read) = read.as_mut().now_or_never() {
        return read;
    }
    match tokio::time::timeout(BODY_PATIENCE, read).await {
        Ok(read) => read,
        Err(_elapsed) => Err(coded(408, "body_too_slow", "The body did not come within a minute")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(address: &'static str) -> String {
        format!("{:?}", call(&Method::POST, &Uri::from_static(address)))
    }

    #[test]
    fn every_method_has_its_address_under_both_versions() {
        for version in ["/v1", "/v1beta"] {
            let address = |rest: &str| format!("{version}/models/{rest}").parse::<Uri>().expect("an address");
            let asked = |rest: &str| match call(&Method::POST, &address(rest)) {
                Call::Ask(surface, model) => Some((surface, model.expect("named").into_owned())),
                Call::Models | Call::Model(_) | Call::Nothing => None,
            };
            for (method, surface) in [
                ("generateContent", Surface::Generate),
                ("streamGenerateContent", Surface::GenerateStream(Framing::Array)),
                ("streamGenerateContent?alt=sse", Surface::GenerateStream(Framing::Sse)),
                ("streamGenerateContent?key=k&alt=sse", Surface::GenerateStream(Framing::Sse)),
                ("countTokens", Surface::CountTokens),
                ("embedContent", Surface::EmbedContent),
                ("batchEmbedContents", Surface::BatchEmbed),
            ] {
                assert_eq!(asked(&format!("m-1:{method}")), Some((surface, "m-1".to_owned())));
                assert_eq!(asked(&format!("m%2D1%3A{method}")), Some((surface, "m-1".to_owned())), "escaped");
            }
            assert_eq!(asked("m-1:dance"), None);
            assert_eq!(call(&Method::GET, &address("m-1")), Call::Model("m-1".into()));
            assert_eq!(call(&Method::GET, &format!("{version}/models").parse().expect("ok")), Call::Models);
        }
        for home in OPEN_AI {
            let posted =
                |method: &str| format!("{:?}", call(&Method::POST, &format!("{home}{method}").parse().expect("ok")));
            assert_eq!(posted("chat/completions"), "Ask(Chat, None)");
            assert_eq!(posted("responses"), "Ask(Responses, None)");
            assert_eq!(posted("embeddings"), "Ask(Embeddings, None)");
            assert_eq!(call(&Method::GET, &format!("{home}models").parse().expect("ok")), Call::Models);
            assert_eq!(
                call(&Method::GET, &format!("{home}models/m-1").parse().expect("ok")),
                Call::Model("m-1".into())
            );
        }
        for nothing in ["/", "/v1/models", "/v1beta/chat/completions", "/v1/models/", "/v1"] {
            assert_eq!(posted(nothing), "Nothing", "{nothing}");
            assert!(!names_two_versions(nothing), "{nothing}");
        }
    }

    #[test]
    fn a_version_that_stands_there_twice_is_no_address() {
        for twice in [
            "/v1/v1beta/models/m:generateContent",
            "/v1beta/v1beta/models/m:generateContent",
            "/v1/v1/chat/completions",
            "/v1beta/openai/v1/chat/completions",
            "/v1beta/openai/v1beta/models/m:generateContent",
            "/v1/v1beta/openai/chat/completions",
        ] {
            assert_eq!(posted(twice), "Nothing", "{twice}");
            assert!(names_two_versions(twice), "{twice}");
        }
        for read in ["/v1/v1beta/models", "/v1/v1/models", "/v1/v1/models/m", "/v1beta/openai/v1/models"] {
            assert_eq!(call(&Method::GET, &Uri::from_static(read)), Call::Nothing, "{read}");
            assert!(names_two_versions(read), "{read}");
        }
        assert_eq!(posted("/v1beta/openai/models/m:generateContent"), "Nothing", "that is not how OpenAI's speaks");
    }
}
