//! The inputs of the control plane other than frames.

use std::time::Duration;

use pinecone_fib::LinkType;
use pinecone_wire::{Extensions, PublicKey};

/// The current time, passed in with every input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Time since any fixed start. If it goes backwards, the control plane treats it as standing still.
    pub monotonic: Duration,
    /// Unix time in milliseconds, for sequences.
    pub unix_ms: u64,
}

/// A stream whose handshake has completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewPeer {
    /// The key that the peer claims.
    pub key: PublicKey,
    /// The type of the link.
    pub link: LinkType,
    /// The extensions of the protocol that the peer offers.
    pub extensions: Extensions,
    /// The priority. Of several peerings with the same key that have announced themselves, only those with the highest
    /// are used; the others are on standby.
    pub priority: u8,
}

impl NewPeer {
    /// Creates a peer that offers no extensions, with priority 0.
    #[must_use]
    pub const fn new(key: PublicKey, link: LinkType) -> Self {
        Self {
            key,
            link,
            extensions: Extensions::NONE,
            priority: 0,
        }
    }
}
