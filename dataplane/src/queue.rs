//! The egress queue of a port that does not take what it is given: bounded, fair between flows,
//! dropping from the head of the longest.
//!
//! Flows are told apart by hash and served by deficit round robin, those that have just become
//! active first, as FQ-CoDel (RFC 8290) does: a sparse flow does not wait behind heavy ones. A
//! target delay, if there is one, is held flow by flow by [`codel`].

mod codel;

use std::collections::VecDeque;

use self::codel::Codel;

/// Flows told apart; two that share a hash also share their part.
const FLOWS: usize = 128;
/// What a flow may send before the next one's turn: one frame of any size.
const QUANTUM: usize = 64 << 10;

/// What a queue may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueLimits {
    pub(crate) bytes: usize,
    pub(crate) frames: usize,
    /// Milliseconds that a flow's frames may keep waiting, if that is bounded.
    pub(crate) delay: Option<u64>,
}

impl QueueLimits {
    /// Of a queue that takes nothing.
    pub(crate) const NONE: Self = Self {
        bytes: 0,
        frames: 0,
        delay: None,
    };
}

/// A queue of whole traffic frames.
pub(crate) struct FlowQueue {
    /// None until the first frame waits: most ports never need it.
    flows: Option<Box<[Flow; FLOWS]>>,
    /// Flows that have become active since they were served last, and the others, in the order of
    /// their turns.
    new: VecDeque<u8>,
    old: VecDeque<u8>,
    frames: usize,
    bytes: usize,
    limits: QueueLimits,
    /// Frames dropped because they had waited too long, not yet asked for.
    late: u64,
}

#[derive(Default)]
struct Flow {
    frames: VecDeque<Waiting>,
    bytes: usize,
    deficit: usize,
    listed: bool,
    codel: Codel,
}

struct Waiting {
    frame: Box<[u8]>,
    since: u64,
}

impl FlowQueue {
    pub(crate) const fn new(limits: QueueLimits) -> Self {
        Self {
            flows: None,
            new: VecDeque::new(),
            old: VecDeque::new(),
            frames: 0,
            bytes: 0,
            limits,
            late: 0,
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

    /// Frames dropped since this was asked last because they had waited too long.
    pub(crate) fn take_late(&mut self) -> u64 {
        std::mem::take(&mut self.late)
    }

    /// Appends a frame to its flow at time `now` (milliseconds) and drops the oldest frames of the
    /// longest flow until the bounds hold: the queue's own, and `room`, the most bytes that others
    /// leave it. Returns how many were dropped.
    pub(crate) fn push(&mut self, flow: u64, frame: Box<[u8]>, room: usize, now: u64) -> u64 {
        let flows = self
            .flows
            .get_or_insert_with(|| Box::new(std::array::from_fn(|_| Flow::default())));
        let index = (flow % FLOWS as u64) as u8;
        let flow = &mut flows[usize::from(index)];
        if !flow.listed {
            flow.listed = true;
            flow.deficit = QUANTUM;
            self.new.push_back(index);
        }
        flow.bytes += frame.len();
        self.bytes += frame.len();
        self.frames += 1;
        flow.frames.push_back(Waiting { frame, since: now });
        let bytes = self.limits.bytes.min(room);
        let mut dropped = 0;
        while (self.bytes > bytes || self.frames > self.limits.frames) && self.drop_longest() {
            dropped += 1;
        }
        dropped
    }

    /// Takes the next frame in turn.
    pub(crate) fn pop(&mut self, now: u64) -> Option<Box<[u8]>> {
        let flows = self.flows.as_mut()?;
        loop {
            let is_new = !self.new.is_empty();
            let list = if is_new { &mut self.new } else { &mut self.old };
            let &index = list.front()?;
            let flow = &mut flows[usize::from(index)];
            let delay = self.limits.delay;
            while let Some(head) = flow.frames.front()
                && delay.is_some_and(|target| {
                    flow.codel
                        .must_drop(now, now.saturating_sub(head.since), target, flow.bytes)
                })
            {
                let len = head.frame.len();
                flow.frames.pop_front();
                flow.bytes -= len;
                self.bytes -= len;
                self.frames -= 1;
                self.late += 1;
            }
            let Some(len) = flow.frames.front().map(|w| w.frame.len()) else {
                list.pop_front();
                if is_new {
                    // Once round with the others, or it would be new again at once.
                    self.old.push_back(index);
                } else {
                    flow.listed = false;
                }
                continue;
            };
            if flow.deficit < len {
                flow.deficit += QUANTUM;
                list.pop_front();
                self.old.push_back(index);
                continue;
            }
            let frame = flow.frames.pop_front()?.frame;
            flow.deficit -= len;
            flow.bytes -= len;
            self.bytes -= len;
            self.frames -= 1;
            return Some(frame);
        }
    }

    /// Frees the memory of an empty queue.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() {
            self.flows = None;
            self.new = VecDeque::new();
            self.old = VecDeque::new();
        }
    }

    fn drop_longest(&mut self) -> bool {
        let Some(flows) = self.flows.as_mut() else {
            return false;
        };
        let listed = self.new.iter().chain(&self.old);
        let longest = listed.copied().max_by_key(|&i| flows[usize::from(i)].bytes);
        let Some(flow) = longest.map(|i| &mut flows[usize::from(i)]) else {
            return false;
        };
        let Some(gone) = flow.frames.pop_front() else {
            return false;
        };
        flow.bytes -= gone.frame.len();
        self.bytes -= gone.frame.len();
        self.frames -= 1;
        true
    }
}

#[cfg(test)]
mod tests;
