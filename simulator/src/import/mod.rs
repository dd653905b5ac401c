//! Days that really happened, read from what they left behind and written as scenarios.
//!
//! A log tells some things and not others. [`LiteLlmLog`] holds what one tells; rendering it as a scenario adds what a
//! scenario needs beyond that, and marks all of it as assumed.

mod flow;
mod litellm_log;
mod scenario;

pub use litellm_log::{Answer, Asked, ImportError, LiteLlmLog, Seen};
pub(crate) use scenario::moment;
pub use scenario::{Pool, PoolError};
