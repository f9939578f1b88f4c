//! Lookups in the forwarding tables, and the publication of changes.

#![allow(clippy::unwrap_used)]

use std::cell::LazyCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkId, Throughput, criterion_group, criterion_main};
use pinecone_benches::{Random, is_smoke_run, route_counts};
use pinecone_dataplane::PortId;
use pinecone_fib::{Fib, FibWriter, SnekQuery};
use pinecone_wire::coordinates::CoordinatesView;
use pinecone_wire::{Coordinates, PublicKey, Watermark};
use rustix::time::{ClockId, clock_gettime};

/// Number of peers of the node, all in one tree.
const PEERS: u32 = 64;
/// Lookups in a batch, as in a worker.
const BATCH: usize = 128;
/// Steady changes per second, which are published a thousand times a second.
const CHANGES: usize = 20_000;
const SEQUENCE: u64 = 1_795_357_650_878;

type Criterion = criterion::Criterion<ThreadTime>;

/// The CPU time of the measuring thread. Other load on the machine counts only by its use of caches.
struct ThreadTime;

impl Measurement for ThreadTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
    }

    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// The kind of keys.
#[derive(Clone, Copy)]
enum Keys {
    /// Random keys.
    Random,
    /// Keys that were generated until their first 64 bits were the same.
    Sharing64Bits,
}

impl Keys {
    const fn name(self) -> &'static str {
        match self {
            Self::Random => "random keys",
            Self::Sharing64Bits => "keys sharing 64 bits",
        }
    }

    fn next(self, random: &mut Random) -> PublicKey {
        match self {
            Self::Random => random.key(),
            Self::Sharing64Bits => random.key_sharing_64_bits(),
        }
    }
}

/// A node with peers and routes.
struct World {
    writer: FibWriter,
    fib: Fib,
    routes: Vec<PublicKey>,
    random: Random,
}

impl World {
    fn new(keys: Keys, routes: usize) -> Self {
        let mut random = Random::new(routes as u64);
        let (mut writer, fib) = FibWriter::new(random.key());
        for port in 1..=PEERS {
            let (key, place) = (random.key(), vec![u64::from(port)]);
            add_peer(&mut writer, port, key, place);
        }
        writer.set_near(PublicKey::MAX, Some(PortId(1)));
        writer.set_up(Some((PublicKey::MAX, PortId(1))));
        writer.set_coordinates(vec![1, 1].into());
        let routes: Vec<_> = (0..routes).map(|_| keys.next(&mut random)).collect();
        for key in &routes {
            writer.set_route(*key, port(&mut random), SEQUENCE);
        }
        writer.publish();
        Self {
            writer,
            fib,
            routes,
            random,
        }
    }

    /// Returns lookups for random keys. One in eight has no route.
    fn queries(&self, keys: Keys) -> Vec<SnekQuery> {
        let mut random = Random::new(3);
        let n = if is_smoke_run() { 1 << 10 } else { 1 << 17 };
        (0..n)
            .map(|i| SnekQuery {
                destination: match i % 8 {
                    0 => keys.next(&mut random),
                    _ => *pick(&mut random, &self.routes),
                },
                watermark: Watermark::START,
            })
            .collect()
    }

    /// Sets another source for `n` routes.
    fn move_routes(&mut self, n: usize) {
        for _ in 0..n {
            let key = *pick(&mut self.random, &self.routes);
            self.writer.set_route(key, port(&mut self.random), SEQUENCE);
        }
    }
}

fn add_peer(writer: &mut FibWriter, port: u32, key: PublicKey, place: Vec<u64>) {
    writer.set_near(key, Some(PortId(port)));
    writer.set_peer_coordinates(PortId(port), place.into(), port.into());
}

fn port(random: &mut Random) -> PortId {
    PortId((random.number() % u64::from(PEERS)) as u32 + 1)
}

fn pick<'a, T>(random: &mut Random, among: &'a [T]) -> &'a T {
    &among[(random.number() % among.len() as u64) as usize]
}

