//! Frames on their way through whole networks of tables, parts of which have expired: they make progress, and none
//! travels in a circle.

use std::collections::{BTreeMap, BTreeSet};

use pinecone_fib::{FibWriter, PortId, Rescue};
use pinecone_wire::{PublicKey, Watermark};
use proptest::prelude::*;

use crate::frames::{Outcome, forward};

/// A network under one root: a tree, more links, and a routing table for each node.
struct Network {
    keys: Vec<PublicKey>,
    tables: Vec<FibWriter>,
    /// The node at the other end of each node's ports, and its port.
    links: Vec<BTreeMap<PortId, (usize, PortId)>>,
    parents: Vec<Option<usize>>,
    /// The highest sequence that each node has taken from each key.
    taken: Vec<BTreeMap<usize, u64>>,
}

/// A bootstrap on any way, or the end of a route.
#[derive(Clone, Debug)]
enum Step {
    Bootstrap { key: usize, way: Vec<usize> },
    Expire { node: usize, key: usize },
    Forget { node: usize, key: usize },
}

impl Network {
    /// `parents` names the parent, a lower number, of each node but the first.
    fn new(keys: Vec<PublicKey>, parents: &[usize], more: &[(usize, usize)]) -> Self {
        let count = keys.len();
        let mut net = Self {
            tables: keys.iter().map(|key| FibWriter::new(*key).0).collect(),
            links: vec![BTreeMap::new(); count],
            parents: (0..count)
                .map(|n| (n > 0).then(|| parents[n - 1] % n.max(1)))
                .collect(),
            taken: vec![BTreeMap::new(); count],
            keys,
        };
        for n in 1..count {
            net.link(n, net.parents[n].unwrap());
        }
        for &(a, b) in more {
            let (a, b) = (a % count, b % count);
            if a != b && !net.links[a].values().any(|(peer, _)| *peer == b) {
                net.link(a, b);
            }
        }
        net.announce();
        net
    }

    fn link(&mut self, a: usize, b: usize) {
        let [pa, pb] = [a, b].map(|n| PortId(self.links[n].len() as u32 + 1));
        self.links[a].insert(pa, (b, pb));
        self.links[b].insert(pb, (a, pa));
    }

    fn port(&self, node: usize, peer: usize) -> PortId {
        let mut links = self.links[node].iter();
        *links.find(|(_, (other, _))| *other == peer).unwrap().0
    }

    /// Programs each node's tables with the best port towards each key that its peers announce.
    fn announce(&mut self) {
        let root = self.keys[0];
        for node in 0..self.keys.len() {
            let parent = self.parents[node].map(|parent| self.port(node, parent));
            let mut best = BTreeMap::new();
            for (&port, &(peer, _)) in &self.links[node] {
                let above = std::iter::successors(Some(peer), |below| self.parents[*below]);
                for (steps, signer) in above.enumerate() {
                    let rank = (steps > 0, parent != Some(port), steps, port);
                    let known = best.entry(self.keys[signer]).or_insert(rank);
                    *known = rank.min(*known);
                }
            }
            let tables = &mut self.tables[node];
            for (key, (.., port)) in &best {
                tables.set_near(*key, Some(*port));
            }
            tables.set_up(parent.map(|_| (root, best[&root].3)));
            let own = best.get(&self.keys[node]);
            tables.set_own_key_port(own.filter(|rank| !rank.0).map(|rank| rank.3));
        }
    }

    /// Sends a bootstrap any way through the network. Each node takes it once, as the protocol asks.
    fn bootstrap(&mut self, key: usize, sequence: u64, way: &[usize]) {
        let mut at = key;
        for step in way {
            let ports: Vec<_> = self.links[at].values().copied().collect();
            let (next, its_port) = ports[step % ports.len()];
            let newest = self.taken[next].entry(key).or_default();
            if next == key || *newest >= sequence {
                return;
            }
            *newest = sequence;
            self.tables[next].set_route(self.keys[key], its_port, sequence);
            at = next;
        }
    }

