//! Error answers as providers write them: what the mock providers serve and what the readers are tested with.
//!
//! The other direction of [`facts`](super::facts): reading a rendered answer gives back the facts it was rendered from,
//! as far as a provider of that year told them. How much that is, [`Voice::tells`] says; a simulated provider passes
//! its facts through it, so that the simulation knows no more than the wire carries.

mod google;
mod open_ai;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::core::{Duration, Facts, Reason, Violation, Violations};

/// Whose error bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Surface {
    /// `generativelanguage.googleapis.com`, native methods.
    Gemini,
    /// The same behind `/v1beta/openai/`: an array around it.
    GeminiCompat,
    /// `aiplatform.googleapis.com`: shared capacity, so a 429 names no quota.
    Vertex,
    /// `cloudcode-pa.googleapis.com` (Gemini CLI with a Google account): an array, and capacity as a 429.
    CodeAssist,
    /// `api.openai.com`.
    OpenAi,
    /// `api.mistral.ai`.
    Mistral,
}

/// The wording of the year.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Wording {
    /// April 2025: a 429 names its quotas without values, and a spent day without a delay.
    #[serde(rename = "2025-04")]
    April2025,
    /// June to September 2025: `quotaValue`, and `retryDelay` in whole seconds.
    #[serde(rename = "2025-07")]
    Mid2025,
    /// October 2025 on: the sentence repeats every quota with its limit, and the delay to the nanosecond.
    #[serde(rename = "2025-11")]
    Late2025,
    /// 2026: "high demand", fractional `retryDelay`.
    #[default]
    #[serde(rename = "2026")]
    Year2026,
}

/// Who speaks, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Voice {
    /// Whose bodies.
    pub surface: Surface,
    /// Of which year.
    pub wording: Wording,
}

/// What an error is about, where bodies name it.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The upstream model's id, as the client asked for it.
    pub model: &'a str,
    /// The key's value: the suspended-consumer error holds all of it.
    pub key: &'a str,
    /// Whether the key's project is on the free tier; quotas are named after the tier.
    pub free_tier: bool,
}

/// A rendered error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl Voice {
    /// What is left of `facts` when this provider says them under this `status`: the facts that reading
    /// [`Voice::render`]'s answer gives.
    pub fn tells(self, status: u16, facts: &Facts) -> Facts {
        let inner_status = facts.inner_status.filter(|inner| (400..=599).contains(inner) && *inner != status);
        let told = Facts { inner_status, ..*facts };
        if is_html(told.inner_status.unwrap_or(status)) && told.inner_status.is_none() {
            return Facts::default();
        }
        match self.surface {
            Surface::Gemini | Surface::GeminiCompat | Surface::Vertex | Surface::CodeAssist => {
                google::tells(self, status, told)
            }
            Surface::OpenAi | Surface::Mistral => open_ai::tells(self, status, told),
        }
    }

    /// The answer with this status and these facts. What the provider would not say is left out.
    pub fn render(self, status: u16, facts: &Facts, about: About<'_>) -> Rendered {
        let told = self.tells(status, facts);
        if is_html(status) {
            let body = format!(
                "<html><head><title>{status}</title></head>\n<body><h1>Error: Server Error</h1></body></html>\n"
            );
            return Rendered { status, headers: vec![("content-type", "text/html; charset=UTF-8".into())], body };
        }
        match self.surface {
            Surface::Gemini | Surface::GeminiCompat | Surface::Vertex | Surface::CodeAssist => {
                google::render(self, status, &told, about)
            }
            Surface::OpenAi | Surface::Mistral => open_ai::render(self, status, &told, about),
        }
    }
}

/// A 502 comes from a front end that knows nothing of the API.
fn is_html(status: u16) -> bool {
    status == 502
}

/// The name of the `google.rpc.Code` that an HTTP status stands for.
pub(super) fn status_name(code: u16) -> &'static str {
    match code {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        503 | 529 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        400..=499 => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    }
}

fn floor_to_second(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_nanos() / 1_000_000_000)
}

/// The statuses under which a reason makes sense, the usual one first.
fn statuses(reason: Reason) -> &'static [u16] {
    match reason {
        Reason::Overloaded => &[503, 429, 500, 529],
        Reason::KeyInvalid => &[400, 401],
        Reason::KeySuspended | Reason::KeyLeaked | Reason::ServiceDisabled => &[403],
        Reason::NoFreeTier | Reason::OutOfFunds | Reason::AddressThrottled => &[429],
        Reason::ClosedToNewUsers | Reason::ModelNotFound => &[404],
        Reason::LocationUnsupported => &[400, 403],
        Reason::ContextWindow | Reason::ContentBlocked => &[400],
        Reason::Credential => &[401, 403],
    }
}

/// Whether a limit of zero is among the violations.
fn names_zero(violations: &Violations) -> bool {
    super::quota::Quota::ALL.iter().any(|quota| quota.of(violations) == Violation::Limit(0))
}
