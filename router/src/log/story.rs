//! An account in plain English: one line for each thing that happened to the request, with the reasons below it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::explain::{Account, Step, Telling};
use super::names::{Calendar, Names, cause, length, percent, spill};
use crate::config::Zone;
use crate::core::{
    AttemptId, Cause, DeploymentId, Dispatch, Ending, Facts, Finished, Input, Note, Outcome, Output, Provenance,
    Reason, TierCause, TierId, Timestamp, Transport, Verdict, Violation, Why,
};

/// Keys passed over for one reason that are named one by one.
const NAMED: usize = 3;

impl Account {
    /// The story, with times in this zone.
    pub fn story(&self, zone: &Zone) -> String {
        let mut teller = Teller {
            account: self,
            names: Names(&self.settings),
            calendar: Calendar::new(self.epoch, zone.time_zone()),
            attempts: BTreeMap::new(),
            text: String::new(),
        };
        teller.tell();
        teller.text
    }
}

struct Teller<'a> {
    account: &'a Account,
    names: Names<'a>,
    calendar: Calendar,
    /// Number within the story, start, and place of each attempt.
    attempts: BTreeMap<AttemptId, (usize, Timestamp, DeploymentId)>,
    text: String,
}

impl Teller<'_> {
    fn tell(&mut self) {
        let Account { request, at, arrived, telling, .. } = self.account;
        let opening = format!(
            "Request {request} of turn {}: {} asked for {} on {}{}, with about {} tokens and {} to go.",
            arrived.turn,
            self.names.client(arrived.client),
            self.names.model(arrived.model),
            self.calendar.day(*at),
            if arrived.stream { ", as a stream" } else { "" },
            arrived.tokens.input,
            length(arrived.deadline.since(*at)),
        );
        self.text.push_str(&opening);
        self.text.push('\n');
        if let Telling::Codes { because } = telling {
            let line = format!("Only the recorded codes are told, not what was passed over: {because}.\n");
            self.text.push_str(&line);
        }
        let account = self.account;
        for step in &account.steps {
            self.step(step);
        }
    }

    fn step(&mut self, step: &Step) {
        if step.is_own {
            self.input(step.at, &step.input);
        }
        for note in &step.notes {
            self.note(step.at, note);
        }
        for decision in &step.decisions {
            self.decision(step.at, decision);
        }
        self.skipped(&step.notes);
    }

    fn input(&mut self, at: Timestamp, input: &Input) {
        match input {
            Input::Arrived(_) => self.line(at, "asked"),
            Input::FirstByte { attempt } => {
                let (number, since) = self.attempt(*attempt);
                self.line(at, &format!("{number} has its first byte after {}", length(at.since(since))));
            }
            Input::Finished(Finished { attempt, ending, facts, usage }) => {
                let (number, since) = self.attempt(*attempt);
                let mut text = format!("{number} ended after {}: {}", length(at.since(since)), ended(*ending));
                text.push_str(&said(facts));
                if let Some(usage) = usage {
                    let _ = write!(text, ", {} tokens in and {} out", usage.input, usage.output);
                }
                self.line(at, &text);
            }
            Input::Cancelled { .. } => self.line(at, "the client went away"),
            Input::Configured { .. } | Input::Clock { .. } | Input::Operator { .. } | Input::Woke => {}
        }
    }

    fn note(&mut self, at: Timestamp, note: &Note) {
        match note {
            Note::Classified { class: Cause::None, .. } | Note::Skipped { .. } => {}
            Note::Classified { class, scope, .. } => {
                let against = scope.map(|scope| format!(", held against {}", self.names.scope(scope)));
                self.below(&format!("taken as: {}{}", cause(*class), against.unwrap_or_default()));
            }
            Note::Cooled { scope, cause: why, until, provenance } => {
                let says = match provenance {
                    Provenance::Authoritative => "the provider's word",
                    Provenance::Inferred => "our own inference",
                    Provenance::Operator => "an operator's word",
                };
                let scope = self.names.scope(*scope);
                let text = if *until == Timestamp::MAX {
                    format!("{scope} is retired: {} ({says})", cause(*why))
                } else {
                    format!("{scope} cools until {}: {} ({says})", self.calendar.until(*until), cause(*why))
                };
                self.below(&text);
            }
            Note::Cleared { scope } => self.below(&format!("{} may be used again", self.names.scope(*scope))),
            Note::Learnt { scope, cause: which, limit } => {
                let (scope, unit) = (self.names.scope(*scope), unit(*which));
                self.below(&format!("{scope} is learnt to have a limit of {limit} {unit}"));
            }
            Note::Alert { scope, cause: why } => {
                self.below(&format!("an alert was raised: {} ({})", self.names.scope(*scope), cause(*why)));
            }
            Note::Limited { cause: why, .. } => self.below(&format!("turned away: {}", cause(*why))),
            Note::Degraded { upstream, degraded, failure_ppm } => {
                let state = if *degraded { "degraded" } else { "healthy again" };
                let (upstream, failure) = (self.names.upstream(*upstream), percent(*failure_ppm));
                self.line(at, &format!("{upstream} is {state}: {failure} of its attempts are expected to fail"));
            }
            Note::Waits { tier, until, latest_start, cause: why, .. } => {
                let (tier, until) = (self.names.tier(*tier), self.calendar.until(*until));
                let latest = self.calendar.time(*latest_start);
                let why = cause(*why);
                self.line(at, &format!("waits for {tier}: {why}; looks again at {until}, must start by {latest}"));
            }
            Note::Spilled { from, to, cause, .. } => {
                let (from, to) = (self.names.tier(*from), self.names.tier(*to));
                self.line(at, &format!("goes from {from} to {to}: {}", spill(*cause)));
            }
            Note::BackedOff { until, delay, .. } => {
                let (until, delay) = (self.calendar.time(*until), length(*delay));
                self.line(at, &format!("holds back for {delay}, until {until}, before the next attempt"));
            }
        }
    }

    fn decision(&mut self, at: Timestamp, decision: &Output) {
        match decision {
            Output::Dispatch(Dispatch { attempt, deployment, why, .. }) => {
                let number = self.attempts.len() + 1;
                self.attempts.insert(*attempt, (number, at, *deployment));
                let key = self.names.deployment_key(*deployment);
                let tier = self.names.deployment(*deployment).map(|(_, tier)| self.names.tier(tier));
                let tier = tier.unwrap_or_default();
                self.line(at, &format!("attempt {number} goes to {key} of {tier}: {}", reason(*why)));
            }
            Output::Relay { attempt, .. } => {
                let (number, _) = self.attempt(*attempt);
                self.line(at, &format!("the client sees {number} from here on; it cannot be retried any more"));
            }
            Output::Abandon { attempt } => {
                let (number, _) = self.attempt(*attempt);
                self.line(at, &format!("{number} is given up"));
            }
            Output::Close { verdict, .. } => self.close(at, verdict),
            Output::WakeAt(_) => {}
        }
    }

    fn close(&mut self, at: Timestamp, verdict: &Verdict) {
        let Verdict { outcome, status, retry_after, attempts, spend, causes, foreign } = verdict;
        let what = match outcome {
            Outcome::Answered => format!("answered with {status}"),
            Outcome::Deadline => format!("the deadline has come: the client is told {status}"),
            Outcome::Refused => format!("refused with {status}"),
            Outcome::Failed => format!("failed: the client is told {status}"),
            Outcome::Cut => "the answer broke off after the client had seen its beginning".to_owned(),
            Outcome::Cancelled => "closed, since nobody waits for it".to_owned(),
        };
        let count = match attempts {
            0 => "without an attempt".to_owned(),
            1 => "after 1 attempt".to_owned(),
            more => format!("after {more} attempts"),
        };
        let took = length(at.since(self.account.at));
        let mut text = format!("{what}, {took} after it was asked and {count}, for {spend}");
        if let Some(after) = retry_after {
            let _ = write!(text, "; a repeat makes sense in {}", length(*after));
        }
        self.line(at, &text);
        for TierCause { tier, usable, total, cause: why, until } in causes {
            let back = until.map(|until| format!(", first back at {}", self.calendar.until(until)));
            let back = back.unwrap_or_default();
            let tier = self.names.tier(*tier);
            self.below(&format!("{tier}: {usable} of {total} usable; {}{back}", cause(*why)));
        }
        if let Some(foreign) = foreign {
            let place = if foreign.error_in_stream { "as an error inside a 200 stream" } else { "as an error" };
            self.below(&format!("the client got it {place} of {} bytes", foreign.text_bytes));
        }
    }

    /// What was passed over, by tier and reason.
    fn skipped(&mut self, notes: &[Note]) {
        let mut groups: BTreeMap<(TierId, Cause), Vec<Skipped>> = BTreeMap::new();
        for note in notes {
            if let Note::Skipped { deployment, cause, count, until, .. } = note {
                let tier = self.names.deployment(*deployment).map_or(TierId::new(u16::MAX), |(_, tier)| tier);
                let skipped = Skipped { deployment: *deployment, count: *count, until: *until };
                let group = groups.entry((tier, *cause)).or_default();
                // A deployment that was looked at twice in one step counts as it stood at last.
                group.retain(|other| other.deployment != skipped.deployment);
                group.push(skipped);
            }
        }
        for ((tier, cause), group) in groups {
            if group.len() <= NAMED {
                for skipped in &group {
                    let key = self.names.deployment_key(skipped.deployment);
                    let text = format!("{key} skipped: {}", self.obstacle(cause, skipped.count, skipped.until));
                    self.below(&text);
                }
                continue;
            }
            let first = group.iter().filter(|skipped| skipped.until.is_some()).min_by_key(|skipped| skipped.until);
            let mut text = format!("{} of {} skipped: ", group.len(), self.names.tier(tier));
            let same = group.iter().all(|skipped| skipped.count == group[0].count);
            text.push_str(&self.obstacle(cause, group[0].count.filter(|_| same), None));
            if let Some(Skipped { deployment, until: Some(until), .. }) = first {
                let (key, until) = (self.names.deployment_key(*deployment), self.calendar.until(*until));
                let _ = write!(text, "; the first is back at {until} ({key})");
            }
            self.below(&text);
        }
    }

    /// `5/5 rpm until 05:21:14`.
    fn obstacle(&self, why: Cause, count: Option<(u32, u32)>, until: Option<Timestamp>) -> String {
        let mut text = match count {
            Some((used, limit)) => format!("{used}/{limit} {}", unit(why)),
            None => cause(why).to_owned(),
        };
        if let Some(until) = until {
            let _ = write!(text, " until {}", self.calendar.until(until));
        }
        text
    }

    /// What an attempt is called, and when it was begun.
    fn attempt(&self, attempt: AttemptId) -> (String, Timestamp) {
        self.attempts.get(&attempt).map_or_else(
            || ("an earlier attempt".to_owned(), self.account.at),
            |(number, since, deployment)| {
                (format!("attempt {number} ({})", self.names.deployment_key(*deployment)), *since)
            },
        )
    }

    fn line(&mut self, at: Timestamp, text: &str) {
        let time = self.calendar.time(at);
        let _ = writeln!(self.text, "{time}  {text}");
    }

    fn below(&mut self, text: &str) {
        let _ = writeln!(self.text, "                {text}");
    }
}

