//! Which language an API speaks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The language of an upstream API: its body formats and its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// `generativelanguage.googleapis.com` with API keys: `/v1beta/models/M:generateContent`.
    Gemini,
    /// Gemini's bodies at `aiplatform.googleapis.com`, with an OAuth token or an express key.
    Vertex,
    /// `/chat/completions` as OpenAI defined it: Mistral, Groq, vLLM, Gemini's own compatibility endpoint.
    OpenAi,
}

impl Dialect {
    /// Whether the bodies are Gemini's.
    pub const fn is_gemini(self) -> bool {
        match self {
            Self::Gemini | Self::Vertex => true,
            Self::OpenAi => false,
        }
    }
}
