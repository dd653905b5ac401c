//! Scenario files: clients, a world, the routers to compare, and what must pass, in one YAML file.
//!
//! [`Document`] is a file that was read; parts of it can be changed by path before [`Document::scenario`] gives it its
//! meaning, which is what a sweep does. [`load`] does both for a file. Files that a scenario names (its configuration,
//! traces) come from [`Files`], so that scenarios may be built into a program.

mod assumed;
mod builtin;
mod clients;
mod compare;
mod document;
pub mod file;
mod names;
mod pass;
pub mod quantity;
mod sweep;
mod words;
mod world;

pub use builtin::{BUILT_IN, built_in, built_in_names};
pub use document::{Document, Embedded, Files, Folder, Scenario, load, parse, schema};
pub use pass::Expression;
pub use sweep::Plan;
#[cfg(feature = "mock")]
pub(crate) use world::{resolve_faults, resolve_latency};
