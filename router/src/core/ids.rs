//! Names for things that are many. An index is meaningful only together with the settings it came from; what survives
//! a change of settings is bound to names and key fingerprints.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($raw:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name($raw);

        impl $name {
            /// The id with this number.
            pub const fn new(raw: $raw) -> Self {
                Self(raw)
            }

            /// Its number.
            pub const fn get(self) -> $raw {
                self.0
            }

            /// Its number as an index.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// One client call. The driver counts them up from 1 and never uses a number twice in one log.
    RequestId(u64);
    /// One upstream call. The router names them; opaque to the driver, unique in one log.
    AttemptId(u64);
    /// One intention of a user, through all its client's own retries. Chosen by the driver; 0 when unknown.
    TurnId(u64);
    /// Index into [`Settings::clients`](super::Settings::clients).
    ClientId(u16);
    /// Index into [`Settings::models`](super::Settings::models).
    ModelId(u16);
    /// Index into [`Settings::tiers`](super::Settings::tiers).
    TierId(u16);
    /// Index into [`Settings::deployments`](super::Settings::deployments).
    DeploymentId(u32);
    /// Index into [`Settings::keys`](super::Settings::keys).
    KeyId(u32);
    /// Index into [`Settings::projects`](super::Settings::projects).
    ProjectId(u32);
    /// Index into [`Settings::upstreams`](super::Settings::upstreams): one upstream model at one provider.
    UpstreamId(u16);
    /// Index into [`Settings::providers`](super::Settings::providers).
    ProviderId(u16);
}

/// What a key is known by where its value must not be: the first 8 bytes of a salted SHA-256 of the secret.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint([u8; 8]);

impl Fingerprint {
    /// The fingerprint with these bytes.
    pub const fn new(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn bytes(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
