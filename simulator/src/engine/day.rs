//! What a run is about: the day that happens, whoever routes it.

use std::sync::Arc;

use stormproof_router::core::{Action, Duration, Settings, Timestamp, WallTime};

use crate::clients;
use crate::world::{self, Change};

/// One day: the same for every router that is tried on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Day {
    /// Wall time at [`Timestamp::ZERO`].
    pub start: WallTime,
    /// New turns begin before this; then everything in flight is brought to its end.
    pub duration: Duration,
    /// The providers.
    pub world: world::Spec,
    /// Who asks.
    pub clients: Vec<clients::Spec>,
    /// What else happens, in ascending order.
    pub happenings: Vec<(Timestamp, Happening)>,
}

/// Something that happens to the world or to the router at a given time.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// The world changes.
    World(Change),
    /// An operator acts.
    Operator(Action),
    /// New settings come into force.
    Configured(Arc<Settings>),
    /// The wall clock jumps to this.
    Clock(WallTime),
    /// The user of a turn that was known beforehand goes away, if it has not been answered.
    Leaves {
        /// The turn's [key](clients::Turn::key).
        turn: u64,
        /// Its intended arrival.
        began: Timestamp,
    },
}

impl Day {
    /// The users who go away by themselves, as the traces of these clients tell; in ascending order.
    pub fn leaving(clients: &[clients::Spec]) -> Vec<(Timestamp, Happening)> {
        let mut all = Vec::new();
        for (group, spec) in (0..).zip(clients) {
            let clients::Arrivals::Trace(turns) = &spec.arrivals else { continue };
            for (index, turn) in (0..).zip(turns) {
                if let Some(after) = turn.leaves {
                    let leaves = Happening::Leaves { turn: clients::key(group, index), began: turn.at };
                    all.push((turn.at + after, leaves));
                }
            }
        }
        all.sort_by_key(|(at, _)| *at);
        all
    }

    /// The time of the happening of that number; [`Timestamp::MAX`] when there is none.
    pub(super) fn happens_at(&self, index: usize) -> Timestamp {
        self.happenings.get(index).map_or(Timestamp::MAX, |(at, _)| *at)
    }

    /// The end of the last turn's patience: no overload later than this matters.
    pub fn horizon(&self) -> Timestamp {
        let patience = self.clients.iter().map(|client| client.patience).max().unwrap_or(Duration::ZERO);
        Timestamp::ZERO + self.duration + patience
    }
}
