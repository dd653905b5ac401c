//! The router core from outside: arbitrary interleavings, the scenario families, one decision at a time, allocations.

mod allocations;
mod failures;
mod families;
mod given;
mod plain;
mod power;
mod properties;
mod serving;
