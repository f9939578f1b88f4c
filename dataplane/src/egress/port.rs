//! The egress of a port: the frames that it sends, and those that wait for a socket that is full.

mod limits;
mod pacing;
mod protocol_queue;
mod traffic_batch;
mod watch;

use std::rc::Rc;
use std::sync::Arc;

use pinecone_wire::frame::KEEPALIVE;

pub(super) use self::limits::Limits;
use self::limits::Total;
use self::pacing::Pacing;
use self::protocol_queue::ProtocolQueue;
use self::traffic_batch::TrafficBatch;
pub(super) use self::watch::Socket;
use self::watch::{Now, Watch};
use crate::PortId;
use crate::buffer::{BLOCK_LEN, GATHER_BELOW, IterationMemory, ReceiveBuffers};
use crate::counters::{DropReason, PortCounters};
use crate::engine::{MAX_PIECES, Outgoing};
use crate::frames::{flow_hash, frame_len, frames_in, frames_of, is_traffic, traffic_in};
use crate::ingress::Burst;
use crate::options::PortOptions;
use crate::queue::{FlowQueue, QueueLimits};
use crate::report::{Budget, CloseReason};

/// A send of at least this many bytes after some silence follows a keepalive in a segment of its own. If the path
/// swallows long segments, the peer then counts its timeout from that keepalive and not from an earlier frame.
const LONG_SEND: usize = 1000;

/// A port of a worker.
pub(crate) struct Port {
    pub(crate) id: PortId,
    pub(crate) counters: Arc<PortCounters>,
    pub(crate) budget: Arc<Budget>,
    /// The beginning of a frame whose rest has not arrived.
    pub(crate) partial: Vec<u8>,
    /// The reason why the port is closing, if it is.
    pub(crate) closing: Option<CloseReason>,
    /// True if it is in its worker's list of ports to flush.
    pub(super) dirty: bool,
    /// True if traffic can be added to the batch: no frame waits that must be sent before it.
    direct: bool,
    batch: TrafficBatch,
    /// Frames that arrived when the batch was full. They are queued behind those of the batch that the socket refuses.
    overflow: Vec<(PortId, Box<[u8]>)>,
    protocol: ProtocolQueue,
    /// Pieces of one or several frames that a send left over, to be sent first. The first `skip` bytes of the first
    /// frame have been sent.
    rest: Vec<Box<[u8]>>,
    skip: usize,
    queue: FlowQueue,
    /// Bytes in the queue that are of local origin, as last counted in the backlog.
    backlog: usize,
    total: Rc<Total>,
    /// True if a send is under way.
    sending: bool,
    pacing: Pacing,
    watch: Watch,
    /// The number of traffic frames taken and neither sent nor dropped.
    waiting: u64,
}

/// A send that is due.
pub(super) enum Send {
    /// A send of the bytes that the socket takes at once.
    Inline(Outgoing),
    /// A send that waits until the socket has taken everything.
    Drain(Outgoing),
}

impl Port {
    pub(super) fn new(
        id: PortId,
        options: PortOptions,
        counters: Arc<PortCounters>,
        budget: Arc<Budget>,
        limits: &Limits,
        now: u64,
    ) -> Self {
        Self {
            id,
            counters,
            budget,
            partial: Vec::new(),
            closing: None,
            dirty: false,
            direct: true,
            batch: TrafficBatch::new(),
            overflow: Vec::new(),
            protocol: ProtocolQueue::new(limits.protocol),
            rest: Vec::new(),
            skip: 0,
            queue: FlowQueue::new(limits.queue_of(options.link)),
            backlog: 0,
            total: Rc::clone(&limits.total),
            sending: false,
            pacing: Pacing::new(),
            watch: Watch::new(options.keepalives, now),
            waiting: 0,
        }
    }

    /// Queues a protocol frame. If too many wait, the oldest are dropped, announcements last.
    pub(super) fn push_protocol(&mut self, frame: Box<[u8]>) {
        let dropped = self.protocol.push(frame);
        self.counters
            .dropped(DropReason::ProtocolQueueFull, dropped);
    }

