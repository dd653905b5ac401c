//! Which quotas a 429 names.
//!
//! Google names a quota by `quotaId` and `quotaMetric`, and from mid 2025 on with its `quotaValue`; the spelling of
//! the ids changes with tier and year, so they are read by the words in them and never compared as a whole. A body
//! names a *set*: day and minute quotas come together. OpenAI and Groq name one quota in the sentence, Mistral in
//! headers.

use serde_json::{Map, Value};

use super::envelope::{Envelope, objects};
use super::errors::Headers;
use crate::core::{Violation, Violations};

/// One of the four quotas that decisions know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quota {
    /// Requests per minute.
    RequestsMinute,
    /// Requests per day.
    RequestsDay,
    /// Input tokens per minute.
    TokensMinute,
    /// Input tokens per day.
    TokensDay,
}

impl Quota {
    /// All four, in the order in which we render them.
    pub(super) const ALL: [Self; 4] = [Self::RequestsMinute, Self::RequestsDay, Self::TokensMinute, Self::TokensDay];

    /// Reads `GenerateRequestsPerDayPerProjectPerModel-FreeTier`, `generate_requests_per_model_per_day`, "Requests per
    /// minute", whatever the spelling.
    fn of_name(name: &str) -> Option<Self> {
        let letters: String = name.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase()).collect();
        let day = letters.contains("perday") || letters.contains("daily");
        let minute = letters.contains("permin");
        match (letters.contains("token"), day, minute) {
            (false, true, _) => Some(Self::RequestsDay),
            (false, false, true) => Some(Self::RequestsMinute),
            (true, true, _) => Some(Self::TokensDay),
            (true, false, true) => Some(Self::TokensMinute),
            (_, false, false) => None,
        }
    }

    /// What `violations` says about this quota.
    pub(super) fn of(self, violations: &Violations) -> Violation {
        match self {
            Self::RequestsMinute => violations.requests_minute,
            Self::RequestsDay => violations.requests_day,
            Self::TokensMinute => violations.tokens_minute,
            Self::TokensDay => violations.tokens_day,
        }
    }

    pub(super) fn of_mut(self, violations: &mut Violations) -> &mut Violation {
        match self {
            Self::RequestsMinute => &mut violations.requests_minute,
            Self::RequestsDay => &mut violations.requests_day,
            Self::TokensMinute => &mut violations.tokens_minute,
            Self::TokensDay => &mut violations.tokens_day,
        }
    }

    /// Adds one mention. Named twice, the tighter limit counts.
    fn note(self, violations: &mut Violations, limit: Option<u32>) {
        let slot = self.of_mut(violations);
        *slot = match (*slot, limit) {
            (Violation::Limit(known), Some(limit)) => Violation::Limit(known.min(limit)),
            (Violation::Limit(known), None) => Violation::Limit(known),
            (Violation::None | Violation::Unvalued, Some(limit)) => Violation::Limit(limit),
            (Violation::None | Violation::Unvalued, None) => Violation::Unvalued,
        };
    }
}

/// What a 429 says about quotas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The quotas named.
    pub(super) violations: Violations,
    /// A limit of zero was mentioned: this project has no such quota.
    pub(super) zero: bool,
}

/// Reads everything that a 429 says about quotas.
pub(super) fn said(envelope: Option<Envelope<'_>>, message: &str, headers: &impl Headers) -> Said {
    let mut violations = Violations::default();
    let lines = Lines::read(message);
    if let Some(envelope) = envelope {
        from_details(envelope, &lines, &mut violations);
    }
    if !violations.any() {
        from_sentence(message, &mut violations);
    }
    if !violations.any() {
        from_headers(headers, &mut violations);
    }
    let zero = Quota::ALL.iter().any(|quota| quota.of(&violations) == Violation::Limit(0));
    Said { violations, zero: zero || lines.0.iter().any(|(_, limit)| *limit == Some(0)) }
}

fn from_details(envelope: Envelope<'_>, lines: &Lines<'_>, violations: &mut Violations) {
    let text = |object: &Map<String, Value>, name: &str| {
        object.get(name).and_then(Value::as_str).map(str::to_owned).unwrap_or_default()
    };
    let mut seen: Vec<String> = Vec::new();
    for violation in envelope.details("google.rpc.QuotaFailure").flat_map(|detail| objects(detail, "violations")) {
        let metric = text(violation, "quotaMetric");
        let names =
            [text(violation, "quotaId"), metric.clone(), text(violation, "description"), text(violation, "subject")];
        let nth = seen.iter().filter(|earlier| **earlier == metric).count();
        let limit = violation.get("quotaValue").and_then(limit).or_else(|| lines.limit(&metric, nth));
        seen.push(metric);
        if let Some(quota) = names.iter().find_map(|name| Quota::of_name(name)) {
            quota.note(violations, limit);
        }
    }
    // Before 2025 the same facts stood in ErrorInfo's metadata.
    for metadata in envelope.details("google.rpc.ErrorInfo").filter_map(|info| info.get("metadata")?.as_object()) {
        if let Some(quota) = Quota::of_name(&text(metadata, "quota_limit")) {
            quota.note(violations, metadata.get("quota_limit_value").and_then(limit));
        }
    }
}

