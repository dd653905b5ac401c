//! A log as a scenario: what it tells as scripted replies and client calls at their times, what it cannot tell as
//! assumptions that are named as such.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::str::FromStr;

use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;
use stormproof_router::core::{Duration, WallTime};
use thiserror::Error;

use super::litellm_log::{Answer, LiteLlmLog, Seen};

/// How long a refusal of a provider is assumed to take.
const REFUSAL: Duration = Duration::from_millis(1_200);
/// The same for OpenAI-like providers, which refuse at once.
const QUICK_REFUSAL: Duration = Duration::from_millis(200);
/// What the two pauses of the SDK underneath 1.66 take on average: 0.5 and 1 s, less up to a quarter.
const SDK_PAUSES: Duration = Duration::from_nanos(1_312_500_000);
/// Calls of that SDK for one attempt.
const SDK_CALLS: u32 = 3;
/// How long a single turn's rate is on: too short for a second one.
const ONE_TURN: Duration = Duration::from_millis(500);
/// The longest that a call is believed to have taken between two answers of one turn.
const CALL_MAX: Duration = Duration::from_secs(60);
/// aider's first pause; it doubles.
const LADDER_FIRST: Duration = Duration::from_millis(250);
/// How long the overload is assumed to have gone on after it was last seen.
const OVERLOAD_AFTER: Duration = Duration::from_secs(15 * 60);

/// A pool of keys that a log does not know of: `gemini-2.5-pro=21`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The model they serve.
    pub model: String,
    /// How many there are.
    pub keys: u32,
}

/// Not a pool.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not a pool; write a model and how many keys serve it, such as `gemini-2.5-pro=21`")]
pub struct PoolError(String);

impl FromStr for Pool {
    type Err = PoolError;

    fn from_str(text: &str) -> Result<Self, PoolError> {
        let wrong = || PoolError(text.to_owned());
        let (model, keys) = text.split_once('=').ok_or_else(wrong)?;
        let keys = keys.trim().parse().ok().filter(|keys| (1..=10_000).contains(keys)).ok_or_else(wrong)?;
        let model = model.trim();
        let is_name = !model.is_empty() && !model.contains(char::is_whitespace);
        if is_name { Ok(Self { model: model.to_owned(), keys }) } else { Err(wrong()) }
    }
}

/// Deployments under one model's name.
struct Group<'a> {
    model: String,
    provider: String,
    /// Ids, in the order of the log.
    ids: Vec<&'a str>,
    keys: u32,
    /// Whether only `--pool` says that it exists.
    from_pool: bool,
    /// What its deployments answered, in the order of time.
    answers: Vec<&'a Answer>,
}

/// A turn that the log shows, and the replies that its calls meet.
struct Turn<'a> {
    group: usize,
    at: WallTime,
    stream: bool,
    /// With the time that each call takes, and how many calls are answered so.
    replies: Vec<(Duration, u32, &'a Answer)>,
}

/// The group that was asked for in vain.
const ASKED: usize = 0;

/// A scenario in the making.
struct Rendering<'a> {
    log: &'a LiteLlmLog,
    groups: Vec<Group<'a>>,
    turns: Vec<Turn<'a>>,
    start: WallTime,
    end: WallTime,
}

impl LiteLlmLog {
    /// The text of a scenario that lets happen what the log tells. `pools` are models with keys that the log does not
    /// know of.
    pub fn scenario(&self, pools: &[Pool]) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = Rendering::new(self, pools).write(&mut text);
        text
    }
}

