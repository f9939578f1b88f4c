//! The forwarding tables, and the decision about a traffic frame.
//!
//! [`FibWriter`] holds the working state and has one owner, the control plane. [`FibWriter::publish`]
//! makes it the immutable [`Snapshot`] that every [`FibReader`] finds at its next [`FibReader::load`].
//! Lookups do not depend on the order in which the tables were filled.
//!
//! The tables hold resolved entries: a next hop for each key, and a port for the coordinates of each
//! peer. The selection among several next hops for a key does not belong here: it lives in
//! `controlplane`, as do all decisions about bootstraps. Neither do sockets, threads, clocks or
//! signatures: the control plane removes what has expired. `unsafe` is confined to the module `memory`.

mod decision;
mod entry;
mod forwarding;
mod hop;
mod index;
mod memory;
mod port;
mod publication;
mod rescue;
mod snapshot;
mod tree;
mod writer;

pub use decision::{Decision, forward_decision};
pub use entry::KeyEntry;
pub use forwarding::{Class, Destinations, Fate, ForwardingOptions, Transit, Undeliverable};
pub use hop::{NextHop, SnekHop};
pub use index::search::BATCH;
pub use port::{LinkType, PortId};
pub use rescue::Rescue;
pub use snapshot::{Snapshot, SnekBatch, SnekQuery};
pub use writer::{Fib, FibReader, FibWriter};
