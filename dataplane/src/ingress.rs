//! The way in: whole frames found in what a port received, their next hops, and what changes in
//! them on the way through. Frames are looked up in batches, so that their cache misses overlap.

use std::sync::Arc;

use pinecone_wire::frame::{Frame, FrameType, HEADER_LEN};
use pinecone_wire::{FrameError, Patch, PublicKey, Split, TrafficLayout, ping, split, traffic};

use crate::buffer::{Place, Segment};
use crate::counters::{DropReason, PortCounters};
use crate::fib::{Decision, FibReader, NextHop, SnekHop, SnekQuery, forward_decision};
use crate::{Delivery, PacketFilter, PortId};

/// Frames looked up together.
const BATCH: usize = 32;

/// Finds next hops. One a worker; it keeps its scratch memory from batch to batch.
pub(crate) struct Router {
    pub(crate) fib: FibReader,
    pub(crate) own_key: PublicKey,
    pub(crate) delivery: Arc<dyn Delivery>,
    pub(crate) filter: Option<Arc<dyn PacketFilter>>,
    pub(crate) hop_limiting: bool,
    pending: Vec<Pending>,
    queries: Vec<SnekQuery>,
    hops: Vec<SnekHop>,
    /// Frames with a port to go to, for the caller to send.
    pub(crate) routed: Vec<Routed>,
    /// Rewritten heads of frames that grow.
    pub(crate) heads: Vec<u8>,
}

/// A traffic frame to look up.
struct Pending {
    at: u32,
    layout: TrafficLayout,
    fate: Fate,
}

/// What is known of a frame before the SNEK lookups are done.
#[derive(Clone, Copy)]
enum Fate {
    /// To us by key.
    Deliver,
    /// The tree leads there.
    Tree(PortId),
    /// The answer to this query decides.
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
    /// It goes out of this port behind a new head, which ends [`Router::heads`].
    Rewritten {
        egress: PortId,
        head: usize,
    },
}

/// A frame and its egress port.
#[derive(Clone, Copy)]
pub(crate) struct Routed {
    pub(crate) egress: PortId,
    /// A rewritten head in [`Router::heads`], empty if the frame is right where it lies.
    head: (u32, u32),
    /// The frame, or its payload behind a rewritten head.
    pub(crate) body: Segment,
}

impl Routed {
    /// The rewritten head.
    #[inline]
    pub(crate) fn head<'a>(&self, heads: &'a [u8]) -> &'a [u8] {
        heads
            .get(self.head.0 as usize..self.head.1 as usize)
            .unwrap_or_default()
    }
}

/// What a port is to the router.
pub(crate) struct Ingress<'a> {
    pub(crate) port: PortId,
    pub(crate) counters: &'a PortCounters,
}

impl Router {
    pub(crate) fn new(mut fib: FibReader, delivery: Arc<dyn Delivery>, hop_limiting: bool) -> Self {
        let own_key = fib.load().own_key();
        Self {
            fib,
            own_key,
            delivery,
            filter: None,
            hop_limiting,
            pending: Vec::with_capacity(BATCH),
            queries: Vec::with_capacity(BATCH),
            hops: Vec::with_capacity(BATCH),
            routed: Vec::new(),
            heads: Vec::new(),
        }
    }

