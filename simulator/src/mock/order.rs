//! A good answer, in the form that was asked for.

use stormproof_router::wire::{Dialect, Framing, Front, Identity, Stream, answer};

use super::said::Said;
use super::write::open_ai::{Chunks, Style};
use super::write::{Label, gemini, open_ai, pretty};

/// An answer that the world may let pass, not written yet.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) content: Content,
    pub(super) label: Label,
}

/// What it holds and how it is written.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// `generateContent`; a stream if there is a framing.
    Gemini { said: Said, house: gemini::House, framing: Option<Framing> },
    /// A chat completion.
    Chat { said: Said, style: Style, stream: bool, include_usage: bool },
    /// A response.
    Responses { said: Said, stream: bool },
    /// Something that is written already.
    Written(Vec<u8>),
}

impl Order {
    /// Whether it is a stream.
    pub(super) fn is_stream(&self) -> bool {
        match &self.content {
            Content::Gemini { framing, .. } => framing.is_some(),
            Content::Chat { stream, .. } | Content::Responses { stream, .. } => *stream,
            Content::Written(_) => false,
        }
    }

    /// How its stream is framed.
    pub(super) fn framing(&self) -> Framing {
        match &self.content {
            Content::Gemini { framing, .. } => framing.unwrap_or_default(),
            Content::Chat { .. } | Content::Responses { .. } | Content::Written(_) => Framing::Sse,
        }
    }

    /// The whole answer.
    pub(super) fn whole(&self) -> Vec<u8> {
        let Self { content, label } = self;
        match content {
            Content::Gemini { said, house, .. } => pretty(&gemini::whole(said, label, *house)),
            Content::Chat { said, style, .. } => open_ai::whole(said, label, *style).to_string().into_bytes(),
            Content::Responses { said, .. } => {
                let chat = open_ai::whole(said, label, Style::OpenAi).to_string();
                let translated = answer(Front::Responses, Dialect::OpenAi, chat.as_bytes(), &self.identity());
                // What was just written is an answer.
                translated.map(|answered| answered.body.into_owned()).unwrap_or_default()
            }
            Content::Written(body) => body.clone(),
        }
    }

    /// The stream of about `count` pieces; unless `complete`, without anything that says that it is over.
    pub(super) fn chunks(&self, count: usize, complete: bool) -> Chunks {
        let Self { content, label } = self;
        match content {
            Content::Gemini { said, house, framing } => {
                let framing = framing.unwrap_or_default();
                let events = gemini::events(said, label, *house, count, complete);
                framed(&events, framing, complete)
            }
            Content::Chat { said, style, include_usage, .. } => {
                open_ai::chunks(said, label, *style, count, *include_usage, complete)
            }
            Content::Responses { said, .. } => {
                self.translated(&open_ai::chunks(said, label, Style::OpenAi, count, true, complete), complete)
            }
            Content::Written(body) => Chunks { pieces: vec![body.clone()], tail: Vec::new() },
        }
    }

    /// What is said of a blocked prompt, whole.
    pub(super) fn blocked(&self) -> Vec<u8> {
        let Self { content, label } = self;
        match content {
            Content::Gemini { said, house, .. } => pretty(&gemini::blocked(said.counts.input, label, *house)),
            Content::Chat { said, style, .. } => {
                open_ai::blocked(said.counts.input, label, *style).to_string().into_bytes()
            }
            Content::Responses { .. } | Content::Written(_) => self.whole(),
        }
    }

    /// The same as a stream.
    pub(super) fn blocked_chunks(&self) -> Chunks {
        let Self { content, label } = self;
        match content {
            Content::Gemini { said, house, framing } => {
                framed(&[gemini::blocked(said.counts.input, label, *house)], framing.unwrap_or_default(), true)
            }
            Content::Chat { said, style, .. } => open_ai::blocked_chunks(said.counts.input, label, *style),
            Content::Responses { .. } | Content::Written(_) => self.chunks(1, true),
        }
    }

    /// A chat's stream as a response's.
    fn translated(&self, chat: &Chunks, complete: bool) -> Chunks {
        let mut stream = Stream::new(Front::Responses, Dialect::OpenAi, Framing::Sse, self.identity());
        let mut translate = |piece: &[u8]| {
            let mut out = Vec::new();
            // What was just written is a stream.
            let _well_formed = stream.push(piece, &mut out);
            out
        };
        let pieces = chat.pieces.iter().map(|piece| translate(piece)).collect();
        let mut tail = translate(&chat.tail);
        if complete {
            let _complete = stream.end(&mut tail);
        }
        Chunks { pieces, tail }
    }

    fn identity(&self) -> Identity {
        let Label { model, id, created, .. } = &self.label;
        Identity { id: id.clone(), created: *created, model: model.clone() }
    }
}

fn framed(events: &[serde_json::Value], framing: Framing, complete: bool) -> Chunks {
    let pieces = events.iter().enumerate().map(|(index, event)| gemini::frame(event, framing, index)).collect();
    let tail = if complete { gemini::end(framing).to_vec() } else { Vec::new() };
    Chunks { pieces, tail }
}
