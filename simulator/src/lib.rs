//! Virtual time, simulated providers and clients, and the baselines our router is compared with.

pub mod baselines;
pub mod clients;
pub mod draws;
pub mod engine;
pub mod import;
#[cfg(feature = "mock")]
pub mod mock;
pub mod scenario;
pub mod study;
pub mod whatif;
pub mod world;
