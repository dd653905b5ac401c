//! The first place at which a log and a router differ: both sides, and what stands on record around them.

use std::fmt::{self, Write as _};
use std::path::Path;

use serde_json::{Map, Value};

use super::event::{Event, What};
use super::export::Export;
use super::names::Calendar;
use super::reader::{Place, ReadError, Reader};
use super::subject::Subjects;
use crate::config::Zone;
use crate::core::{Output, Timestamp, WallTime};

/// Events shown on each side of a difference.
const AROUND: u64 = 10;

/// The first place at which log and router differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The event there.
    pub sequence: u64,
    /// Its time.
    pub at: Timestamp,
    /// What differs.
    pub sides: Sides,
    /// The recorded events around it, as far as they can be read.
    pub around: Vec<Event>,
    /// What was known before those; nothing where nothing can be read.
    known: Option<Known>,
}

/// Two sides of a difference.
#[derive(Clone, Debug, PartialEq)]
pub enum Sides {
    /// Decisions; `None` is none at this place.
    Decision {
        /// On record.
        recorded: Option<Output>,
        /// The router's now.
        replayed: Option<Output>,
    },
    /// State hashes.
    State {
        /// On record.
        recorded: u64,
        /// The router's now.
        replayed: u64,
    },
}

/// A difference as documents, each as [`Export`] makes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The decision on record; nothing where there is none, and where states differ.
    pub recorded: Option<Map<String, Value>>,
    /// The router's decision now.
    pub replayed: Option<Map<String, Value>>,
    /// The recorded events around the place.
    pub around: Vec<Map<String, Value>>,
}

#[derive(Clone, Debug)]
struct Known {
    epoch: WallTime,
    subjects: Subjects,
}

impl Difference {
    /// At this place of a log. What cannot be read around it is not shown; the difference itself is what matters.
    pub(super) fn new(log: &Path, sequence: u64, at: Timestamp, sides: Sides) -> Self {
        let mut difference = Self { sequence, at, sides, around: Vec::new(), known: None };
        // What was read of the neighbourhood before an error stays.
        difference.look_around(log).ok();
        difference
    }

    fn look_around(&mut self, log: &Path) -> Result<(), ReadError> {
        let first = self.sequence.saturating_sub(AROUND);
        let mut reader = Reader::at_checkpoint(log, Place::Time(self.at).with_lead())?;
        if reader.sequence() > first {
            reader = Reader::at_checkpoint(log, Place::Sequence(first))?;
        }
        let subjects = Subjects::new(reader.settings().clone());
        let known = self.known.insert(Known { epoch: reader.header().epoch, subjects });
        while let Some(event) = reader.read()? {
            if event.sequence > self.sequence + AROUND {
                break;
            }
            if event.sequence < first {
                known.subjects.follow(&event);
            } else {
                self.around.push(event);
            }
        }
        Ok(())
    }

    /// Both sides and their neighbourhood with names instead of numbers, moments in UTC.
    pub fn exported(&self) -> Exported {
        self.documents(&Zone::utc())
    }

    /// The difference for people, with moments in this zone: both sides, in what they differ, and the events around them
    /// in the words of [`Export`].
    pub fn text(&self, zone: &Zone) -> String {
        let Some(known) = &self.known else { return self.to_string() };
        let calendar = Calendar::new(known.epoch, zone.time_zone());
        let Exported { recorded, replayed, around } = self.documents(zone);
        let mut text = format!(
            "event {} at {} {} ({zone}) is not what the router decides now\n",
            self.sequence,
            calendar.day(self.at),
            calendar.time(self.at),
        );
        match self.sides {
            Sides::Decision { .. } => {
                let side = |side: &Option<_>| side.as_ref().map_or("nothing more for this input".to_owned(), words);
                let _ = writeln!(text, "  recorded: {}\n  replayed: {}", side(&recorded), side(&replayed));
                if let (Some(recorded), Some(replayed)) = (recorded, replayed) {
                    let _ = writeln!(text, "  they differ in: {}", differing(&recorded, &replayed).join(", "));
                }
            }
            Sides::State { recorded, replayed } => {
                let _ = writeln!(
                    text,
                    "  recorded state: {recorded:016x}\n  replayed state: {replayed:016x}\n  every decision up to here \
                     came out as recorded, so what the router knows differs before it shows"
                );
            }
        }
        if !around.is_empty() {
            let _ = writeln!(text, "\nOn record around it:");
        }
        for (event, document) in self.around.iter().zip(&around) {
            let arrow = if event.sequence == self.sequence { '>' } else { ' ' };
            // A decision belongs to the input before it.
            let indent = if matches!(event.what, What::Output(_)) { "    " } else { "" };
            let time = calendar.time(event.at);
            let _ = writeln!(text, "{arrow} {:>8}  {time}  {indent}{}", event.sequence, words(document));
        }
        text
    }

    fn documents(&self, zone: &Zone) -> Exported {
        let mut exported = Exported { recorded: None, replayed: None, around: Vec::new() };
        let Some(Known { epoch, subjects }) = &self.known else { return exported };
        let export = Export::in_zone(*epoch, zone.time_zone());
        let document = |subjects: &mut Subjects, event: &Event| {
            let subject = subjects.follow(event);
            export.document(event, subject, subjects.settings())
        };
        let mut subjects = subjects.clone();
        let mut before = None;
        for event in &self.around {
            if event.sequence == self.sequence {
                before = Some(subjects.clone());
            }
            exported.around.push(document(&mut subjects, event));
        }
        let before = before.unwrap_or(subjects);
        if let Sides::Decision { recorded, replayed } = &self.sides {
            let side = |output: &Option<Output>| {
                let what = What::Output(output.clone()?);
                Some(document(&mut before.clone(), &Event { sequence: self.sequence, at: self.at, what }))
            };
            (exported.recorded, exported.replayed) = (side(recorded), side(replayed));
        }
        exported
    }
}

/// The place alone; [`Difference::text`] shows all of it.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {} at {:.9} s is not what the router decides now", self.sequence, self.at.as_secs_f64())
    }
}

/// What a line shows otherwise: every document has the first four, and the last two are moments said twice.
const SHOWN: [&str; 6] = ["sequence", "time", "at", "kind", "until_at", "since_at"];

/// A document as one line: `dispatch  request=3 key=free-02 tier=free why=first`.
fn words(document: &Map<String, Value>) -> String {
    let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default();
    let fields = document.iter().filter(|(name, _)| !SHOWN.contains(&name.as_str()));
    let fields = fields.map(|(name, value)| match name.as_str() {
        "settings" => settings(value),
        name => format!("{name}={}", plain(value)),
    });
    format!("{kind:<11} {}", fields.collect::<Vec<_>>().join(" ")).trim_end().to_owned()
}

/// Settings in numbers: in full they would be longer than everything around them.
fn settings(settings: &Value) -> String {
    let count = |name: &str| settings.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    format!("of {} keys, {} tiers and {} models", count("keys"), count("tiers"), count("models"))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains([' ', '"']) => value.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(all) => format!("[{}]", all.iter().map(plain).collect::<Vec<_>>().join("; ")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}={}", plain(value)));
            fields.collect::<Vec<_>>().join(" ")
        }
        Value::Null => "none".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// The fields that only one side has, or that say different things.
fn differing(recorded: &Map<String, Value>, replayed: &Map<String, Value>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in recorded.keys().chain(replayed.keys()) {
        if recorded.get(name) != replayed.get(name) && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}
