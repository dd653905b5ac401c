//! Many runs of one question: replications over seeds, comparison of routers, sweeps over settings.

pub mod summary;
pub mod trace;
