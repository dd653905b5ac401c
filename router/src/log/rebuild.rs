//! A router as it was at the end of a log: from the last checkpoint and what came after it.

use std::path::Path;

use super::event::{Checkpoint, InFlight, What};
use super::reader::{Place, Reader};
use super::verify::VerifyError;
use crate::core::{Route, Timestamp};

/// A router as it was.
#[derive(Clone, Debug)]
pub struct Rebuilt<R> {
    /// The router, its outputs drained.
    pub router: R,
    /// The last event's time: the router's time must not go back behind it.
    pub at: Timestamp,
    /// The next event's sequence.
    pub sequence: u64,
    /// What the driver had in its hands. A driver that takes over reports the attempts as lost and the requests as
    /// cancelled.
    pub in_flight: InFlight,
}

/// Rebuilds the router that wrote a log, of the same state hash as it had at the end of what is on record.
///
/// # Errors
/// When the log cannot be read, or another policy version wrote its end.
pub fn rebuild<R: Route>(log: &Path, fresh: R) -> Result<Rebuilt<R>, VerifyError> {
    let mut reader = Reader::at_checkpoint(log, Place::End)?;
    let mut rebuilt = Rebuilt {
        router: fresh.clone(),
        at: reader.header().at,
        sequence: reader.sequence(),
        in_flight: InFlight::default(),
    };
    let mut ours = true;
    while let Some(event) = reader.read()? {
        rebuilt.in_flight.follow(&event.what);
        rebuilt.at = event.at;
        rebuilt.sequence = event.sequence + 1;
        // What another policy decided is not for this router, which begins anew after it.
        ours = reader.header().policy == fresh.policy();
        match event.what {
            What::Input(input) if ours => {
                rebuilt.router.handle(event.at, input);
                while rebuilt.router.poll_output().is_some() {}
            }
            What::Checkpoint(Checkpoint { snapshot, .. }) if ours => {
                let sequence = event.sequence;
                rebuilt.router = R::restore(&snapshot).map_err(|source| VerifyError::Restore { sequence, source })?;
            }
            What::Opened(opened) if opened.carried.is_none() => rebuilt.router = fresh.clone(),
            What::Input(_) | What::Checkpoint(_) | What::Opened(_) => {}
            What::Output(_) | What::Closed | What::Gap(_) => {}
        }
    }
    if !ours {
        let recorded = reader.header().policy.clone();
        return Err(VerifyError::OtherPolicy { log: log.to_path_buf(), recorded, ours: fresh.policy() });
    }
    Ok(rebuilt)
}
