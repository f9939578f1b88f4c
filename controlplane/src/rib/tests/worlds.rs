//! Random histories of a RIB against the model.

use pinecone_fib::{FibWriter, NextHop, PortId};
use pinecone_testing::Random;
use pinecone_wire::{Coordinates, PublicKey, Watermark};

use super::model::{Kind, Model};
use super::{LINKS, Peer, route, tree};
use crate::rib::Rib;

/// The keys, ports and roots of a world: few, so that they meet often.
struct World {
    random: Random,
    keys: Vec<PublicKey>,
    roots: Vec<(PublicKey, u64)>,
    ports: usize,
    order: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let count = 6 + random.below(60);
        let mut keys: Vec<_> = (0..count).map(|_| PublicKey(random.bytes())).collect();
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
            .map(|_| (random.pick(top), random.number() % 3))
            .collect();
        let ports = 1 + random.below(14);
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
        PortId(1 + self.random.below(self.ports) as u32)
    }

    fn coordinates(&mut self) -> Vec<u64> {
        let depth = self.random.below(6);
        (0..depth)
            .map(|_| self.random.pick(&[1, 1, 1, 2, 3, 127, 128, 70_000]))
            .collect()
    }

    fn peer(&mut self) -> Peer {
        let key = self.key();
        let (root, root_sequence) = self.random.pick(&self.roots);
        // Sometimes two announcements have the same arrival number, which must not matter either.
        self.order += u64::from(self.random.chance(95));
        let coordinates = self.coordinates();
        let mut signers: Vec<_> = coordinates.into_iter().map(|port| (port, root)).collect();
        for signer in signers.iter_mut().skip(1) {
            signer.1 = self.random.pick(&self.keys);
        }
        signers.push((1 + self.random.number() % 9, key));
        Peer {
            key,
            link: self.random.pick(&LINKS[..4]),
            root: (signers[0].1, root_sequence),
            order: self.order,
            signers,
        }
    }

    fn change(&mut self, rib: &mut Rib, model: &mut Model) {
        match self.random.below(20) {
            0..6 => {
                let (port, peer) = (self.port(), self.peer());
                let before = rib.announce(port, peer.adjacency());
                let before = before.map(|announced| announced.order);
                let replaced = model.peers.insert(port, peer);
                assert_eq!(before, replaced.map(|peer| peer.order));
            }
            6 => {
                let port = self.port();
                let gone = rib.withdraw(port).is_some();
                assert_eq!(gone, model.peers.remove(&port).is_some());
            }
            7 => {
                let parent = self.random.chance(80).then(|| self.port());
                rib.set_parent(parent);
                model.parent = parent;
            }
            8 => {
                model.root = self.random.pick(&self.roots);
                model.coordinates = Coordinates::from(self.coordinates());
                rib.set_position(model.root, model.coordinates.clone());
            }
            9..17 => {
                let (key, port, sequence) = (self.key(), self.port(), self.random.number() % 5);
                rib.insert_route(route(key, port, sequence));
                model.routes.insert(key, (port, sequence));
            }
            _ => {
                let key = self.key();
                let removed = rib.remove_route(&key);
                let removed = removed.map(|route| (route.source, route.sequence));
                assert_eq!(removed, model.routes.remove(&key));
            }
        }
    }

    fn destination(&mut self) -> PublicKey {
        let mut key = self.key();
        match self.random.below(6) {
            0 => key = PublicKey(self.random.bytes()),
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
            sequence: self.random.number() % 5,
        }
    }

    fn check(&mut self, rib: &mut Rib, model: &Model) {
        assert_eq!(rib.tables().route_count(), model.routes.len());
        for _ in 0..1 + self.random.below(40) {
            let (key, watermark) = (self.destination(), self.watermark());
            let got = rib.tables().snek(&key, &watermark);
            let want = model.snek(Kind::Traffic, &key, &watermark);
            assert_eq!(got, want, "{key} {watermark:?}");
            let got = rib.bootstrap_hop(&key, &watermark);
            let want = model.snek(Kind::Bootstrap, &key, &watermark);
            match got {
                Some(got) => {
                    assert_eq!(want.next, NextHop::Port(got.port));
                    assert_eq!(want.watermark, got.watermark);
                }
                None => assert_eq!(want.next, NextHop::None),
            }
            let (ingress, next) = (self.port(), self.port());
            assert_eq!(
                rib.bootstrap_detour(&key, ingress),
                model.detour(&key, ingress),
                "{key} {ingress}"
            );
            assert_eq!(
                rib.bootstrap_around(&key, &[ingress, next]),
                model.around(&key, &[ingress, next]),
                "{key} {ingress} {next}"
            );
        }
        for _ in 0..10 {
            let to = Coordinates::from(self.coordinates());
            let ingress = match self.random.chance(30) {
                true => PortId::LOCAL,
                false => self.port(),
            };
            let got = tree(rib.tables(), ingress, &to);
            assert_eq!(got, model.tree(ingress, &to), "{ingress} {to}");
        }
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    let own = world.key();
    let mut rib = Rib::new(own, FibWriter::new(own).0);
    let mut model = Model {
        own,
        root: (own, 0),
        ..Model::default()
    };
    for _ in 0..4 {
        for _ in 0..world.random.below(60) {
            world.change(&mut rib, &mut model);
        }
        world.check(&mut rib, &model);
    }
}

#[test]
fn random_worlds_answer_as_the_model() {
    for seed in 0..3000 {
        let result = std::panic::catch_unwind(|| run(seed));
        assert!(result.is_ok(), "seed {seed}");
    }
}

/// RIBs with the same contents answer the same, whatever their history.
#[test]
fn order_of_filling_does_not_matter() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        let own = world.key();
        let mut first = Rib::new(own, FibWriter::new(own).0);
        let mut model = Model {
            own,
            root: (own, 0),
            ..Model::default()
        };
        for _ in 0..80 {
            world.change(&mut first, &mut model);
        }
        let mut second = Rib::new(own, FibWriter::new(own).0);
        for (&key, &(port, sequence)) in model.routes.iter().rev() {
            second.insert_route(route(key, port, sequence));
        }
        for (&port, peer) in model.peers.iter().rev() {
            second.announce(port, peer.adjacency());
        }
        second.set_parent(model.parent);
        second.set_position(model.root, model.coordinates.clone());
        for _ in 0..100 {
            let (key, watermark) = (world.destination(), world.watermark());
            let traffic = |rib: &mut Rib| rib.tables().snek(&key, &watermark);
            assert_eq!(traffic(&mut first), traffic(&mut second), "seed {seed}");
            let bootstrap = |rib: &Rib| rib.bootstrap_hop(&key, &watermark);
            assert_eq!(bootstrap(&first), bootstrap(&second), "seed {seed}");
            let to = Coordinates::from(world.coordinates());
            let by_tree = |rib: &mut Rib| tree(rib.tables(), PortId::LOCAL, &to);
            assert_eq!(by_tree(&mut first), by_tree(&mut second), "seed {seed}");
        }
    }
}
