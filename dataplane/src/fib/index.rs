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
    /// A child stands at the first slot of its run.
    children: [Option<Arc<Node<V>>>; FAN],
    /// The shared bits, then zeros.
    prefix: PublicKey,
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
        let head = head(key);
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
        let head = head(key);
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

    /// [`Self::successor`], not strict, of up to [`BATCH`] keys, level by level. `found` is called
    /// with one answer after the other, in the keys' order.
    ///
    /// Loops that do nothing but touch what the next loop reads let its misses wait for memory
    /// together: short enough for the processor to run ahead through all of them.
    pub(super) fn successors<'a, 'k>(
        &'a self,
        keys: impl ExactSizeIterator<Item = &'k PublicKey>,
        mut found: impl FnMut(Found<'a, V>),
    ) {
        let Some(root) = self.root.as_deref() else {
            return keys.take(BATCH).for_each(|_| found(None));
        };
        let count = keys.len().min(BATCH);
        let mut lanes: [Lane<'a, 'k, V>; BATCH] = std::array::from_fn(|_| Lane {
            key: &PublicKey::MIN,
            head: 0,
            node: root,
            after: None,
            at: 0,
            found: None,
        });
        for (lane, key) in lanes.iter_mut().zip(keys) {
            lane.key = key;
            lane.head = head(key);
        }
        let lanes = &mut lanes[..count];
        let mut touched = 0;
        loop {
            let mut branches = 0;
            for lane in lanes.iter() {
                branches += usize::from(matches!(lane.node, Node::Branch(_)));
            }
            if branches == 0 {
                break;
            }
            for lane in lanes.iter_mut() {
                lane.descend();
            }
        }
        for lane in lanes.iter() {
            if let Node::Leaf(leaf) = lane.node {
                touched ^= leaf.touch_heads();
            }
        }
        for lane in lanes.iter_mut() {
            if let Node::Leaf(leaf) = lane.node {
                lane.at = leaf.count_below(lane.key, lane.head);
            }
        }
        for lane in lanes.iter() {
            if let Node::Leaf(leaf) = lane.node {
                touched ^= leaf.touch(lane.at);
            }
        }
        std::hint::black_box(touched);
        for lane in lanes.iter() {
            found(lane.finish());
        }
    }
}

/// One search of a batch.
struct Lane<'a, 'k, V> {
    key: &'k PublicKey,
    head: u64,
    node: &'a Node<V>,
    after: Option<&'a Node<V>>,
    /// How many keys of the leaf that it got to are surely lower.
    at: usize,
    /// The answer, where it is known before a leaf is searched.
    found: Option<Found<'a, V>>,
}

impl<'a, V> Lane<'a, '_, V> {
    /// One level down, or to the leaf with the answer where the search ends.
    #[inline(always)]
    fn descend(&mut self) {
        if let Node::Branch(branch) = self.node {
            match branch.step(self.key, self.head, &mut self.after) {
                Step::Into(child) => self.node = child,
                Step::Below => self.end(Some(self.node)),
                Step::Beyond => self.end(self.after),
            }
        }
    }

    #[cold]
    fn end(&mut self, answer: Option<&'a Node<V>>) {
        self.found = Some(answer.and_then(Node::least));
        while let Node::Branch(branch) = self.node
            && let Some(child) = branch.children[0].as_deref()
        {
            self.node = child;
        }
    }

    #[inline(always)]
    fn finish(&self) -> Found<'a, V> {
        if let Some(found) = self.found {
            return found;
        }
        let Node::Leaf(leaf) = self.node else {
            return None;
        };
        leaf.get(leaf.settle(self.at, self.key, false))
            .or_else(|| self.after.and_then(Node::least))
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

/// The first eight bytes of `key`, as a number that orders as they do.
#[inline(always)]
fn head(key: &PublicKey) -> u64 {
    key.0
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Whether `a < b`, without a call unless they share their first eight bytes.
#[inline(always)]
pub(super) fn below(a: &PublicKey, b: &PublicKey) -> bool {
    order(a, b).is_lt()
}

#[inline(always)]
fn order(a: &PublicKey, b: &PublicKey) -> Ordering {
    head(a).cmp(&head(b)).then_with(|| a.cmp(b))
}

/// The [`BITS`] bits of `key` from bit `depth`; zeros stand behind the last.
fn slot(key: &PublicKey, depth: usize) -> usize {
    (word_at(key, depth) >> (64 - BITS)) as usize
}

/// 64 bits of `key` from bit `depth`; zeros stand behind the last.
fn word_at(key: &PublicKey, depth: usize) -> u64 {
    let [word, next] = [depth / 64, depth / 64 + 1].map(|i| {
        let bytes = key.0.get(8 * i..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes))
    });
    word << (depth % 64) | next >> 1 >> (63 - depth % 64)
}

/// How many leading bits two keys share: 256 if they are equal.
fn common_bits(a: &PublicKey, b: &PublicKey) -> usize {
    for from in [0, 64, 128, 192] {
        let differ = word_at(a, from) ^ word_at(b, from);
        if differ != 0 {
            return from + differ.leading_zeros() as usize;
        }
    }
    8 * PublicKey::LEN
}

#[cfg(test)]
mod tests;
