//! `serve` from beginning to end: read the configuration, hold the sockets, wait for the log, rebuild what it holds,
//! answer requests, follow changes, and end in order.
//!
//! A second process may be started while the first still runs, if both are given the same sockets by a service
//! manager: it holds them open and waits for the log's lock. Connections that arrive in between wait in the kernel's
//! queue, so that an upgrade loses none.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket};
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::admin::AdminServer;
use super::clock::{Clock, wall_now};
use super::live::Live;
use super::reload::{LoadError, Loader, Origin, Source};
use super::start::{Listeners, Proxy, Setup, StartError};
use super::{site, tls};
use crate::config::{self, Config, Environment};
use crate::core::{Action, AtRisk, RequestId, Route, Router, Timestamp, WallTime};
use crate::log::{
    self, Boot, BootId, Ended, InFlight, Keep, Opening, Options as LogOptions, Patience, Salt, VerifyError, WriteError,
    Writer,
};

/// Connections that may wait in the kernel; it may allow fewer.
const BACKLOG: u32 = 4096;

/// What to serve, and how.
pub struct Options {
    /// Where the configuration comes from.
    pub source: Source,
    /// Where its secrets come from.
    pub environment: Arc<dyn Environment + Send + Sync>,
    /// How many times faster than the world the router's time runs: 1 but for rehearsals.
    pub time_scale: NonZeroU32,
    /// Whom upstream certificates may come from; `None` is the web's authorities.
    pub roots: Option<rustls::RootCertStore>,
    /// Under which boot of the machine this process runs, where that is known: it tells a power loss from a kill.
    pub boot: Option<BootId>,
}

/// A proxy that serves.
pub struct Serving {
    proxy: Proxy<Router>,
    admin: Option<AdminServer>,
    drain: Duration,
    reload: mpsc::Sender<()>,
    reloads: JoinHandle<()>,
}

/// Why serving failed to begin.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The configuration is not good.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An address is not to be had.
    #[error("cannot listen on {address}: {source}; stop what listens there, or name another address")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The sockets that were handed over are not usable.
    #[error("the sockets that were handed over are not usable: {0}")]
    HandedOver(std::io::Error),
    /// The certificate or its key is not usable.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The log's folder is not usable.
    #[error("the log's folder {directory} is not usable: {source}")]
    Folder {
        /// Which.
        directory: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] WriteError),
    /// The log cannot be read back.
    #[error(transparent)]
    Rebuild(#[from] VerifyError),
    /// The proxy did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A background task ended early.
    #[error("a background task ended early")]
    Background,
}

impl Serving {
    /// Starts serving with the router that the log holds, or with a new one.
    ///
    /// # Errors
    /// When the configuration, a socket or the log is not usable.
    pub async fn start(options: Options) -> Result<Self, ServeError> {
        Self::start_at(options, None).await
    }

    /// The same as if the wall clock showed `wall` now: a day is rehearsed over real sockets.
    ///
    /// # Errors
    /// As [`Serving::start`].
    pub async fn rehearse(options: Options, wall: WallTime) -> Result<Self, ServeError> {
        Self::start_at(options, Some(wall)).await
    }

    async fn start_at(options: Options, wall: Option<WallTime>) -> Result<Self, ServeError> {
        let began = wall.unwrap_or_else(wall_now);
        let known = options.source.text()?;
        let config = options.source.parse(&known)?;
        let sockets = Sockets::open(&config)?;
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let salt = salt(&config)?;
        // Before the secrets are read: what changes from here on is noticed.
        let known = Origin::of(known, &config, &*options.environment);
        let (live, warnings) =
            site::live(&config, &*options.environment, salt.bytes(), began).map_err(LoadError::Site)?;
        for warning in warnings {
            warn!(%warning, "the configuration is unwise");
        }
        let token = live.admin_token().cloned();
        let log_options = log_options(&config, options.boot);
        let carried = open_log(&config, log_options, &live, sockets.handed_over, options.time_scale, wall).await?;
        let Carried { router, mut writer, clock, last_request, lost, power_lost, is_new } = carried;
        writer.begin(clock.now(), clock.wall(), &router, is_new);
        let at_risk = log_options.boot.map_or(AtRisk::NONE, |boot| boot.at_risk);
        if options.boot.is_none() && at_risk != AtRisk::NONE {
            warn!(
                "the system does not number its boots: should this process be killed, that will count as a power loss"
            );
        }
        let roots = options.roots;
        let setup = Setup { router, journal: writer, clock, live, last_request, lost, power_lost, at_risk, roots };
        let proxy = Proxy::start(setup, Listeners { front: sockets.front, tls })?;
        let (reload, asked) = mpsc::channel(1);
        let admin = match (sockets.admin, token) {
            (Some(socket), Some(token)) => {
                Some(AdminServer::start(socket, proxy.door(), token, reload.clone()).map_err(ServeError::HandedOver)?)
            }
            (Some(_), None) | (None, _) => None,
        };
        let loader = Loader {
            source: options.source,
            environment: options.environment,
            salt: salt.bytes().to_vec(),
            clock,
            known,
        };
        let door = proxy.door();
        let reloads = tokio::spawn(loader.run(asked, move |live| {
            let door = Arc::clone(&door);
            async move { door.configure(live).await }
        }));
        Ok(Self { proxy, admin, drain: config.drain.0.into(), reload, reloads })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// Where operators connect, if they may.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(AdminServer::address)
    }

