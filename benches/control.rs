//! The control plane: the cost of single frames with and without signatures, the bootstraps that a large
//! network sends in a second, ten thousand peers that announce themselves at once, and a flood.
//!
//! All times are CPU times of the measuring thread.

#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pinecone_benches::{Random, is_smoke_run, route_counts};
use pinecone_controlplane::{Config, ControlPlane, NewPeer, Now};
use pinecone_dataplane::{LinkType, PortId};
use pinecone_fib::{Fib, FibWriter};
use pinecone_wire::frame::{push_bootstrap, push_broadcast};
use pinecone_wire::{PublicKey, SecretKey, Signature, SignedBody, Watermark, announcement};
use rustix::time::{ClockId, clock_gettime};

const UNIX_MS: u64 = 1_800_000_000_000;
/// Number of nodes above this one, the root included.
const DEPTH: u64 = 5;
/// Frames between two publications, as in a node.
const BATCH: usize = 256;

/// Returns the CPU time of the calling thread.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

/// The identity of a node: a secret key, or only a public key where signatures are not checked.
#[derive(Clone)]
enum Name {
    Signs(Box<SecretKey>),
    Claims(PublicKey),
}

impl Name {
    fn new(random: &mut Random, signs: bool) -> Self {
        let bytes = random.key();
        if signs {
            Self::Signs(Box::new(SecretKey::from_seed(&bytes.0)))
        } else {
            Self::Claims(bytes)
        }
    }

    fn key(&self) -> PublicKey {
        match self {
            Self::Signs(secret) => secret.public_key(),
            Self::Claims(key) => *key,
        }
    }

    fn sign(&self, payload: &[u8]) -> Signature {
        match self {
            Self::Signs(secret) => announcement::sign(payload, secret),
            Self::Claims(_) => Signature([0; 64]),
        }
    }

    fn body(&self, sequence: u64, root: PublicKey, root_sequence: u64) -> Vec<u8> {
        let body = match self {
            Self::Signs(secret) => SignedBody::sign(secret, sequence, root, root_sequence),
            Self::Claims(_) => SignedBody {
                sequence,
                root,
                root_sequence,
                signature: Signature([0; 64]),
            },
        };
        body.encode()
    }
}

/// A node [`DEPTH`] hops below the root, with a parent and children.
struct Bench {
    node: ControlPlane,
    _fib: Fib,
    now: Now,
    own: Name,
    /// The nodes from the root to the parent.
    above: Vec<Name>,
    parent: PortId,
    children: Vec<(PortId, Name)>,
    root_sequence: u64,
}

impl Bench {
    fn new(signs: bool, children: usize, config: Config) -> Self {
        let mut random = Random::new(1);
        let own = Name::new(&mut random, signs);
        let (writer, fib) = FibWriter::new(own.key());
        let node = match &own {
            Name::Signs(secret) => ControlPlane::new(config, (**secret).clone(), writer),
            Name::Claims(key) => ControlPlane::new_unsigned(config, *key, writer),
        };
        let mut above: Vec<_> = (0..DEPTH).map(|_| Name::new(&mut random, signs)).collect();
        // The root's key is above that of the node.
        while above[0].key().0[0] < 0xf8 {
            above[0] = Name::new(&mut random, signs);
        }
        let children: Vec<_> = (0..children)
            .map(|_| Name::new(&mut random, signs))
            .collect();
        let mut bench = Self {
            node,
            _fib: fib,
            now: Now {
                monotonic: Duration::ZERO,
                unix_ms: UNIX_MS,
            },
            own,
            above,
            parent: PortId(1),
            children: Vec::new(),
            root_sequence: 0,
        };
        bench.node.tick(bench.now);
        bench.parent = bench.connect(bench.above[DEPTH as usize - 1].key());
        bench.children = (children.into_iter())
            .map(|name| (bench.connect(name.key()), name))
            .collect();
        bench.announce();
        for frame in bench.announcements() {
            bench.node.frame(bench.now, frame.0, &frame.1);
        }
        bench.take_effects();
        assert_eq!(bench.node.status().root, bench.above[0].key());
        assert!(bench.node.peers().iter().all(|peer| peer.root.is_some()));
        bench
    }

    fn connect(&mut self, key: PublicKey) -> PortId {
        let link = LinkType::Remote;
        let port = self
            .node
            .connect(self.now, NewPeer::new(key, link))
            .unwrap();
        self.take_effects();
        port
    }

