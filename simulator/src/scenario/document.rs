//! Scenario files as a whole: read, changed, resolved.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::Schema;
use stormproof_router::config::{At, Config, Errors, Node, Problem, Report, decode, moment, suggest};
use stormproof_router::core::{Duration, KNOBS};

use super::file::ScenarioFile;
use super::names::Scene;
use super::pass::Expression;
use super::{assumed, clients, compare, world};
use crate::engine::Day;
use crate::study::summary::Summary;
use crate::study::{Case, Contender};

/// The longest day: as many resets as settings carry.
const DURATION_MAX: Duration = Duration::from_secs(366 * 86_400);
const SEEDS_MAX: u32 = 1_000_000;

/// A scenario with its meaning.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it asks, in its author's words.
    pub about: String,
    /// The day, with the settings as configured and what is assumed.
    pub case: Case,
    /// The routers to compare, in the order of the file.
    pub contenders: Vec<Contender>,
    /// What must hold.
    pub pass: Vec<Expression>,
    /// Replications: seeds 1 to this number.
    pub seeds: u32,
    /// The moment at which it begins, with offset and zone: `2025-04-18T22:10:00-07:00[America/Los_Angeles]`.
    pub start: String,
}

impl Scenario {
    /// The summary of a study of this scenario with all that the scenario says about it: what it asks, when it begins,
    /// and whether what must hold does.
    #[must_use]
    pub fn judge(&self, mut summary: Summary) -> Summary {
        (summary.about, summary.start) = (self.about.clone(), self.start.clone());
        summary.pass = self.pass.iter().map(|expression| expression.evaluate(&summary)).collect();
        summary
    }
}

/// Where the files that a scenario names are read from.
pub trait Files {
    /// The file of that path, relative to the scenario.
    ///
    /// # Errors
    /// As the file system reports them.
    fn read(&self, path: &str) -> io::Result<String>;
}

/// Files of a folder.
#[derive(Clone, Debug)]
pub struct Folder(pub PathBuf);

