//! The forwarding tables: an immutable snapshot that the control plane publishes and workers read.
//!
//! [`FibWriter`] holds the working state and has one owner. [`FibWriter::publish`] makes it the
//! snapshot that every [`FibReader`] finds at its next [`FibReader::load`]. Lookups answer the same
//! whatever order the tables were filled in.
//!
//! This crate uses no sockets, threads, clocks or signatures. The control plane takes out what has
//! expired. `unsafe` lives in the module `memory` alone.

mod decision;
mod forwarding;
mod index;
mod memory;
mod near;
mod port;
mod rescue;
mod snapshot;
mod tree;
mod writer;

use pinecone_wire::{PublicKey, Watermark};

pub use decision::{Decision, forward_decision};
pub use forwarding::{Class, Destinations, Fate, ForwardingOptions, Transit, Undeliverable};
pub use index::BATCH;
pub use port::{LinkType, PortId};
pub use rescue::Rescue;
pub use snapshot::{Snapshot, SnekBatch};
pub use writer::{Fib, FibReader, FibWriter};

/// A live peering: up, whether it has announced or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerEntry {
    /// The peer's key.
    pub key: PublicKey,
    /// What the peering runs over.
    pub link: LinkType,
    /// The last tree announcement that came over it.
    pub announcement: Option<PeerAnnouncement>,
}

/// What the tables need of a peer's tree announcement (protocol section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAnnouncement {
    /// The root that the peer follows.
    pub root: PublicKey,
    /// That root's sequence.
    pub root_sequence: u64,
    /// Node-wide arrival number.
    pub order: u64,
    /// Port and signing key of every entry, from the root to the peer. The ports but the last are
    /// the peer's coordinates.
    pub signers: Vec<(u64, PublicKey)>,
}

/// What is being routed by SNEK: the two differ in what counts as progress (protocol section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnekKind {
    /// Traffic: the destination itself is the best answer.
    Traffic,
    /// A bootstrap: looks for the key strictly above its own.
    Bootstrap,
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// To this node.
    Local,
    /// Out of a port.
    Port(PortId),
    /// Nowhere.
    None,
}

/// The answer of a SNEK lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnekHop {
    /// Where the frame goes.
    pub next: NextHop,
    /// The watermark that goes into the frame.
    pub watermark: Watermark,
}

/// What becomes of a SNEK-routed traffic frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The decision.
    pub decision: Decision,
    /// The watermark that goes into the frame if it goes on.
    pub watermark: Watermark,
    /// Why it goes on, if the protocol's lookup alone would have dropped it.
    pub rescue: Option<Rescue>,
}

/// One traffic lookup of [`Snapshot::snek_batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnekQuery {
    /// The frame's destination key.
    pub destination: PublicKey,
    /// The frame's watermark.
    pub watermark: Watermark,
}
