//! A comparison of a worker with a simulated node: both get the same random frames and have the same
//! random tables.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pinecone_dataplane::{
    DataPlane, DataPlaneOptions, Delivery, DropReason, EngineChoice, PortOptions,
};
use pinecone_fib::{FibWriter, LinkType};
use pinecone_wire::traffic::push_traffic;
use pinecone_wire::{Coordinates, PublicKey, TrafficFields, Watermark};

use super::*;
use crate::random::{Random, Stream};

const DEADLINE: Duration = Duration::from_secs(60);
const WORLDS: u64 = 60;
const FRAMES: usize = 150;
const CHANGES: usize = 80;
/// The bound of sequences, hop limits and coordinates. It is small, so that equal values are common.
const FEW: usize = 5;

/// The frames that are sent out of each port, and those that are delivered. They are compared
/// without their order, as frames of different ingress ports do not wait for each other.
type Outgoing = BTreeMap<Option<PortId>, Vec<Vec<u8>>>;

#[derive(Default)]
struct Delivered(Mutex<Vec<Vec<u8>>>);

impl Delivery for Delivered {
    fn deliver(&self, _: PortId, frame: &[u8], _: &TrafficLayout) -> bool {
        self.0.lock().unwrap().push(frame.to_vec());
        true
    }
}

/// A generator of random tables and frames, with few keys and ports, so that they match often.
struct World {
    random: Random,
    keys: Vec<PublicKey>,
    ports: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, Stream::Keys);
        let mut keys: Vec<_> = (0..40).map(|_| PublicKey(random.bytes())).collect();
        if random.index(2) == 0 {
            // Many keys share a long prefix.
            let (base, shared) = (keys[0], 1 + random.index(31));
            for key in keys.iter_mut().skip(10) {
                key.0[..shared].copy_from_slice(&base.0[..shared]);
            }
        }
        let ports = 1 + random.index(6);
        Self {
            random,
            keys,
            ports,
        }
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.random.index(100) < percent
    }

    fn key(&mut self) -> PublicKey {
        self.keys[self.random.index(self.keys.len())]
    }

    fn port(&mut self) -> PortId {
        PortId(1 + self.random.index(self.ports) as u32)
    }

    fn coordinates(&mut self) -> Vec<u64> {
        let depth = self.random.index(FEW);
        (0..depth)
            .map(|_| [1, 1, 2, 128, 70_000][self.random.index(FEW)])
            .collect()
    }

    fn change(&mut self, tables: &mut FibWriter) {
        match self.random.index(14) {
            0..3 => {
                let (key, port) = (self.key(), self.port());
                tables.set_near(key, Some(port));
            }
            3 | 4 => {
                let (port, coordinates) = (self.port(), Coordinates::from(self.coordinates()));
                tables.set_peer_coordinates(port, coordinates, self.random.index(FEW) as u64);
            }
            5 => {
                let up = self.chance(80).then(|| (self.key(), self.port()));
                tables.set_up(up);
            }
            6 => {
                tables.set_coordinates(Coordinates::from(self.coordinates()));
                let port = self.chance(30).then(|| self.port());
                tables.set_own_key_port(port);
            }
            7 => {
                let key = self.key();
                tables.expire_route(&key);
            }
            _ => {
                let (key, port) = (self.key(), self.port());
                tables.set_route(key, port, self.random.index(FEW) as u64);
            }
        }
    }

    fn destination(&mut self) -> PublicKey {
        let mut key = self.key();
        match self.random.index(6) {
            0 => key = PublicKey(self.random.bytes()),
            1 => key.0[31] = key.0[31].wrapping_add(1),
            _ => {}
        }
        key
    }

    fn frame(&mut self, number: usize) -> Vec<u8> {
        let destination = match self.chance(40) {
            true => Coordinates::from(self.coordinates()),
            false => Coordinates::default(),
        };
        let watermark = match self.chance(30) {
            true => Watermark::START,
            false => Watermark {
                key: self.destination(),
                sequence: self.random.index(FEW) as u64,
            },
        };
        let mut payload = (number as u32).to_be_bytes().to_vec();
        payload.resize(4 + self.random.index(300), number as u8);
        let mut frame = Vec::new();
        let fields = TrafficFields {
            extra: self.random.index(FEW) as u8,
            hop_limit: self.random.index(FEW) as u8,
            destination: &destination,
            source: &Coordinates::from(self.coordinates()),
            destination_key: self.destination(),
            source_key: self.key(),
            watermark,
            payload: &payload,
        };
        push_traffic(&mut frame, &fields).unwrap();
        frame
    }
}

