use proptest::prelude::*;

use super::*;

const ROOM: usize = usize::MAX;
const A: PortId = PortId(1);
const B: PortId = PortId(2);

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
        (0..200).for_each(|n| {
            assert_eq!(
                queue.push(A, flow.into(), frame(flow, n, 60_000), ROOM, 0),
                0
            )
        });
    }
    // All of them have been served, and are no longer new.
    (0..20).for_each(|_| drop(queue.pop(0)));
    for n in 0..10 {
        queue.push(A, 9, frame(9, n, 100), ROOM, 0);
        assert_eq!(queue.pop(0).unwrap()[0], 9, "frame {n}");
        // A sparse flow: each of the others is served before its next frame.
        (0..8).for_each(|_| drop(queue.pop(0)));
    }
}

#[test]
fn equal_flows_get_equal_bytes() {
    let mut queue = queue(64 << 20);
    for n in 0..2000 {
        queue.push(A, 1, frame(1, n, 1000), ROOM, 0);
        if n < 200 {
            queue.push(A, 2, frame(2, n, 10_000), ROOM, 0);
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
    queue.push(A, 2, frame(2, 0, 500), ROOM, 0);
    let dropped: u64 = (0..20)
        .map(|n| queue.push(A, 1, frame(1, n, 1000), ROOM, 0))
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
        .map(|n| narrow.push(A, 1, frame(1, n, 1000), 3000, 0))
        .sum();
    assert_eq!((dropped, narrow.bytes()), (7, 3000));
    let limits = QueueLimits {
        bytes: 1 << 20,
        frames: 4,
        delay: None,
    };
    let mut few = FlowQueue::new(limits);
    let dropped: u64 = (0..10)
        .map(|n| few.push(A, 1, frame(1, n, 100), ROOM, 0))
        .sum();
    assert_eq!((dropped, few.frames()), (6, 4));
}

/// Frames of 10,000 bytes arrive twice as fast as they leave. Returns the milliseconds that the frames that left had
/// waited, towards the end, and the number of frames dropped for waiting too long.
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
        assert_eq!(queue.push(A, 1, frame, ROOM, now), 0);
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
    let (waited, late) = overload(Some(20));
    let most = waited.iter().max().unwrap();
    assert!(late > 10_000 && *most <= 80, "{most} ms, {late} dropped");
}

/// A frame that is alone is sent, even on a slow link on which it takes longer than the target.
#[test]
fn a_lone_frame_goes_out_however_long_it_has_waited() {
    let mut queue = FlowQueue::new(QueueLimits {
        bytes: 1 << 20,
        frames: usize::MAX,
        delay: Some(20),
    });
    queue.push(A, 1, frame(1, 1, 1000), ROOM, 0);
    assert_eq!(number(&queue.pop(60_000).unwrap()), 1);
    for n in 2..10 {
        queue.push(A, 1, frame(1, n, 1000), ROOM, 60_000);
    }
    assert_eq!(number(&queue.pop(120_000).unwrap()), 9);
    assert_eq!((queue.take_late(), queue.is_empty()), (7, true));
}

#[test]
fn a_target_delay_leaves_a_queue_alone_that_keeps_it() {
    let mut queue = FlowQueue::new(QueueLimits {
        bytes: 64 << 20,
        frames: usize::MAX,
        delay: Some(5),
    });
    for now in 0..1000u64 {
        (0..20).for_each(|n| assert_eq!(queue.push(A, 1, frame(1, n, 5000), ROOM, now), 0));
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
                dropped += queue.push(A, u64::from(flow), bytes, ROOM, now);
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

/// The content of the queue in its simplest form: frames in order of arrival, each with its ingress
/// port, flow, number and length.
type Naive = Vec<(PortId, u8, u32, usize)>;

/// Returns the frame to drop when there are too many, or `None` if several are possible.
fn longest(naive: &Naive) -> Option<usize> {
    fn most<K: Copy + PartialEq>(lengths: &[(K, usize)]) -> Option<K> {
        let sum = |key: K| {
            lengths
                .iter()
                .filter(|l| l.0 == key)
                .map(|l| l.1)
                .sum::<usize>()
        };
        let most = lengths.iter().map(|l| sum(l.0)).max()?;
        let mut all = lengths.iter().map(|l| l.0).filter(|&key| sum(key) == most);
        let first = all.next()?;
        all.all(|key| key == first).then_some(first)
    }
    let ports: Vec<_> = naive.iter().map(|f| (f.0, f.3)).collect();
    let port = most(&ports)?;
    let flows: Vec<_> = naive
        .iter()
        .filter(|f| f.0 == port)
        .map(|f| (f.1, f.3))
        .collect();
    let flow = most(&flows)?;
    naive.iter().position(|f| (f.0, f.1) == (port, flow))
}

proptest! {
    #[test]
    fn the_head_of_the_longest_flow_of_the_longest_port_goes(
        ops in prop::collection::vec(
            prop::option::weighted(0.8, (1u32..6, 0u8..4, 5usize..3000)), 1..300),
        limit in 3000usize..30_000,
    ) {
        let mut queue = queue(limit);
        let mut naive = Naive::new();
        for (op, number_of) in ops.into_iter().zip(0u32..) {
            if let Some((port, flow, len)) = op {
                let port = PortId(port);
                let dropped = queue.push(port, flow.into(), frame(flow, number_of, len), ROOM, 0);
                naive.push((port, flow, number_of, len));
                for _ in 0..dropped {
                    let Some(gone) = longest(&naive) else { return Ok(()) };
                    naive.remove(gone);
                }
                let bytes: usize = naive.iter().map(|f| f.3).sum();
                prop_assert_eq!((queue.bytes(), queue.frames()), (bytes, naive.len()));
            } else if let Some(frame) = queue.pop(0) {
                let at = naive.iter().position(|f| f.2 == number(&frame));
                prop_assert!(at.is_some(), "{} was dropped", number(&frame));
                let gone = naive.remove(at.unwrap());
                // The first of its flow.
                prop_assert!(!naive.iter().any(|f| (f.0, f.1) == (gone.0, gone.1) && f.2 < gone.2));
            }
        }
        let left: Vec<_> = rest(&mut queue).iter().map(|f| number(f)).collect();
        prop_assert_eq!(left.len(), naive.len());
        prop_assert!(naive.iter().all(|f| left.contains(&f.2)));
    }

    /// A flow from a port of its own keeps its share, whatever keys the other port invents.
    #[test]
    fn a_port_with_many_sources_takes_no_more_than_its_share(
        honest_len in 100usize..20_000,
        other_len in 100usize..20_000,
        sources in 1u64..10_000,
        delay in prop::option::of(20u64..200),
    ) {
        let mut queue = FlowQueue::new(QueueLimits { bytes: 1 << 20, frames: usize::MAX, delay });
        let (mut sent, mut number) = ([0usize; 2], 0);
        for now in 0..4000u64 {
            // The frames of each port alone exceed the bound.
            for (port, len) in [(A, honest_len), (B, other_len)] {
                for _ in 0..=24_000 / len {
                    number += 1;
                    let flow = if port == A { 7 } else { u64::from(number) % sources };
                    queue.push(port, flow, frame(port.0 as u8, number, len), ROOM, now);
                }
            }
            let mut taken = 0;
            while taken < 20_000 {
                let frame = queue.pop(now).unwrap();
                taken += frame.len();
                sent[usize::from(frame[0]) - 1] += frame.len();
            }
        }
        let share = sent[0] as f64 / sent.iter().sum::<usize>() as f64;
        prop_assert!((0.45..0.55).contains(&share), "{} of {:?}", share, sent);
    }
}

#[test]
fn memory_is_held_for_ports_with_frames_only() {
    let mut queue = queue(1 << 20);
    for round in 0..5 {
        for port in 0..3000 {
            queue.push(PortId(port + round * 100), 1, frame(1, port, 100), ROOM, 0);
        }
        while queue.frames() > 10 {
            queue.pop(0);
        }
        // Members without frames stay for one more round.
        assert!(queue.ingresses.len() <= 3500, "{}", queue.ingresses.len());
    }
    rest(&mut queue);
    queue.shrink();
    assert!(queue.ingresses.is_empty() && queue.places.is_empty());
    assert_eq!(queue.pop(0), None);
}
