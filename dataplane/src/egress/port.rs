//! One port's way out.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use pinecone_wire::frame::KEEPALIVE;

use crate::buffer::{BLOCK_LEN, Place, ReceiveBuffers, Segment, TurnMemory};
use crate::counters::{DropReason, PortCounters};
use crate::engine::{MAX_PIECES, Outgoing};
use crate::frames::{flow_hash, frame_len, frames_in, frames_of, is_traffic, traffic_in};
use crate::ingress::Run;
use crate::queue::{FlowQueue, QueueLimits};
use crate::report::{Budget, CloseReason};
use crate::{DataPlaneOptions, LinkType, PortId, PortOptions};

/// A lone frame shorter than this is copied next to others; longer ones are sent from where they
/// lie: a copy of 2 KiB costs about what another piece costs the kernel.
const GATHER_BELOW: usize = 2048;
/// Protocol frames in one send.
const MAX_PROTOCOL: usize = 64;
/// Segments of a port and turn, less what one more frame may add; what comes on top waits.
const MAX_SEGMENTS: usize = MAX_PIECES - MAX_PROTOCOL - 4;
/// Bytes of a drain, at the least and at the most. It adapts to what the peer takes, so that a
/// write finishes in time on a slow link too.
const DRAIN_MIN: usize = 16 << 10;
const DRAIN_MAX: usize = 512 << 10;
/// A drain faster than this may grow, one slower than that must shrink, in milliseconds.
const DRAIN_FAST_MS: u64 = 250;
const DRAIN_SLOW_MS: u64 = 1000;
/// Protocol section 3, in milliseconds.
const KEEPALIVE_MS: u64 = 3000;
const DEAD_MS: u64 = 5000;
const WRITE_MS: u64 = 3000;
/// A frame that has begun ends within this time, or as many bytes of it come: 1 KiB a second.
const FRAME_MS: u64 = 5000;
const FRAME_BYTES: usize = 5 << 10;

/// Frames that wait for a Bluetooth peering at the most: 16 flows of 16, as in the deployed nodes
/// (protocol section 7).
const BLUETOOTH_FRAMES: usize = 16 * 16;

/// What the ports of a worker may have waiting.
pub(super) struct Limits {
    queue: QueueLimits,
    protocol: usize,
    total: Rc<Total>,
}

/// Traffic that waits at all ports of a worker.
struct Total {
    bytes: Cell<usize>,
    limit: usize,
}

/// A port as its worker keeps it.
pub(crate) struct Port {
    pub(crate) id: PortId,
    pub(crate) counters: Arc<PortCounters>,
    pub(crate) budget: Arc<Budget>,
    /// The beginning of a frame whose rest has not come.
    pub(crate) carry: Vec<u8>,
    /// When bytes came last, in the worker's milliseconds.
    last_rx: u64,
    /// Since when `carry` is to have grown by [`FRAME_BYTES`], and how long it was then.
    frame_mark: (u64, usize),
    /// Why the port is closing, if it is.
    pub(crate) closing: Option<CloseReason>,
    /// Whether it is in its worker's list of ports to flush.
    pub(super) dirty: bool,
    options: PortOptions,
    last_tx: u64,
    timer_due: u64,
    segments: Vec<Segment>,
    segment_frames: u64,
    segment_bytes: usize,
    /// Frames that came when there were too many segments. They go to the queue behind what the
    /// socket refuses of those.
    overflow: Vec<Box<[u8]>>,
    /// The gather block that this port fills this turn, and how far it is.
    block: Option<(u16, usize)>,
    /// Whether the last segment ends where the block is filled up to.
    gathering: bool,
    /// Whether traffic can go into this turn's list: nothing waits that must go before it.
    direct: bool,
    protocol: VecDeque<Box<[u8]>>,
    protocol_bytes: usize,
    protocol_limit: usize,
    /// What a send left over, to go first, in pieces of one frame or several; of the first frame,
    /// `skip` bytes have gone.
    rest: Vec<Box<[u8]>>,
    skip: usize,
    queue: FlowQueue,
    total: Rc<Total>,
    sending: bool,
    drain_since: Option<u64>,
    drain_limit: usize,
    /// Traffic frames taken on and neither sent nor dropped.
    waiting: u64,
}

/// What to do with a send.
pub(super) enum Send {
    /// Take what the socket takes at once.
    Inline(Outgoing),
    /// Wait until the socket has taken it.
    Drain(Outgoing),
}

