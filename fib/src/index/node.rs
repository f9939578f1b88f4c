//! The branches of an index, and the names of nodes.

use std::cmp::Ordering;
use std::mem::offset_of;

use pinecone_wire::PublicKey;

use super::bits::{FAN, WINDOW, common_bits, head, slot_of, window};

/// A node's name: its place among the branches or among the leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Child(pub(super) u32);

/// A node's place, by its kind.
pub(super) enum Kind {
    Branch(u32),
    Leaf(u32),
}

/// A branch. All keys below it agree with `prefix` in their first `depth` bits; `depth` is a multiple
/// of [`BITS`](super::bits::BITS).
///
/// Together with the arena's version stamps, everything before the children fits one cache line.
#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct Branch {
    /// Selects the bits that count among the first 64 of `prefix`.
    mask: u64,
    /// Bit `s` is set where a child's range of slots begins. Bit 0 is always set.
    pub(super) starts: u64,
    pub(super) depth: usize,
    /// The shared bits, then zeros.
    pub(super) prefix: PublicKey,
    /// The child at each slot. A child is repeated at every slot of its range, so that a lookup needs no
    /// `starts`.
    pub(super) children: [Child; FAN],
}

impl Child {
    const LEAF: u32 = 1 << 31;
    /// Sentinel: no node. A leaf that no arena has.
    pub(super) const NONE: Self = Self(u32::MAX);

    pub(super) fn of_branch(id: u32) -> Self {
        Self(id)
    }

    pub(super) fn of_leaf(id: u32) -> Self {
        Self(id | Self::LEAF)
    }

    #[inline(always)]
    pub(super) fn kind(self) -> Kind {
        if self.0 & Self::LEAF == 0 {
            Kind::Branch(self.0)
        } else {
            Kind::Leaf(self.0 & !Self::LEAF)
        }
    }
}

impl Branch {
    /// Creates a branch with one child, for the keys that agree with `key` in all bits before `depth`.
    pub(super) fn new(depth: usize, key: &PublicKey, child: Child) -> Self {
        let mut prefix = PublicKey::MIN;
        let whole = depth / 8;
        for (i, (to, from)) in prefix.0.iter_mut().zip(key.0).enumerate() {
            *to = match i.cmp(&whole) {
                Ordering::Less => from,
                Ordering::Equal => from & !(0xff >> (depth % 8)),
                Ordering::Greater => 0,
            };
        }
        Self {
            mask: match depth {
                0 => 0,
                1..64 => u64::MAX << (64 - depth),
                _ => u64::MAX,
            },
            starts: 1,
            depth,
            prefix,
            children: [child; FAN],
        }
    }

    /// Returns the offset of the name of the child at `slot`, in bytes from the branch's start.
    #[inline(always)]
    pub(super) fn child_offset(slot: usize) -> usize {
        offset_of!(Self, children) + slot * size_of::<Child>()
    }

    #[inline(always)]
    pub(super) fn child(&self, slot: usize) -> Child {
        self.children[slot % FAN]
    }

    /// Returns the child that leads to `key`, or `None` if the keys below do not share their first bits
    /// with it. `known` is the number of bits in which they are known to agree, and becomes the number
    /// that this branch has compared.
    #[inline(always)]
    pub(super) fn step(&self, key: &PublicKey, head: u64, known: &mut usize) -> Option<Child> {
        if !self.agrees(key, head, *known) {
            return None;
        }
        *known = self.depth;
        Some(self.child(slot_of(key, head, self.depth)))
    }

    /// Reports whether the keys below begin with `slot`. They must share at least their first
    /// [`BITS`](super::bits::BITS) bits.
    pub(super) fn is_for(&self, slot: usize) -> bool {
        slot_of(&self.prefix, head(&self.prefix), 0) == slot
    }

    /// Returns the child whose range follows the one that `slot` belongs to.
    pub(super) fn behind(&self, slot: usize) -> Option<Child> {
        let behind = self.starts & (u64::MAX << slot << 1);
        (behind != 0).then(|| self.child(behind.trailing_zeros() as usize))
    }

    /// Returns the first slot of the range that `slot` belongs to.
    pub(super) fn start(&self, slot: usize) -> usize {
        let upto = self.starts & (u64::MAX >> (FAN - 1 - slot % FAN));
        (63 - (upto | 1).leading_zeros()) as usize % FAN
    }

    /// Reports whether `key`, whose first `known` bits agree, has all bits that the keys below share.
    #[inline(always)]
    fn agrees(&self, key: &PublicKey, head: u64, known: usize) -> bool {
        if self.depth <= 64 {
            return (head ^ super::bits::head(&self.prefix)) & self.mask == 0;
        }
        match self.depth.saturating_sub(known) {
            0 => true,
            new @ 1..=WINDOW => {
                (window(key, known) ^ window(&self.prefix, known)) >> (64 - new) == 0
            }
            _ => common_bits(key, &self.prefix) >= self.depth,
        }
    }

    /// Makes the range of `child` begin at `start`. It ends where the next range begins.
    pub(super) fn set(&mut self, start: usize, child: Child) {
        self.starts |= 1 << start;
        self.fill(start, child);
    }

    /// Gives the range at `start` to the child before it.
    pub(super) fn clear(&mut self, start: usize) {
        let before = self.child(start.saturating_sub(1));
        self.fill(start, before);
        self.starts &= !(1 << start);
    }

    /// Removes the child at `start`. Its range is given to the child before it, or, if it is the first, to the next.
    pub(super) fn take(&mut self, start: usize) {
        let behind = self.starts & !1;
        if start == 0 && behind != 0 {
            let next = behind.trailing_zeros() as usize;
            self.fill(0, self.child(next));
            self.starts &= !(1 << next);
        } else {
            self.clear(start);
        }
    }

    fn fill(&mut self, start: usize, child: Child) {
        let behind = self.starts & (u64::MAX << start << 1);
        // 64 if there is none.
        let end = behind.trailing_zeros() as usize;
        self.children[start..end].fill(child);
    }
}