    /// Does what a driver does after a batch. Returns the number of effects.
    fn take_effects(&mut self) -> usize {
        self.node.publish();
        let mut effects = 0;
        while let Some(effect) = self.node.poll_effect() {
            black_box(effect);
            effects += 1;
        }
        effects
    }

    fn step(&mut self, ms: u64) {
        self.now.monotonic += Duration::from_millis(ms);
        self.now.unix_ms += ms;
        self.node.tick(self.now);
        self.take_effects();
    }

    /// Returns the announcement frame of the last of `names`. Each of them has the next one at the given
    /// port.
    fn announced(&self, ports: &[u64], names: &[&Name]) -> Vec<u8> {
        let mut payload = announcement::root_payload(&names[0].key(), self.root_sequence);
        let mut frame = Vec::new();
        for (name, port) in names.iter().zip(ports) {
            let signature = name.sign(&payload);
            frame.clear();
            announcement::push_frame(&mut frame, &payload, *port, &name.key(), &signature).unwrap();
            payload = frame[12..].to_vec();
        }
        frame
    }

    /// Returns the parent's announcement of the root's next sequence.
    fn next_from_parent(&mut self) -> Vec<u8> {
        self.root_sequence += 1;
        let ports: Vec<_> = (1..=DEPTH).collect();
        let names: Vec<_> = self.above.iter().collect();
        self.announced(&ports, &names)
    }

    fn announce(&mut self) {
        let frame = self.next_from_parent();
        self.node.frame(self.now, self.parent, &frame);
        self.take_effects();
    }

    /// Returns the announcements that the children then send.
    fn announcements(&self) -> Vec<(PortId, Vec<u8>)> {
        let children = self.children.iter();
        let mut ports: Vec<_> = (1..=DEPTH).collect();
        ports.extend([0, 1]);
        children
            .map(|(port, child)| {
                let mut names: Vec<_> = self.above.iter().collect();
                names.extend([&self.own, child]);
                ports[DEPTH as usize] = u64::from(port.0);
                (*port, self.announced(&ports, &names))
            })
            .collect()
    }

    fn bootstrap(&self, name: &Name) -> Vec<u8> {
        let root = self.above[0].key();
        let body = name.body(self.now.unix_ms, root, self.root_sequence);
        let mut frame = Vec::new();
        push_bootstrap(&mut frame, (0, 0), &name.key(), &Watermark::START, &body).unwrap();
        frame
    }

    fn broadcast(&self, name: &Name) -> Vec<u8> {
        let root = self.above[0].key();
        let body = name.body(self.now.unix_ms, root, self.root_sequence);
        let mut frame = Vec::new();
        push_broadcast(&mut frame, (0, 5), &name.key(), &body).unwrap();
        frame
    }

    /// Handles frames as a driver does. Returns the CPU time.
    fn handle(&mut self, frames: &[(PortId, Vec<u8>)]) -> Duration {
        let start = cpu_time();
        for frames in frames.chunks(BATCH) {
            for (port, frame) in frames {
                self.node.frame(self.now, *port, frame);
            }
            self.take_effects();
        }
        cpu_time() - start
    }

    /// Measures the parent's announcement of a new root sequence, which is announced to all peers.
    fn announced_by_parent(&mut self) -> Duration {
        let frame = self.next_from_parent();
        self.handle(&[(self.parent, frame)])
    }

    /// Measures the announcements of all children after it.
    fn announced_by_children(&mut self) -> Duration {
        self.announce();
        let frames = self.announcements();
        self.handle(&frames)
    }

    /// Measures a bootstrap of each of `names`, which arrive from one child after the other.
    fn bootstrapped_by(&mut self, names: &[Name]) -> Duration {
        let frames: Vec<_> = (names.iter().enumerate())
            .map(|(n, name)| (self.child_port(n), self.bootstrap(name)))
            .collect();
        self.handle(&frames)
    }

    fn child_port(&self, n: usize) -> PortId {
        self.children[n % self.children.len()].0
    }
}

fn label(signs: bool) -> &'static str {
    if signs { "signed" } else { "unsigned" }
}

