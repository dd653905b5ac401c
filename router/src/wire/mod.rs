//! What goes over the wire: Gemini and OpenAI bodies, read and written as pure functions over bytes.
//!
//! No sockets, no clock, no state beyond one request. The driver hands over what it received and gets back either
//! something that a decision may rest on ([`facts`], [`usage`]) or bytes to send on. Every reader here is tolerant:
//! whatever a provider, a middlebox or a broken connection delivers gives *some* result, in bounded time, without a
//! panic. Every text that may leave the process goes through [`redact`].

mod dialect;
mod envelope;
mod errors;
mod quota;
mod reasons;
mod redact;
pub mod render;
mod retry_after;
mod usage;

pub use dialect::Dialect;
pub use errors::{Headers, facts};
pub use redact::redact;
pub use usage::usage;
