//! Many runs of one question: replications over seeds, comparison of routers. Sweeps over what a scenario says are
//! [`Plan`](crate::scenario::Plan)s of such runs.

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
pub mod trace;

pub use case::{Case, Contender, Policy};
pub use compare::{StudyError, compare, replicate, simulate, simulate_on};
pub use stats::{interval95, mean, share_interval95};
