//! The file that a user writes, `stormproof.yaml`: read, checked, and resolved to the router's
//! [`Settings`](crate::core::Settings), which hold no secret, and the [`Secrets`], which hold nothing else.
//!
//! [`Config::parse`] reads a file and [`Config::resolve`] gives it its meaning for a process that will call providers.
//! A scenario calls [`Config::rehearse`], which makes keys up. Every problem says where it stands and what to do, and
//! as many as possible are reported at once.
//!
//! The parts that any of our files is read with are public as well: [`Node`], [`decode`], and the quantities.

mod calendar;
mod credentials;
mod decode;
mod file;
mod graph;
mod knobs;
mod node;
mod placed;
mod problem;
mod resolve;
mod secret;
mod words;
mod written;

pub use calendar::{Zone, moment, quota_resets};
pub use decode::decode;
pub use file::{
    AbovePrices, Admin, Auth, Client, Config, Deadlines, Dialect, Images, KeyGroup, KeyUse, KeyUseWord, KnownLimits,
    LimitsWord, Log, Model, PriceWord, PriorityWord, Projects, Provider, RetriesWord, Tier, TimeoutsWord, Tls,
    TokenPrices, WhenFull,
};
pub use knobs::{KnobTexts, knob_schema};
pub use node::Node;
pub use placed::{At, Named, OneOrMany};
pub use problem::{Errors, Problem, Report, Spot, nearest, suggest};
pub use resolve::{Endpoint, Resolved};
pub use secret::{Environment, MemoryEnvironment, ProcessEnvironment, SecretSource, Secrets, TokenDigest, fingerprint};
pub use written::{Address, Bytes, Count, DayMoney, Dollars, Money, Period, Rate, Share, Unreadable};
