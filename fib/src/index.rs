//! A persistent ordered index over 32-byte keys. A clone costs two references, and an edit copies only
//! the path to what it changes.
//!
//! A branch reads six bits of the key. It skips the bits that all keys below it share, so that keys ground to share
//! leading bits cost no more levels than others. The 64 slots of a branch are divided into ranges, one for each child.
//! Ranges need not be aligned and are never empty, so the next child in key order is that of the next range. A leaf
//! holds up to 13 keys in order, found by the four bytes after the bits that they share.
//!
//! A node is named by its place in an [`Arena`]. The name tells whether the node is a branch or a leaf,
//! so that what a lookup needs of the node can be prefetched before any of it is read.

pub(crate) mod bits;
mod edit;
mod leaf;
mod node;
pub(crate) mod search;
mod shortcut;

use std::sync::Arc;

use pinecone_wire::PublicKey;

use self::bits::{FAN, head, slot_of};
pub(crate) use self::leaf::Found;
use self::leaf::Leaf;
use self::node::{Branch, Child, Kind};
use self::shortcut::Shortcut;
use crate::memory::arena::Arena;

/// The index. `V` is cloned when a leaf is copied.
///
/// A clone is a frozen view: it can be searched while the original is edited. The first edit of a clone
/// copies everything in it.
#[derive(Debug)]
pub(crate) struct Index<V> {
    branches: Arena<Branch>,
    leaves: Arena<Leaf<V>>,
    root: Child,
    len: usize,
    /// The shortcut of a large index, made when `stale` was last 0.
    shortcut: Option<Arc<Shortcut>>,
    /// The slots of the root below which there have been edits since then.
    stale: u64,
}

impl<V> Default for Index<V> {
    fn default() -> Self {
        Self {
            branches: Arena::new(),
            leaves: Arena::new(),
            root: Child::NONE,
            len: 0,
            shortcut: None,
            stale: 0,
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
            shortcut: self.shortcut.clone(),
            stale: self.stale,
        }
    }
}

impl<V> Index<V> {
    /// Returns the number of bytes that the nodes took when there were most of them.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.branches.bytes() + self.leaves.bytes()
    }

    /// Returns the number of keys.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Speeds up batched searches in clones that are made before the next edit.
    pub(crate) fn prepare(&mut self) {
        if self.len < shortcut::FROM || self.root_branch().is_none() {
            self.shortcut = None;
        } else if self.stale != 0 || self.shortcut.is_none() {
            let mut new = self.shortcut.take().unwrap_or_default();
            if let Some(root) = self.root_branch() {
                let branch = |child| self.branch(child);
                Arc::make_mut(&mut new).refresh(root, self.stale, branch);
            }
            self.shortcut = Some(new);
        }
        self.stale = 0;
    }

    /// Returns the value of `key`.
    pub(crate) fn get(&self, key: &PublicKey) -> Option<&V> {
        let head = head(key);
        let (mut node, mut known) = (self.root, 0);
        loop {
            match node.kind() {
                Kind::Branch(id) => node = self.branches.get(id)?.step(key, head, &mut known)?,
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

    /// Returns the value of `key`, and prefetches the nodes that an edit of `key` will copy.
    pub(crate) fn get_to_edit(&self, key: &PublicKey) -> Option<&V> {
        let head = head(key);
        let (mut node, mut known) = (self.root, 0);
        while let Kind::Branch(id) = node.kind() {
            node = self.branches.get(id)?.step(key, head, &mut known)?;
            match node.kind() {
                Kind::Branch(id) => self.branches.prefetch_all(id),
                Kind::Leaf(id) => self.leaves.prefetch_all(id),
            }
        }
        self.get(key)
    }

    /// Returns the lowest key at or above `key`, or strictly above it if `strict`.
    pub(crate) fn successor(&self, key: &PublicKey, strict: bool) -> Found<'_, V> {
        let head = head(key);
        let (mut node, mut after, mut known) = (self.root, Child::NONE, 0);
        loop {
            match node.kind() {
                Kind::Branch(id) => {
                    let branch = self.branches.get(id)?;
                    match branch.step(key, head, &mut known) {
                        Some(child) => {
                            after = branch
                                .behind(slot_of(key, head, branch.depth))
                                .unwrap_or(after);
                            node = child;
                        }
                        None if key < &branch.prefix => return self.least(node),
                        None => return self.least(after),
                    }
                }
                Kind::Leaf(id) => {
                    let leaf = self.leaves.get(id)?;
                    let found = leaf.get(leaf.position(key, head, strict));
                    return found.or_else(|| self.least(after));
                }
            }
        }
    }

    /// Returns the highest key below `key`.
    pub(crate) fn predecessor(&self, key: &PublicKey) -> Found<'_, V> {
        let head = head(key);
        let (mut node, mut before, mut known) = (self.root, Child::NONE, 0);
        loop {
            match node.kind() {
                Kind::Branch(id) => {
                    let branch = self.branches.get(id)?;
                    match branch.step(key, head, &mut known) {
                        Some(child) => {
                            let start = branch.start(slot_of(key, head, branch.depth));
                            before = start.checked_sub(1).map_or(before, |at| branch.child(at));
                            node = child;
                        }
                        None if key < &branch.prefix => return self.greatest(before),
                        None => return self.greatest(node),
                    }
                }
                Kind::Leaf(id) => {
                    let leaf = self.leaves.get(id)?;
                    let at = leaf.position(key, head, false);
                    let found = at.checked_sub(1).and_then(|at| leaf.get(at));
                    return found.or_else(|| self.greatest(before));
                }
            }
        }
    }

    /// Returns the lowest key in the subtree of `node`.
    fn least(&self, node: Child) -> Found<'_, V> {
        match self.first_leaf(node).kind() {
            Kind::Leaf(id) => self.leaves.get(id)?.get(0),
            Kind::Branch(_) => None,
        }
    }

    /// Returns the highest key in the subtree of `node`.
    fn greatest(&self, mut node: Child) -> Found<'_, V> {
        loop {
            match node.kind() {
                Kind::Branch(id) => node = self.branches.get(id)?.children[FAN - 1],
                Kind::Leaf(id) => {
                    let leaf = self.leaves.get(id)?;
                    return leaf.get(leaf.len().checked_sub(1)?);
                }
            }
        }
    }

    /// Returns the root, if it is a branch that reads a key's first bits.
    fn root_branch(&self) -> Option<&Branch> {
        self.branch(self.root).filter(|root| root.depth == 0)
    }

    fn branch(&self, node: Child) -> Option<&Branch> {
        match node.kind() {
            Kind::Branch(id) => self.branches.get(id),
            Kind::Leaf(_) => None,
        }
    }

    fn first_leaf(&self, mut node: Child) -> Child {
        while let Kind::Branch(id) = node.kind() {
            node = self.branches.get(id).map_or(Child::NONE, |b| b.children[0]);
        }
        node
    }
}

#[cfg(test)]
mod tests;
