//! The engine keeps its contract with any router: one order of events, nothing lost, nothing made up.

mod conservation;
mod days;
mod round_robin;
