//! The sliding-window protocol of `pinecone send` and `pinecone recv`: a byte stream over an overlay
//! that may lose, reorder and repeat payloads.
//!
//! Sans I/O: payloads, bytes and the time go in, payloads and bytes come out. It provides reliability
//! and flow control, but neither secrecy nor authentication.

mod receiver;
mod rtt;
mod segment;
mod sender;
#[cfg(test)]
mod simulation;
mod state;

pub(crate) use receiver::Receiver;
pub(crate) use segment::{Kind, OVERHEAD, Segment};
pub(crate) use sender::Sender;
pub(crate) use state::{Failure, SILENCE, State};
