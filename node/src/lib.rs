//! A Pinecone node as a library.
//!
//! A [`Node`] connects independent parts with threads and channels: the workers of the data plane move frames, the
//! control thread makes the routing decisions, and the runtime thread listens, dials and shakes hands.
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
//! // A payload may be lost until routes between the two are set up, some milliseconds later.
//! a.reachable(&b.public_key(), Duration::from_secs(10)).await?;
//! a.send_to("hello", &b.public_key())?;
//! let (payload, from) = b.recv_from().await?;
//! assert_eq!((&payload[..], from), (&b"hello"[..], a.public_key()));
//!
//! a.close().await;
//! b.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! `docs/guide.md` shows more, and `examples/` has whole programs.
//!
//! Routing decisions do not belong here: they live in `controlplane`. The format of bytes lives in
//! `wire`, moving frames in `dataplane`, and making streams in `transports`.

mod bell;
mod builder;
mod clock;
mod closings;
mod command;
mod control;
mod endpoints;
mod error;
mod event;
mod host;
mod hosted;
mod intake;
mod joining;
mod key;
mod local;
mod log_limit;
mod node;
mod options;
mod payload;
mod peerings;
mod pending_pings;
mod pin;
mod reach;
mod received;
mod report;
mod runtime;
mod shard;
mod start;
mod status;
mod stream_options;
mod traffic;
mod unanswered;
mod verifiers;

pub use builder::Builder;
pub use error::{
    AddListenerError, Closed, ConnectError, DisconnectError, NodeError, OptionError, PingError,
    SendError, StartError, StaticPeerError, TryRecvError,
};
pub use event::{Event, Events, PeerBandwidth};
pub use host::{Host, HostOptions};
pub use key::{KeyFile, KeyFileError, generate_key};
pub use log_limit::LogLimit;
pub use node::{Node, pipe};
pub use options::{NodeOptions, ReceiveFor, ReceiveQueue};
pub use payload::Payload;
pub use pinecone_controlplane::{Config as ControlConfig, LimitError, Refused};
pub use pinecone_dataplane::{
    CloseReason, DataPlaneError, DataPlaneOptions, DropReason, EngineChoice, FrameClass, LinkType,
    MemoryLimit, PacketFilter, PortId, Traffic, TrafficFrame, WorkerError,
};
pub use pinecone_transports::tls::{TlsConfigError, TlsError, TlsOptions};
pub use pinecone_transports::websocket::{
    OptionError as UpgradeOptionError, TrustedProxies, UpgradeError, UpgradePath,
};
pub use pinecone_transports::{
    AddressError, DialError, DialSchedule, Direction, HandshakeFailed, Limits, ListenError,
    LocalListener, MissingListener, Scheme, WrongKey,
};
pub use pinecone_wire::{
    Coordinates, Extensions, FrameError, KeyError, PublicKey, SecretKey, Signature, TrafficLayout,
    VerifyingKey,
};
pub use received::Received;
pub use status::{
    Counter, OwnKeyElsewhere, Peer, PingReply, StaticPeer, StaticPeerState, Status, Worker,
};
pub use stream_options::StreamOptions;

/// The snippets of the guide, which are tested with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guide.md")]
mod guide {}
