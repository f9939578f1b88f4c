//! The egress queue of a slow port, and the hand-over of frames from one worker to another.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pinecone_benches::Random;
use pinecone_dataplane::internals::{EgressQueue, HandoffEnd};

/// Default size of a port's queue in bytes.
const QUEUE: usize = 4 << 20;
/// Frames that one iteration of a worker hands over to another worker.
const BATCH: usize = 32;

/// The cost of a slow peer: one frame in and one out of a queue that stays half full.
fn queue(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue/in and out");
    group.throughput(Throughput::Elements(1));
    for len in [128, 1300] {
        for flows in [1, 64, 100_000] {
            for delay in [None, Some(100)] {
                let name = match delay {
                    None => format!("{flows} flows"),
                    Some(_) => format!("{flows} flows, target delay"),
                };
                group.bench_function(BenchmarkId::new(name, len), |b| {
                    let mut random = Random::new(5);
                    let mut queue = EgressQueue::new(QUEUE, delay);
                    let mut flow = || random.number() % flows;
                    for _ in 0..QUEUE / 2 / len {
                        queue.push(1, flow(), vec![0; len].into(), 0);
                    }
                    // The same memory is used again: allocation is measured elsewhere.
                    let mut frame = queue.pop(0).unwrap();
                    b.iter(|| {
                        queue.push(1, flow(), std::mem::take(&mut frame), 0);
                        frame = queue.pop(0).unwrap();
                    });
                });
            }
        }
    }
    group.finish();
}

/// The cost of a full queue: one frame in, for which another one is dropped.
fn overflow(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue/in at the cost of another");
    group.throughput(Throughput::Elements(1));
    for flows in [1, 64, 100_000] {
        group.bench_function(BenchmarkId::new("1300 bytes, flows", flows), |b| {
            let mut random = Random::new(6);
            let mut queue = EgressQueue::new(QUEUE, None);
            let mut push = || queue.push(1, random.number() % flows, vec![0; 1300].into(), 0);
            while push() == 0 {}
            b.iter(&mut push);
        });
    }
    group.finish();
}

/// A batch handed over and taken by one thread: the cost without cache misses between cores.
fn hand_over(c: &mut Criterion) {
    let mut group = c.benchmark_group("handoff/one thread");
    group.throughput(Throughput::Elements(BATCH as u64));
    for len in [128, 1300, 8300] {
        let frame = vec![0; len];
        group.bench_function(BenchmarkId::new("one way", len), |b| {
            let [mut from, mut to] = HandoffEnd::pair().unwrap();
            b.iter(|| pass(&mut from, &mut to, &frame));
        });
        group.bench_function(BenchmarkId::new("both ways", len), |b| {
            let [mut one, mut other] = HandoffEnd::pair().unwrap();
            let mut back = false;
            b.iter(|| {
                back = !back;
                match back {
                    true => pass(&mut other, &mut one, &frame),
                    false => pass(&mut one, &mut other, &frame),
                }
            });
        });
    }
    group.finish();
}

fn pass(from: &mut HandoffEnd, to: &mut HandoffEnd, frame: &[u8]) {
    for _ in 0..BATCH {
        black_box(from.push(frame));
    }
    from.flush();
    to.take(|frame| {
        black_box(frame.first());
    });
}

/// Batches handed over to another thread, which never sleeps: wall-clock time until it has taken the
/// last frame.
fn between_threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("handoff/two threads");
    group.throughput(Throughput::Elements(BATCH as u64));
    for len in [128, 1300, 8300] {
        let frame = vec![0; len];
        group.bench_function(BenchmarkId::new("one way", len), |b| {
            b.iter_custom(|batches| across(&frame, batches));
        });
    }
    group.finish();
}

fn across(frame: &[u8], batches: u64) -> Duration {
    let [mut from, mut to] = HandoffEnd::pair().unwrap();
    let (stop, taken) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut frames = 0;
                to.take(|frame| frames += u64::from(black_box(!frame.is_empty())));
                match frames {
                    0 => spin_loop(),
                    _ => drop(taken.fetch_add(frames, Ordering::Relaxed)),
                }
            }
        });
        let start = Instant::now();
        for _ in 0..batches {
            for _ in 0..BATCH {
                while !from.push(frame) {
                    std::thread::yield_now();
                }
            }
            from.flush();
        }
        while !from.flush() || taken.load(Ordering::Relaxed) < batches * BATCH as u64 {
            spin_loop();
        }
        let elapsed = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        elapsed
    })
}

criterion_group!(benches, queue, overflow, hand_over, between_threads);
criterion_main!(benches);