/// A deployment that was passed over.
struct Skipped {
    deployment: DeploymentId,
    count: Option<(u32, u32)>,
    until: Option<Timestamp>,
}

/// What a limit counts.
fn unit(cause: Cause) -> &'static str {
    match cause {
        Cause::RateMinute => "rpm",
        Cause::TokensMinute => "tpm",
        Cause::RateDay => "requests a day",
        Cause::None
        | Cause::RateUnknown
        | Cause::Overload
        | Cause::Server
        | Cause::Auth
        | Cause::Dead
        | Cause::NotFound
        | Cause::Request
        | Cause::StreamCut
        | Cause::Budget
        | Cause::ClientRate
        | Cause::ClientBudget
        | Cause::ClientModel
        | Cause::RetryBudget
        | Cause::Attempts
        | Cause::Operator
        | Cause::ContextWindow
        | Cause::ContentBlocked
        | Cause::Address
        | Cause::Deadline => "used",
    }
}

/// Why an attempt was made.
fn reason(why: Why) -> String {
    match why {
        Why::First => "at once".to_owned(),
        Why::Waited { waited } => format!("its turn came after {}", length(waited)),
        Why::Retry { before: 1 } => "again, after a failed attempt".to_owned(),
        Why::Retry { before } => format!("again, after {before} failed attempts"),
        Why::Spill { cause, failure_ppm, quota_ppm } => format!(
            "a dearer tier, because {}; {} of the cheaper one's attempts are expected to fail, its quota is worth {} of \
             this answer",
            spill(cause),
            percent(failure_ppm),
            percent(quota_ppm),
        ),
        Why::Probe { failure_ppm } => {
            format!("to see whether it works again; {} of such attempts are expected to fail", percent(failure_ppm))
        }
        Why::Panic { usable_ppm } => {
            format!("in spite of soft cooldowns, since only {} of the tier is usable", percent(usable_ppm))
        }
    }
}

