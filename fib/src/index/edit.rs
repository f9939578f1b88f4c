//! Insertion and removal. Nodes that no clone sees are changed in place.

use pinecone_wire::PublicKey;

use super::Index;
use super::bits::{BITS, FAN, common_bits, slot};
use super::leaf::{CAPACITY, Leaf};
use super::node::{Branch, Child, Kind};

/// Neighbouring leaves are merged when they hold no more keys than this together. That is less than a
/// full leaf, so that one key coming and going does not split and merge each time.
const MERGE: usize = CAPACITY * 3 / 4;
/// The most keys that a compacted index puts into a leaf, so that a few more do not split all leaves.
const FILLED: usize = CAPACITY - 1;

impl<V: Clone + Default> Index<V> {
    /// Sets the value of `key`. Returns the value before.
    pub(crate) fn insert(&mut self, key: PublicKey, value: V) -> Option<V> {
        self.make_editable();
        self.stale |= 1 << slot(&key, 0);
        let old = if self.root == Child::NONE {
            self.root = self.new_leaf(Leaf::of(0, key, value));
            None
        } else {
            let mut root = self.root;
            let old = self.insert_below(&mut root, key, value);
            self.root = root;
            old
        };
        self.len += usize::from(old.is_none());
        old
    }

    /// Removes `key`. Returns its value. Copies nothing if the key is absent.
    pub(crate) fn remove(&mut self, key: &PublicKey) -> Option<V> {
        self.get(key)?;
        self.make_editable();
        self.stale |= 1 << slot(key, 0);
        let mut root = self.root;
        let old = self.remove_below(&mut root, key, 0);
        self.root = root;
        self.len -= usize::from(old.is_some());
        if self.len == 0 {
            self.retire(self.root);
            self.root = Child::NONE;
        }
        old
    }

    /// Makes the index editable. It is copied if it is a clone, or if its arenas have run out of version
    /// numbers.
    fn make_editable(&mut self) {
        if self.branches.can_edit() && self.leaves.can_edit() {
            return;
        }
        self.compact();
    }

    /// Copies everything to new memory, as arenas never shrink.
    pub(crate) fn compact(&mut self) {
        let mut entries = Vec::with_capacity(self.len);
        self.collect(self.root, &mut entries);
        let mut copy = Self::default();
        copy.root = copy.build(&entries, 0);
        copy.len = entries.len();
        *self = copy;
    }

