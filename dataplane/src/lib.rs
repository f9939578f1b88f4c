//! Moving frames: the workers, and the engines that they run on.
//!
//! A worker is a thread with its own ring, ports and buffers. It takes frames off stream sockets, finds
//! their next hop in an immutable snapshot of the [forwarding tables](pinecone_fib) and puts them on
//! another socket; it decides nothing. Protocol frames go up to whoever holds the [`Report`] channel; what that one
//! decides comes back as table changes and as frames to send.
//!
//! What may not enter: routing decisions, signatures, clocks other than the coarse one of the
//! workers' timers, and anything that locks or allocates per forwarded frame. `unsafe` lives in
//! `engine` and `buffer` alone.

mod backlog;
mod batching;
mod block;
mod buffer;
mod counters;
mod data_plane;
mod delivery;
mod driven;
mod egress;
mod engine;
mod filter;
mod frames;
mod handoff;
mod ingress;
#[cfg(feature = "bench-internals")]
#[doc(hidden)]
pub mod internals;
mod mailbox;
mod memory_limit;
mod options;
mod pin;
mod port_map;
mod queue;
mod registry;
mod report;
mod timers;
mod worker;

pub use counters::{CountersSnapshot, DropReason, PortCounters, Traffic, WorkerStats};
pub use data_plane::DataPlane;
pub use delivery::Delivery;
pub use driven::DrivenWorker;
pub use filter::{FrameClass, PacketFilter, TrafficFrame};
pub use memory_limit::MemoryLimit;
pub use options::{DataPlaneError, DataPlaneOptions, EngineChoice, EngineInfo, PortOptions};
pub use pin::pin_to_core;
pub use pinecone_fib::{LinkType, PortId};
pub use report::{CloseReason, ProtocolFrame, Report, WorkerError};
