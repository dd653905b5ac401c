//! Virtual time: one day, one router, one thread, and every event in one order.
//!
//! [`run`] pops the next event, lets the world and the clients turn it into an input, hands that to the router and
//! carries out its outputs. Parallelism is over seeds and routers, never inside a run. Whatever is random hangs on the
//! seed and on the turn, not on the order of events, so two routers face the same day with the same luck.

mod day;
mod event;
mod flight;
mod hash;
mod queue;
mod run;
mod tally;
mod timeouts;
mod witness;

pub use day::{Day, Happening};
pub use event::Event;
pub use hash::{fold, fold_runs};
pub use queue::{Calendar, Heap, Queue};
pub use run::{Ended, run};
pub use tally::{FAILURES, Faults, Statuses, TRANSPORTS, Tally, TurnEnd};
pub(crate) use tally::{bill, transport_index};
pub use witness::{AttemptSeen, TurnSeen, Witness};

/// Makes four times the room when there is none left: what is not touched costs nothing, and a third as much is copied
/// as with twice the room.
fn quadruple<T>(all: &mut Vec<T>) {
    if all.len() == all.capacity() {
        all.reserve(3 * all.len().max(16));
    }
}
