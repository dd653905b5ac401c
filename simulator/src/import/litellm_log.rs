//! What a log or a report about a LiteLLM proxy tells of an outage.
//!
//! Every refusal of LiteLLM 1.66 quotes what all benched deployments had answered, so one error message holds the
//! history of the outage. Around it there may be anything: prose, a client's output, the same message again, a line
//! that was cut off.

use std::collections::BTreeMap;

use serde::Deserialize;
use stormproof_router::core::{Duration, WallTime};
use thiserror::Error;

use super::flow::{Flow, Value, line_of, places, squeeze};

/// Begin of every refusal.
const REFUSAL: &str = "No deployments available";
/// Longest model name that is believed.
const NAME_MAX: usize = 200;
/// Lines of `litellm/router.py` that tracebacks of 1.66.2 pass through, from call to refusal.
const FRAMES_1_66: [u32; 13] = [926, 950, 971, 1089, 3193, 3346, 3379, 3462, 3488, 3580, 3685, 5998, 6096];
/// The frame in which a list of fallbacks turns out to lead nowhere but to the failing group.
const DEAD_END: u32 = 3346;

/// What the log tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiteLlmLog {
    /// Models that were asked for in vain, in the order of the log, with the time that clients were told to wait.
    pub asked: Vec<Asked>,
    /// Deployments that it names, in the order of LiteLLM's model list.
    pub deployments: Vec<Seen>,
    /// The configured cooldown time.
    pub cooldown_time: Option<Duration>,
    /// The release, where a traceback gives it away.
    pub version: Option<&'static str>,
    /// When the proxy wrote a refusal to its log, as time of day.
    pub refused_at: Vec<Duration>,
    /// Pauses of the client between its attempts, in the order of the log.
    pub pauses: Vec<Duration>,
    /// Whether a client saw a provider's error inside a stream, that is unmapped and before any retry.
    pub raw_errors: bool,
    /// Whether a fallback was configured for the model asked that leads nowhere else.
    pub dead_end: bool,
    /// Copies of a refusal that were read, broken-off ones included.
    pub copies: usize,
    /// Lines on which a copy breaks off.
    pub broken_off: Vec<usize>,
}

/// A model that was asked for in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its name.
    pub model: String,
    /// How long clients were told to wait.
    pub told: Duration,
}

/// A deployment with what it answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its id: 64 hexadecimal digits, unless chosen by the configuration's author.
    pub id: String,
    /// In the order of time.
    pub answers: Vec<Answer>,
}

/// What a deployment answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// When the proxy had it.
    pub at: WallTime,
    /// Status on the wire.
    pub status: u16,
    /// Who answered, as far as it can be told: `gemini`, `mistral`.
    pub provider: Option<String>,
    /// Its words.
    pub message: String,
    /// Whether it came inside a stream: the proxy shows such errors as they came.
    pub in_stream: bool,
    /// How long it was benched for it.
    pub cooldown_time: Duration,
}

/// Why nothing can be made of a text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImportError {
    /// There is no refusal in it.
    #[error(
        "no refusal of a LiteLLM proxy in these {lines} lines: nowhere is there \"No deployments available for selected \
         model\"; give the proxy's log or a client's output, as it was"
    )]
    NoRefusal {
        /// How many lines were read.
        lines: usize,
    },
    /// Refusals there are, but none lists what deployments answered.
    #[error(
        "line {line}: this refusal does not list what its deployments answered ({why}); look for a longer copy of it in \
         the proxy's log"
    )]
    NoAnswers {
        /// Where the first refusal stands.
        line: usize,
        /// What is there instead.
        why: &'static str,
    },
    /// A list cannot be read.
    #[error("line {line}: in the cooldown list there should be {expected} here")]
    Unreadable {
        /// Where.
        line: usize,
        /// What is missing.
        expected: &'static str,
    },
}

/// One copy of a refusal, as far as it goes.
struct Copy {
    line: usize,
    asked: Option<Asked>,
    answers: Vec<(String, Answer)>,
    end: CopyEnd,
}

