//! Many runs of one question: replications over seeds, comparison of routers, sweeps over settings.

mod case;
mod compare;
pub mod families;
mod picture;
pub mod record;
pub mod recorded;
mod recovery;
mod replication;
mod stats;
pub mod summary;
mod sweep;
pub mod trace;

pub use case::{Case, Contender, Policy};
pub use compare::{StudyError, compare, replicate, simulate, simulate_on};
pub use stats::{interval95, mean, share_interval95};
pub use sweep::{AxisError, Question, SweepError, paired_difference, parse_axis, sweep};
