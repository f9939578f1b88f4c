//! The egress queue of a port that does not take what it is given: bounded in bytes, fair between
//! flows (deficit round robin over hashed flows), dropping from the head of the longest.

use std::collections::VecDeque;

/// Flows are told apart by hash; two that share one also share its part.
const FLOWS: usize = 128;
/// What a flow may send before the next one's turn: one frame of any size.
const QUANTUM: usize = 64 << 10;

/// A queue of whole traffic frames.
pub(crate) struct FlowQueue {
    /// None until the first frame waits: most ports never need it.
    flows: Option<Box<[Flow; FLOWS]>>,
    /// Flows with frames, in the order of their turns.
    active: VecDeque<u8>,
    frames: usize,
    bytes: usize,
    limit: usize,
}

#[derive(Default)]
struct Flow {
    frames: VecDeque<Box<[u8]>>,
    bytes: usize,
    deficit: usize,
}

impl FlowQueue {
    /// A queue for at most `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            flows: None,
            active: VecDeque::new(),
            frames: 0,
            bytes: 0,
            limit,
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.frames == 0
    }

    pub(crate) const fn frames(&self) -> usize {
        self.frames
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a frame to its flow and drops the oldest frames of the longest flow until the bound
    /// holds. Returns how many were dropped.
    pub(crate) fn push(&mut self, flow: u64, frame: Box<[u8]>) -> u64 {
        let flows = self
            .flows
            .get_or_insert_with(|| Box::new(std::array::from_fn(|_| Flow::default())));
        let index = (flow % FLOWS as u64) as u8;
        let flow = &mut flows[usize::from(index)];
        if flow.frames.is_empty() {
            flow.deficit = 0;
            self.active.push_back(index);
        }
        flow.bytes += frame.len();
        self.bytes += frame.len();
        self.frames += 1;
        flow.frames.push_back(frame);
        let mut dropped = 0;
        while self.bytes > self.limit && self.drop_longest() {
            dropped += 1;
        }
        dropped
    }

    /// Takes the next frame in turn.
    pub(crate) fn pop(&mut self) -> Option<Box<[u8]>> {
        let flows = self.flows.as_mut()?;
        loop {
            let &index = self.active.front()?;
            let flow = &mut flows[usize::from(index)];
            let Some(len) = flow.frames.front().map(|f| f.len()) else {
                self.active.pop_front();
                continue;
            };
            if flow.deficit < len {
                flow.deficit += QUANTUM;
                if self.active.len() > 1 {
                    self.active.rotate_left(1);
                }
                continue;
            }
            let frame = flow.frames.pop_front()?;
            flow.deficit -= len;
            flow.bytes -= len;
            if flow.frames.is_empty() {
                self.active.pop_front();
            }
            self.bytes -= len;
            self.frames -= 1;
            return Some(frame);
        }
    }

    /// Frees the memory of an empty queue.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() {
            self.flows = None;
            self.active = VecDeque::new();
        }
    }

    fn drop_longest(&mut self) -> bool {
        let Some(flows) = self.flows.as_mut() else {
            return false;
        };
        let longest = self
            .active
            .iter()
            .copied()
            .max_by_key(|&i| flows[usize::from(i)].bytes);
        let Some(index) = longest else { return false };
        let flow = &mut flows[usize::from(index)];
        let Some(frame) = flow.frames.pop_front() else {
            return false;
        };
        flow.bytes -= frame.len();
        self.bytes -= frame.len();
        self.frames -= 1;
        if flow.frames.is_empty() {
            self.active.retain(|&i| i != index);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(flow: u8, number: u32, len: usize) -> Box<[u8]> {
        let mut bytes = vec![0; len.max(5)];
        bytes[0] = flow;
        bytes[1..5].copy_from_slice(&number.to_be_bytes());
        bytes.into()
    }

    fn number(frame: &[u8]) -> u32 {
        u32::from_be_bytes(frame[1..5].try_into().unwrap())
    }

    #[test]
    fn a_heavy_flow_does_not_delay_a_light_one() {
        let mut queue = FlowQueue::new(64 << 20);
        (0..1000).for_each(|n| assert_eq!(queue.push(1, frame(1, n, 60_000)), 0));
        queue.push(2, frame(2, 0, 100));
        let position = std::iter::from_fn(|| queue.pop()).position(|f| f[0] == 2);
        assert!(position.unwrap() <= 3, "{position:?}");
    }

    #[test]
    fn equal_flows_get_equal_bytes() {
        let mut queue = FlowQueue::new(64 << 20);
        for n in 0..2000 {
            queue.push(1, frame(1, n, 1000));
            if n < 200 {
                queue.push(2, frame(2, n, 10_000));
            }
        }
        let mut bytes = [0; 3];
        while bytes.iter().sum::<usize>() < 1 << 20 {
            let f = queue.pop().unwrap();
            bytes[usize::from(f[0])] += f.len();
        }
        let (a, b) = (bytes[1] as f64, bytes[2] as f64);
        assert!((0.8..1.25).contains(&(a / b)), "{bytes:?}");
    }

    #[test]
    fn overflow_drops_the_oldest_of_the_longest() {
        let mut queue = FlowQueue::new(10_000);
        queue.push(2, frame(2, 0, 500));
        let dropped: u64 = (0..20).map(|n| queue.push(1, frame(1, n, 1000))).sum();
        assert_eq!(dropped, 11);
        let left: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(left.iter().filter(|f| f[0] == 2).count(), 1);
        let numbers: Vec<_> = left
            .iter()
            .filter(|f| f[0] == 1)
            .map(|f| number(f))
            .collect();
        assert_eq!(numbers, (11..20).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_reordered_within_a_flow(
            ops in prop::collection::vec(prop::option::weighted(0.6, (0u8..5, 5usize..3000)), 1..400),
            limit in 1000usize..50_000,
        ) {
            let mut queue = FlowQueue::new(limit);
            let (mut pushed, mut popped, mut dropped) = (0u64, 0u64, 0u64);
            let mut next = [0u32; 5];
            let mut last = [None::<u32>; 5];
            for op in ops {
                if let Some((flow, len)) = op {
                    dropped += queue.push(u64::from(flow), frame(flow, next[usize::from(flow)], len));
                    next[usize::from(flow)] += 1;
                    pushed += 1;
                } else if let Some(f) = queue.pop() {
                    popped += 1;
                    let flow = usize::from(f[0]);
                    prop_assert!(last[flow].is_none_or(|l| l < number(&f)));
                    last[flow] = Some(number(&f));
                }
                prop_assert!(queue.bytes() <= limit);
            }
            prop_assert_eq!(pushed, popped + dropped + queue.frames() as u64);
            let rest: usize = std::iter::from_fn(|| queue.pop()).map(|f| f.len()).sum();
            prop_assert!(queue.is_empty() && queue.bytes() == 0 && rest <= limit);
        }
    }
}
