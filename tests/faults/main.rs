//! The proxy as a process of its own, and everything that can happen to it: providers that misbehave, clients that
//! dawdle, full disks, kills and upgrades; and what only the whole of it shows: TLS, clients with limits, new settings.

mod clients;
mod disk;
mod first_minutes;
mod own_limits;
mod power;
mod process;
mod provider;
mod providers;
mod reload;
mod restart;
mod tls;
mod upgrade;
