//! Which events to show.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::event::{Event, What};
use super::names::Names;
use super::reader::Place;
use super::subject::Subject;
use crate::core::{Input, Output, RequestId, Settings, TurnId};

/// Declares [`Kind`] with the name of each.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// The kinds of events, by the names under which they are exported.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {$(
            $(#[$doc])*
            $kind,
        )*}

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}

kinds! {
    /// Settings came into force.
    Configured = "configured",
    /// The wall clock was read.
    Clock = "clock",
    /// A client asked.
    Arrived = "arrived",
    /// A provider accepted an attempt.
    FirstByte = "first_byte",
    /// An attempt ended.
    Finished = "finished",
    /// A client went away.
    Cancelled = "cancelled",
    /// An operator acted.
    Operator = "operator",
    /// The router was woken.
    Woke = "woke",
    /// An attempt is to be made.
    Dispatch = "dispatch",
    /// The client sees an attempt.
    Relay = "relay",
    /// An attempt is given up.
    Abandon = "abandon",
    /// A request has its outcome.
    Close = "close",
    /// The router wants to be woken.
    WakeAt = "wake_at",
    /// A process began to write.
    Opened = "opened",
    /// Under which boot of the machine it writes.
    Boot = "boot",
    /// It stopped in order.
    Closed = "closed",
    /// The router's state.
    Checkpoint = "checkpoint",
    /// Events are missing.
    Gap = "gap",
}

/// A name that no kind has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no kind of event called `{0}`; there are {all}", all = Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", "))]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let found = Self::ALL.iter().find(|kind| kind.name() == text);
        found.copied().ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Event {
    /// Of which kind it is.
    pub fn kind(&self) -> Kind {
        match &self.what {
            What::Input(Input::Configured { .. }) => Kind::Configured,
            What::Input(Input::Clock { .. }) => Kind::Clock,
            What::Input(Input::Arrived(_)) => Kind::Arrived,
            What::Input(Input::FirstByte { .. }) => Kind::FirstByte,
            What::Input(Input::Finished(_)) => Kind::Finished,
            What::Input(Input::Cancelled { .. }) => Kind::Cancelled,
            What::Input(Input::Operator { .. }) => Kind::Operator,
            What::Input(Input::Woke) => Kind::Woke,
            What::Output(Output::Dispatch(_)) => Kind::Dispatch,
            What::Output(Output::Relay { .. }) => Kind::Relay,
            What::Output(Output::Abandon { .. }) => Kind::Abandon,
            What::Output(Output::Close { .. }) => Kind::Close,
            What::Output(Output::WakeAt(_)) => Kind::WakeAt,
            What::Opened(_) => Kind::Opened,
            What::Boot(_) => Kind::Boot,
            What::Closed => Kind::Closed,
            What::Checkpoint(_) => Kind::Checkpoint,
            What::Gap(_) => Kind::Gap,
        }
    }
}

/// Which events to show: those that match everything that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before this; [`Place::End`] is the last checkpoint, where the reading is to begin.
    pub from: Option<Place>,
    /// Before this.
    pub until: Option<Place>,
    /// About this request.
    pub request: Option<RequestId>,
    /// About this turn.
    pub turn: Option<TurnId>,
    /// About an attempt with the key of this name.
    pub key: Option<String>,
    /// About a request for the model of this name.
    pub model: Option<String>,
    /// Of one of these kinds; of any when empty.
    pub kinds: Vec<Kind>,
}

impl Filter {
    /// Whether an event is to be shown.
    pub fn takes(&self, event: &Event, subject: Subject, settings: &Settings) -> bool {
        let names = Names(settings);
        let key = || subject.deployment.and_then(|id| names.deployment(id)).map(|(key, _)| names.key(key));
        let model = || subject.model.map(|model| names.model(model));
        self.from.is_none_or(|from| from.is_reached(event))
            && !self.is_over(event)
            && self.request.is_none_or(|request| subject.request == Some(request))
            && self.turn.is_none_or(|turn| subject.turn == Some(turn))
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind()))
            && self.key.as_ref().is_none_or(|wanted| key().as_ref() == Some(wanted))
            && self.model.as_ref().is_none_or(|wanted| model().as_ref() == Some(wanted))
    }

    /// Whether neither this event nor a later one can be shown.
    pub fn is_over(&self, event: &Event) -> bool {
        match self.until {
            None | Some(Place::End) => false,
            Some(until) => until.is_reached(event),
        }
    }
}
