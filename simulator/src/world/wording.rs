//! How providers word their refusals, by dialect and year: which facts a body carries. The mock renders the same
//! wordings as bodies, and what it renders must parse to these facts.

use stormproof_router::core::{Duration, Ending, Facts, Reason, Violation, Violations, unit};
use stormproof_router::wire::render::{self, Surface, Voice};

use crate::draws::split;

/// A dialect of errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wording {
    /// Gemini in April 2025, experimental models: quotas named without values, no `RetryInfo`.
    GeminiSpring2025,
    /// Gemini in mid 2025: quotas with values, `RetryInfo` with fractions of a second cut off.
    GeminiSummer2025,
    /// Gemini since late 2025: the same facts in a longer message, every violated quota named.
    #[default]
    GeminiLate2025,
    /// Gemini in 2026: "high demand" instead of "overloaded"; otherwise as before.
    Gemini2026,
    /// "Resource has been exhausted (e.g. check quota).", as paid keys see it: no details at all.
    GeminiBare,
    /// Vertex with dynamic shared quota: no details.
    Vertex,
    /// OpenAI-compatible with a `Retry-After` header in whole seconds.
    OpenAi,
    /// Mistral's flat errors of April 2025: one sentence, no details.
    Mistral,
    /// Mistral's errors since mid 2025: still flat, but with a type and a code.
    MistralLate2025,
}

/// Which of a project's quotas a call would have exceeded, with their limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exceeded {
    /// Requests per minute.
    pub rpm: Option<u32>,
    /// Input tokens per minute.
    pub tpm: Option<u32>,
    /// Requests per day.
    pub rpd: Option<u32>,
    /// Input tokens per day.
    pub tpd: Option<u32>,
}

impl Exceeded {
    /// Whether nothing is exceeded.
    pub fn is_empty(&self) -> bool {
        let Self { rpm, tpm, rpd, tpd } = self;
        rpm.is_none() && tpm.is_none() && rpd.is_none() && tpd.is_none()
    }
}

impl Wording {
    /// Whose error bodies these are, of which year.
    pub fn voice(self) -> Voice {
        let (surface, wording) = match self {
            Self::GeminiSpring2025 => (Surface::Gemini, render::Wording::April2025),
            Self::GeminiSummer2025 => (Surface::Gemini, render::Wording::Mid2025),
            Self::GeminiLate2025 | Self::GeminiBare => (Surface::Gemini, render::Wording::Late2025),
            Self::Gemini2026 => (Surface::Gemini, render::Wording::Year2026),
            Self::Vertex => (Surface::Vertex, render::Wording::Late2025),
            Self::OpenAi => (Surface::OpenAi, render::Wording::Year2026),
            Self::Mistral => (Surface::Mistral, render::Wording::April2025),
            Self::MistralLate2025 => (Surface::Mistral, render::Wording::Late2025),
        };
        Voice { surface, wording }
    }

    /// What is left of a failure's facts once they have been put into a body: the simulation knows no more than the
    /// wire carries. A scripted reply says what its author wrote; the mock can only send what the provider could say.
    pub(super) fn tells(self, ending: Ending, facts: Facts) -> Facts {
        match ending {
            _ if facts == Facts::default() => facts,
            Ending::Status(status) if status < 400 => facts,
            Ending::Status(status) => self.voice().tells(status, &facts),
            Ending::Transport(_) => self.voice().tells(200, &facts),
        }
    }

    /// What a 429 says. `minute_left` is the true time until the minute windows have room; the seconds that Gemini
    /// gives for a *day* quota are short and mean nothing: they are drawn from `bits`.
    pub fn limited(self, exceeded: Exceeded, minute_left: Duration, bits: u64) -> Facts {
        match self {
            Self::GeminiSpring2025 => Facts { violations: violations(exceeded, false), ..Facts::default() },
            Self::GeminiSummer2025 => {
                // One violation a body: the day quota wins when both are exceeded.
                let named = if exceeded.rpd.is_some() || exceeded.tpd.is_some() {
                    Exceeded { rpm: None, tpm: None, ..exceeded }
                } else {
                    exceeded
                };
                Facts {
                    violations: violations(named, true),
                    retry_after: hint(exceeded, minute_left, bits),
                    ..Facts::default()
                }
            }
            Self::GeminiLate2025 | Self::Gemini2026 => Facts {
                violations: violations(exceeded, true),
                retry_after: hint(exceeded, minute_left, bits),
                ..Facts::default()
            },
            Self::GeminiBare | Self::Vertex | Self::Mistral | Self::MistralLate2025 => Facts::default(),
            Self::OpenAi => {
                Facts { retry_after: Some(Duration::from_secs(minute_left.as_secs_ceil().max(1))), ..Facts::default() }
            }
        }
    }

    /// Status and facts of a dead key or forbidden model.
    pub fn dead(self, reason: Reason) -> (u16, Facts) {
        let facts = Facts { reason: Some(reason), ..Facts::default() };
        match reason {
            Reason::KeyInvalid => match self {
                Self::OpenAi | Self::Mistral | Self::MistralLate2025 => (401, facts),
                Self::GeminiSpring2025
                | Self::GeminiSummer2025
                | Self::GeminiLate2025
                | Self::Gemini2026
                | Self::GeminiBare
                | Self::Vertex => (400, facts),
            },
            Reason::KeySuspended | Reason::KeyLeaked | Reason::ServiceDisabled => (403, facts),
            Reason::ClosedToNewUsers | Reason::ModelNotFound => (404, facts),
            // The body names all four free quotas and asks to come back in half a minute, which never helps.
            Reason::NoFreeTier => {
                let named = Violation::Unvalued;
                let violations =
                    Violations { requests_minute: named, requests_day: named, tokens_minute: named, tokens_day: named };
                (429, Facts { violations, retry_after: Some(Duration::from_secs(33)), ..facts })
            }
            Reason::OutOfFunds | Reason::AddressThrottled => (429, facts),
            Reason::Overloaded => (503, facts),
            Reason::Credential => (401, facts),
            Reason::LocationUnsupported | Reason::ContextWindow | Reason::ContentBlocked => (400, facts),
        }
    }
}

/// The set of named quotas.
fn violations(exceeded: Exceeded, valued: bool) -> Violations {
    let name = |limit: Option<u32>| match limit {
        None => Violation::None,
        Some(limit) if valued => Violation::Limit(limit),
        Some(_) => Violation::Unvalued,
    };
    Violations {
        requests_minute: name(exceeded.rpm),
        requests_day: name(exceeded.rpd),
        tokens_minute: name(exceeded.tpm),
        tokens_day: name(exceeded.tpd),
    }
}

/// `RetryInfo`: whole seconds, rounded *down*; 16 to 58 s for a day quota, whatever is left of the day.
fn hint(exceeded: Exceeded, minute_left: Duration, bits: u64) -> Option<Duration> {
    let secs = if exceeded.rpd.is_some() || exceeded.tpd.is_some() {
        16 + (unit(split(bits, 1)) * 43.0) as u64
    } else {
        minute_left.as_nanos() / 1_000_000_000
    };
    Some(Duration::from_secs(secs))
}
