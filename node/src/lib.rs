//! A Pinecone node: run one, or embed one.
//!
//! A [`Node`] is threads and channels around parts that know nothing of each other: the data
//! plane's workers move frames, the control thread decides, the runtime thread listens, dials and
//! shakes hands.
//!
//! ```
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Two nodes with fresh keys, in one process. Over a network: `.listen(":65432")` on one side,
//! // `.connect("host:65432")` on the other.
//! let a = pinecone::Node::builder().start().await?;
//! let b = pinecone::Node::builder().start().await?;
//! pinecone::pipe(&a, &b).await?;
//!
//! // A payload may be lost, as any datagram, until the two have found their way to each other.
//! while a.ping(&b.public_key(), 0, Duration::from_secs(1)).await.is_err() {}
//! a.send_to(&b.public_key(), "hello")?;
//! let (from, payload) = b.recv_from().await.ok_or("closed")?;
//! assert_eq!((from, &payload[..]), (a.public_key(), &b"hello"[..]));
//!
//! a.close().await;
//! b.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! What may not enter: routing decisions (`controlplane`), the format of bytes (`wire`), how
//! frames are moved (`dataplane`) and how streams come about (`transports`).

mod builder;
mod clock;
mod closings;
mod command;
mod control;
mod error;
mod event;
mod intake;
mod key;
mod local;
mod log_limit;
mod node;
mod options;
mod peerings;
mod pin;
mod pings;
mod report;
mod runtime;
mod start;
mod status;
mod stream_options;
mod unanswered;
mod verifiers;

pub use builder::Builder;
pub use error::{ConnectError, NodeError, OptionError, PingError, SendError, StartError};
pub use event::{Event, Events, PeerBandwidth};
pub use key::generate_key;
pub use log_limit::LogLimit;
pub use node::{Node, pipe};
pub use options::{NodeOptions, ReceiveQueue};
pub use pinecone_controlplane::{Config as ControlConfig, LimitError};
pub use pinecone_dataplane::{
    DataPlaneOptions, EngineChoice, LinkType, MemoryLimit, PacketFilter, PortId, WorkerError,
};
pub use pinecone_transports::{DialSchedule, Direction, Limits, MissingListener};
pub use pinecone_wire::{Coordinates, KeyError, PublicKey, SecretKey};
pub use status::{Counter, OwnKeyElsewhere, Peer, PingReply, StaticPeer, Status, Traffic, Worker};
pub use stream_options::StreamOptions;