/// `quotaValue` is a number in a string; -1 means unlimited and says nothing.
fn limit(value: &Value) -> Option<u32> {
    let number = match value {
        Value::String(digits) => digits.parse::<u64>().ok()?,
        Value::Number(number) => number.as_u64()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    Some(u32::try_from(number).unwrap_or(u32::MAX))
}

/// The lines "* Quota exceeded for metric: M, limit: N, model: X", one for each violation, in their order. They carry
/// the limit even where `quotaValue` is left out, which it is when the limit is zero.
struct Lines<'m>(Vec<(&'m str, Option<u32>)>);

impl<'m> Lines<'m> {
    const LEAD: &'static str = "Quota exceeded for metric: ";

    fn read(message: &'m str) -> Self {
        let line = |text: &'m str| {
            let (metric, rest) = text.split_once(',')?;
            let figure = rest.trim_start().strip_prefix("limit: ").unwrap_or_default();
            let digits = figure.find(|c: char| !c.is_ascii_digit()).unwrap_or(figure.len());
            Some((last_segment(metric.trim()), figure[..digits].parse().ok()))
        };
        Self(message.split(Self::LEAD).skip(1).take(32).filter_map(line).collect())
    }

    /// The limit in the `nth` line about this metric.
    fn limit(&self, metric: &str, nth: usize) -> Option<u32> {
        let metric = last_segment(metric);
        self.0.iter().filter(|(name, _)| *name == metric).nth(nth).and_then(|(_, limit)| *limit)
    }
}

fn last_segment(metric: &str) -> &str {
    metric.rsplit('/').next().unwrap_or(metric)
}

/// "Quota exceeded for aiplatform.googleapis.com/generate_content_requests_per_minute_per_project_per_base_model with
/// base model: …" (Vertex), "Rate limit reached for M … on tokens per min (TPM): Limit 30000, Used …" (OpenAI, Groq).
fn from_sentence(message: &str, violations: &mut Violations) {
    if let Some((_, rest)) = message.split_once("Quota exceeded for ") {
        let name = rest.split_whitespace().next().unwrap_or_default();
        if let Some(quota) = Quota::of_name(name) {
            quota.note(violations, None);
        }
    }
    for (mark, quota) in [
        ("(RPM)", Quota::RequestsMinute),
        ("(RPD)", Quota::RequestsDay),
        ("(TPM)", Quota::TokensMinute),
        ("(TPD)", Quota::TokensDay),
    ] {
        let Some((_, rest)) = message.split_once(mark) else { continue };
        let figure = rest.trim_start_matches([':', ' ']).strip_prefix("Limit ").unwrap_or_default();
        let digits = figure.find(|c: char| !c.is_ascii_digit()).unwrap_or(figure.len());
        quota.note(violations, figure[..digits].parse().ok());
    }
}

/// Mistral's `x-ratelimit-{limit,remaining}-{req,tokens}-minute`: the one with nothing left is the one violated.
fn from_headers(headers: &impl Headers, violations: &mut Violations) {
    for (quota, remaining, limit) in [
        (Quota::RequestsMinute, "x-ratelimit-remaining-req-minute", "x-ratelimit-limit-req-minute"),
        (Quota::TokensMinute, "x-ratelimit-remaining-tokens-minute", "x-ratelimit-limit-tokens-minute"),
    ] {
        if headers.value(remaining).is_some_and(|left| left.trim() == "0") {
            quota.note(violations, headers.value(limit).and_then(|limit| limit.trim().parse().ok()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_spelling_is_recognised() {
        let cases = [
            ("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", Some(Quota::RequestsMinute)),
            ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", Some(Quota::RequestsDay)),
            ("GenerateRequestsPerDayPerProjectPerModel", Some(Quota::RequestsDay)),
            ("generate_requests_per_model_per_day", Some(Quota::RequestsDay)),
            ("GenerateContentInputTokensPerModelPerMinute-FreeTier", Some(Quota::TokensMinute)),
            ("GenerateContentInputTokensPerModelPerDay-FreeTier", Some(Quota::TokensDay)),
            ("GenerateContentPaidTierInputTokensPerModelPerMinute-PaidTier2", Some(Quota::TokensMinute)),
            ("EmbedContentRequestsPerMinutePerUserPerProjectPerModel-FreeTier", Some(Quota::RequestsMinute)),
            ("EmbedContentRequestsPerDayPerUserPerProjectPerModel-FreeTier", Some(Quota::RequestsDay)),
            ("generate_content_requests_per_minute_per_project_per_base_model", Some(Quota::RequestsMinute)),
            ("Gemini 2.5 Pro Requests per day per user per tier", Some(Quota::RequestsDay)),
            ("DailyLimitPerUser", Some(Quota::RequestsDay)),
            ("generate_content_free_tier_requests", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(Quota::of_name(name), expected, "{name}");
        }
    }
}
