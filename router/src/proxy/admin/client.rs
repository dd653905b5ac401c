//! The other end of the admin listener: what the command line calls.

use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::uri::InvalidUri;
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::BodyExt;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use thiserror::Error;

use super::{Order, Status};
use crate::core::Transport;
use crate::proxy::upstream::{Limits, Outgoing, Upstream};

/// How long the proxy may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Talks to a running proxy's admin listener.
pub struct AdminClient {
    address: String,
    token: HeaderValue,
    http: Upstream,
}

/// Why a running proxy could not be asked.
#[derive(Debug, Error)]
pub enum AdminError {
    /// Its address is none.
    #[error("`{address}` is not an address such as `http://127.0.0.1:4001`: {source}")]
    Address {
        /// What was given.
        address: String,
        /// Why.
        source: InvalidUri,
    },
    /// The token cannot stand in a header.
    #[error("the admin token holds a character that no header may hold")]
    Token,
    /// TLS is not usable.
    #[error("TLS is not usable: {0}")]
    Tls(#[from] rustls::Error),
    /// Nobody answers.
    #[error("no proxy answers at {address} ({transport:?}); is it running, and is `admin` configured?")]
    Unreachable {
        /// Where.
        address: String,
        /// What happened.
        transport: Transport,
    },
    /// The proxy refuses.
    #[error("the proxy refuses ({status}): {reason}")]
    Refused {
        /// With this status.
        status: u16,
        /// For this reason.
        reason: String,
    },
    /// Its answer is not understood.
    #[error("the proxy's answer is not understood: {0}")]
    Unreadable(String),
}

impl AdminClient {
    /// A client for the listener at `address`, such as `http://127.0.0.1:4001`.
    ///
    /// # Errors
    /// When address or token cannot be used.
    pub fn new(address: &str, token: &SecretString) -> Result<Self, AdminError> {
        let address = address.trim_end_matches('/').to_owned();
        if let Err(source) = address.parse::<Uri>() {
            return Err(AdminError::Address { address, source });
        }
        let bearer = format!("Bearer {}", token.expose_secret());
        let mut token = HeaderValue::from_str(&bearer).map_err(|_not_a_header| AdminError::Token)?;
        token.set_sensitive(true);
        Ok(Self { address, token, http: Upstream::new(None)? })
    }

    /// How the proxy stands.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn status(&self) -> Result<Status, AdminError> {
        let body = self.ask(Method::GET, "/status", Bytes::new()).await?;
        serde_json::from_slice(&body).map_err(|error| AdminError::Unreadable(error.to_string()))
    }

    /// Gives an order.
    ///
    /// # Errors
    /// When the proxy cannot be asked, or refuses.
    pub async fn act(&self, order: &Order) -> Result<(), AdminError> {
        let body = serde_json::to_vec(order).map_err(|error| AdminError::Unreadable(error.to_string()))?;
        self.ask(Method::POST, "/actions", body.into()).await.map(drop)
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, AdminError> {
        let unreachable = |transport| AdminError::Unreachable { address: self.address.clone(), transport };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.address))
            .header(AUTHORIZATION, self.token.clone())
            .body(Outgoing::new(body))
            .map_err(|error| AdminError::Unreadable(error.to_string()))?;
        let until = tokio::time::Instant::now() + PATIENCE;
        let limits = Limits { connect: until, first_byte: until };
        let (head, body) = self.http.send(request, limits).await.map_err(unreachable)?.into_parts();
        let body = match tokio::time::timeout_at(until, body.collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) | Err(_) => return Err(unreachable(Transport::Cut)),
        };
        if head.status.is_success() {
            return Ok(body);
        }
        let said: Option<Value> = serde_json::from_slice(&body).ok();
        let reason = said.as_ref().and_then(|said| said["error"].as_str()).unwrap_or("it does not say why").to_owned();
        Err(AdminError::Refused { status: head.status.as_u16(), reason })
    }
}
