//! How wide words are, without a font at hand, and where to break them.

/// The width that `text` may take at `size` pixels in a common sans-serif face: advance widths of Helvetica by groups
/// of letters, and what DejaVu Sans, the widest face that a viewer may fall back to, needs beyond them.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    const WIDEST: f64 = 1.1;
    text.chars().map(advance).sum::<f64>() * size * WIDEST
}

/// The share of the font's size that one character takes.
fn advance(character: char) -> f64 {
    match character {
        'i' | 'j' | 'l' | '|' | '\'' | '.' | ',' | ':' | ';' | '!' => 0.28,
        ' ' | 'f' | 't' | 'r' | 'I' | '(' | ')' | '[' | ']' | '/' | '-' | '"' | '·' => 0.35,
        'm' | 'M' | '%' | '@' => 0.88,
        'w' | 'W' => 0.82,
        'A'..='Z' | '&' => 0.70,
        '\u{1100}'..='\u{11ff}' | '\u{2e80}'..='\u{ffdc}' | '\u{1f300}'..='\u{1faff}' => 1.0,
        _ => 0.57,
    }
}

/// Breaks `text` into lines whose `measure` is at most `limit`, at spaces; a single longer word stands alone.
pub(crate) fn wrap(text: &str, limit: f64, measure: impl Fn(&str) -> f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if measure(line) + measure(" ") + measure(word) <= limit => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// [`wrap`] by characters, for a terminal.
pub(crate) fn wrap_columns(text: &str, columns: usize) -> Vec<String> {
    wrap(text, columns as f64, |part| part.chars().count() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_keep_every_word() {
        assert_eq!(
            wrap_columns("the key was benched although it was free", 12),
            ["the key was", "benched", "although it", "was free"]
        );
        assert_eq!(wrap_columns("a verylongwordindeed b", 5), ["a", "verylongwordindeed", "b"]);
        assert!(wrap_columns("  ", 5).is_empty());
    }

    #[test]
    fn width_counts_characters_and_not_bytes() {
        assert_eq!(width("–", 10.0), width("n", 10.0));
        assert!(width("minimum", 12.0) > width("filling", 12.0));
    }
}