    /// Adds traffic frames to the batch, or to the queue if the socket is full.
    #[inline]
    pub(super) fn push_traffic(
        &mut self,
        burst: &Burst<'_>,
        memory: &mut IterationMemory,
        now: u64,
    ) {
        self.waiting += u64::from(burst.frames);
        if !self.direct || self.batch.is_full() {
            return self.enqueue(burst, now);
        }
        self.batch.push(burst, memory);
    }

    /// Copies frames that cannot be added to the batch to the queue.
    #[cold]
    fn enqueue(&mut self, burst: &Burst<'_>, now: u64) {
        self.direct = false;
        let blocked = self.is_blocked();
        let mut rest = burst.bytes;
        for number in 0..burst.frames {
            let len = match burst.frames - number {
                1 => rest.len(),
                _ => frame_len(rest).unwrap_or(rest.len()).min(rest.len()),
            };
            let (body, behind) = rest.split_at(len);
            rest = behind;
            let frame = [burst.head, body].concat().into();
            match blocked {
                true => self.push_queue(burst.ingress, frame, now),
                false => self.overflow.push((burst.ingress, frame)),
            }
        }
    }

    /// Returns the send that is due, if any. At most one is under way at a time.
    pub(super) fn next_send(&mut self, now: u64) -> Option<Send> {
        self.batch.leave_block();
        self.update_gauges();
        if self.sending || self.closing.is_some() {
            return None;
        }
        if !self.batch.is_empty() || (self.rest.is_empty() && self.queue.is_empty()) {
            // Here, `rest` can only be the rest of a keepalive that was sent in part.
            let mut outgoing = Outgoing {
                owned: std::mem::take(&mut self.rest),
                skip: std::mem::take(&mut self.skip),
                ..Outgoing::default()
            };
            self.protocol.take(&mut outgoing.owned);
            self.batch.take(&mut outgoing);
            self.sending = !outgoing.is_empty();
            self.direct = !self.sending && !self.pacing.is_slow();
            return self.sending.then_some(Send::Inline(outgoing));
        }
        self.sending = true;
        self.direct = false;
        self.watch.drain_begins(now);
        Some(Send::Drain(self.drain(now)))
    }

    /// Accounts for a send that has completed. Returns whether there is more to send.
    pub(super) fn sent(
        &mut self,
        outgoing: Outgoing,
        sent: usize,
        now: u64,
        memory: &IterationMemory,
        receive: &ReceiveBuffers,
    ) -> bool {
        self.sending = false;
        if sent > 0 {
            self.watch.sent(now);
        }
        if let Some(elapsed) = self.watch.drain_ends(now) {
            self.pacing.adapt(sent, elapsed);
        }
        self.account(outgoing, sent, now, memory, receive);
        for (ingress, frame) in std::mem::take(&mut self.overflow) {
            self.push_queue(ingress, frame, now);
        }
        self.update_gauges();
        self.direct = !self.is_blocked();
        let more = !self.rest.is_empty() || !self.queue.is_empty() || !self.protocol.is_empty();
        if !more {
            self.queue.shrink();
        }
        more
    }

    /// Drops all frames that wait, as the port is closing.
    pub(super) fn abandon(&mut self, reason: CloseReason) {
        self.closing = Some(reason);
        self.partial = Vec::new();
        let rest: u64 = self.rest.iter().map(|piece| traffic_in(piece)).sum();
        let overflow = std::mem::take(&mut self.overflow).len() as u64;
        let dropped = self.batch.frames() + overflow + self.queue.frames() as u64 + rest;
        self.counters.dropped(DropReason::PortClosed, dropped);
        self.waiting -= dropped;
        self.batch.clear();
        self.rest.clear();
        self.protocol.clear();
        self.total.change(self.queue.bytes(), 0);
        self.queue = FlowQueue::new(QueueLimits::NONE);
        self.update_gauges();
    }

    /// Records that bytes have arrived, of which `partial` is the beginning of a frame. `continues` is set if this is
    /// the same frame as before.
    #[inline]
    pub(crate) fn received(&mut self, partial: Vec<u8>, continues: bool, now: u64) {
        self.partial = partial;
        self.watch.received(continues, now);
    }

    /// Returns the time at which to run the port's timers for the first time.
    pub(super) fn first_timer(&mut self) -> Option<u64> {
        self.watch.first_timer()
    }