impl<'a> Rendering<'a> {
    fn new(log: &'a LiteLlmLog, pools: &[Pool]) -> Self {
        let groups = groups(log, pools);
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let mut turns: Vec<Turn<'a>> =
            groups.iter().enumerate().flat_map(|(index, group)| turns_of(index, group)).collect();
        turns.sort_by_key(|turn| turn.at);
        let first = turns.first().map_or(WallTime::default(), |turn| turn.at);
        let answers = log.deployments.iter().flat_map(|seen| &seen.answers);
        let benched = answers.map(|answer| answer.at + answer.cooldown_time).max().unwrap_or(first);
        let start = floor(earlier(first, minutes(1)), minutes(5));
        Self { log, groups, turns, start, end: floor(benched + minutes(10), minutes(5)) }
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        self.head(out)?;
        self.config(out)?;
        writeln!(out, "start: {}", moment(self.start))?;
        writeln!(out, "duration: {}", self.end.since(self.start))?;
        writeln!(out, "seeds: 1 # what is known is scripted; more seeds vary what is not")?;
        writeln!(out, "assumed:")?;
        for sentence in self.assumptions() {
            writeln!(out, "  - {}", quoted(&sentence))?;
        }
        self.clients(out)?;
        self.world(out)?;
        self.compare(out)?;
        writeln!(out, "\npass:\n  - \"stormproof: success_rate >= 99.9%\"")
    }

    fn head(&self, out: &mut String) -> fmt::Result {
        let log = self.log;
        let asked = &self.groups[ASKED].model;
        let broken = log.broken_off.len();
        writeln!(
            out,
            "# From a LiteLLM log: {} copies of a refusal, {broken} of them broken off. Times are UTC.",
            log.copies
        )?;
        for seen in &log.deployments {
            for answer in &seen.answers {
                let Answer { at, status, message, cooldown_time, .. } = answer;
                let how = if answer.in_stream { " in a stream" } else { "" };
                let until = time(*at + *cooldown_time);
                writeln!(
                    out,
                    "# {} {}: {status}{how}, {message:?}; benched until {until}",
                    time(*at),
                    short(&seen.id)
                )?;
            }
        }
        for at in &log.refused_at {
            writeln!(out, "# {} the proxy refuses: no deployment of {asked} is left", time(self.wall(*at)))?;
        }
        if let Some(version) = log.version {
            writeln!(out, "# The traceback is that of LiteLLM {version}.")?;
        }
        writeln!(out, "about: >-")?;
        writeln!(out, "  An outage as a log tells it: {asked} is asked for while all its deployments are benched.")?;
        writeln!(
            out,
            "  What would other settings, and other routers, have made of the same day? What the log shows is"
        )?;
        writeln!(out, "  scripted to the moment; what it cannot tell is listed as assumed.")
    }

