//! The data plane of a Pinecone node: workers that move frames between connected sockets.
//!
//! A worker has an engine (io_uring or epoll), ports and buffers of its own. It receives frames from
//! stream sockets, looks up their next hop in an immutable snapshot of the [forwarding
//! tables](pinecone_fib), and sends them on another socket. It reports protocol frames to the control
//! plane through the [`Report`] channel. The control plane answers with changes to the tables and with
//! frames to send.
//!
//! Routing decisions do not belong here: they live in `controlplane`, and the decision about a frame in `fib`. This
//! crate checks no signatures, and its only clock is the coarse one of the workers' timers. No lock is taken and no
//! memory allocated for each forwarded frame. `unsafe` is allowed in the modules `engine` and `buffer` only.

mod backlog;
mod batching;
mod block;
mod buffer;
mod closing;
mod counters;
mod data_plane;
mod delivery;
mod doorbell;
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
mod local_frame;
mod mailbox;
mod memory_limit;
mod options;
mod pin;
mod port_map;
mod queue;
mod registry;
mod report;
mod sync;
mod timers;
mod worker;

pub use counters::{CountersSnapshot, DropReason, PortCounters, Traffic, WorkerStats};
pub use data_plane::DataPlane;
pub use delivery::Delivery;
pub use driven::DrivenWorker;
pub use filter::{FrameClass, PacketFilter, TrafficFrame};
pub use local_frame::LocalFrame;
pub use memory_limit::MemoryLimit;
pub use options::{DataPlaneError, DataPlaneOptions, EngineChoice, EngineInfo, PortOptions};
pub use pin::pin_to_core;
pub use pinecone_fib::{LinkType, PortId};
pub use report::{CloseReason, ProtocolFrame, Report, WorkerError};
