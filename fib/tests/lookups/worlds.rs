//! Random histories of a node's tables against the model.

use std::collections::BTreeMap;

use pinecone_fib::{
    Decision, FibReader, FibWriter, NextHop, PeerAnnouncement, PeerEntry, Rescue, Snapshot,
    SnekKind, SnekQuery,
};
use pinecone_fib::{LinkType, PortId};
use pinecone_wire::coordinates::CoordinatesView;
use pinecone_wire::{Coordinates, PublicKey, Watermark};

use crate::model::Model;

const LINKS: [LinkType; 5] = [
    LinkType::Pipe,
    LinkType::Multicast,
    LinkType::Bonjour,
    LinkType::Remote,
    LinkType::Bluetooth,
];

/// splitmix64: the same worlds in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn key(&mut self) -> PublicKey {
        let mut key = PublicKey::MIN;
        for chunk in key.0.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes());
        }
        key
    }
}

/// What a world's keys, ports and roots are taken from, so that they meet often.
struct World {
    random: Random,
    keys: Vec<PublicKey>,
    roots: Vec<(PublicKey, u64)>,
    ports: u32,
    order: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let count = 6 + random.below(60);
        let mut keys: Vec<_> = (0..count).map(|_| random.key()).collect();
        if random.chance(40) {
            // Ground keys: many share a long prefix.
            let (base, shared) = (keys[0], 1 + random.below(31));
            for key in keys.iter_mut().skip(count / 4) {
                key.0[..shared].copy_from_slice(&base.0[..shared]);
            }
        }
        let mut sorted = keys.clone();
        sorted.sort();
        let top = &sorted[count - 3..];
        let roots = (0..3)
            .map(|_| (random.pick(top), random.next() % 3))
            .collect();
        let ports = 1 + u32::try_from(random.below(14)).unwrap();
        Self {
            random,
            keys,
            roots,
            ports,
            order: 0,
        }
    }

    fn key(&mut self) -> PublicKey {
        self.random.pick(&self.keys)
    }

    fn port(&mut self) -> PortId {
        PortId(1 + u32::try_from(self.random.below(self.ports as usize)).unwrap())
    }

    fn coordinates(&mut self) -> Vec<u64> {
        let depth = self.random.below(6);
        (0..depth)
            .map(|_| self.random.pick(&[1, 1, 1, 2, 3, 127, 128, 70_000]))
            .collect()
    }

    fn peer(&mut self) -> PeerEntry {
        let key = self.key();
        let announcement = self.random.chance(85).then(|| {
            let (root, root_sequence) = self.random.pick(&self.roots);
            // Now and then two with one arrival number: must not matter either.
            self.order += u64::from(self.random.chance(95));
            let mut signers: Vec<_> = self.coordinates().into_iter().map(|p| (p, root)).collect();
            for signer in signers.iter_mut().skip(1) {
                signer.1 = self.random.pick(&self.keys);
            }
            signers.push((1 + self.random.next() % 9, key));
            PeerAnnouncement {
                root: signers[0].1,
                root_sequence,
                order: self.order,
                signers,
            }
        });
        PeerEntry {
            key,
            link: self.random.pick(&LINKS[..4]),
            announcement,
        }
    }

    fn change(&mut self, writer: &mut FibWriter, model: &mut Model) {
        match self.random.below(21) {
            0..6 => {
                let (port, peer) = (self.port(), self.peer());
                writer.set_peer(port, peer.clone());
                model.peers.insert(port, peer);
            }
            6 => {
                let port = self.port();
                writer.remove_peer(port);
                model.peers.remove(&port);
            }
            7 => {
                let parent = self.random.chance(80).then(|| self.port());
                writer.set_parent(parent);
                model.parent = parent;
            }
            8 => {
                model.root = self.random.pick(&self.roots);
                model.coordinates = Coordinates::from(self.coordinates());
                let (root, sequence) = model.root;
                writer.set_position(root, sequence, model.coordinates.clone());
            }
            9..17 => {
                let (key, port, sequence) = (self.key(), self.port(), self.random.next() % 5);
                writer.set_route(key, port, sequence);
                if model.routes.insert(key, (port, sequence)).is_none() {
                    model.expired.remove(&key);
                }
            }
            17 => {
                let key = self.key();
                let route = model.routes.remove(&key);
                assert_eq!(writer.expire_route(&key), route.is_some());
                model.expired.extend(route.map(|route| (key, route)));
            }
            18 if self.random.chance(50) => {
                let key = self.key();
                let present = model.expired.remove(&key).is_some();
                assert_eq!(writer.forget_expired(&key), present);
            }
            _ => {
                let key = self.key();
                let present = model.routes.remove(&key).is_some();
                assert_eq!(writer.remove_route(&key), present);
            }
        }
    }

    fn destination(&mut self) -> PublicKey {
        let mut key = self.key();
        match self.random.below(6) {
            0 => key = self.random.key(),
            // As the IPv6 adapter asks.
            1 => key.0[15..].fill(0),
            2 => key.0[31] = key.0[31].wrapping_add(1),
            _ => {}
        }
        key
    }

    fn watermark(&mut self) -> Watermark {
        if self.random.chance(30) {
            return Watermark::START;
        }
        Watermark {
            key: self.destination(),
            sequence: self.random.next() % 5,
        }
    }

    fn check(&mut self, snapshot: &Snapshot, model: &Model) {
        assert_eq!(snapshot.own_key(), model.own);
        assert_eq!(snapshot.route_count(), model.routes.len());
        assert_eq!(*snapshot.coordinates(), model.coordinates);
        let mut queries = Vec::new();
        let mut answers = Vec::new();
        for _ in 0..1 + self.random.below(70) {
            let destination = self.destination();
            let watermark = self.watermark();
            for kind in [SnekKind::Traffic, SnekKind::Bootstrap] {
                let got = snapshot.snek(kind, &destination, &watermark);
                let want = model.snek(kind, &destination, &watermark);
                assert_eq!(got, want, "{kind:?} {destination} {watermark:?}");
                if kind == SnekKind::Traffic {
                    answers.push(got);
                    queries.push(SnekQuery {
                        destination,
                        watermark,
                    });
                }
            }
        }
        let mut batch = Vec::new();
        snapshot.snek_batch(&queries, &mut batch);
        assert_eq!(batch, answers);
        for query in queries {
            let ingress = self.port();
            let watermark = match self.random.chance(30) {
                true => Watermark {
                    key: self.key(),
                    sequence: self.random.next() % 3,
                },
                false => query.watermark,
            };
            let got = snapshot.forward_one(ingress, &query.destination, &watermark);
            let want = model.forward(ingress, &query.destination, &watermark);
            assert_eq!(got, want, "{ingress} {query:?} {watermark:?}");
            if let Some(rescue) = got.rescue {
                assert!(!got.watermark.is_worse_than(&watermark));
                let better = watermark.is_worse_than(&got.watermark);
                let follows = got.watermark.sequence != 0 && model.has_route(&watermark);
                assert!(rescue == Rescue::ExpiredRoute || better || follows);
                assert_ne!(got.decision, Decision::Send(ingress));
            }
        }
        self.check_tree(snapshot, model);
    }

    fn check_tree(&mut self, snapshot: &Snapshot, model: &Model) {
        for _ in 0..10 {
            let to = Coordinates::from(self.coordinates());
            let ingress = if self.random.chance(30) {
                PortId::LOCAL
            } else {
                self.port()
            };
            assert_eq!(
                tree(snapshot, ingress, &to),
                model.tree(ingress, &to),
                "{ingress} {to}"
            );
        }
    }

    /// What was published once stays as it was, but for the sequences of refreshed routes.
    fn check_old(&mut self, snapshot: &Snapshot, model: &Model) {
        for _ in 0..10 {
            let destination = self.destination();
            let start = Watermark::START;
            let got = snapshot.snek(SnekKind::Traffic, &destination, &start);
            let want = model.snek(SnekKind::Traffic, &destination, &start);
            assert_eq!(
                (got.next, got.watermark.key),
                (want.next, want.watermark.key)
            );
        }
        assert_eq!(snapshot.route_count(), model.routes.len());
        self.check_tree(snapshot, model);
    }
}

