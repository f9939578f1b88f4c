//! The admin socket, through which commands talk to the running node.
//!
//! It is a Unix socket that only its owner can open. Each request is a line of JSON. The reply is one or
//! more lines of JSON, after which the next request may follow.

pub(crate) mod client;
pub(crate) mod protocol;
mod seats;
mod server;
pub(crate) mod socket;
