//! A persistent ordered index over 32-byte keys: a clone costs two references, an edit copies only
//! the path to what it changes.
//!
//! Branches look at six bits of the key and skip the bits that all keys below them share, so that
//! keys ground to share leading bits cost no more levels than others. A branch's 64 slots are cut
//! into runs, one child each; runs need not be aligned and are never empty, so the child behind
//! one in key order is the next run. Leaves hold up to 13 keys in order, found by the four bytes
//! behind what they share.
//!
//! Nodes name each other by their place in an [`Arena`], and which kind a child is of is in its
//! name, so that what a lookup needs of it can be fetched before anything is read.

mod edit;
mod leaf;

use std::cmp::Ordering;
use std::mem::offset_of;

use pinecone_wire::PublicKey;

use self::leaf::Leaf;
use crate::buffer::arena::Arena;

/// Bits of the key that a branch looks at.
const BITS: usize = 6;
const FAN: usize = 1 << BITS;
/// Bits that [`window`] is good for: eight bytes, from anywhere in the first.
const WINDOW: usize = 57;
/// Lookups that one pass of [`Index::successors`] interleaves.
pub(super) const BATCH: usize = 32;
/// Up to how many keys an index stays in the processor's caches, where there is nothing to wait
/// for and interleaving costs more than it saves.
const CACHED: usize = 8 << 10;

/// What a lookup finds: a key and its value.
pub(super) type Found<'a, V> = Option<(&'a PublicKey, &'a V)>;

/// The index. `V` is cloned when a leaf is copied.
///
/// A clone is what is now, frozen: it can be looked up while the original is edited. Editing a
/// clone makes it an index of its own first, with all that is in it.
#[derive(Debug)]
pub(super) struct Index<V> {
    branches: Arena<Branch>,
    leaves: Arena<Leaf<V>>,
    root: Child,
    len: usize,
}

/// A node's name: its place among the branches or among the leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Child(u32);

/// A node by its kind.
enum Kind {
    Branch(u32),
    Leaf(u32),
}

/// All keys below agree with `prefix` in their first `depth` bits; `depth` is a multiple of
/// [`BITS`].
///
/// All but the children is in one cache line, behind the arena's stamps.
#[derive(Clone, Debug)]
#[repr(C)]
struct Branch {
    /// Which of the first 64 bits of `prefix` count.
    mask: u64,
    /// Bit `s` is set where a child's run of slots begins. Bit 0 is always set.
    starts: u64,
    depth: usize,
    /// The shared bits, then zeros.
    prefix: PublicKey,
    /// A child stands at the first slot of its run.
    children: [Child; FAN],
}

/// Where a search goes from a branch.
enum Step {
    /// On, into a child.
    Into(Child),
    /// All keys below are above the one sought.
    Below,
    /// All keys below are under the one sought.
    Beyond,
}

impl<V> Default for Index<V> {
    fn default() -> Self {
        Self {
            branches: Arena::new(),
            leaves: Arena::new(),
            root: Child::NONE,
            len: 0,
        }
    }
}

impl<V> Clone for Index<V> {
    fn clone(&self) -> Self {
        Self {
            branches: self.branches.clone(),
            leaves: self.leaves.clone(),
            root: self.root,
            len: self.len,
        }
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
        let (mut node, mut after, mut known) = (self.root, Child::NONE, 0);
        loop {
            match node.kind() {
                Kind::Branch(id) => match self
                    .branches
                    .get(id)?
                    .step(key, head, &mut known, &mut after)
                {
                    Step::Into(child) => node = child,
                    Step::Below | Step::Beyond => return None,
                },
                Kind::Leaf(id) => {
                    let leaf = self.leaves.get(id)?;
                    let at = leaf.position(key, head, false);
                    return leaf
                        .get(at)
                        .and_then(|(k, value)| (k == key).then_some(value));
                }
            }
        }
    }

    /// [`Self::get`], where an edit of `key` is next: asks for all that this will copy, at once.
    pub(super) fn get_to_edit(&self, key: &PublicKey) -> Option<&V> {
        let head = head(key);
        let (mut node, mut after, mut known) = (self.root, Child::NONE, 0);
        while let Kind::Branch(id) = node.kind() {
            let step = self
                .branches
                .get(id)?
                .step(key, head, &mut known, &mut after);
            let Step::Into(child) = step else {
                return None;
            };
            node = child;
            match node.kind() {
                Kind::Branch(id) => self.branches.prefetch_all(id),
                Kind::Leaf(id) => self.leaves.prefetch_all(id),
            }
        }
        self.get(key)
    }

