//! The mock: a scenario's world over real HTTP, all dialects on one port.
//!
//! It asks the very [`World`](crate::world::World) that the simulator asks, behind one lock that stamps the time, and
//! writes its plans in the providers' words; so what is rehearsed and what is served cannot drift apart. Requests are
//! checked as the providers check them, answers echo the prompt and count what they say they count.
//!
//! ```text
//! connection ── decide ── ask ───── said ─┐
//!                 │    (what is asked)    │(the answer, if the world lets it pass)
//!                 └── sky ── world ── plan┴─ script ── play ── connection
//! ```
//!
//! What happens to a call hangs on its prompt and on how often that prompt came before, not on the order in which
//! different calls arrive; a [`Wish`] in the prompt ties it to a simulated turn.

mod address;
mod ask;
mod caller;
mod changes;
mod clock;
mod configuration;
mod control;
mod decide;
mod keys;
mod manners;
mod order;
mod play;
mod records;
mod said;
mod sample;
mod script;
mod serve;
mod sky;
mod wish;
mod write;

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use secrecy::SecretString;
use stormproof_router::core::{Settings, Timestamp};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use self::configuration::{configuration, token};
pub use self::keys::secret;
pub use self::manners::{CutManner, ErrorManner, MalformedManner, Manners};
pub use self::records::{Answer, Record};
pub use self::wish::Wish;

use self::clock::Clock;
use self::control::Control;
use self::decide::Providers;
use self::keys::KeyRing;
use self::sky::Sky;
use crate::study::Case;
use crate::world::{Change, Wording};

/// How a mock is started.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Whose providers it plays.
    pub case: &'a Case,
    /// Which of the case's days.
    pub seed: u64,
    /// Where clients find it. Port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Where its operator finds it, if anywhere. Only the loopback interface will do.
    pub control: Option<(SocketAddr, SecretString)>,
    /// How many times faster than the world outside its time runs; 0 stands still until it is put ahead.
    pub time_scale: u32,
    /// How failures look where a router sees no difference.
    pub manners: Manners,
}

/// Why a mock cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; is another program there?")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The control address can be reached from other machines.
    #[error("the control address {0} can be reached from other machines; take one such as 127.0.0.1:0")]
    NotLoopback(SocketAddr),
    /// The operating system has no random numbers.
    #[error("the operating system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// A running mock. Dropping it closes every connection.
#[derive(Debug)]
pub struct Mock {
    providers: Arc<Providers>,
    address: SocketAddr,
    control: Option<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
}

impl Mock {
    /// Starts the providers of a case. Its time begins now, at the day's start.
    ///
    /// # Errors
    /// When it cannot listen where it should.
    pub async fn start(setup: Setup<'_>) -> Result<Self, StartError> {
        let Setup { case, seed, listen, control, time_scale, manners } = setup;
        let listener = bind(listen).await?;
        let address = listener.local_addr().map_err(|source| StartError::Listen { address: listen, source })?;
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(StartError::Random)?;
        let providers = Arc::new(Providers {
            sky: Sky::new(&case.day, seed, Clock::start(time_scale), manners),
            settings: Arc::clone(&case.settings),
            spec: case.day.world.clone(),
            keys: KeyRing::new(&case.settings, salt),
            start: case.day.start,
            seed,
            answers: AtomicU64::new(0),
        });
        let mut mock = Self { providers: Arc::clone(&providers), address, control: None, tasks: Vec::new() };
        if let Some((at, token)) = control {
            if !at.ip().is_loopback() {
                return Err(StartError::NotLoopback(at));
            }
            let listener = bind(at).await?;
            mock.control = listener.local_addr().ok();
            let control = Arc::new(Control::new(Arc::clone(&providers), &token));
            mock.tasks.push(tokio::spawn(serve::control(listener, control)));
        }
        mock.tasks.push(tokio::spawn(serve::providers(listener, providers)));
        Ok(mock)
    }

    /// Where clients find it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its operator finds it.
    pub fn control(&self) -> Option<SocketAddr> {
        self.control
    }

    /// The scenario's time.
    pub fn now(&self) -> Timestamp {
        self.providers.sky.clock.now()
    }

    /// Puts the time ahead; whatever is waited for comes that much sooner.
    pub fn advance(&self, by: stormproof_router::core::Duration) {
        self.providers.sky.clock.advance(by);
    }

    /// Changes the world now.
    pub fn change(&self, changes: &[Change]) {
        self.providers.sky.change(changes);
    }

    /// Changes how failures look.
    pub fn set_manners(&self, manners: Manners) {
        self.providers.sky.set_manners(manners);
    }

    /// The calls after that number, at most `most` of them.
    pub fn calls(&self, after: u64, most: usize) -> Vec<Record> {
        self.providers.sky.look(|_, records| records.since(after, most))
    }

    /// How to use it, for people: addresses for every kind of client, and the keys.
    pub fn usage(&self) -> String {
        usage(&self.providers.settings, &self.providers.spec, self.address)
    }

    /// Waits until it stops, which it does only when it is dropped.
    pub async fn wait(&mut self) {
        for task in &mut self.tasks {
            // A task ends by being given up, or by a panic that has been reported already.
            let _ended = task.await;
        }
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// A token that nobody can guess, for a control address.
///
/// # Errors
/// When the operating system has no random numbers.
pub fn fresh_token() -> Result<SecretString, StartError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(StartError::Random)?;
    let digits = bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    });
    Ok(SecretString::from(digits))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

/// The base address of every provider, and the secrets of its keys.
fn usage(settings: &Settings, spec: &crate::world::Spec, address: SocketAddr) -> String {
    let mut text = String::new();
    for (id, provider) in settings.providers.iter().enumerate() {
        let its =
            |project: &stormproof_router::core::ProjectId| settings.projects[project.index()].provider.index() == id;
        let names: Vec<&str> =
            settings.keys.iter().filter(|key| its(&key.project)).map(|key| key.name.as_str()).collect();
        let mut upstreams = settings.upstreams.iter().zip(&spec.upstreams);
        let wording = upstreams.find(|(upstream, _)| upstream.provider.index() == id).map(|(_, spec)| spec.wording);
        let bases = match wording {
            Some(Wording::OpenAi | Wording::Mistral | Wording::MistralLate2025) => format!("http://{address}/v1"),
            Some(Wording::Vertex) => format!("http://{address} (paths as at aiplatform.googleapis.com)"),
            Some(
                Wording::GeminiSpring2025
                | Wording::GeminiSummer2025
                | Wording::GeminiLate2025
                | Wording::Gemini2026
                | Wording::GeminiBare,
            ) => format!("http://{address}, OpenAI-compatible http://{address}/v1beta/openai"),
            None => continue,
        };
        let secrets = match names[..] {
            [] => continue,
            [only] => secret(only),
            [first, .., last] => format!("{} to {} ({} keys)", secret(first), secret(last), names.len()),
        };
        // Writing to a text cannot fail.
        let _infallible = writeln!(text, "{}: {bases}; keys {secrets}", provider.name);
    }
    text
}
