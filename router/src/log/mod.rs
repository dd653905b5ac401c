//! The event log: inputs are the truth, recorded decisions are the witness.
//!
//! Everything that happens to a router and everything that it decides goes on record in the order in which it was
//! decided. So a recorded day can be [verified](verify) against a fresh router, a router can be [rebuilt](rebuild) where
//! it was, a request's story can be told, and the day can be asked about under other settings.
//!
//! * A log is a directory of numbered [segments](Header), each with a head that makes it readable alone.
//! * A segment is a head and frames. A frame is one commit with its checksum: read whole or not at all.
//! * A torn last frame is what a crash leaves: it is cut off and writing goes on there. Anything else that is broken is
//!   [`Damage`], and is reported with its place.
//! * Secrets never come here: the core does not know them. Keys stand by name and [salted fingerprint](Salt).
//!
//! Time is an argument here too; only background threads wait for the disk.

mod boot;
mod codec;
mod difference;
mod encode;
mod event;
mod explain;
mod export;
mod filter;
mod frame;
mod lock;
mod mirror;
mod names;
mod opening;
mod options;
mod pen;
mod reader;
mod rebuild;
mod record;
mod recording;
mod salt;
mod segment;
mod settings_record;
mod source;
mod stats;
mod storage;
mod story;
mod subject;
mod upkeep;
mod verify;
mod when;
mod worker;
mod worst;
mod writer;

pub use boot::{Boot, BootId, Ended, NoBootId};
pub use difference::{Difference, Exported, Sides};
pub use event::{Beginning, Checkpoint, Event, Gap, InFlight, Opened, What};
pub use explain::{Account, ExplainError, PowerLost, Since, Step, Telling, Told, explain};
pub use export::Export;
pub use filter::{Filter, Kind, UnknownKind};
pub use lock::{Lock, Patience};
pub use names::{Calendar, Names};
pub use opening::Recovery;
pub use options::{Options, Sync, WhenFull};
pub use reader::{Damage, Place, ReadError, Reader, Torn};
pub use rebuild::{Rebuilt, rebuild};
pub use recording::Recording;
pub use salt::Salt;
pub use segment::{FORMAT, Header};
pub use stats::Stats;
pub use storage::{Disk, Storage, StorageFile};
pub use subject::{Subject, Subjects};
pub use upkeep::Keep;
pub use verify::{Report, Verifier, VerifyError, verify};
pub use when::{When, WhenError};
pub use worst::{Worst, worst};
pub use writer::{Committed, Condition, Opening, WriteError, Writer};
