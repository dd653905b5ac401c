//! How a failure looks where a router sees no difference: providers fail in several ways that mean the same.

use serde::{Deserialize, Serialize};

/// Which look each kind of failure has; `None` draws it anew for every call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
pub struct Manners {
    /// An error in the middle of a stream.
    pub error_event: Option<ErrorManner>,
    /// A stream that breaks off.
    pub cut: Option<CutManner>,
    /// A success whose body is none.
    pub malformed: Option<MalformedManner>,
}

/// How an error appears in the middle of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorManner {
    /// As an event.
    Event,
    /// As an error body over several lines, outside of any framing.
    RawTail,
}

/// How a stream breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutManner {
    /// The connection closes in the middle of the body.
    Connection,
    /// The body ends as if all were well, but nothing said that the answer was over.
    CleanEnd,
}

/// What stands in the place of a whole answer. In the place of an event stands one that was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MalformedManner {
    /// A web page.
    Html,
    /// The first half of an answer.
    Truncated,
    /// Nothing.
    Empty,
    /// JSON that is no answer.
    Foreign,
}

/// What the manners are for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) error_event: ErrorManner,
    pub(super) cut: CutManner,
    pub(super) malformed: MalformedManner,
}

impl Manners {
    /// Draws what is left open.
    pub(super) fn look(self, bits: u64) -> Look {
        use self::{CutManner as Cut, ErrorManner as Error, MalformedManner as Malformed};
        let drawn = Look {
            error_event: if bits & 1 == 0 { Error::Event } else { Error::RawTail },
            cut: if bits & 2 == 0 { Cut::Connection } else { Cut::CleanEnd },
            malformed: match bits >> 2 & 3 {
                0 => Malformed::Html,
                1 => Malformed::Truncated,
                2 => Malformed::Empty,
                _ => Malformed::Foreign,
            },
        };
        Look {
            error_event: self.error_event.unwrap_or(drawn.error_event),
            cut: self.cut.unwrap_or(drawn.cut),
            malformed: self.malformed.unwrap_or(drawn.malformed),
        }
    }
}
