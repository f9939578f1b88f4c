//! Ingress: finds the whole frames in the bytes that a port received, decides about them, and patches them. Frames are
//! looked up in batches, so that their cache misses overlap.

use std::sync::Arc;

use pinecone_fib::{
    BATCH, Class, Destinations, Fate, FibReader, ForwardingOptions, Snapshot, Transit,
    Undeliverable,
};
use pinecone_wire::frame::{Frame, FrameType, HEADER_LEN};
use pinecone_wire::{FrameError, Split, TrafficLayout, split};

use crate::PortId;
use crate::buffer::{Place, simd};
use crate::counters::{DropReason, PortCounters};
use crate::delivery::Delivery;
use crate::filter::{GuardedFilter, TrafficFrame};
use crate::local_frame::SplitFrame;

/// Routes the frames that a worker receives. It keeps its scratch memory from batch to batch.
pub(crate) struct Router {
    fib: FibReader,
    policy: Policy,
    /// Traffic frames to look up together.
    pending: Vec<Pending>,
    /// Traffic since the last [`Self::take_mean_len`]: frames and bytes.
    ingested: (u64, u64),
    /// The rewritten head of a frame that grows.
    head: Vec<u8>,
}

/// Rules for the treatment of frames.
pub(crate) struct Policy {
    pub(crate) delivery: Arc<dyn Delivery>,
    pub(crate) filter: Option<Arc<GuardedFilter>>,
    pub(crate) options: ForwardingOptions,
}

/// A traffic frame to look up.
#[derive(Clone, Copy)]
struct Pending {
    at: u32,
    layout: TrafficLayout,
    /// The sequence of its watermark.
    sequence: u64,
    /// The frame's class, or `None` if the filter drops the frame.
    class: Option<Class>,
}

/// Adjacent whole frames with the same egress port.
#[derive(Clone, Copy)]
pub(crate) struct Burst<'a> {
    /// The port that they arrived at.
    pub(crate) ingress: PortId,
    pub(crate) egress: PortId,
    /// The number of frames.
    pub(crate) frames: u32,
    /// Bytes to send before `bytes`: the rewritten head of a single frame, or nothing.
    pub(crate) head: &'a [u8],
    /// The frames, or the payload of a frame with a rewritten head.
    pub(crate) bytes: &'a [u8],
    /// The memory that `bytes` lie in, from offset `at` on.
    pub(crate) place: Place,
    pub(crate) at: usize,
}

/// The port that frames arrive at.
pub(crate) struct Ingress<'a> {
    pub(crate) port: PortId,
    pub(crate) counters: &'a PortCounters,
}

/// The receiver of the frames that have been routed.
pub(crate) trait Output {
    /// Takes a protocol frame. Returns false if there is no room for it.
    fn protocol(&mut self, frame: &[u8]) -> bool;

    /// Takes a burst of traffic frames. If frames were dropped, returns the reason and their number.
    fn forward(&mut self, burst: Burst<'_>) -> Result<(), (DropReason, u64)>;
}

/// A burst that may still grow.
#[derive(Clone, Copy)]
struct Open {
    egress: PortId,
    frames: u32,
    at: usize,
    end: usize,
}

impl Router {
    pub(crate) fn new(fib: FibReader, delivery: Arc<dyn Delivery>, hop_limiting: bool) -> Self {
        Self {
            fib,
            policy: Policy {
                delivery,
                filter: None,
                options: ForwardingOptions { hop_limiting },
            },
            pending: Vec::with_capacity(BATCH),
            ingested: (0, 0),
            head: Vec::new(),
        }
    }

    pub(crate) fn set_filter(&mut self, filter: Option<Arc<GuardedFilter>>) {
        self.policy.filter = filter;
    }

    /// Removes the filter if it has panicked. Returns whether it was removed.
    pub(crate) fn remove_panicked_filter(&mut self) -> bool {
        let filter = &mut self.policy.filter;
        (filter.take_if(|filter| filter.has_panicked())).is_some()
    }

    /// Returns the mean length of the traffic frames since the last call; 0 if there were none.
    pub(crate) fn take_mean_len(&mut self) -> usize {
        let (frames, bytes) = std::mem::take(&mut self.ingested);
        (bytes / frames.max(1)) as usize
    }

