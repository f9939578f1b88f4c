//! Frames through one worker, with two TCP connections in and two out over loopback.
//!
//! Times are wall-clock times, with generator and sink on the same machine. Only rows of one run can be
//! compared.
#![allow(missing_docs, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pinecone_benches::traffic_frame;
use pinecone_dataplane::{DataPlane, DataPlaneOptions, Delivery, LinkType, PortId, PortOptions};
use pinecone_fib::FibWriter;
use pinecone_wire::{PublicKey, TrafficLayout};

/// Bytes that may be in flight. The router can queue more, so nothing is dropped.
const WINDOW: u64 = 3 << 20;
/// Bytes in one write of the generator.
const CHUNK: usize = 256 << 10;

struct Nobody;

impl Delivery for Nobody {
    fn deliver(&self, _: PortId, _: &[u8], _: &TrafficLayout) -> bool {
        false
    }
}

/// A worker with two ports in and two out.
struct Through {
    _plane: DataPlane,
    inputs: [TcpStream; 2],
    outputs: [TcpStream; 2],
    keys: [PublicKey; 2],
}

impl Through {
    fn new() -> Self {
        let (mut fib, readers) = FibWriter::new(PublicKey([0x55; 32]));
        let options = DataPlaneOptions {
            max_ports: 64,
            ..DataPlaneOptions::default()
        };
        let (plane, _reports) =
            DataPlane::start(options, readers, Arc::new(Nobody)).expect("data plane");
        let mut ends = (1..=4).map(|port| {
            let (ours, theirs) = connection();
            plane.add_port(
                PortId(port),
                ours.into(),
                PortOptions {
                    link: LinkType::Remote,
                    keepalives: false,
                },
            );
            theirs
        });
        let mut two = || [(); 2].map(|()| ends.next().expect("four ends"));
        let (inputs, outputs) = (two(), two());
        drop(ends);
        let keys = [PublicKey([0x71; 32]), PublicKey([0x72; 32])];
        keys.iter()
            .zip(3..)
            .for_each(|(key, port)| fib.set_route(*key, PortId(port), 7));
        fib.publish();
        while plane.worker_stats().iter().map(|w| w.ports).sum::<u64>() < 4 {
            std::thread::yield_now();
        }
        Self {
            _plane: plane,
            inputs,
            outputs,
            keys,
        }
    }

    /// Sends `frames` frames in total, half of them through each pair of connections, and waits for the
    /// last one.
    fn run(&mut self, size: usize, frames: u64) -> Duration {
        let start = Instant::now();
        let each = frames.div_ceil(2);
        std::thread::scope(|scope| {
            let pairs = self.inputs.iter_mut().zip(&mut self.outputs).zip(self.keys);
            for ((input, output), key) in pairs {
                let frame = traffic_frame(key, size).expect("fits");
                let total = each * frame.len() as u64;
                let read = Arc::new(AtomicU64::new(0));
                let window = Arc::clone(&read);
                scope.spawn(move || generate(input, &frame, each, &window));
                scope.spawn(move || {
                    let mut buffer = vec![0; CHUNK];
                    while read.load(Ordering::Relaxed) < total {
                        let n = output.read(&mut buffer).expect("read");
                        assert!(n > 0, "router closed the port");
                        read.fetch_add(n as u64, Ordering::Release);
                    }
                });
            }
        });
        start.elapsed()
    }
}

fn generate(input: &mut TcpStream, frame: &[u8], frames: u64, read: &AtomicU64) {
    let chunk = frame.repeat((CHUNK / frame.len()).max(1));
    let mut left = frames * frame.len() as u64;
    let mut written = 0;
    while left > 0 {
        while written - read.load(Ordering::Acquire) > WINDOW {
            std::thread::yield_now();
        }
        let n = left.min(chunk.len() as u64);
        input.write_all(&chunk[..n as usize]).expect("write");
        written += n;
        left -= n;
    }
}

fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let there = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (here, _) = listener.accept().expect("accept");
    here.set_nodelay(true).expect("nodelay");
    (here, there)
}

fn forwarding(c: &mut Criterion) {
    let mut group = c.benchmark_group("worker/forward");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(4));
    let mut through = Through::new();
    for size in [64, 512, 1200, 8192, 60_000] {
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{size}"), |b| {
            b.iter_custom(|frames| through.run(size, frames))
        });
    }
    group.finish();
}

criterion_group!(benches, forwarding);
criterion_main!(benches);
