//! The leaves of an index: a few keys in order, and their values.

use std::mem::offset_of;

use pinecone_wire::PublicKey;

use super::bits::{below, order, window};

/// The result of a lookup: a key and its value.
pub(crate) type Found<'a, V> = Option<(&'a PublicKey, &'a V)>;

/// The most keys that a leaf holds. Together with the arena's version stamps, everything up to the end
/// of their heads fits one cache line.
pub(super) const CAPACITY: usize = 13;

/// A leaf. All keys agree in the bits before `depth`, and so does every key that is looked up here: the
/// branch above has checked that.
#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct Leaf<V> {
    len: u16,
    depth: u16,
    /// The 32 bits of each key from bit `depth`, as numbers of the same order. Unused heads are the
    /// highest number.
    heads: [i32; CAPACITY],
    slots: [Slot<V>; CAPACITY],
}

#[derive(Clone, Debug, Default)]
#[repr(C)]
struct Slot<V> {
    key: PublicKey,
    value: V,
}

impl<V> Leaf<V> {
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub(super) fn depth(&self) -> usize {
        usize::from(self.depth)
    }

    #[inline(always)]
    pub(super) fn get(&self, at: usize) -> Found<'_, V> {
        let slot = self.slots.get(at).filter(|_| at < self.len())?;
        Some((&slot.key, &slot.value))
    }

    pub(super) fn key(&self, at: usize) -> Option<&PublicKey> {
        Some(self.get(at)?.0)
    }

    /// Returns the offsets of the first and the last byte of the slot at `at` from the leaf's start.
    #[inline(always)]
    pub(super) fn slot_span(at: usize) -> [usize; 2] {
        let from = offset_of!(Self, slots) + at * size_of::<Slot<V>>();
        [from, from + size_of::<Slot<V>>() - 1]
    }

    /// Returns the number of keys with a head below that of `key`, whose first eight bytes are `first`.
    #[inline(always)]
    pub(super) fn count_below(&self, key: &PublicKey, first: u64) -> usize {
        let wanted = head_at(key, first, self.depth());
        // Counting all is faster than searching, as there are no branches to predict. The parts fit vectors.
        let (eight, rest) = self.heads.split_at(8);
        let (four, rest) = rest.split_at(4);
        let count = |heads: &[i32]| -> i32 { heads.iter().map(|&h| i32::from(h < wanted)).sum() };
        (count(eight) + count(four) + count(rest)) as usize
    }

    /// Returns the number of keys below `key`, or not above it if `strict`. At least `from` are, according
    /// to [`Self::count_below`].
    #[inline(always)]
    pub(super) fn position_from(&self, from: usize, key: &PublicKey, strict: bool) -> usize {
        let mut at = from;
        while let Some((other, _)) = self.get(at) {
            if other == key {
                return at + usize::from(strict);
            }
            if below(key, other) {
                break;
            }
            at += 1;
        }
        at
    }

    /// Returns the number of keys below `key`, or not above it if `strict`.
    #[inline(always)]
    pub(super) fn position(&self, key: &PublicKey, first: u64, strict: bool) -> usize {
        self.position_from(self.count_below(key, first), key, strict)
    }
}

impl<V: Clone + Default> Leaf<V> {
    pub(super) fn of(depth: usize, key: PublicKey, value: V) -> Self {
        let mut leaf = Self::empty(depth);
        leaf.insert(0, key, value);
        leaf
    }

    pub(super) fn empty(depth: usize) -> Self {
        Self {
            len: 0,
            depth: depth as u16,
            heads: [i32::MAX; CAPACITY],
            slots: Default::default(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() == CAPACITY
    }

    /// Returns the place of `key`, or the place where it belongs.
    pub(super) fn find(&self, key: &PublicKey) -> Result<usize, usize> {
        // Heads cannot be used: a key that is inserted may differ before `depth`.
        self.slots[..self.len()].binary_search_by(|slot| order(&slot.key, key))
    }

    pub(super) fn replace(&mut self, at: usize, value: V) -> V {
        std::mem::replace(&mut self.slots[at].value, value)
    }

    /// Inserts at `at`, which must be where `key` belongs, in a leaf that is not full.
    pub(super) fn insert(&mut self, at: usize, key: PublicKey, value: V) {
        let len = self.len();
        self.slots[at..=len].rotate_right(1);
        self.slots[at] = Slot { key, value };
        self.len += 1;
        self.heads.copy_within(at..len, at + 1);
        self.heads[at] = head_of(&key, self.depth());
    }

    pub(super) fn remove(&mut self, at: usize) -> V {
        let len = self.len();
        let value = std::mem::take(&mut self.slots[at]).value;
        self.slots[at..len].rotate_left(1);
        self.len -= 1;
        self.heads.copy_within(at + 1..len, at);
        self.heads[len - 1] = i32::MAX;
        value
    }

    /// Splits the leaf before `at` into two, for a branch at `depth`.
    pub(super) fn split(&self, at: usize, depth: usize) -> (Self, Self) {
        let part = |slots: &[Slot<V>]| {
            let mut leaf = Self::empty(depth);
            leaf.append(slots);
            leaf
        };
        let slots = &self.slots[..self.len()];
        (part(&slots[..at]), part(&slots[at..]))
    }

    /// Appends the keys of the next leaf, which must fit.
    pub(super) fn merge(&mut self, behind: &Self) {
        self.append(&behind.slots[..behind.len()]);
    }

    /// Makes the leaf fit below a branch at `depth`, which must be less than its own depth.
    pub(super) fn rebase(&mut self, depth: usize) {
        self.depth = depth as u16;
        for (head, slot) in self
            .heads
            .iter_mut()
            .zip(&self.slots[..usize::from(self.len)])
        {
            *head = head_of(&slot.key, depth);
        }
    }

    fn append(&mut self, slots: &[Slot<V>]) {
        let (from, depth) = (self.len(), self.depth());
        let len = from + slots.len();
        self.slots[from..len].clone_from_slice(slots);
        self.len = len as u16;
        for (head, slot) in self.heads[from..len].iter_mut().zip(slots) {
            *head = head_of(&slot.key, depth);
        }
    }
}

/// Returns [`head_of`] a key whose first eight bytes are `first`.
#[inline(always)]
fn head_at(key: &PublicKey, first: u64, depth: usize) -> i32 {
    if depth > 32 {
        return head_of(key, depth);
    }
    ((first << depth >> 32) as u32 ^ 1 << 31) as i32
}

/// Returns the 32 bits of `key` from bit `depth`, padded with zeros, as a signed number of the same order:
/// signed numbers compare faster.
#[inline(always)]
fn head_of(key: &PublicKey, depth: usize) -> i32 {
    ((window(key, depth) >> 32) as u32 ^ 1 << 31) as i32
}
