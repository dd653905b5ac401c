//! What a provider says it counted.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::core::{Tokens, Usage};

/// The counts in a complete answer or in one stream event, in either dialect; `None` where it names none. One pass
/// over the bytes, without building a tree.
///
/// * Gemini: answer and thinking tokens are counted apart (`candidatesTokenCount` leaves thoughts out and is absent
///   when zero), and both are billed as output. On servers where they are already together the sum is the total, and
///   nothing is counted twice.
/// * OpenAI: `completion_tokens` contains reasoning, except at Gemini's own compatibility endpoint, where it leaves
///   thoughts out; there only `total_tokens` tells. So whatever the total holds beyond the prompt is output.
pub fn usage(body: &[u8]) -> Option<Usage> {
    let body: Body = serde_json::from_slice(body).ok()?;
    match (body.gemini, body.open_ai) {
        (Some(counts), _) => counts.usage(),
        (None, Some(counts)) => counts.usage(),
        (None, None) => None,
    }
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "usageMetadata", alias = "usage_metadata", default)]
    gemini: Option<GeminiCounts>,
    #[serde(rename = "usage", default)]
    open_ai: Option<OpenAiCounts>,
}

/// `usageMetadata`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct GeminiCounts {
    /// Cached tokens included.
    #[serde(alias = "prompt_token_count", skip_serializing_if = "Count::is_none")]
    pub(super) prompt_token_count: Count,
    #[serde(alias = "cached_content_token_count", skip_serializing_if = "Count::is_none")]
    pub(super) cached_content_token_count: Count,
    #[serde(alias = "candidates_token_count", skip_serializing_if = "Count::is_none")]
    pub(super) candidates_token_count: Count,
    #[serde(alias = "thoughts_token_count", skip_serializing_if = "Count::is_none")]
    pub(super) thoughts_token_count: Count,
    #[serde(alias = "tool_use_prompt_token_count", skip_serializing_if = "Count::is_none")]
    pub(super) tool_use_prompt_token_count: Count,
    #[serde(alias = "total_token_count", skip_serializing_if = "Count::is_none")]
    pub(super) total_token_count: Count,
}

/// `usage` of chat completions and embeddings.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct OpenAiCounts {
    pub(super) prompt_tokens: Count,
    pub(super) completion_tokens: Count,
    pub(super) total_tokens: Count,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_tokens_details: Option<PromptDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PromptDetails {
    pub(super) cached_tokens: Count,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CompletionDetails {
    pub(super) reasoning_tokens: Count,
}

impl GeminiCounts {
    /// Prompt, with what tools put into it.
    pub(super) fn input(&self) -> u64 {
        self.prompt_token_count.or_zero() + self.tool_use_prompt_token_count.or_zero()
    }

    /// Answer and thoughts.
    pub(super) fn output(&self) -> u64 {
        let (candidates, thoughts) = (self.candidates_token_count.or_zero(), self.thoughts_token_count.or_zero());
        let together = self.total_token_count.0.is_some_and(|total| total == self.input() + candidates);
        if together { candidates } else { candidates + thoughts }
    }

    /// `None` where nothing was counted: Vertex begins a stream with a `usageMetadata` that holds only its traffic
    /// type.
    pub(super) fn usage(&self) -> Option<Usage> {
        let any = self.prompt_token_count.0.is_some() || self.total_token_count.0.is_some();
        any.then(|| Usage {
            input: tokens(self.input()),
            cached: tokens(self.cached_content_token_count.or_zero()),
            output: tokens(self.output()),
        })
    }
}

impl From<&GeminiCounts> for OpenAiCounts {
    fn from(counts: &GeminiCounts) -> Self {
        let (prompt, completion) = (counts.input(), counts.output());
        let said = |count: Count| count.0.is_some().then_some(count);
        Self {
            prompt_tokens: Count(Some(prompt)),
            completion_tokens: Count(Some(completion)),
            total_tokens: Count(Some(prompt + completion)),
            prompt_tokens_details: said(counts.cached_content_token_count)
                .map(|cached_tokens| PromptDetails { cached_tokens }),
            completion_tokens_details: said(counts.thoughts_token_count)
                .map(|reasoning_tokens| CompletionDetails { reasoning_tokens }),
        }
    }
}

impl From<&OpenAiCounts> for GeminiCounts {
    fn from(counts: &OpenAiCounts) -> Self {
        let prompt = counts.prompt_tokens.or_zero();
        let output = counts.output();
        let thoughts = counts.completion_tokens_details.unwrap_or_default().reasoning_tokens.or_zero().min(output);
        let unless_zero = |count: u64| Count(Some(count).filter(|count| *count > 0));
        Self {
            prompt_token_count: Count(Some(prompt)),
            cached_content_token_count: counts.prompt_tokens_details.unwrap_or_default().cached_tokens,
            candidates_token_count: unless_zero(output - thoughts),
            thoughts_token_count: unless_zero(thoughts),
            tool_use_prompt_token_count: Count(None),
            total_token_count: Count(Some(prompt + output)),
        }
    }
}

impl OpenAiCounts {
    /// What is billed as output.
    pub(super) fn output(&self) -> u64 {
        let beyond_prompt = self.total_tokens.or_zero().saturating_sub(self.prompt_tokens.or_zero());
        self.completion_tokens.or_zero().max(beyond_prompt)
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        let any = self.prompt_tokens.0.is_some() || self.total_tokens.0.is_some();
        any.then(|| Usage {
            input: tokens(self.prompt_tokens.or_zero()),
            cached: tokens(self.prompt_tokens_details.unwrap_or_default().cached_tokens.or_zero()),
            output: tokens(self.output()),
        })
    }
}

/// A count that may be absent, or nonsense, without spoiling its neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count(pub(super) Option<u64>);

impl Count {
    pub(super) fn or_zero(self) -> u64 {
        self.0.unwrap_or(0)
    }

    fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.or_zero())
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Any JSON at all, read as a number where it is one. Counts beyond 32 bits are nonsense, and cut.
        let source = <&RawValue>::deserialize(deserializer)?.get();
        let number = source.parse::<u64>().ok().or_else(|| source.parse::<f64>().ok().map(|number| number as u64));
        let negative = source.starts_with('-');
        Ok(Self(number.filter(|_| !negative).map(|count| count.min(u32::MAX.into()))))
    }
}

