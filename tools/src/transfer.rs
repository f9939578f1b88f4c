//! The sliding-window protocol of `pinecone send` and `pinecone recv`: a byte stream over an overlay
//! that may lose, reorder and repeat payloads.
//!
//! The protocol does no I/O: the caller passes in payloads, bytes and the time, and takes out payloads and bytes. It
//! provides reliability and flow control, but neither secrecy nor authentication.

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