    fn config(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "\nconfig:\n  providers:")?;
        let providers: BTreeSet<&str> = self.groups.iter().map(|group| group.provider.as_str()).collect();
        for provider in providers {
            let dialect = if is_google(provider) { "gemini".to_owned() } else { openai(provider) };
            writeln!(out, "    {}: {{dialect: {dialect}}}", plain(provider))?;
        }
        writeln!(out, "  keys:")?;
        for group in &self.groups {
            let comment = match (group.from_pool, group.has_silent()) {
                (true, _) => " # not in the log",
                (false, true) => " # one is not in the log: a deployment without another is not benched by a 429",
                (false, false) => "",
            };
            let (name, provider, keys) = (plain(&group.model), plain(&group.provider), group.keys);
            writeln!(out, "    {name}: {{provider: {provider}, expect: {keys}, projects: separate}}{comment}")?;
        }
        writeln!(out, "  tiers:")?;
        for group in &self.groups {
            let price = if group.from_pool { "free" } else { "{input: 1.25, output: 10}" };
            let name = plain(&group.model);
            writeln!(out, "    {name}: {{keys: {name}, upstream: {name}, limits: learn, price: {price}}}")?;
        }
        writeln!(out, "  models:")?;
        for group in &self.groups {
            let name = plain(&group.model);
            writeln!(out, "    {name}: {{tiers: [{name}], deadline: 180s}}")?;
        }
        writeln!(out)
    }

    /// What the log does not tell, in sentences for every table and picture.
    fn assumptions(&self) -> Vec<String> {
        let asked = &self.groups[ASKED];
        let mut all = vec![
            format!("which deployments serve {}: the log lists the benched ones of all models", asked.model),
            "how long the overload lasted, and how much of the traffic it hit".to_owned(),
            "who asked before and after the moments that the log shows".to_owned(),
            "how long calls took, prices, limits, and the providers' names for the models".to_owned(),
        ];
        for Group { model, keys, .. } in self.groups.iter().filter(|group| group.from_pool) {
            all.push(format!("that {keys} keys serve {model}, in as many projects, and that it was overloaded, too"));
        }
        for group in self.groups.iter().filter(|group| group.has_silent()) {
            all.push(format!("a second deployment of {}", group.model));
        }
        if self.log.version.is_none() {
            all.push("the release of the proxy: no traceback gives it away".to_owned());
        }
        if self.log.pauses.is_empty() {
            all.push("what clients do about a failed call".to_owned());
        }
        all
    }

    fn clients(&self, out: &mut String) -> fmt::Result {
        let retries = if self.is_aider() { "aider" } else { "sdk" };
        let asked = &self.groups[ASKED];
        let stream = asked.answers.iter().any(|answer| answer.in_stream);
        writeln!(out, "\nclients:")?;
        for turn in &self.turns {
            let ladder = if turn.group == ASKED { retries } else { "none" };
            client(out, &self.groups[turn.group].model, turn.stream, ladder, &once(turn.at))?;
        }
        let mut last = self.turns.last().map_or(self.start, |turn| turn.at);
        for at in self.log.refused_at.iter().map(|at| self.wall(*at)) {
            client(out, &asked.model, stream, retries, &once(at))?;
            last = last.max(at);
        }
        writeln!(out, "  # Assumed: the users go on.")?;
        let from = floor(last + Duration::from_secs(359), Duration::from_secs(120));
        client(out, &asked.model, stream, retries, &format!("{{from: \"{}\", rate: 0.5/min}}", time(from)))
    }

    fn world(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "\nworld:\n  latency: {{p50: 20s, p99: 80s}} # assumed")?;
        writeln!(out, "  script: # an OpenAI-like provider is asked three times before 1.66 hears of a failure")?;
        for turn in &self.turns {
            let upstream = plain(&self.groups[turn.group].model);
            let from = time(turn.at);
            for (after, times, Answer { status, at, .. }) in &turn.replies {
                writeln!(
                    out,
                    "    - {{upstream: {upstream}, from: \"{from}\", times: {times}, after: {after}, answer: {status}}} # ends {}",
                    time(*at)
                )?;
            }
        }
        let overload = |answer: &&Answer| answer.status >= 500;
        let seen =
            || self.groups.iter().flat_map(|group| &group.answers).copied().filter(overload).map(|answer| answer.at);
        let (Some(first), Some(last)) = (seen().min(), seen().max()) else { return Ok(()) };
        let from = time(floor(first, Duration::from_secs(1)));
        let until = time(floor(last + OVERLOAD_AFTER, Duration::from_secs(300)));
        writeln!(out, "  weather: # assumed")?;
        for group in self
            .groups
            .iter()
            .filter(|group| group.from_pool || group.answers.iter().copied().any(|answer| overload(&answer)))
        {
            writeln!(
                out,
                "    - {{upstream: {}, from: \"{from}\", until: \"{until}\", p503: 90%}}",
                plain(&group.model)
            )?;
        }
        Ok(())
    }

    fn compare(&self, out: &mut String) -> fmt::Result {
        let asked = plain(&self.groups[ASKED].model);
        let cooldown = self.log.cooldown_time.unwrap_or_default().as_secs_f64();
        let dead_end = if self.log.dead_end { format!(", default_fallbacks: [{asked}]") } else { String::new() };
        let openai_like: Vec<String> = self
            .groups
            .iter()
            .filter(|group| !is_google(&group.provider))
            .map(|group| plain(&group.provider))
            .collect();
        let common = format!(", openai_like: [{}]", openai_like.join(", "));
        writeln!(out, "\ncompare:")?;
        if self.log.dead_end {
            writeln!(
                out,
                "  # The traceback shows a fallback that leads nowhere but back to {}.",
                self.groups[ASKED].model
            )?;
        }
        writeln!(out, "  litellm-1.66:")?;
        writeln!(
            out,
            "    {{router: litellm-1.66, cooldown_time: {cooldown}{dead_end}{common}, deployment_ids: {{{}}}}}",
            self.ids()
        )?;
        writeln!(out, "  litellm-1.66-5s: {{router: litellm-1.66, cooldown_time: 5{dead_end}{common}}}")?;
        writeln!(out, "  litellm-1.109: {{router: litellm-1.109, cooldown_time: {cooldown}{dead_end}{common}}}")?;
        let Some(pool) = self.groups.iter().find(|group| group.from_pool).map(|group| plain(&group.model)) else {
            return writeln!(out, "  stormproof: {{router: stormproof}}");
        };
        let edge = format!(", fallbacks: {{{asked}: [{pool}]}}{common}");
        writeln!(out, "  # With a way to the keys that nobody had asked.")?;
        writeln!(out, "  litellm-1.66-edge: {{router: litellm-1.66, cooldown_time: {cooldown}{edge}}}")?;
        writeln!(out, "  litellm-1.66-edge-5s: {{router: litellm-1.66, cooldown_time: 5{edge}}}")?;
        writeln!(out, "  litellm-1.109-edge: {{router: litellm-1.109, cooldown_time: {cooldown}{edge}}}")?;
        writeln!(out, "  stormproof-no-edge: {{router: stormproof}}")?;
        let tiers = format!("tiers: [{asked}, {pool}], deadline: 180s");
        writeln!(out, "  stormproof: {{router: stormproof, models: {{{asked}: {{{tiers}}}}}}}")
    }

    /// The ids of the log under the names that the configuration gives the keys.
    fn ids(&self) -> String {
        let named = self.groups.iter().flat_map(|group| {
            let digits = group.keys.to_string().len().max(2);
            let name = move |index: usize| plain(&format!("{}-{:0digits$}", group.model, index + 1));
            group.ids.iter().enumerate().map(move |(index, id)| format!("{}: {}", name(index), quoted(id)))
        });
        named.collect::<Vec<_>>().join(", ")
    }

    /// The moment of this time of day within the day that the log tells of.
    fn wall(&self, time_of_day: Duration) -> WallTime {
        let day = Duration::from_secs(86_400);
        let today = floor(self.start, day) + time_of_day;
        if today < self.start { today + day } else { today }
    }

    /// Whether the client's pauses are aider's: a quarter of a second, doubled each time, printed with one digit.
    fn is_aider(&self) -> bool {
        let printed = [200, 500, 1000, 2000, 4000, 8000, 16_000, 32_000].map(Duration::from_millis);
        !self.log.pauses.is_empty() && self.log.pauses.iter().all(|pause| printed.contains(pause))
    }
}

