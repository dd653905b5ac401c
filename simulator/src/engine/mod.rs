//! Virtual time.

mod day;

pub use day::{Day, Happening};
