//! The way in: whole frames found in what a port received, their next hops, and what changes in
//! them on the way through. Frames are looked up in batches, so that their cache misses overlap.

use std::sync::Arc;

use arrayvec::ArrayVec;
use pinecone_wire::frame::{Frame, FrameType, HEADER_LEN};
use pinecone_wire::{
    FrameError, Patch, PublicKey, Split, TrafficLayout, Watermark, ping, split, traffic,
};

use crate::buffer::{Place, simd};
use crate::counters::{DropReason, PortCounters};
use crate::{Delivery, PacketFilter, PortId};
use pinecone_fib::{BATCH, Decision, FibReader, Forward, NextHop, Snapshot};

/// Finds next hops. One a worker; it keeps its scratch memory from batch to batch.
pub(crate) struct Router {
    fib: FibReader,
    policy: Policy,
    /// Traffic frames to look up together.
    pending: Vec<Pending>,
    /// Traffic that came of late: frames and bytes.
    ingested: (u64, u64),
    /// The rewritten head of a frame that grows.
    head: Vec<u8>,
}

/// What a router was told about frames.
pub(crate) struct Policy {
    pub(crate) own_key: PublicKey,
    pub(crate) delivery: Arc<dyn Delivery>,
    pub(crate) filter: Option<Arc<dyn PacketFilter>>,
    pub(crate) hop_limiting: bool,
}

/// A traffic frame to look up.
#[derive(Clone, Copy)]
struct Pending {
    at: u32,
    layout: TrafficLayout,
    /// Of its watermark.
    sequence: u64,
    fate: Fate,
}

/// What is known of a frame before the SNEK lookups are done.
#[derive(Clone, Copy)]
enum Fate {
    /// To us by key.
    Deliver,
    /// The tree leads there.
    Tree(PortId),
    /// The answer to this lookup of the batch decides.
    Snek(u32),
    Drop(DropReason),
}

/// What becomes of a frame.
enum Outcome {
    Delivered,
    /// It goes out of this port, and begins so many bytes behind where it began.
    Forward {
        egress: PortId,
        start: usize,
    },
    /// It goes out of this port behind [`Router::head`].
    Rewritten {
        egress: PortId,
    },
}

/// Whole frames behind each other that go out of one port.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    /// The port that they came in by.
    pub(crate) ingress: PortId,
    pub(crate) egress: PortId,
    /// How many frames.
    pub(crate) frames: u32,
    /// What goes before `bytes`: the rewritten head of a single frame, or nothing.
    pub(crate) head: &'a [u8],
    /// The frames, or the payload behind the rewritten head.
    pub(crate) bytes: &'a [u8],
    /// Where these lie.
    pub(crate) place: Place,
    pub(crate) at: usize,
}

/// What a port is to the router.
pub(crate) struct Ingress<'a> {
    pub(crate) port: PortId,
    pub(crate) counters: &'a PortCounters,
}

/// Where the router hands frames on to.
pub(crate) trait Output {
    /// Takes a protocol frame on; false if there is no room.
    fn protocol(&mut self, frame: &[u8]) -> bool;

    /// Takes a run of traffic frames on, or says how many it had to drop, and why.
    fn forward(&mut self, run: Run<'_>) -> Result<(), (DropReason, u64)>;
}

/// A run that may still grow.
#[derive(Clone, Copy)]
struct Open {
    egress: PortId,
    frames: u32,
    at: usize,
    end: usize,
}

impl Router {
    pub(crate) fn new(mut fib: FibReader, delivery: Arc<dyn Delivery>, hop_limiting: bool) -> Self {
        let own_key = fib.load().own_key();
        Self {
            fib,
            policy: Policy {
                own_key,
                delivery,
                filter: None,
                hop_limiting,
            },
            pending: Vec::with_capacity(BATCH),
            ingested: (0, 0),
            head: Vec::new(),
        }
    }

    pub(crate) fn set_filter(&mut self, filter: Option<Arc<dyn PacketFilter>>) {
        self.policy.filter = filter;
    }

    /// The mean length of the traffic frames since this was last asked for; 0 if there were none.
    pub(crate) fn take_mean_len(&mut self) -> usize {
        let (frames, bytes) = std::mem::take(&mut self.ingested);
        (bytes / frames.max(1)) as usize
    }

