//! A log as JSON Lines: one document for each event, with names instead of indexes.
//!
//! Every line has `sequence`, `time` (wall clock, UTC), `at` (seconds since the epoch of the log) and `kind`; then what
//! the event is about (`request`, `turn`, `client`, `model`, `attempt`, `key`, `tier`, where known) and what it says.
//! Lengths end in `_s` and are seconds; moments are `at` and wall time again. Fields may be added.

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::boot::Boot;
use super::event::{Beginning, Checkpoint, Event, Gap, Opened, What};
use super::names::{Calendar, Names, cause, outcome};
use super::subject::Subject;
use crate::core::{
    Action, Arrived, Dispatch, Duration, Finished, Input, Output, Settings, Timestamp, Verdict, WallTime, Why,
};

/// Renders events.
#[derive(Clone, Debug)]
pub struct Export {
    calendar: Calendar,
}

impl Export {
    /// For a log with this epoch, with moments in UTC.
    pub fn new(epoch: WallTime) -> Self {
        Self::in_zone(epoch, TimeZone::UTC)
    }

    /// For a log with this epoch, with moments in this zone.
    pub(super) fn in_zone(epoch: WallTime, zone: TimeZone) -> Self {
        Self { calendar: Calendar::new(epoch, zone) }
    }

    /// One line, without its end.
    pub fn line(&self, event: &Event, subject: Subject, settings: &Settings) -> String {
        Value::Object(self.document(event, subject, settings)).to_string()
    }

    /// The same as a document.
    pub fn document(&self, event: &Event, subject: Subject, settings: &Settings) -> Map<String, Value> {
        let names = Names(settings);
        let mut line = Line(Map::new());
        line.put("sequence", event.sequence);
        line.put("time", self.calendar.date(event.at));
        line.put("at", event.at.as_secs_f64());
        line.put("kind", event.kind().name());
        line.maybe("request", subject.request.map(|request| request.get()));
        line.maybe("turn", subject.turn.map(|turn| turn.get()));
        line.maybe("client", subject.client.map(|client| names.client(client)));
        line.maybe("model", subject.model.map(|model| names.model(model)));
        line.maybe("attempt", subject.attempt.map(|attempt| attempt.get()));
        if let Some((key, tier)) = subject.deployment.and_then(|deployment| names.deployment(deployment)) {
            line.put("key", names.key(key));
            line.put("tier", names.tier(tier));
        }
        match &event.what {
            What::Input(input) => self.input(&mut line, event.at, input, names),
            What::Output(output) => self.output(&mut line, output, names),
            What::Opened(Opened { wall, router }) => {
                line.put("wall", self.wall(*wall));
                match router {
                    Beginning::New(_) => line.put("router", "new"),
                    Beginning::Carried(state_hash) => {
                        line.put("router", "rebuilt");
                        line.put("state_hash", format!("{state_hash:016x}"));
                    }
                }
            }
            What::Boot(Boot { id, at_risk }) => {
                line.put("boot", id.map(|id| id.to_string()));
                line.put("at_risk_ppm", at_risk.as_ppm());
            }
            What::Closed => {}
            What::Checkpoint(Checkpoint { state_hash, snapshot, in_flight }) => {
                line.put("state_hash", format!("{state_hash:016x}"));
                line.put("bytes", snapshot.len());
                line.put("requests_in_flight", in_flight.requests.len());
                line.put("attempts_in_flight", in_flight.attempts.len());
            }
            What::Gap(Gap { events, since }) => {
                line.put("events", *events);
                self.moment(&mut line, "since", *since);
            }
        }
        line.0
    }

    fn input(&self, line: &mut Line, now: Timestamp, input: &Input, names: Names<'_>) {
        match input {
            Input::Configured { settings } => {
                line.put("settings", serde_json::to_value(&**settings).unwrap_or_default())
            }
            Input::Clock { wall } => line.put("wall", self.wall(*wall)),
            Input::Arrived(Arrived { endpoint, stream, tokens, priority, deadline, .. }) => {
                line.put("endpoint", format!("{endpoint:?}").to_lowercase());
                line.put("stream", *stream);
                line.put("input_tokens", tokens.input.get());
                line.maybe("output_tokens_max", tokens.output_max.map(|tokens| tokens.get()));
                line.put("priority", format!("{priority:?}").to_lowercase());
                line.put("deadline_s", seconds(deadline.since(now)));
            }
            Input::Finished(Finished { ending, facts, usage, .. }) => {
                match ending {
                    crate::core::Ending::Status(status) => line.put("status", *status),
                    crate::core::Ending::Transport(transport) => line.put("transport", snake(transport)),
                }
                line.maybe("inner_status", facts.inner_status);
                line.maybe("reason", facts.reason.as_ref().map(snake));
                line.maybe("retry_after_s", facts.retry_after.map(seconds));
                if facts.violations.any() {
                    line.put("violations", serde_json::to_value(facts.violations).unwrap_or_default());
                }
                if let Some(usage) = usage {
                    line.put("input_tokens", usage.input.get());
                    line.put("cached_tokens", usage.cached.get());
                    line.put("output_tokens", usage.output.get());
                }
            }
            Input::Operator { action, author } => {
                line.put("author", author.as_ref());
                self.action(line, action, names);
            }
            Input::FirstByte { .. } | Input::Cancelled { .. } | Input::Woke => {}
        }
    }

