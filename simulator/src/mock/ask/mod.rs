//! What a request asks for, whichever dialect it is in.

mod check;
pub(super) mod embed;
pub(super) mod gemini;
pub(super) mod open_ai;

use serde_json::Value;
use stormproof_router::core::{Reason, mix};
use stormproof_router::wire::ClientError;

pub(super) use self::check::window as check_window;
use super::wish::Wish;

/// Bytes of text for one token, as everywhere in this project.
pub(super) const BYTES_PER_TOKEN: usize = 4;

/// A picture counts as this many tokens, Gemini's figure for one tile.
const PICTURE_TOKENS: usize = 258;

/// A request for an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ask {
    /// The last thing that was said to the model.
    pub(super) said: String,
    /// Pictures and other blobs that came with it: media type and size.
    pub(super) pictures: Vec<(String, usize)>,
    /// What a tool said last, if nobody else has spoken since.
    pub(super) tool_said: Option<String>,
    /// Prompt tokens.
    pub(super) input: u32,
    /// The same for every repetition of this prompt.
    pub(super) identity: u64,
    /// The longest answer allowed, thoughts included.
    pub(super) answer_max: Option<u32>,
    /// How many answers.
    pub(super) answers: u32,
    /// Tools that may be called.
    pub(super) tools: Vec<Tool>,
    /// Whether they must be.
    pub(super) tool_use: ToolUse,
    /// What form the answer has.
    pub(super) form: Form,
    /// Whether the model is to think; `None` leaves it to the model.
    pub(super) thinks: Option<bool>,
    /// Whether its thoughts are to be shown.
    pub(super) thoughts_shown: bool,
    /// What the prompt asks of the mock itself.
    pub(super) wish: Wish,
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tool {
    pub(super) name: String,
    /// Its parameters' schema, in either dialect.
    pub(super) schema: Value,
}

/// Whether tools are to be called.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum ToolUse {
    /// As the model likes. This one calls a tool unless one has just answered.
    #[default]
    Free,
    /// None.
    Never,
    /// One of these, or any if there are no names.
    Must(Vec<String>),
}

/// The form of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Form {
    /// Text.
    #[default]
    Text,
    /// JSON, of this schema if there is one.
    Json(Option<Value>),
    /// One of these words.
    Words(Vec<String>),
    /// A picture.
    Picture,
}

/// A request that is refused before it meets the world.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Refused {
    /// For a reason that providers have a body for.
    Reason {
        /// The HTTP status.
        status: u16,
        /// The reason.
        reason: Reason,
    },
    /// With a message of its own.
    Message(ClientError),
}

impl Refused {
    /// A bad request.
    fn bad(message: impl Into<String>) -> Self {
        Self::Message(ClientError::new(400, message))
    }

    /// A bad request, with the member that is at fault.
    fn member(message: impl Into<String>, member: impl Into<String>) -> Self {
        Self::Message(ClientError { param: Some(member.into()), ..ClientError::new(400, message) })
    }
}

/// What a prompt amounts to, gathered while it is read.
#[derive(Debug, Default)]
struct Tally {
    bytes: usize,
    pictures: usize,
    hash: u64,
}

impl Tally {
    fn text(&mut self, text: &str) {
        self.bytes += text.len();
        // FNV-1a: stable for ever, which the standard library's hasher does not promise.
        let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        self.hash = mix(text.as_bytes().iter().fold(self.hash ^ 0xcbf2_9ce4_8422_2325, fnv));
    }

    fn json(&mut self, value: &Value) {
        self.text(&value.to_string());
    }

    fn picture(&mut self, data: &str) {
        self.text(data);
        self.bytes -= data.len();
        self.pictures += 1;
    }

    fn tokens(&self) -> u32 {
        let tokens = self.bytes.div_ceil(BYTES_PER_TOKEN) + self.pictures * PICTURE_TOKENS;
        u32::try_from(tokens.max(1)).unwrap_or(u32::MAX)
    }
}

impl Ask {
    /// Fills in what was counted, and what the prompt asks of the mock.
    fn counted(mut self, tally: &Tally) -> Self {
        self.wish = Wish::find(&self.said);
        self.input = self.wish.input.unwrap_or_else(|| tally.tokens());
        self.identity = tally.hash;
        self.answers = self.answers.clamp(1, 8);
        self
    }
}

/// The body as a JSON object.
fn object(body: &[u8]) -> Result<Value, String> {
    match serde_json::from_slice(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("the root is not an object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A member in Google's spelling: camel case, or snake case, as its SDKs mix them.
fn member<'a>(value: &'a Value, camel: &str) -> Option<&'a Value> {
    let found = value.get(camel).or_else(|| value.get(snake(camel)));
    found.filter(|found| !found.is_null())
}

fn snake(camel: &str) -> String {
    camel.chars().fold(String::new(), |mut text, c| {
        if c.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
        text
    })
}

fn elements(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text_of<'a>(value: &'a Value, name: &str) -> &'a str {
    member(value, name).and_then(Value::as_str).unwrap_or_default()
}

fn count_of(value: &Value, name: &str) -> Option<u32> {
    member(value, name).and_then(Value::as_u64).map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

/// Bytes that a base64 text stands for.
fn decoded_size(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}