/// How a copy ends.
enum CopyEnd {
    /// With the end of its list.
    Whole,
    /// The text ends first, or something else begins.
    BrokenOff { line: usize, expected: &'static str },
    /// Its list has ids only.
    IdsOnly,
}

impl LiteLlmLog {
    /// Reads everything that `text` tells.
    ///
    /// # Errors
    /// When there is no refusal in it, or none that says what deployments answered.
    pub fn read(text: &str) -> Result<Self, ImportError> {
        let copies: Vec<Copy> = places(text, REFUSAL).map(|at| copy(text, at)).collect();
        let Some(first) = copies.first() else {
            return Err(ImportError::NoRefusal { lines: text.lines().count() });
        };
        if copies.iter().all(|copy| copy.answers.is_empty()) {
            let of_list = |copy: &Copy| match copy.end {
                CopyEnd::BrokenOff { line, expected } if copy.asked.is_some() => Some((line, expected)),
                CopyEnd::BrokenOff { .. } | CopyEnd::Whole | CopyEnd::IdsOnly => None,
            };
            if let Some((line, expected)) = copies.iter().find_map(of_list) {
                return Err(ImportError::Unreadable { line, expected });
            }
            let ids_only = copies.iter().any(|copy| matches!(copy.end, CopyEnd::IdsOnly));
            let why = if ids_only { "later releases print ids only" } else { "its list is empty or missing" };
            return Err(ImportError::NoAnswers { line: first.line, why });
        }
        let mut log = Self { copies: copies.len(), ..Self::default() };
        for copy in copies {
            log.add(copy);
        }
        let frames = frames(text);
        let known = FRAMES_1_66.iter().filter(|line| frames.contains(line)).count();
        log.version = (known * 2 > frames.len() && known > 3).then_some("1.66.2");
        log.dead_end = log.version.is_some() && frames.contains(&DEAD_END);
        log.refused_at = refused_at(text);
        log.pauses = pauses(text);
        log.raw_errors = places(text, "OpenAIException - litellm.").any(|at| {
            let mut flow = Flow::from(text, at);
            flow.up_to("VertexAIException - b'", 4 * NAME_MAX).is_some()
        });
        Ok(log)
    }

    /// The first answer of all.
    pub fn first_answer(&self) -> Option<&Answer> {
        self.deployments.iter().flat_map(|seen| &seen.answers).min_by_key(|answer| answer.at)
    }

