//! The egress queue of a port whose socket is full. It is bounded, and fair between ingress ports and
//! between the flows of each; it drops from the head of the longest flow.
//!
//! Ingress ports are the first level because a sender can choose the keys that distinguish flows: a
//! peer that invents many keys still has one ingress port. Both levels are served by deficit round
//! robin ([`round_robin`]). [`codel`] enforces a target delay for each flow, if there is one.

mod codel;
mod flows;
mod round_robin;

use std::collections::HashMap;

use self::flows::{Flows, Gone};
use self::round_robin::{QUANTUM, RoundRobin};
use crate::PortId;

/// Bounds of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueLimits {
    pub(crate) bytes: usize,
    pub(crate) frames: usize,
    /// The delay in milliseconds that a flow's frames may keep having, if that is bounded.
    pub(crate) delay: Option<u64>,
}

impl QueueLimits {
    /// The bounds of a queue that takes no frames.
    pub(crate) const NONE: Self = Self {
        bytes: 0,
        frames: 0,
        delay: None,
    };
}

/// A queue of whole traffic frames. Most ports never need one, so an empty queue takes no memory.
pub(crate) struct FlowQueue {
    /// Ingress ports with frames here, by place. Places are reused.
    ingresses: Vec<Option<Ingress>>,
    /// Bytes from each ingress port, by place.
    lengths: Vec<usize>,
    free: Vec<u32>,
    places: HashMap<PortId, u32>,
    /// The ingress port of the last frame, as frames of one port often arrive together.
    last: Option<(PortId, u32)>,
    order: RoundRobin,
    frames: usize,
    bytes: usize,
    limits: QueueLimits,
    /// Frames dropped for waiting too long, until [`Self::take_late`].
    late: u64,
    /// The place of frames of local origin, if there are any.
    local: Option<u32>,
    /// Frames of local origin dropped, until [`Self::take_local_drops`].
    local_drops: u64,
}

struct Ingress {
    port: PortId,
    flows: Flows,
    deficit: usize,
}

impl FlowQueue {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self {
            ingresses: Vec::new(),
            lengths: Vec::new(),
            free: Vec::new(),
            places: HashMap::new(),
            last: None,
            order: RoundRobin::default(),
            frames: 0,
            bytes: 0,
            limits,
            late: 0,
            local: None,
            local_drops: 0,
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

    /// Takes the number of frames dropped for waiting too long.
    pub(crate) fn take_late(&mut self) -> u64 {
        std::mem::take(&mut self.late)
    }

    /// Returns the bytes of frames of local origin.
    #[inline]
    pub(crate) fn local_bytes(&self) -> usize {
        self.local.map_or(0, |place| self.lengths[place as usize])
    }

    /// Takes the number of frames of local origin that were dropped.
    #[inline]
    pub(crate) fn take_local_drops(&mut self) -> u64 {
        std::mem::take(&mut self.local_drops)
    }

    /// Appends a frame from `port` to its flow at time `now` (milliseconds). Then drops the oldest
    /// frames of the longest flow of the longest ingress port until the bounds hold: the queue's own,
    /// and `room`, the number of bytes that other ports leave to it. Returns the number of frames
    /// dropped.
    pub(crate) fn push(
        &mut self,
        port: PortId,
        flow: u64,
        frame: Box<[u8]>,
        room: usize,
        now: u64,
    ) -> u64 {
        let place = self.place_of(port);
        let len = frame.len();
        if let Some(ingress) = &mut self.ingresses[place as usize] {
            ingress.flows.push(flow, frame, now);
            self.lengths[place as usize] += len;
            self.bytes += len;
            self.frames += 1;
        }
        let bytes = self.limits.bytes.min(room);
        let mut dropped = 0;
        while (self.bytes > bytes || self.frames > self.limits.frames) && self.drop_longest() {
            dropped += 1;
        }
        dropped
    }

    /// Takes the next frame.
    pub(crate) fn pop(&mut self, now: u64) -> Option<Box<[u8]>> {
        loop {
            let place = self.order.current()?;
            let ingress = self.ingresses[place as usize].as_mut()?;
            let mut late = Gone::default();
            let next = ingress.flows.next_len(now, self.limits.delay, &mut late);
            self.late += late.frames as u64;
            if self.local == Some(place) {
                self.local_drops += late.frames as u64;
            }
            self.frames -= late.frames;
            self.bytes -= late.bytes;
            self.lengths[place as usize] -= late.bytes;
            let Some(len) = next else {
                if self.order.leave() {
                    self.remove(place);
                }
                continue;
            };
            if ingress.deficit < len {
                ingress.deficit += QUANTUM;
                self.order.rotate();
                continue;
            }
            ingress.deficit -= len;
            let frame = ingress.flows.pop()?;
            self.frames -= 1;
            self.bytes -= len;
            self.lengths[place as usize] -= len;
            return Some(frame);
        }
    }

    /// Frees the memory of an empty queue.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() && !self.ingresses.is_empty() {
            *self = Self {
                late: self.late,
                local_drops: self.local_drops,
                ..Self::new(self.limits)
            };
        }
    }

    /// Returns the place of an ingress port, which gets one if it has none.
    fn place_of(&mut self, port: PortId) -> u32 {
        if let Some((last, place)) = self.last
            && last == port
        {
            return place;
        }
        let place = match self.places.get(&port) {
            Some(&place) => place,
            None => self.add(port),
        };
        self.last = Some((port, place));
        place
    }

    fn add(&mut self, port: PortId) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.ingresses.push(None);
            self.lengths.push(0);
            (self.ingresses.len() - 1) as u32
        });
        self.ingresses[place as usize] = Some(Ingress {
            port,
            flows: Flows::new(),
            deficit: QUANTUM,
        });
        self.places.insert(port, place);
        if port == PortId::LOCAL {
            self.local = Some(place);
        }
        self.order.add(place);
        place
    }

    fn remove(&mut self, place: u32) {
        if let Some(ingress) = self.ingresses[place as usize].take() {
            self.places.remove(&ingress.port);
            if ingress.port == PortId::LOCAL {
                self.local = None;
            }
            self.free.push(place);
            self.last = None;
        }
    }

    fn drop_longest(&mut self) -> bool {
        // Two passes over plain numbers are fast, and there may be thousands.
        let Some(longest) = self.lengths.iter().copied().max() else {
            return false;
        };
        let place = self.lengths.iter().position(|&len| len == longest);
        let ingress = place.and_then(|place| Some((place, self.ingresses[place].as_mut()?)));
        let Some((place, ingress)) = ingress else {
            return false;
        };
        let Some(len) = ingress.flows.drop_longest() else {
            return false;
        };
        self.lengths[place] -= len;
        self.bytes -= len;
        self.frames -= 1;
        if self.local == Some(place as u32) {
            self.local_drops += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests;
