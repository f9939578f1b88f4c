//! The frames from one ingress port, by flow.

use std::collections::VecDeque;

use super::codel::Codel;
use super::round_robin::{QUANTUM, RoundRobin};

/// Number of flows that are distinguished. Flows with the same hash share one queue.
const FLOWS: usize = 128;
/// A frame that has waited for this many times the target delay is dropped if a newer one of its flow
/// waits. CoDel alone takes half a minute to control a flow that does not slow down.
const MOST_TARGETS: u64 = 4;

/// Frames that have left a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

/// The flows of one ingress port. Only flows with frames take memory.
pub(super) struct Flows {
    /// The index of each flow in `flows`, plus one; 0 is none.
    places: Box<[u8; FLOWS]>,
    flows: Vec<Flow>,
    free: Vec<u8>,
    order: RoundRobin,
}

#[derive(Default)]
struct Flow {
    hash: u8,
    frames: VecDeque<Waiting>,
    bytes: usize,
    deficit: usize,
    codel: Codel,
}

struct Waiting {
    frame: Box<[u8]>,
    since: u64,
}

impl Flows {
    pub(super) fn new() -> Self {
        Self {
            places: Box::new([0; FLOWS]),
            flows: Vec::new(),
            free: Vec::new(),
            order: RoundRobin::default(),
        }
    }

    /// Appends a frame to its flow.
    pub(super) fn push(&mut self, flow: u64, frame: Box<[u8]>, now: u64) {
        let hash = (flow % FLOWS as u64) as u8;
        let place = match self.places[usize::from(hash)] {
            0 => self.activate(hash),
            place => place - 1,
        };
        let flow = &mut self.flows[usize::from(place)];
        flow.bytes += frame.len();
        flow.frames.push_back(Waiting { frame, since: now });
    }

    /// Returns the length of the next frame. Drops frames that have waited too long, and adds them to
    /// `late`.
    pub(super) fn next_len(
        &mut self,
        now: u64,
        target: Option<u64>,
        late: &mut Gone,
    ) -> Option<usize> {
        loop {
            let place = self.order.current()?;
            let flow = &mut self.flows[place as usize];
            if let Some(target) = target {
                flow.drop_late(now, target, late);
            }
            let Some(len) = flow.frames.front().map(|w| w.frame.len()) else {
                if self.order.leave() {
                    self.deactivate(place);
                }
                continue;
            };
            if flow.deficit >= len {
                return Some(len);
            }
            flow.deficit += QUANTUM;
            self.order.rotate();
        }
    }

    /// Takes the frame whose length [`Self::next_len`] has returned.
    pub(super) fn pop(&mut self) -> Option<Box<[u8]>> {
        let place = self.order.current()?;
        let flow = &mut self.flows[place as usize];
        let frame = flow.frames.pop_front()?.frame;
        flow.deficit = flow.deficit.saturating_sub(frame.len());
        flow.bytes -= frame.len();
        Some(frame)
    }

    /// Drops the oldest frame of the longest flow, and returns its length.
    pub(super) fn drop_longest(&mut self) -> Option<usize> {
        let flow = self.flows.iter_mut().max_by_key(|flow| flow.bytes)?;
        let len = flow.frames.pop_front()?.frame.len();
        flow.bytes -= len;
        Some(len)
    }

    fn activate(&mut self, hash: u8) -> u8 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.flows.push(Flow::default());
            (self.flows.len() - 1) as u8
        });
        let flow = &mut self.flows[usize::from(place)];
        flow.hash = hash;
        flow.deficit = QUANTUM;
        self.places[usize::from(hash)] = place + 1;
        self.order.add(place.into());
        place
    }

    fn deactivate(&mut self, place: u32) {
        let flow = std::mem::take(&mut self.flows[place as usize]);
        self.places[usize::from(flow.hash)] = 0;
        self.free.push(place as u8);
    }
}

impl Flow {
    fn drop_late(&mut self, now: u64, target: u64, late: &mut Gone) {
        while let Some(head) = self.frames.front() {
            let waited = now.saturating_sub(head.since);
            let lone = self.frames.len() == 1;
            let must = self.codel.must_drop(now, waited, target, lone);
            if !must && (lone || waited <= target.saturating_mul(MOST_TARGETS)) {
                return;
            }
            let len = head.frame.len();
            self.frames.pop_front();
            self.bytes -= len;
            late.frames += 1;
            late.bytes += len;
        }
    }
}
