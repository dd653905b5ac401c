//! What routing needs to know about a request, without building a tree, and the one change that a request to its own
//! dialect needs: another model name.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memmem};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{At, Fields, Refusal, elements, string};
use super::usage::Count;
use crate::core::{TokenEstimate, Tokens};

/// A request seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peek<'a> {
    /// The model asked for. Absent in Gemini's bodies, where the path names it.
    pub model: Option<Cow<'a, str>>,
    /// Where the model's JSON string stands in the body, quotes included.
    pub model_span: Option<Range<usize>>,
    /// Whether a stream is asked for. Always false in Gemini's bodies, where the method says it.
    pub stream: bool,
    /// Whether the client wants the usage at the end of its stream; `None` where it does not speak of it.
    pub include_usage: Option<bool>,
    /// How large it is.
    pub tokens: TokenEstimate,
}

/// A picture counts as this many tokens, Gemini's figure for one tile.
/// <https://ai.google.dev/gemini-api/docs/tokens>
const BLOB_TOKENS: usize = 258;

/// Encoded data shorter than this is counted as text.
const BLOB_MIN: usize = 512;

/// Bytes of a prompt for one token. English is near 4, code and JSON near 3; the source text with its quotes and member
/// names is a little larger than the prompt, which evens out.
const BYTES_PER_TOKEN: usize = 4;

impl<'a> Peek<'a> {
    /// Looks at the body of a chat completion, a response or an embedding.
    pub fn open_ai(body: &'a [u8]) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            model: Option<&'a RawValue>,
            #[serde(default)]
            stream: Option<bool>,
            #[serde(default)]
            stream_options: Option<StreamOptions>,
            #[serde(default)]
            max_tokens: Count,
            #[serde(default)]
            max_completion_tokens: Count,
            #[serde(default)]
            max_output_tokens: Count,
            #[serde(default)]
            n: Count,
        }
        #[derive(Deserialize)]
        struct StreamOptions {
            #[serde(default)]
            include_usage: Option<bool>,
        }
        let read: Body<'a> = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
        let model = read.model.ok_or_else(|| At::ROOT.field("model").refuse("is required"))?;
        let answer =
            [read.max_completion_tokens, read.max_tokens, read.max_output_tokens].into_iter().find_map(|count| count.0);
        Ok(Self {
            model: Some(string(model, &At::ROOT.field("model"))?),
            model_span: span_in(body, model),
            stream: read.stream.unwrap_or(false),
            include_usage: read.stream_options.map(|options| options.include_usage.unwrap_or(false)),
            tokens: estimate(body, answer, read.n),
        })
    }

    /// Looks at the body of any of Gemini's methods.
    pub fn gemini(body: &'a [u8]) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Body {
            #[serde(rename = "generationConfig", alias = "generation_config", default)]
            config: Option<Config>,
        }
        #[derive(Deserialize)]
        struct Config {
            #[serde(rename = "maxOutputTokens", alias = "max_output_tokens", default)]
            answer: Count,
            #[serde(rename = "candidateCount", alias = "candidate_count", default)]
            candidates: Count,
        }
        let read: Body = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
        let (answer, candidates) =
            read.config.map_or_else(Default::default, |config| (config.answer.0, config.candidates));
        let tokens = estimate(body, answer, candidates);
        Ok(Self { model: None, model_span: None, stream: false, include_usage: None, tokens })
    }
}

fn not_json(error: &serde_json::Error) -> Refusal {
    At::ROOT.refuse(format!("is not the JSON object that this method takes: {error}"))
}