/// Runs `round`, which makes `each` iterations, at least `wanted` times in all. Returns the time scaled to
/// exactly `wanted` iterations.
fn rounds(wanted: u64, each: u64, mut round: impl FnMut() -> Duration) -> Duration {
    let count = wanted.div_ceil(each).max(1);
    let total: Duration = (0..count).map(|_| round()).sum();
    total.mul_f64(wanted as f64 / (count * each) as f64)
}

fn single_frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("control/frame");
    group.sample_size(10).throughput(Throughput::Elements(1));
    for signs in [true, false] {
        let mut bench = Bench::new(signs, 64, Config::default());
        group.bench_function(
            BenchmarkId::new(
                "announcement from the parent, told to 65 peers",
                label(signs),
            ),
            |b| {
                b.iter_custom(|n| rounds(n, 1, || bench.announced_by_parent()));
            },
        );
        group.bench_function(
            BenchmarkId::new("announcement from a child", label(signs)),
            |b| {
                b.iter_custom(|n| rounds(n, 64, || bench.announced_by_children()));
            },
        );
        let mut random = Random::new(2);
        let names: Vec<_> = (0..1024).map(|_| Name::new(&mut random, signs)).collect();
        group.bench_function(BenchmarkId::new("bootstrap", label(signs)), |b| {
            b.iter_custom(|n| {
                rounds(n, 1024, || {
                    bench.step(1);
                    bench.bootstrapped_by(&names)
                })
            });
        });
        // All routes have expired before each round.
        group.bench_function(
            BenchmarkId::new("bootstrap of a new key", label(signs)),
            |b| {
                b.iter_custom(|n| {
                    rounds(n, 1024, || {
                        bench.step(11_000);
                        bench.announce();
                        assert_eq!(bench.node.status().routes, 0);
                        bench.bootstrapped_by(&names)
                    })
                });
            },
        );
        // Each broadcast is sent to 63 or 64 peers.
        group.bench_function(
            BenchmarkId::new("broadcast to 64 peers", label(signs)),
            |b| {
                b.iter_custom(|n| {
                    rounds(n, 64, || {
                        bench.step(181_000);
                        bench.announce();
                        let frames: Vec<_> = (names.iter().take(64).enumerate())
                            .map(|(n, name)| (bench.child_port(n), bench.broadcast(name)))
                            .collect();
                        bench.handle(&frames)
                    })
                });
            },
        );
        let before = bench.node.counters();
        assert_eq!(before.peers_closed, 0, "{before}");
        assert_eq!(before.bootstraps_bad_signature + before.bootstraps_stale, 0);
        assert_eq!(
            before.broadcasts_bad_signature + before.broadcasts_repeated,
            0
        );
    }
    group.finish();
}

/// Returns the resident memory of this process in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}

/// The bootstraps of one second: a fifth of all nodes bootstraps each second.
fn second_of_bootstraps(c: &mut Criterion) {
    let mut group = c.benchmark_group("control/a second's bootstraps");
    group.sample_size(10);
    for routes in route_counts() {
        let mut random = Random::new(3);
        let before = resident();
        let mut bench = Bench::new(false, 64, Config::default());
        let names: Vec<_> = (0..routes).map(|_| Name::new(&mut random, false)).collect();
        let own = resident() - before;
        let frames_of = |bench: &mut Bench, range: std::ops::Range<usize>| -> Vec<_> {
            let frames = range.map(|n| (bench.child_port(n), bench.bootstrap(&names[n])));
            frames.collect()
        };
        // In small parts, so that the frames take little memory.
        let part = (routes / 100).max(1);
        for start in (0..routes).step_by(part) {
            let frames = frames_of(&mut bench, start..routes.min(start + part));
            bench.handle(&frames);
        }
        assert_eq!(bench.node.status().routes, routes);
        let each = resident().saturating_sub(before + own) / routes;
        println!("{routes} routes: {each} bytes of memory each, tables and control plane");
        let fifth = routes / 5;
        let mut round = 0;
        group.throughput(Throughput::Elements(fifth as u64));
        group.bench_function(BenchmarkId::new("refreshed, unsigned", routes), |b| {
            b.iter_custom(|n| {
                rounds(n, 1, || {
                    bench.step(1);
                    let start = round % 5 * fifth;
                    round += 1;
                    let frames = frames_of(&mut bench, start..start + fifth);
                    bench.handle(&frames)
                })
            });
        });
        assert_eq!(bench.node.status().routes, routes);
        // The routes move to another peering, so that each changes the tables.
        let mut shift = 0;
        group.throughput(Throughput::Elements(256));
        for alone in [false, true] {
            let name = match alone {
                false => "256 that move, and their publication",
                true => "publication of 256 that moved",
            };
            group.bench_function(BenchmarkId::new(name, routes), |b| {
                b.iter_custom(|n| {
                    rounds(n, 1, || {
                        bench.step(1);
                        shift += 1;
                        let frames: Vec<_> = (0..256)
                            .map(|n| (n * (routes / 256).max(1) + shift) % routes)
                            .map(|at| (bench.child_port(at + shift), bench.bootstrap(&names[at])))
                            .collect();
                        let start = cpu_time();
                        for (port, frame) in &frames {
                            bench.node.frame(bench.now, *port, frame);
                        }
                        let changed = cpu_time();
                        bench.node.publish();
                        let end = cpu_time();
                        bench.take_effects();
                        end - if alone { changed } else { start }
                    })
                });
            });
        }
    }
    group.finish();
}