    /// Takes all whole frames off `bytes`, which lie at `place`, beginning at `at`, and hands them
    /// to `output` or to this node. Returns where the first frame that is not whole begins, and why
    /// the port must be closed, if it must.
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
                    fate: Fate::Deliver,
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

    /// Decides about all pending frames, in their order.
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

/// Pending frames, and what it takes to route them.
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
        // First pass: the tree, and all SNEK lookups at once.
        let mut destinations = ArrayVec::new();
        for i in 0..self.pending.len() {
            let Pending { at, layout, .. } = self.pending[i];
            let frame = &self.bytes[at as usize..at as usize + layout.len()];
            self.pending[i].fate = self.classify(frame, &layout, &mut destinations);
        }
        let fib = self.fib;
        let found = fib.find(&destinations);
        // Second pass: what becomes of each frame.
        let mut open: Option<Open> = None;
        for i in 0..self.pending.len() {
            let Pending {
                at,
                layout,
                sequence,
                fate,
            } = self.pending[i];
            let at = at as usize;
            let frame = &mut self.bytes[at..at + layout.len()];
            let (ingress, policy) = (self.ingress, self.policy);
            let outcome = match fate {
                Fate::Drop(reason) => Err(reason),
                Fate::Deliver => policy.deliver(ingress, frame, &layout),
                Fate::Tree(egress) => policy
                    .pass_on(ingress, frame, &layout)
                    .map(|()| Outcome::Forward { egress, start: 0 }),
                Fate::Snek(lookup) => {
                    let lookup = lookup as usize;
                    let watermark = layout.watermark_with(frame, sequence);
                    let destination = &destinations[lookup];
                    // Where coordinates led astray, the way by key may be back.
                    let from = match layout.has_destination() {
                        true => PortId::LOCAL,
                        false => ingress.port,
                    };
                    let hop = fib.forward(&found, lookup, from, destination, &watermark);
                    match hop.decision {
                        Decision::Send(egress) => {
                            policy.pass_on(ingress, frame, &layout).and_then(|()| {
                                patch(egress, frame, &layout, &hop, &watermark, self.head)
                            })
                        }
                        Decision::Deliver => policy.deliver(ingress, frame, &layout),
                        Decision::DeadEnd => Err(DropReason::NoRoute),
                        dropped @ (Decision::DropBackwards | Decision::DropWatermark) => {
                            self.rescue(at, &layout, from, destination, &watermark, dropped)
                        }
                    }
                }
            };
            match outcome {
                Err(reason) => self.ingress.counters.dropped(reason, 1),
                Ok(Outcome::Delivered) => self.ingress.counters.delivered_frames.add(1),
                Ok(Outcome::Forward { egress, start }) => {
                    let (at, end) = (at + start, at + layout.len());
                    match &mut open {
                        Some(run) if run.egress == egress && run.end == at => {
                            run.frames += 1;
                            run.end = end;
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
                Ok(Outcome::Rewritten { egress }) => {
                    self.hand_on(open.take());
                    let at = at + layout.payload_range().start;
                    let run = Run {
                        ingress: self.ingress.port,
                        egress,
                        frames: 1,
                        head: self.head,
                        bytes: &self.bytes[at..at + layout.payload_range().len()],
                        place: self.place,
                        at,
                    };
                    self.ingress.count_drops(self.output.forward(run));
                }
            }
        }
        self.hand_on(open);
    }

    /// What is known of a frame before the lookups; those that it needs are appended.
    #[inline(always)]
    fn classify(
        &self,
        frame: &[u8],
        layout: &TrafficLayout,
        lookups: &mut ArrayVec<PublicKey, BATCH>,
    ) -> Fate {
        if let Some(filter) = &self.policy.filter
            && !filter.pass(self.ingress.port, frame)
        {
            return Fate::Drop(DropReason::Filter);
        }
        let destination = layout.destination_key(frame);
        if destination == self.policy.own_key {
            return Fate::Deliver;
        }
        if layout.has_destination()
            && let NextHop::Port(port) =
                (self.fib).tree(self.ingress.port, layout.destination(frame))
        {
            return Fate::Tree(port);
        }
        // A run of frames to one destination is looked up once.
        if lookups.last() != Some(&destination) {
            lookups.push(destination);
        }
        Fate::Snek(lookups.len() as u32 - 1)
    }

    /// Finds another way for the frame at `at`, which would be dropped as `dropped`. Kept out of the
    /// code that all frames run through.
    #[cold]
    #[inline(never)]
    fn rescue(
        &mut self,
        at: usize,
        layout: &TrafficLayout,
        from: PortId,
        destination: &PublicKey,
        watermark: &Watermark,
        dropped: Decision,
    ) -> Result<Outcome, DropReason> {
        let Some((rescue, hop)) = self.fib.rescue(from, destination, watermark) else {
            return Err(match dropped {
                Decision::DropBackwards => DropReason::Backwards,
                _ => DropReason::Watermark,
            });
        };
        let Decision::Send(egress) = hop.decision else {
            return Err(DropReason::NoRoute);
        };
        let frame = &mut self.bytes[at..at + layout.len()];
        self.policy.pass_on(self.ingress, frame, layout)?;
        let outcome = patch(egress, frame, layout, &hop, watermark, self.head)?;
        self.ingress.counters.rescued(rescue);
        Ok(outcome)
    }

    #[inline(always)]
    fn hand_on(&mut self, run: Option<Open>) {
        let Some(run) = run else { return };
        let run = Run {
            ingress: self.ingress.port,
            egress: run.egress,
            frames: run.frames,
            head: &[],
            bytes: &self.bytes[run.at..run.end],
            place: self.place,
            at: run.at,
        };
        self.ingress.count_drops(self.output.forward(run));
    }
}

impl Policy {
    /// Counts a frame's hop, if it is one.
    #[inline(always)]
    fn pass_on(
        &self,
        ingress: &Ingress<'_>,
        frame: &mut [u8],
        layout: &TrafficLayout,
    ) -> Result<(), DropReason> {
        if ingress.port == PortId::LOCAL {
            return Ok(());
        }
        if self.hop_limiting {
            let limit = traffic::hop_limit(frame);
            if limit <= 1 {
                return Err(DropReason::HopLimit);
            }
            traffic::set_hop_limit(frame, limit - 1);
        }
        if let Some(payload) = frame.get_mut(layout.payload_range()) {
            ping::count_hop(payload);
        }
        Ok(())
    }

    #[inline(never)]
    fn deliver(
        &self,
        ingress: &Ingress<'_>,
        frame: &[u8],
        layout: &TrafficLayout,
    ) -> Result<Outcome, DropReason> {
        match self.delivery.deliver(ingress.port, frame, layout) {
            true => Ok(Outcome::Delivered),
            false => Err(DropReason::DeliveryFull),
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

/// Writes the new watermark into a frame that goes on, or its new head into `head` if it grows.
#[inline(always)]
fn patch(
    egress: PortId,
    frame: &mut [u8],
    layout: &TrafficLayout,
    hop: &Forward<'_>,
    before: &Watermark,
    head: &mut Vec<u8>,
) -> Result<Outcome, DropReason> {
    // On a path that has been set up, it is the same from node to node.
    if hop.sequence == before.sequence && *hop.key == before.key && !layout.has_destination() {
        return Ok(Outcome::Forward { egress, start: 0 });
    }
    let too_long = |_| DropReason::TooLong;
    let watermark = Watermark {
        key: *hop.key,
        sequence: hop.sequence,
    };
    match layout.patch_snek(frame, &watermark).map_err(too_long)? {
        Patch::InPlace { start } => Ok(Outcome::Forward { egress, start }),
        Patch::Grows { by } => {
            head.resize(layout.payload_range().start + by, 0);
            let written = layout.write_snek_head(frame, &watermark, head);
            head.truncate(written.map_err(too_long)?);
            Ok(Outcome::Rewritten { egress })
        }
    }
}

/// Moves as many bytes of `bytes` as the frame that `carry` begins still misses. Returns how many
/// were taken, and whether `carry` is a whole frame now.
pub(crate) fn complete(carry: &mut Vec<u8>, bytes: &[u8]) -> Result<(usize, bool), FrameError> {
    let mut taken = 0;
    loop {
        match split(carry)? {
            Split::Frame(_) => return Ok((taken, true)),
            Split::Missing(missing) => {
                let more = &bytes[taken..bytes.len().min(taken + missing)];
                if more.is_empty() {
                    return Ok((taken, false));
                }
                if carry.len() >= HEADER_LEN {
                    carry.reserve_exact(missing);
                }
                carry.extend_from_slice(more);
                taken += more.len();
            }
        }
    }
}