/// Where a value borrowed from `body` stands in it.
fn span_in(body: &[u8], value: &RawValue) -> Option<Range<usize>> {
    let start = (value.get().as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    Some(start..start + value.get().len())
}

/// The body with another model name in these places, which must be ascending.
fn with_model(body: &[u8], spans: &[Range<usize>], model: &str) -> Vec<u8> {
    let name = serde_json::Value::from(model).to_string();
    let mut spliced = Vec::with_capacity(body.len() + spans.len() * name.len());
    let mut done = 0;
    for span in spans {
        spliced.extend_from_slice(body.get(done..span.start).unwrap_or_default());
        spliced.extend_from_slice(name.as_bytes());
        done = span.end;
    }
    spliced.extend_from_slice(body.get(done..).unwrap_or_default());
    spliced
}

/// A chat, response or embedding request for another model. With `count_usage`, a stream whose client does not speak of
/// usage is asked for it too, since otherwise nobody would know what it cost; the chunk that carries it must then be
/// kept from the client (see [`Stream`](super::Stream)).
pub(super) fn open_ai_for(body: &[u8], peek: &Peek<'_>, model: &str, count_usage: bool) -> Vec<u8> {
    const ASK: &[u8] = br#""stream_options":{"include_usage":true},"#;
    let spans = peek.model_span.as_slice();
    let mut spliced = with_model(body, spans, model);
    if count_usage && peek.stream && peek.include_usage.is_none() {
        // The object is not empty: it has a model.
        if let Some(brace) = memchr(b'{', &spliced) {
            spliced.splice(brace + 1..=brace, ASK.iter().copied());
        }
    }
    spliced
}

/// A request of any of Gemini's methods for another model. `generateContent` names it in its path only, but
/// `batchEmbedContents` repeats it in every request and `countTokens` inside of what it counts.
pub fn gemini_for<'a>(body: &'a [u8], model: &str) -> Result<Cow<'a, [u8]>, Refusal> {
    let fields = Fields::of_body(body)?.camel();
    let mut spans = Vec::new();
    let at = At::ROOT.field("requests");
    for (name, value) in fields.iter() {
        match name {
            "model" => spans.extend(span_in(body, value)),
            "generateContentRequest" => {
                let at = At::ROOT.field(name);
                spans.extend(Fields::of(value, &at)?.get("model").and_then(|model| span_in(body, model)));
            }
            "requests" => {
                for (index, request) in elements(value, &at)?.into_iter().enumerate() {
                    let request = Fields::of(request, &at.index(index))?;
                    spans.extend(request.get("model").and_then(|model| span_in(body, model)));
                }
            }
            _ => {}
        }
    }
    spans.sort_unstable_by_key(|span| span.start);
    match spans.as_slice() {
        [] => Ok(Cow::Borrowed(body)),
        spans => Ok(Cow::Owned(with_model(body, spans, &format!("models/{model}")))),
    }
}

/// How many tokens a body has, from its size: everything counts a quarter of its bytes, except long encoded data, which
/// counts as a picture. What the client allows as answer counts for each of the answers it wants.
fn estimate(body: &[u8], answer: Option<u64>, answers: Count) -> TokenEstimate {
    let (addresses, in_addresses) = blobs(body, b";base64,");
    let (members, in_members) = blobs(body, b"\"data\"");
    let blobs = addresses + members;
    let bytes = body.len().saturating_sub(in_addresses + in_members);
    let input = bytes.div_ceil(BYTES_PER_TOKEN) + blobs * BLOB_TOKENS;
    let limit = |count: u64| Tokens::new(u32::try_from(count).unwrap_or(u32::MAX));
    let answers = answers.0.unwrap_or(1).max(1);
    TokenEstimate { input: limit(input as u64), output_max: answer.map(|answer| limit(answer.saturating_mul(answers))) }
}

