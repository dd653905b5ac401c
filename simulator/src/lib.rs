//! Virtual time, simulated providers and clients, and the baselines our router is compared with.

pub mod baselines;
