//! Inserting and removing. Nodes that nobody else holds are changed in place.

use std::mem;
use std::sync::Arc;

use pinecone_wire::PublicKey;

use super::leaf::{CAPACITY, Leaf};
use super::{BITS, Branch, FAN, Index, Node, common_bits, head, slot};

/// Neighbouring leaves become one when they hold no more than this together: some way below a
/// full leaf, so that one key coming and going does not split and merge each time.
const MERGE: usize = CAPACITY * 3 / 4;

impl<V: Clone + Default> Index<V> {
    /// Sets the value of `key`; the one it had before.
    pub(in crate::fib) fn insert(&mut self, key: PublicKey, value: V) -> Option<V> {
        let old = match &mut self.root {
            Some(root) => insert(root, key, value),
            none => {
                *none = Some(leaf_of(0, key, value));
                None
            }
        };
        self.len += usize::from(old.is_none());
        old
    }

    /// Takes out `key`; its value. A key that is not there copies nothing.
    pub(in crate::fib) fn remove(&mut self, key: &PublicKey) -> Option<V> {
        self.get(key)?;
        let root = self.root.as_mut()?;
        let old = remove(root, key, 0)?;
        self.len -= 1;
        if self.len == 0 {
            self.root = None;
        }
        Some(old)
    }
}

fn leaf_of<V: Clone + Default>(depth: usize, key: PublicKey, value: V) -> Arc<Node<V>> {
    Arc::new(Node::Leaf(Leaf::of(depth, key, value)))
}

fn insert<V: Clone + Default>(node: &mut Arc<Node<V>>, key: PublicKey, value: V) -> Option<V> {
    if let Node::Branch(branch) = &**node {
        let shared = common_bits(&key, &branch.prefix);
        if shared < branch.depth {
            let fork = Branch::fork(shared, branch.prefix, Arc::clone(node), key, value);
            *node = Arc::new(Node::Branch(fork));
            return None;
        }
    }
    match Arc::make_mut(node) {
        Node::Branch(branch) => branch.insert(key, value),
        Node::Leaf(leaf) => {
            match leaf.find(&key) {
                Ok(at) => return Some(leaf.replace(at, value)),
                Err(at) if !leaf.is_full() => {
                    leaf.insert(at, key, value);
                    return None;
                }
                Err(_) => {}
            }
            *node = Arc::new(Node::Branch(Branch::over(leaf)));
            insert(node, key, value)
        }
    }
}

/// Removes below `node`, which stands below a branch at depth `above`.
fn remove<V: Clone + Default>(node: &mut Arc<Node<V>>, key: &PublicKey, above: usize) -> Option<V> {
    match Arc::make_mut(node) {
        Node::Leaf(leaf) => leaf.find(key).ok().map(|at| leaf.remove(at)),
        Node::Branch(branch) => {
            let old = branch.remove(key);
            if branch.starts == 1
                && let Some(mut only) = branch.children[0].take()
            {
                if let Node::Leaf(leaf) = &*only
                    && leaf.depth() > above
                    && let Node::Leaf(leaf) = Arc::make_mut(&mut only)
                {
                    leaf.rebase(above);
                }
                *node = only;
            }
            old
        }
    }
}

impl<V: Clone + Default> Branch<V> {
    /// A branch with one child, for the keys that agree with `key` in all bits before `depth`.
    fn new(depth: usize, key: &PublicKey, child: Arc<Node<V>>) -> Self {
        let mut prefix = PublicKey::MIN;
        let whole = depth / 8;
        for (i, (to, from)) in prefix.0.iter_mut().zip(key.0).enumerate() {
            *to = match i.cmp(&whole) {
                std::cmp::Ordering::Less => from,
                std::cmp::Ordering::Equal => from & !(0xff >> (depth % 8)),
                std::cmp::Ordering::Greater => 0,
            };
        }
        let mut children = [const { None }; FAN];
        children[0] = Some(child);
        Self {
            head: head(&prefix),
            mask: match depth {
                0 => 0,
                1..64 => u64::MAX << (64 - depth),
                _ => u64::MAX,
            },
            starts: 1,
            depth,
            children,
            prefix,
        }
    }

    /// A full leaf as a branch.
    fn over(leaf: &Leaf<V>) -> Self {
        let first = leaf.key(0).copied().unwrap_or_default();
        let last = leaf.key(leaf.len() - 1).copied().unwrap_or_default();
        let depth = common_bits(&first, &last) / BITS * BITS;
        let mut branch = Self::new(depth, &first, Arc::new(Node::Leaf(leaf.clone())));
        branch.split_leaf(0);
        branch
    }

