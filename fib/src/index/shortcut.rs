//! The first two levels of a large index as one array, so that a lookup begins at the third.

use super::bits::{BITS, FAN};
use super::node::{Branch, Child};

/// The number of keys from which on an index has a shortcut: its 16 KiB are then at most 4 bytes a key.
pub(super) const FROM: usize = if cfg!(test) { 100 } else { 4096 };
/// The number of bits of the key that it reads.
const WIDTH: usize = 2 * BITS;

/// The node at which the search for a key begins, for each value of the key's first [`WIDTH`] bits. It is
/// valid for the index as it was at one moment, and for clones made at that moment.
#[derive(Clone, Debug)]
pub(super) struct Shortcut {
    /// The children of the root from which it was made.
    root: [Child; FAN],
    ways: [Child; 1 << WIDTH],
}

impl Shortcut {
    /// Returns the node at which the search for a key that begins with `head` begins.
    #[inline(always)]
    pub(super) fn way(&self, head: u64) -> Child {
        self.ways[(head >> (64 - WIDTH)) as usize]
    }

    /// Updates the entries below the children of `root` that have changed, and below those at the slots in
    /// `stale`. `branch` looks up a branch by its name.
    pub(super) fn refresh<'a>(
        &mut self,
        root: &Branch,
        stale: u64,
        branch: impl Fn(Child) -> Option<&'a Branch>,
    ) {
        for (slot, (ways, old)) in self.ways.chunks_mut(FAN).zip(&mut self.root).enumerate() {
            let child = root.child(slot);
            if child == *old && stale >> slot & 1 == 0 {
                continue;
            }
            *old = child;
            match branch(child) {
                // All keys that begin with the bits of this slot pass its test, and no others do.
                Some(branch) if branch.depth == BITS && branch.is_for(slot) => {
                    ways.copy_from_slice(&branch.children);
                }
                _ => ways.fill(child),
            }
        }
    }
}

impl Default for Shortcut {
    fn default() -> Self {
        Self {
            root: [Child::NONE; FAN],
            ways: [Child::NONE; 1 << WIDTH],
        }
    }
}
