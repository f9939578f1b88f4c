//! The routing decisions of a Pinecone node: the spanning tree, the snake, broadcasts, and the peerings that they
//! run over, as one state machine ([`ControlPlane`]).
//!
//! The driver passes in time and frames ([`Now`], [`ControlPlane::frame`]) and takes out instructions in order
//! ([`Effect`]). The control plane programs what it learns into the forwarding tables
//! ([`FibWriter`](pinecone_fib::FibWriter)). The same inputs give the same outputs.
//!
//! I/O, clocks, threads and the environment do not belong here: they live in `node` and `dataplane`. Randomness must
//! not reach a decision, and no hash map may be iterated where the order is visible.

mod broadcast_budget;
mod broadcasts;
mod config;
mod context;
mod control_plane;
mod coordinate_cache;
mod counters;
mod effects;
mod error;
mod events;
mod generations;
mod heard_times;
mod input;
mod key_index;
mod keys;
mod limits;
mod network_time;
mod own_key;
mod peers;
mod periodic;
mod ports;
mod position;
mod recent;
mod replay_cache;
mod rib;
mod sequences;
mod snake;
mod status;
mod tree;
mod trusted;
pub mod verified_bodies;
mod verify;

pub use config::Config;
pub use control_plane::ControlPlane;
pub use coordinate_cache::CoordinateCache;
pub use counters::Counters;
pub use error::{CloseReason, Refused};
pub use events::{Effect, Event};
pub use input::{NewPeer, Now};
pub use limits::LimitError;
pub use status::{PeerStatus, Status};
pub use verified_bodies::VerifiedBodies;
pub use verify::{Unverified, Verified};