    /// Takes all whole frames off `bytes`, which lie at `place`, beginning at `at`, and hands them to `output` or to
    /// this node. Returns the offset at which the partial frame begins, and an error if the port must be closed.
    pub(crate) fn ingest(
        &mut self,
        ingress: &Ingress<'_>,
        bytes: &mut [u8],
        mut at: usize,
        place: Place,
        output: &mut impl Output,
    ) -> (usize, Result<(), FrameError>) {
        let mut protocol_count = (0, 0);
        let mut traffic_count = (0, 0);
        let result = loop {
            let header = match split(&bytes[at..]) {
                Ok(Split::Frame(header)) => header,
                Ok(Split::Missing(_)) => break Ok(()),
                Err(e) => break Err(e),
            };
            let len = usize::from(header.len);
            let frame = &bytes[at..at + len];
            if header.kind == FrameType::Traffic {
                let (layout, sequence) = match TrafficLayout::parse_with_sequence(frame) {
                    Ok(found) => found,
                    Err(e) => break Err(e),
                };
                self.pending.push(Pending {
                    at: at as u32,
                    layout,
                    sequence,
                    class: None,
                });
                traffic_count = (traffic_count.0 + 1, traffic_count.1 + len as u64);
                if self.pending.len() == BATCH {
                    self.route(ingress, bytes, place, output);
                }
            } else {
                match Frame::parse(frame) {
                    Err(e) => break Err(e),
                    Ok((_, Frame::Keepalive)) => {}
                    Ok((_, Frame::Unknown(_))) => {
                        ingress.counters.dropped(DropReason::UnknownType, 1)
                    }
                    Ok(_) => {
                        if !output.protocol(frame) {
                            ingress.counters.dropped(DropReason::ControlBusy, 1);
                        }
                    }
                }
                protocol_count = (protocol_count.0 + 1, protocol_count.1 + len as u64);
            }
            at += len;
        };
        self.route(ingress, bytes, place, output);
        if traffic_count.0 > 0 {
            ingress.counters.rx_traffic_frames.add(traffic_count.0);
            ingress.counters.rx_traffic_bytes.add(traffic_count.1);
            self.ingested.0 += traffic_count.0;
            self.ingested.1 += traffic_count.1;
        }
        if protocol_count.0 > 0 {
            ingress.counters.rx_protocol_frames.add(protocol_count.0);
            ingress.counters.rx_protocol_bytes.add(protocol_count.1);
        }
        (at, result)
    }

    /// Reports whether there is a filter.
    pub(crate) const fn has_filter(&self) -> bool {
        self.policy.filter.is_some()
    }

    /// Routes a frame of local origin whose payload lies at `place`. It passes no filter. A frame that is not
    /// well-formed is ignored.
    pub(crate) fn route_split(
        &mut self,
        ingress: &Ingress<'_>,
        frame: &mut SplitFrame,
        place: Place,
        output: &mut impl Output,
    ) {
        let Ok((layout, sequence)) = TrafficLayout::parse_head(&frame.head) else {
            return;
        };
        if layout.payload_range().len() != frame.payload.len() {
            return;
        }
        ingress.counters.rx_traffic_frames.add(1);
        ingress.counters.rx_traffic_bytes.add(layout.len() as u64);
        self.ingested.0 += 1;
        self.ingested.1 += layout.len() as u64;
        let transit = Transit {
            ingress: ingress.port,
            layout,
            sequence,
        };
        // The decision about a frame of local origin neither reads nor changes the payload.
        let fate = self.fib.load().forward_frame(
            &mut frame.head,
            &transit,
            self.policy.options,
            &mut self.head,
        );
        let (egress, rescue, head) = match fate {
            Fate::Drop(reason) => return ingress.counters.dropped(reason.into(), 1),
            Fate::Deliver => return self.policy.deliver(ingress, &frame.join(), &layout),
            Fate::Forward {
                egress,
                start,
                rescue,
            } => (egress, rescue, frame.head.get(start..).unwrap_or_default()),
            Fate::Rewritten { egress, rescue } => (egress, rescue, &self.head[..]),
        };
        if let Some(rescue) = rescue {
            ingress.counters.rescued(rescue);
        }
        let burst = Burst {
            ingress: ingress.port,
            egress,
            frames: 1,
            head,
            bytes: &frame.payload,
            place,
            at: 0,
        };
        ingress.count_drops(output.forward(burst));
    }

    /// Decides about all pending frames, in order.
    fn route(
        &mut self,
        ingress: &Ingress<'_>,
        bytes: &mut [u8],
        place: Place,
        output: &mut impl Output,
    ) {
        if self.pending.is_empty() {
            return;
        }
        let batch = Batch {
            fib: self.fib.load(),
            policy: &self.policy,
            ingress,
            pending: &mut self.pending,
            bytes,
            place,
            head: &mut self.head,
            output,
        };
        simd::run(batch);
        self.pending.clear();
    }
}

/// Pending frames, and everything needed to route them.
struct Batch<'a, O> {
    fib: &'a Snapshot,
    policy: &'a Policy,
    ingress: &'a Ingress<'a>,
    pending: &'a mut [Pending],
    bytes: &'a mut [u8],
    place: Place,
    head: &'a mut Vec<u8>,
    output: &'a mut O,
}

impl<O: Output> simd::Work for Batch<'_, O> {
    #[inline(always)]
    fn run(mut self) {
        self.route();
    }
}