    fn add(&mut self, copy: Copy) {
        match copy.end {
            CopyEnd::Whole | CopyEnd::IdsOnly => {}
            CopyEnd::BrokenOff { line, .. } => self.broken_off.push(line),
        }
        if let Some(asked) = copy.asked.filter(|asked| !self.asked.contains(asked)) {
            self.asked.push(asked);
        }
        for (id, answer) in copy.answers {
            let longest = self.cooldown_time.max(Some(answer.cooldown_time));
            self.cooldown_time = longest;
            let seen = match self.deployments.iter_mut().find(|seen| seen.id == id) {
                Some(seen) => seen,
                None => {
                    self.deployments.push(Seen { id, answers: Vec::new() });
                    let last = self.deployments.len() - 1;
                    &mut self.deployments[last]
                }
            };
            if seen.answers.iter().all(|known| known.at != answer.at) {
                seen.answers.push(answer);
                seen.answers.sort_by_key(|answer| answer.at);
            }
        }
    }
}

/// Reads one copy of a refusal as far as it goes.
fn copy(text: &str, at: usize) -> Copy {
    let mut flow = Flow::from(text, at);
    let mut copy = Copy { line: line_of(text, at), asked: None, answers: Vec::new(), end: CopyEnd::Whole };
    if let Err(end) = read_copy(&mut flow, &mut copy) {
        copy.end = end;
    }
    copy
}

fn read_copy(flow: &mut Flow<'_>, copy: &mut Copy) -> Result<(), CopyEnd> {
    expect(flow, "No deployments available for selected model, Try again in", "the time to wait")?;
    let told = flow.number().ok_or_else(|| broken_off(flow, "a number of seconds"))?;
    expect(flow, "seconds. Passed model=", "`seconds. Passed model=`")?;
    let model = flow.up_to(". pre-call-checks=", NAME_MAX).ok_or_else(|| broken_off(flow, "the model's name"))?;
    copy.asked = Some(Asked { model, told: Duration::from_secs_f64(told) });
    flow.up_to("cooldown_list=[", NAME_MAX).ok_or_else(|| broken_off(flow, "`cooldown_list=[`"))?;
    while !flow.literal("]") {
        if !flow.literal("(") {
            let ids = copy.answers.is_empty() && flow.string().is_some();
            return Err(if ids { CopyEnd::IdsOnly } else { broken_off(flow, "a deployment or the end of the list") });
        }
        copy.answers.push(entry(flow)?);
        flow.literal(",");
    }
    Ok(())
}

/// One benched deployment: `'id', {'exception_received': ..., 'status_code': ..., ...})`.
fn entry(flow: &mut Flow<'_>) -> Result<(String, Answer), CopyEnd> {
    let id = flow.string().ok_or_else(|| broken_off(flow, "a deployment's id in quotes"))?;
    expect(flow, ",", "a comma after the deployment's id")?;
    expect(flow, "{", "what the deployment answered, in braces")?;
    let mut fields = BTreeMap::new();
    while !flow.literal("}") {
        let name = flow.string().ok_or_else(|| broken_off(flow, "the name of a field in quotes"))?;
        expect(flow, ":", "a colon after the name of a field")?;
        let value = flow.value().ok_or_else(|| broken_off(flow, "the value of a field"))?;
        fields.insert(name.split_whitespace().collect::<String>(), value);
        flow.literal(",");
    }
    expect(flow, ")", "the end of the deployment's entry")?;
    let text = |name: &str| match fields.get(name) {
        Some(Value::Text(text) | Value::Word(text) | Value::Number(text)) => Some(text.as_str()),
        None => None,
    };
    let digits = |name: &str| text(name).map(|text| text.split_whitespace().collect::<String>());
    let received = text("exception_received").ok_or_else(|| broken_off(flow, "`exception_received` in the entry"))?;
    let status = digits("status_code").and_then(|digits| digits.parse().ok());
    let status = status.ok_or_else(|| broken_off(flow, "`status_code` in the entry"))?;
    let at = digits("timestamp").and_then(|digits| nanos(&digits));
    let at = at.ok_or_else(|| broken_off(flow, "`timestamp` in the entry"))?;
    let cooldown = digits("cooldown_time").and_then(|digits| nanos(&digits));
    let cooldown = cooldown.ok_or_else(|| broken_off(flow, "`cooldown_time` in the entry"))?;
    let (provider, message, in_stream) = words_of(received);
    let answer = Answer {
        at: WallTime::from_nanos(at),
        status,
        provider,
        message,
        in_stream,
        cooldown_time: Duration::from_nanos(cooldown),
    };
    Ok((id.split_whitespace().collect(), answer))
}

/// Seconds in decimal digits as nanoseconds. Not by way of a float: that has no room for today's nanoseconds.
fn nanos(digits: &str) -> Option<u64> {
    let (secs, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    secs.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction.parse().ok()?)
}

fn expect(flow: &mut Flow<'_>, literal: &str, expected: &'static str) -> Result<(), CopyEnd> {
    if flow.literal(literal) { Ok(()) } else { Err(broken_off(flow, expected)) }
}

fn broken_off(flow: &Flow<'_>, expected: &'static str) -> CopyEnd {
    CopyEnd::BrokenOff { line: flow.line(), expected }
}

/// The error body of Google's APIs.
#[derive(Deserialize)]
struct GoogleBody {
    error: GoogleError,
}

#[derive(Deserialize)]
struct GoogleError {
    message: String,
}

/// Who spoke, what was said, and whether the proxy shows it as it came, which it does only for streams.
fn words_of(received: &str) -> (Option<String>, String, bool) {
    let (head, body) = match received.split_once("Exception - ") {
        Some((head, body)) => (Some(head), body),
        None => (None, received),
    };
    let named = head.and_then(|head| head.rsplit(' ').next()).map(|name| match name {
        "VertexAI" => "gemini".to_owned(),
        other => other.to_lowercase(),
    });
    let literal = body.trim_start().strip_prefix('b').and_then(|literal| Flow::new(literal).string());
    let google = literal.as_deref().and_then(|body| serde_json::from_str::<GoogleBody>(&squeeze(body)).ok());
    match google {
        Some(body) => (named.or_else(|| Some("gemini".to_owned())), squeeze(&body.error.message), head.is_none()),
        None => (named, squeeze(literal.as_deref().unwrap_or(body)), head.is_none() && literal.is_some()),
    }
}

/// Line numbers of `litellm/router.py` in tracebacks.
fn frames(text: &str) -> Vec<u32> {
    let mut frames: Vec<u32> = text
        .lines()
        .filter_map(|line| line.split_once("litellm/router.py\", line "))
        .filter_map(|(_, rest)| rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok())
        .collect();
    frames.sort_unstable();
    frames.dedup();
    frames
}

/// Times of day at which the proxy logged a refusal: `05:22:41 - LiteLLM Proxy:ERROR: ...`.
fn refused_at(text: &str) -> Vec<Duration> {
    let logged = text.lines().filter(|line| line.contains("LiteLLM") && line.contains(REFUSAL));
    let mut times: Vec<Duration> = logged.filter_map(|line| time_of_day(line.get(..8)?)).collect();
    times.sort_unstable();
    times.dedup();
    times
}

fn time_of_day(text: &str) -> Option<Duration> {
    let mut parts = text.split(':').map(str::parse::<u64>);
    let (hours, minutes, secs) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    (hours < 24 && minutes < 60 && secs < 60).then(|| Duration::from_secs(hours * 3600 + minutes * 60 + secs))
}

/// A client's pauses: `Retrying in 8.0 seconds...`.
fn pauses(text: &str) -> Vec<Duration> {
    places(text, "Retrying in ")
        .filter_map(|at| {
            let mut flow = Flow::from(text, at);
            flow.literal("Retrying in ");
            let secs = flow.number().filter(|secs| *secs >= 0.0)?;
            flow.literal("seconds").then(|| Duration::from_secs_f64(secs))
        })
        .collect()
}
