//! What goes out on a connection, and when: the world's plan for a call, written in the provider's words. Pure: the
//! same plan gives the same bytes.

use serde_json::Value;
use stormproof_router::core::{Duration, Ending, Facts, Reason, Timestamp, Transport};
use stormproof_router::wire::Framing;
use stormproof_router::wire::render::{About, Surface, Voice};

use super::manners::{CutManner, ErrorManner, Look, MalformedManner};
use super::order::{Content, Order};
use super::write::{gemini, open_ai};
use crate::world::Plan;

/// What happens on a connection.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Script {
    /// The answer's status.
    pub(super) status: u16,
    /// Its headers, names in lower case.
    pub(super) headers: Vec<(&'static str, String)>,
    /// What is sent when, in order. The head goes out with the first.
    pub(super) steps: Vec<(Timestamp, Vec<u8>)>,
    /// When it is over; [`Timestamp::MAX`] when it never is.
    pub(super) end: Timestamp,
    /// How it is over.
    pub(super) close: Close,
}

/// The end of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// As it should be.
    Whole,
    /// The connection closes in the middle of the body.
    Cut,
    /// The connection is reset, without a byte of an answer.
    Reset,
}

/// Who speaks, and of what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speaker<'a> {
    pub(super) voice: Voice,
    pub(super) about: About<'a>,
}

const JSON: &str = "application/json; charset=UTF-8";
const EVENTS: &str = "text/event-stream";

/// What the plan looks like from outside. `pieces` is how many pieces the whole stream would have.
pub(super) fn script(plan: &Plan, order: &Order, speaker: Speaker<'_>, look: Look, pieces: usize) -> Script {
    match plan.ending {
        Ending::Status(200..=299) => good(plan, order, pieces),
        Ending::Status(status) => refused(status, &plan.facts.unwrap_or_default(), speaker, plan.end),
        Ending::Transport(transport) => match transport {
            // Nobody can refuse a connection for the sake of the key that it is going to carry.
            Transport::Connect | Transport::Reset | Transport::ReusedConnection => nothing(plan.end),
            // These are the caller's impatience with somebody who says nothing.
            Transport::FirstByteTimeout | Transport::IdleTimeout | Transport::TotalTimeout | Transport::Abandoned => {
                nothing(Timestamp::MAX)
            }
            Transport::Cut => cut(plan, order, look.cut, pieces),
            Transport::ErrorEvent => error_event(plan, order, speaker, look.error_event, pieces),
            Transport::Malformed => malformed(plan, order, look.malformed, pieces),
        },
    }
}

/// An error answer at that moment.
pub(super) fn refused(status: u16, facts: &Facts, speaker: Speaker<'_>, end: Timestamp) -> Script {
    let answer = speaker.voice.render(status, facts, speaker.about);
    let steps = vec![(end, answer.body.into_bytes())];
    Script { status: answer.status, headers: answer.headers, steps, end, close: Close::Whole }
}

fn good(plan: &Plan, order: &Order, pieces: usize) -> Script {
    let blocked = plan.facts.is_some_and(|facts| facts.reason == Some(Reason::ContentBlocked));
    if !order.is_stream() {
        let body = if blocked { order.blocked() } else { order.whole() };
        return whole(order, body, plan.end, Close::Whole);
    }
    let chunks = if blocked { order.blocked_chunks() } else { order.chunks(pieces, true) };
    let mut steps = paced(plan, chunks.pieces);
    steps.push((plan.end, chunks.tail));
    stream(order, steps, plan.end, Close::Whole)
}

fn nothing(end: Timestamp) -> Script {
    Script { status: 0, headers: Vec::new(), steps: Vec::new(), end, close: Close::Reset }
}

fn cut(plan: &Plan, order: &Order, manner: CutManner, pieces: usize) -> Script {
    if !order.is_stream() {
        let mut body = order.whole();
        body.truncate(body.len() / 2);
        return whole(order, body, plan.end, Close::Cut);
    }
    let mut steps = begun(plan, order, pieces);
    let close = match manner {
        CutManner::Connection => Close::Cut,
        CutManner::CleanEnd => {
            steps.push((plan.end, clean_end(order, steps.is_empty())));
            Close::Whole
        }
    };
    stream(order, steps, plan.end, close)
}

/// What ends a stream that has said nothing of an end.
fn clean_end(order: &Order, empty: bool) -> Vec<u8> {
    match &order.content {
        Content::Gemini { framing: Some(Framing::Array), .. } if empty => b"[]\n".to_vec(),
        Content::Gemini { framing: Some(framing), .. } => gemini::end(*framing).to_vec(),
        Content::Gemini { framing: None, .. }
        | Content::Chat { .. }
        | Content::Responses { .. }
        | Content::Written(_) => Vec::new(),
    }
}