fn tree(snapshot: &Snapshot, ingress: PortId, to: &Coordinates) -> NextHop {
    let mut body = Vec::new();
    to.push_body(&mut body);
    snapshot.tree(ingress, CoordinatesView::new(&body).unwrap())
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    let own = world.key();
    let (mut writer, fib) = FibWriter::new(own);
    let mut reader: FibReader = fib.reader();
    let mut model = Model {
        own,
        root: (own, 0),
        ..Model::default()
    };
    let mut published = model.clone();
    let mut old = Vec::new();
    for _ in 0..4 {
        for _ in 0..world.random.below(60) {
            world.change(&mut writer, &mut model);
        }
        world.check(writer.snapshot(), &model);
        world.check_old(reader.load(), &published);
        writer.publish();
        published = model.clone();
        world.check(reader.load(), &published);
        for (snapshot, model) in &old {
            world.check_old(snapshot, model);
        }
        old.push((reader.load().clone(), published.clone()));
    }
}

#[test]
fn random_worlds_answer_as_the_model() {
    for seed in 0..3000 {
        let result = std::panic::catch_unwind(|| run(seed));
        assert!(result.is_ok(), "seed {seed}");
    }
}

/// The same tables filled in another order, by another history, answer the same.
#[test]
fn order_of_filling_does_not_matter() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        let own = world.key();
        let (mut first, _) = FibWriter::new(own);
        let mut model = Model {
            own,
            root: (own, 0),
            ..Model::default()
        };
        for _ in 0..80 {
            world.change(&mut first, &mut model);
        }
        let (mut second, _) = FibWriter::new(own);
        for (&key, &(port, sequence)) in model.routes.iter().rev() {
            second.set_route(key, port, sequence);
        }
        for (&port, peer) in model.peers.iter().rev() {
            second.set_peer(port, peer.clone());
        }
        second.set_parent(model.parent);
        second.set_position(model.root.0, model.root.1, model.coordinates.clone());
        for _ in 0..100 {
            let (destination, watermark) = (world.destination(), world.watermark());
            for kind in [SnekKind::Traffic, SnekKind::Bootstrap] {
                assert_eq!(
                    first.snapshot().snek(kind, &destination, &watermark),
                    second.snapshot().snek(kind, &destination, &watermark),
                    "seed {seed}"
                );
            }
            let to = Coordinates::from(world.coordinates());
            assert_eq!(
                tree(first.snapshot(), PortId::LOCAL, &to),
                tree(second.snapshot(), PortId::LOCAL, &to),
                "seed {seed}"
            );
        }
    }
}