/// How a call ended.
fn ended(ending: Ending) -> String {
    match ending {
        Ending::Status(status) => status.to_string(),
        Ending::Transport(transport) => match transport {
            Transport::Connect => "no connection",
            Transport::Reset => "the connection died before an answer",
            Transport::ReusedConnection => "a reused connection died before an answer",
            Transport::FirstByteTimeout => "no first byte in time",
            Transport::IdleTimeout => "nothing more came in time",
            Transport::TotalTimeout => "not complete in time",
            Transport::Cut => "the answer broke off",
            Transport::ErrorEvent => "an error inside the stream",
            Transport::Malformed => "an answer that makes no sense",
            Transport::Abandoned => "given up",
        }
        .to_owned(),
    }
}

/// What an answer said beside its status.
fn said(facts: &Facts) -> String {
    let mut text = String::new();
    if let Some(inner) = facts.inner_status {
        let _ = write!(text, " ({inner} inside)");
    }
    if let Some(reason) = facts.reason {
        let _ = write!(text, ", {}", given(reason));
    }
    let quotas = [
        ("requests per minute", facts.violations.requests_minute),
        ("requests per day", facts.violations.requests_day),
        ("tokens per minute", facts.violations.tokens_minute),
        ("tokens per day", facts.violations.tokens_day),
    ];
    for (name, violation) in quotas {
        match violation {
            Violation::None => {}
            Violation::Unvalued => {
                let _ = write!(text, ", names {name}");
            }
            Violation::Limit(limit) => {
                let _ = write!(text, ", names {name} with a limit of {limit}");
            }
        }
    }
    if let Some(after) = facts.retry_after {
        let _ = write!(text, ", asks to wait {}", length(after));
    }
    text
}

/// A reason that a body gives.
fn given(reason: Reason) -> &'static str {
    match reason {
        Reason::Overloaded => "the model is overloaded",
        Reason::KeyInvalid => "the key is not valid",
        Reason::KeySuspended => "the key is suspended",
        Reason::KeyLeaked => "the key was reported as leaked",
        Reason::NoFreeTier => "the project has no free tier for this model",
        Reason::ClosedToNewUsers => "the model is closed to new users",
        Reason::ServiceDisabled => "the service is disabled for the project",
        Reason::OutOfFunds => "the account has no money left",
        Reason::ModelNotFound => "there is no such model",
        Reason::LocationUnsupported => "the provider does not serve this location",
        Reason::AddressThrottled => "our address is throttled",
        Reason::ContextWindow => "the prompt is too long",
        Reason::ContentBlocked => "blocked by a safety rule",
        Reason::Credential => "the credential is of the wrong kind",
    }
}