fn error_event(plan: &Plan, order: &Order, speaker: Speaker<'_>, manner: ErrorManner, pieces: usize) -> Script {
    // Inside a stream the compatibility endpoint has no array around its errors.
    let own = speaker.voice.surface;
    let surface = if own == Surface::GeminiCompat { Surface::Gemini } else { own };
    let answer = Voice { surface, ..speaker.voice }.render(200, &plan.facts.unwrap_or_default(), speaker.about);
    if !order.is_stream() {
        return whole(order, answer.body.into_bytes(), plan.end, Close::Whole);
    }
    let mut steps = begun(plan, order, pieces);
    let event = match manner {
        ErrorManner::Event => event(&answer.body, order, steps.is_empty()),
        ErrorManner::RawTail => answer.body.into_bytes(),
    };
    steps.push((plan.end, event));
    stream(order, steps, plan.end, Close::Whole)
}

/// An error body as an event.
fn event(body: &str, order: &Order, first: bool) -> Vec<u8> {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    match &order.content {
        Content::Gemini { framing, .. } => {
            let framing = framing.unwrap_or_default();
            let mut event = gemini::frame(&value, framing, usize::from(!first));
            event.extend_from_slice(gemini::end(framing));
            event
        }
        Content::Chat { .. } | Content::Written(_) => open_ai::frame(&value),
        Content::Responses { .. } => {
            let error = value.get("error").unwrap_or(&value);
            let (message, code) = (error.get("message"), error.get("code"));
            let event = serde_json::json!({"type": "error", "code": code, "message": message, "param": null, "sequence_number": 0});
            format!("event: error\ndata: {event}\n\n").into_bytes()
        }
    }
}

fn malformed(plan: &Plan, order: &Order, manner: MalformedManner, pieces: usize) -> Script {
    const PAGE: &[u8] =
        b"<!DOCTYPE html>\n<html><head><title>One moment</title></head><body>One moment, please.</body></html>\n";
    if order.is_stream() {
        let mut steps = begun(plan, order, pieces);
        let garbage: &[u8] = match (order.framing(), steps.is_empty()) {
            (Framing::Sse, _) => b"data: {\"candidates\": [{\"content\": {\"par\r\n\r\n",
            (Framing::Array, true) => PAGE,
            (Framing::Array, false) => b"\n]\n]\n",
        };
        steps.push((plan.end, garbage.to_vec()));
        return stream(order, steps, plan.end, Close::Whole);
    }
    let body = match manner {
        MalformedManner::Html => {
            let mut page = whole(order, PAGE.to_vec(), plan.end, Close::Whole);
            page.headers = vec![("content-type", "text/html; charset=UTF-8".to_owned())];
            return page;
        }
        MalformedManner::Truncated => {
            let mut body = order.whole();
            body.truncate(body.len() / 2);
            body
        }
        MalformedManner::Empty => Vec::new(),
        MalformedManner::Foreign => b"{\"status\": \"ok\"}\n".to_vec(),
    };
    whole(order, body, plan.end, Close::Whole)
}

/// The good pieces before a stream goes wrong.
fn begun(plan: &Plan, order: &Order, pieces: usize) -> Vec<(Timestamp, Vec<u8>)> {
    if plan.first_byte.is_none() {
        return Vec::new();
    }
    let mut chunks = order.chunks(pieces.max(plan.chunks as usize), false).pieces;
    chunks.truncate(plan.chunks.max(1) as usize);
    paced(plan, chunks)
}

/// Pieces evenly from the first byte to the last.
fn paced(plan: &Plan, pieces: Vec<Vec<u8>>) -> Vec<(Timestamp, Vec<u8>)> {
    let first = plan.first_byte.unwrap_or(plan.end);
    let span = plan.silent_from.unwrap_or(plan.end).since(first).as_nanos();
    let gaps = pieces.len().saturating_sub(1).max(1) as u128;
    let at = |index: usize| {
        // The product of a day in nanoseconds and thousands of pieces needs more than 64 bits.
        let passed = u128::from(span) * index as u128 / gaps;
        first + Duration::from_nanos(u64::try_from(passed).unwrap_or(u64::MAX))
    };
    pieces.into_iter().enumerate().map(|(index, piece)| (at(index), piece)).collect()
}

fn whole(order: &Order, body: Vec<u8>, end: Timestamp, close: Close) -> Script {
    let kind = match &order.content {
        Content::Gemini { .. } | Content::Written(_) => JSON,
        Content::Chat { .. } | Content::Responses { .. } => "application/json",
    };
    Script { status: 200, headers: vec![("content-type", kind.to_owned())], steps: vec![(end, body)], end, close }
}

fn stream(order: &Order, steps: Vec<(Timestamp, Vec<u8>)>, end: Timestamp, close: Close) -> Script {
    let mut headers = match order.framing() {
        Framing::Sse => vec![("content-type", EVENTS.to_owned())],
        Framing::Array => vec![("content-type", JSON.to_owned())],
    };
    if matches!(order.content, Content::Gemini { .. }) {
        headers.push(("content-disposition", "attachment".to_owned()));
    }
    Script { status: 200, headers, steps, end, close }
}
