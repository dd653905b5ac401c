//! The wire formats against bodies in the form in which they were recorded, and against everything else.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its own fixtures has failed")]

mod answers;
mod errors;
mod rendering;
mod requests;
mod streams;
