//! The proxy as a process of its own, and everything that can happen to it: providers that misbehave, clients that
//! dawdle, full disks, kills and upgrades.

mod clients;
mod disk;
mod first_minutes;
mod process;
mod provider;
mod providers;
mod restart;
mod upgrade;