    /// Takes all whole frames off `bytes`, beginning at `at`: routes traffic (the outcome is
    /// appended to `routed`), hands protocol frames to `protocol`. Returns where the first frame
    /// that is not whole begins, and why the port must be closed, if it must.
    pub(crate) fn ingest(
        &mut self,
        ingress: &Ingress<'_>,
        bytes: &mut [u8],
        mut at: usize,
        place: Place,
        mut protocol: impl FnMut(&[u8]) -> bool,
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
                match TrafficLayout::parse(frame) {
                    Ok(layout) => self.pending.push(Pending {
                        at: at as u32,
                        layout,
                        fate: Fate::Deliver,
                    }),
                    Err(e) => break Err(e),
                }
                traffic_count = (traffic_count.0 + 1, traffic_count.1 + len as u64);
                if self.pending.len() == BATCH {
                    self.route(ingress, bytes, place);
                }
            } else {
                match Frame::parse(frame) {
                    Err(e) => break Err(e),
                    Ok((_, Frame::Keepalive)) => {}
                    Ok((_, Frame::Unknown(_))) => {
                        ingress.counters.dropped(DropReason::UnknownType, 1)
                    }
                    Ok(_) => {
                        if !protocol(frame) {
                            ingress.counters.dropped(DropReason::ControlBusy, 1);
                        }
                    }
                }
                protocol_count = (protocol_count.0 + 1, protocol_count.1 + len as u64);
            }
            at += len;
        };
        self.route(ingress, bytes, place);
        if traffic_count.0 > 0 {
            ingress.counters.rx_traffic_frames.add(traffic_count.0);
            ingress.counters.rx_traffic_bytes.add(traffic_count.1);
        }
        if protocol_count.0 > 0 {
            ingress.counters.rx_protocol_frames.add(protocol_count.0);
            ingress.counters.rx_protocol_bytes.add(protocol_count.1);
        }
        (at, result)
    }

    /// Decides about all pending frames, in their order.
    fn route(&mut self, ingress: &Ingress<'_>, bytes: &mut [u8], place: Place) {
        if self.pending.is_empty() {
            return;
        }
        let mut pending = std::mem::take(&mut self.pending);
        self.look_up(ingress, bytes, &mut pending);
        for Pending { at, layout, fate } in pending.drain(..) {
            let at = at as usize;
            let frame = &mut bytes[at..at + layout.len()];
            match self.conclude(ingress, fate, frame, &layout) {
                Err(reason) => ingress.counters.dropped(reason, 1),
                Ok(Outcome::Delivered) => ingress.counters.delivered_frames.add(1),
                Ok(Outcome::Forward { egress, start }) => {
                    let body = Segment::new(place, at + start, layout.len() - start);
                    self.routed.push(Routed {
                        egress,
                        head: (0, 0),
                        body,
                    });
                }
                Ok(Outcome::Rewritten { egress, head }) => {
                    let payload = layout.payload_range();
                    let body = Segment::new(place, at + payload.start, payload.len());
                    let head = (head as u32, self.heads.len() as u32);
                    self.routed.push(Routed { egress, head, body });
                }
            }
        }
        self.pending = pending;
    }

    /// First pass: the tree, and all SNEK lookups at once.
    fn look_up(&mut self, ingress: &Ingress<'_>, bytes: &[u8], pending: &mut [Pending]) {
        let fib = self.fib.load();
        self.queries.clear();
        for item in pending.iter_mut() {
            let frame = &bytes[item.at as usize..item.at as usize + item.layout.len()];
            if self
                .filter
                .as_ref()
                .is_some_and(|filter| !filter.pass(ingress.port, frame))
            {
                item.fate = Fate::Drop(DropReason::Filter);
                continue;
            }
            let destination = item.layout.destination_key(frame);
            if destination == self.own_key {
                continue;
            }
            if item.layout.has_destination()
                && let NextHop::Port(port) = fib.tree(ingress.port, item.layout.destination(frame))
            {
                item.fate = Fate::Tree(port);
                continue;
            }
            let watermark = item.layout.watermark(frame);
            // Runs of one flow are looked up once.
            let same = |q: &SnekQuery| q.destination == destination && q.watermark == watermark;
            if !self.queries.last().is_some_and(same) {
                self.queries.push(SnekQuery {
                    destination,
                    watermark,
                });
            }
            item.fate = Fate::Snek(self.queries.len() as u32 - 1);
        }
        self.hops.clear();
        fib.snek_batch(&self.queries, &mut self.hops);
    }

    /// Second pass: what becomes of one frame.
    #[inline]
    fn conclude(
        &mut self,
        ingress: &Ingress<'_>,
        fate: Fate,
        frame: &mut [u8],
        layout: &TrafficLayout,
    ) -> Result<Outcome, DropReason> {
        let (egress, watermark) = match fate {
            Fate::Drop(reason) => return Err(reason),
            Fate::Deliver => return self.deliver(ingress, frame, layout),
            Fate::Tree(port) => (port, None),
            Fate::Snek(query) => {
                let (query, hop) = (&self.queries[query as usize], &self.hops[query as usize]);
                match forward_decision(ingress.port, &query.watermark, hop) {
                    Decision::Deliver => return self.deliver(ingress, frame, layout),
                    Decision::DeadEnd => return Err(DropReason::NoRoute),
                    Decision::DropBackwards => return Err(DropReason::Backwards),
                    Decision::DropWatermark => return Err(DropReason::Watermark),
                    Decision::Send(port) => (port, Some(hop.watermark)),
                }
            }
        };
        if ingress.port != PortId::LOCAL {
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
        }
        let Some(watermark) = watermark else {
            return Ok(Outcome::Forward { egress, start: 0 });
        };
        let too_long = |_| DropReason::TooLong;
        match layout.patch_snek(frame, &watermark).map_err(too_long)? {
            Patch::InPlace { start } => Ok(Outcome::Forward { egress, start }),
            Patch::Grows { by } => {
                let head = self.heads.len();
                let room = head + layout.payload_range().start + by;
                self.heads.resize(room, 0);
                let written = layout.write_snek_head(frame, &watermark, &mut self.heads[head..]);
                self.heads.truncate(head + written.map_err(too_long)?);
                Ok(Outcome::Rewritten { egress, head })
            }
        }
    }

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
