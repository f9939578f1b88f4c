//! A few keys in order, and their values.

use pinecone_wire::PublicKey;

use super::{Found, common_bits, head};

/// How many keys a leaf holds at most.
pub(super) const CAPACITY: usize = 16;

#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct Leaf<V> {
    len: usize,
    /// Where the keys' heads begin: all before it is the same in all of them.
    offset: usize,
    /// Eight bytes of each key from `offset`; the highest number behind the last.
    heads: [u64; CAPACITY],
    slots: [Slot<V>; CAPACITY],
}

#[derive(Clone, Debug, Default)]
struct Slot<V> {
    key: PublicKey,
    value: V,
}

impl<V> Leaf<V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(super) fn get(&self, at: usize) -> Found<'_, V> {
        let slot = self.slots.get(at).filter(|_| at < self.len)?;
        Some((&slot.key, &slot.value))
    }

    pub(super) fn key(&self, at: usize) -> Option<&PublicKey> {
        Some(self.get(at)?.0)
    }

    /// How many keys are below `key`, or, if `strict`, not above it. `first` are its first eight
    /// bytes.
    #[inline(always)]
    pub(super) fn position(&self, key: &PublicKey, first: u64, strict: bool) -> usize {
        let mut wanted = first;
        if self.offset > 0 {
            match self.past_shared(key) {
                Ok(at) => return at,
                Err(head) => wanted = head,
            }
        }
        // Counting all is faster than searching: nothing to predict.
        let below = |heads: &[u64]| {
            heads
                .iter()
                .map(|&h| usize::from(h < wanted))
                .sum::<usize>()
        };
        let (low, high) = self.heads.split_at(CAPACITY / 2);
        let mut at = below(low) + below(high);
        while let Some(slot) = self.slots.get(at).filter(|_| at < self.len) {
            if self.heads[at] != wanted || slot.key > *key || (!strict && slot.key == *key) {
                break;
            }
            at += 1;
        }
        at
    }

    /// The head of `key` behind the bytes that all keys here share, or, if it has others there,
    /// its position.
    #[cold]
    fn past_shared(&self, key: &PublicKey) -> Result<usize, u64> {
        match key.0[..self.offset].cmp(&self.slots[0].key.0[..self.offset]) {
            std::cmp::Ordering::Less => Ok(0),
            std::cmp::Ordering::Equal => Err(head(key, self.offset)),
            std::cmp::Ordering::Greater => Ok(self.len),
        }
    }
}

impl<V: Clone + Default> Leaf<V> {
    pub(super) fn of(key: PublicKey, value: V) -> Self {
        let mut leaf = Self::empty();
        leaf.insert(0, key, value);
        leaf
    }

    fn empty() -> Self {
        Self {
            len: 0,
            offset: 0,
            heads: [u64::MAX; CAPACITY],
            slots: Default::default(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == CAPACITY
    }

    /// Where `key` is, or where it belongs.
    pub(super) fn find(&self, key: &PublicKey) -> Result<usize, usize> {
        let at = self.position(key, head(key, 0), false);
        if self.key(at) == Some(key) {
            Ok(at)
        } else {
            Err(at)
        }
    }

    pub(super) fn replace(&mut self, at: usize, value: V) -> V {
        std::mem::replace(&mut self.slots[at].value, value)
    }

    /// Inserts at `at`, which must be where `key` belongs, in a leaf that is not full.
    pub(super) fn insert(&mut self, at: usize, key: PublicKey, value: V) {
        self.slots[at..=self.len].rotate_right(1);
        self.slots[at] = Slot { key, value };
        self.len += 1;
        self.index();
    }

    pub(super) fn remove(&mut self, at: usize) -> V {
        let value = std::mem::take(&mut self.slots[at]).value;
        self.slots[at..self.len].rotate_left(1);
        self.len -= 1;
        self.index();
        value
    }

    /// The keys before `at`, and the others.
    pub(super) fn split(&self, at: usize) -> (Self, Self) {
        let part = |slots: &[Slot<V>]| {
            let mut leaf = Self::empty();
            leaf.append(slots);
            leaf
        };
        let slots = &self.slots[..self.len];
        (part(&slots[..at]), part(&slots[at..]))
    }

    /// Takes over the keys of the leaf behind this one, which must fit.
    pub(super) fn merge(&mut self, behind: &Self) {
        self.append(&behind.slots[..behind.len]);
    }

    fn append(&mut self, slots: &[Slot<V>]) {
        let len = self.len + slots.len();
        self.slots[self.len..len].clone_from_slice(slots);
        self.len = len;
        self.index();
    }

    /// Works out offset and heads. The offset stays 0, which is faster to search, unless the keys
    /// share so much that their first eight bytes say little.
    fn index(&mut self) {
        let keys = &self.slots[..self.len];
        let shared = match keys {
            [first, .., last] => common_bits(&first.key, &last.key) / 8,
            _ => 0,
        };
        self.offset = if shared > 4 {
            shared.min(PublicKey::LEN - 8)
        } else {
            0
        };
        self.heads = [u64::MAX; CAPACITY];
        for (to, slot) in self.heads.iter_mut().zip(keys) {
            *to = head(&slot.key, self.offset);
        }
    }
}