    fn output(&self, line: &mut Line, output: &Output, names: Names<'_>) {
        match output {
            Output::Dispatch(Dispatch { timeouts, why, .. }) => {
                put_why(line, *why);
                line.put("first_byte_timeout_s", seconds(timeouts.first_byte));
                line.put("total_timeout_s", seconds(timeouts.total));
            }
            Output::Close { verdict, .. } => self.verdict(line, verdict, names),
            Output::WakeAt(Timestamp::MAX) => line.put("until", Value::Null),
            Output::WakeAt(at) => self.moment(line, "until", *at),
            Output::Relay { .. } | Output::Abandon { .. } => {}
        }
    }

    fn verdict(&self, line: &mut Line, verdict: &Verdict, names: Names<'_>) {
        let Verdict { outcome: what, status, retry_after, attempts, spend, causes, foreign } = verdict;
        line.put("outcome", outcome(*what));
        line.put("status", *status);
        line.maybe("retry_after_s", retry_after.map(seconds));
        line.put("attempts", *attempts);
        line.put("spend_usd", spend.as_f64());
        if !causes.is_empty() {
            let each = causes.iter().map(|each| {
                let mut tier = Line(Map::new());
                tier.put("tier", names.tier(each.tier));
                tier.put("usable", each.usable);
                tier.put("total", each.total);
                tier.put("cause", snake(&each.cause));
                tier.put("means", cause(each.cause));
                tier.maybe("until", each.until.map(|until| self.calendar.date(until)));
                Value::Object(tier.0)
            });
            line.put("causes", each.collect::<Vec<_>>());
        }
        if let Some(foreign) = foreign {
            line.put("error_in_stream", foreign.error_in_stream);
            line.put("text_bytes", foreign.text_bytes);
        }
    }

    fn action(&self, line: &mut Line, action: &Action, names: Names<'_>) {
        let (name, on, until) = match *action {
            Action::ClearCooldown { scope } => ("clear_cooldown", names.scope(scope), None),
            Action::DrainKey { key, until } => ("drain_key", names.key(key), Some(until)),
            Action::RetireKey { key } => ("retire_key", names.key(key), None),
            Action::RestoreKey { key } => ("restore_key", names.key(key), None),
            Action::SetUsed { project, upstream, requests } => {
                line.put("requests", requests);
                ("set_used", format!("{} on {}", names.project(project), names.upstream(upstream)), None)
            }
            Action::SkipTier { tier, until } => ("skip_tier", names.tier(tier), Some(until)),
            Action::PinTier { tier, until } => ("pin_tier", names.tier(tier), Some(until)),
            Action::FreeTier { tier } => ("free_tier", names.tier(tier), None),
            Action::StopPaid { until } => ("stop_paid", "all paid tiers".to_owned(), Some(until)),
            Action::SetBudget { tier, budget } => {
                line.put("budget_usd", budget.as_f64());
                ("set_budget", names.tier(tier), None)
            }
            Action::SetClientBudget { client, budget } => {
                line.put("budget_usd", budget.as_f64());
                ("set_client_budget", names.client(client), None)
            }
            Action::PowerLost { at_risk, since } => {
                line.put("at_risk_ppm", at_risk.as_ppm());
                self.moment(line, "since", since);
                ("power_lost", "every limit".to_owned(), None)
            }
            Action::ForgetLimits { project, upstream } => {
                ("forget_limits", format!("{} on {}", names.project(project), names.upstream(upstream)), None)
            }
        };
        line.put("action", name);
        line.put("on", on);
        if let Some(until) = until {
            self.moment(line, "until", until);
        }
    }

    /// A moment by both clocks; "until told otherwise" is null.
    fn moment(&self, line: &mut Line, name: &str, at: Timestamp) {
        if at == Timestamp::MAX {
            line.put(name, Value::Null);
        } else {
            line.put(name, self.calendar.date(at));
            line.put(&format!("{name}_at"), at.as_secs_f64());
        }
    }

    fn wall(&self, wall: WallTime) -> String {
        Calendar::new(wall, TimeZone::UTC).date(Timestamp::ZERO)
    }
}

/// A line under way.
struct Line(Map<String, Value>);

impl Line {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn maybe(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }
}

fn put_why(line: &mut Line, why: Why) {
    match why {
        Why::First => line.put("why", "first"),
        Why::Waited { waited } => {
            line.put("why", "waited");
            line.put("waited_s", seconds(waited));
        }
        Why::Retry { before } => {
            line.put("why", "retry");
            line.put("before", before);
        }
        Why::Spill { cause, failure_ppm, quota_ppm } => {
            line.put("why", "spill");
            line.put("cause", snake(&cause));
            line.put("failure_ppm", failure_ppm);
            line.put("quota_ppm", quota_ppm);
        }
        Why::Probe { failure_ppm } => {
            line.put("why", "probe");
            line.put("failure_ppm", failure_ppm);
        }
        Why::Panic { usable_ppm } => {
            line.put("why", "panic");
            line.put("usable_ppm", usable_ppm);
        }
    }
}

fn seconds(duration: Duration) -> Value {
    if duration == Duration::MAX { Value::Null } else { json!(duration.as_secs_f64()) }
}

/// The name of a variant without fields as JSON spells names: `FirstByteTimeout` is `first_byte_timeout`.
fn snake(variant: &impl std::fmt::Debug) -> String {
    let mut name = String::new();
    for letter in format!("{variant:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}
