//! `stormproof check`: every mistake of a file at its place, and nothing started.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use stormproof_router::config::{Config, Node, ProcessEnvironment};
use stormproof_router::proxy::{self, Finding};
use stormproof_simulator::scenario::{self, Document};

use crate::clock;
use crate::failure::Failure;
use crate::outcome::{print, running};

/// Check a configuration or scenario file: every error with its line and column, nothing started
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// A scenario or a configuration; which of them is told by its contents
    #[arg(required_unless_present = "schema")]
    file: Option<PathBuf>,
    /// Do not look whether a configuration's secrets and certificates are there: the file is meant for another machine
    #[arg(long)]
    without_secrets: bool,
    /// Also ask every key of a configuration for its models
    #[arg(long, conflicts_with = "without_secrets")]
    keys: bool,
    /// Print the JSON Schema of one kind of file, for editors, and check nothing
    #[arg(long, value_enum, value_name = "KIND", conflicts_with_all = ["file", "without_secrets"])]
    schema: Option<Kind>,
}

/// The two kinds of file that a user writes.
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Scenario,
    Configuration,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if let Some(kind) = args.schema {
        let schema = match kind {
            Kind::Scenario => scenario::schema(),
            Kind::Configuration => Config::schema(),
        };
        return print(&serde_json::to_string_pretty(&schema).map_err(running)?);
    }
    let path = args.file.clone().unwrap_or_default();
    let origin = path.display().to_string();
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Failure::Input(format!("{origin}: the file cannot be read: {error}")))?;
    let node = Node::parse(&text, &origin.as_str().into()).map_err(Failure::input)?;
    if node.entry("compare").is_some() || node.entry("world").is_some() {
        let scenario = Document::open(&path).and_then(|document| document.scenario()).map_err(Failure::input)?;
        let routers: Vec<&str> = scenario.contenders.iter().map(|contender| contender.name.as_str()).collect();
        return print(&format!("{origin}: a scenario without mistakes; it compares {}", routers.join(", ")));
    }
    let config = Config::parse(&text, &origin).map_err(Failure::input)?;
    // They are secrets, too: another machine's may not be here.
    if let Some(tls) = config.tls.as_ref().filter(|_| !args.without_secrets) {
        proxy::check_tls(tls).map_err(Failure::input)?;
    }
    if args.keys {
        return keys(&config, path.parent().map(Path::to_path_buf).unwrap_or_default());
    }
    let settings = if args.without_secrets {
        config.rehearse(clock::now())
    } else {
        let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
        config.resolve(&ProcessEnvironment { base }, &[], clock::now()).map(|resolved| resolved.settings)
    };
    let settings = settings.map_err(Failure::input)?;
    print(&format!(
        "{origin}: a configuration without mistakes; {} keys in {} projects, {} models",
        settings.keys.len(),
        settings.projects.len(),
        settings.models.len()
    ))
}

/// Asks every key for its models, and says what came of it; no secret is shown.
fn keys(config: &Config, base: PathBuf) -> Result<(), Failure> {
    let (live, _) = proxy::live(config, &ProcessEnvironment { base }, &[], clock::now()).map_err(Failure::input)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let checks = runtime.block_on(proxy::check_keys(&live, None)).map_err(running)?;
    let mut bad = 0;
    for check in &checks {
        let finding = match check.finding {
            Finding::Good => "good".to_owned(),
            Finding::ModelMissing => "good, but it does not list this model".to_owned(),
            Finding::Refused { status, facts: _ } => format!("refused with status {status}"),
            Finding::Unreachable(transport) => format!("no answer ({transport:?})"),
            Finding::Unreadable => "the answer is no list of models".to_owned(),
        };
        bad += usize::from(check.finding != Finding::Good);
        print(&format!("{} for {}: {finding}", check.key, check.upstream))?;
    }
    if bad == 0 {
        return print(&format!("all {} are good", checks.len()));
    }
    Err(Failure::Running(anyhow::anyhow!("{bad} of {} are not good", checks.len())))
}
