//! What a scenario assumes, as sentences for tables and pictures.

use stormproof_router::config::{At, Node, Report, suggest};

/// The longest quotation of a part of the file, in characters.
const QUOTED_MAX: usize = 240;

/// Each assumption as a sentence: a part of the file is quoted, a sentence stays what it is.
pub(super) fn sentences(written: &[At<String>], scenario: &Node, report: &mut Report) -> Vec<String> {
    written.iter().map(|assumption| sentence(assumption, scenario, report)).collect()
}

fn sentence(assumption: &At<String>, scenario: &Node, report: &mut Report) -> String {
    let text = assumption.trim();
    if text.contains(' ') {
        return text.to_owned();
    }
    let Some(part) = scenario.find(text) else {
        let parent = text.rsplit_once('.').map_or("", |(parent, _)| parent);
        let near = scenario.find(parent).unwrap_or(scenario);
        let name = text.rsplit_once('.').map_or(text, |(_, name)| name);
        let known: Vec<&str> = near.entries().map(|(name, ..)| name).collect();
        let message = format!(
            "this scenario has no part `{text}`; name a part by its path, or write a sentence ({})",
            suggest(name, known)
        );
        report.say(assumption.spot, message);
        return text.to_owned();
    };
    let mut quoted: String = part.brief().chars().take(QUOTED_MAX).collect();
    if quoted.len() < part.brief().len() {
        quoted.push('…');
    }
    format!("{text}: {quoted}")
}
