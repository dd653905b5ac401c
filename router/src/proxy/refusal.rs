//! Why a request was not answered, as a sentence: "free-pro: 0 of 21 usable, day quota until 07:00:00Z; paid-pro:
//! budget 50.00 USD spent; 4 attempts".

use std::fmt::Write;

use super::clock::Clock;
use crate::core::{Cause, Duration, Outcome, Settings, TierCause, Timestamp, Verdict, WallTime};
use crate::wire::ClientError;

/// What old OpenAI libraries wait at most before they go their own way.
const LIBRARY_PATIENCE: Duration = Duration::from_secs(60);

/// What a verdict without an answer says to its client.
pub(super) fn error(verdict: &Verdict, settings: &Settings, clock: &Clock) -> ClientError {
    let (code, headline) = headline(verdict);
    let mut message = String::from(headline);
    let (now, wall) = (clock.now(), clock.wall());
    for (index, cause) in verdict.causes.iter().enumerate() {
        message.push_str(if index == 0 { ": " } else { "; " });
        describe(&mut message, cause, settings, now, wall);
    }
    message.push_str(if verdict.causes.is_empty() { ": " } else { "; " });
    let plural = if verdict.attempts == 1 { "" } else { "s" };
    // Writing into a string cannot fail.
    let _ = write!(message, "{} attempt{plural}", verdict.attempts);
    ClientError {
        code: Some(code),
        retry_after: verdict.retry_after,
        should_retry: should_retry(verdict),
        // A client that has gone gets nothing; its log may show nginx's status for that.
        ..ClientError::new(if verdict.status == 0 { 499 } else { verdict.status }, message)
    }
}

fn headline(verdict: &Verdict) -> (&'static str, &'static str) {
    match (verdict.outcome, verdict.status) {
        (Outcome::Deadline, _) => ("deadline_exceeded", "The deadline came before an answer"),
        (Outcome::Refused, 429) if verdict.causes.is_empty() => {
            ("rate_limit_exceeded", "Your own requests or tokens per minute are used up")
        }
        (Outcome::Refused, 429) => ("rate_limit_exceeded", "Your own limit is used up"),
        (Outcome::Refused, 403) => ("model_not_allowed", "This key may not ask for this model"),
        (Outcome::Refused, _) => ("no_capacity", "No start before the deadline is possible"),
        (Outcome::Failed, 404) => ("model_not_found", "No provider serves this model"),
        (Outcome::Failed, 400) => ("context_length_exceeded", "The request fits none of the model's tiers"),
        (Outcome::Failed, _) => ("upstream_failed", "Every attempt failed"),
        (Outcome::Cut, _) => ("stream_cut", "The answer broke off"),
        (Outcome::Cancelled, _) => ("cancelled", "The client went away"),
        (Outcome::Answered, _) => ("internal_error", "The answer was lost on its way"),
    }
}

/// What a library is told to do by itself. `None` leaves it to its own rules, which obey the time that it is given.
fn should_retry(verdict: &Verdict) -> Option<bool> {
    match (verdict.outcome, verdict.retry_after) {
        // The client's time is over: its library would only make it three times as much.
        (Outcome::Deadline, _) | (_, None) => Some(false),
        (_, Some(wait)) => (wait > LIBRARY_PATIENCE).then_some(false),
    }
}

fn describe(text: &mut String, cause: &TierCause, settings: &Settings, now: Timestamp, wall: WallTime) {
    let tier = settings.tiers.get(cause.tier.index());
    let name = tier.map_or("?", |tier| tier.name.as_str());
    let budget = tier.and_then(|tier| tier.budget);
    let _ = match (cause.cause, budget) {
        (Cause::Budget, Some(budget)) => write!(text, "{name}: budget {budget} spent"),
        (Cause::None, _) => write!(text, "{name}: {} of {} usable", cause.usable, cause.total),
        (why, _) => write!(text, "{name}: {} of {} usable, {}", cause.usable, cause.total, words(why)),
    };
    if let Some(until) = cause.until.filter(|until| *until > now && *until < Timestamp::MAX) {
        let _ = write!(text, " until {}", moment(wall + until.since(now), wall));
    }
}