    /// A branch over `child`, whose keys begin with `prefix`, and a new key that shares only its
    /// first `shared` bits with them.
    fn fork(
        shared: usize,
        prefix: PublicKey,
        child: Arc<Node<V>>,
        key: PublicKey,
        value: V,
    ) -> Self {
        let depth = shared / BITS * BITS;
        let new = leaf_of(depth, key, value);
        let (first, second, at) = if key < prefix {
            (new, child, slot(&prefix, depth))
        } else {
            (child, new, slot(&key, depth))
        };
        let mut branch = Self::new(depth, &key, first);
        branch.set(at, second);
        branch
    }

    fn set(&mut self, start: usize, child: Arc<Node<V>>) {
        self.starts |= 1 << start;
        self.children[start] = Some(child);
    }

    /// Takes out the child at `start`; its run goes to the one before, or, if it is the first, to
    /// the one behind.
    fn take(&mut self, start: usize) {
        self.children[start] = None;
        self.starts &= !(1 << start);
        if start == 0 && self.starts != 0 {
            let next = self.starts.trailing_zeros() as usize;
            self.children.swap(0, next);
            self.starts = self.starts & !(1 << next) | 1;
        }
    }

    fn insert(&mut self, key: PublicKey, value: V) -> Option<V> {
        let ours = slot(&key, self.depth);
        let start = self.start(ours);
        if let Some(Node::Leaf(leaf)) = self.children[start].as_deref()
            && leaf.is_full()
            && leaf.find(&key).is_err()
        {
            self.split_leaf(start);
        }
        let start = self.start(ours);
        if let Some(Node::Branch(child)) = self.children[start].as_deref() {
            // All keys of a branch are in one slot; this one may be elsewhere in the run.
            let theirs = slot(&child.prefix, self.depth);
            if ours < theirs {
                let child = self.children[start].replace(leaf_of(self.depth, key, value))?;
                self.set(theirs, child);
                return None;
            }
            if ours > theirs {
                self.set(theirs + 1, leaf_of(self.depth, key, value));
                return None;
            }
        }
        insert(self.children[start].as_mut()?, key, value)
    }

    /// Cuts the full leaf at `start` in two, as near to its middle as slots allow. Where all its
    /// keys are in one slot it becomes a branch.
    fn split_leaf(&mut self, start: usize) {
        let Some(Node::Leaf(leaf)) = self.children[start].as_deref() else {
            return;
        };
        let slot_at = |at: usize| leaf.key(at).map(|key| slot(key, self.depth));
        let cut = (1..leaf.len())
            .filter(|&at| slot_at(at) != slot_at(at - 1))
            .min_by_key(|at| at.abs_diff(leaf.len() / 2));
        let Some((cut, slot)) = cut.and_then(|at| Some((at, slot_at(at)?))) else {
            let branch = Self::over(leaf);
            self.children[start] = Some(Arc::new(Node::Branch(branch)));
            return;
        };
        let (left, right) = leaf.split(cut, self.depth);
        self.children[start] = Some(Arc::new(Node::Leaf(left)));
        self.set(slot, Arc::new(Node::Leaf(right)));
    }

    fn remove(&mut self, key: &PublicKey) -> Option<V> {
        let start = self.start(slot(key, self.depth));
        let old = remove(self.children[start].as_mut()?, key, self.depth);
        let Some(Node::Leaf(leaf)) = self.children[start].as_deref() else {
            return old;
        };
        if leaf.len() == 0 {
            self.take(start);
            return old;
        }
        let behind = self.starts & (u64::MAX << start << 1);
        let merged = behind != 0 && self.merge_leaves(start, behind.trailing_zeros() as usize);
        if !merged && start > 0 {
            self.merge_leaves(self.start(start - 1), start);
        }
        old
    }

    /// Makes the leaves at two neighbouring runs one, if they are leaves and small enough.
    fn merge_leaves(&mut self, first: usize, second: usize) -> bool {
        let leaf = |start: usize| match self.children[start].as_deref() {
            Some(Node::Leaf(leaf)) => Some(leaf),
            _ => None,
        };
        let (Some(left), Some(right)) = (leaf(first), leaf(second)) else {
            return false;
        };
        if left.len() + right.len() > MERGE {
            return false;
        }
        let Some(right) = mem::take(&mut self.children[second]) else {
            return false;
        };
        if let (Some(left), Node::Leaf(right)) = (self.children[first].as_mut(), &*right)
            && let Node::Leaf(left) = Arc::make_mut(left)
        {
            left.merge(right);
        }
        self.starts &= !(1 << second);
        true
    }
}
