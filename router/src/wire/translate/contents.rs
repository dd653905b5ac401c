//! Gemini's contents, as they grow from a list of messages.
//!
//! Roles alternate there: what one side says in several messages is one content. What tools say is a content of its own,
//! directly behind the calls, in the calls' order (which is how parallel calls of one tool are told apart).

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::wire::gemini::{Content, FunctionResponse, Part, USER};
use crate::wire::json::Json;

/// Contents so far.
#[derive(Default)]
pub(super) struct Contents<'a> {
    done: Vec<Content<'a>>,
    /// The names of all calls so far, which their answers must repeat.
    calls: Vec<Cow<'a, str>>,
    by_id: BTreeMap<Cow<'a, str>, usize>,
    by_name: BTreeMap<Cow<'a, str>, usize>,
    /// Answers not yet written, with their call's place.
    answers: Vec<(usize, Part<'a>)>,
}

impl<'a> Contents<'a> {
    /// Adds what one side says; nothing is no content.
    pub(super) fn push(&mut self, role: &'static str, parts: Vec<Part<'a>>) {
        self.write_answers();
        if parts.is_empty() {
            return;
        }
        match self.done.last_mut() {
            Some(last) if last.role.as_deref() == Some(role) && !is_answer(last) => last.parts.extend(parts),
            Some(_) | None => self.done.push(Content { parts, role: Some(Cow::Borrowed(role)) }),
        }
    }

    /// Remembers a call.
    pub(super) fn called(&mut self, id: Option<Cow<'a, str>>, name: Cow<'a, str>) {
        // Calls of this message stand behind the answers to those of the last one.
        self.write_answers();
        let place = self.calls.len();
        self.by_id.extend(id.map(|id| (id, place)));
        self.by_name.insert(name.clone(), place);
        self.calls.push(name);
    }

    /// Adds the answer to the call with this id; `None` if there was no such call.
    pub(super) fn answer_by_id(&mut self, id: &str, response: Json<'a>) -> Option<()> {
        let place = *self.by_id.get(id)?;
        let name = self.calls.get(place)?.clone();
        self.answer(place, name, response);
        Some(())
    }

    /// Adds the answer of the function with this name.
    pub(super) fn answer_by_name(&mut self, name: Cow<'a, str>, response: Json<'a>) {
        let place = self.by_name.get(&name).copied().unwrap_or(usize::MAX);
        self.answer(place, name, response);
    }

    fn answer(&mut self, place: usize, name: Cow<'a, str>, response: Json<'a>) {
        let part = Part { function_response: Some(FunctionResponse { name, response }), ..Part::default() };
        self.answers.push((place, part));
    }

    fn write_answers(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let mut answers = std::mem::take(&mut self.answers);
        answers.sort_by_key(|(place, _)| *place);
        let parts = answers.into_iter().map(|(_, part)| part).collect();
        self.done.push(Content { parts, role: Some(Cow::Borrowed(USER)) });
    }

    /// All contents. Gemini refuses a request without any, and a part without text: a blank stands for nothing.
    pub(super) fn finish(mut self) -> Vec<Content<'a>> {
        self.write_answers();
        if self.done.is_empty() {
            self.done.push(Content { parts: vec![Part::text(Json::constant(" "))], role: Some(Cow::Borrowed(USER)) });
        }
        self.done
    }
}

fn is_answer(content: &Content<'_>) -> bool {
    content.parts.iter().any(|part| part.function_response.is_some())
}

/// What a tool said, as an object: itself, if it is one in JSON, else under the name that Google suggests.
pub(super) fn tool_response(text: Cow<'_, str>) -> Json<'_> {
    Json::object_in(&text).unwrap_or_else(|| Json::object([("output", Json::Text(text))]))
}