    /// The lowest key at or above `key`, or strictly above it.
    pub(super) fn successor(&self, key: &PublicKey, strict: bool) -> Found<'_, V> {
        let head = head(key);
        let (mut node, mut after, mut known) = (self.root, Child::NONE, 0);
        loop {
            match node.kind() {
                Kind::Branch(id) => match self
                    .branches
                    .get(id)?
                    .step(key, head, &mut known, &mut after)
                {
                    Step::Into(child) => node = child,
                    Step::Below => return self.least(node),
                    Step::Beyond => return self.least(after),
                },
                Kind::Leaf(id) => {
                    let leaf = self.leaves.get(id)?;
                    let found = leaf.get(leaf.position(key, head, strict));
                    return found.or_else(|| self.least(after));
                }
            }
        }
    }

    /// [`Self::successor`], not strict, of up to [`BATCH`] keys. `found` is called with one answer
    /// after the other, in the keys' order.
    ///
    /// All go down level by level. What the next level reads of a node is asked for as soon as its
    /// name is known, so that all keys' misses wait for memory together.
    pub(super) fn successors<'a, 'k>(
        &'a self,
        keys: impl ExactSizeIterator<Item = &'k PublicKey>,
        mut found: impl FnMut(Found<'a, V>),
    ) {
        if self.len <= CACHED {
            return keys
                .take(BATCH)
                .for_each(|key| found(self.successor(key, false)));
        }
        let mut lanes = [Lane {
            key: &PublicKey::MIN,
            head: 0,
            node: self.root,
            after: Child::NONE,
            known: 0,
            at: 0,
            first: false,
        }; BATCH];
        let count = keys.len().min(BATCH);
        for (lane, key) in lanes.iter_mut().zip(keys) {
            lane.key = key;
            lane.head = head(key);
        }
        let lanes = &mut lanes[..count];
        loop {
            let mut branches = 0;
            for lane in lanes.iter_mut() {
                branches += self.descend(lane);
            }
            if branches == 0 {
                break;
            }
        }
        for lane in lanes.iter_mut() {
            self.search_leaf(lane);
        }
        for lane in lanes.iter() {
            found(self.finish(lane));
        }
    }

    /// One level down; 1 if there is a branch there again.
    #[inline(always)]
    fn descend(&self, lane: &mut Lane<'_>) -> usize {
        let Kind::Branch(id) = lane.node.kind() else {
            return 0;
        };
        let Some(branch) = self.branches.get(id) else {
            return 0;
        };
        match branch.step(lane.key, lane.head, &mut lane.known, &mut lane.after) {
            Step::Into(child) => lane.node = child,
            Step::Below => self.end(lane, lane.node),
            Step::Beyond => self.end(lane, lane.after),
        }
        match lane.node.kind() {
            Kind::Branch(id) => {
                self.branches.prefetch(id, 0);
                // Unless it skips bits, this is where it will look.
                let slot = slot_of(lane.key, lane.head, branch.depth + BITS);
                self.branches.prefetch(id, Branch::child_offset(slot));
                1
            }
            Kind::Leaf(id) => {
                self.leaves.prefetch(id, 0);
                0
            }
        }
    }

    /// Sends a lane to the lowest key below `node`, which is its answer.
    #[cold]
    fn end(&self, lane: &mut Lane<'_>, node: Child) {
        lane.node = self.first_leaf(node);
        lane.first = true;
    }

    #[inline(always)]
    fn search_leaf(&self, lane: &mut Lane<'_>) {
        if let Kind::Leaf(id) = lane.node.kind()
            && let Some(leaf) = self.leaves.get(id)
            && !lane.first
        {
            lane.at = leaf.count_below(lane.key, lane.head);
            for offset in Leaf::<V>::slot_span(lane.at) {
                self.leaves.prefetch(id, offset);
            }
        }
    }

    #[inline(always)]
    fn finish(&self, lane: &Lane<'_>) -> Found<'_, V> {
        let Kind::Leaf(id) = lane.node.kind() else {
            return None;
        };
        let leaf = self.leaves.get(id)?;
        if lane.first {
            return leaf.get(0);
        }
        leaf.get(leaf.settle(lane.at, lane.key, false))
            .or_else(|| self.least(lane.after))
    }

    /// The lowest key below `node`.
    fn least(&self, node: Child) -> Found<'_, V> {
        match self.first_leaf(node).kind() {
            Kind::Leaf(id) => self.leaves.get(id)?.get(0),
            Kind::Branch(_) => None,
        }
    }

    fn first_leaf(&self, mut node: Child) -> Child {
        while let Kind::Branch(id) = node.kind() {
            node = self.branches.get(id).map_or(Child::NONE, |b| b.child(0));
        }
        node
    }
}

