use std::collections::{BTreeMap, BTreeSet};

use pinecone_testing::Random;
use proptest::prelude::*;

use super::bits::{BITS, common_bits, slot};
use super::leaf::CAPACITY;
use super::search::BATCH;
use super::*;

type Nodes = BTreeSet<u32>;

/// Divides the sizes of tests under Miri, which is a thousand times slower.
const SCALE: usize = if cfg!(miri) { 500 } else { 1 };

/// Collects nodes and keys, and checks the invariants of a tree on the way.
fn walk<V: Clone>(
    index: &Index<V>,
    node: Child,
    nodes: &mut Nodes,
    all: &mut Vec<(PublicKey, V)>,
    levels: usize,
    above: usize,
) -> usize {
    assert!(nodes.insert(node.0), "reached twice");
    match node.kind() {
        Kind::Leaf(id) => {
            let leaf = index.leaves.get(id).unwrap();
            assert!(leaf.len() > 0 && leaf.len() <= CAPACITY && leaf.depth() <= above);
            all.extend((0..leaf.len()).map(|i| {
                let (k, v) = leaf.get(i).unwrap();
                (*k, v.clone())
            }));
            levels + 1
        }
        Kind::Branch(id) => {
            let b = index.branches.get(id).unwrap();
            assert!(b.starts & 1 == 1 && b.starts.count_ones() > 1 && b.depth.is_multiple_of(BITS));
            let mut deepest = 0;
            for start in 0..FAN {
                let child = b.children[start];
                if b.starts >> start & 1 == 0 {
                    assert_eq!(child, b.children[start - 1], "a range has one child");
                    continue;
                }
                assert!(child != Child::NONE);
                let from = all.len();
                deepest = deepest.max(walk(index, child, nodes, all, levels + 1, b.depth));
                for (key, _) in &all[from..] {
                    assert!(common_bits(key, &b.prefix) >= b.depth);
                    assert_eq!(b.start(slot(key, b.depth)), start);
                }
            }
            deepest
        }
    }
}

fn contents<V: Clone>(index: &Index<V>) -> (Vec<(PublicKey, V)>, Nodes, usize) {
    let (mut nodes, mut all) = (Nodes::new(), Vec::new());
    let levels = match index.root {
        Child::NONE => 0,
        root => walk(index, root, &mut nodes, &mut all, 0, 0),
    };
    assert_eq!(all.len(), index.len());
    (all, nodes, levels)
}

fn random_key(random: &mut Random) -> PublicKey {
    PublicKey(random.bytes())
}

/// Keys that share a prefix of any length with one of a few, as ground keys do.
fn any_key() -> impl Strategy<Value = PublicKey> {
    let bytes = proptest::collection::vec(any::<u8>(), 32);
    (0u8..3, 0usize..=256, bytes).prop_map(|(base, shared, bytes)| {
        let base = [0x00, 0xff, 0xa5][usize::from(base)];
        let mut key = PublicKey([base; 32]);
        for (i, to) in key.0.iter_mut().enumerate() {
            let keep = shared.saturating_sub(8 * i).min(8);
            let mask = (0xffu32 >> keep) as u8;
            *to = *to & !mask | bytes[i] & mask;
        }
        key
    })
}

