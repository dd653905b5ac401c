//! An account in plain English: one line for each thing that happened to the request, with the reasons below it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::explain::{Account, PowerLost, Since, Step, Telling, Told};
use super::names::{Calendar, Names, cause, length, percent, spill};
use crate::config::Zone;
use crate::core::{
    AttemptId, Cause, DeploymentId, Dispatch, Duration, Ending, Facts, Finished, Input, Note, Outcome, Output,
    PowerLoss, Provenance, ProviderId, Reason, Scope, Tier, TierCause, TierId, Timestamp, Transport, Usd, Verdict,
    Violation, Why,
};

/// Keys passed over for one reason that are named one by one.
const NAMED: usize = 3;

impl Account {
    /// What became of the request, and when.
    pub fn verdict(&self) -> Option<(Timestamp, &Verdict)> {
        let decisions = self.steps.iter().flat_map(|step| step.decisions.iter().map(|decision| (step.at, decision)));
        decisions.rev().find_map(|(at, decision)| match decision {
            Output::Close { verdict, .. } => Some((at, verdict)),
            Output::Dispatch(_) | Output::Relay { .. } | Output::Abandon { .. } | Output::WakeAt(_) => None,
        })
    }

    /// The story, with times in this zone.
    pub fn story(&self, zone: &Zone) -> String {
        let mut teller = Teller {
            account: self,
            names: Names(&self.settings),
            calendar: Calendar::new(self.epoch, zone.time_zone()),
            attempts: BTreeMap::new(),
            text: String::new(),
        };
        teller.tell(zone);
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
    fn tell(&mut self, zone: &Zone) {
        let Account { request, at, arrived, telling, .. } = self.account;
        let client = self.names.client(arrived.client);
        let model = self.names.model(arrived.model);
        let stream = if arrived.stream { ", as a stream" } else { "" };
        let (day, left) = (self.calendar.day(*at), length(arrived.deadline.since(*at)));
        self.heading(&format!(
            "Request {request} of turn {}: {client} asked for {model}{stream}, with about {} input tokens and {left} to its \
             deadline.",
            arrived.turn, arrived.tokens.input,
        ));
        match self.account.verdict() {
            Some((closed, verdict)) => self.heading(&format!("In the end: {}.", self.outcome(closed, verdict))),
            None => self.heading("It has no outcome on record."),
        }
        if let Telling::Codes { because } = telling {
            let line = format!("Only the recorded codes are told, and not what was passed over: {because}.");
            self.heading(&line);
        }
        if let Some(PowerLost { since, at, at_risk }) = self.account.power_lost {
            let (since, at, share) = (self.calendar.time(since), self.calendar.time(at), percent(at_risk.as_ppm()));
            self.heading(&format!(
                "The power had failed after {since} of this quota day: since {at} {share} of every limit counts as used."
            ));
        }
        self.heading(&format!("Times are those of {day}, {zone}."));
        self.heading("");
        let account = self.account;
        for step in &account.steps {
            self.step(step);
        }
    }

    fn step(&mut self, step: &Step) {
        if step.is_own {
            self.input(step.at, &step.input);
        }
        // What an end means stands before what follows from it.
        let (means, follows): (Vec<&Note>, Vec<&Note>) =
            (step.notes.iter().map(|told| &told.note)).partition(|note| matches!(note, Note::Classified { .. }));
        for note in means.into_iter().chain(follows) {
            self.note(step.at, note);
        }
        // What is in the way of everything is why a request is turned away; beside an attempt it is a detail.
        let closes = step.decisions.iter().any(|decision| matches!(decision, Output::Close { .. }));
        if closes {
            self.skipped(&step.notes);
        }
        for decision in &step.decisions {
            self.decision(step, decision);
        }
        if !closes {
            self.skipped(&step.notes);
        }
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
            // What was passed over comes last; that a tier was left is said by the attempt at the next one.
            Note::Classified { class: Cause::None, .. } | Note::Skipped { .. } | Note::Spilled { .. } => {}
            Note::Classified { class, scope, .. } => {
                let against = scope.map(|scope| format!(", held against {}", self.blamed(scope)));
                self.below(&format!("taken as: {}{}", cause(*class), against.unwrap_or_default()));
            }
            Note::Cooled { scope, cause: why, until, provenance } => {
                let says = match provenance {
                    Provenance::Authoritative => "the provider's word",
                    Provenance::Inferred => "the router's own rule",
                    Provenance::Operator => "an operator's word",
                };
                let scope = self.names.scope(*scope);
                let text = if *until == Timestamp::MAX {
                    format!("{scope} is retired: {} ({says})", cause(*why))
                } else {
                    let (end, time) = (self.calendar.until(*until), length(until.since(at)));
                    format!("{scope} is not used until {end}, for {time}: {} ({says})", cause(*why))
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
                // Healthy is also what has not failed twice in the last minute, whatever the estimate still remembers.
                let state = if *degraded { "is degraded from here on" } else { "is not taken to be degraded any more" };
                let (upstream, failure) = (self.names.upstream(*upstream), percent(*failure_ppm));
                self.line(at, &format!("{upstream} {state}; {failure} of its attempts are expected to fail"));
            }
            Note::PowerLost { loss } => {
                let PowerLoss { requests_each, money, since, .. } = *loss;
                let (since, each) = (self.calendar.time(since), times(requests_each));
                let text = format!("the power had failed after {since}; {each} and {money} count as used unseen");
                self.line(at, &text);
            }
            Note::Waits { tier, until, latest_start, cause: why, .. } => {
                let (tier, until) = (self.names.tier(*tier), self.calendar.time(*until));
                let latest = self.calendar.time(*latest_start);
                let why = cause(*why);
                self.line(
                    at,
                    &format!("waits for {tier} ({why}) until {until}; a start after {latest} would come too late"),
                );
            }
            Note::BackedOff { until, delay, .. } => {
                let (until, delay) = (self.calendar.time(*until), length(*delay));
                self.below(&format!("the same model is not asked again before {until}, {delay} later"));
            }
        }
    }

    fn decision(&mut self, step: &Step, decision: &Output) {
        let at = step.at;
        match decision {
            Output::Dispatch(Dispatch { attempt, deployment, why, .. }) => {
                let number = self.attempts.len() + 1;
                self.attempts.insert(*attempt, (number, at, *deployment));
                let key = self.names.deployment_key(*deployment);
                let tier = self.names.deployment(*deployment).map(|(_, tier)| self.names.tier(tier));
                let tier = tier.unwrap_or_default();
                let spilled = |told: &Told| if let Note::Spilled { from, .. } = told.note { Some(from) } else { None };
                let left = step.notes.iter().rev().find_map(spilled).map(|from| self.names.tier(from));
                let from = left.as_deref().unwrap_or("the tier before");
                self.line(at, &format!("attempt {number} goes to {key} of {tier}, {}", reason(*why, from)));
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
        let text = self.outcome(at, verdict);
        self.line(at, &text);
        for TierCause { tier, usable, total, cause: why, until } in &verdict.causes {
            let back = until.map(|until| format!(", first back at {}", self.calendar.until(until)));
            let back = back.unwrap_or_default();
            let tier = self.names.tier(*tier);
            self.below(&format!("{tier}: {usable} of {total} usable; {}{back}", cause(*why)));
        }
        match verdict.foreign {
            Some(foreign) if !foreign.error_in_stream => {
                self.below(&format!("the client got an error text of {} bytes", foreign.text_bytes));
            }
            Some(_) | None => {}
        }
        match verdict.outcome {
            Outcome::Refused | Outcome::Deadline | Outcome::Failed => self.untouched(verdict),
            Outcome::Answered | Outcome::Cut | Outcome::Cancelled => {}
        }
    }

    /// What became of the request, as half a sentence.
    fn outcome(&self, at: Timestamp, verdict: &Verdict) -> String {
        let Verdict { outcome, status, retry_after, attempts, spend, foreign, causes: _ } = verdict;
        let what = match outcome {
            Outcome::Answered => format!("answered with {status}"),
            Outcome::Deadline => format!("the deadline came first, and the client was told {status}"),
            Outcome::Refused => format!("refused with {status}"),
            Outcome::Failed => match foreign.filter(|foreign| foreign.error_in_stream) {
                Some(error) => {
                    format!(
                        "failed: the client got {status} and inside the stream an error of {} bytes",
                        error.text_bytes
                    )
                }
                None => format!("failed, and the client was told {status}"),
            },
            Outcome::Cut => "the answer broke off after the client had seen its beginning".to_owned(),
            Outcome::Cancelled => "closed, since nobody waited for it any more".to_owned(),
        };
        let count = match attempts {
            0 => "without an attempt".to_owned(),
            1 => "after 1 attempt".to_owned(),
            more => format!("after {more} attempts"),
        };
        let took = match at.since(self.account.at) {
            Duration::ZERO => "at once".to_owned(),
            took => format!("{} after it was asked", length(took)),
        };
        let mut text = format!("{what}, {took}, {count}");
        if *spend != Usd::ZERO {
            let _ = write!(text, ", for {spend}");
        }
        if let Some(after) = retry_after {
            let _ = write!(text, "; a repeat makes sense in {}", length(*after));
        }
        text
    }

    /// Tiers of the same providers to which no attempt went and which the verdict does not speak of: what another
    /// configuration would have had to offer.
    fn untouched(&mut self, verdict: &Verdict) {
        let settings = &self.account.settings;
        let tier = |deployment: DeploymentId| settings.deployments.get(deployment.index()).map(|found| found.tier);
        let asked: BTreeSet<TierId> = (self.attempts.values().filter_map(|(_, _, deployment)| tier(*deployment)))
            .chain(verdict.causes.iter().map(|cause| cause.tier))
            .collect();
        let provider = |tier: &Tier| settings.upstreams.get(tier.upstream.index()).map(|upstream| upstream.provider);
        let providers: BTreeSet<ProviderId> =
            asked.iter().filter_map(|tier| provider(settings.tiers.get(tier.index())?)).collect();
        let mut others = Vec::new();
        for (index, tier) in settings.tiers.iter().enumerate() {
            let keys = settings.deployments.iter().filter(|deployment| deployment.tier.index() == index).count();
            let is_asked = asked.iter().any(|asked| asked.index() == index);
            if !is_asked && keys > 0 && provider(tier).is_some_and(|provider| providers.contains(&provider)) {
                others.push(format!("{} with {keys} {}", tier.name, if keys == 1 { "key" } else { "keys" }));
            }
        }
        if !others.is_empty() {
            self.below(&format!("not asked: {}", others.join(", ")));
        }
    }

    /// What was passed over, by tier and reason.
    fn skipped(&mut self, notes: &[Told]) {
        let mut groups: BTreeMap<(TierId, Cause), Vec<Skipped>> = BTreeMap::new();
        for Told { note, since } in notes {
            if let Note::Skipped { deployment, cause, count, until, .. } = note {
                let tier = self.names.deployment(*deployment).map_or(TierId::new(u16::MAX), |(_, tier)| tier);
                let skipped = Skipped { deployment: *deployment, count: *count, until: *until, since: *since };
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
                    let obstacle = self.obstacle(cause, skipped.count, skipped.until);
                    let since = skipped.since.map(|since| self.begun(since)).unwrap_or_default();
                    self.below(&format!("{key} skipped: {obstacle}{since}"));
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

    /// How a cooldown began: `, since request 2 failed there at 05:20:57.644`.
    fn begun(&self, since: Since) -> String {
        let at = self.calendar.time(since.at);
        match since.request {
            Some(request) if request == self.account.request => format!(", since {at}"),
            Some(request) => format!(", since request {request} failed there at {at}"),
            None => format!(", since {at}"),
        }
    }

    /// What a failure is held against, and how far that reaches.
    fn blamed(&self, scope: Scope) -> String {
        let name = self.names.scope(scope);
        match scope {
            Scope::Key(_) => format!("the key {name}"),
            Scope::ProjectModel(_, _) => name,
            Scope::Upstream(_) => format!("the model {name}, not its key"),
            Scope::Provider(_) => format!("the provider {name}, not its keys"),
        }
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

    fn heading(&mut self, text: &str) {
        let _ = writeln!(self.text, "{text}");
    }

    fn line(&mut self, at: Timestamp, text: &str) {
        let time = self.calendar.time(at);
        let _ = writeln!(self.text, "{time}  {text}");
    }

    fn below(&mut self, text: &str) {
        let _ = writeln!(self.text, "                {text}");
    }
}

/// `up to 3 requests of each key`.
fn times(requests: u32) -> String {
    format!("up to {requests} {} of each key", if requests == 1 { "request" } else { "requests" })
}

/// A deployment that was passed over.
struct Skipped {
    deployment: DeploymentId,
    count: Option<(u32, u32)>,
    until: Option<Timestamp>,
    since: Option<Since>,
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

/// Why an attempt was made; `from` is the tier that was left for it.
fn reason(why: Why, from: &str) -> String {
    match why {
        Why::First => "at once".to_owned(),
        Why::Waited { waited } => format!("whose turn came after {}", length(waited)),
        Why::Retry { before: 1 } => "after 1 failed attempt".to_owned(),
        Why::Retry { before } => format!("after {before} failed attempts"),
        Why::Spill { cause, failure_ppm, quota_ppm } => {
            let mut text = format!("because {}", spill(cause, from));
            if failure_ppm > 0 {
                let _ = write!(text, ": {} of attempts there are expected to fail", percent(failure_ppm));
            }
            if quota_ppm > 0 {
                let _ = write!(text, ", and one of its requests is worth {} of an answer here", percent(quota_ppm));
            }
            text
        }
        Why::Probe { failure_ppm } => format!("as a probe: {} of such are expected to fail", percent(failure_ppm)),
        Why::Panic { usable_ppm } => {
            format!("in spite of its cooldown: only {} of the tier is usable", percent(usable_ppm))
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
