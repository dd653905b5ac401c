//! Many runs of one question: replications over seeds, comparison of routers, sweeps over settings.

mod case;
pub mod families;
pub mod summary;
pub mod trace;

pub use case::{Case, Contender, Policy};
