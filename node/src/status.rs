//! What a node says about itself: plain data for people and programs.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use pinecone_dataplane::{LinkType, PortId, Traffic};
use pinecone_transports::{Direction, MissingListener};
use pinecone_wire::{Coordinates, PublicKey};

/// A number that only grows, by name: what was dropped, refused or turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// What is counted, in `snake_case`.
    pub name: &'static str,
    /// How often.
    pub value: u64,
}

/// One peering.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Our number for it.
    pub port: PortId,
    /// The peer's key.
    pub key: PublicKey,
    /// The peer's address, as text for people.
    pub remote: String,
    /// Who began it.
    pub direction: Direction,
    /// What it runs over.
    pub link: LinkType,
    /// When it came up.
    pub connected_since: SystemTime,
    /// For how long it has been up.
    pub connected_for: Duration,
    /// The peer's place in the tree, once it has announced one.
    pub coordinates: Option<Coordinates>,
    /// The root that it follows, once it has announced one.
    pub root: Option<PublicKey>,
    /// What it moved since it came up.
    pub traffic: Traffic,
    /// Frames dropped at this port, by reason; reasons that never occurred are left out.
    pub drops: Vec<Counter>,
    /// Traffic frames from it that were for this node, and taken.
    pub delivered_frames: u64,
    /// Traffic frames from it that followed a route that had just expired, and would have been dropped
    /// otherwise.
    pub expired_route_frames: u64,
    /// Traffic frames from it that were led round to another key, and would have been dropped otherwise.
    pub detoured_frames: u64,
    /// Bytes waiting to be sent to it.
    pub queued_bytes: u64,
    /// Traffic frames waiting to be sent to it.
    pub queued_frames: u64,
}

/// A peer that the node dials again whenever it is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticPeer {
    /// As configured.
    pub address: String,
    /// Its state.
    pub state: StaticPeerState,
    /// Failures in a row.
    pub failures: u32,
    /// Why the last dial failed or the last peering ended; none once a peering has been good for a
    /// minute.
    pub last_error: Option<String>,
    /// How long until it is dialled next; none if it is connected or being dialled.
    pub next_dial: Option<Duration>,
}

/// The state of a static peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StaticPeerState {
    /// Waiting for its next dial.
    Waiting,
    /// Its name is being looked up.
    Resolving,
    /// Waiting until other dials have ended.
    Queued,
    /// Being dialled.
    Dialling,
    /// Connected.
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

/// Signs that another node uses our key. All are zero unless somebody copied a key file, or plays
/// tricks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnKeyElsewhere {
    /// Handshakes with our key that were not between this node and itself. They prove nothing:
    /// somebody may have sent our own handshake back.
    pub handshakes: u64,
    /// Frames signed with our key that this node has not made.
    pub signed_frames: u64,
}

/// One worker thread of the data plane.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its number, from 0.
    pub index: usize,
    /// The core that it is pinned to.
    pub core: Option<usize>,
    /// What it has done so far, by name.
    pub stats: Vec<Counter>,
}

/// The node as a whole.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its key.
    pub public_key: PublicKey,
    /// Its place in the tree; none means that it is the root.
    pub coordinates: Coordinates,
    /// The root that it follows.
    pub root: PublicKey,
    /// That root's sequence.
    pub root_sequence: u64,
    /// Its parent in the tree; a root has none.
    pub parent: Option<PublicKey>,
    /// How far its clock is behind the network's time, in milliseconds (less than 0: ahead of it), if
    /// that is far enough to matter.
    pub clock_behind_ms: Option<i64>,
    /// Its descending node on the snake.
    pub descending: Option<PublicKey>,
    /// SNEK routes installed.
    pub routes: usize,
    /// Peerings, lowest port first.
    pub peers: Vec<Peer>,
    /// Static peers, in the order they were given.
    pub static_peers: Vec<StaticPeer>,
    /// The engine that moves frames.
    pub engine: String,
    /// Why it is this one.
    pub engine_reason: String,
    /// The data plane's threads.
    pub workers: Vec<Worker>,
    /// What limits turned away and what was dropped, in the whole node.
    pub counters: Vec<Counter>,
    /// How long the node has been running.
    pub uptime: Duration,
    /// Addresses that it listens on.
    pub listeners: Vec<SocketAddr>,
    /// Addresses that it waits for, to listen on them.
    pub missing_listeners: Vec<MissingListener>,
    /// Signs that another node uses our key.
    pub own_key_elsewhere: OwnKeyElsewhere,
}

/// An answered ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingReply {
    /// From asking to the answer's arrival.
    pub rtt: Duration,
    /// Nodes between the two that forwarded the question and count; deployed nodes outside the
    /// simulator don't.
    pub hops: u16,
}