/// How many stretches of encoded data follow a marker, and their bytes: `;base64,` (OpenAI's data addresses) or
/// `"data"` (Gemini's `inlineData`, OpenAI's audio).
fn blobs(body: &[u8], marker: &[u8]) -> (usize, usize) {
    let finder = memmem::Finder::new(marker);
    let (mut count, mut bytes, mut from) = (0, 0, 0);
    while let Some(found) = finder.find(&body[from..]) {
        let after = from + found + marker.len();
        let lead = body[after..].iter().take_while(|byte| matches!(byte, b' ' | b':' | b'"' | b'\n' | b'\r')).count();
        let start = after + lead;
        let length = memchr(b'"', &body[start..]).unwrap_or(body.len() - start);
        if length >= BLOB_MIN {
            count += 1;
            bytes += length;
        }
        from = start + length;
    }
    (count, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_request_is_seen_from_outside() {
        let body = br#"{"messages":[{"role":"user","content":"12345678"}], "model" : "gem\u0069ni", "stream":true,
            "stream_options":{"include_usage":true},"max_tokens":100,"n":2,"other":{"model":"no"}}"#;
        let peek = Peek::open_ai(body).unwrap();
        assert_eq!(peek.model.as_deref(), Some("gemini"));
        assert!(peek.stream && peek.include_usage == Some(true));
        assert_eq!(peek.tokens.output_max, Some(Tokens::new(200)));
        let spliced = String::from_utf8(open_ai_for(body, &peek, "mistral\"large", true)).unwrap();
        assert_eq!(spliced, String::from_utf8_lossy(body).replace(r#""gem\u0069ni""#, r#""mistral\"large""#));
    }

    #[test]
    fn a_stream_is_asked_for_its_usage() {
        let body = br#" {"model":"m","stream":true}"#;
        let peek = Peek::open_ai(body).unwrap();
        let asked = open_ai_for(body, &peek, "m", true);
        assert_eq!(asked, br#" {"stream_options":{"include_usage":true},"model":"m","stream":true}"#);
        assert_eq!(open_ai_for(body, &peek, "m", false), body);
    }

    #[test]
    fn gemini_names_its_model_in_three_places() {
        let body = r#"{"requests":[{"model":"models/a","content":{"parts":[{"text":"model"}]}},{"model":"models/a"}]}"#;
        let renamed = gemini_for(body.as_bytes(), "b").unwrap();
        assert_eq!(renamed, body.replace("models/a", "models/b").as_bytes());
        let body = r#"{"generate_content_request":{"contents":[],"model":"models/a"}}"#;
        assert_eq!(gemini_for(body.as_bytes(), "b").unwrap(), body.replace("models/a", "models/b").as_bytes());
        let body = br#"{"contents":[]}"#;
        assert!(matches!(gemini_for(body, "b").unwrap(), Cow::Borrowed(_)));
    }

    #[test]
    fn a_gemini_request_is_seen_from_outside() {
        for body in
            [r#"{"generationConfig":{"maxOutputTokens":7}}"#, r#"{"generation_config":{"max_output_tokens":7}}"#]
        {
            let peek = Peek::gemini(body.as_bytes()).unwrap();
            assert_eq!(peek.tokens.output_max, Some(Tokens::new(7)), "{body}");
        }
    }

    #[test]
    fn pictures_count_as_pictures() {
        let picture = "A".repeat(4_000_000);
        let text = "x".repeat(4_000);
        for body in [
            format!(r#"{{"model":"m","m":"{text}","url":"data:image/png;base64,{picture}"}}"#),
            format!(r#"{{"model":"m","m":"{text}","inlineData":{{"mimeType":"image/png","data": "{picture}"}}}}"#),
        ] {
            let tokens = Peek::open_ai(body.as_bytes()).unwrap().tokens.input.get();
            assert!((1_250..1_300).contains(&tokens), "{tokens}");
        }
    }

    #[test]
    fn what_cannot_be_routed_is_refused() {
        for (body, problem) in [
            ("{}", "model: is required"),
            (r#"{"model":7}"#, "model: must be a string"),
            ("[]", "body: is not the JSON object"),
            (r#"{"model":"a","model":"b"}"#, "duplicate field `model`"),
            ("{", "body: is not the JSON object"),
        ] {
            let refusal = Peek::open_ai(body.as_bytes()).unwrap_err().to_string();
            assert!(refusal.contains(problem), "{refusal}");
        }
    }
}