/// A cause in a few words.
pub(super) fn words(cause: Cause) -> &'static str {
    match cause {
        Cause::None => "nothing is wrong",
        Cause::RateMinute => "requests per minute",
        Cause::TokensMinute => "tokens per minute",
        Cause::RateDay => "day quota",
        Cause::RateUnknown => "rate limited",
        Cause::Overload => "model overloaded",
        Cause::Server => "server failures",
        Cause::Auth => "credential refused",
        Cause::Dead => "keys retired",
        Cause::NotFound => "model not found",
        Cause::Request => "the request itself",
        Cause::StreamCut => "answers broke off",
        Cause::Budget => "budget spent",
        Cause::ClientRate => "your rate",
        Cause::ClientBudget => "your budget",
        Cause::ClientModel => "not one of your models",
        Cause::RetryBudget => "retry budget",
        Cause::Attempts => "attempts used up",
        Cause::Operator => "stopped by an operator",
        Cause::ContextWindow => "prompt too long",
        Cause::ContentBlocked => "blocked by a safety rule",
        Cause::Address => "our address is throttled",
        Cause::Deadline => "no start in time",
    }
}

/// A moment in UTC: the time of day alone when it is less than a day away.
pub(super) fn moment(at: WallTime, now: WallTime) -> String {
    let near = at.since(now) < Duration::from_secs(86_400);
    // Resets are known to within the drift of two clocks: the nearest second is meant.
    let nanos = i128::from(at.as_nanos()) + 500_000_000;
    match jiff::Timestamp::from_nanosecond(nanos) {
        Ok(at) => at.strftime(if near { "%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%SZ" }).to_string(),
        Err(_out_of_range) => "the end of time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::core::{Limits, Price, Tier, TierId, Timeouts, UpstreamId, Usd};

    fn tier(name: &str, budget: Option<Usd>) -> Tier {
        Tier {
            name: name.into(),
            upstream: UpstreamId::new(0),
            limits: Limits::default(),
            price: Price::default(),
            budget,
            input_max: None,
            output_max: None,
            timeouts: Timeouts::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_names_every_tier() {
        let tiers = vec![tier("free-pro", None), tier("paid-pro", Some(Usd::from_micros(50_000_000)))];
        let settings = Settings { tiers, ..Settings::default() };
        let clock = Clock::start(WallTime::from_nanos(0), Timestamp::ZERO, NonZeroU32::MIN);
        let seven = clock.now() + Duration::from_secs(3 * 3600);
        let causes = Box::new([
            TierCause { tier: TierId::new(0), usable: 0, total: 21, cause: Cause::RateDay, until: Some(seven) },
            TierCause { tier: TierId::new(1), usable: 2, total: 2, cause: Cause::Budget, until: None },
        ]);
        let verdict = Verdict {
            causes,
            attempts: 4,
            retry_after: Some(Duration::from_secs(3 * 3600)),
            ..Verdict::new(Outcome::Refused, 503)
        };
        let error = error(&verdict, &settings, &clock);
        let (head, rest) = error.message.split_once(" until ").expect("a time");
        assert_eq!(head, "No start before the deadline is possible: free-pro: 0 of 21 usable, day quota");
        assert_eq!(&rest[8..], "Z; paid-pro: budget 50.00 USD spent; 4 attempts");
        assert_eq!(error.retry_after, Some(Duration::from_secs(3 * 3600)), "true and uncapped");
        assert_eq!(error.should_retry, Some(false), "longer than any library waits");
        let soon = Verdict { retry_after: Some(Duration::from_secs(5)), ..verdict };
        assert_eq!(should_retry(&soon), None);
    }

    #[test]
    fn a_far_moment_has_its_date() {
        let now = WallTime::from_nanos(1_745_040_057_000_000_000);
        assert_eq!(moment(now + Duration::from_secs(60), now), "05:21:57Z");
        assert_eq!(moment(now + Duration::from_secs(86_400), now), "2025-04-20T05:20:57Z");
    }
}