/// One search of a batch.
#[derive(Clone, Copy)]
struct Lane<'k> {
    key: &'k PublicKey,
    head: u64,
    node: Child,
    after: Child,
    /// Leading bits of the key that all keys below `node` are known to have, too.
    known: usize,
    /// How many keys of the leaf that it got to are surely lower.
    at: usize,
    /// Whether the leaf's first key is the answer.
    first: bool,
}

impl Child {
    const LEAF: u32 = 1 << 31;
    /// No node: a leaf that no arena has.
    const NONE: Self = Self(u32::MAX);

    fn of_branch(id: u32) -> Self {
        Self(id)
    }

    fn of_leaf(id: u32) -> Self {
        Self(id | Self::LEAF)
    }

    #[inline(always)]
    fn kind(self) -> Kind {
        if self.0 & Self::LEAF == 0 {
            Kind::Branch(self.0)
        } else {
            Kind::Leaf(self.0 & !Self::LEAF)
        }
    }
}

impl Branch {
    /// Where the child at `start` is named, in bytes from the branch's start.
    #[inline(always)]
    fn child_offset(start: usize) -> usize {
        offset_of!(Self, children) + start * size_of::<Child>()
    }

    #[inline(always)]
    fn child(&self, start: usize) -> Child {
        self.children[start % FAN]
    }

    /// The way of `key`, which is known to agree in the first `known` bits; those become as many
    /// as this branch has compared. `after` becomes the child behind the one entered, if there is
    /// one.
    #[inline(always)]
    fn step(&self, key: &PublicKey, head: u64, known: &mut usize, after: &mut Child) -> Step {
        if !self.agrees(key, head, *known) {
            return match key.cmp(&self.prefix) {
                Ordering::Less => Step::Below,
                _ => Step::Beyond,
            };
        }
        *known = self.depth;
        let slot = slot_of(key, head, self.depth);
        let behind = self.starts & (u64::MAX << slot << 1);
        if behind != 0 {
            *after = self.child(behind.trailing_zeros() as usize);
        }
        Step::Into(self.child(self.start(slot)))
    }

    /// The first slot of the run that `slot` belongs to.
    #[inline(always)]
    fn start(&self, slot: usize) -> usize {
        let upto = self.starts & (u64::MAX >> (FAN - 1 - slot % FAN));
        (63 - (upto | 1).leading_zeros()) as usize % FAN
    }

    /// Whether `key`, whose first `known` bits agree, has all bits that the keys below share.
    #[inline(always)]
    fn agrees(&self, key: &PublicKey, head: u64, known: usize) -> bool {
        if self.depth <= 64 {
            return (head ^ self::head(&self.prefix)) & self.mask == 0;
        }
        match self.depth.saturating_sub(known) {
            0 => true,
            new @ 1..=WINDOW => {
                (window(key, known) ^ window(&self.prefix, known)) >> (64 - new) == 0
            }
            _ => common_bits(key, &self.prefix) >= self.depth,
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

/// [`slot`], by the first eight bytes alone where they tell.
#[inline(always)]
fn slot_of(key: &PublicKey, head: u64, depth: usize) -> usize {
    if depth <= 64 - BITS {
        (head >> (64 - BITS - depth)) as usize % FAN
    } else {
        slot(key, depth)
    }
}

/// The [`BITS`] bits of `key` from bit `depth`; zeros stand behind the last.
#[inline(always)]
fn slot(key: &PublicKey, depth: usize) -> usize {
    (window(key, depth) >> (64 - BITS)) as usize
}

/// The highest [`WINDOW`] bits are those of `key` from bit `depth` on; zeros stand behind the last.
#[inline(always)]
fn window(key: &PublicKey, depth: usize) -> u64 {
    match key.0.get(depth / 8..).and_then(|rest| rest.first_chunk()) {
        Some(bytes) => u64::from_be_bytes(*bytes) << (depth % 8),
        None => word_at(key, depth),
    }
}

/// 64 bits of `key` from bit `depth`; zeros stand behind the last.
fn word_at(key: &PublicKey, depth: usize) -> u64 {
    let [word, next] = [depth / 64, depth / 64 + 1].map(|i| key_word(key, i));
    word << (depth % 64) | next >> 1 >> (63 - depth % 64)
}

/// The eight bytes at `8 * word`, or 0 behind the last.
#[inline(always)]
fn key_word(key: &PublicKey, word: usize) -> u64 {
    let bytes = key.0.get(8 * word..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes))
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
