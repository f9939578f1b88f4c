//! The entries of the key tables.

use std::sync::atomic::{AtomicU64, Ordering};

use pinecone_wire::{PublicKey, Watermark};

use crate::decision::is_worse;
use crate::hop::Hop;
use crate::port::PortId;

/// A key of the tables with its next hops, for the control plane to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// The key.
    pub key: PublicKey,
    /// The port towards it, if it is near.
    pub near: Option<PortId>,
    /// The port and the sequence of its route, if it has one.
    pub route: Option<(PortId, u64)>,
}

/// The next hops of one key: the port of a near key, a route, or both. The near port wins.
#[derive(Debug)]
pub(crate) struct SnekEntry {
    near: PortId,
    source: PortId,
    /// The route's sequence. It changes in place, also in published snapshots.
    sequence: AtomicU64,
}

/// A route that has expired.
#[derive(Clone, Debug)]
pub(crate) struct ExpiredRoute {
    pub(crate) source: PortId,
    pub(crate) sequence: u64,
}

/// Sentinel: no port.
const NO_PORT: PortId = PortId(u32::MAX);

impl SnekEntry {
    /// Returns the entry of a key, or `None` for one that is neither near nor on a route.
    pub(crate) fn new(near: Option<PortId>, route: Option<(PortId, u64)>) -> Option<Self> {
        (near.is_some() || route.is_some()).then(|| {
            let (source, sequence) = route.unwrap_or((NO_PORT, 0));
            Self {
                near: near.unwrap_or(NO_PORT),
                source,
                sequence: AtomicU64::new(sequence),
            }
        })
    }

    /// Returns the next hop towards `key`, whose entry this is. A route whose watermark is worse than
    /// the frame's is not used.
    #[inline(always)]
    pub(crate) fn hop<'a>(&self, key: &'a PublicKey, watermark: &Watermark) -> Option<Hop<'a>> {
        if self.near != NO_PORT {
            return Some(Hop::through(self.near, key, 0));
        }
        let sequence = self.sequence.load(Ordering::Relaxed);
        (!is_worse(key, sequence, watermark)).then(|| Hop::through(self.source, key, sequence))
    }

    /// Returns the port towards a near key.
    pub(crate) fn near(&self) -> Option<PortId> {
        (self.near != NO_PORT).then_some(self.near)
    }

    /// Returns the source and the sequence of the route.
    pub(crate) fn route(&self) -> Option<(PortId, u64)> {
        let sequence = self.sequence.load(Ordering::Relaxed);
        (self.source != NO_PORT).then_some((self.source, sequence))
    }

    /// Sets the sequence in place if there is a route by way of `source`. Returns whether there is.
    pub(crate) fn refresh(&self, source: PortId, sequence: u64) -> bool {
        let same = self.source == source;
        if same {
            self.sequence.store(sequence, Ordering::Relaxed);
        }
        same
    }
}

impl Default for SnekEntry {
    fn default() -> Self {
        Self {
            near: NO_PORT,
            source: NO_PORT,
            sequence: AtomicU64::new(0),
        }
    }
}

impl Clone for SnekEntry {
    fn clone(&self) -> Self {
        Self {
            near: self.near,
            source: self.source,
            sequence: AtomicU64::new(self.sequence.load(Ordering::Relaxed)),
        }
    }
}

impl Default for ExpiredRoute {
    fn default() -> Self {
        Self {
            source: PortId::LOCAL,
            sequence: 0,
        }
    }
}
