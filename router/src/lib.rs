//! A router for pools of LLM keys that keeps answering when keys run dry and models fall over.
//!
//! [`core`] decides and does nothing else. It is driven in virtual time by the simulator and in real time by the live
//! proxy, so what is rehearsed is what runs.

pub mod config;
pub mod core;
pub mod log;
#[cfg(feature = "proxy")]
pub mod proxy;
pub mod wire;
