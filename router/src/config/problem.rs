//! What is wrong with a file, and where.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// A place in a file, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, as it was named to us.
    pub origin: Arc<str>,
    /// Where in it; `None` when it is about the file as a whole.
    pub spot: Option<Spot>,
    /// What is wrong; what to do.
    pub message: String,
}

/// Everything that is wrong, in the order of the files. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct Errors(Vec<Problem>);

impl Problem {
    /// A problem at `spot`. What looks like a credential in the message is blotted out: people paste keys into wrong
    /// fields, and messages end in logs.
    pub fn new(origin: &Arc<str>, spot: Option<Spot>, message: impl AsRef<str>) -> Self {
        Self { origin: Arc::clone(origin), spot, message: blot(message.as_ref()) }
    }
}

impl Errors {
    /// Errors, sorted by place and each once; `None` when there are none.
    pub fn of(mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort();
        problems.dedup();
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// One problem alone.
    pub fn one(problem: Problem) -> Self {
        Self(vec![problem])
    }

    /// These and others.
    #[must_use]
    pub fn and(mut self, others: Vec<Problem>) -> Self {
        self.0.extend(others);
        self.0.sort();
        self.0.dedup();
        self
    }

    /// Each of them.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }

    /// Each of them, owned.
    pub fn into_problems(self) -> Vec<Problem> {
        self.0
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// `stormproof.yaml:14:3: what is wrong; what to do`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.spot.filter(|spot| *spot != Spot::default()) {
            Some(spot) => write!(f, "{}:{spot}: {}", self.origin, self.message),
            // A value that was put there by hand stands in no line.
            None => write!(f, "{}: {}", self.origin, self.message),
        }
    }
}

/// One problem a line.
impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// Collects the problems of one file.
#[derive(Clone, Debug)]
pub struct Report {
    origin: Arc<str>,
    problems: Vec<Problem>,
}

impl Report {
    /// No problem yet with the file of this name.
    pub fn new(origin: &Arc<str>) -> Self {
        Self { origin: Arc::clone(origin), problems: Vec::new() }
    }

    /// Notes a problem at `spot`; what a default says stands nowhere.
    pub fn say(&mut self, spot: Spot, message: impl AsRef<str>) {
        self.problems.push(Problem::new(&self.origin, Some(spot).filter(|spot| *spot != Spot::default()), message));
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Notes problems that were found elsewhere.
    pub fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        self.problems.extend(problems);
    }

    /// All of them.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// The end of a check.
    ///
    /// # Errors
    /// Everything that was noted.
    pub fn finish(self) -> Result<(), Errors> {
        Errors::of(self.problems).map_or(Ok(()), Err)
    }
}

/// The candidate that was meant by `name`: the one of which it is the last part, or else the one that takes the fewest
/// edits to become it, if those are few enough for a slip of the pen.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let is_part = |candidate: &&str| candidate.rsplit_once('.').is_some_and(|(_, last)| last == name);
    if let Some(candidate) = candidates.clone().into_iter().find(is_part) {
        return Some(candidate);
    }
    let (candidate, distance) = candidates
        .into_iter()
        .map(|candidate| (candidate, edits(name, candidate)))
        .min_by_key(|(_, distance)| *distance)?;
    (distance <= 1 + name.chars().count() / 3).then_some(candidate)
}

/// `; did you mean ...?`, or else what there is: the end of a message about an unknown name.
pub fn suggest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(candidate) = nearest(name, candidates.clone()) {
        return format!("did you mean `{candidate}`?");
    }
    let all: Vec<String> = candidates.into_iter().map(|candidate| format!("`{candidate}`")).collect();
    match all.len() {
        0 => "none is defined".to_owned(),
        1..=10 => format!("there is {}", all.join(", ")),
        more => format!("there is {}, and {} more", all[..8].join(", "), more - 8),
    }
}

/// Levenshtein distance over characters.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(80).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(80).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Replaces what looks like a credential: a run of 20 or more letters, digits, `-` and `_` that mixes upper case,
/// lower case and digits, as the keys of all our providers do and names do not.
fn blot(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut run = String::new();
    for c in message.chars().chain(std::iter::once('\0')) {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
            run.push(c);
            continue;
        }
        let mixed = [char::is_ascii_uppercase, char::is_ascii_lowercase, char::is_ascii_digit]
            .iter()
            .all(|kind| run.chars().any(|c| kind(&c)));
        if run.len() >= 20 && mixed {
            out.push_str("[looks like a key: not shown]");
        } else {
            out.push_str(&run);
        }
        run.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_key_is_never_printed() {
        assert_eq!(
            blot("no provider `AIzaSyExample72PouQMnMX-a7eZSW0jkFMBWYa`"),
            "no provider `[looks like a key: not shown]`"
        );
        assert_eq!(
            blot("gemini-2.5-pro-preview-03-25 of GEMINI_FREE_KEYS"),
            "gemini-2.5-pro-preview-03-25 of GEMINI_FREE_KEYS"
        );
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised_and_a_stranger_is_not() {
        assert_eq!(nearest("limts", ["limits", "price"]), Some("limits"));
        assert_eq!(nearest("colour", ["limits", "price"]), None);
        assert_eq!(nearest("patience", ["limits", "queue.patience"]), Some("queue.patience"));
        assert_eq!(suggest("colour", ["limits", "price"]), "there is `limits`, `price`");
    }

    #[test]
    fn problems_are_sorted_and_said_once() {
        let origin: Arc<str> = "a.yaml".into();
        let problem = |line, message| Problem::new(&origin, Some(Spot { line, column: 1 }), message);
        let errors = Errors::of(vec![problem(9, "b"), problem(2, "a"), problem(9, "b")]).expect("there are some");
        assert_eq!(errors.to_string(), "a.yaml:2:1: a\na.yaml:9:1: b");
        assert_eq!(Errors::of(Vec::new()), None);
    }
}