impl Limits {
    pub(super) fn new(options: &DataPlaneOptions) -> Self {
        let queue = QueueLimits {
            bytes: options.port_queue_bytes,
            frames: usize::MAX,
            delay: options.queue_delay.map(|d| d.as_millis() as u64),
        };
        let total = Total {
            bytes: Cell::new(0),
            limit: options.queue_bytes / options.workers.max(1),
        };
        Self {
            queue,
            protocol: options.port_protocol_bytes,
            total: Rc::new(total),
        }
    }

    fn queue_of(&self, link: LinkType) -> QueueLimits {
        match link {
            LinkType::Bluetooth => QueueLimits {
                frames: BLUETOOTH_FRAMES,
                ..self.queue
            },
            _ => self.queue,
        }
    }
}

impl Total {
    /// A port had `before` bytes waiting and now has `after`.
    fn change(&self, before: usize, after: usize) {
        self.bytes.set(self.bytes.get() + after - before);
    }
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
            carry: Vec::new(),
            last_rx: now,
            frame_mark: (now, 0),
            closing: None,
            dirty: false,
            options,
            last_tx: now,
            timer_due: u64::MAX,
            segments: Vec::new(),
            segment_frames: 0,
            segment_bytes: 0,
            overflow: Vec::new(),
            block: None,
            gathering: false,
            direct: true,
            protocol: VecDeque::new(),
            protocol_bytes: 0,
            protocol_limit: limits.protocol,
            rest: Vec::new(),
            skip: 0,
            queue: FlowQueue::new(limits.queue_of(options.link)),
            total: Rc::clone(&limits.total),
            sending: false,
            drain_since: None,
            drain_limit: 4 * DRAIN_MIN,
            waiting: 0,
        }
    }

    /// Queues a protocol frame. The oldest go if there are too many: a newer announcement or
    /// bootstrap makes them stale.
    pub(super) fn push_protocol(&mut self, frame: Box<[u8]>) {
        self.protocol_bytes += frame.len();
        self.protocol.push_back(frame);
        while self.protocol_bytes > self.protocol_limit {
            let Some(old) = self.protocol.pop_front() else {
                break;
            };
            self.protocol_bytes -= old.len();
            self.counters.dropped(DropReason::ProtocolQueueFull, 1);
        }
    }

    /// Adds traffic frames to this turn's list, or to the queue if the socket is full.
    #[inline]
    pub(super) fn push_traffic(&mut self, run: &Run<'_>, turn: &mut TurnMemory, now: u64) {
        self.waiting += u64::from(run.frames);
        if !self.direct || self.segments.len() >= MAX_SEGMENTS {
            return self.put_by(run, now);
        }
        self.segment_frames += u64::from(run.frames);
        self.segment_bytes += run.head.len() + run.bytes.len();
        if !run.head.is_empty() {
            self.gather(run.head, turn);
        }
        if run.bytes.len() < GATHER_BELOW {
            return self.gather(run.bytes, turn);
        }
        let body = Segment::new(run.place, run.at, run.bytes.len());
        match self.segments.last_mut() {
            // Neighbours in the receive buffer stay one piece.
            Some(last) if last.place == body.place && last.end() == body.at as usize => {
                last.len += body.len;
            }
            _ => {
                self.gathering = false;
                self.segments.push(body);
            }
        }
    }

    /// Keeps frames that cannot be in this turn's list.
    #[cold]
    fn put_by(&mut self, run: &Run<'_>, now: u64) {
        self.direct = false;
        let blocked = self.is_blocked();
        let mut rest = run.bytes;
        for number in 0..run.frames {
            let len = match run.frames - number {
                1 => rest.len(),
                _ => frame_len(rest).unwrap_or(rest.len()).min(rest.len()),
            };
            let (body, behind) = rest.split_at(len);
            rest = behind;
            let frame = [run.head, body].concat().into();
            match blocked {
                true => self.enqueue(frame, now),
                false => self.overflow.push(frame),
            }
        }
    }

    /// The send that is due, if any. There is never more than one under way.
    pub(super) fn next_send(&mut self, now: u64) -> Option<Send> {
        self.block = None;
        self.gathering = false;
        self.update_gauges();
        if self.sending || self.closing.is_some() {
            return None;
        }
        if !self.segments.is_empty() || (self.rest.is_empty() && self.queue.is_empty()) {
            let mut outgoing = Outgoing::default();
            self.take_protocol(&mut outgoing.owned);
            outgoing.segments = std::mem::take(&mut self.segments);
            outgoing.segment_frames = std::mem::take(&mut self.segment_frames);
            outgoing.segment_bytes = std::mem::take(&mut self.segment_bytes);
            self.sending = !outgoing.is_empty();
            self.direct = !self.sending;
            return self.sending.then_some(Send::Inline(outgoing));
        }
        self.sending = true;
        self.direct = false;
        self.drain_since = Some(now);
        Some(Send::Drain(self.drain(now)))
    }

    /// Accounts for a send that is over, and says whether there is more to send.
    pub(super) fn sent(
        &mut self,
        outgoing: Outgoing,
        sent: usize,
        now: u64,
        turn: &TurnMemory,
        receive: &ReceiveBuffers,
    ) -> bool {
        self.sending = false;
        if sent > 0 {
            self.last_tx = now;
        }
        if let Some(since) = self.drain_since.take() {
            match now.saturating_sub(since) {
                0..=DRAIN_FAST_MS => self.drain_limit = (self.drain_limit * 2).min(DRAIN_MAX),
                DRAIN_SLOW_MS.. => self.drain_limit = (self.drain_limit / 2).max(DRAIN_MIN),
                _ => {}
            }
        }
        self.settle(outgoing, sent, now, turn, receive);
        for frame in std::mem::take(&mut self.overflow) {
            self.enqueue(frame, now);
        }
        self.update_gauges();
        self.direct = !self.is_blocked();
        let more = !self.rest.is_empty() || !self.queue.is_empty() || !self.protocol.is_empty();
        if !more {
            self.queue.shrink();
        }
        more
    }

    /// Gives up everything that waits.
    pub(super) fn abandon(&mut self, reason: CloseReason) {
        self.closing = Some(reason);
        self.carry = Vec::new();
        let rest: u64 = self.rest.iter().map(|piece| traffic_in(piece)).sum();
        let overflow = std::mem::take(&mut self.overflow).len() as u64;
        let gone = self.segment_frames + overflow + self.queue.frames() as u64 + rest;
        self.counters.dropped(DropReason::PortClosed, gone);
        self.waiting -= gone;
        self.segments.clear();
        self.segment_frames = 0;
        self.segment_bytes = 0;
        self.rest.clear();
        self.protocol.clear();
        self.total.change(self.queue.bytes(), 0);
        self.queue = FlowQueue::new(QueueLimits::NONE);
        self.update_gauges();
    }

    /// Takes the beginning of a frame whose rest has not come, at `now`. It `goes_on` if it is the
    /// one that was taken before.
    #[inline]
    pub(crate) fn received(&mut self, carry: Vec<u8>, goes_on: bool, now: u64) {
        self.carry = carry;
        self.last_rx = now;
        if !goes_on {
            self.frame_mark = (now, 0);
        }
    }

    /// When to look at the port's timers first.
    pub(super) fn first_timer(&mut self) -> Option<u64> {
        if !self.options.keepalives {
            return None;
        }
        self.timer_due = self.last_tx + KEEPALIVE_MS;
        Some(self.timer_due)
    }

    /// When to look at a drain that has just begun, if that is before the timer that is set.
    pub(super) fn drain_timer(&mut self, now: u64) -> Option<u64> {
        let due = now + WRITE_MS;
        (due < self.timer_due).then(|| {
            self.timer_due = due;
            due
        })
    }

    pub(super) const fn is_due(&self, now: u64) -> bool {
        now >= self.timer_due
    }

    /// Sends a keepalive if one is due, or says that the port is over; else when to look again.
    pub(super) fn run_timers(&mut self, now: u64) -> Result<Option<u64>, CloseReason> {
        if self
            .drain_since
            .is_some_and(|since| now >= since + WRITE_MS)
        {
            return Err(CloseReason::WriteTimeout);
        }
        let mut due = self.drain_since.map_or(u64::MAX, |since| since + WRITE_MS);
        if self.options.keepalives {
            if now >= self.last_rx + DEAD_MS {
                return Err(CloseReason::Dead);
            }
            if !self.carry.is_empty() {
                let (since, len) = self.frame_mark;
                if now >= since + FRAME_MS {
                    if self.carry.len() < len + FRAME_BYTES {
                        return Err(CloseReason::SlowFrame);
                    }
                    self.frame_mark = (now, self.carry.len());
                }
                due = due.min(self.frame_mark.0 + FRAME_MS);
            }
            if now >= self.last_tx + KEEPALIVE_MS && !self.sending && self.protocol.is_empty() {
                self.last_tx = now;
                self.push_protocol(Box::new(KEEPALIVE));
            }
            let keepalive = (self.last_tx + KEEPALIVE_MS).max(now + 1);
            due = due.min(keepalive).min(self.last_rx + DEAD_MS);
        }
        self.timer_due = due;
        Ok((due != u64::MAX).then_some(due))
    }

    const fn is_blocked(&self) -> bool {
        self.sending || !self.rest.is_empty() || !self.queue.is_empty()
    }

    fn enqueue(&mut self, frame: Box<[u8]>, now: u64) {
        let before = self.queue.bytes();
        let room = self
            .total
            .limit
            .saturating_sub(self.total.bytes.get() - before);
        let dropped = self.queue.push(flow_hash(&frame), frame, room, now);
        self.total.change(before, self.queue.bytes());
        self.waiting -= dropped;
        self.counters.dropped(DropReason::QueueFull, dropped);
    }

    fn dequeue(&mut self, now: u64) -> Option<Box<[u8]>> {
        let before = self.queue.bytes();
        let frame = self.queue.pop(now);
        self.total.change(before, self.queue.bytes());
        let late = self.queue.take_late();
        self.waiting -= late;
        self.counters.dropped(DropReason::QueueDelay, late);
        frame
    }

    /// Copies bytes next to those that were copied before, as less than another piece costs.
    #[inline(always)]
    fn gather(&mut self, bytes: &[u8], turn: &mut TurnMemory) {
        if let Some((block, filled)) = &mut self.block
            && self.gathering
            && turn.put(*block, *filled, bytes)
            && let Some(last) = self.segments.last_mut()
        {
            *filled += bytes.len();
            last.len += bytes.len() as u32;
            return;
        }
        self.gather_anew(bytes, turn);
    }

    /// The same as a segment of its own.
    #[inline(never)]
    fn gather_anew(&mut self, bytes: &[u8], turn: &mut TurnMemory) {
        let place = match self.block {
            Some((block, filled)) if turn.put(block, filled, bytes) => (block, filled),
            _ => {
                let block = turn.new_block();
                if !turn.put(block, 0, bytes) {
                    // A head that is longer than a block.
                    let mut buffer = turn.spare();
                    buffer.extend_from_slice(bytes);
                    let id = turn.own(buffer);
                    let whole = Segment::new(Place::Owned(id), 0, bytes.len());
                    self.segments.push(whole);
                    self.gathering = false;
                    return;
                }
                (block, 0)
            }
        };
        self.block = Some((place.0, place.1 + bytes.len()));
        self.gathering = true;
        let moved = Segment::new(Place::Block(place.0), place.1, bytes.len());
        self.segments.push(moved);
    }

    fn take_protocol(&mut self, owned: &mut Vec<Box<[u8]>>) {
        while owned.len() < MAX_PROTOCOL {
            let Some(frame) = self.protocol.pop_front() else {
                return;
            };
            self.protocol_bytes -= frame.len();
            owned.push(frame);
        }
    }

    /// What goes out next of all that waits.
    fn drain(&mut self, now: u64) -> Outgoing {
        let mut outgoing = Outgoing {
            skip: std::mem::take(&mut self.skip),
            ..Outgoing::default()
        };
        outgoing.owned = std::mem::take(&mut self.rest);
        self.take_protocol(&mut outgoing.owned);
        let mut bytes: usize = outgoing.owned.iter().map(|f| f.len()).sum();
        // Small frames next to each other: one send has only so many pieces.
        let mut small = Vec::new();
        while outgoing.owned.len() < MAX_PIECES - 1
            && (bytes < self.drain_limit || outgoing.owned.is_empty())
        {
            let Some(frame) = self.dequeue(now) else {
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

    /// Counts what has gone and keeps what has not.
    fn settle(
        &mut self,
        outgoing: Outgoing,
        sent: usize,
        now: u64,
        turn: &TurnMemory,
        receive: &ReceiveBuffers,
    ) {
        let Outgoing {
            owned,
            mut skip,
            mut segments,
            segment_frames,
            segment_bytes,
            kept,
        } = outgoing;
        self.waiting -= kept.traffic_frames;
        self.counters.tx_traffic_frames.add(kept.traffic_frames);
        self.counters.tx_traffic_bytes.add(kept.traffic_bytes);
        self.counters.tx_protocol_frames.add(kept.protocol_frames);
        self.counters.tx_protocol_bytes.add(kept.protocol_bytes);
        // Part of the first may have gone before.
        let mut left = sent.saturating_sub((kept.traffic_bytes + kept.protocol_bytes) as usize);
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
            for frame in frames_of(&segments, turn, receive) {
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
                    self.enqueue(frame.concat().into(), now);
                }
            }
        }
        // The vector is worth keeping: the next turn fills it again.
        segments.clear();
        if self.segments.capacity() == 0 {
            self.segments = segments;
        }
    }

    /// Keeps unsent frames for the next send, or gives them up if there will be none.
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

    pub(super) fn update_gauges(&self) {
        self.counters.queued_frames.set(self.waiting);
        self.counters
            .queued_bytes
            .set((self.queue.bytes() + self.segment_bytes) as u64);
    }
}

#[cfg(test)]
mod tests;