/// Lookups by key, each for another key: one at a time, and in batches.
fn snek(c: &mut Criterion) {
    let mut group = c.benchmark_group("fib/snek");
    for keys in [Keys::Random, Keys::Sharing64Bits] {
        for n in route_counts() {
            let world = LazyCell::new(|| {
                let world = World::new(keys, n);
                let queries = world.queries(keys);
                (world, queries)
            });
            group.throughput(Throughput::Elements(1));
            group.bench_function(
                BenchmarkId::new(format!("{}, single", keys.name()), n),
                |b| {
                    let (world, queries) = &*world;
                    let mut reader = world.fib.reader();
                    let snapshot = reader.load();
                    let mut next = queries.iter().cycle();
                    b.iter(|| {
                        let query = next.next().unwrap();
                        snapshot.snek(&query.destination, &query.watermark)
                    });
                },
            );
            group.throughput(Throughput::Elements(BATCH as u64));
            group.bench_function(
                BenchmarkId::new(format!("{}, batch", keys.name()), n),
                |b| {
                    let (world, queries) = &*world;
                    let mut reader = world.fib.reader();
                    let mut batches = queries.chunks_exact(BATCH).cycle();
                    let mut out = Vec::with_capacity(BATCH);
                    b.iter(|| {
                        out.clear();
                        reader.load().snek_batch(batches.next().unwrap(), &mut out);
                        black_box(&out);
                    });
                },
            );
        }
    }
    group.finish();
}

/// Tree lookups for random coordinates, one to six hops below a peer that is a child of the node.
fn tree(c: &mut Criterion) {
    let mut group = c.benchmark_group("fib/tree");
    for (n, steps) in [(10, 1), (1000, 1), (10_000, 1), (1000, 10)] {
        let ours = vec![1u64; steps];
        let below = |port| [&*ours, &[port]].concat();
        let mut random = Random::new(4);
        let (mut writer, fib) = FibWriter::new(random.key());
        for port in 1..=n {
            let place = below(u64::from(port));
            add_peer(&mut writer, port, random.key(), place);
        }
        writer.set_coordinates(ours.clone().into());
        writer.publish();
        let places: Vec<_> = (0..1 << 12)
            .map(|_| {
                let depth = 1 + random.number() % 6;
                let mut place = below(1 + random.number() % u64::from(n));
                place.extend((0..depth).map(|_| 1 + random.number() % 250));
                Coordinates::from(place).encode().unwrap()
            })
            .collect();
        let places: Vec<_> = places
            .iter()
            .map(|bytes| CoordinatesView::decode(bytes).unwrap().0)
            .collect();
        let mut reader = fib.reader();
        let snapshot = reader.load();
        let mut next = places.iter().cycle();
        let name = format!("next hop at depth {steps}, peers");
        group.bench_function(BenchmarkId::new(name, n), |b| {
            b.iter(|| snapshot.tree(PortId::LOCAL, *next.next().unwrap()));
        });
    }
    group.finish();
}

/// Changes of the largest table, and their publication.
fn publication(c: &mut Criterion) {
    let mut group = c.benchmark_group("fib/publish");
    let n = route_counts().into_iter().max().unwrap_or_default();
    let mut world = LazyCell::new(|| World::new(Keys::Random, n));
    for changes in [1usize, 100, 1000] {
        group.throughput(Throughput::Elements(changes as u64));
        group.bench_function(BenchmarkId::new("other source", changes), |b| {
            let world = &mut *world;
            b.iter(|| {
                world.move_routes(changes);
                world.writer.publish();
            });
        });
        group.bench_function(
            BenchmarkId::new("same source, new sequence", changes),
            |b| {
                let world = &mut *world;
                let keys: Vec<_> = (0..changes)
                    .map(|_| *pick(&mut world.random, &world.routes))
                    .collect();
                let source = PortId(1);
                let mut sequence = SEQUENCE;
                b.iter(|| {
                    sequence += 1;
                    for key in &keys {
                        world.writer.set_route(*key, source, sequence);
                    }
                    world.writer.publish();
                });
            },
        );
        group.bench_function(BenchmarkId::new("one out, one in", changes), |b| {
            let world = &mut *world;
            b.iter(|| {
                for _ in 0..changes {
                    let at = (world.random.number() % world.routes.len() as u64) as usize;
                    let key = world.random.key();
                    let old = std::mem::replace(&mut world.routes[at], key);
                    world.writer.remove_route(&old);
                    world.writer.set_route(key, PortId(1), SEQUENCE);
                }
                world.writer.publish();
            });
        });
    }
    group.finish();
}

