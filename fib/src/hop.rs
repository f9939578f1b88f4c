//! Next hops, as lookups return them.

use pinecone_wire::{PublicKey, Watermark};

use crate::port::PortId;

/// The next hop of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// The node itself.
    Local,
    /// The peer at a port.
    Port(PortId),
    /// No next hop.
    None,
}

/// The result of a SNEK lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnekHop {
    /// The next hop of the frame.
    pub next: NextHop,
    /// The watermark to write into the frame.
    pub watermark: Watermark,
}

/// A [`SnekHop`] that refers to the key of its watermark instead of copying it.
pub(crate) struct Hop<'a> {
    pub(crate) next: NextHop,
    pub(crate) key: &'a PublicKey,
    pub(crate) sequence: u64,
}

impl<'a> Hop<'a> {
    #[inline(always)]
    pub(crate) fn through(port: PortId, key: &'a PublicKey, sequence: u64) -> Self {
        Self {
            next: NextHop::Port(port),
            key,
            sequence,
        }
    }
}

impl From<Hop<'_>> for SnekHop {
    fn from(hop: Hop<'_>) -> Self {
        Self {
            next: hop.next,
            watermark: Watermark {
                key: *hop.key,
                sequence: hop.sequence,
            },
        }
    }
}
