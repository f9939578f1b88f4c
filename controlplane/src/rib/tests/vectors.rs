//! Next hops recorded from a running Go node.

use pinecone_fib::{
    Decision, Fib, FibReader, FibWriter, NextHop, PortId, SnekHop, SnekQuery, forward_decision,
};
use pinecone_wire::{Coordinates, PublicKey, Watermark};
use serde::Deserialize;

use super::{LINKS, Peer, route, tree};
use crate::rib::Rib;

#[derive(Deserialize)]
struct Pool {
    keys: Vec<String>,
}

#[derive(Deserialize)]
struct File<C> {
    cases: Vec<C>,
}

type RecordedPeer = (
    u32,
    i64,
    usize,
    u8,
    u8,
    i64,
    u64,
    u64,
    u64,
    Option<Vec<(u64, i64)>>,
);
type RecordedRoute = (i64, u32, u64, u64);

#[derive(Deserialize)]
struct SnekCase {
    id: u32,
    #[serde(default)]
    boot: bool,
    #[serde(rename = "self")]
    own: i64,
    dest: i64,
    wmkey: i64,
    #[serde(default)]
    wmseq: u64,
    #[serde(default)]
    parent: u32,
    peers: Option<Vec<RecordedPeer>>,
    routes: Option<Vec<RecordedRoute>>,
    out: i64,
    outkey: i64,
    #[serde(default)]
    outseq: u64,
    fwd: String,
    #[serde(default)]
    from: u32,
}

#[derive(Deserialize)]
struct TreeCase {
    id: u32,
    #[serde(rename = "self")]
    own: i64,
    coords: Option<Vec<u64>>,
    dest: Option<Vec<u64>>,
    root: i64,
    rseq: u64,
    #[serde(default)]
    from: u32,
    peers: Option<Vec<RecordedPeer>>,
    out: i64,
}

/// The one case with another result: the Go node's last step prefers a peering of type 0 that is down (port 11) over
/// the live one by which the key was found (port 5). In this implementation a peering that is down does not exist. Both
/// drop the frame.
const DOWN_PEER: u32 = 1805;

struct Keys(Vec<PublicKey>);

impl Keys {
    fn load() -> Self {
        let pool: Pool =
            serde_json::from_str(include_str!("../../../../wire/vectors/pool.json")).unwrap();
        Self(pool.keys.iter().map(|k| k.parse().unwrap()).collect())
    }

    fn get(&self, index: i64) -> PublicKey {
        usize::try_from(index).map_or(PublicKey::MAX, |i| self.0[i])
    }

    /// Returns a live peer that has announced itself.
    fn peer(&self, peer: &RecordedPeer) -> Option<(PortId, Peer)> {
        let &(port, key, link, up, announced, root, sequence, order, _, ref signers) = peer;
        let peer = Peer {
            key: self.get(key),
            link: LINKS[link],
            root: (self.get(root), sequence),
            order,
            signers: signers
                .iter()
                .flatten()
                .map(|&(hop, key)| (hop, self.get(key)))
                .collect(),
        };
        (up == 1 && announced == 1).then_some((PortId(port), peer))
    }

    fn rib(&self, own: i64, peers: Option<&[RecordedPeer]>) -> (Rib, Fib) {
        let own = self.get(own);
        let (writer, fib) = FibWriter::new(own);
        let mut rib = Rib::new(own, writer);
        for (port, peer) in peers.into_iter().flatten().filter_map(|p| self.peer(p)) {
            rib.announce(port, peer.adjacency());
        }
        (rib, fib)
    }
}

fn next_hop(out: i64) -> NextHop {
    match u32::try_from(out) {
        Ok(0) => NextHop::Local,
        Ok(port) => NextHop::Port(PortId(port)),
        Err(_) => NextHop::None,
    }
}

#[test]
fn snek_next_hops_are_the_recorded_ones() {
    let keys = Keys::load();
    let file: File<SnekCase> =
        serde_json::from_str(include_str!("../../../../wire/vectors/nexthop_snek.json")).unwrap();
    assert_eq!(file.cases.len(), 2400);
    let mut failed = Vec::new();
    for case in &file.cases {
        let (mut rib, fib) = keys.rib(case.own, case.peers.as_deref());
        rib.set_parent((case.parent != 0).then_some(PortId(case.parent)));
        for &(key, source, sequence, age) in case.routes.iter().flatten() {
            // A route by way of a peering that is down is not live.
            let up = |peer: &RecordedPeer| (peer.0, peer.3) == (source, 1);
            if age < 10 && case.peers.iter().flatten().any(up) {
                rib.insert_route(route(keys.get(key), PortId(source), sequence));
            }
        }
        rib.publish();
        let destination = keys.get(case.dest);
        let watermark = Watermark {
            key: keys.get(case.wmkey),
            sequence: case.wmseq,
        };
        let got = match case.boot {
            true => bootstrap_hop(&rib, &destination, &watermark),
            false => traffic_hop(fib.reader(), destination, watermark),
        };
        let want = SnekHop {
            next: next_hop(case.out),
            watermark: Watermark {
                key: keys.get(case.outkey),
                sequence: case.outseq,
            },
        };
        let decision = match forward_decision(PortId(case.from), &watermark, &got) {
            Decision::Deliver => "deliver",
            Decision::DeadEnd => "deadend",
            Decision::DropBackwards => "drop-backwards",
            Decision::DropWatermark => "drop-watermark",
            Decision::Send(_) => "send",
        };
        if case.id == DOWN_PEER {
            assert_eq!(
                (got.next, decision),
                (NextHop::Port(PortId(5)), "drop-watermark")
            );
            assert_eq!(got.watermark, want.watermark);
        } else if got != want || decision != case.fwd {
            failed.push((case.id, got, want, decision, &case.fwd));
        }
    }
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
}

fn bootstrap_hop(rib: &Rib, key: &PublicKey, watermark: &Watermark) -> SnekHop {
    match rib.bootstrap_hop(key, watermark) {
        Some(hop) => SnekHop {
            next: NextHop::Port(hop.port),
            watermark: hop.watermark,
        },
        None => SnekHop {
            next: NextHop::None,
            watermark: Watermark {
                key: rib.own,
                sequence: 0,
            },
        },
    }
}

fn traffic_hop(mut fib: FibReader, destination: PublicKey, watermark: Watermark) -> SnekHop {
    let snapshot = fib.load();
    let hop = snapshot.snek(&destination, &watermark);
    let query = SnekQuery {
        destination,
        watermark,
    };
    let mut batch = Vec::new();
    snapshot.snek_batch(&[query; 3], &mut batch);
    assert_eq!(batch, [hop; 3]);
    hop
}

#[test]
fn tree_next_hops_are_the_recorded_ones() {
    let keys = Keys::load();
    let file: File<TreeCase> =
        serde_json::from_str(include_str!("../../../../wire/vectors/nexthop_tree.json")).unwrap();
    assert_eq!(file.cases.len(), 900);
    for case in &file.cases {
        let (mut rib, _) = keys.rib(case.own, case.peers.as_deref());
        let coordinates = Coordinates::from(case.coords.clone().unwrap_or_default());
        rib.set_position((keys.get(case.root), case.rseq), coordinates);
        let destination = Coordinates::from(case.dest.clone().unwrap_or_default());
        let got = tree(rib.tables(), PortId(case.from), &destination);
        assert_eq!(got, next_hop(case.out), "case {}", case.id);
    }
}
