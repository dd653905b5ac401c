//! `stormproof mock`: a scenario's providers over real HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use secrecy::{ExposeSecret, SecretString};
use stormproof_router::config::Node;
use stormproof_simulator::mock::{Manners, Mock, Setup, StartError, configuration, fresh_token, token as made_up};

use crate::failure::Failure;
use crate::outcome::{print, write};
use crate::simulate::Chosen;

/// Where the control address's token is looked for.
const TOKEN_VARIABLE: &str = "STORMPROOF_MOCK";

/// Play a scenario's providers over real HTTP: Gemini, Vertex and OpenAI on one port, with the scenario's weather
///
/// Keys are made up from their names: the secret of `free-01` is `mock-free-01`. On the control address, `GET /` says
/// how many calls each key had, `GET /calls?after=N` lists them, `POST /world` changes the weather in a scenario's
/// words (`weather: [{upstream: gemini-2.5-pro, p503: 90%, for: 10m}]`), and `POST /clock` puts the time ahead
/// (`{"advance": "1h"}`).
#[derive(ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Where clients connect
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where its operator connects, on the loopback interface; the token is read from STORMPROOF_MOCK, or made up
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    control: SocketAddr,
    /// How many times faster than the world its time runs; 0 stands still until it is put ahead
    #[arg(long, value_name = "N", default_value_t = 1)]
    time_scale: u32,
    /// Which of the scenario's days
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Whose errors it speaks, where an upstream of the scenario does not say: gemini-spring-2025, gemini-summer-2025,
    /// gemini-late-2025, gemini-2026, gemini-bare, vertex, openai, mistral, mistral-late-2025
    #[arg(long, value_name = "WORDING")]
    wording: Option<String>,
    /// Write the scenario's configuration for `stormproof serve` in front of this mock
    #[arg(long, value_name = "FILE")]
    serve_config: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let document = args.chosen.document()?;
    let document = match &args.wording {
        Some(wording) => document.with("world.wording", wording).map_err(Failure::input)?,
        None => document,
    };
    let case = document.scenario().map_err(Failure::input)?.case;
    let token = match std::env::var(TOKEN_VARIABLE) {
        Ok(token) => SecretString::from(token),
        Err(_unset) => fresh_token().map_err(failure)?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let setup = Setup {
            case: &case,
            seed: args.seed,
            listen: args.listen,
            control: Some((args.control, token.clone())),
            time_scale: args.time_scale,
            manners: Manners::default(),
        };
        let mut mock = Mock::start(setup).await.map_err(failure)?;
        let mut told = mock.usage();
        if let Some(control) = mock.control() {
            told += &format!("control: curl -H 'Authorization: Bearer {}' http://{control}/\n", token.expose_secret());
        }
        if let Some(path) = &args.serve_config {
            let config = configuration(document.config(), &case.settings, mock.address()).map_err(Failure::input)?;
            write(path, &config.to_json())?;
            told += &format!("in front of it: stormproof serve --config {}\n", path.display());
            let clients = document.config().entry("clients").into_iter().flat_map(Node::entries);
            for (name, ..) in clients {
                told += &format!("  as its client {name}: curl -H 'Authorization: Bearer {}' ...\n", made_up(name));
            }
            if document.config().entry("admin").is_some() {
                told += &format!("  as its operator: STORMPROOF_ADMIN={} stormproof status\n", made_up("admin"));
            }
        }
        print(&told)?;
        tokio::select! {
            () = mock.wait() => Ok(()),
            // Where no signal can be had, it runs until it is killed.
            Ok(()) = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}

/// An address that will not do is the user's to mend.
fn failure(error: StartError) -> Failure {
    match error {
        StartError::NotLoopback(_) => Failure::Input(format!("error: {error}")),
        StartError::Listen { .. } | StartError::Random(_) => Failure::Running(error.into()),
    }
}
