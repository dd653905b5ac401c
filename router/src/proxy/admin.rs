//! What operators reach: a listener of its own, with a token.
//!
//! | route | what |
//! |---|---|
//! | `GET /status` | what an operator needs at 5 a.m., as JSON |
//! | `GET /metrics` | what Prometheus reads |
//! | `POST /actions` | one [`Order`] with its author; recorded as an input |
//! | `POST /reload` | read the configuration again |
//! | `GET /healthz`, `GET /readyz` | whether the process lives, and whether it takes requests; without a token |

mod client;
mod onset;
mod order;
mod prometheus;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::Router as Routes;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use hyper::body::Incoming;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tower_service::Service;
use tracing::info;

pub use self::client::{AdminClient, AdminError};
use self::onset::Onsets;
pub use self::order::{Order, What as OrderedAction};
pub use self::status::Status;
use super::auth;
use super::door::Door;
use super::message::Message;
use super::server::{self, Answer, Phase};
use super::stall::Cutoff;
use crate::core::Router;

/// The operators' listener.
pub(super) struct AdminServer {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    server: JoinHandle<()>,
}

/// What its handlers share.
struct Desk {
    door: Arc<Door<Router>>,
    token: [u8; 32],
    onsets: Onsets,
    reload: mpsc::Sender<()>,
}

impl AdminServer {
    /// Starts listening.
    pub(super) fn start(
        listener: TcpListener,
        door: Arc<Door<Router>>,
        token: SecretString,
        reload: mpsc::Sender<()>,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let token = auth::digest(token.expose_secret());
        let (phase, phases) = watch::channel(Phase::Serving);
        let onsets = Onsets::default();
        let desk = Arc::new(Desk { door, token, onsets, reload });
        let watched = onset::watch(Arc::clone(&desk.door), desk.onsets.clone(), phases.clone());
        let routes = Served(routes(desk));
        let server = tokio::spawn(async move {
            tokio::join!(server::serve(listener, None, routes, phases), watched);
        });
        info!(%address, "operators are served");
        Ok(Self { address, phase, server })
    }

    /// Where operators connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening.
    pub(super) async fn stop(self) {
        self.phase.send_replace(Phase::Over);
        drop(self.server.await);
    }
}

/// The operators' routes as a server knows them.
#[derive(Clone)]
struct Served(Routes);

impl Answer for Served {
    type Body = axum::body::Body;

    async fn answer(&self, request: http::Request<Incoming>, _cutoff: Cutoff) -> http::Response<Self::Body> {
        match self.0.clone().call(request.map(axum::body::Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

fn routes(desk: Arc<Desk>) -> Routes {
    let guarded = Routes::new()
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/actions", post(act))
        .route("/reload", post(reload))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&desk), guard));
    Routes::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .merge(guarded)
        .with_state(desk)
}

/// Lets in whoever shows the token.
async fn guard(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let shown = auth::token(request.headers(), request.uri()).map(auth::digest);
    if shown.is_some_and(|shown| bool::from(shown.ct_eq(&desk.token))) {
        next.run(request).await
    } else {
        refuse(StatusCode::UNAUTHORIZED, "show the admin token: `Authorization: Bearer TOKEN`")
    }
}

async fn ready(State(desk): State<Arc<Desk>>) -> Response {
    match (desk.door.handle.is_open(), desk.door.metrics.log_state().stalled) {
        (true, false) => "ready\n".into_response(),
        (true, true) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the event log takes nothing"),
        (false, _) => refuse(StatusCode::SERVICE_UNAVAILABLE, "shutting down"),
    }
}

async fn status(State(desk): State<Arc<Desk>>) -> Response {
    match status::look(&desk.door, &desk.onsets).await {
        Some(status) => Json(status).into_response(),
        None => refuse(StatusCode::SERVICE_UNAVAILABLE, "shutting down"),
    }
}

async fn metrics(State(desk): State<Arc<Desk>>) -> Response {
    match prometheus::render(&desk.door, &desk.onsets).await {
        Some(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        None => refuse(StatusCode::SERVICE_UNAVAILABLE, "shutting down"),
    }
}

async fn act(State(desk): State<Arc<Desk>>, body: String) -> Response {
    let order: Order = match serde_json::from_str(&body) {
        Ok(order) => order,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("this is no order: {error}")),
    };
    if let Some(problem) = order.pointless_period(&body) {
        return refuse(StatusCode::BAD_REQUEST, &problem);
    }
    if order.author.trim().is_empty() {
        return refuse(StatusCode::BAD_REQUEST, "say who you are: `author`");
    }
    let (done, spelt) = oneshot::channel();
    let said = serde_json::to_string(&order).unwrap_or_default();
    let author: Arc<str> = order.author.as_str().into();
    let spell = Box::new(move |live: &super::live::Live, now| order.spell(&live.settings, now));
    desk.door.handle.send(Message::Operator { spell, author, done });
    match spelt.await {
        Ok(Ok(_action)) => {
            info!(order = %said, "an operator acts");
            Json(json!({"done": true})).into_response()
        }
        Ok(Err(problem)) => refuse(StatusCode::BAD_REQUEST, &problem),
        Err(_gone) => refuse(StatusCode::SERVICE_UNAVAILABLE, "shutting down"),
    }
}

async fn reload(State(desk): State<Arc<Desk>>) -> Response {
    // A load is under way already when the channel is full.
    let _ = desk.reload.try_send(());
    Json(json!({"reading": true})).into_response()
}

fn refuse(status: StatusCode, problem: &str) -> Response {
    (status, Json(json!({"error": problem}))).into_response()
}