impl<O: Output> Batch<'_, O> {
    #[inline(always)]
    fn route(&mut self) {
        // First pass: classify all frames, and collect their SNEK lookups.
        let mut lookups = Destinations::new();
        for i in 0..self.pending.len() {
            let Pending { at, layout, .. } = self.pending[i];
            let frame = &self.bytes[at as usize..at as usize + layout.len()];
            self.pending[i].class = self.classify(frame, &layout, &mut lookups);
        }
        let fib = self.fib;
        let found = fib.find(&lookups);
        // Second pass: decide about each frame.
        let mut open: Option<Open> = None;
        for i in 0..self.pending.len() {
            let Pending {
                at,
                layout,
                sequence,
                class,
            } = self.pending[i];
            let at = at as usize;
            let frame = &mut self.bytes[at..at + layout.len()];
            let Some(class) = class else {
                self.ingress.counters.dropped(DropReason::Filter, 1);
                continue;
            };
            let transit = Transit {
                ingress: self.ingress.port,
                layout,
                sequence,
            };
            let lookups = (&lookups, &found);
            let options = self.policy.options;
            let fate = fib.decide_class(class, lookups, frame, &transit, options, self.head);
            match fate {
                Fate::Drop(reason) => self.ingress.counters.dropped(reason.into(), 1),
                Fate::Deliver => self.policy.deliver(self.ingress, frame, &layout),
                Fate::Forward {
                    egress,
                    start,
                    rescue,
                } => {
                    if let Some(rescue) = rescue {
                        self.ingress.counters.rescued(rescue);
                    }
                    let (at, end) = (at + start, at + layout.len());
                    match &mut open {
                        Some(burst) if burst.egress == egress && burst.end == at => {
                            burst.frames += 1;
                            burst.end = end;
                        }
                        _ => {
                            self.hand_on(open.take());
                            open = Some(Open {
                                egress,
                                frames: 1,
                                at,
                                end,
                            });
                        }
                    }
                }
                Fate::Rewritten { egress, rescue } => {
                    if let Some(rescue) = rescue {
                        self.ingress.counters.rescued(rescue);
                    }
                    self.hand_on(open.take());
                    let at = at + layout.payload_range().start;
                    let burst = Burst {
                        ingress: self.ingress.port,
                        egress,
                        frames: 1,
                        head: self.head,
                        bytes: &self.bytes[at..at + layout.payload_range().len()],
                        place: self.place,
                        at,
                    };
                    self.ingress.count_drops(self.output.forward(burst));
                }
            }
        }
        self.hand_on(open);
    }

    /// Classifies a frame. Returns `None` if the filter drops it.
    #[inline(always)]
    fn classify(
        &self,
        frame: &[u8],
        layout: &TrafficLayout,
        lookups: &mut Destinations,
    ) -> Option<Class> {
        if let Some(filter) = &self.policy.filter
            && !filter.pass(&TrafficFrame::new(
                self.ingress.port,
                self.fib.own_key(),
                frame,
                layout,
            ))
        {
            return None;
        }
        Some(self.fib.classify(frame, layout, self.ingress.port, lookups))
    }

    #[inline(always)]
    fn hand_on(&mut self, open: Option<Open>) {
        let Some(open) = open else { return };
        let burst = Burst {
            ingress: self.ingress.port,
            egress: open.egress,
            frames: open.frames,
            head: &[],
            bytes: &self.bytes[open.at..open.end],
            place: self.place,
            at: open.at,
        };
        self.ingress.count_drops(self.output.forward(burst));
    }
}

impl Policy {
    #[inline(never)]
    fn deliver(&self, ingress: &Ingress<'_>, frame: &[u8], layout: &TrafficLayout) {
        match self.delivery.deliver(ingress.port, frame, layout) {
            true => ingress.counters.delivered_frames.add(1),
            false => ingress.counters.dropped(DropReason::DeliveryFull, 1),
        }
    }
}

impl From<Undeliverable> for DropReason {
    fn from(reason: Undeliverable) -> Self {
        match reason {
            Undeliverable::NoRoute => Self::NoRoute,
            Undeliverable::Backwards => Self::Backwards,
            Undeliverable::Watermark => Self::Watermark,
            Undeliverable::HopLimit => Self::HopLimit,
            Undeliverable::TooLong => Self::TooLong,
        }
    }
}

impl Ingress<'_> {
    #[inline(always)]
    fn count_drops(&self, outcome: Result<(), (DropReason, u64)>) {
        if let Err((reason, frames)) = outcome {
            self.counters.dropped(reason, frames);
        }
    }
}

/// Moves bytes that complete the frame begun in `partial` from the start of `bytes`. Returns the number
/// of bytes taken, and whether `partial` is a whole frame now.
pub(crate) fn complete(partial: &mut Vec<u8>, bytes: &[u8]) -> Result<(usize, bool), FrameError> {
    let mut taken = 0;
    loop {
        match split(partial)? {
            Split::Frame(_) => return Ok((taken, true)),
            Split::Missing(missing) => {
                let more = &bytes[taken..bytes.len().min(taken + missing)];
                if more.is_empty() {
                    return Ok((taken, false));
                }
                if partial.len() >= HEADER_LEN {
                    partial.reserve_exact(missing);
                }
                partial.extend_from_slice(more);
                taken += more.len();
            }
        }
    }
}