fn model_successor(
    model: &BTreeMap<PublicKey, u32>,
    key: &PublicKey,
    strict: bool,
) -> Option<(PublicKey, u32)> {
    model
        .range(*key..)
        .find(|(k, _)| !strict || *k != key)
        .map(|(k, v)| (*k, *v))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 250 },
        // Miri isolates tests from the file system.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn behaves_as_a_sorted_map(
        edits in proptest::collection::vec((any_key(), 0u8..10, any::<u32>()), 1..if cfg!(miri) { 40 } else { 1000 }),
        shrink in any::<bool>(),
    ) {
        let mut index = Index::default();
        let mut model = BTreeMap::new();
        let mut old = Vec::new();
        for (n, (key, op, value)) in edits.iter().enumerate() {
            if *op < 6 {
                prop_assert_eq!(index.insert(*key, *value), model.insert(*key, *value));
            } else {
                // Removes a key that is there, if the tree is not empty.
                let key = model.range(*key..).next().map_or(*key, |(k, _)| *k);
                prop_assert_eq!(index.remove(&key), model.remove(&key));
            }
            if n % 50 == 0 {
                // Some clones have no shortcut, or a stale one.
                if n % 150 != 0 {
                    index.prepare();
                }
                old.push((index.clone(), model.clone()));
            }
            if n % 70 == 0 {
                index.compact();
            }
        }
        index.prepare();
        if shrink {
            let keys: Vec<_> = model.keys().copied().collect();
            for key in keys.iter().skip(1) {
                prop_assert_eq!(index.remove(key), model.remove(key));
            }
        }
        old.push((index, model));
        for (index, model) in &old {
            let (all, ..) = contents(index);
            prop_assert_eq!(&all, &model.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>());
            let probes: Vec<PublicKey> = edits.iter().map(|e| e.0)
                .flat_map(|key| [key, neighbour(key, true), neighbour(key, false)])
                .chain([PublicKey::MIN, PublicKey::MAX])
                .collect();
            for chunk in probes.chunks(BATCH) {
                let searches = index.search(chunk);
                for (at, key) in chunk.iter().enumerate() {
                    let found = searches.finish(at, key);
                    let single = index.successor(key, false);
                    prop_assert_eq!(single, found);
                    prop_assert_eq!(single.map(|(k, v)| (*k, *v)), model_successor(model, key, false));
                    let strict = index.successor(key, true);
                    prop_assert_eq!(strict.map(|(k, v)| (*k, *v)), model_successor(model, key, true));
                    prop_assert_eq!(index.predecessor(key), model.range(..key).next_back());
                    prop_assert_eq!(index.get(key), model.get(key));
                }
            }
        }
    }
}

/// Returns the key just above or below.
fn neighbour(mut key: PublicKey, up: bool) -> PublicKey {
    for byte in key.0.iter_mut().rev() {
        let (next, carry) = if up {
            byte.overflowing_add(1)
        } else {
            byte.overflowing_sub(1)
        };
        *byte = next;
        if !carry {
            break;
        }
    }
    key
}

#[test]
fn an_edit_copies_only_its_path() {
    let mut random = Random::new(7);
    let mut index = Index::default();
    let len = 100_000 / SCALE;
    for i in 0..len as u32 {
        index.insert(random_key(&mut random), i);
    }
    let (_, before, levels) = contents(&index);
    assert!(levels <= 5, "{levels} levels for {len} random keys");
    let bytes = index.bytes();
    assert!(bytes < len * 100, "{bytes} bytes");
    let kept = index.clone();
    let key = random_key(&mut random);
    index.insert(key, 1);
    let (_, one, _) = contents(&index);
    let copied = one.difference(&before).count();
    assert!((1..=levels + 1).contains(&copied), "{copied} nodes copied");
    for i in 0..100 {
        index.insert(random_key(&mut random), i);
    }
    let (_, many, _) = contents(&index);
    let copied = many.difference(&before).count();
    assert!(copied <= 102 * (levels + 1), "{copied} nodes copied");
    assert_eq!(kept.len(), len);
    assert_eq!(kept.get(&key), None);
    drop(kept);
    // There are no clones now: only split leaves move.
    index.insert(key, 2);
    let (_, now, _) = contents(&index);
    assert_eq!(now, many);
}

