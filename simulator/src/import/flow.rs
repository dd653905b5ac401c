//! Text that has been through terminals, mails and chats: lines are broken where a window ended, in the middle of words
//! as well as between them, and the same thing stands there several times.
//!
//! [`Flow`] reads such text as if no line had ever been broken. A break may stand for a space or for nothing, so
//! literals are compared without any white space, and what is read across a break keeps it as one space.

/// A place in a text, read forward.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow<'a> {
    text: &'a str,
    at: usize,
}

/// What a value in a Python literal may be here.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A string, unescaped; line breaks of the window stand as one space.
    Text(String),
    /// A number, in the digits that it has.
    Number(String),
    /// `None`, `True`, `False`.
    Word(String),
}

impl<'a> Flow<'a> {
    /// This text from its beginning.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// This text from `at` on.
    pub(super) fn from(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    /// The number of the line that is being read, from 1.
    pub(super) fn line(&self) -> usize {
        line_of(self.text, self.at)
    }

    /// Reads `literal`, whose own white space and that of the text do not matter. Nothing is read when it is not there.
    pub(super) fn literal(&mut self, literal: &str) -> bool {
        let mut rest = self.text[self.at..].char_indices().filter(|(_, character)| !character.is_whitespace());
        let mut end = 0;
        for wanted in literal.chars().filter(|character| !character.is_whitespace()) {
            match rest.next() {
                Some((index, found)) if found == wanted => end = index + found.len_utf8(),
                Some(_) | None => return false,
            }
        }
        self.at += end;
        true
    }

    /// Everything up to `literal`, which is read, too; without white space. `None` when it is not within `longest`
    /// bytes.
    pub(super) fn up_to(&mut self, literal: &str, longest: usize) -> Option<String> {
        let start = self.at;
        for (index, character) in self.text[start..].char_indices().take_while(|(index, _)| *index <= longest) {
            let mut ahead = Self { text: self.text, at: start + index };
            if !character.is_whitespace() && ahead.literal(literal) {
                let passed = &self.text[start..start + index];
                self.at = ahead.at;
                return Some(passed.chars().filter(|character| !character.is_whitespace()).collect());
            }
        }
        None
    }

    /// A number, with breaks anywhere in it.
    pub(super) fn number(&mut self) -> Option<f64> {
        self.digits()?.parse().ok()
    }

    fn digits(&mut self) -> Option<String> {
        let mut digits = String::new();
        let mut end = self.at;
        for (index, character) in self.text[self.at..].char_indices() {
            match character {
                '0'..='9' | '.' | '-' => {
                    digits.push(character);
                    end = self.at + index + 1;
                }
                _ if character.is_whitespace() => {}
                _ => break,
            }
        }
        // A full stop after a number ends the sentence.
        let number = digits.trim_end_matches('.');
        number.parse::<f64>().ok()?;
        self.at = end;
        Some(number.to_owned())
    }

    /// A Python string literal, number or word.
    pub(super) fn value(&mut self) -> Option<Value> {
        for (literal, word) in [("None", "None"), ("True", "True"), ("False", "False")] {
            if self.literal(literal) {
                return Some(Value::Word(word.to_owned()));
            }
        }
        self.string().map(Value::Text).or_else(|| self.digits().map(Value::Number))
    }

    /// A Python string literal in either kind of quotes. Nothing is read when it does not end.
    pub(super) fn string(&mut self) -> Option<String> {
        let rest = self.text[self.at..].trim_start();
        let quote = rest.chars().next().filter(|character| matches!(character, '\'' | '"'))?;
        let start = self.text.len() - rest.len() + 1;
        let mut value = String::new();
        let mut characters = self.text[start..].char_indices().filter(|(_, character)| *character != '\r');
        while let Some((index, character)) = characters.next() {
            match character {
                _ if character == quote => {
                    self.at = start + index + 1;
                    return Some(value);
                }
                '\n' => value.push(' '),
                // A window may end between the backslash and what it escapes.
                '\\' => match characters.by_ref().find(|(_, escaped)| *escaped != '\n')?.1 {
                    'n' => value.push('\n'),
                    't' => value.push('\t'),
                    'r' => value.push('\r'),
                    escaped => value.push(escaped),
                },
                _ => value.push(character),
            }
        }
        None
    }
}

/// Every place in `text` where `literal` begins, whatever breaks are in it.
pub(super) fn places<'a>(text: &'a str, literal: &'a str) -> impl Iterator<Item = usize> + 'a {
    let first = literal.chars().next();
    let begins = text.char_indices().filter(move |(_, character)| Some(*character) == first);
    begins.map(|(index, _)| index).filter(move |index| Flow::from(text, *index).literal(literal))
}

/// The number of the line on which this byte stands, from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Words with single spaces between them.
pub(super) fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_do_not_care_for_breaks() {
        let text = "cooldown_\n  list = [1]";
        let mut flow = Flow::new(text);
        assert!(!flow.literal("cooldown_lost"));
        assert!(flow.literal("cooldown_list=["));
        assert_eq!((flow.number(), flow.literal("]"), flow.literal("]")), (Some(1.0), true, false));
        assert_eq!(places("ab a\nb aab", "ab").collect::<Vec<_>>(), [0, 3, 8]);
    }

    #[test]
    fn strings_end_where_python_ends_them() {
        for (text, value) in [
            ("'plain'", "plain"),
            ("\"it's\"", "it's"),
            (r"'b\'{\\n  \'}'", r"b'{\n  '}"),
            ("'over\nthe edge'", "over the edge"),
            ("'esc\\\nn'", "esc\n"),
        ] {
            assert_eq!(Flow::new(text).string().as_deref(), Some(value), "{text}");
        }
        for endless in ["'no end", "'no end\\'", "no quotes"] {
            let mut flow = Flow::new(endless);
            assert_eq!((flow.string(), flow.at), (None, 0), "{endless}");
        }
    }

    #[test]
    fn numbers_across_breaks_and_before_full_stops() {
        assert_eq!(Flow::new("17450\n40057.5 ").number(), Some(1_745_040_057.5));
        assert_eq!(Flow::new("2000. Passed").number(), Some(2000.0));
        assert_eq!(Flow::new("none").number(), None);
        assert_eq!(Flow::new("model=a.b-\nc. pre-call").up_to(". pre-call", 100).as_deref(), Some("model=a.b-c"));
        assert_eq!(Flow::new("abc def").up_to("def", 2), None);
    }
}