fn tokens(count: u64) -> Tokens {
    Tokens::new(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(body: &str) -> Option<(u32, u32, u32)> {
        usage(body.as_bytes()).map(|usage| (usage.input.get(), usage.cached.get(), usage.output.get()))
    }

    #[test]
    fn thoughts_are_output() {
        let apart = r#"{"candidates":[],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"thoughtsTokenCount":70,
            "totalTokenCount":85,"cachedContentTokenCount":4},"modelVersion":"m"}"#;
        assert_eq!(counted(apart), Some((10, 4, 75)));
        let together = r#"{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":75,"thoughtsTokenCount":70,"totalTokenCount":85}}"#;
        assert_eq!(counted(together), Some((10, 0, 75)));
        let none_yet = r#"{"usageMetadata":{"promptTokenCount":10,"thoughtsTokenCount":70,"totalTokenCount":80}}"#;
        assert_eq!(counted(none_yet), Some((10, 0, 70)));
        let with_tools = r#"{"usageMetadata":{"promptTokenCount":10,"toolUsePromptTokenCount":3,"candidatesTokenCount":5,"totalTokenCount":18}}"#;
        assert_eq!(counted(with_tools), Some((13, 0, 5)));
        assert_eq!(counted(r#"{"usageMetadata":{"trafficType":"ON_DEMAND"}}"#), None);
    }

    #[test]
    fn the_total_tells_what_the_compatibility_endpoint_leaves_out() {
        let compat = r#"{"usage":{"prompt_tokens":12,"completion_tokens":35,"total_tokens":109}}"#;
        assert_eq!(counted(compat), Some((12, 0, 97)));
        let plain = r#"{"usage":{"prompt_tokens":12,"completion_tokens":35,"total_tokens":47,
            "prompt_tokens_details":{"cached_tokens":8},"completion_tokens_details":{"reasoning_tokens":30}}}"#;
        assert_eq!(counted(plain), Some((12, 8, 35)));
        let embedding = r#"{"data":[],"usage":{"prompt_tokens":12,"total_tokens":12}}"#;
        assert_eq!(counted(embedding), Some((12, 0, 0)));
        assert_eq!(counted(r#"{"choices":[],"usage":null}"#), None);
    }

    #[test]
    fn nonsense_counts_spoil_nothing() {
        let odd = r#"{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":"5","thoughtsTokenCount":-1,"totalTokenCount":1e99,
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":10}]}}"#;
        assert_eq!(counted(odd), Some((10, 0, 0)));
        assert_eq!(counted("{"), None);
        assert_eq!(counted("[]"), None);
    }
}
