//! Logs of whatever router wrote them: ours, or a baseline. A log names its policy, and the right one is asked again.

use std::path::Path;

use stormproof_router::core::{RequestId, Route, Router};
use stormproof_router::log::{Account, ExplainError, Place, ReadError, Reader, Report, Verifier, VerifyError, explain};

use crate::baselines::litellm::LiteLlm;

/// The routers of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decider {
    /// Ours; also asked where nobody knows who decided, and finds that out.
    Stormproof,
    /// The incumbent, of whatever release.
    LiteLlm,
}

impl Decider {
    /// Who decided in this log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn of(log: &Path) -> Result<Self, ReadError> {
        let is_litellm = Reader::open(log)?.header().policy.starts_with("litellm-");
        Ok(if is_litellm { Self::LiteLlm } else { Self::Stormproof })
    }
}

/// A verification under way, against the router that the log names.
pub enum Verification {
    /// Ours.
    Stormproof(Box<Verifier<Router>>),
    /// The incumbent.
    LiteLlm(Box<Verifier<LiteLlm>>),
}

impl Verification {
    /// Of the whole log, or from the checkpoint nearest before a place.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn new(log: &Path, from: Option<Place>) -> Result<Self, VerifyError> {
        match Decider::of(log)? {
            Decider::Stormproof => verifier(log, from).map(Box::new).map(Self::Stormproof),
            Decider::LiteLlm => verifier(log, from).map(Box::new).map(Self::LiteLlm),
        }
    }

    /// Verifies so many events; `false` at the end of the log.
    ///
    /// # Errors
    /// At the first difference, and when the log cannot be read on.
    pub fn step(&mut self, events: u64) -> Result<bool, VerifyError> {
        match self {
            Self::Stormproof(verifier) => verifier.step(events),
            Self::LiteLlm(verifier) => verifier.step(events),
        }
    }

    /// What has been verified so far.
    pub fn report(&self) -> &Report {
        match self {
            Self::Stormproof(verifier) => verifier.report(),
            Self::LiteLlm(verifier) => verifier.report(),
        }
    }

    /// Where the verification is.
    pub fn reader(&mut self) -> &mut Reader {
        match self {
            Self::Stormproof(verifier) => verifier.reader(),
            Self::LiteLlm(verifier) => verifier.reader(),
        }
    }
}

fn verifier<R: Route>(log: &Path, from: Option<Place>) -> Result<Verifier<R>, VerifyError> {
    from.map_or_else(|| Verifier::new(log), |place| Verifier::from(log, place))
}

/// What is known of a request, with the reasons told by the router that decided.
///
/// # Errors
/// When the log cannot be read, or has no such request.
pub fn account(log: &Path, request: RequestId) -> Result<Account, ExplainError> {
    match Decider::of(log)? {
        Decider::Stormproof => explain::<Router>(log, request),
        Decider::LiteLlm => explain::<LiteLlm>(log, request),
    }
}
