//! Gemini's bodies as types: `generateContent` requests that we write, answers that we read and write.
//!
//! Requests that we *read* have no type: they come in two spellings, may hold anything, and must be refused by the
//! path of what has no place, so they are read member by member.

mod answer;
mod request;

pub(super) use answer::{Answer, Candidate, Finish};
pub(super) use request::{
    Blob, Content, FileData, FunctionCall, FunctionCalling, FunctionDeclaration, FunctionResponse, Part, Request, Tool,
    ToolConfig,
};

/// The author of a content.
pub(super) const USER: &str = "user";
/// The author of a content.
pub(super) const MODEL: &str = "model";
