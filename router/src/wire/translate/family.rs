//! What differs between generations of Gemini models, read from the model's id.

use crate::wire::json::{Json, Members};

/// A generation of Gemini models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Family {
    generation: Generation,
    size: Size,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Generation {
    /// 2.0 and before, and other families: no thinking, and Google's own schema language only.
    Plain,
    /// 2.5: thinking has a budget in tokens.
    Budgets,
    /// 3 and later: thinking has levels, and signatures of thoughts are checked.
    Levels,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Pro,
    Flash,
    FlashLite,
}

impl Family {
    /// Of `gemini-2.5-pro-preview-03-25`, `gemini-3-flash`, `models/gemini-2.0-flash` …; aliases such as
    /// `gemini-flash-latest` name the newest.
    pub(super) fn of(model: &str) -> Self {
        let name = model.rsplit('/').next().unwrap_or(model);
        let size = match (name.contains("flash-lite"), name.contains("flash")) {
            (true, _) => Size::FlashLite,
            (false, true) => Size::Flash,
            (false, false) => Size::Pro,
        };
        let version = name.strip_prefix("gemini-").unwrap_or_default();
        let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        let generation = match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), _) if major >= 3 => Generation::Levels,
            (Some(Ok(2)), Some(Ok(minor))) if minor >= 5 => Generation::Budgets,
            _ if version.ends_with("-latest") && !version.starts_with(|c: char| c.is_ascii_digit()) => {
                Generation::Levels
            }
            _ => Generation::Plain,
        };
        Self { generation, size }
    }

    /// Whether schemas may go as they came, in `parametersJsonSchema` and `responseJsonSchema`.
    pub(super) fn takes_json_schema(self) -> bool {
        match self.generation {
            Generation::Plain => false,
            Generation::Budgets | Generation::Levels => true,
        }
    }

    /// Whether a function call sent back without its signature is an error.
    pub(super) fn checks_signatures(self) -> bool {
        match self.generation {
            Generation::Plain | Generation::Budgets => false,
            Generation::Levels => true,
        }
    }

    /// `thinkingConfig` for a `reasoning_effort`; `None` where the model does not think. An effort nobody knows is an
    /// error.
    pub(super) fn thinking<'a>(self, effort: &str) -> Result<Option<Members<'a>>, UnknownEffort> {
        let (budget, level) = match (effort, self.size) {
            // Pro cannot do without thinking.
            ("none", Size::Pro) => (128, "low"),
            ("none", Size::Flash | Size::FlashLite) => (0, "minimal"),
            ("minimal", Size::Pro) => (128, "low"),
            ("minimal", Size::Flash) => (1, "minimal"),
            ("minimal", Size::FlashLite) => (512, "minimal"),
            ("low", _) => (1_024, "low"),
            ("medium", Size::Pro) => (2_048, "high"),
            ("medium", Size::Flash | Size::FlashLite) => (2_048, "medium"),
            ("high" | "xhigh", _) => (4_096, "high"),
            (_, _) => return Err(UnknownEffort),
        };
        Ok(match self.generation {
            Generation::Plain => None,
            Generation::Budgets => Some(Members::of([("thinkingBudget", Json::tree(budget))])),
            Generation::Levels => Some(Members::of([("thinkingLevel", Json::constant(level))])),
        })
    }
}

/// Not one of OpenAI's efforts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnknownEffort;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_read_from_ids() {
        let cases = [
            ("gemini-2.5-pro-exp-03-25", Generation::Budgets, Size::Pro),
            ("gemini-2.5-flash-lite", Generation::Budgets, Size::FlashLite),
            ("models/gemini-2.0-flash", Generation::Plain, Size::Flash),
            ("gemini-3-pro-preview", Generation::Levels, Size::Pro),
            ("gemini-3.1-flash", Generation::Levels, Size::Flash),
            ("gemini-10-flash", Generation::Levels, Size::Flash),
            ("gemini-1.5-pro-latest", Generation::Plain, Size::Pro),
            ("gemini-flash-latest", Generation::Levels, Size::Flash),
            ("gemma-3-27b-it", Generation::Plain, Size::Pro),
            ("", Generation::Plain, Size::Pro),
        ];
        for (model, generation, size) in cases {
            assert_eq!(Family::of(model), Family { generation, size }, "{model}");
        }
    }
}
