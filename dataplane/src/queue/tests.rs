use proptest::prelude::*;

use super::*;

const ROOM: usize = usize::MAX;

fn queue(bytes: usize) -> FlowQueue {
    FlowQueue::new(QueueLimits {
        bytes,
        frames: usize::MAX,
        delay: None,
    })
}

fn frame(flow: u8, number: u32, len: usize) -> Box<[u8]> {
    let mut bytes = vec![0; len.max(5)];
    bytes[0] = flow;
    bytes[1..5].copy_from_slice(&number.to_be_bytes());
    bytes.into()
}

fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[1..5].try_into().unwrap())
}

fn rest(queue: &mut FlowQueue) -> Vec<Box<[u8]>> {
    std::iter::from_fn(|| queue.pop(0)).collect()
}

#[test]
fn a_sparse_flow_goes_before_heavy_ones() {
    let mut queue = queue(1 << 30);
    for flow in 1..=5 {
        (0..200)
            .for_each(|n| assert_eq!(queue.push(flow.into(), frame(flow, n, 60_000), ROOM, 0), 0));
    }
    // All of them have had a turn, and are no longer new.
    (0..20).for_each(|_| drop(queue.pop(0)));
    for n in 0..10 {
        queue.push(9, frame(9, n, 100), ROOM, 0);
        assert_eq!(queue.pop(0).unwrap()[0], 9, "frame {n}");
        // Sparse: the others have a turn each before it comes again.
        (0..8).for_each(|_| drop(queue.pop(0)));
    }
}

#[test]
fn equal_flows_get_equal_bytes() {
    let mut queue = queue(64 << 20);
    for n in 0..2000 {
        queue.push(1, frame(1, n, 1000), ROOM, 0);
        if n < 200 {
            queue.push(2, frame(2, n, 10_000), ROOM, 0);
        }
    }
    let mut bytes = [0; 3];
    while bytes.iter().sum::<usize>() < 1 << 20 {
        let f = queue.pop(0).unwrap();
        bytes[usize::from(f[0])] += f.len();
    }
    let (a, b) = (bytes[1] as f64, bytes[2] as f64);
    assert!((0.8..1.25).contains(&(a / b)), "{bytes:?}");
}

#[test]
fn overflow_drops_the_oldest_of_the_longest() {
    let mut queue = queue(10_000);
    queue.push(2, frame(2, 0, 500), ROOM, 0);
    let dropped: u64 = (0..20)
        .map(|n| queue.push(1, frame(1, n, 1000), ROOM, 0))
        .sum();
    assert_eq!(dropped, 11);
    let left = rest(&mut queue);
    assert_eq!(left.iter().filter(|f| f[0] == 2).count(), 1);
    let numbers: Vec<_> = left
        .iter()
        .filter(|f| f[0] == 1)
        .map(|f| number(f))
        .collect();
    assert_eq!(numbers, (11..20).collect::<Vec<_>>());
}

#[test]
fn room_and_frames_are_bounds_too() {
    let mut narrow = queue(1 << 20);
    let dropped: u64 = (0..10)
        .map(|n| narrow.push(1, frame(1, n, 1000), 3000, 0))
        .sum();
    assert_eq!((dropped, narrow.bytes()), (7, 3000));
    let limits = QueueLimits {
        bytes: 1 << 20,
        frames: 4,
        delay: None,
    };
    let mut few = FlowQueue::new(limits);
    let dropped: u64 = (0..10)
        .map(|n| few.push(1, frame(1, n, 100), ROOM, 0))
        .sum();
    assert_eq!((dropped, few.frames()), (6, 4));
}

/// A flow of 10,000-byte frames comes twice as fast as it goes: how many milliseconds the frames
/// that went had waited, towards the end, and how many were dropped late.
fn overload(delay: Option<u64>) -> (Vec<u64>, u64) {
    let mut queue = FlowQueue::new(QueueLimits {
        bytes: 1 << 30,
        frames: usize::MAX,
        delay,
    });
    let mut waited = Vec::new();
    for now in 0..30_000u64 {
        let mut frame = frame(1, now as u32, 10_000);
        frame[5..13].copy_from_slice(&now.to_be_bytes());
        assert_eq!(queue.push(1, frame, ROOM, now), 0);
        if now % 2 == 0
            && let Some(frame) = queue.pop(now)
            && now >= 29_000
        {
            waited.push(now - u64::from_be_bytes(frame[5..13].try_into().unwrap()));
        }
    }
    (waited, queue.take_late())
}

#[test]
fn a_target_delay_shortens_the_wait() {
    let (waited, late) = overload(None);
    assert!(late == 0 && *waited.last().unwrap() > 10_000, "{waited:?}");
    // CoDel takes its time with a flow that does not slow down: half a minute for this one.
    let (waited, late) = overload(Some(20));
    let mean = waited.iter().sum::<u64>() / waited.len() as u64;
    assert!(late > 10_000 && mean < 2000, "{mean} ms, {late} dropped");
}

#[test]
fn a_target_delay_leaves_a_queue_alone_that_keeps_it() {
    let mut queue = FlowQueue::new(QueueLimits {
        bytes: 64 << 20,
        frames: usize::MAX,
        delay: Some(5),
    });
    for now in 0..1000u64 {
        (0..20).for_each(|n| assert_eq!(queue.push(1, frame(1, n, 5000), ROOM, now), 0));
        assert_eq!(std::iter::from_fn(|| queue.pop(now + 4)).count(), 20);
    }
    assert_eq!(queue.take_late(), 0);
}

proptest! {
    #[test]
    fn nothing_is_lost_or_reordered_within_a_flow(
        ops in prop::collection::vec(prop::option::weighted(0.6, (0u8..5, 5usize..3000)), 1..400),
        limit in 1000usize..50_000,
        delay in prop::option::of(1u64..50),
    ) {
        let mut queue = FlowQueue::new(QueueLimits { bytes: limit, frames: 100, delay });
        let (mut pushed, mut popped, mut dropped) = (0u64, 0u64, 0u64);
        let mut next = [0u32; 5];
        let mut last = [None::<u32>; 5];
        for (now, op) in (0..).zip(ops) {
            if let Some((flow, len)) = op {
                let bytes = frame(flow, next[usize::from(flow)], len);
                dropped += queue.push(u64::from(flow), bytes, ROOM, now);
                next[usize::from(flow)] += 1;
                pushed += 1;
            } else if let Some(f) = queue.pop(now) {
                popped += 1;
                let flow = usize::from(f[0]);
                prop_assert!(last[flow].is_none_or(|l| l < number(&f)));
                last[flow] = Some(number(&f));
            }
            prop_assert!(queue.bytes() <= limit && queue.frames() <= 100);
        }
        dropped += queue.take_late();
        prop_assert_eq!(pushed, popped + dropped + queue.frames() as u64);
        let left: usize = rest(&mut queue).iter().map(|f| f.len()).sum();
        prop_assert!(queue.is_empty() && queue.bytes() == 0 && left <= limit);
    }
}