    /// Builds the nodes of `entries`, which are in order and share the bits before `above`. Insertion one by
    /// one in this order would leave half of each leaf empty.
    fn build(&mut self, entries: &[(&PublicKey, &V)], above: usize) -> Child {
        let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
            return Child::NONE;
        };
        if entries.len() <= FILLED {
            return self.build_leaf(entries, above);
        }
        let depth = common_bits(first, last) / BITS * BITS;
        let mut branch = Branch::new(depth, first, Child::NONE);
        let (mut start, mut rest) = (0, entries);
        while let Some((first, _)) = rest.first() {
            let end =
                |key| rest.partition_point(|(other, _)| slot(other, depth) <= slot(key, depth));
            let mut len = end(first);
            while let Some((next, _)) = rest.get(len)
                && end(next) <= FILLED
            {
                len = end(next);
            }
            let (now, behind) = rest.split_at(len);
            branch.set(start, self.build(now, depth));
            start = behind.first().map_or(0, |(key, _)| slot(key, depth));
            rest = behind;
        }
        self.new_branch(branch)
    }

    fn build_leaf(&mut self, entries: &[(&PublicKey, &V)], depth: usize) -> Child {
        let mut leaf = Leaf::empty(depth);
        for (at, (key, value)) in entries.iter().enumerate() {
            leaf.insert(at, **key, (*value).clone());
        }
        self.new_leaf(leaf)
    }

    fn collect<'a>(&'a self, node: Child, entries: &mut Vec<(&'a PublicKey, &'a V)>) {
        match node.kind() {
            Kind::Branch(id) => {
                if let Some(branch) = self.branches.get(id) {
                    for start in (0..FAN).filter(|start| branch.starts >> start & 1 == 1) {
                        self.collect(branch.child(start), entries);
                    }
                }
            }
            Kind::Leaf(id) => {
                if let Some(leaf) = self.leaves.get(id) {
                    entries.extend((0..leaf.len()).filter_map(|at| leaf.get(at)));
                }
            }
        }
    }

    fn new_leaf(&mut self, leaf: Leaf<V>) -> Child {
        self.leaves.alloc(leaf).map_or(Child::NONE, Child::of_leaf)
    }

    fn new_branch(&mut self, branch: Branch) -> Child {
        self.branches
            .alloc(branch)
            .map_or(Child::NONE, Child::of_branch)
    }

    fn retire(&mut self, node: Child) {
        match node.kind() {
            Kind::Branch(id) => self.branches.retire(id),
            Kind::Leaf(id) => self.leaves.retire(id),
        }
    }

    fn leaf(&self, node: Child) -> Option<&Leaf<V>> {
        match node.kind() {
            Kind::Leaf(id) => self.leaves.get(id),
            Kind::Branch(_) => None,
        }
    }

    /// Returns the leaf `node` for editing. If it must be copied, `node` becomes the copy.
    fn edit_leaf(&mut self, node: &mut Child) -> Option<&mut Leaf<V>> {
        let Kind::Leaf(mut id) = node.kind() else {
            return None;
        };
        let leaf = self.leaves.edit(&mut id)?;
        *node = Child::of_leaf(id);
        Some(leaf)
    }

    /// Returns the branch `node` for editing. If it must be copied, `node` becomes the copy.
    fn edit_branch(&mut self, node: &mut Child) -> Option<&mut Branch> {
        let Kind::Branch(mut id) = node.kind() else {
            return None;
        };
        let branch = self.branches.edit(&mut id)?;
        *node = Child::of_branch(id);
        Some(branch)
    }

    fn insert_below(&mut self, node: &mut Child, key: PublicKey, value: V) -> Option<V> {
        if let Some(branch) = self.branch(*node) {
            let (depth, prefix) = (branch.depth, branch.prefix);
            let shared = common_bits(&key, &prefix);
            if shared < depth {
                *node = self.fork(shared, prefix, *node, key, value);
                return None;
            }
            return self.insert_in_branch(node, key, value);
        }
        let leaf = self.leaf(*node)?;
        match leaf.find(&key) {
            Ok(at) => Some(self.edit_leaf(node)?.replace(at, value)),
            Err(at) if !leaf.is_full() => {
                self.edit_leaf(node)?.insert(at, key, value);
                None
            }
            Err(_) => {
                *node = self.branch_over(*node);
                self.insert_below(node, key, value)
            }
        }
    }

    fn insert_in_branch(&mut self, node: &mut Child, key: PublicKey, value: V) -> Option<V> {
        let branch = self.edit_branch(node)?;
        let depth = branch.depth;
        let ours = slot(&key, depth);
        let mut start = branch.start(ours);
        let mut child = branch.child(start);
        if let Some(leaf) = self.leaf(child)
            && leaf.is_full()
            && leaf.find(&key).is_err()
        {
            self.split_leaf(node, start);
            let branch = self.edit_branch(node)?;
            start = branch.start(ours);
            child = branch.child(start);
        }
        if let Some(below) = self.branch(child) {
            // All keys of the branch below are in one slot. The new key may be elsewhere in the range.
            let theirs = slot(&below.prefix, depth);
            if ours != theirs {
                let leaf = self.new_leaf(Leaf::of(depth, key, value));
                let branch = self.edit_branch(node)?;
                if ours < theirs {
                    branch.set(start, leaf);
                    branch.set(theirs, child);
                } else {
                    branch.set(theirs + 1, leaf);
                }
                return None;
            }
        }
        let before = child;
        let old = self.insert_below(&mut child, key, value);
        if child != before {
            self.edit_branch(node)?.set(start, child);
        }
        old
    }

    /// Removes `key` from the subtree of `node`, whose parent is a branch at depth `above`.
    fn remove_below(&mut self, node: &mut Child, key: &PublicKey, above: usize) -> Option<V> {
        if let Kind::Leaf(_) = node.kind() {
            let leaf = self.edit_leaf(node)?;
            return leaf.find(key).ok().map(|at| leaf.remove(at));
        }
        let old = self.remove_in_branch(node, key);
        let branch = self.branch(*node)?;
        if branch.starts == 1 {
            let mut only = branch.child(0);
            if self.leaf(only).is_some_and(|leaf| leaf.depth() > above) {
                self.edit_leaf(&mut only)?.rebase(above);
            }
            self.retire(*node);
            *node = only;
        }
        old
    }

    fn remove_in_branch(&mut self, node: &mut Child, key: &PublicKey) -> Option<V> {
        let branch = self.edit_branch(node)?;
        let depth = branch.depth;
        let start = branch.start(slot(key, depth));
        let mut child = branch.child(start);
        let old = self.remove_below(&mut child, key, depth);
        let empty = self.leaf(child).map(|leaf| leaf.len() == 0);
        let branch = self.edit_branch(node)?;
        branch.set(start, child);
        match empty {
            Some(true) => {
                branch.take(start);
                self.retire(child);
            }
            Some(false) => {
                let behind = branch.starts & (u64::MAX << start << 1);
                let before = branch.start(start.saturating_sub(1));
                let second = behind.trailing_zeros() as usize;
                if (behind == 0 || self.merge_leaves(node, start, second).is_none()) && start > 0 {
                    self.merge_leaves(node, before, start);
                }
            }
            None => {}
        }
        old
    }

    /// Turns a full leaf into a branch.
    fn branch_over(&mut self, node: Child) -> Child {
        let keys = self
            .leaf(node)
            .and_then(|leaf| Some((*leaf.key(0)?, *leaf.key(leaf.len() - 1)?)));
        let (first, last) = keys.unwrap_or_default();
        let depth = common_bits(&first, &last) / BITS * BITS;
        let mut branch = self.new_branch(Branch::new(depth, &first, node));
        self.split_leaf(&mut branch, 0);
        branch
    }

    /// Creates a branch over `child`, whose keys begin with `prefix`, and a new key that shares only its
    /// first `shared` bits with them.
    fn fork(
        &mut self,
        shared: usize,
        prefix: PublicKey,
        child: Child,
        key: PublicKey,
        value: V,
    ) -> Child {
        let depth = shared / BITS * BITS;
        let new = self.new_leaf(Leaf::of(depth, key, value));
        let (first, second, at) = if key < prefix {
            (new, child, slot(&prefix, depth))
        } else {
            (child, new, slot(&key, depth))
        };
        let mut branch = Branch::new(depth, &key, first);
        branch.set(at, second);
        self.new_branch(branch)
    }

    /// Splits the full leaf at `start` of the branch `node` in two, as near to its middle as slots allow. If
    /// all its keys are in one slot, it becomes a branch.
    fn split_leaf(&mut self, node: &mut Child, start: usize) -> Option<()> {
        let branch = self.branch(*node)?;
        let (depth, child) = (branch.depth, branch.child(start));
        let leaf = self.leaf(child)?;
        let slot_at = |at: usize| leaf.key(at).map(|key| slot(key, depth));
        let cut = (1..leaf.len())
            .filter(|&at| slot_at(at) != slot_at(at - 1))
            .min_by_key(|at| at.abs_diff(leaf.len() / 2));
        let Some((cut, slot)) = cut.and_then(|at| Some((at, slot_at(at)?))) else {
            let below = self.branch_over(child);
            self.edit_branch(node)?.set(start, below);
            return Some(());
        };
        let (left, right) = leaf.split(cut, depth);
        self.retire(child);
        let (left, right) = (self.new_leaf(left), self.new_leaf(right));
        let branch = self.edit_branch(node)?;
        branch.set(start, left);
        branch.set(slot, right);
        Some(())
    }

    /// Merges the children at two neighbouring ranges of the branch `node`, if they are leaves and small
    /// enough. Returns `None` if not.
    fn merge_leaves(&mut self, node: &mut Child, first: usize, second: usize) -> Option<()> {
        let branch = self.branch(*node)?;
        let (mut left, right) = (branch.child(first), branch.child(second));
        let behind = self.leaf(right)?;
        if self.leaf(left)?.len() + behind.len() > MERGE {
            return None;
        }
        let behind = behind.clone();
        self.edit_leaf(&mut left)?.merge(&behind);
        self.retire(right);
        let branch = self.edit_branch(node)?;
        branch.set(first, left);
        branch.clear(second);
        Some(())
    }
}
