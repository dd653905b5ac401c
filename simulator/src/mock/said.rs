//! What the model says: deterministic, and of the length that was drawn, so that the counts of an answer, its text and
//! what the world charges are one and the same.

use serde_json::{Value, json};

use super::ask::{Ask, BYTES_PER_TOKEN, Form, ToolUse};
use super::sample::sample;

/// Tokens of thinking before an answer whose length is given by its form.
const THOUGHTS_OF_FORMED: u32 = 64;

/// What a generated picture counts.
const PICTURE_TOKENS: u32 = 1290;

/// Of a prompt so much is repeated.
const ECHO_MAX: usize = 200;

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    /// What it is.
    pub(super) what: What,
    /// The summary of the thoughts, where it is to be shown.
    pub(super) thoughts: String,
    /// Whether it ended by itself.
    pub(super) finish: Finish,
    /// How long it is.
    pub(super) counts: Counts,
    /// How many times it is given.
    pub(super) answers: u32,
}

/// The content of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// Text, JSON included.
    Text(String),
    /// Calls of tools.
    Calls(Vec<Call>),
    /// A picture.
    Picture,
    /// Nothing: the thoughts took all that was allowed.
    Nothing,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) arguments: Value,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// It was over.
    Stop,
    /// It met the longest length allowed.
    Length,
}

/// Tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Prompt.
    pub(super) input: u32,
    /// Thoughts.
    pub(super) thoughts: u32,
    /// All answers together, without thoughts.
    pub(super) answer: u32,
}

impl Counts {
    /// What is billed as output.
    pub(super) fn output(self) -> u32 {
        self.thoughts.saturating_add(self.answer)
    }

    pub(super) fn total(self) -> u32 {
        self.input.saturating_add(self.output())
    }
}

impl Said {
    /// What `model` answers; `usual` is how many tokens its answers have.
    pub(super) fn to(ask: &Ask, model: &str, usual: u32) -> Self {
        let thinks = ask.thinks.unwrap_or_else(|| thinks(model));
        let formed = formed(ask);
        let (mut thoughts, mut each) = match (&formed, ask.wish.output) {
            (Some((_, length)), Some(wished)) if thinks => (wished.saturating_sub(*length), *length),
            (Some((_, length)), _) => (if thinks { THOUGHTS_OF_FORMED } else { 0 }, *length),
            (None, Some(wished)) => {
                let thoughts = if thinks { wished / 4 } else { 0 };
                (thoughts, (wished - thoughts).max(1))
            }
            (None, None) => {
                let thoughts = if thinks { usual / 4 } else { 0 };
                (thoughts, tokens(&opening(ask)).max(usual - thoughts))
            }
        };
        let mut finish = Finish::Stop;
        if let Some(most) = ask.answer_max.filter(|most| thoughts.saturating_add(each) > *most) {
            thoughts = thoughts.min(most);
            (each, finish) = (most - thoughts, Finish::Length);
        }
        let what = match formed {
            _ if each == 0 => What::Nothing,
            Some((What::Text(text), _)) => What::Text(cut(&text, each)),
            // A call or a picture that does not fit is none.
            Some((_, length)) if length > each => {
                each = 0;
                What::Nothing
            }
            Some((what, _)) => what,
            None => What::Text(long(opening(ask), each)),
        };
        let thought = if ask.thoughts_shown && thoughts > 0 {
            long("**Reading the question**\n\n".to_owned(), thoughts)
        } else {
            String::new()
        };
        let counts = Counts { input: ask.input, thoughts, answer: each.saturating_mul(ask.answers) };
        Self { what, thoughts: thought, finish, counts, answers: ask.answers }
    }
}

/// Whether a model thinks unless it is told not to.
fn thinks(model: &str) -> bool {
    let flash_lite = model.contains("flash-lite");
    let gemini = (model.contains("gemini-2.5") && !flash_lite) || model.contains("gemini-3");
    gemini || ["o1", "o3", "o4", "gpt-5"].iter().any(|lead| model.starts_with(lead))
}

/// An answer whose length is given by what it is, with that length.
fn formed(ask: &Ask) -> Option<(What, u32)> {
    let text = |text: String| {
        let length = tokens(&text);
        Some((What::Text(text), length))
    };
    if let Some(calls) = calls(ask) {
        let written: usize = calls.iter().map(|call| call.name.len() + call.arguments.to_string().len()).sum();
        return Some((What::Calls(calls), tokens_of(written)));
    }
    match &ask.form {
        Form::Text => None,
        Form::Json(None) => text(json!({"answer": excerpt(&ask.said)}).to_string()),
        Form::Json(Some(schema)) => text(sample(schema, &excerpt(&ask.said)).to_string()),
        Form::Words(words) => text(words.first().cloned().unwrap_or_default()),
        Form::Picture => Some((What::Picture, PICTURE_TOKENS)),
    }
}

/// The tools that are called: one, or one each if the prompt names several.
fn calls(ask: &Ask) -> Option<Vec<Call>> {
    let allowed: Vec<_> = match &ask.tool_use {
        ToolUse::Never => return None,
        ToolUse::Free if ask.tool_said.is_some() => return None,
        ToolUse::Free => ask.tools.iter().collect(),
        ToolUse::Must(names) => {
            ask.tools.iter().filter(|tool| names.is_empty() || names.contains(&tool.name)).collect()
        }
    };
    let named: Vec<_> = allowed.iter().filter(|tool| ask.said.contains(&tool.name)).copied().collect();
    let called = if named.is_empty() { allowed.into_iter().take(1).collect() } else { named };
    let topic = excerpt(&ask.said);
    let call = |tool: &super::ask::Tool| {
        let arguments = if tool.schema.is_object() { sample(&tool.schema, &topic) } else { json!({}) };
        Call { name: tool.name.clone(), arguments }
    };
    Some(called.into_iter().map(call).collect::<Vec<_>>()).filter(|calls| !calls.is_empty())
}

