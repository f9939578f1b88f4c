//! Payloads from a node to its peer, over TCP on loopback: CPU time of the node and of its sender for each frame, without
//! that of the peer.
//!
//! In the rows `burst` the sender waits until the peer has a burst before it sends the next one, so that the socket
//! has room for each frame. In the rows `flood` it sends whenever the node takes a payload, and most frames wait in the
//! node's queue.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pinecone::{Node, SecretKey, SendError};
use pinecone_wire::frame::{HEADER_LEN, KEEPALIVE};
use pinecone_wire::{HANDSHAKE_LEN, PublicKey, announcement, handshake};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;

/// Deadline of every wait.
const LIMIT: Duration = Duration::from_secs(60);
/// Bytes and frames of a burst.
const BURST_BYTES: usize = 128 << 10;
const BURST_FRAMES: u64 = 64;
/// Number of buffers that are sent in turn. More than caches hold of the longest.
const BUFFERS: usize = 32;

/// A peer that has received this many traffic frames, and the CPU time that it has taken for them.
struct Arrived {
    frames: u64,
    cpu: Duration,
}

/// A node and its peer.
struct Pair {
    node: Node,
    peer: PublicKey,
    arrivals: Receiver<Arrived>,
    sent: u64,
    last: Arrived,
}

impl Pair {
    fn new() -> Self {
        let secret = |seed: u8| SecretKey::from_seed(&[seed; 32]);
        let (mut own, mut other) = (secret(1), secret(2));
        if own.public_key() > other.public_key() {
            std::mem::swap(&mut own, &mut other);
        }
        let node = Node::builder()
            .secret_key(own)
            .listen("127.0.0.1:0")
            .workers(1)
            .wakeup_broadcasts(false)
            .start_blocking()
            .unwrap();
        let (arrived, arrivals) = channel();
        let mut stream = TcpStream::connect(node.local_addrs()[0]).unwrap();
        stream.write_all(&handshake::encode(&other)).unwrap();
        let mut theirs = [0; HANDSHAKE_LEN];
        stream.read_exact(&mut theirs).unwrap();
        handshake::decode(&theirs).unwrap();
        let peer = other.public_key();
        let payload = announcement::root_payload(&peer, 1);
        let signature = announcement::sign(&payload, &other);
        let mut frame = Vec::new();
        announcement::push_frame(&mut frame, &payload, 1, &peer, &signature).unwrap();
        stream.write_all(&frame).unwrap();
        let mut writer = stream.try_clone().unwrap();
        std::thread::spawn(move || {
            while writer.write_all(&KEEPALIVE).is_ok() {
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        std::thread::spawn(move || {
            let mut frames = Frames::default();
            let mut bytes = vec![0; 1 << 20];
            loop {
                let n = stream.read(&mut bytes).unwrap_or(0);
                let count = frames.count(&bytes[..n]);
                let cpu = cpu_time(ClockId::ThreadCPUTime);
                if n == 0 || arrived.send(Arrived { frames: count, cpu }).is_err() {
                    return;
                }
            }
        });
        let runtime = Builder::new_current_thread().build().unwrap();
        let start = Instant::now();
        while runtime.block_on(node.status()).unwrap().root != peer {
            assert!(start.elapsed() < LIMIT, "no peer");
            std::thread::sleep(Duration::from_millis(10));
        }
        let last = Arrived {
            frames: 0,
            cpu: Duration::ZERO,
        };
        Self {
            node,
            peer,
            arrivals,
            sent: 0,
            last,
        }
    }

    /// Waits until the peer has all frames.
    fn wait(&mut self) {
        while self.last.frames < self.sent {
            self.last = self.arrivals.recv_timeout(LIMIT).unwrap();
        }
    }

    /// Sends frames, `burst` at a time. Returns the CPU time.
    fn run(
        &mut self,
        frames: u64,
        burst: u64,
        send: impl Fn(&Node, &PublicKey, usize),
    ) -> Duration {
        while let Ok(arrived) = self.arrivals.try_recv() {
            self.last = arrived;
        }
        let (start, peer) = (cpu_time(ClockId::ProcessCPUTime), self.last.cpu);
        for number in 1..=frames {
            send(&self.node, &self.peer, number as usize % BUFFERS);
            self.sent += 1;
            if number % burst == 0 {
                self.wait();
            }
        }
        self.wait();
        cpu_time(ClockId::ProcessCPUTime) - start - (self.last.cpu - peer)
    }
}

/// Counts the traffic frames in a stream.
#[derive(Default)]
struct Frames {
    header: Vec<u8>,
    /// Bytes of the current frame that have not arrived, after its header.
    missing: usize,
    /// True if the current frame is traffic.
    traffic: bool,
    count: u64,
}

impl Frames {
    /// Returns the number of frames so far.
    fn count(&mut self, mut bytes: &[u8]) -> u64 {
        while !bytes.is_empty() {
            if self.missing == 0 {
                let n = bytes.len().min(HEADER_LEN - self.header.len());
                self.header.extend_from_slice(&bytes[..n]);
                bytes = &bytes[n..];
                if self.header.len() == HEADER_LEN {
                    let len = u16::from_be_bytes([self.header[8], self.header[9]]);
                    self.missing = usize::from(len) - HEADER_LEN;
                    self.traffic = self.header[5] == 3;
                    self.header.clear();
                }
                continue;
            }
            let n = bytes.len().min(self.missing);
            self.missing -= n;
            bytes = &bytes[n..];
            self.count += u64::from(self.missing == 0 && self.traffic);
        }
        self.count
    }
}

fn cpu_time(clock: ClockId) -> Duration {
    clock_gettime(clock).try_into().unwrap()
}

fn retry<'a>(node: &Node, to: &PublicKey, send: impl Fn() -> Result<(), SendError> + 'a) {
    while let Err(error) = send() {
        assert_eq!(error, SendError::Full);
        node.send_ready_blocking(to).unwrap();
    }
}

fn sending(c: &mut Criterion) {
    let mut pair = Pair::new();
    for size in [64, 1200, 2048, 4096, 8192, 60_000] {
        let mut group = c.benchmark_group(format!("send/{size}"));
        group
            .sample_size(20)
            .measurement_time(Duration::from_secs(2))
            .warm_up_time(Duration::from_millis(500))
            .throughput(Throughput::Elements(1));
        let buffers: Vec<_> = (0..BUFFERS)
            .map(|n| Bytes::from(vec![n as u8; size]))
            .collect();
        let burst = ((BURST_BYTES / size) as u64).min(BURST_FRAMES);
        for (name, burst) in [("burst", burst), ("flood", u64::MAX)] {
            group.bench_function(format!("{name}/slice"), |b| {
                b.iter_custom(|frames| {
                    pair.run(frames, burst, |node, to, n| {
                        retry(node, to, || node.send_to(&buffers[n][..], to));
                    })
                })
            });
            group.bench_function(format!("{name}/bytes"), |b| {
                b.iter_custom(|frames| {
                    pair.run(frames, burst, |node, to, n| {
                        retry(node, to, || node.send_to(buffers[n].clone(), to));
                    })
                })
            });
        }
        group.finish();
    }
}

criterion_group!(benches, sending);
criterion_main!(benches);
