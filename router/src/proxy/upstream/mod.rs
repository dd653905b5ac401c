//! Calls to providers: one client with one pool, in which every attempt is visible.

mod connection;
mod outgoing;
mod target;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

pub(super) use outgoing::Outgoing;
pub(super) use target::Verb;
pub use target::{Credential, Target, TargetError};

use self::connection::{Connector, Uses};
use crate::core::Transport;

/// Idle connections are closed before the other side closes them. Google's front ends keep theirs for 4 minutes,
/// others for as little as one.
const IDLE: std::time::Duration = std::time::Duration::from_secs(50);

/// How often an HTTP/2 connection with calls on it is asked whether it still lives, and how soon it has to answer.
const PING: std::time::Duration = std::time::Duration::from_secs(15);

/// Where answers come from.
#[derive(Clone)]
pub(super) struct Upstream(Client<Connector, Outgoing>);

/// Until when an attempt's steps have to be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The connection stands.
    pub(super) connect: Instant,
    /// The answer's head is there.
    pub(super) first_byte: Instant,
}

impl Upstream {
    /// A client with an empty pool that trusts `roots`, or the web's authorities if there are none.
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults.
    pub(super) fn new(roots: Option<rustls::RootCertStore>) -> Result<Self, rustls::Error> {
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            // The router decides about retries, and the log sees every attempt.
            .retry_canceled_requests(false)
            .http2_adaptive_window(true)
            // One connection carries all calls to a provider there: when it dies silently, all of them would wait.
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PING)
            .build(Connector::new(roots)?);
        Ok(Self(client))
    }

    /// Sends one call and waits for the answer's head. Dropping the future cancels the call at once.
    ///
    /// # Errors
    /// What went wrong, as the router wants to know it.
    pub(super) async fn send(
        &self,
        request: Request<Outgoing>,
        limits: Limits,
    ) -> Result<Response<Incoming>, Transport> {
        let taken = request.body().taken();
        let answer = self.0.request(request);
        tokio::pin!(answer);
        let answer = match tokio::time::timeout_at(limits.connect.min(limits.first_byte), &mut answer).await {
            Ok(answer) => answer,
            Err(_elapsed) if !taken.get() => return Err(Transport::Connect),
            Err(_elapsed) => match tokio::time::timeout_at(limits.first_byte, &mut answer).await {
                Ok(answer) => answer,
                Err(_elapsed) => return Err(Transport::FirstByteTimeout),
            },
        };
        match answer {
            Ok(answer) => {
                Uses::add(answer.extensions());
                Ok(answer)
            }
            Err(error) => Err(class(&error)),
        }
    }
}

/// What a failed call means.
fn class(error: &Error) -> Transport {
    if error.is_connect() {
        return Transport::Connect;
    }
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<hyper::Error>());
    // A head that is not HTTP, or larger than we read.
    if cause.is_some_and(|cause| cause.is_parse()) {
        return Transport::Malformed;
    }
    match error.connect_info() {
        Some(connection) if Uses::any(connection) => Transport::ReusedConnection,
        Some(_) | None => Transport::Reset,
    }
}