/// Publication while another thread does lookups without pause, and lookups during publications.
fn publication_under_lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("fib/under load");
    let n = route_counts().into_iter().max().unwrap_or_default();
    let mut world = LazyCell::new(|| World::new(Keys::Random, n));
    for changes in [1usize, 100, 1000] {
        group.throughput(Throughput::Elements(changes as u64));
        group.bench_function(BenchmarkId::new("publish while looking up", changes), |b| {
            let world = &mut *world;
            let queries = world.queries(Keys::Random);
            let mut reader = world.fib.reader();
            beside(
                || {
                    let mut out = Vec::with_capacity(BATCH);
                    let mut batches = queries.chunks_exact(BATCH).cycle();
                    move || {
                        out.clear();
                        let batch = batches.next().unwrap_or_default();
                        reader.load().snek_batch(batch, &mut out);
                        black_box(&out);
                    }
                },
                || {
                    b.iter(|| {
                        world.move_routes(changes);
                        world.writer.publish();
                    });
                },
            );
        });
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(BenchmarkId::new("batch while publishing", changes), |b| {
            let world = &mut *world;
            let queries = world.queries(Keys::Random);
            let mut reader = world.fib.reader();
            beside(
                || {
                    move || {
                        world.move_routes(changes);
                        world.writer.publish();
                    }
                },
                || {
                    let mut out = Vec::with_capacity(BATCH);
                    let mut batches = queries.chunks_exact(BATCH).cycle();
                    b.iter(|| {
                        out.clear();
                        reader.load().snek_batch(batches.next().unwrap(), &mut out);
                        black_box(&out);
                    });
                },
            );
        });
    }
    group.finish();
}

/// The cost of lookups while the control plane publishes at the rate of a busy network: two rows, and a
/// line with their ratio.
fn lookup_slow_down(c: &mut Criterion) {
    let mut group = c.benchmark_group("fib/steady changes");
    let n = route_counts().into_iter().max().unwrap_or_default();
    let mut world = LazyCell::new(|| World::new(Keys::Random, n));
    let mut totals = [Duration::ZERO; 2];
    let mut batches = [0u64; 2];
    group.throughput(Throughput::Elements(BATCH as u64));
    for (i, changes) in [0, CHANGES].into_iter().enumerate() {
        let (total, count) = (&mut totals[i], &mut batches[i]);
        group.bench_function(BenchmarkId::new("batch, changes a second", changes), |b| {
            let world = &mut *world;
            let queries = world.queries(Keys::Random);
            let mut reader = world.fib.reader();
            beside(
                || {
                    move || {
                        std::thread::sleep(Duration::from_millis(1));
                        if changes > 0 {
                            world.move_routes(changes / 1000);
                            world.writer.publish();
                        }
                    }
                },
                || {
                    let mut out = Vec::with_capacity(BATCH);
                    let mut next = queries.chunks_exact(BATCH).cycle();
                    b.iter_custom(|n| {
                        let start = ThreadTime.start();
                        for _ in 0..n {
                            out.clear();
                            reader.load().snek_batch(next.next().unwrap(), &mut out);
                            black_box(&out);
                        }
                        let time = ThreadTime.end(start);
                        *total += time;
                        *count += n;
                        time
                    });
                },
            );
        });
    }
    group.finish();
    if batches.iter().all(|n| *n > 0) && !is_smoke_run() {
        let [alone, beside] = [0, 1].map(|i| totals[i].as_secs_f64() / batches[i] as f64);
        println!(
            "with {CHANGES} changes a second published, a lookup takes {:.3} of its time without\n",
            beside / alone
        );
    }
}

/// Runs `measured` while another thread repeats the function that `other` creates.
fn beside<F: FnMut()>(other: impl FnOnce() -> F + Send, measured: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut step = other();
            while !stop.load(Ordering::Relaxed) {
                step();
            }
        });
        measured();
        stop.store(true, Ordering::Relaxed);
    });
}

criterion_group! {
    name = benches;
    config = criterion::Criterion::default().with_measurement(ThreadTime);
    targets = snek, tree, publication, publication_under_lookup, lookup_slow_down
}
criterion_main!(benches);
