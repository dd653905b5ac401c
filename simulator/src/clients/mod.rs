//! Who asks, when, and what they do when they get no answer.
//!
//! A turn is one intention; its client turns it into one request, or into a ladder of them.

mod arrivals;
mod behaviour;
mod spec;
mod trace;

pub(crate) use arrivals::key;
pub use arrivals::{Turn, turns};
pub use behaviour::{Behaviour, Failure, Next};
pub use spec::{Arrivals, Ladder, Rate, Retries, Sdk, Sizes, Spec, TraceTurn};
pub use trace::{TraceError, parse_trace};
