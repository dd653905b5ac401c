//! A router as it was at the end of a log: from the last checkpoint and what came after it.

use std::path::Path;

use super::boot::Boot;
use super::event::{Beginning, Checkpoint, Hands, InFlight, Opened, What};
use super::reader::{Place, Reader};
use super::verify::{VerifyError, restore};
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
    /// Who wrote the end, if it says.
    pub boot: Option<Boot>,
}

/// Rebuilds the router that wrote a log, of the same state hash as it had at the end of what is on record. `None` when
/// there is no router on record yet.
///
/// # Errors
/// When the log cannot be read, or another policy version wrote its end.
pub fn rebuild<R: Route>(log: &Path) -> Result<Option<Rebuilt<R>>, VerifyError> {
    let mut reader = Reader::at_checkpoint(log, Place::End)?;
    let mut router: Option<R> = None;
    let mut hands = Hands::default();
    let (mut at, mut sequence) = (reader.header().at, reader.sequence());
    // What another policy decided is not for this router, which begins anew after it.
    let mut foreign = None;
    let mut boot = None;
    while let Some(event) = reader.read()? {
        hands.follow(&event.what);
        (at, sequence) = (event.at, event.sequence + 1);
        match event.what {
            What::Input(input) => {
                if let Some(router) = &mut router {
                    router.handle(event.at, input);
                    while router.poll_output().is_some() {}
                }
            }
            What::Checkpoint(Checkpoint { snapshot, .. })
            | What::Opened(Opened { router: Beginning::New(snapshot), .. }) => {
                (router, foreign) = match restore(&reader, event.sequence, &snapshot) {
                    Ok(restored) => (Some(restored), None),
                    Err(error @ VerifyError::OtherPolicy { .. }) => (None, Some(error)),
                    Err(error) => return Err(error),
                };
            }
            What::Boot(said) => boot = Some(said),
            What::Opened(Opened { router: Beginning::Carried(_), .. })
            | What::Output(_)
            | What::Closed
            | What::Gap(_) => {}
        }
    }
    match foreign {
        Some(error) => Err(error),
        None => Ok(router.map(|router| Rebuilt { router, at, sequence, in_flight: hands.held(), boot })),
    }
}
