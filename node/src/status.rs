//! The state of a node, as plain data.

use std::fmt;
use std::time::{Duration, SystemTime};

use pinecone_dataplane::{LinkType, PortId, Traffic};
use pinecone_transports::{Direction, LocalListener, MissingListener, Scheme};
use pinecone_wire::{Coordinates, PublicKey};

/// A counter, which only grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The name of what is counted, in `snake_case`.
    pub name: &'static str,
    /// The count.
    pub value: u64,
}

/// The state of a peering.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Peer {
    /// The port's number in this node.
    pub port: PortId,
    /// The peer's key.
    pub key: PublicKey,
    /// The peer's address, as text for people.
    pub remote: String,
    /// The side that connected.
    pub direction: Direction,
    /// The type of its link.
    pub link: LinkType,
    /// The scheme of the URI that was dialled or listened on. `None` for a stream of the application.
    pub scheme: Option<Scheme>,
    /// Its priority.
    pub priority: u8,
    /// Set if the node does not use it now because another peering with the same key has a higher priority.
    pub standby: bool,
    /// The time at which it came up.
    pub connected_since: SystemTime,
    /// The time for which it has been up.
    pub connected_for: Duration,
    /// The peer's coordinates, once it has announced them.
    pub coordinates: Option<Coordinates>,
    /// The root that the peer follows, once it has announced one.
    pub root: Option<PublicKey>,
    /// Its traffic since it came up.
    pub traffic: Traffic,
    /// Frames dropped at this port, by [reason](crate::DropReason::name). Reasons that never occurred are
    /// left out.
    pub drops: Vec<Counter>,
    /// Traffic frames from the peer that were delivered at this node.
    pub delivered_frames: u64,
    /// Traffic frames from the peer that followed a route that had just expired, and would have been
    /// dropped otherwise.
    pub expired_route_frames: u64,
    /// Traffic frames from the peer that were led to another key, and would have been dropped otherwise.
    pub detoured_frames: u64,
    /// Bytes that wait to be sent to the peer.
    pub queued_bytes: u64,
    /// Traffic frames that wait to be sent to the peer.
    pub queued_frames: u64,
}

/// A peer that the node dials again whenever it is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticPeer {
    /// Its address, as configured.
    pub address: String,
    /// Its state.
    pub state: StaticPeerState,
    /// The number of failures in a row.
    pub failures: u32,
    /// The reason why the last dial failed or the last peering ended. `None` once a peering has lasted for a minute.
    pub last_error: Option<String>,
    /// The time until it is dialled next. `None` if it is connected or being dialled.
    pub next_dial: Option<Duration>,
}

/// The state of a static peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StaticPeerState {
    /// The peer waits for its next dial.
    Waiting,
    /// Its name is being looked up.
    Resolving,
    /// The peer waits until other dials have ended.
    Queued,
    /// The peer is being dialled.
    Dialling,
    /// The peer is connected.
    Connected,
}

impl fmt::Display for StaticPeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Resolving => "resolving",
            Self::Queued => "queued",
            Self::Dialling => "dialling",
            Self::Connected => "connected",
        })
    }
}

/// Signs that another node uses this node's key. All are zero unless a key file has been copied or messages are
/// replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnKeyElsewhere {
    /// Handshakes with this node's key that were not between this node and itself. They are no proof: another host may
    /// have sent the node's own handshake back.
    pub handshakes: u64,
    /// Frames signed with this node's key that this node has not made.
    pub signed_frames: u64,
}

/// A worker thread of the data plane.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Worker {
    /// Its number, counted from 0.
    pub index: usize,
    /// The core that it is pinned to, if it is.
    pub core: Option<usize>,
    /// Its counters.
    pub stats: Vec<Counter>,
}

/// The state of a node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Its key.
    pub public_key: PublicKey,
    /// Its coordinates in the tree. The root's are empty.
    pub coordinates: Coordinates,
    /// The root that it follows.
    pub root: PublicKey,
    /// The sequence of that root.
    pub root_sequence: u64,
    /// Its parent in the tree. A root has none.
    pub parent: Option<PublicKey>,
    /// The time by which its clock is behind the network's in milliseconds, if that is enough to matter. Negative if
    /// the clock is ahead.
    pub clock_behind_ms: Option<i64>,
    /// Its descending node on the snake.
    pub descending: Option<PublicKey>,
    /// The number of SNEK routes.
    pub routes: usize,
    /// The peerings, lowest port first.
    pub peers: Vec<Peer>,
    /// The static peers, in the order in which they were given.
    pub static_peers: Vec<StaticPeer>,
    /// The name of the engine that moves frames.
    pub engine: String,
    /// The reason for the choice of this engine, and the features of the kernel that it uses.
    pub engine_reason: String,
    /// The worker threads.
    pub workers: Vec<Worker>,
    /// Counters of the whole node.
    pub counters: Vec<Counter>,
    /// The time for which the node has been running.
    pub uptime: Duration,
    /// The addresses that it listens on.
    pub listeners: Vec<LocalListener>,
    /// The addresses to listen on that it waits for.
    pub missing_listeners: Vec<MissingListener>,
    /// Signs that another node uses this node's key.
    pub own_key_elsewhere: OwnKeyElsewhere,
}

/// The answer to a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingReply {
    /// The time from sending the ping to the arrival of the answer.
    pub rtt: Duration,
    /// The number of nodes that forwarded the ping: a direct peer is 0 hops away. Deployed nodes outside of the
    /// simulator do not count.
    pub hops: u16,
}
