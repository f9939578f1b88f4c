//! A Pinecone node: run one, or embed one.
//!
//! A [`Node`] is threads and channels around the parts that know nothing of each other: the data
//! plane's workers move frames, the control thread decides, the runtime thread listens, dials and
//! shakes hands.
//!
//! What may not enter: routing decisions (`controlplane`), the format of bytes (`wire`), how
//! frames are moved (`dataplane`) and how streams come about (`transports`).

mod builder;
mod engine;
mod error;
mod event;
mod key;
mod node;
mod status;

pub use builder::Builder;
pub use engine::{EngineChoice, PacketFilter};
pub use error::{ConnectError, PingError, SendError, StartError};
pub use event::{Event, Events, PeerBandwidth};
pub use key::generate_key;
pub use node::{Node, StreamOptions, pipe};
pub use pinecone_dataplane::{LinkType, PortId};
pub use pinecone_wire::{Coordinates, KeyError, PublicKey, SecretKey};
pub use status::{Counter, Direction, Peer, PingReply, Status, Traffic, Worker};
