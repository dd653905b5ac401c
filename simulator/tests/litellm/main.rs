//! The emulated LiteLLM against what the real proxies did.

mod calibration;
mod contract;
mod course;
mod incident;
mod logged;
mod pool;
mod watch;