/// Sends the frames of one world through a worker and through a simulated node, and compares the results. Returns the
/// outcomes that occurred.
fn compare(engine: EngineChoice, seed: u64) -> BTreeSet<&'static str> {
    let mut world = World::new(seed);
    let own = world.key();
    let (mut tables, fib) = FibWriter::new(own);
    for _ in 0..CHANGES {
        world.change(&mut tables);
    }
    tables.publish();
    let hop_limiting = world.chance(50);
    let options = DataPlaneOptions {
        workers: 1 + world.random.index(2),
        engine,
        max_ports: 64,
        hop_limiting,
        ..DataPlaneOptions::default()
    };
    let delivered = Arc::new(Delivered::default());
    let (plane, _reports) = DataPlane::start(options, fib, delivered.clone()).unwrap();
    let mut peers = add_ports(&plane, world.ports);

    let mut expected = Outgoing::new();
    let mut lost: BTreeMap<_, u64> = BTreeMap::new();
    let mut kinds = BTreeSet::new();
    for number in 0..FRAMES {
        let mut frame = world.frame(number);
        let ingress = match world.chance(10) {
            true => PortId::LOCAL,
            false => world.port(),
        };
        match peers.get_mut(&ingress) {
            Some(peer) => peer.write_all(&frame).unwrap(),
            None => assert!(plane.inject(frame.clone(), None)),
        }
        let outcome = forward(tables.snapshot(), ingress, &mut frame, hop_limiting).unwrap();
        kinds.insert(match outcome {
            Outcome::Deliver => "delivered",
            Outcome::Send(_, None) => "sent",
            Outcome::Send(_, Some(Rescue::ExpiredRoute)) => "sent by an expired route",
            Outcome::Send(_, Some(Rescue::Detour)) => "detoured",
            Outcome::Lost(loss) => loss.name(),
        });
        match outcome {
            Outcome::Deliver => expected.entry(None).or_default().push(frame),
            Outcome::Send(egress, _) => expected.entry(Some(egress)).or_default().push(frame),
            Outcome::Lost(loss) => *lost.entry(loss).or_default() += 1,
        }
    }

    let mut found = Outgoing::new();
    for (&port, peer) in &mut peers {
        let count = expected.get(&Some(port)).map_or(0, Vec::len);
        let frames = (0..count).map(|_| read_frame(peer)).collect();
        found.insert(Some(port), frames);
    }
    let dropped = || {
        let mut sum: BTreeMap<_, u64> = BTreeMap::new();
        let ports = (peers.keys()).filter_map(|&port| plane.port_counters(port));
        let stats = plane.worker_stats();
        let local = stats.iter().map(|worker| worker.local.clone());
        for counters in ports.chain(local) {
            for (loss, reason) in REASONS {
                *sum.entry(loss).or_default() += counters.dropped(reason);
            }
        }
        sum.retain(|_, count| *count > 0);
        sum
    };
    let deliveries = expected.get(&None).map_or(0, Vec::len);
    wait(|| delivered.0.lock().unwrap().len() >= deliveries);
    wait(|| dropped().values().sum::<u64>() >= lost.values().sum());
    found.insert(None, std::mem::take(&mut delivered.0.lock().unwrap()));
    assert_eq!(dropped(), lost, "seed {seed}");
    plane.shutdown();

    found.retain(|_, frames| !frames.is_empty());
    for frames in found.values_mut().chain(expected.values_mut()) {
        frames.sort_unstable();
    }
    assert_eq!(found, expected, "seed {seed}");
    for (port, mut peer) in peers {
        let mut more = Vec::new();
        peer.read_to_end(&mut more).unwrap();
        assert!(more.is_empty(), "seed {seed}: more from {port:?}");
    }
    kinds
}

fn compare_all(engine: EngineChoice, seeds: Range<u64>) {
    let kinds: BTreeSet<_> = seeds.flat_map(|seed| compare(engine, seed)).collect();
    // These frames can grow, and a frame without a next hop is delivered at the closest node.
    let never = [Loss::TooLong, Loss::NoRoute];
    let losses = REASONS.into_iter().map(|(loss, _)| loss);
    let losses = losses.filter(|loss| !never.contains(loss)).map(Loss::name);
    let others = ["delivered", "sent", "sent by an expired route", "detoured"];
    assert_eq!(kinds, others.into_iter().chain(losses).collect());
}

const REASONS: [(Loss, DropReason); 5] = [
    (Loss::NoRoute, DropReason::NoRoute),
    (Loss::Backwards, DropReason::Backwards),
    (Loss::Watermark, DropReason::Watermark),
    (Loss::HopLimit, DropReason::HopLimit),
    (Loss::TooLong, DropReason::TooLong),
];

fn add_ports(plane: &DataPlane, count: usize) -> BTreeMap<PortId, UnixStream> {
    let mut peers = BTreeMap::new();
    for port in (1..=count as u32).map(PortId) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_read_timeout(Some(DEADLINE)).unwrap();
        let options = PortOptions {
            link: LinkType::Pipe,
            keepalives: false,
        };
        plane.add_port(port, ours.into(), options);
        peers.insert(port, theirs);
    }
    wait(|| {
        let stats = plane.worker_stats();
        stats.iter().map(|worker| worker.ports).sum::<u64>() == count as u64
    });
    peers
}

fn read_frame(from: &mut UnixStream) -> Vec<u8> {
    let mut frame = vec![0; 10];
    from.read_exact(&mut frame).unwrap();
    frame.resize(usize::from(u16::from_be_bytes([frame[8], frame[9]])), 0);
    from.read_exact(&mut frame[10..]).unwrap();
    frame
}

fn wait(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "condition never held");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_worker_on_epoll_decides_like_a_simulated_node() {
    compare_all(EngineChoice::Epoll, 0..WORLDS);
}

#[test]
fn a_worker_on_io_uring_decides_like_a_simulated_node() {
    let options = DataPlaneOptions {
        engine: EngineChoice::Uring,
        ..DataPlaneOptions::default()
    };
    let (_, fib) = FibWriter::new(PublicKey::MIN);
    match DataPlane::start(options, fib, Arc::new(Delivered::default())) {
        Ok((plane, _)) => plane.shutdown(),
        Err(error) => return pinecone_testing::skip(pinecone_testing::Need::IoUring, error),
    }
    compare_all(EngineChoice::Uring, WORLDS..2 * WORLDS);
}
