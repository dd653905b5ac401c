//! Putting the proxy together, and taking it apart in order.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::clock::Clock;
use super::door::Door;
use super::driver::{Driver, Start};
use super::front::Front;
use super::images::Images;
use super::journal::Journal;
use super::live::Live;
use super::message::Handle;
use super::metrics::Metrics;
use super::server::{self, Phase};
use super::upstream::Upstream;
use crate::core::{Action, AtRisk, RequestId, Route};
use crate::log::InFlight;

/// Requests inside at once, waiting ones included: the bound of every queue.
const INSIDE: usize = 16_384;

/// What a proxy starts from.
pub struct Setup<R, J> {
    /// New, or rebuilt from the log.
    pub router: R,
    /// Where inputs and decisions are written.
    pub journal: J,
    /// Started behind everything that the log holds.
    pub clock: Clock,
    /// Settings, addresses and secrets.
    pub live: Live,
    /// The highest request number on record.
    pub last_request: RequestId,
    /// Requests and attempts that the process before this one took with it.
    pub lost: InFlight,
    /// What is to be said of a power loss since that process wrote.
    pub power_lost: Option<Action>,
    /// The share of every limit that may be used before the disk has the record.
    pub at_risk: AtRisk,
    /// Whom upstream certificates may come from; `None` is the web's authorities.
    pub roots: Option<rustls::RootCertStore>,
}

/// Sockets that are bound already: a second process may hold them open while it waits for the log.
pub struct Listeners {
    /// For clients.
    pub front: TcpListener,
    /// Serve clients over TLS.
    pub tls: Option<TlsAcceptor>,
}

/// A running proxy.
pub struct Proxy<R> {
    door: Arc<Door<R>>,
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    server: JoinHandle<()>,
    driver: JoinHandle<()>,
}

/// Why a proxy did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The TLS library refused its own defaults.
    #[error("TLS is not usable: {0}")]
    Tls(#[from] rustls::Error),
    /// A bound socket has no address.
    #[error("the listening socket is not usable: {0}")]
    Socket(#[from] std::io::Error),
}

impl<R: Route + 'static> Proxy<R> {
    /// Starts serving.
    ///
    /// # Errors
    /// When TLS or a socket is not usable.
    pub fn start<J: Journal>(setup: Setup<R, J>, listeners: Listeners) -> Result<Self, StartError> {
        let address = listeners.front.local_addr()?;
        let (handle, inbox) = Handle::new(INSIDE);
        let metrics = Arc::new(Metrics::default());
        let live = Arc::new(setup.live);
        let driver = Driver::new(Start {
            router: setup.router,
            journal: setup.journal,
            clock: setup.clock,
            live: Arc::clone(&live),
            metrics: Arc::clone(&metrics),
            last_request: setup.last_request,
            lost: setup.lost,
            power_lost: setup.power_lost,
            at_risk: setup.at_risk,
        });
        let door = Arc::new(Door {
            handle,
            live: ArcSwap::new(live),
            upstream: Upstream::new(setup.roots)?,
            images: Images::new()?,
            clock: setup.clock,
            metrics,
        });
        let (phase, phases) = watch::channel(Phase::Serving);
        let driver = tokio::spawn(driver.run(inbox));
        let server = tokio::spawn(server::serve(listeners.front, listeners.tls, Front(Arc::clone(&door)), phases));
        info!(%address, "serving");
        Ok(Self { door, address, phase, server, driver })
    }

    /// What its handlers share.
    pub(super) fn door(&self) -> Arc<Door<R>> {
        Arc::clone(&self.door)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts new settings in force, for every request that arrives from now on. Returns when the router has them.
    pub async fn configure(&self, live: Live) {
        self.door.configure(live).await;
    }

    /// Takes no more connections, lets requests in flight end for at most `drain`, gives up the others, and closes the
    /// log.
    pub async fn shutdown(self, drain: std::time::Duration) {
        let Self { door, phase, mut server, driver, .. } = self;
        phase.send_replace(Phase::Draining);
        if tokio::time::timeout(drain, &mut server).await.is_err() {
            warn!(requests = door.handle.inside(), "the drain time is over: requests in flight are given up");
            phase.send_replace(Phase::Over);
            if server.await.is_err() {
                warn!("the server ended early");
            }
        }
        // With their connections all requests have left or been withdrawn, so the driver ends by itself.
        door.handle.shut();
        if driver.await.is_err() {
            warn!("the driver ended early");
        }
    }
}
