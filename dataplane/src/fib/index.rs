//! A persistent ordered index over 32-byte keys: a clone costs one reference, an edit copies only
//! the path to what it changes.
//!
//! Branches look at six bits of the key and skip the bits that all keys below them share, so that
//! keys ground to share leading bits cost no more levels than others. A branch's 64 slots are cut
//! into runs, one child each; runs need not be aligned and are never empty, so the child behind
//! one in key order is the next run. Leaves hold up to 16 keys in order, found by the eight bytes
//! behind what they share.

mod edit;
mod leaf;

use std::cmp::Ordering;
use std::sync::Arc;

use pinecone_wire::PublicKey;

use self::leaf::Leaf;

/// Bits of the key that a branch looks at.
const BITS: usize = 6;
const FAN: usize = 1 << BITS;
/// Lookups that one pass of [`Index::successors`] interleaves.
pub(super) const BATCH: usize = 32;

/// What a lookup finds: a key and its value.
pub(super) type Found<'a, V> = Option<(&'a PublicKey, &'a V)>;

/// The index. `V` is cloned when a leaf is copied.
#[derive(Clone, Debug)]
pub(super) struct Index<V> {
    root: Option<Arc<Node<V>>>,
    len: usize,
}

// A branch wastes what a leaf is larger; a pointer more would cost a cache miss a lookup.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
enum Node<V> {
    Branch(Branch<V>),
    Leaf(Leaf<V>),
}

/// All keys below agree with `prefix` in their first `depth` bits; `depth` is a multiple of
/// [`BITS`].
#[derive(Clone, Debug)]
#[repr(C)]
struct Branch<V> {
    /// The first 64 bits of `prefix`, and which of them count.
    head: u64,
    mask: u64,
    /// Bit `s` is set where a child's run of slots begins. Bit 0 is always set.
    starts: u64,
    depth: usize,
    /// The shared bits, then zeros.
    prefix: PublicKey,
    /// A child stands at the first slot of its run.
    children: [Option<Arc<Node<V>>>; FAN],
}

/// Where a search goes from a branch.
enum Step<'a, V> {
    /// On, into a child.
    Into(&'a Node<V>),
    /// All keys below are above the one sought.
    Below,
    /// All keys below are under the one sought.
    Beyond,
}

impl<V> Default for Index<V> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

impl<V> Index<V> {
    /// How many keys there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &PublicKey) -> Option<&V> {
        let head = head(key, 0);
        let mut node = self.root.as_deref()?;
        loop {
            match node {
                Node::Branch(branch) => match branch.step(key, head, &mut None) {
                    Step::Into(child) => node = child,
                    Step::Below | Step::Beyond => return None,
                },
                Node::Leaf(leaf) => {
                    let at = leaf.position(key, head, false);
                    return leaf
                        .get(at)
                        .and_then(|(k, value)| (k == key).then_some(value));
                }
            }
        }
    }

    /// The lowest key at or above `key`, or strictly above it.
    pub(super) fn successor(&self, key: &PublicKey, strict: bool) -> Found<'_, V> {
        let head = head(key, 0);
        let mut node = self.root.as_deref()?;
        let mut after = None;
        loop {
            match node {
                Node::Branch(branch) => match branch.step(key, head, &mut after) {
                    Step::Into(child) => node = child,
                    Step::Below => return branch.least(),
                    Step::Beyond => return after?.least(),
                },
                Node::Leaf(leaf) => {
                    let found = leaf.get(leaf.position(key, head, strict));
                    return found.or_else(|| after?.least());
                }
            }
        }
    }

    /// [`Self::successor`], not strict, of up to [`BATCH`] keys, level by level, so that the
    /// misses of one level wait for memory together.
    pub(super) fn successors<'a, 'k>(
        &'a self,
        keys: impl ExactSizeIterator<Item = &'k PublicKey>,
    ) -> [Found<'a, V>; BATCH] {
        let mut found = [None; BATCH];
        let Some(root) = self.root.as_deref() else {
            return found;
        };
        let count = keys.len().min(BATCH);
        let mut lanes: [Lane<'a, 'k, V>; BATCH] = std::array::from_fn(|_| Lane::idle(root));
        for (lane, key) in lanes.iter_mut().zip(keys) {
            lane.key = key;
            lane.head = head(key, 0);
        }
        let lanes = &mut lanes[..count];
        let mut deeper = true;
        while deeper {
            deeper = false;
            for (lane, found) in lanes.iter_mut().zip(&mut found) {
                deeper |= lane.descend(found);
            }
        }
        for lane in lanes.iter_mut() {
            if let Node::Leaf(leaf) = lane.node {
                lane.at = leaf.position(lane.key, lane.head, false);
            }
        }
        for (lane, found) in lanes.iter().zip(&mut found) {
            if let Node::Leaf(leaf) = lane.node {
                *found = leaf
                    .get(lane.at)
                    .or_else(|| lane.after.and_then(Node::least));
            }
        }
        found
    }
}