    /// Reads the configuration again, changed or not.
    pub fn reload(&self) {
        // A load is under way already when the channel is full.
        let _ = self.reload.try_send(());
    }

    /// Lets requests in flight end for at most the configured drain time, and closes the log.
    pub async fn stop(self) {
        let Self { proxy, admin, drain, reload: _, reloads } = self;
        info!(?drain, "shutting down");
        reloads.abort();
        proxy.shutdown(drain).await;
        // Operators may look on until the end of the drain.
        if let Some(admin) = admin {
            admin.stop().await;
        }
    }

    /// Serves until the process is told to end; a hang-up reads the configuration again.
    #[cfg(unix)]
    pub async fn until_told(self, mut told: Told) {
        loop {
            tokio::select! {
                () = Told::to_end(&mut told.end, &mut told.interrupt) => break,
                _ = told.hang_up.recv() => self.reload(),
            }
        }
        self.stop().await;
    }
}

/// What the process is told by signals. To be made before serving begins, so that none is missed.
#[cfg(unix)]
pub struct Told {
    end: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

#[cfg(unix)]
impl Told {
    /// From now on SIGTERM, SIGINT and SIGHUP are heard here.
    ///
    /// # Errors
    /// Those of the operating system when it denies signals.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            end: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when the process is told to end.
    pub async fn ended(&mut self) {
        Self::to_end(&mut self.end, &mut self.interrupt).await;
    }

