//! The admin socket: how the commands ask the running node.
//!
//! A Unix socket that its owner alone can open. A request is a line of JSON, answered by one or
//! more lines of JSON, then the next may follow.

pub(crate) mod client;
pub(crate) mod protocol;
mod seats;
mod server;
pub(crate) mod socket;
