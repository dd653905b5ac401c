//! What clients reach: OpenAI's routes and Gemini's.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::routing::{get, post};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, Uri};
use http_body_util::BodyExt;

use super::auth;
use super::body::Body;
use super::deadline::deadline;
use super::door::Door;
use super::early;
use super::exchange::{Presence, exchange};
use super::live::Live;
use super::mailbox::{Mailbox, Sender};
use super::message::{Arrival, Message};
use super::models;
use super::respond::{self, coded};
use super::translate::{Question, Surface};
use crate::core::{ClientId, ModelId, Priority, Route};
use crate::wire::{ClientError, Framing, Front};

/// How long a client may take to send a body, from its head on: slower ones are not waited for.
const BODY_PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Every route of the front door.
pub(super) fn routes<R: Route + 'static>(door: Arc<Door<R>>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::<R>))
        .route("/v1/responses", post(responses::<R>))
        .route("/v1/embeddings", post(embeddings::<R>))
        .route("/v1/models", get(model_list::<R>))
        .route("/v1beta/models", get(model_list::<R>))
        .route("/v1/models/{*call}", get(model::<R>).post(gemini::<R>))
        .route("/v1beta/models/{*call}", get(model::<R>).post(gemini::<R>))
        .fallback(unknown)
        .with_state(door)
}

async fn chat<R: Route + 'static>(State(door): State<Arc<Door<R>>>, request: Request) -> Response<Body> {
    serve(door, Surface::Chat, None, request).await
}

async fn responses<R: Route + 'static>(State(door): State<Arc<Door<R>>>, request: Request) -> Response<Body> {
    serve(door, Surface::Responses, None, request).await
}

async fn embeddings<R: Route + 'static>(State(door): State<Arc<Door<R>>>, request: Request) -> Response<Body> {
    serve(door, Surface::Embeddings, None, request).await
}

async fn gemini<R: Route + 'static>(
    State(door): State<Arc<Door<R>>>,
    Path(call): Path<String>,
    request: Request,
) -> Response<Body> {
    let events = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"));
    let framing = if events { Framing::Sse } else { Framing::Array };
    let surface = match call.rsplit_once(':') {
        Some((model, "generateContent")) => Some((model, Surface::Generate)),
        Some((model, "streamGenerateContent")) => Some((model, Surface::GenerateStream(framing))),
        Some((model, "countTokens")) => Some((model, Surface::CountTokens)),
        Some((model, "embedContent")) => Some((model, Surface::EmbedContent)),
        Some((model, "batchEmbedContents")) => Some((model, Surface::BatchEmbed)),
        Some(_) | None => None,
    };
    match surface {
        Some((model, surface)) => serve(door, surface, Some(model), request).await,
        None => {
            let error = coded(404, "not_found", format!("There is no method `{call}` here"));
            respond::error(&error, Front::Gemini)
        }
    }
}

async fn model_list<R: Route + 'static>(
    State(door): State<Arc<Door<R>>>,
    address: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let live = door.live.load_full();
    let front = models::front(&headers, &address);
    match known(&live, &headers, &address) {
        Ok(client) => respond::whole(models::list(&live, client, front)),
        Err(error) => respond::error(&error, front),
    }
}

async fn model<R: Route + 'static>(
    State(door): State<Arc<Door<R>>>,
    Path(name): Path<String>,
    address: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let live = door.live.load_full();
    let front = models::front(&headers, &address);
    let found = known(&live, &headers, &address).and_then(|client| permitted(&live, client, &name));
    match found {
        Ok(model) => respond::whole(models::one(&live, model, front)),
        Err(error) => respond::error(&error, front),
    }
}

async fn unknown(address: Uri) -> Response<Body> {
    let front = if address.path().starts_with("/v1beta") { Front::Gemini } else { Front::Chat };
    respond::error(&coded(404, "not_found", format!("There is nothing at {}", address.path())), front)
}

/// A call to a provider, from its head to its answer.
async fn serve<R: Route + 'static>(
    door: Arc<Door<R>>,
    surface: Surface,
    model: Option<&str>,
    request: Request,
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
    let presence = Presence::new(door.handle.clone(), Arc::clone(&mailbox), place);
    let early = live.rules.early_stream.filter(|_| question.stream() && question.front() != Front::Gemini);
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
        Some(patience) => early::answer(exchange, patience, front).await,
    }
}

/// Lets a call in: who asks, whether there is room, what is asked.
async fn admit<R>(
    door: &Door<R>,
    live: &Live,
    surface: Surface,
    model: Option<&str>,
    head: &http::request::Parts,
    body: axum::body::Body,
) -> Result<(Question, ClientId, ModelId, super::message::Place), ClientError> {
    let client = known(live, &head.headers, &head.uri)?;
    let place = door.handle.enter().map_err(respond::shut)?;
    let body = read_body(body, live.rules.body_max).await?;
    let question =
        Question::read(surface, model, body, door.clock.wall()).map_err(|refusal| ClientError::from(&refusal))?;
    let model = permitted(live, client, question.model())?;
    Ok((question, client, model, place))
}

/// Who asks.
fn known(live: &Live, headers: &HeaderMap, address: &Uri) -> Result<ClientId, ClientError> {
    let shown = auth::token(headers, address).filter(|_| live.knows_clients()).map(auth::digest);
    live.client(shown.as_ref())
        .ok_or_else(|| coded(401, "invalid_api_key", "This proxy does not know the key that was shown"))
}

/// Which model is asked for, if this client may.
fn permitted(live: &Live, client: ClientId, name: &str) -> Result<ModelId, ClientError> {
    let model = live.model(name).ok_or_else(|| {
        let names: Vec<&str> = live.settings.models.iter().map(|model| model.name.as_str()).collect();
        let message = format!("There is no model `{name}` here; there is {}", names.join(", "));
        coded(404, "model_not_found", message)
    })?;
    if live.allows(client, model) {
        Ok(model)
    } else {
        Err(coded(403, "model_not_allowed", format!("This key may not ask for `{name}`")))
    }
}

/// Reads a body to its end, if it comes soon enough and is not too long.
async fn read_body(mut body: axum::body::Body, most: usize) -> Result<Bytes, ClientError> {
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
    match tokio::time::timeout(BODY_PATIENCE, read).await {
        Ok(read) => read,
        Err(_elapsed) => Err(coded(408, "body_too_slow", "The body did not come within a minute")),
    }
}