/// One search of a batch. Ends at a leaf, or at a branch with its answer written.
struct Lane<'a, 'k, V> {
    key: &'k PublicKey,
    head: u64,
    node: &'a Node<V>,
    after: Option<&'a Node<V>>,
    at: usize,
    done: bool,
}

impl<'a, V> Lane<'a, '_, V> {
    fn idle(node: &'a Node<V>) -> Self {
        Self {
            key: &PublicKey::MIN,
            head: 0,
            node,
            after: None,
            at: 0,
            done: false,
        }
    }

    /// One level down; whether there may be another.
    #[inline(always)]
    fn descend(&mut self, found: &mut Found<'a, V>) -> bool {
        let Node::Branch(branch) = self.node else {
            return false;
        };
        if self.done {
            return false;
        }
        match branch.step(self.key, self.head, &mut self.after) {
            Step::Into(child) => {
                self.node = child;
                return true;
            }
            Step::Below => *found = branch.least(),
            Step::Beyond => *found = self.after.and_then(Node::least),
        }
        self.done = true;
        false
    }
}

impl<V> Node<V> {
    /// The lowest key below.
    fn least(&self) -> Found<'_, V> {
        match self {
            Self::Branch(branch) => branch.least(),
            Self::Leaf(leaf) => leaf.get(0),
        }
    }
}

impl<V> Branch<V> {
    fn least(&self) -> Found<'_, V> {
        let mut branch = self;
        loop {
            match branch.children[0].as_deref()? {
                Node::Branch(next) => branch = next,
                Node::Leaf(leaf) => return leaf.get(0),
            }
        }
    }

    /// The way of `key`; `after` becomes the child behind the one entered, if there is one.
    #[inline(always)]
    fn step<'a>(
        &'a self,
        key: &PublicKey,
        head: u64,
        after: &mut Option<&'a Node<V>>,
    ) -> Step<'a, V> {
        if (head ^ self.head) & self.mask != 0 || self.depth > 64 {
            match self.compare(key) {
                Ordering::Less => return Step::Below,
                Ordering::Equal => {}
                Ordering::Greater => return Step::Beyond,
            }
        }
        let slot = if self.depth <= 64 - BITS {
            (head >> (64 - BITS - self.depth)) as usize % FAN
        } else {
            slot(key, self.depth)
        };
        let behind = self.starts & (u64::MAX << slot << 1);
        if behind != 0 {
            *after = self.children[behind.trailing_zeros() as usize % FAN].as_deref();
        }
        match self.children[self.start(slot)].as_deref() {
            Some(child) => Step::Into(child),
            None => Step::Beyond,
        }
    }

    /// The first slot of the run that `slot` belongs to.
    #[inline(always)]
    fn start(&self, slot: usize) -> usize {
        let upto = self.starts & (u64::MAX >> (FAN - 1 - slot % FAN));
        (63 - (upto | 1).leading_zeros()) as usize % FAN
    }

    /// Where `key` stands to the keys below, by the bits that those share.
    #[cold]
    fn compare(&self, key: &PublicKey) -> Ordering {
        if common_bits(key, &self.prefix) >= self.depth {
            Ordering::Equal
        } else {
            key.cmp(&self.prefix)
        }
    }
}

/// Eight bytes of `key` from `offset`, as a number that orders as they do.
#[inline(always)]
fn head(key: &PublicKey, offset: usize) -> u64 {
    key.0
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The [`BITS`] bits of `key` from bit `depth`; zeros stand behind the last.
fn slot(key: &PublicKey, depth: usize) -> usize {
    let byte = |i: usize| key.0.get(i).copied().map_or(0, usize::from);
    let window = byte(depth / 8) << 8 | byte(depth / 8 + 1);
    (window >> (16 - BITS - depth % 8)) % FAN
}

/// How many leading bits two keys share: 256 if they are equal.
fn common_bits(a: &PublicKey, b: &PublicKey) -> usize {
    let differ = a.0.iter().zip(&b.0).enumerate().find(|(_, (x, y))| x != y);
    differ.map_or(8 * PublicKey::LEN, |(i, (x, y))| {
        8 * i + (x ^ y).leading_zeros() as usize
    })
}

#[cfg(test)]
mod tests;
