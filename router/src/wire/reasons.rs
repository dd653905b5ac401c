//! Why, beside the status: the labels and sentences that we know.
//!
//! Labels come from the provider alone and are trusted everywhere. Sentences may repeat parts of the client's
//! request ("Invalid value at 'contents[0]' …"), so a sentence that would retire a key counts only at the beginning of
//! the message and only under the status it belongs to: otherwise a client could talk the router out of its keys.

use super::envelope::Envelope;
use crate::core::Reason;

/// Of a message only so much is searched.
const MESSAGE_MAX: usize = 4 * 1024;

/// `status` is the effective one: the body's where it has one, else HTTP's.
pub(super) fn reason(status: u16, envelope: Option<Envelope<'_>>, message: &str) -> Option<Reason> {
    let by_label = envelope.and_then(|envelope| {
        envelope.labels().find_map(|label| LABELS.iter().find(|(name, _)| *name == label).map(|(_, reason)| *reason))
    });
    by_label.or_else(|| by_sentence(status, message))
}

/// `ErrorInfo.reason` (google.api.ErrorReason), OpenAI's and Mistral's `code` and `type`.
const LABELS: &[(&str, Reason)] = &[
    ("API_KEY_INVALID", Reason::KeyInvalid),
    ("invalid_api_key", Reason::KeyInvalid),
    ("CONSUMER_SUSPENDED", Reason::KeySuspended),
    ("SERVICE_DISABLED", Reason::ServiceDisabled),
    ("BILLING_DISABLED", Reason::ServiceDisabled),
    ("ACCESS_TOKEN_TYPE_UNSUPPORTED", Reason::Credential),
    ("ACCESS_TOKEN_EXPIRED", Reason::Credential),
    ("CREDENTIALS_MISSING", Reason::Credential),
    ("MODEL_CAPACITY_EXHAUSTED", Reason::Overloaded),
    ("overloaded_error", Reason::Overloaded),
    ("service_tier_capacity_exceeded", Reason::Overloaded),
    ("3505", Reason::Overloaded),
    ("insufficient_quota", Reason::OutOfFunds),
    ("billing_hard_limit_reached", Reason::OutOfFunds),
    ("billing_not_active", Reason::OutOfFunds),
    ("context_length_exceeded", Reason::ContextWindow),
    ("model_not_found", Reason::ModelNotFound),
    ("invalid_model", Reason::ModelNotFound),
    ("content_policy_violation", Reason::ContentBlocked),
    ("content_filter", Reason::ContentBlocked),
    ("unsupported_country_region_territory", Reason::LocationUnsupported),
];

/// Where in the message a sentence must stand.
enum Place {
    /// At its beginning, with nothing of the client's before it.
    Start,
    /// Anywhere.
    Anywhere,
}
use Place::{Anywhere, Start};

/// Statuses, place, words in lower case that must all be there (the first one at the place), reason.
const SENTENCES: &[(&[u16], Place, &[&str], Reason)] = &[
    (&[400, 401, 403], Start, &["api key not valid"], Reason::KeyInvalid),
    (&[400, 401, 403], Start, &["api key not found"], Reason::KeyInvalid),
    (&[400, 401, 403], Start, &["api key expired"], Reason::KeyInvalid),
    (&[401], Start, &["incorrect api key provided"], Reason::KeyInvalid),
    (&[403], Start, &["permission denied: consumer ", "has been suspended"], Reason::KeySuspended),
    (&[403], Start, &["your api key was reported as leaked"], Reason::KeyLeaked),
    (&[403], Start, &["method doesn't allow unregistered callers"], Reason::Credential),
    (&[401], Start, &["request had invalid authentication credentials"], Reason::Credential),
    (&[401], Start, &["request is missing required authentication credential"], Reason::Credential),
    (&[401, 403], Start, &["you didn't provide an api key"], Reason::Credential),
    (&[400, 401], Start, &["missing or invalid authorization header"], Reason::Credential),
    (&[403], Anywhere, &["has not been used in project ", "before or it is disabled"], Reason::ServiceDisabled),
    (&[403], Start, &["this api method requires billing to be enabled"], Reason::ServiceDisabled),
    (&[400, 403], Start, &["user location is not supported"], Reason::LocationUnsupported),
    (&[400], Start, &["gemini api free tier is not available in your country"], Reason::NoFreeTier),
    (&[429], Anywhere, &["doesn't have a free quota tier"], Reason::NoFreeTier),
    (&[404], Anywhere, &["no longer available to new users"], Reason::ClosedToNewUsers),
    (&[404], Anywhere, &["is not found for api version"], Reason::ModelNotFound),
    (&[404], Anywhere, &["was not found or your project does not have access to it"], Reason::ModelNotFound),
    (&[404], Start, &["the model ", "does not exist"], Reason::ModelNotFound),
    (&[400, 404], Start, &["invalid model: "], Reason::ModelNotFound),
    (&[400, 413], Anywhere, &["exceeds the maximum number of tokens allowed"], Reason::ContextWindow),
    (&[400, 413], Anywhere, &["maximum context length"], Reason::ContextWindow),
    (&[402, 429], Anywhere, &["credits are depleted"], Reason::OutOfFunds),
    (
        &[402, 429],
        Anywhere,
        &[
            "exceeded your current quota, please check your plan and billing details. for more information on this error, read the docs: https://platform.openai.com",
        ],
        Reason::OutOfFunds,
    ),
    (&[403, 429, 503], Anywhere, &["automated queries"], Reason::AddressThrottled),
    (&[403, 429, 503], Anywhere, &["unusual traffic from your computer network"], Reason::AddressThrottled),
    (&[403, 429], Anywhere, &["error code: 1015"], Reason::AddressThrottled),
    (&[429, 500, 502, 503, 529], Anywhere, &["model is overloaded"], Reason::Overloaded),
    (&[429, 500, 502, 503, 529], Anywhere, &["experiencing high demand"], Reason::Overloaded),
    (&[429, 500, 502, 503, 529], Anywhere, &["capacity exceeded for this model"], Reason::Overloaded),
    (&[429, 500, 502, 503, 529], Anywhere, &["overloaded"], Reason::Overloaded),
];

fn by_sentence(status: u16, message: &str) -> Option<Reason> {
    let mut end = message.len().min(MESSAGE_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let lower = message[..end].to_ascii_lowercase();
    SENTENCES
        .iter()
        .filter(|(statuses, ..)| statuses.contains(&status))
        .find(|(_, place, words, _)| {
            let placed = match (place, words.first()) {
                (Start, Some(first)) => lower.starts_with(first),
                (Anywhere, _) | (_, None) => true,
            };
            placed && words.iter().all(|word| lower.contains(word))
        })
        .map(|(.., reason)| *reason)
}
