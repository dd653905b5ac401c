//! The one place where the command line asks what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use stormproof_router::core::{Duration, WallTime};

/// The wall clock; before 1970 it is 1970.
pub(crate) fn now() -> WallTime {
    #[expect(clippy::disallowed_methods, reason = "a command starts at some time, and only it knows when")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_nanos(Duration::from(since).as_nanos())
}
