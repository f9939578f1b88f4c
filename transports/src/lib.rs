//! Getting connected, handshaken streams to peers.
//!
//! A data-plane worker knows connected stream sockets and nothing else. This crate makes them:
//! it [listens](Transports::listen) and [dials](Transports::dial) over TCP, does the peering
//! handshake (protocol section 2) for many peers side by side, keeps [static peers](StaticPeers)
//! connected (protocol section 9), and turns any other byte stream into one end of a socket pair
//! ([`pipe`], [`relay`], [`Transports::adopt_stream`]). What comes out is always an
//! [`Established`].
//!
//! Everything asynchronous here runs within a [`Runtime`] on one thread: through io_uring where
//! the system allows it, by readiness polling elsewhere ([`Backend`]).
//!
//! What may not enter: frames. Not a byte after the handshake is read here, apart from the relay,
//! which copies without looking.

mod address;
mod admission;
mod bind;
mod counters;
mod descriptors;
mod dial;
mod error;
mod exchange;
mod handshake;
mod keep_connected;
mod keep_listening;
mod listen;
mod own_key;
mod pipe;
mod resolve;
mod runtime;
mod static_peers;

pub use address::{DEFAULT_PORT, PeerAddress, parse_static_peers};
pub use admission::Place;
pub use bind::{BoundListener, ListenAddress};
pub use counters::TransportCounters;
pub use descriptors::room_for_peerings;
pub use error::{AddressError, DialError, HandshakeFailed, ListenError};
pub use handshake::{Direction, Established, Limits, Link, Transports};
pub use keep_connected::StaticPeersHandle;
pub use keep_listening::{Listen, Listeners, MissingListener};
pub use listen::Listening;
pub use pipe::{RelayTask, pipe, relay};
pub use runtime::{Backend, Runtime};
pub use static_peers::{
    DialSchedule, DueDial, StaticPeerId, StaticPeerState, StaticPeerStatus, StaticPeers,
};
