//! The control thread of a whole node: signed bootstraps arrive by sockets, wait in a queue that is
//! fair between peers, and are checked by zero, one or two verifier threads. The bench measures the
//! rate, and the effect of one peer's flood on another peer.
//!
//! Times are wall-clock times. The node, its peers and the flood share the same cores.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pinecone::{Node, SecretKey, Status};
use pinecone_benches::{Random, is_smoke_run};
use pinecone_wire::frame::{KEEPALIVE, push_bootstrap};
use pinecone_wire::{HANDSHAKE_LEN, PublicKey, SignedBody, Watermark, announcement, handshake};
use tokio::runtime::Runtime;

/// Deadline of every wait.
const LIMIT: Duration = Duration::from_secs(60);
/// Bootstraps that one peer sends at a time. Fewer than what may wait for the control plane.
const BURST: usize = 500;
/// Frames per second of a flood, several times what one thread can check.
const FLOOD: u64 = 100_000;

/// A peer without a node: it has a key, sends what it is told to, and discards what it receives.
struct BarePeer {
    stream: TcpStream,
    secret: SecretKey,
    gone: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl BarePeer {
    /// Connects, does the handshake, and announces itself as a root.
    fn connect(address: SocketAddr, secret: SecretKey) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&handshake::encode(&secret)).unwrap();
        let mut theirs = [0; HANDSHAKE_LEN];
        stream.read_exact(&mut theirs).unwrap();
        handshake::decode(&theirs).unwrap();
        let own = secret.public_key();
        let payload = announcement::root_payload(&own, 1);
        let signature = announcement::sign(&payload, &secret);
        let mut frame = Vec::new();
        announcement::push_frame(&mut frame, &payload, 1, &own, &signature).unwrap();
        stream.write_all(&frame).unwrap();
        let gone = Arc::new(AtomicBool::new(false));
        let reader = std::thread::spawn({
            let (mut stream, gone) = (stream.try_clone().unwrap(), Arc::clone(&gone));
            move || {
                let mut bytes = vec![0; 1 << 16];
                loop {
                    let end = stream.read(&mut bytes).map_or(true, |n| n == 0);
                    if end {
                        assert!(gone.load(Ordering::SeqCst), "the node ended a peering");
                        return;
                    }
                }
            }
        });
        Self {
            stream,
            secret,
            gone,
            reader: Some(reader),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }
}

impl Drop for BarePeer {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        // After a failure, the connection may be closed already.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}

/// A node whose parent is the root, with other peers that send bootstraps.
struct Bench {
    // Dropped before the node, which would close their connections.
    root: BarePeer,
    peers: Vec<BarePeer>,
    node: Node,
    runtime: Runtime,
    names: Vec<SecretKey>,
    sequence: u64,
}

impl Bench {
    fn new(verify_threads: usize, peers: usize) -> Self {
        let mut random = Random::new(5);
        let mut secret = || SecretKey::from_seed(&random.key().0);
        let mut own = secret();
        while own.public_key().0[0] > 0xf0 {
            own = secret();
        }
        let mut top = secret();
        while top.public_key().0[0] < 0xf8 {
            top = secret();
        }
        let node = Node::builder()
            .secret_key(own)
            .listen("127.0.0.1:0")
            .workers(1)
            .verify_threads(verify_threads)
            .wakeup_broadcasts(false)
            .start_blocking()
            .unwrap();
        let address = node.local_addrs()[0];
        let root = BarePeer::connect(address, top);
        let mut below_root = || {
            let mut lower = secret();
            while lower.public_key() >= root.secret.public_key() {
                lower = secret();
            }
            lower
        };
        let mut bench = Self {
            node,
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap(),
            peers: (0..peers)
                .map(|_| BarePeer::connect(address, below_root()))
                .collect(),
            names: (0..peers * BURST).map(|_| below_root()).collect(),
            root,
            sequence: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_millis() as u64,
        };
        let root = bench.root.secret.public_key();
        bench.wait(|status| status.root == root && announced(status) == peers + 1);
        bench
    }