    async fn to_end(end: &mut Signal, interrupt: &mut Signal) {
        tokio::select! {
            _ = end.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// The router as the log holds it, and the log, ready to be written on.
struct Carried {
    router: Router,
    writer: Writer,
    clock: Clock,
    last_request: RequestId,
    lost: InFlight,
    /// What is to be said of a power loss since.
    power_lost: Option<Action>,
    /// Whether the router was not rebuilt from the log.
    is_new: bool,
}

/// Opens the log and rebuilds the router from it. With sockets that were handed over it waits for another process to
/// let go of it.
async fn open_log(
    config: &Config,
    options: LogOptions,
    live: &Live,
    wait: bool,
    scale: NonZeroU32,
    wall: Option<WallTime>,
) -> Result<Carried, ServeError> {
    let directory = config.log.dir.clone();
    let settings = Arc::clone(&live.settings);
    let opened = tokio::task::spawn_blocking(move || -> Result<Carried, ServeError> {
        let fresh = Router::new();
        let opening =
            Opening { policy: fresh.policy(), seed: settings.seed, epoch: wall.unwrap_or_else(wall_now), settings };
        let (writer, recovery) = match Writer::open(&directory, opening.clone(), options) {
            Err(WriteError::Owned { directory }) if wait => {
                info!(directory = %directory.display(), "waiting until another process lets go of the event log");
                Writer::open(&directory, opening, LogOptions { patience: Patience::Wait, ..options })
            }
            opened => opened,
        }?;
        if let Some(torn) = &recovery.cut {
            warn!(?torn, "the last frame of the event log was torn and has been cut off");
        }
        let epoch = writer.header().epoch;
        let Some((last, _events)) = recovery.last else {
            let clock = clock(wall, epoch, Timestamp::ZERO, scale);
            let (last_request, lost) = (RequestId::new(0), InFlight::default());
            return Ok(Carried { router: fresh, writer, clock, last_request, lost, power_lost: None, is_new: true });
        };
        // A request's number is never above that of its event, so this one is new.
        let last_request = RequestId::new(writer.sequence());
        let clock = clock(wall, epoch, last + crate::core::Duration::from_nanos(1), scale);
        match log::rebuild::<Router>(&directory) {
            Ok(Some(rebuilt)) => {
                info!(events = rebuilt.sequence, in_order = recovery.in_order, "rebuilt from the event log");
                let power_lost = power_lost(rebuilt.boot, recovery.in_order, options.boot, last);
                let (router, lost) = (rebuilt.router, rebuilt.in_flight);
                Ok(Carried { router, writer, clock, last_request, lost, power_lost, is_new: false })
            }
            Ok(None) => {
                let lost = InFlight::default();
                Ok(Carried { router: fresh, writer, clock, last_request, lost, power_lost: None, is_new: true })
            }
            Err(VerifyError::OtherPolicy { recorded, ours, .. }) => {
                warn!(%recorded, %ours, "another version wrote the event log: counts begin anew");
                let lost = InFlight::default();
                Ok(Carried { router: fresh, writer, clock, last_request, lost, power_lost: None, is_new: true })
            }
            Err(error) => Err(error.into()),
        }
    });
    opened.await.map_err(|_panicked_or_cancelled| ServeError::Background)?
}

/// What has to be made up for, if the last writer of the log did not end by itself.
fn power_lost(writer: Option<Boot>, in_order: bool, here: Option<Boot>, since: Timestamp) -> Option<Action> {
    let here = here.unwrap_or(Boot { id: None, at_risk: AtRisk::NONE });
    let ended = Ended::of(writer, in_order, here);
    let at_risk = ended.at_risk()?;
    let percent = f64::from(at_risk.as_ppm()) / 1e4;
    match ended {
        Ended::PowerLost(_) => {
            warn!("the power failed while the log was open: {percent} % of every limit count as used")
        }
        Ended::Unknown(_) => warn!(
            "the log was not closed, and whether the power failed cannot be told: {percent} % of every limit count as used"
        ),
        Ended::InOrder | Ended::Killed => {}
    }
    Some(Action::PowerLost { at_risk, since })
}

/// A clock that starts now, by the wall clock or by that of a rehearsed day.
fn clock(wall: Option<WallTime>, epoch: WallTime, resume: Timestamp, scale: NonZeroU32) -> Clock {
    match wall {
        Some(wall) => Clock::rehearse(wall, epoch, resume, scale),
        None => Clock::start(epoch, resume, scale),
    }
}

fn log_options(config: &Config, boot: Option<BootId>) -> LogOptions {
    let written = &config.log;
    let (sync, at_risk) = if written.sync.0 == crate::core::Duration::ZERO {
        (log::Sync::EveryCommit, AtRisk::NONE)
    } else {
        (log::Sync::Every(written.sync.0), AtRisk::from_ppm((written.at_risk.0 * 1e6) as u32))
    };
    LogOptions {
        sync,
        boot: Some(Boot { id: boot, at_risk }),
        when_full: match written.when_full {
            config::WhenFull::Refuse => log::WhenFull::Refuse,
            config::WhenFull::Drop => log::WhenFull::Drop,
        },
        segment: written.segment.0,
        keep: Keep { age: Some(written.keep.0), bytes: None },
        ..LogOptions::live()
    }
}

/// Where clients and operators connect.
struct Sockets {
    front: TcpListener,
    admin: Option<TcpListener>,
    /// Whether a service manager holds them: a second process may have the same then.
    handed_over: bool,
}

impl Sockets {
    /// Takes what the service manager handed over (clients' first, operators' second), and binds what it did not.
    fn open(config: &Config) -> Result<Self, ServeError> {
        let mut handed = listenfd::ListenFd::from_env();
        let front = take(&mut handed, 0)?;
        let handed_over = front.is_some();
        let front = front.map_or_else(|| bind(config.listen.0), Ok)?;
        let admin = match &config.admin {
            Some(admin) => Some(take(&mut handed, 1)?.map_or_else(|| bind(admin.listen.0), Ok)?),
            None => None,
        };
        Ok(Self { front, admin, handed_over })
    }
}

fn take(handed: &mut listenfd::ListenFd, place: usize) -> Result<Option<TcpListener>, ServeError> {
    if place >= handed.len() {
        return Ok(None);
    }
    let socket = handed.take_tcp_listener(place).map_err(ServeError::HandedOver)?;
    let usable = |socket: std::net::TcpListener| {
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket)
    };
    socket.map(usable).transpose().map_err(ServeError::HandedOver)
}

fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Otherwise a restarted proxy would have to wait for the last one's connections to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|source| ServeError::Bind { address, source })
}

/// The salt of the log's folder, which is made if there is none.
fn salt(config: &Config) -> Result<Salt, ServeError> {
    let directory = &config.log.dir;
    let entropy = || {
        let mut bytes = [0; 32];
        let random = rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut bytes).map(|()| bytes).map_err(|_no_entropy| std::io::Error::other("no entropy"))
    };
    std::fs::create_dir_all(directory)
        .and_then(|()| Salt::of(directory, entropy))
        .map_err(|source| ServeError::Folder { directory: directory.clone(), source })
}