/// Files that are built into the program: paths and texts.
#[derive(Clone, Copy, Debug)]
pub struct Embedded(pub &'static [(&'static str, &'static str)]);

impl Files for Folder {
    fn read(&self, path: &str) -> io::Result<String> {
        std::fs::read_to_string(self.0.join(path))
    }
}

impl Files for Embedded {
    fn read(&self, path: &str) -> io::Result<String> {
        let found = self.0.iter().find(|(name, _)| *name == path.trim_start_matches("./"));
        found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

/// A scenario file that was read and has no meaning yet.
pub struct Document {
    /// The file, with its configuration in the place of the path.
    root: Node,
    /// What messages call the scenario.
    origin: Arc<str>,
    /// What messages call its configuration.
    config_origin: Arc<str>,
    files: Arc<dyn Files + Send + Sync>,
}

/// Reads a scenario and gives it its meaning.
///
/// # Errors
/// Everything that is wrong with the file and with those it names.
pub fn load(path: &Path) -> Result<Scenario, Errors> {
    Document::open(path)?.scenario()
}

/// The same for a text; `origin` is what messages call it.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, origin: &str, files: impl Files + Send + Sync + 'static) -> Result<Scenario, Errors> {
    Document::parse(text, origin, files)?.scenario()
}

/// The schema of scenario files, for editors.
pub fn schema() -> Schema {
    schemars::schema_for!(ScenarioFile)
}

impl Document {
    /// Reads a scenario from a file.
    ///
    /// # Errors
    /// When it, or its configuration, cannot be read.
    pub fn open(path: &Path) -> Result<Self, Errors> {
        let origin = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Errors::one(Problem::new(&origin.as_str().into(), None, format!("the file cannot be read: {error}")))
        })?;
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Self::parse(&text, &origin, Folder(folder))
    }

    /// Reads a scenario from its text.
    ///
    /// # Errors
    /// When it, or its configuration, cannot be read.
    pub fn parse(text: &str, origin: &str, files: impl Files + Send + Sync + 'static) -> Result<Self, Errors> {
        let origin: Arc<str> = origin.into();
        let mut root = Node::parse(text, &origin)?;
        let mut config_origin = Arc::clone(&origin);
        if let Some((path, spot)) = root.entry("config").and_then(|node| Some((node.text()?.to_owned(), node.spot()))) {
            let text = files.read(&path).map_err(|error| {
                let message = format!("the configuration `{path}` cannot be read: {error}");
                Errors::one(Problem::new(&origin, Some(spot), message))
            })?;
            config_origin = path.as_str().into();
            root.put("config", Node::parse(&text, &config_origin)?);
        }
        Ok(Self { root, origin, config_origin, files: Arc::new(files) })
    }

    /// Its configuration as it is written, wherever it stands.
    pub fn config(&self) -> &Node {
        self.root.entry("config").unwrap_or(&self.root)
    }

    /// This document with one part changed: `seeds`, `world.latency.p50`, `clients.0.turns`,
    /// `config.tiers.free-pro.limits.rpm`, `stormproof.trip.ratio` for one router; or, for every router that has it, a
    /// knob or an option of LiteLLM by its own name (`trip.ratio`, `cooldown_time`). `value` is written as in the file.
    ///
    /// # Errors
    /// When the path leads nowhere, or the value is not readable as YAML. What it means is checked by
    /// [`Document::scenario`].
    pub fn with(&self, path: &str, value: &str) -> Result<Self, Errors> {
        let origin: Arc<str> = format!("{path}={value}").into();
        let value = Node::parse(value, &origin)?.unplaced();
        let mut root = self.root.clone();
        for place in self.places(path).map_err(|message| Errors::one(Problem::new(&origin, None, message)))? {
            root.set(&place, value.clone());
        }
        let Self { origin, config_origin, files, .. } = self;
        Ok(Self {
            root,
            origin: Arc::clone(origin),
            config_origin: Arc::clone(config_origin),
            files: Arc::clone(files),
        })
    }

    /// The full paths that a short one means.
    fn places(&self, path: &str) -> Result<Vec<String>, String> {
        let parts =
            ["about", "config", "start", "duration", "seeds", "clients", "used_today", "used_is_known", "world"];
        let first = path.split('.').next().unwrap_or_default();
        if parts.contains(&first) || first == "compare" {
            return Ok(vec![path.to_owned()]);
        }
        let routers: Vec<(&str, &str)> = self.root.entry("compare").map_or_else(Vec::new, |compare| {
            let routers = compare.entries().map(|(name, _, node)| (name, node.entry("router").and_then(Node::text)));
            routers.map(|(name, router)| (name, router.unwrap_or_default())).collect()
        });
        let own = |name: &str| path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        if let Some((name, _)) = routers.iter().filter(|(name, _)| own(name)).max_by_key(|(name, _)| name.len()) {
            return Ok(vec![format!("compare.{name}{}", &path[name.len()..])]);
        }
        let is_knob = KNOBS.iter().any(|knob| knob.name == path);
        let takes = |router: &str| if is_knob { router == "stormproof" } else { router.starts_with("litellm") };
        let option = is_knob || LITELLM_OPTIONS.contains(&first);
        let places: Vec<String> = routers
            .iter()
            .filter(|(_, router)| option && takes(router))
            .map(|(name, _)| format!("compare.{name}.{path}"))
            .collect();
        if places.is_empty() {
            let known = KNOBS.iter().map(|knob| knob.name).chain(LITELLM_OPTIONS).chain(parts);
            return Err(format!("`{path}` leads to nothing in this scenario; {}", suggest(path, known)));
        }
        Ok(places)
    }

    /// What the document means.
    ///
    /// # Errors
    /// Everything that is wrong, as far as it can be told at once.
    pub fn scenario(&self) -> Result<Scenario, Errors> {
        let written: ScenarioFile = decode(&self.root, &self.origin)?;
        let config = Config::read(&written.config.value, &self.config_origin)?;
        let mut report = Report::new(&self.origin);
        let (start, zone) = moment(&written.start)
            .map_err(|message| Errors::one(Problem::new(&self.origin, Some(written.start.spot), message)))?;
        let duration = check_duration(&written, &mut report);
        let settings = config.rehearse(start)?;
        let stamp = zone.stamp(start);
        let scene = Scene::new(&config, &settings, (start, zone), duration);
        let (world, mut happenings) = world::world(&scene, &written, &mut report);
        let client = |client| clients::client(&scene, client, &*self.files, &mut report);
        let clients: Vec<_> = written.clients.iter().filter_map(client).collect();
        if written.clients.is_empty() {
            report.say(written.clients.spot, "nobody asks; name at least one group of clients");
        }
        let assumed = assumed::sentences(&written.assumed, &self.root, &mut report);
        let pass = self.pass(&written, &mut report);
        let contenders = match compare::contenders(&config, start, &written.compare, &self.origin) {
            Ok(contenders) => contenders,
            Err(errors) => {
                report.extend(errors.into_problems());
                Vec::new()
            }
        };
        report.finish()?;
        happenings.extend(Day::leaving(&clients));
        happenings.sort_by_key(|(at, _)| *at);
        let day = Day { start, duration, world, clients, happenings };
        let case = Case { name: self.name(), day, settings: Arc::new(settings), assumed };
        let ScenarioFile { about, seeds, .. } = written;
        Ok(Scenario { about: about.trim().to_owned(), case, contenders, pass, seeds: seeds.value, start: stamp })
    }

    /// The file's name without folders and extension.
    fn name(&self) -> String {
        let stem = Path::new(&*self.origin).file_stem();
        stem.and_then(|stem| stem.to_str()).unwrap_or("scenario").to_owned()
    }

    fn pass(&self, written: &ScenarioFile, report: &mut Report) -> Vec<Expression> {
        let routers: Vec<&str> = written.compare.names().collect();
        let mut parse = |text: &At<String>| match Expression::parse(text, &routers) {
            Ok(expression) => Some(expression),
            Err(message) => {
                report.say(text.spot, message);
                None
            }
        };
        written.pass.iter().filter_map(&mut parse).collect()
    }
}

fn check_duration(written: &ScenarioFile, report: &mut Report) -> Duration {
    let duration = written.duration.value.0;
    if duration == Duration::ZERO || duration > DURATION_MAX {
        let message = format!("a day of {duration} cannot be simulated; write a duration from 1s to 366d");
        report.say(written.duration.spot, message);
    }
    if !(1..=SEEDS_MAX).contains(&written.seeds.value) {
        report.say(written.seeds.spot, format!("there are from 1 to {SEEDS_MAX} seeds"));
    }
    duration.min(DURATION_MAX)
}

/// LiteLLM's options that a sweep may name without naming a router.
const LITELLM_OPTIONS: [&str; 13] = [
    "cooldown_time",
    "disable_cooldowns",
    "allowed_fails",
    "allowed_fails_policy",
    "num_retries",
    "retry_policy",
    "retry_after",
    "fallbacks",
    "default_fallbacks",
    "max_fallbacks",
    "timeout",
    "stream_timeout",
    "feedback_loop",
];

#[cfg(test)]
mod tests;
