//! Next hops recorded from a running Go node.

use pinecone_fib::{
    Decision, FibWriter, NextHop, PeerAnnouncement, PeerEntry, Rescue, SnekHop, SnekKind,
    SnekQuery, forward_decision,
};
use pinecone_fib::{LinkType, PortId};
use pinecone_wire::coordinates::CoordinatesView;
use pinecone_wire::{Coordinates, PublicKey, Watermark};
use serde::Deserialize;

#[derive(Deserialize)]
struct Pool {
    keys: Vec<String>,
}

#[derive(Deserialize)]
struct File<C> {
    cases: Vec<C>,
}

type Peer = (
    u32,
    i64,
    u8,
    u8,
    u8,
    i64,
    u64,
    u64,
    u64,
    Option<Vec<(u64, i64)>>,
);
type Route = (i64, u32, u64, u64);

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
    peers: Option<Vec<Peer>>,
    routes: Option<Vec<Route>>,
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
    peers: Option<Vec<Peer>>,
    out: i64,
}

/// The one case that we answer otherwise: the Go node's last step prefers a peering of type 0 that
/// is down (port 11) over the live one that the key was found by (port 5). To us a peering that is
/// down does not exist. Either drops the frame.
const DOWN_PEER: u32 = 1805;

struct Keys(Vec<PublicKey>);

impl Keys {
    fn load() -> Self {
        let pool: Pool =
            serde_json::from_str(include_str!("../../../wire/vectors/pool.json")).unwrap();
        Self(pool.keys.iter().map(|k| k.parse().unwrap()).collect())
    }

    fn get(&self, index: i64) -> PublicKey {
        usize::try_from(index).map_or(PublicKey::MAX, |i| self.0[i])
    }

    /// A live peering, or nothing for one that is down.
    fn peer(&self, p: &Peer) -> Option<(PortId, PeerEntry)> {
        let &(port, key, link, up, announced, root, root_sequence, order, _, ref signers) = p;
        let announcement = (announced == 1).then(|| PeerAnnouncement {
            root: self.get(root),
            root_sequence,
            order,
            signers: signers
                .iter()
                .flatten()
                .map(|&(hop, key)| (hop, self.get(key)))
                .collect(),
        });
        let link = [
            LinkType::Pipe,
            LinkType::Multicast,
            LinkType::Bonjour,
            LinkType::Remote,
            LinkType::Bluetooth,
        ][usize::from(link)];
        (up == 1).then(|| {
            let key = self.get(key);
            let entry = PeerEntry {
                key,
                link,
                announcement,
            };
            (PortId(port), entry)
        })
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
        serde_json::from_str(include_str!("../../../wire/vectors/nexthop_snek.json")).unwrap();
    assert_eq!(file.cases.len(), 2400);
    let mut failed = Vec::new();
    let mut rescued = 0;
    for case in &file.cases {
        let (mut writer, fib) = FibWriter::new(keys.get(case.own));
        let peers: Vec<_> = case
            .peers
            .iter()
            .flatten()
            .filter_map(|p| keys.peer(p))
            .collect();
        for (port, peer) in &peers {
            writer.set_peer(*port, peer.clone());
        }
        writer.set_parent((case.parent != 0).then_some(PortId(case.parent)));
        for &(key, source, sequence, age) in case.routes.iter().flatten() {
            // A route by way of a peering that is down is not live.
            if age < 10 && peers.iter().any(|(port, _)| port.0 == source) {
                writer.set_route(keys.get(key), PortId(source), sequence);
            }
        }
        writer.publish();
        let mut reader = fib.reader();
        let snapshot = reader.load();
        let kind = if case.boot {
            SnekKind::Bootstrap
        } else {
            SnekKind::Traffic
        };
        let destination = keys.get(case.dest);
        let watermark = Watermark {
            key: keys.get(case.wmkey),
            sequence: case.wmseq,
        };
        let got = snapshot.snek(kind, &destination, &watermark);
        let want = SnekHop {
            next: next_hop(case.out),
            watermark: Watermark {
                key: keys.get(case.outkey),
                sequence: case.outseq,
            },
        };
        let primary = forward_decision(PortId(case.from), &watermark, &got);
        let decision = match primary {
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
        if !case.boot {
            // What is ours: frames that a Go node drops may get a second look, and nothing else.
            let verdict = snapshot.forward_one(PortId(case.from), &destination, &watermark);
            match verdict.rescue {
                None => {
                    assert_eq!(verdict.decision, primary, "{}", case.id);
                    assert_eq!(verdict.watermark, got.watermark, "{}", case.id);
                }
                Some(rescue) => {
                    assert!(decision.starts_with("drop-"), "{}", case.id);
                    assert_eq!(rescue, Rescue::Detour, "no route has just expired");
                    assert!(!verdict.watermark.is_worse_than(&watermark), "{}", case.id);
                    assert!(
                        matches!(verdict.decision, Decision::Send(port) if port.0 != case.from)
                    );
                    rescued += 1;
                }
            }
            let query = SnekQuery {
                destination,
                watermark,
            };
            let mut batch = Vec::new();
            snapshot.snek_batch(&[query; 3], &mut batch);
            assert_eq!(batch, [got; 3]);
        }
    }
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
    assert_eq!(rescued, 94);
}

#[test]
fn tree_next_hops_are_the_recorded_ones() {
    let keys = Keys::load();
    let file: File<TreeCase> =
        serde_json::from_str(include_str!("../../../wire/vectors/nexthop_tree.json")).unwrap();
    assert_eq!(file.cases.len(), 900);
    for case in &file.cases {
        let (mut writer, _) = FibWriter::new(keys.get(case.own));
        let coordinates = Coordinates::from(case.coords.clone().unwrap_or_default());
        writer.set_position(keys.get(case.root), case.rseq, coordinates);
        for (port, peer) in case.peers.iter().flatten().filter_map(|p| keys.peer(p)) {
            writer.set_peer(port, peer);
        }
        let mut body = Vec::new();
        Coordinates::from(case.dest.clone().unwrap_or_default()).push_body(&mut body);
        let destination = CoordinatesView::new(&body).unwrap();
        let got = writer.snapshot().tree(PortId(case.from), destination);
        assert_eq!(got, next_hop(case.out), "case {}", case.id);
    }
}
