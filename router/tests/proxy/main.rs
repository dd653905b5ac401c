//! The live proxy over real sockets: a plain router or the real one inside, scripted providers behind.

mod clients;
mod limits;
mod power;
mod serving;
mod streams;
mod support;
