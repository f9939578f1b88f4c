//! What a Pinecone node decides: the tree, the snake, broadcasts and the peerings they run over,
//! as one state machine ([`ControlPlane`]).
//!
//! Time and frames are handed in ([`Now`], [`ControlPlane::frame`]); what is to be done comes out
//! in order ([`Effect`]); what was learned is programmed into the forwarding tables
//! ([`FibWriter`](pinecone_fib::FibWriter)). The same inputs give the same outputs.
//!
//! What may not enter: I/O, clocks, threads, randomness that reaches a decision, the environment,
//! and anything that walks a hash map where the order can be seen.

mod breaks;
mod broadcasts;
mod cache;
mod config;
mod counters;
mod error;
mod events;
mod key_index;
mod keys;
mod limits;
mod network_time;
mod own_key;
mod peers;
mod plane;
mod ports;
mod recent;
mod remembered;
mod rib;
mod snake;
mod status;
mod timers;
mod tree;
mod trusted;
mod turns;
pub mod verify;

pub use cache::CoordinateCache;
pub use config::Config;
pub use counters::Counters;
pub use error::{CloseReason, Refused};
pub use events::{Effect, Event};
pub use limits::LimitError;
pub use plane::{ControlPlane, NewPeer, Now};
pub use status::{PeerStatus, Status};
pub use verify::{Unverified, Verified};
