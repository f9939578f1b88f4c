//! The node's position in the tree.

use pinecone_wire::{Coordinates, PublicKey, SignedBody};

/// The root that the node follows, and its coordinates below that root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) root: PublicKey,
    pub(crate) root_sequence: u64,
    pub(crate) coordinates: Coordinates,
}

impl Position {
    /// Returns the key of the root and its sequence.
    pub(crate) fn root(&self) -> (PublicKey, u64) {
        (self.root, self.root_sequence)
    }

    /// Reports whether a bootstrap or broadcast was made under exactly this root and sequence.
    pub(crate) fn has_root_of(&self, body: &SignedBody) -> bool {
        (body.root, body.root_sequence) == self.root()
    }
}