fn ten_thousand_peers(c: &mut Criterion) {
    let mut group = c.benchmark_group("control/ten thousand peers");
    group.sample_size(10);
    let peers = if is_smoke_run() { 100 } else { 10_000 };
    for signs in [true, false] {
        let mut bench = Bench::new(signs, peers, Config::default());
        group.throughput(Throughput::Elements(peers as u64));
        group.bench_function(
            BenchmarkId::new("told of a new root sequence", label(signs)),
            |b| {
                b.iter_custom(|n| rounds(n, 1, || bench.announced_by_parent()));
            },
        );
        let before = bench.node.counters();
        group.bench_function(
            BenchmarkId::new("all announce themselves", label(signs)),
            |b| {
                b.iter_custom(|n| rounds(n, 1, || bench.announced_by_children()));
            },
        );
        let after = bench.node.counters();
        assert_eq!(after.peers_closed, 0, "{after}");
        println!(
            "{}: {} signatures checked, {} known, for {} announcements",
            label(signs),
            after.signatures_checked - before.signatures_checked,
            after.signatures_known - before.signatures_known,
            after.announcements - before.announcements,
        );
    }
    group.finish();
}

/// A flood: one peer sends bootstraps of ever new keys with valid signatures, while the routes of others are refreshed.
fn flood(c: &mut Criterion) {
    let mut group = c.benchmark_group("control/flood");
    group.sample_size(10).throughput(Throughput::Elements(1));
    let share = 1_000;
    for signs in [true, false] {
        let config = Config {
            max_routes_per_peer: share,
            ..Config::default()
        };
        let mut bench = Bench::new(signs, 64, config);
        let mut random = Random::new(4);
        let honest: Vec<_> = (0..share).map(|_| Name::new(&mut random, signs)).collect();
        let made_up: Vec<_> = (0..2 * share)
            .map(|_| Name::new(&mut random, signs))
            .collect();
        let of = |bench: &Bench, names: &[Name], port: PortId| -> Vec<_> {
            let frames = names.iter().map(|name| (port, bench.bootstrap(name)));
            frames.collect()
        };
        let (flooder, friend) = (bench.child_port(0), bench.child_port(1));
        let first = of(&bench, &made_up, flooder);
        bench.handle(&first);
        let beyond = &made_up[share..];
        group.bench_function(BenchmarkId::new("beyond its share", label(signs)), |b| {
            b.iter_custom(|n| {
                rounds(n, share as u64, || {
                    let frames = of(&bench, beyond, flooder);
                    bench.handle(&frames)
                })
            });
        });
        group.bench_function(
            BenchmarkId::new("of another meanwhile", label(signs)),
            |b| {
                b.iter_custom(|n| {
                    rounds(n, share as u64, || {
                        bench.step(1);
                        let refused = of(&bench, beyond, flooder);
                        bench.handle(&refused);
                        let frames = of(&bench, &honest, friend);
                        let took = bench.handle(&frames);
                        assert_eq!(bench.node.status().routes, 2 * share);
                        took
                    })
                });
            },
        );
        let counters = bench.node.counters();
        assert!(counters.routes_refused >= share as u64, "{counters}");
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = single_frames, ten_thousand_peers, flood, second_of_bootstraps
}
criterion_main!(benches);
