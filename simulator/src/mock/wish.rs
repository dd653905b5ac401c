//! What a prompt may ask of the mock itself: `mock:turn=17,input=8000,output=1000`, anywhere in the last message.
//!
//! A rehearsal needs it: with the turn's key its attempts meet the luck that the simulator draws for that turn, and
//! with the sizes its tokens are the turn's, whatever text stands around.

use std::fmt;

/// All that may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The key of the simulated turn ([`Turn::key`](crate::clients::Turn)).
    pub turn: Option<u64>,
    /// Prompt tokens.
    pub input: Option<u32>,
    /// Answer tokens, thoughts included.
    pub output: Option<u32>,
}

/// What a wish begins with.
const LEAD: &str = "mock:";

impl Wish {
    /// The first wish in a text; an empty one where there is none.
    pub(super) fn find(text: &str) -> Self {
        text.match_indices(LEAD)
            .map(|(at, _)| Self::read(&text[at + LEAD.len()..]))
            .find(|wish| *wish != Self::default())
            .unwrap_or_default()
    }

    fn read(text: &str) -> Self {
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '=' | ','))).unwrap_or(text.len());
        let mut wish = Self::default();
        for (name, value) in text[..end].split(',').filter_map(|pair| pair.split_once('=')) {
            match name {
                "turn" => wish.turn = value.parse().ok(),
                "input" => wish.input = value.parse().ok(),
                "output" => wish.output = value.parse().ok(),
                _ => {}
            }
        }
        wish
    }
}

/// As a prompt holds it.
impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [("input", self.input), ("output", self.output)];
        let counts = counts.into_iter().filter_map(|(name, value)| value.map(|value| (name, u64::from(value))));
        let all = self.turn.map(|turn| ("turn", turn)).into_iter().chain(counts);
        f.write_str(LEAD)?;
        for (index, (name, value)) in all.enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_survives_its_text() {
        let wish = Wish { turn: Some(u64::MAX), input: Some(8000), output: None };
        assert_eq!(wish.to_string(), "mock:turn=18446744073709551615,input=8000");
        assert_eq!(Wish::find(&format!("A mock: of a prompt. {wish}. Go on.")), wish);
        let all = Wish { turn: Some(1), input: Some(2), output: Some(3) };
        assert_eq!(Wish::find(&all.to_string()), all);
        for none in ["", "mock:", "mock:none", "mock:output=many", "output=3"] {
            assert_eq!(Wish::find(none), Wish::default(), "{none}");
        }
    }
}
