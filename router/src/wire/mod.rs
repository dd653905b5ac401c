//! What goes over the wire: Gemini and OpenAI bodies, read and written as pure functions over bytes.
//!
//! No sockets, no clock, no state beyond one request. The driver hands over what it received and gets back either
//! something that a decision may rest on ([`facts`], [`usage`]) or bytes to send on. Every reader here is tolerant:
//! whatever a provider, a middlebox or a broken connection delivers gives *some* result, in bounded time, without a
//! panic. Every text that may leave the process goes through [`redact`].

mod client_error;
mod dialect;
mod envelope;
mod errors;
mod gemini;
mod json;
mod open_ai;
mod peek;
mod quota;
mod reasons;
mod redact;
pub mod render;
mod retry_after;
mod sse;
mod translate;
mod usage;

pub use client_error::ClientError;
pub use dialect::Dialect;
pub use errors::{Headers, facts};
pub use json::Refusal;
pub use peek::{Peek, gemini_for};
pub use redact::redact;
pub use sse::Framing;
pub use translate::{
    Answered, Asked, Failure, Fetched, Flavor, Front, Identity, Malformed, Stream, answer, embeddings, models, request,
};
pub use usage::usage;
