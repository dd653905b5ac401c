//! `stormproof serve`: the live proxy.

use std::io::IsTerminal;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args as ClapArgs;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stormproof_router::config::ProcessEnvironment;
use stormproof_router::core::WallTime;
use stormproof_router::log::BootId;
use stormproof_router::proxy::{KEYS_VARIABLE, Options, ServeError, Serving, Source, Told, assume};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// What is served when no file is named.
const USUAL: &str = "stormproof.yaml";

/// Run the live proxy. SIGTERM drains and ends it, SIGHUP reads the configuration again
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The configuration; unless given, stormproof.yaml, and without one the keys in GEMINI_API_KEYS with defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Threads that serve. One carries tens of thousands of requests a second, and each further one makes every request
    /// dearer; large bodies get threads of their own in any case
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroU16,
    /// Let the proxy's time run N times faster than the world's
    #[cfg(debug_assertions)]
    #[arg(long, value_name = "N", default_value = "1", hide = true)]
    time_scale: NonZeroU32,
    /// Let the proxy's wall clock show this time at the start, as `2025-04-18 22:10 America/Los_Angeles`
    #[cfg(debug_assertions)]
    #[arg(long, value_name = "TIME", hide = true, value_parser = moment)]
    starts: Option<WallTime>,
}

#[cfg(debug_assertions)]
fn moment(text: &str) -> Result<WallTime, String> {
    stormproof_router::config::moment(text).map(|(wall, _zone)| wall)
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    log_to_stderr();
    #[cfg(debug_assertions)]
    let (time_scale, starts) = (args.time_scale, args.starts);
    #[cfg(not(debug_assertions))]
    let (time_scale, starts) = (NonZeroU32::MIN, None::<WallTime>);
    let (source, base) = source(args)?;
    let environment = Arc::new(ProcessEnvironment { base });
    let options = Options { source, environment, time_scale, roots: None, boot: BootId::current() };
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::from(args.threads.get()))
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let mut told = Told::listen()?;
        let starting = async {
            match starts {
                Some(wall) => Serving::rehearse(options, wall).await,
                None => Serving::start(options).await,
            }
        };
        let serving = tokio::select! {
            serving = starting => serving.map_err(failure)?,
            () = told.ended() => return Ok(()),
        };
        serving.until_told(told).await;
        Ok(())
    });
    // A thread that waits for the event log would hold up the end.
    runtime.shutdown_background();
    served
}

/// What is to be served, and what relative paths start from.
fn source(args: &Args) -> Result<(Source, PathBuf), Failure> {
    let usual = Path::new(USUAL);
    let file = args.config.clone().or_else(|| usual.exists().then(|| usual.to_path_buf()));
    if let Some(file) = file {
        let base = file.parent().map(Path::to_path_buf).unwrap_or_default();
        return Ok((Source::File(file), base));
    }
    let base = PathBuf::new();
    let assumed = assume(&ProcessEnvironment { base: base.clone() }).ok_or_else(|| {
        Failure::Input(format!(
            "there is no {USUAL} here and no key in {KEYS_VARIABLE}; write the one (`stormproof check` helps), or set the other to your keys, separated by commas"
        ))
    })?;
    for assumption in &assumed.assumptions {
        warn!("{assumption}");
    }
    info!("write {USUAL} to change any of this");
    Ok((assumed.source, base))
}

/// Allows as many connections as the system lets this process have: the usual soft limit is 1024.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!(%error, "the limit of open files stays as it is");
    }
}

/// JSON lines for machines, plain lines for people. `RUST_LOG` says how much.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        lines.with_target(false).init();
    } else {
        lines.json().init();
    }
}

/// A mistake in what was given is the user's to mend; everything else failed while running.
fn failure(error: ServeError) -> Failure {
    match error {
        ServeError::Load(_) | ServeError::Tls(_) => Failure::input(error),
        ServeError::Bind { .. }
        | ServeError::HandedOver(_)
        | ServeError::Folder { .. }
        | ServeError::Log(_)
        | ServeError::Rebuild(_)
        | ServeError::Start(_)
        // It says its cause itself.
        | ServeError::Background => Failure::Running(anyhow::anyhow!("{error}")),
    }
}