/// How an answer in words begins: it shows what has arrived.
fn opening(ask: &Ask) -> String {
    let mut text = String::new();
    if let Some(tool_said) = &ask.tool_said {
        text += &format!("The tool said: {}. ", excerpt(tool_said));
    }
    for (kind, size) in &ask.pictures {
        text += &format!("I see a picture ({kind}, {size} bytes). ");
    }
    text + &format!("You said: \"{}\". ", excerpt(&ask.said))
}

/// The beginning of a text, on one line.
fn excerpt(text: &str) -> String {
    let line: Vec<&str> = text.split_whitespace().collect();
    line.join(" ").chars().take(ECHO_MAX).collect()
}

fn tokens(text: &str) -> u32 {
    tokens_of(text.len())
}

fn tokens_of(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u32::MAX)
}

/// The text, cut to so many tokens.
fn cut(text: &str, tokens: u32) -> String {
    let most = tokens as usize * BYTES_PER_TOKEN;
    text[..text.floor_char_boundary(most)].to_owned()
}

/// The text, made exactly so many tokens long.
fn long(mut text: String, tokens: u32) -> String {
    const WORDS: [&str; 12] =
        ["Every", "cloud", "passes", "over", "the", "same", "hills", "and", "leaves", "some", "rain", "behind."];
    let bytes = tokens as usize * BYTES_PER_TOKEN;
    for word in WORDS.iter().cycle() {
        if text.len() >= bytes {
            break;
        }
        text += word;
        text.push(' ');
    }
    cut(&text, tokens)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ask::Tool;
    use super::super::wish::Wish;
    use super::*;

    fn ask(said: &str) -> Ask {
        Ask { said: said.to_owned(), input: 10, answers: 1, ..Ask::default() }
    }

    #[test]
    fn an_answer_echoes_and_is_as_long_as_it_says() {
        let said = Said::to(&ask("Hello\nworld"), "m", 50);
        let What::Text(text) = &said.what else { panic!("{said:?}") };
        assert!(text.starts_with("You said: \"Hello world\". Every cloud"), "{text}");
        assert_eq!((said.counts, text.len()), (Counts { input: 10, thoughts: 0, answer: 50 }, 200));
    }

    #[test]
    fn thoughts_come_first_and_may_take_all() {
        let asked = |answer_max| Ask { answer_max, thoughts_shown: true, ..ask("Hello") };
        let said = Said::to(&asked(None), "gemini-2.5-pro", 80);
        assert_eq!((said.counts.thoughts, said.counts.answer, said.thoughts.len()), (20, 60, 80));
        let said = Said::to(&asked(Some(30)), "gemini-2.5-pro", 80);
        assert_eq!((said.counts.thoughts, said.counts.answer, said.finish), (20, 10, Finish::Length));
        let said = Said::to(&asked(Some(20)), "gemini-2.5-pro", 80);
        assert_eq!((said.what, said.counts.output(), said.finish), (What::Nothing, 20, Finish::Length));
    }

    #[test]
    fn tools_are_called_until_one_has_answered() {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        let tool = |name: &str| Tool { name: name.to_owned(), schema: schema.clone() };
        let asked = Ask { tools: vec![tool("clock"), tool("weather")], ..ask("the weather in Rome") };
        let called = |ask: &Ask| match Said::to(ask, "m", 50).what {
            What::Calls(calls) => calls.into_iter().map(|call| call.name).collect(),
            What::Text(_) | What::Picture | What::Nothing => Vec::new(),
        };
        assert_eq!(called(&asked), ["weather"], "the one that the prompt names");
        assert_eq!(called(&Ask { said: "Hello".into(), ..asked.clone() }), ["clock"]);
        assert_eq!(called(&Ask { said: "clock, weather".into(), ..asked.clone() }), ["clock", "weather"]);
        assert_eq!(called(&Ask { tool_said: Some("rain".into()), ..asked.clone() }), [""; 0]);
        assert_eq!(called(&Ask { tool_use: ToolUse::Never, ..asked.clone() }), [""; 0]);
        assert_eq!(called(&Ask { tool_use: ToolUse::Must(vec!["clock".into()]), ..asked }), ["clock"]);
    }

    proptest! {
        #[test]
        fn counts_are_what_was_wished(
            said in "\\PC{0,80}", output in 1_u32..3000, max in prop::option::of(1_u32..3000), answers in 1_u32..4,
            thinking in any::<bool>(), shown in any::<bool>(),
        ) {
            let wish = Wish { output: Some(output), ..Wish::default() };
            let ask = Ask { wish, answer_max: max, answers, thinks: Some(thinking), thoughts_shown: shown, ..ask(&said) };
            let said = Said::to(&ask, "m", 500);
            let allowed = max.unwrap_or(u32::MAX);
            let each = said.counts.answer / answers;
            prop_assert_eq!(said.counts.thoughts + each, output.min(allowed));
            prop_assert_eq!(said.finish == Finish::Length, output > allowed);
            match &said.what {
                What::Text(text) => prop_assert_eq!(tokens(text), each),
                What::Nothing => prop_assert_eq!(each, 0),
                What::Calls(_) | What::Picture => prop_assert!(false),
            }
            prop_assert_eq!(said.thoughts.is_empty(), !shown || said.counts.thoughts == 0);
        }
    }
}
