//! What would have happened: a recorded day under other settings.
//!
//! What is exogenous stays: turns, users who go away, keys that come and go. What providers would have answered comes
//! from the record where the same attempt is on it and its answer still holds, and else from a model of the providers
//! that is fitted on the log alone. The model's world and clients are the simulator's own, so a question costs as much as
//! simulating the day.
//!
//! A log is silent about much: a model that nobody called may have been overloaded or not. Every seed is one guess at
//! the whole day that agrees with everything on record, and the intervals over seeds are intervals for the day itself.

mod ask;
mod assumed;
mod chance;
mod clients;
mod evidence;
mod figures;
mod latency;
mod limits;
mod model;
mod scenario;
mod shared;
mod sky;
mod universe;
mod written;
mod yaml;

pub use ask::{Answer, AskError, Calibration, Dark, Findings, RecordedDay};
pub use evidence::EvidenceError;
pub use figures::{Estimate, Estimates, Figures};
pub use scenario::Written;
