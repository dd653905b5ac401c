//! Gemini's answers, whole or event by event, as OpenAI's.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Identity;
use crate::wire::gemini::{Answer, Candidate, Finish, Part};
use crate::wire::json::Json;
use crate::wire::open_ai::{Choice, ExtraContent, Function, Message, Reply, ToolCall};
use crate::wire::usage::OpenAiCounts;

/// Turns events into chunks. Every part becomes a chunk of its own, the end of each candidate another.
#[derive(Debug)]
pub(super) struct GeminiAnswers {
    identity: Identity,
    candidates: BTreeMap<u32, Progress>,
    /// Calls so far, for ids that are unique in the whole answer.
    calls: u32,
    counts: Option<OpenAiCounts>,
}

/// How far one candidate is.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    begun: bool,
    calls: u32,
    finished: bool,
}

/// What one part says.
enum Piece<'a> {
    Text(Json<'a>),
    Thought(Json<'a>),
    Picture(Json<'a>),
    Call(ToolCall<'a>),
    /// A signature that stands alone: it belongs to the text before it.
    Signature(Json<'a>),
}

impl GeminiAnswers {
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity, candidates: BTreeMap::new(), calls: 0, counts: None }
    }

    /// The counts of the last event that had any: they are cumulative.
    pub(super) fn counts(&self) -> Option<OpenAiCounts> {
        self.counts
    }

    /// A chunk without choices, for what is said of the whole.
    pub(super) fn empty_chunk(&self) -> Reply<'_> {
        self.identity.reply("chat.completion.chunk", Vec::new())
    }

    /// A complete answer; `None` if it holds neither a candidate nor the reason why there is none.
    pub(super) fn whole<'a>(&'a mut self, answer: Answer<'a>) -> Option<Reply<'a>> {
        let counts = answer.usage_metadata.as_ref().map(OpenAiCounts::from);
        let id = answer.response_id.clone();
        let mut choices = Vec::new();
        if answer.candidates.is_empty() {
            let (index, message, finish_reason) =
                (0, Some(refused(&answer)?), Some(Finish::ContentFilter.open_ai().into()));
            choices.push(Choice { index, message, finish_reason, ..Choice::default() });
        }
        for candidate in answer.candidates {
            choices.push(self.choice(candidate));
        }
        let mut reply = self.identity.reply("chat.completion", choices);
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            reply.id = Cow::Owned(format!("chatcmpl-{id}"));
        }
        reply.usage = Some(counts.unwrap_or_default());
        Some(reply)
    }

    fn choice<'a>(&mut self, candidate: Candidate<'a>) -> Choice<'a> {
        let (mut texts, mut thoughts) = (Vec::new(), Vec::new());
        let mut message = Message { role: Some("assistant".into()), ..Message::default() };
        for part in candidate.content.into_iter().flat_map(|content| content.parts) {
            for piece in self.pieces(part) {
                match piece {
                    Piece::Text(text) => texts.push(text),
                    Piece::Thought(text) => thoughts.push(text),
                    Piece::Picture(picture) => message.images.push(picture),
                    Piece::Call(call) => message.tool_calls.push(call),
                    Piece::Signature(signature) => message.extra_content = Some(ExtraContent::signed(signature)),
                }
            }
        }
        message.content = Some(joined(texts).unwrap_or(Json::NULL));
        message.reasoning_content = joined(thoughts);
        let reason = candidate.finish_reason.as_deref().unwrap_or("STOP");
        let finish = Finish::of_gemini(reason, !message.tool_calls.is_empty());
        Choice {
            index: candidate.index,
            message: Some(message),
            logprobs: candidate.logprobs_result.as_ref().and_then(logprobs),
            finish_reason: Some(finish.open_ai().into()),
            ..Choice::default()
        }
    }

    /// One event of a stream, as any number of chunks. Says whether it ended the answer.
    pub(super) fn event<'a>(&mut self, answer: Answer<'a>, mut each: impl FnMut(Reply<'_>)) -> bool {
        if let Some(counts) = &answer.usage_metadata {
            self.counts = Some(OpenAiCounts::from(counts));
        }
        let mut ended = false;
        if answer.candidates.is_empty()
            && let Some(message) = refused(&answer)
        {
            each(self.chunk(0, message, None, None));
            each(self.chunk(0, Message::default(), Some(Finish::ContentFilter), None));
            ended = true;
        }
        for candidate in answer.candidates {
            let index = candidate.index;
            let mut logprobs = candidate.logprobs_result.as_ref().and_then(logprobs);
            for part in candidate.content.into_iter().flat_map(|content| content.parts) {
                for piece in self.pieces(part) {
                    let progress = self.candidates.entry(index).or_default();
                    let mut delta = Message::default();
                    if !std::mem::replace(&mut progress.begun, true) {
                        delta.role = Some("assistant".into());
                    }
                    match piece {
                        // Gemini 3 closes with an empty text; it says nothing.
                        Piece::Text(text) if text.is_empty_text() && delta.role.is_none() => continue,
                        Piece::Text(text) => delta.content = Some(text),
                        Piece::Thought(text) => delta.reasoning_content = Some(text),
                        Piece::Picture(picture) => delta.images.push(picture),
                        Piece::Signature(signature) => delta.extra_content = Some(ExtraContent::signed(signature)),
                        Piece::Call(mut call) => {
                            call.index = Some(progress.calls);
                            progress.calls += 1;
                            delta.tool_calls.push(call);
                        }
                    }
                    each(self.chunk(index, delta, None, logprobs.take()));
                }
            }
            let progress = self.candidates.entry(index).or_default();
            if let Some(reason) = candidate.finish_reason {
                ended = true;
                if !std::mem::replace(&mut progress.finished, true) {
                    let finish = Finish::of_gemini(&reason, progress.calls > 0);
                    let role = (!std::mem::replace(&mut progress.begun, true)).then(|| "assistant".into());
                    each(self.chunk(index, Message { role, ..Message::default() }, Some(finish), logprobs));
                }
            }
        }
        ended
    }

    fn chunk<'a>(
        &'a self,
        index: u32,
        delta: Message<'a>,
        finish: Option<Finish>,
        logprobs: Option<Json<'a>>,
    ) -> Reply<'a> {
        let finish_reason = finish.map(|finish| finish.open_ai().into());
        let choice = Choice { index, delta: Some(delta), finish_reason, logprobs, ..Choice::default() };
        self.identity.reply("chat.completion.chunk", vec![choice])
    }

    fn pieces<'a>(&mut self, part: Part<'a>) -> impl Iterator<Item = Piece<'a>> + use<'a> {
        let signature = part.thought_signature;
        let (main, signature) = if let Some(call) = part.function_call {
            self.calls += 1;
            let own = call.id.as_ref().and_then(Json::text).filter(|id| !id.is_empty());
            let call = ToolCall {
                index: None,
                id: Some(own.unwrap_or_else(|| Cow::Owned(self.identity.call_id(self.calls)))),
                kind: Some("function"),
                function: Function {
                    name: call.name.text(),
                    arguments: Some(
                        call.args.map_or(Cow::Borrowed("{}"), |args| Cow::Owned(args.source().into_owned())),
                    ),
                },
                extra_content: signature.map(ExtraContent::signed),
            };
            (Some(Piece::Call(call)), None)
        } else if let Some(blob) = part.inline_data {
            let data = blob.data.text().unwrap_or_default();
            let url = Json::tree(format!("data:{};base64,{data}", blob.mime_type));
            let picture = [("type", Json::constant("image_url")), ("image_url", Json::object([("url", url)]))];
            (Some(Piece::Picture(Json::object(picture))), signature)
        } else {
            let thought = part.thought;
            let text = part.text.map(|text| if thought { Piece::Thought(text) } else { Piece::Text(text) });
            (text, signature)
        };
        main.into_iter().chain(signature.map(Piece::Signature))
    }
}

