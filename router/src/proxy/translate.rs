//! What a client asked, and how it is said to a provider and back.

mod events;
mod question;
mod reader;

pub(super) use question::{Question, Surface};
pub(super) use reader::StreamReader;
