//! The router core from outside: arbitrary interleavings, the scenario families, one decision at a time, allocations.

mod allocations;
mod families;
mod plain;
mod properties;