/// The message of an answer whose prompt was blocked: HTTP says 200, and there are no candidates.
fn refused<'a>(answer: &Answer<'a>) -> Option<Message<'a>> {
    let feedback = answer.prompt_feedback.as_ref()?;
    let reason = feedback.block_reason.as_deref()?;
    let why = feedback.block_reason_message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    Some(Message {
        role: Some("assistant".into()),
        content: Some(Json::NULL),
        refusal: Some(Json::tree(format!("The prompt was blocked ({reason}){why}"))),
        ..Message::default()
    })
}

/// Several texts as one; a single one stays as it stood.
pub(super) fn joined(mut texts: Vec<Json<'_>>) -> Option<Json<'_>> {
    match texts.len() {
        0 => None,
        1 => texts.pop(),
        _ => Some(Json::Text(Cow::Owned(texts.iter().filter_map(Json::text).collect()))),
    }
}

/// `logprobsResult` in OpenAI's form.
fn logprobs<'a>(result: &Json<'_>) -> Option<Json<'a>> {
    let result: Value = serde_json::from_str(&result.source()).ok()?;
    let one = |candidate: &Value| {
        let token = candidate.get("token").and_then(Value::as_str).unwrap_or_default();
        json!({"token": token, "logprob": candidate.get("logProbability"), "bytes": token.as_bytes()})
    };
    let top = |place: usize| -> Vec<Value> {
        let candidates = result.get("topCandidates").and_then(|top| top.get(place)?.get("candidates")?.as_array());
        candidates.into_iter().flatten().map(one).collect()
    };
    let chosen = result.get("chosenCandidates")?.as_array()?;
    let content: Vec<Value> = chosen
        .iter()
        .enumerate()
        .map(|(place, candidate)| {
            let mut token = one(candidate);
            token["top_logprobs"] = Value::Array(top(place));
            token
        })
        .collect();
    Some(Json::Tree(json!({"content": content, "refusal": null})))
}