#[test]
fn removing_shrinks_the_tree() {
    let mut random = Random::new(9);
    let mut index = Index::default();
    let len = 50_000 / SCALE;
    let keys: Vec<_> = (0..len).map(|_| random_key(&mut random)).collect();
    keys.iter()
        .for_each(|k| assert!(index.insert(*k, ()).is_none()));
    for (n, key) in keys.iter().enumerate().take(len - len / 50) {
        assert!(index.remove(key).is_some());
        assert!(index.remove(key).is_none(), "{n}");
    }
    let (_, nodes, levels) = contents(&index);
    assert!(
        nodes.len() < 500 && levels <= 4,
        "{} nodes, {levels} levels",
        nodes.len()
    );
    keys.iter().for_each(|k| {
        index.remove(k);
    });
    assert!(index.root == Child::NONE && index.len() == 0);
}

#[test]
fn keys_that_share_a_long_prefix_stay_shallow() {
    for shared in [5, 8, 9, 20] {
        let mut random = Random::new(3);
        let mut index = Index::default();
        for i in 0..(20_000 / SCALE) as u32 {
            let mut key = random_key(&mut random);
            key.0[..shared].fill(0x5a);
            index.insert(key, i);
        }
        let (.., levels) = contents(&index);
        assert!(levels <= 4, "{levels} levels with {shared} bytes shared");
    }
}

/// Nodes that no clone sees are edited in place, so the nodes below a child of the root may change
/// while the child keeps its name.
#[test]
fn a_shortcut_follows_edits_in_place() {
    let mut random = Random::new(13);
    let mut index = Index::default();
    let (len, rounds) = if cfg!(miri) { (150, 2) } else { (2000, 50) };
    let mut keys: Vec<_> = (0..len).map(|_| random_key(&mut random)).collect();
    for key in &keys {
        index.insert(*key, ());
    }
    for _ in 0..rounds {
        for _ in 0..2 {
            for key in std::iter::repeat_with(|| random_key(&mut random)).take(10) {
                index.insert(key, ());
                keys.push(key);
            }
            index.prepare();
        }
        let view = index.clone();
        for chunk in keys.chunks(BATCH) {
            let searches = view.search(chunk);
            for (at, key) in chunk.iter().enumerate() {
                assert_eq!(searches.finish(at, key), view.successor(key, false));
                assert!(
                    searches.lanes[at].leaf.is_some(),
                    "the shortcut led to a wrong node"
                );
            }
        }
    }
}

/// An index is copied with its first edit if it is a clone, or if it has had more versions than an arena
/// can number.
#[test]
fn clones_can_be_edited() {
    let mut random = Random::new(11);
    let mut index = Index::default();
    let mut model = BTreeMap::new();
    let (len, edits) = if cfg!(miri) { (40, 120) } else { (2000, 6000) };
    for i in 0..len {
        let key = random_key(&mut random);
        index.insert(key, i);
        model.insert(key, i);
    }
    let (mut clone, mut cloned) = (index.clone(), model.clone());
    for i in 0..edits {
        let key = random_key(&mut random);
        index.insert(key, i);
        model.insert(key, i);
        let view = index.clone();
        assert_eq!(view.get(&key), Some(&i));
        let (other, _) = model.pop_first().unwrap();
        assert_eq!(index.remove(&other), view.get(&other).copied());
        assert!(view.get(&other).is_some() && index.get(&other).is_none());
    }
    for key in cloned.keys().copied().collect::<Vec<_>>().iter().step_by(2) {
        assert_eq!(clone.remove(key), cloned.remove(key));
    }
    for (index, model) in [(&index, &model), (&clone, &cloned)] {
        let (all, ..) = contents(index);
        assert_eq!(all, model.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>());
    }
}

#[test]
fn a_compacted_index_fills_its_leaves() {
    let mut random = Random::new(7);
    let mut index = Index::default();
    for n in 0..300u32 {
        index.insert(random_key(&mut random), n);
    }
    let before = contents(&index);
    index.compact();
    let after = contents(&index);
    assert_eq!(after.0, before.0);
    assert!(after.1.len() < before.1.len(), "{} nodes", after.1.len());
}
