//! Random histories of a node's tables against the model.

use pinecone_fib::{FibReader, FibWriter, PortId, Rescue, Snapshot, SnekQuery};
use pinecone_testing::Random;
use pinecone_wire::{Coordinates, PublicKey, Watermark};

use crate::frames::{Outcome, forward};
use crate::model::Model;
use crate::tree;

/// The keys and ports of a world: few, so that they meet often.
struct World {
    random: Random,
    keys: Vec<PublicKey>,
    ports: u32,
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
        let ports = 1 + u32::try_from(random.below(14)).unwrap();
        Self {
            random,
            keys,
            ports,
        }
    }

    fn key(&mut self) -> PublicKey {
        self.random.pick(&self.keys)
    }

    fn port(&mut self) -> PortId {
        PortId(1 + u32::try_from(self.random.below(self.ports as usize)).unwrap())
    }

    fn coordinates(&mut self) -> Coordinates {
        let depth = self.random.below(6);
        let ports = (0..depth).map(|_| self.random.pick(&[1, 1, 1, 2, 3, 127, 128, 70_000]));
        ports.collect::<Vec<_>>().into()
    }

    fn change(&mut self, writer: &mut FibWriter, model: &mut Model) {
        match self.random.below(24) {
            0..4 => {
                let (key, port) = (self.key(), self.port());
                writer.set_near(key, Some(port));
                model.near.insert(key, port);
            }
            4 => {
                let key = self.key();
                writer.set_near(key, None);
                model.near.remove(&key);
            }
            5..8 => {
                let (port, coordinates) = (self.port(), self.coordinates());
                // Sometimes two peers have the same preference.
                let preference = self.random.number() % 20;
                writer.set_peer_coordinates(port, coordinates.clone(), preference);
                model.peers.insert(port, (coordinates, preference));
            }
            8 => {
                let port = self.port();
                writer.remove_peer_coordinates(port);
                model.peers.remove(&port);
            }
            9 => {
                model.up = self.random.chance(80).then(|| (self.key(), self.port()));
                writer.set_up(model.up);
            }
            10 => {
                model.own_key_port = self.random.chance(20).then(|| self.port());
                writer.set_own_key_port(model.own_key_port);
            }
            11 => {
                model.coordinates = self.coordinates();
                writer.set_coordinates(model.coordinates.clone());
                if self.random.chance(50) {
                    writer.clear_peer_coordinates();
                    model.peers.clear();
                }
            }
            12..20 => {
                let (key, port, sequence) = (self.key(), self.port(), self.random.number() % 5);
                writer.set_route(key, port, sequence);
                if model.routes.insert(key, (port, sequence)).is_none() {
                    model.expired.remove(&key);
                }
            }
            20 => {
                let key = self.key();
                let route = model.routes.remove(&key);
                assert_eq!(writer.expire_route(&key), route.is_some());
                model.expired.extend(route.map(|route| (key, route)));
            }
            21 if self.random.chance(50) => {
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
            0 => key = PublicKey(self.random.bytes()),
            // The form in which the IPv6 adapter asks.
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

    fn check(&mut self, snapshot: &Snapshot, model: &Model) {
        assert_eq!(snapshot.own_key(), model.own);
        assert_eq!(snapshot.route_count(), model.routes.len());
        assert_eq!(*snapshot.coordinates(), model.coordinates);
        let mut queries = Vec::new();
        let mut answers = Vec::new();
        for _ in 0..1 + self.random.below(70) {
            let destination = self.destination();
            let watermark = self.watermark();
            let got = snapshot.snek(&destination, &watermark);
            let want = model.snek(&destination, &watermark);
            assert_eq!(got, want, "{destination} {watermark:?}");
            answers.push(got);
            queries.push(SnekQuery {
                destination,
                watermark,
            });
        }
        let mut batch = Vec::new();
        snapshot.snek_batch(&queries, &mut batch);
        assert_eq!(batch, answers);
        for query in queries {
            let ingress = self.port();
            let before = match self.random.chance(30) {
                true => Watermark {
                    key: self.key(),
                    sequence: self.random.number() % 3,
                },
                false => query.watermark,
            };
            let got = forward(snapshot, ingress, &query.destination, &before);
            let want = model.forward(ingress, &query.destination, &before);
            assert_eq!(got, want, "{ingress} {query:?} {before:?}");
            if let Outcome::Send {
                port,
                watermark,
                rescue: Some(rescue),
            } = got
            {
                assert!(!watermark.is_worse_than(&before));
                let better = before.is_worse_than(&watermark);
                let follows = watermark.sequence != 0 && model.has_route(&before);
                assert!(rescue == Rescue::ExpiredRoute || better || follows);
                assert_ne!(port, ingress);
            }
        }
        self.check_tree(snapshot, model);
    }

    fn check_tree(&mut self, snapshot: &Snapshot, model: &Model) {
        for _ in 0..10 {
            let to = self.coordinates();
            let ingress = match self.random.chance(30) {
                true => PortId::LOCAL,
                false => self.port(),
            };
            let got = tree(snapshot, ingress, &to);
            assert_eq!(got, model.tree(ingress, &to), "{ingress} {to}");
        }
    }

    /// A published snapshot stays as it was, except for the sequences of refreshed routes.
    fn check_old(&mut self, snapshot: &Snapshot, model: &Model) {
        for _ in 0..10 {
            let destination = self.destination();
            let start = Watermark::START;
            let got = snapshot.snek(&destination, &start);
            let want = model.snek(&destination, &start);
            assert_eq!(
                (got.next, got.watermark.key),
                (want.next, want.watermark.key)
            );
        }
        assert_eq!(snapshot.route_count(), model.routes.len());
        self.check_tree(snapshot, model);
    }

    /// The entries that the control plane reads, in both directions.
    fn check_entries(&mut self, writer: &FibWriter, model: &Model) {
        let entry = |key: &PublicKey| {
            let near = model.near.get(key).copied();
            (*key, near, model.routes.get(key).copied())
        };
        for _ in 0..20 {
            let key = self.destination();
            let known = || model.near.keys().chain(model.routes.keys());
            let above = known().filter(|known| **known > key).min().map(entry);
            let below = known().filter(|known| **known < key).max().map(entry);
            let got = |found: pinecone_fib::KeyEntry| (found.key, found.near, found.route);
            assert_eq!(writer.entry_above(&key).map(got), above);
            assert_eq!(writer.entry_below(&key).map(got), below);
        }
    }
}

/// Miri takes a second for what otherwise takes a millisecond.
const WORLDS: u64 = if cfg!(miri) { 2 } else { 3000 };

fn run(seed: u64) {
    let mut world = World::new(seed);
    let own = world.key();
    let (mut writer, fib) = FibWriter::new(own);
    let mut reader: FibReader = fib.reader();
    let mut model = Model {
        own,
        ..Model::default()
    };
    let mut published = model.clone();
    let mut old = Vec::new();
    for _ in 0..4 {
        for _ in 0..world.random.below(60) {
            world.change(&mut writer, &mut model);
        }
        world.check(writer.snapshot(), &model);
        world.check_entries(&writer, &model);
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
    for seed in 0..WORLDS {
        let result = std::panic::catch_unwind(|| run(seed));
        assert!(result.is_ok(), "seed {seed}");
    }
}

/// Tables with the same contents answer the same, whatever their history.
#[test]
fn order_of_filling_does_not_matter() {
    for seed in 0..WORLDS / 10 {
        let mut world = World::new(seed);
        let own = world.key();
        let (mut first, _) = FibWriter::new(own);
        let mut model = Model {
            own,
            ..Model::default()
        };
        for _ in 0..80 {
            world.change(&mut first, &mut model);
        }
        let (mut second, _) = FibWriter::new(own);
        second.set_up(model.up);
        second.set_own_key_port(model.own_key_port);
        second.set_coordinates(model.coordinates.clone());
        for (&key, &(port, sequence)) in model.routes.iter().rev() {
            second.set_route(key, port, sequence);
        }
        for (&port, (coordinates, preference)) in model.peers.iter().rev() {
            second.set_peer_coordinates(port, coordinates.clone(), *preference);
        }
        for (&key, &port) in model.near.iter().rev() {
            second.set_near(key, Some(port));
        }
        for _ in 0..100 {
            let (destination, watermark) = (world.destination(), world.watermark());
            assert_eq!(
                first.snapshot().snek(&destination, &watermark),
                second.snapshot().snek(&destination, &watermark),
                "seed {seed}"
            );
            let to = world.coordinates();
            assert_eq!(
                tree(first.snapshot(), PortId::LOCAL, &to),
                tree(second.snapshot(), PortId::LOCAL, &to),
                "seed {seed}"
            );
        }
    }
}
