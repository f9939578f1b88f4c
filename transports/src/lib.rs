//! Connected, handshaken streams to peers.
//!
//! The workers of the data plane handle connected stream sockets and nothing else. This crate makes
//! them: it [listens](Transports::listen) and [dials](Transports::dial) over TCP, performs the peering
//! handshake (protocol section 2) with many peers concurrently, keeps [static peers](StaticPeers)
//! connected (protocol section 9), and turns any other byte stream into one end of a socket pair
//! ([`pipe`], [`relay`], [`Transports::adopt_stream`]). The result is always an [`Established`].
//!
//! All futures run within a [`Runtime`] on one thread, with io_uring if the system allows it and with
//! readiness polling otherwise ([`Backend`]).
//!
//! Frames do not belong here: they are read and written by `dataplane`. This crate reads no byte after
//! the handshake, except in the relay, which copies bytes without parsing them.

mod admission;
mod counters;
mod descriptors;
mod direction;
mod error;
mod established;
mod exchange;
mod handshake;
mod keep_connected;
mod keep_listening;
mod layers;
mod limits;
mod link;
mod own_key;
mod proof;
mod relayed;
mod resolve;
mod runtime;
// Used once the handshake offers it.
#[allow(dead_code)]
mod security;
mod static_peers;
mod stream;
mod tcp;
pub mod tls;
mod uri;
mod uring;
pub mod websocket;

pub use admission::Place;
pub use counters::TransportCounters;
pub use descriptors::room_for_peerings;
pub use direction::Direction;
pub use error::{DialError, HandshakeFailed, ListenError, WrongKey};
pub use established::{Established, Link};
pub use handshake::{TransportOptions, Transports};
pub use keep_connected::StaticPeersHandle;
pub use keep_listening::{Listen, Listeners, LocalListener, MissingListener, StartedListeners};
pub use limits::Limits;
pub use link::{EncryptLinks, EncryptedStream, LinkFailed, encrypt_link};
pub use proof::ProofFailed;
pub use runtime::{Backend, Runtime};
pub use security::{SecurityFailed, SecurityOptions};
pub use static_peers::{
    DialSchedule, DueDial, StaticPeerId, StaticPeerState, StaticPeerStatus, StaticPeers,
};
pub use stream::{RelayPool, RelayTask, pipe, relay};
pub use tcp::{BoundListener, Listening};
pub use uri::{AddressError, DEFAULT_PORT, ListenUri, PeerUri, Scheme, parse_static_peers};