/// A refresh is seen by those who hold a published snapshot, without publication; a new source is
/// not.
#[test]
fn a_refresh_needs_no_publication() {
    let mut random = Random(1);
    let (own, key) = (PublicKey::MIN, random.key());
    let (mut writer, fib) = FibWriter::new(own);
    writer.set_route(key, PortId(3), 10);
    writer.publish();
    let mut reader = fib.reader();
    let look = |snapshot: &Snapshot| {
        let hop = snapshot.snek(SnekKind::Traffic, &key, &Watermark::START);
        (hop.next, hop.watermark.sequence)
    };
    let before: *const Snapshot = reader.load();
    writer.set_route(key, PortId(3), 11);
    assert_eq!(look(reader.load()), (NextHop::Port(PortId(3)), 11));
    writer.publish();
    assert!(std::ptr::eq(before, reader.load()), "published for nothing");
    writer.set_route(key, PortId(4), 12);
    assert_eq!(look(reader.load()), (NextHop::Port(PortId(3)), 11));
    assert_eq!(look(writer.snapshot()), (NextHop::Port(PortId(4)), 12));
    writer.publish();
    assert_eq!(look(reader.load()), (NextHop::Port(PortId(4)), 12));
    assert_eq!(writer.snapshot().route_count(), 1);
}

/// Ten thousand children of one node: each is found, by tree and by SNEK, also while they come
/// and go and while root and sequence change.
#[test]
fn ten_thousand_peers_under_one_node() {
    const PEERS: u32 = 10_000;
    let mut random = Random(5);
    let (own, root) = (random.key(), PublicKey::MAX);
    let chain: Vec<(u64, PublicKey)> = (1..9).map(|port| (port, random.key())).collect();
    let own_ports: Vec<u64> = std::iter::once(4)
        .chain(chain.iter().map(|s| s.0))
        .collect();
    let mut keys = BTreeMap::new();
    let mut child = |port: u32, sequence: u64, order: u64| {
        let key = *keys.entry(port).or_insert_with(|| random.key());
        let mut signers = vec![(4, root)];
        signers.extend(&chain);
        signers.extend([(u64::from(port), own), (1, key)]);
        let announcement = Some(PeerAnnouncement {
            root,
            root_sequence: sequence,
            order,
            signers,
        });
        let link = LinkType::Remote;
        (
            PortId(port),
            PeerEntry {
                key,
                link,
                announcement,
            },
        )
    };
    let (mut writer, fib) = FibWriter::new(own);
    let mut reader = fib.reader();
    let mut order = 0;
    let coordinates = Coordinates::from(own_ports.clone());
    for sequence in [1, 2] {
        writer.set_position(root, sequence, coordinates.clone());
        assert_eq!(
            tree(
                writer.snapshot(),
                PortId::LOCAL,
                &[4, 1, 2, 3].to_vec().into()
            ),
            NextHop::None
        );
        for port in 1..=PEERS {
            order += 1;
            let (port, peer) = child(port, sequence, order);
            writer.set_peer(port, peer);
        }
        writer.publish();
        let snapshot = reader.load();
        for port in 1..=PEERS {
            let mut to = own_ports.clone();
            to.extend([u64::from(port), 77]);
            let to = Coordinates::from(to);
            let hop = NextHop::Port(PortId(port));
            assert_eq!(tree(snapshot, PortId::LOCAL, &to), hop);
            assert_eq!(tree(snapshot, PortId(port), &to), NextHop::None);
            let (_, peer) = child(port, sequence, 0);
            let found = snapshot.snek(SnekKind::Traffic, &peer.key, &Watermark::START);
            assert_eq!((found.next, found.watermark.key), (hop, peer.key));
        }
    }
    for port in (1..=PEERS).filter(|p| p % 100 != 0) {
        writer.remove_peer(PortId(port));
    }
    writer.publish();
    for port in 1..=PEERS {
        let mut to = own_ports.clone();
        to.push(u64::from(port));
        let hop = tree(reader.load(), PortId::LOCAL, &to.into());
        let want = if port % 100 == 0 {
            NextHop::Port(PortId(port))
        } else {
            NextHop::None
        };
        assert_eq!(hop, want);
    }
}
