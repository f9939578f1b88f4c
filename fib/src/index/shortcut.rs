//! The first two levels of a large index as one array, so that a lookup begins at the third.

use super::{BITS, Child, FAN, Index};

/// From so many keys on there is a shortcut: its 16 KiB are then 4 bytes a key at most.
pub(super) const FROM: usize = if cfg!(test) { 100 } else { 4096 };
/// Bits of the key that it looks at.
const WIDTH: usize = 2 * BITS;

/// Where the keys that begin with each [`WIDTH`] bits are led by the first two levels. It is of one
/// moment, and holds for a clone that is made then.
#[derive(Clone, Debug)]
pub(super) struct Shortcut {
    /// The root's children, from which it was made.
    root: [Child; FAN],
    ways: [Child; 1 << WIDTH],
}

impl Shortcut {
    /// Where a key that begins with `head` is led.
    #[inline(always)]
    pub(super) fn way(&self, head: u64) -> Child {
        self.ways[(head >> (64 - WIDTH)) as usize]
    }

    /// Brings it up to date: for the children of the root that are others, and for those at the
    /// slots in `stale`, below which something changed.
    pub(super) fn refresh<V>(&mut self, index: &Index<V>, stale: u64) {
        let Some(root) = index.root_branch() else {
            return;
        };
        for (slot, (ways, old)) in self.ways.chunks_mut(FAN).zip(&mut self.root).enumerate() {
            let child = root.child(slot);
            if child == *old && stale >> slot & 1 == 0 {
                continue;
            }
            *old = child;
            match index.branch(child) {
                // All keys that begin with this slot's bits pass its test, and no others do.
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
