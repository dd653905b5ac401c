//! Chat completions as types: answers and stream chunks, that we read and write.

mod reply;

pub(super) use reply::{Choice, ExtraContent, Function, Message, Reply, ToolCall, signature_in};
