//! The mock over real sockets: what it sends is what the world planned, byte for byte in the providers' framing.

mod answers;
mod control;
mod facts;
mod framing;
mod http;
mod pool;
mod refusals;