impl Group<'_> {
    /// Whether it has a deployment that the log does not name.
    fn has_silent(&self) -> bool {
        !self.from_pool && self.keys as usize > self.ids.len()
    }
}

/// Sorts the deployments of the log into groups, the one that was asked for first. The log does not say which belong
/// together; who answered does, as far as it goes.
fn groups<'a>(log: &'a LiteLlmLog, pools: &[Pool]) -> Vec<Group<'a>> {
    let provider_of = |seen: &Seen| seen.answers.iter().find_map(|answer| answer.provider.clone());
    let in_stream = |seen: &&Seen| seen.answers.iter().any(|answer| answer.in_stream);
    let model = log.asked.first().map_or_else(|| "model".to_owned(), |asked| asked.model.clone());
    let asked_provider = log.deployments.iter().find(in_stream).or(log.deployments.first()).and_then(provider_of);
    let asked_provider = asked_provider.unwrap_or_else(|| "gemini".to_owned());
    let empty = |model: String, provider: String| Group {
        model,
        provider,
        ids: Vec::new(),
        keys: 0,
        from_pool: false,
        answers: Vec::new(),
    };
    let mut groups = vec![empty(model, asked_provider.clone())];
    for seen in &log.deployments {
        let provider = provider_of(seen).unwrap_or_else(|| asked_provider.clone());
        let index = groups.iter().position(|group| group.provider == provider).unwrap_or_else(|| {
            groups.push(empty(provider.clone(), provider));
            groups.len() - 1
        });
        groups[index].ids.push(&seen.id);
        groups[index].answers.extend(&seen.answers);
    }
    for group in &mut groups {
        group.answers.sort_by_key(|answer| answer.at);
        let lonely = group.ids.len() == 1 && group.answers.iter().any(|answer| answer.status == 429);
        group.keys = group.ids.len() as u32 + u32::from(lonely);
    }
    for pool in pools {
        match groups.iter_mut().find(|group| group.model == pool.model) {
            Some(group) => group.keys = group.keys.max(pool.keys),
            None => {
                let group = empty(pool.model.clone(), asked_provider.clone());
                groups.push(Group { keys: pool.keys, from_pool: true, ..group });
            }
        }
    }
    groups
}

