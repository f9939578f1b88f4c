//! The egress queue of a port that does not keep up, and the hand-over from one worker to another.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pinecone_benches::Random;
use pinecone_dataplane::internals::{EgressQueue, HandoffEnd};

/// What a port's queue holds by default.
const QUEUE: usize = 4 << 20;
/// Frames of one turn for one other worker.
const TURN: usize = 32;

/// One frame in, one out, at a queue that stays half full: what a slow peer costs.
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
                    // The same memory goes round: allocating is measured elsewhere.
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

/// One frame into a full queue, which drops another for it.
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

/// A turn's frames handed over and taken, by one thread: what it costs apart from caches.
fn hand_over(c: &mut Criterion) {
    let mut group = c.benchmark_group("handoff/one thread");
    group.throughput(Throughput::Elements(TURN as u64));
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
    for _ in 0..TURN {
        black_box(from.push(frame));
    }
    from.flush();
    to.take(|frame| {
        black_box(frame.first());
    });
}

/// The same from one thread to another that never sleeps; time as the clock on the wall has it,
/// until the other has seen the last frame.
fn between_threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("handoff/two threads");
    group.throughput(Throughput::Elements(TURN as u64));
    for len in [128, 1300, 8300] {
        let frame = vec![0; len];
        group.bench_function(BenchmarkId::new("one way", len), |b| {
            b.iter_custom(|turns| across(&frame, turns));
        });
    }
    group.finish();
}

fn across(frame: &[u8], turns: u64) -> Duration {
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
        for _ in 0..turns {
            for _ in 0..TURN {
                while !from.push(frame) {
                    std::thread::yield_now();
                }
            }
            from.flush();
        }
        while !from.flush() || taken.load(Ordering::Relaxed) < turns * TURN as u64 {
            spin_loop();
        }
        let elapsed = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        elapsed
    })
}

criterion_group!(benches, queue, overflow, hand_over, between_threads);
criterion_main!(benches);