    /// Walks a frame until it ends, and counts its rescues.
    fn send(&mut self, from: usize, to: &PublicKey) -> Result<[usize; 2], TestCaseError> {
        let (mut at, mut ingress, mut watermark) = (from, PortId::LOCAL, Watermark::START);
        let mut seen = BTreeSet::new();
        let mut rescues = [0, 0];
        loop {
            let state = (at, ingress, watermark.key, watermark.sequence);
            prop_assert!(
                seen.insert(state),
                "a frame to {to} goes in a circle: {state:?}"
            );
            let outcome = forward(self.tables[at].snapshot(), ingress, to, &watermark);
            let Outcome::Send {
                port,
                watermark: new,
                rescue,
            } = outcome
            else {
                return Ok(rescues);
            };
            prop_assert!(port != ingress);
            prop_assert!(!new.is_worse_than(&watermark));
            match rescue {
                Some(Rescue::ExpiredRoute) => rescues[0] += 1,
                Some(Rescue::Detour) => rescues[1] += 1,
                None => {}
            }
            watermark = new;
            (at, ingress) = self.links[at][&port];
        }
    }
}

fn step(nodes: usize) -> impl Strategy<Value = Step> {
    let way = prop::collection::vec(any::<usize>(), 1..12);
    let node = || 0..nodes;
    prop_oneof![
        6 => (node(), way).prop_map(|(key, way)| Step::Bootstrap { key, way }),
        3 => (node(), node()).prop_map(|(node, key)| Step::Expire { node, key }),
        1 => (node(), node()).prop_map(|(node, key)| Step::Forget { node, key }),
    ]
}

/// The keys of a network, the root's first; its parents and further links; and what happens in it.
type World = (Vec<[u8; 2]>, Vec<usize>, Vec<(usize, usize)>, Vec<Step>);

fn world() -> impl Strategy<Value = World> {
    (3..14usize).prop_flat_map(|nodes| {
        (
            prop::collection::btree_set(any::<[u8; 2]>(), nodes)
                .prop_map(|keys| keys.into_iter().rev().collect()),
            prop::collection::vec(any::<usize>(), nodes - 1),
            prop::collection::vec((any::<usize>(), any::<usize>()), 0..12),
            prop::collection::vec(step(nodes), 0..150),
        )
    })
}

const CASES: u32 = if cfg!(miri) { 2 } else { 4_000 };

#[test]
fn frames_make_progress_and_none_goes_in_a_circle() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: CASES,
        // Miri isolates tests from the file system.
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let rescued = std::cell::Cell::new([0, 0]);
    let result = runner.run(&world(), |(keys, parents, more, steps)| {
        let keys: Vec<_> = keys
            .iter()
            .map(|key| {
                let mut whole = [0x55; 32];
                whole[..2].copy_from_slice(key);
                PublicKey(whole)
            })
            .collect();
        let mut net = Network::new(keys.clone(), &parents, &more);
        for (sequence, step) in (1..).zip(&steps) {
            match step {
                Step::Bootstrap { key, way } => net.bootstrap(*key, sequence, way),
                Step::Expire { node, key } => drop(net.tables[*node].expire_route(&keys[*key])),
                Step::Forget { node, key } => drop(net.tables[*node].forget_expired(&keys[*key])),
            }
        }
        for from in 0..keys.len() {
            for key in &keys {
                let mut partial = *key;
                partial.0[15..].fill(0);
                for to in [*key, partial] {
                    let [expired, detours] = net.send(from, &to)?;
                    let [all_expired, all_detours] = rescued.get();
                    rescued.set([all_expired + expired, all_detours + detours]);
                }
            }
        }
        Ok(())
    });
    result.unwrap();
    let enough = if cfg!(miri) { 0 } else { 100 };
    assert!(rescued.get().iter().all(|n| *n >= enough), "{rescued:?}");
}