/// The turns in which a group's answers were got: what a client gets in a stream it answers with its ladder's pauses,
/// so answers that follow each other so closely belong to one turn.
fn turns_of<'a>(index: usize, group: &Group<'a>) -> Vec<Turn<'a>> {
    let mut turns: Vec<Turn<'a>> = Vec::new();
    let mut pause = LADDER_FIRST;
    for answer in group.answers.iter().copied() {
        if let Some((turn, before)) = turns.last_mut().and_then(|turn| {
            let before = turn.replies.last()?.2;
            Some((turn, before))
        }) && answer.in_stream
            && before.in_stream
        {
            let took = answer.at.since(before.at + pause);
            if (Duration::from_nanos(1)..CALL_MAX).contains(&took) {
                turn.replies.push((took, 1, answer));
                pause = pause.saturating_mul(2);
                continue;
            }
        }
        pause = LADDER_FIRST;
        let (after, times, before) = if is_google(&group.provider) {
            (REFUSAL, 1, REFUSAL)
        } else {
            // The SDK underneath asks again before the proxy hears of it.
            (QUICK_REFUSAL, SDK_CALLS, QUICK_REFUSAL.saturating_mul(u64::from(SDK_CALLS)) + SDK_PAUSES)
        };
        let at = earlier(answer.at, before);
        turns.push(Turn { group: index, at, stream: answer.in_stream, replies: vec![(after, times, answer)] });
    }
    turns
}

/// One line of `clients`.
fn client(out: &mut String, model: &str, stream: bool, retries: &str, turns: &str) -> fmt::Result {
    let model = plain(model);
    writeln!(
        out,
        "  - {{model: {model}, stream: {stream}, retries: {retries}, patience: 5m, spread: even, turns: [{turns}]}}"
    )
}

/// Rates that make one turn at this moment.
fn once(at: WallTime) -> String {
    format!("{{from: \"{}\", rate: 1/s}}, {{from: \"{}\", rate: none}}", time(at), time(at + ONE_TURN))
}

fn is_google(provider: &str) -> bool {
    provider == "gemini"
}

/// How a provider that is not Google's is written.
fn openai(provider: &str) -> String {
    format!("openai, base_url: {}", quoted(&format!("https://api.{provider}.ai/v1")))
}

/// A name as YAML reads it back, with quotes only where it needs them.
fn plain(name: &str) -> String {
    let harmless = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    let starts = name.starts_with(|character: char| character.is_ascii_alphabetic());
    let word = ["true", "false", "yes", "no", "on", "off", "null", "none"].contains(&name.to_lowercase().as_str());
    if starts && !word && name.chars().all(harmless) { name.to_owned() } else { quoted(name) }
}

/// A text in double quotes, escaped as JSON does, which YAML reads, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The first digits of an id.
fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

fn earlier(at: WallTime, by: Duration) -> WallTime {
    WallTime::from_nanos(at.as_nanos().saturating_sub(by.as_nanos()))
}

/// The last whole multiple of `step` since the epoch at or before `at`.
fn floor(at: WallTime, step: Duration) -> WallTime {
    WallTime::from_nanos(at.as_nanos() / step.as_nanos() * step.as_nanos())
}

/// The time of day, as exact as it is known.
fn time(at: WallTime) -> String {
    show(at, "%H:%M:%S%.f")
}

/// Date and time with the zone, as a scenario's start is written.
pub(crate) fn moment(at: WallTime) -> String {
    show(at, "%Y-%m-%d %H:%M UTC")
}

fn show(at: WallTime, format: &str) -> String {
    let instant = Instant::from_nanosecond(i128::from(at.as_nanos())).unwrap_or(Instant::UNIX_EPOCH);
    instant.to_zoned(TimeZone::UTC).strftime(format).to_string()
}