    fn wait(&mut self, done: impl Fn(&Status) -> bool) {
        let end = Instant::now() + LIMIT;
        loop {
            let status = self.runtime.block_on(self.node.status()).unwrap();
            if done(&status) {
                return;
            }
            assert!(Instant::now() < end, "waited in vain: {status:?}");
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Returns the next bootstraps of each of the first `peers`.
    fn bootstraps(&mut self, peers: usize) -> Vec<Vec<u8>> {
        self.sequence += 1;
        let root = self.root.secret.public_key();
        let names = self.names.chunks(BURST).take(peers);
        names
            .map(|names| {
                let frames = names
                    .iter()
                    .map(|secret| bootstrap(secret, self.sequence, root));
                frames.flatten().collect()
            })
            .collect()
    }

    /// Returns the time from the first byte that the first `peers` send until all their bootstraps are
    /// routes.
    fn converge(&mut self, peers: usize) -> Duration {
        let bytes = self.bootstraps(peers);
        let before = self.runtime.block_on(self.node.status()).unwrap();
        let wanted = taken(&before) + (peers * BURST) as u64;
        for peer in [&mut self.root].into_iter().chain(&mut self.peers) {
            peer.send(&KEEPALIVE);
        }
        let start = Instant::now();
        for (peer, bytes) in self.peers.iter_mut().zip(&bytes) {
            peer.send(bytes);
        }
        self.wait(|status| taken(status) >= wanted);
        start.elapsed()
    }
}

impl Bench {
    /// Checks that badly signed bootstraps have arrived if there is a flood, and otherwise none.
    fn assert_flooded(&self, flooded: bool) {
        let status = self.runtime.block_on(self.node.status()).unwrap();
        let checked = counter(&status, "bootstraps_bad_signature");
        assert_eq!(checked > 0, flooded, "{checked} badly signed bootstraps");
    }
}

/// A steady stream of badly signed bootstraps, until it is dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn start(peer: &BarePeer, sequence: u64, root: PublicKey) -> Self {
        const CHUNK: u64 = 100;
        let mut frame = bootstrap(&SecretKey::from_seed(&[3; 32]), sequence, root);
        *frame.last_mut().unwrap() ^= 1;
        let bytes = frame.repeat(CHUNK as usize);
        let mut stream = peer.stream.try_clone().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let start = Instant::now();
                let mut sent = 0;
                while !stop.load(Ordering::SeqCst) {
                    let due = (start.elapsed().as_secs_f64() * FLOOD as f64) as u64;
                    if sent + CHUNK > due {
                        std::thread::sleep(Duration::from_micros(500));
                        continue;
                    }
                    stream.write_all(&bytes).unwrap();
                    sent += CHUNK;
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn bootstrap(secret: &SecretKey, sequence: u64, root: PublicKey) -> Vec<u8> {
    let body = SignedBody::sign(secret, sequence, root, 1).encode();
    let mut frame = Vec::new();
    let own = secret.public_key();
    push_bootstrap(&mut frame, (0, 0), &own, &Watermark::START, &body).unwrap();
    frame
}

fn announced(status: &Status) -> usize {
    let peers = status.peers.iter();
    peers.filter(|peer| peer.root.is_some()).count()
}

fn counter(status: &Status, name: &str) -> u64 {
    let found = status.counters.iter().find(|c| c.name == name);
    found.map_or(0, |counter| counter.value)
}

/// Returns the number of bootstraps that created or refreshed a route.
fn taken(status: &Status) -> u64 {
    let ways = ["ended", "backwards", "watermark", "forwarded"];
    let counters = ways.map(|way| counter(status, &format!("bootstraps_{way}")));
    counters.into_iter().sum()
}

fn verify_threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("intake/bootstraps of 8 peers");
    group.sample_size(10);
    let peers = 8;
    group.throughput(Throughput::Elements((peers * BURST) as u64));
    for threads in [0, 1, 2] {
        let mut bench = None;
        let id = BenchmarkId::new("verify threads", threads);
        group.bench_function(id, |b| {
            let bench = bench.get_or_insert_with(|| Bench::new(threads, peers));
            b.iter_custom(|n| (0..n).map(|_| bench.converge(peers)).sum());
        });
    }
    group.finish();
}

fn flood(c: &mut Criterion) {
    let mut group = c.benchmark_group("intake/bootstraps of one peer");
    group.sample_size(10);
    group.throughput(Throughput::Elements(BURST as u64));
    for threads in [0, 1, 2] {
        for flooded in [false, true] {
            let mut bench = None;
            let name = if flooded {
                "beside a flood, verify threads"
            } else {
                "alone, verify threads"
            };
            group.bench_function(BenchmarkId::new(name, threads), |b| {
                let bench = bench.get_or_insert_with(|| Bench::new(threads, 2));
                b.iter_custom(|n| {
                    let root = bench.root.secret.public_key();
                    let sequence = bench.sequence;
                    let flood = flooded.then(|| Flood::start(&bench.peers[1], sequence, root));
                    if flooded {
                        // More frames have then arrived than may wait.
                        let pause = if is_smoke_run() { 10 } else { 200 };
                        std::thread::sleep(Duration::from_millis(pause));
                    }
                    let took = (0..n).map(|_| bench.converge(1)).sum();
                    drop(flood);
                    bench.assert_flooded(flooded);
                    took
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(3));
    targets = verify_threads, flood
}
criterion_main!(benches);