    /// Returns the time at which to check a drain that has just begun, if that is before the timer that is set.
    pub(super) fn drain_timer(&mut self, now: u64) -> Option<u64> {
        self.watch.drain_timer(now)
    }

    /// Reports whether it is time to run the port's timers.
    pub(super) const fn is_due(&self, now: u64) -> bool {
        self.watch.is_due(now)
    }

    /// Queues a keepalive if one is due. Returns the time at which to run timers again, or the reason why the port must
    /// close.
    pub(super) fn run_timers(
        &mut self,
        now: u64,
        looked_at: u64,
        socket: &impl Socket,
    ) -> Result<Option<u64>, CloseReason> {
        let at = Now {
            now,
            looked_at,
            partial: self.partial.len(),
            is_idle: !self.sending && self.protocol.is_empty(),
        };
        let due = self.watch.run(&at, socket)?;
        if due.keepalive {
            self.push_protocol(Box::new(KEEPALIVE));
        }
        Ok(due.next)
    }

    /// Returns the number of bytes that the kernel may have unsent from now on, if that has changed. `Some(None)` lifts
    /// the limit.
    pub(super) fn take_unsent_limit(&mut self) -> Option<Option<usize>> {
        self.pacing.take_unsent_limit()
    }

    /// Reports whether a keepalive must be sent by itself before the send that is due.
    pub(super) fn needs_keepalive_first(&self, now: u64) -> bool {
        self.watch.is_quiet(now)
            && self.batch.bytes() + self.protocol.bytes() >= LONG_SEND
            && self.closing.is_none()
            && !self.sending
            && self.rest.is_empty()
            && self.queue.is_empty()
    }

    /// Accounts for a keepalive sent by itself, of which the socket has taken the first `sent` bytes.
    pub(super) fn keepalive_sent_first(&mut self, sent: usize, now: u64) {
        if sent == KEEPALIVE.len() {
            self.count_sent(&KEEPALIVE);
        } else if sent > 0 {
            self.keep(Box::new(KEEPALIVE), sent);
        }
        self.watch.sent(now);
    }

    /// Updates the counters of waiting frames.
    pub(super) fn update_gauges(&self) {
        self.counters.queued_frames.set(self.waiting);
        self.counters
            .queued_bytes
            .set((self.queue.bytes() + self.batch.bytes()) as u64);
    }

    const fn is_blocked(&self) -> bool {
        self.sending
            || !self.rest.is_empty()
            || !self.queue.is_empty()
            // On a slow link an inline send could fill the kernel's buffer in one go.
            || self.pacing.is_slow()
    }

    fn push_queue(&mut self, ingress: PortId, frame: Box<[u8]>, now: u64) {
        let before = self.queue.bytes();
        let room = self.total.room(before);
        let flow = flow_hash(&frame);
        let dropped = self.queue.push(ingress, flow, frame, room, now);
        self.total.change(before, self.queue.bytes());
        self.waiting -= dropped;
        self.counters.dropped(DropReason::QueueFull, dropped);
        self.update_backlog();
    }

    fn pop_queue(&mut self, now: u64) -> Option<Box<[u8]>> {
        let before = self.queue.bytes();
        let frame = self.queue.pop(now);
        self.total.change(before, self.queue.bytes());
        let late = self.queue.take_late();
        self.waiting -= late;
        self.counters.dropped(DropReason::QueueDelay, late);
        self.update_backlog();
        frame
    }

    /// Updates the backlog: the bytes of the queue that are of local origin.
    #[inline]
    fn update_backlog(&mut self) {
        let (bytes, dropped) = (self.queue.local_bytes(), self.queue.take_local_drops());
        if bytes != self.backlog {
            self.backlog = bytes;
            self.counters.backlog.set(bytes);
        }
        if dropped > 0 {
            self.counters.local_drops.add(dropped);
        }
    }

