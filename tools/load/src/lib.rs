//! The parts that the two load generators share: `pinecone bench` and the bench `forwarding`.
//!
//! They are the frames of a load, prepared once and sent repeatedly ([`push_frame`], [`FrameRing`]), the times
//! at which frames are due ([`Pacer`]), the frames in received bytes ([`FrameBuffer`]), and the accounting of
//! frames by sequence numbers ([`FlowAccount`]).
//!
//! Sockets, threads and clocks do not belong here, and neither does the content of payloads: each generator has
//! its own.

mod account;
mod buffer;
mod frame;
mod pace;
mod ring;

pub use account::{Arrival, FlowAccount, Totals};
pub use buffer::FrameBuffer;
pub use frame::{HOP_LIMIT, LoadFrame, push_frame};
pub use pace::Pacer;
pub use ring::FrameRing;
