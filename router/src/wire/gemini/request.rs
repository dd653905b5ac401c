//! A `generateContent` request, and the contents that answers have too.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::wire::json::{Json, Members, null_is_default};

/// The request.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::wire) struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) system_instruction: Option<Content<'a>>,
    pub(in crate::wire) contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::wire) tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) tool_config: Option<ToolConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) safety_settings: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) cached_content: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Members::is_empty")]
    pub(in crate::wire) generation_config: Members<'a>,
}

/// What one side says in a turn.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::wire) struct Content<'a> {
    #[serde(borrow, default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub(in crate::wire) parts: Vec<Part<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) role: Option<Cow<'a, str>>,
}

/// One piece of a content. Exactly one of the payloads is set.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::wire) struct Part<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) text: Option<Json<'a>>,
    /// The text is a thought.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::wire) thought: bool,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) function_call: Option<FunctionCall<'a>>,
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) function_response: Option<FunctionResponse<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) inline_data: Option<Blob<'a>>,
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) file_data: Option<FileData<'a>>,
    /// Opaque state of the model's thinking; must come back with its part.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) thought_signature: Option<Json<'a>>,
}

/// A tool is to be called.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::wire) struct FunctionCall<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) id: Option<Json<'a>>,
    #[serde(borrow)]
    pub(in crate::wire) name: Json<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) args: Option<Json<'a>>,
}

/// What a tool said.
#[derive(Debug, Serialize)]
pub(in crate::wire) struct FunctionResponse<'a> {
    pub(in crate::wire) name: Cow<'a, str>,
    /// Always an object.
    pub(in crate::wire) response: Json<'a>,
}

/// Bytes inside the request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::wire) struct Blob<'a> {
    #[serde(borrow)]
    pub(in crate::wire) mime_type: Cow<'a, str>,
    /// Base64.
    #[serde(borrow)]
    pub(in crate::wire) data: Json<'a>,
}

/// Bytes that Google can fetch itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::wire) struct FileData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) mime_type: Option<&'static str>,
    pub(in crate::wire) file_uri: Cow<'a, str>,
}

/// A set of functions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::wire) struct Tool<'a> {
    pub(in crate::wire) function_declarations: Vec<FunctionDeclaration<'a>>,
}

/// A function. Its parameters are either a `Schema` of Google's or a JSON schema as it came.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::wire) struct FunctionDeclaration<'a> {
    pub(in crate::wire) name: Json<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) description: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) parameters: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) parameters_json_schema: Option<Json<'a>>,
}

/// Which functions may or must be called.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::wire) struct ToolConfig<'a> {
    pub(in crate::wire) function_calling_config: FunctionCalling<'a>,
}

/// `AUTO`, `ANY` or `NONE`, and the names that `ANY` is limited to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::wire) struct FunctionCalling<'a> {
    pub(in crate::wire) mode: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::wire) allowed_function_names: Vec<Cow<'a, str>>,
}

impl<'a> Part<'a> {
    /// A text.
    pub(in crate::wire) fn text(text: Json<'a>) -> Self {
        Self { text: Some(text), ..Self::default() }
    }
}