    /// Takes the waiting frames that the next drain sends.
    fn drain(&mut self, now: u64) -> Outgoing {
        let mut outgoing = Outgoing {
            skip: std::mem::take(&mut self.skip),
            ..Outgoing::default()
        };
        outgoing.owned = std::mem::take(&mut self.rest);
        self.protocol.take(&mut outgoing.owned);
        let limit = self.pacing.drain_limit();
        let mut bytes: usize = outgoing.owned.iter().map(|f| f.len()).sum();
        // Small frames share pieces, as the number of pieces of a send is limited.
        let mut small = Vec::new();
        while outgoing.owned.len() < MAX_PIECES - 1 && (bytes < limit || bytes == 0) {
            let Some(frame) = self.pop_queue(now) else {
                break;
            };
            bytes += frame.len();
            let lone = frame.len() >= GATHER_BELOW;
            if !small.is_empty() && (lone || small.len() + frame.len() > BLOCK_LEN) {
                outgoing.owned.push(std::mem::take(&mut small).into());
            }
            match lone {
                true => outgoing.owned.push(frame),
                false => small.extend_from_slice(&frame),
            }
        }
        if !small.is_empty() {
            outgoing.owned.push(small.into());
        }
        outgoing
    }

    /// Counts the bytes that were sent, and keeps or drops those that were not.
    fn account(
        &mut self,
        outgoing: Outgoing,
        sent: usize,
        now: u64,
        memory: &IterationMemory,
        receive: &ReceiveBuffers,
    ) {
        let Outgoing {
            owned,
            mut skip,
            segments,
            segment_frames,
            segment_bytes,
            in_flight,
        } = outgoing;
        let counters = &self.counters;
        self.waiting -= in_flight.traffic_frames;
        counters.tx_traffic_frames.add(in_flight.traffic_frames);
        counters.tx_traffic_bytes.add(in_flight.traffic_bytes);
        counters.tx_protocol_frames.add(in_flight.protocol_frames);
        counters.tx_protocol_bytes.add(in_flight.protocol_bytes);
        // A part of the first frame may have been sent before.
        let counted = in_flight.traffic_bytes + in_flight.protocol_bytes;
        let mut left = sent.saturating_sub(counted as usize);
        for piece in owned {
            let mut gone = 0;
            for frame in frames_in(&piece) {
                let rest = frame.len() - skip;
                if !self.rest.is_empty() || left < rest {
                    break;
                }
                left -= rest;
                skip = 0;
                gone += frame.len();
                self.count_sent(frame);
            }
            if gone < piece.len() {
                let piece = match gone {
                    0 => piece,
                    gone => piece[gone..].into(),
                };
                self.keep(piece, skip + left);
                (skip, left) = (0, 0);
            }
        }
        if left == segment_bytes {
            self.waiting -= segment_frames;
            self.counters.tx_traffic_frames.add(segment_frames);
            self.counters.tx_traffic_bytes.add(segment_bytes as u64);
        } else {
            let mut origins = self.batch.origins();
            for frame in frames_of(&segments, memory, receive) {
                let ingress = origins.next().unwrap_or(PortId::LOCAL);
                let len: usize = frame.iter().map(|p| p.len()).sum();
                if left >= len {
                    left -= len;
                    self.waiting -= 1;
                    self.counters.tx_traffic_frames.add(1);
                    self.counters.tx_traffic_bytes.add(len as u64);
                } else if left > 0 {
                    self.keep(frame.concat().into(), left);
                    left = 0;
                } else if self.closing.is_some() {
                    self.waiting -= 1;
                    self.counters.dropped(DropReason::PortClosed, 1);
                } else {
                    self.push_queue(ingress, frame.concat().into(), now);
                }
            }
        }
        self.batch.recycle(segments);
    }

    /// Keeps unsent frames for the next send, or drops them if the port is closing.
    fn keep(&mut self, piece: Box<[u8]>, gone: usize) {
        if self.closing.is_none() {
            if self.rest.is_empty() {
                self.skip = gone;
            }
            self.rest.push(piece);
        } else {
            let frames = traffic_in(&piece);
            self.waiting -= frames;
            self.counters.dropped(DropReason::PortClosed, frames);
        }
    }

    fn count_sent(&mut self, frame: &[u8]) {
        let len = frame.len() as u64;
        if is_traffic(frame) {
            self.waiting -= 1;
            self.counters.tx_traffic_frames.add(1);
            self.counters.tx_traffic_bytes.add(len);
        } else {
            self.counters.tx_protocol_frames.add(1);
            self.counters.tx_protocol_bytes.add(len);
        }
    }
}

#[cfg(test)]
mod tests;
