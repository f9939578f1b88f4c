//! One port's way out.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use pinecone_wire::frame::KEEPALIVE;

use crate::buffer::{BLOCK_LEN, IterationMemory, Place, ReceiveBuffers, Segment};
use crate::counters::{DropReason, PortCounters};
use crate::engine::{MAX_PIECES, Outgoing, Readiness};
use crate::frames::{
    flow_hash, frame_len, frames_in, frames_of, is_announcement, is_traffic, traffic_in,
};
use crate::ingress::Burst;
use crate::queue::{FlowQueue, QueueLimits};
use crate::report::{Budget, CloseReason};
use crate::{DataPlaneOptions, LinkType, PortId, PortOptions};

/// A lone frame shorter than this is copied next to others; longer ones are sent from where they
/// lie: a copy of 2 KiB costs about what another piece costs the kernel.
const GATHER_BELOW: usize = 2048;
/// Protocol frames in one send.
const MAX_PROTOCOL: usize = 64;
/// Segments of a port and memory, less what one more frame may add; what comes on top waits.
const MAX_SEGMENTS: usize = MAX_PIECES - MAX_PROTOCOL - 4;
/// Bytes of a drain, at the beginning, at the least and at the most. The size adapts to what the
/// peer takes: on a slow link, what is in a drain can neither be overtaken nor dropped.
const DRAIN_FIRST: usize = 16 << 10;
const DRAIN_MIN: usize = 2 << 10;
const DRAIN_MAX: usize = 512 << 10;
/// A drain faster than this may grow, one slower than that must shrink, in milliseconds.
const DRAIN_FAST_MS: u64 = 10;
const DRAIN_SLOW_MS: u64 = 200;
/// How long a drain on a slow link is meant to take, and for how long the kernel may have unsent
/// bytes there, in milliseconds.
const DRAIN_AIM_MS: usize = 50;
const UNSENT_MS: usize = 50;
/// Bounds of what the kernel may have unsent on a slow link.
const UNSENT_MIN: usize = 3 << 10;
const UNSENT_MAX: usize = 128 << 10;
/// A fast drain of this many bytes shows that the link is no longer slow.
const DRAIN_LONG: usize = 64 << 10;
/// Protocol section 3, in milliseconds.
const KEEPALIVE_MS: u64 = 3000;
const DEAD_MS: u64 = 5000;
/// A frame that has begun ends within this time, or as many bytes of it come: 1 KiB a second.
const FRAME_MS: u64 = 5000;
const FRAME_BYTES: usize = 5 << 10;
/// How long a write may go without progress: as long as the peer bears silence, and longer than TCP
/// takes to find that long segments do not get through (3.2 s).
const WRITE_MS: u64 = 5000;
/// How often to look for progress of a write that takes long.
const LOOK_MS: u64 = 1000;
/// A send of this many bytes after this much silence goes behind a keepalive in a segment of its own.
/// If the path then swallows long segments, the peer's patience begins now and not at the last
/// keepalive before.
const LONG_SEND: usize = 1000;
const QUIET_MS: u64 = 1000;

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
    pub(crate) partial: Vec<u8>,
    /// When bytes came last, in the worker's milliseconds.
    last_rx: u64,
    /// Since when `partial` is to have grown by [`FRAME_BYTES`], and how long it was then.
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
    overflow: Vec<(PortId, Box<[u8]>)>,
    /// Where the frames of `segments` came from, in their order, with how many: the last one, and
    /// those before it.
    source: (PortId, u64),
    sources: Vec<(PortId, u64)>,
    /// The gather block that this port fills this memory, and how far it is.
    block: Option<(u16, usize)>,
    /// Whether the last segment ends where the block is filled up to.
    gathering: bool,
    /// Whether traffic can go into this turn's list: nothing waits that must go before it.
    direct: bool,
    protocol: VecDeque<Box<[u8]>>,
    protocol_bytes: usize,
    /// Announcements among the protocol frames that wait.
    announcements: usize,
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
    /// When the drain under way was last seen to move, and how far it was. The outer `Option` is
    /// `None` until it is looked at for the first time.
    progress_at: u64,
    progress: Option<Option<u64>>,
    /// Bytes that the kernel may have unsent, if that is limited, and whether it has been told.
    unsent_limit: Option<usize>,
    unsent_limit_is_new: bool,
    /// Traffic frames taken on and neither sent nor dropped.
    waiting: u64,
}

/// A port's socket, as its timers see it.
pub(super) trait Socket {
    /// Returns how far the drain under way is: a number that changes when the peer takes bytes.
    fn progress(&self) -> Option<u64>;

    /// Returns what the socket is ready for at this moment.
    fn readiness(&self) -> Readiness;
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
            partial: Vec::new(),
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
            source: (PortId::LOCAL, 0),
            sources: Vec::new(),
            block: None,
            gathering: false,
            direct: true,
            protocol: VecDeque::new(),
            protocol_bytes: 0,
            announcements: 0,
            protocol_limit: limits.protocol,
            rest: Vec::new(),
            skip: 0,
            queue: FlowQueue::new(limits.queue_of(options.link)),
            total: Rc::clone(&limits.total),
            sending: false,
            drain_since: None,
            drain_limit: DRAIN_FIRST,
            progress_at: now,
            progress: None,
            unsent_limit: None,
            unsent_limit_is_new: false,
            waiting: 0,
        }
    }

    /// Queues a protocol frame. If there are too many, the oldest frames go, announcements last: the
    /// control plane does not repeat them, and each says something that the next one builds on.
    pub(super) fn push_protocol(&mut self, frame: Box<[u8]>) {
        self.protocol_bytes += frame.len();
        self.announcements += usize::from(is_announcement(&frame));
        self.protocol.push_back(frame);
        while self.protocol_bytes > self.protocol_limit {
            let other = self.protocol.iter().position(|f| !is_announcement(f));
            if other.is_none() && self.announcements == 1 {
                break;
            }
            let Some(old) = self.protocol.remove(other.unwrap_or(0)) else {
                break;
            };
            self.announcements -= usize::from(is_announcement(&old));
            self.protocol_bytes -= old.len();
            self.counters.dropped(DropReason::ProtocolQueueFull, 1);
        }
    }

    /// Adds traffic frames to this turn's list, or to the queue if the socket is full.
    #[inline]
    pub(super) fn push_traffic(
        &mut self,
        burst: &Burst<'_>,
        memory: &mut IterationMemory,
        now: u64,
    ) {
        self.waiting += u64::from(burst.frames);
        if !self.direct || self.segments.len() >= MAX_SEGMENTS {
            return self.enqueue(burst, now);
        }
        if self.source.0 != burst.ingress {
            self.change_source(burst.ingress);
        }
        self.source.1 += u64::from(burst.frames);
        self.segment_frames += u64::from(burst.frames);
        self.segment_bytes += burst.head.len() + burst.bytes.len();
        if !burst.head.is_empty() {
            self.gather(burst.head, memory);
        }
        if burst.bytes.len() < GATHER_BELOW {
            return self.gather(burst.bytes, memory);
        }
        let body = Segment::new(burst.place, burst.at, burst.bytes.len());
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

    fn change_source(&mut self, ingress: PortId) {
        let before = std::mem::replace(&mut self.source, (ingress, 0));
        if before.1 > 0 {
            self.sources.push(before);
        }
    }

    /// Keeps frames that cannot be in this turn's list.
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

    /// The send that is due, if any. There is never more than one under way.
    pub(super) fn next_send(&mut self, now: u64) -> Option<Send> {
        self.block = None;
        self.gathering = false;
        self.update_gauges();
        if self.sending || self.closing.is_some() {
            return None;
        }
        if !self.segments.is_empty() || (self.rest.is_empty() && self.queue.is_empty()) {
            // Something is left over here only of a keepalive that was sent in part.
            let mut outgoing = Outgoing {
                owned: std::mem::take(&mut self.rest),
                skip: std::mem::take(&mut self.skip),
                ..Outgoing::default()
            };
            self.take_protocol(&mut outgoing.owned);
            outgoing.segments = std::mem::take(&mut self.segments);
            outgoing.segment_frames = std::mem::take(&mut self.segment_frames);
            outgoing.segment_bytes = std::mem::take(&mut self.segment_bytes);
            self.sending = !outgoing.is_empty();
            self.direct = !self.sending && self.unsent_limit.is_none();
            return self.sending.then_some(Send::Inline(outgoing));
        }
        self.sending = true;
        self.direct = false;
        self.drain_since = Some(now);
        self.progress_at = now;
        self.progress = None;
        Some(Send::Drain(self.drain(now)))
    }

    /// Accounts for a send that is over, and says whether there is more to send.
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
            self.last_tx = now;
        }
        if let Some(since) = self.drain_since.take() {
            self.adapt(sent, now.saturating_sub(since));
        }
        self.settle(outgoing, sent, now, memory, receive);
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

    /// Gives up everything that waits.
    pub(super) fn abandon(&mut self, reason: CloseReason) {
        self.closing = Some(reason);
        self.partial = Vec::new();
        let rest: u64 = self.rest.iter().map(|piece| traffic_in(piece)).sum();
        let overflow = std::mem::take(&mut self.overflow).len() as u64;
        let gone = self.segment_frames + overflow + self.queue.frames() as u64 + rest;
        self.counters.dropped(DropReason::PortClosed, gone);
        self.waiting -= gone;
        self.segments.clear();
        self.sources.clear();
        self.source.1 = 0;
        self.segment_frames = 0;
        self.segment_bytes = 0;
        self.rest.clear();
        self.protocol.clear();
        self.protocol_bytes = 0;
        self.announcements = 0;
        self.total.change(self.queue.bytes(), 0);
        self.queue = FlowQueue::new(QueueLimits::NONE);
        self.update_gauges();
    }

    /// Takes the beginning of a frame whose rest has not come, at `now`. It `goes_on` if it is the
    /// one that was taken before.
    #[inline]
    pub(crate) fn received(&mut self, partial: Vec<u8>, goes_on: bool, now: u64) {
        self.partial = partial;
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
        let due = now + LOOK_MS;
        (due < self.timer_due).then(|| {
            self.timer_due = due;
            due
        })
    }

    pub(super) const fn is_due(&self, now: u64) -> bool {
        now >= self.timer_due
    }

    /// Sends a keepalive if one is due, and returns when to look again, or why the port must close.
    ///
    /// The worker may have been stopped until just now, with bytes of the peer's in the socket. A
    /// peer is judged by what had arrived by `looked_at`, after which all sockets have been read
    /// once, and only if its socket holds nothing that is still to be dealt with: there may have
    /// been too little room to read from all of them.
    pub(super) fn run_timers(
        &mut self,
        now: u64,
        looked_at: u64,
        socket: &impl Socket,
    ) -> Result<Option<u64>, CloseReason> {
        let mut due = u64::MAX;
        if let Some(since) = self.drain_since {
            due = since + LOOK_MS;
            if now >= due {
                self.look(now, socket.progress());
                let is_stuck = now >= self.progress_at + WRITE_MS;
                if is_stuck
                    && looked_at >= self.progress_at + WRITE_MS
                    && !socket.readiness().writable
                {
                    return Err(CloseReason::WriteTimeout);
                }
                due = now + if is_stuck { 1 } else { LOOK_MS };
            }
        }
        if self.options.keepalives {
            let unread = |since: u64| looked_at < since || socket.readiness().readable;
            if now >= self.last_rx + DEAD_MS && !unread(self.last_rx + DEAD_MS) {
                return Err(CloseReason::Dead);
            }
            if !self.partial.is_empty() {
                let (since, len) = self.frame_mark;
                if now >= since + FRAME_MS {
                    if self.partial.len() >= len + FRAME_BYTES {
                        self.frame_mark = (now, self.partial.len());
                    } else if !unread(since + FRAME_MS) {
                        return Err(CloseReason::SlowFrame);
                    }
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
        due = due.max(now + 1);
        self.timer_due = due;
        Ok((due != u64::MAX).then_some(due))
    }

    /// Takes note of how far a drain is that takes long.
    fn look(&mut self, now: u64, progress: Option<u64>) {
        let has_moved = match self.progress {
            Some(before) => progress != before,
            // A first look has nothing to compare with: the peer may have taken bytes until now.
            None => now >= self.progress_at + 2 * LOOK_MS,
        };
        if has_moved {
            self.progress_at = now;
        }
        self.progress = Some(progress);
    }

    /// Fits the next drain, and what the kernel may have unsent, to a drain of `bytes` that took
    /// `elapsed` milliseconds.
    fn adapt(&mut self, bytes: usize, elapsed: u64) {
        let in_time = |ms: usize| bytes.saturating_mul(ms) / elapsed.max(1) as usize;
        if elapsed <= DRAIN_FAST_MS {
            if bytes >= DRAIN_LONG && self.unsent_limit.is_some() {
                self.unsent_limit = None;
                self.unsent_limit_is_new = true;
            }
            // A smaller drain may have gone no further than to the kernel.
            if bytes >= self.drain_limit / 2 {
                self.drain_limit = (self.drain_limit * 2).min(DRAIN_MAX);
            }
        } else if elapsed >= DRAIN_SLOW_MS {
            self.drain_limit = in_time(DRAIN_AIM_MS).clamp(DRAIN_MIN, DRAIN_MAX);
            let wanted = in_time(UNSENT_MS).clamp(UNSENT_MIN, UNSENT_MAX);
            let fits = |limit| (wanted / 2..=wanted.saturating_mul(2)).contains(&limit);
            if !self.unsent_limit.is_some_and(fits) {
                self.unsent_limit = Some(wanted);
                self.unsent_limit_is_new = true;
            }
        }
    }

    /// What the kernel may have unsent from now on, if that has changed. `Some(None)` is no limit.
    pub(super) fn take_unsent_limit(&mut self) -> Option<Option<usize>> {
        std::mem::take(&mut self.unsent_limit_is_new).then_some(self.unsent_limit)
    }

    /// Whether a keepalive must go out by itself before what is to be sent now.
    pub(super) fn needs_herald(&self, now: u64) -> bool {
        now >= self.last_tx + QUIET_MS
            && self.options.keepalives
            && self.segment_bytes + self.protocol_bytes >= LONG_SEND
            && self.closing.is_none()
            && !self.sending
            && self.rest.is_empty()
            && self.queue.is_empty()
    }

    /// Accounts for the first `sent` bytes of a keepalive that the socket has taken by itself.
    pub(super) fn heralded(&mut self, sent: usize, now: u64) {
        if sent == KEEPALIVE.len() {
            self.count_sent(&KEEPALIVE);
        } else if sent > 0 {
            self.keep(Box::new(KEEPALIVE), sent);
        }
        self.last_tx = now;
    }

    const fn is_blocked(&self) -> bool {
        self.sending
            || !self.rest.is_empty()
            || !self.queue.is_empty()
            // On a slow link an inline send could fill the kernel's buffer in one go.
            || self.unsent_limit.is_some()
    }

    fn push_queue(&mut self, ingress: PortId, frame: Box<[u8]>, now: u64) {
        let before = self.queue.bytes();
        let room = self
            .total
            .limit
            .saturating_sub(self.total.bytes.get() - before);
        let flow = flow_hash(&frame);
        let dropped = self.queue.push(ingress, flow, frame, room, now);
        self.total.change(before, self.queue.bytes());
        self.waiting -= dropped;
        self.counters.dropped(DropReason::QueueFull, dropped);
    }

    fn pop_queue(&mut self, now: u64) -> Option<Box<[u8]>> {
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
    fn gather(&mut self, bytes: &[u8], memory: &mut IterationMemory) {
        if let Some((block, filled)) = &mut self.block
            && self.gathering
            && memory.put(*block, *filled, bytes)
            && let Some(last) = self.segments.last_mut()
        {
            *filled += bytes.len();
            last.len += bytes.len() as u32;
            return;
        }
        self.gather_anew(bytes, memory);
    }

    /// The same as a segment of its own.
    #[inline(never)]
    fn gather_anew(&mut self, bytes: &[u8], memory: &mut IterationMemory) {
        let place = match self.block {
            Some((block, filled)) if memory.put(block, filled, bytes) => (block, filled),
            _ => {
                let block = memory.new_block();
                if !memory.put(block, 0, bytes) {
                    // A head that is longer than a block.
                    let mut buffer = memory.spare();
                    buffer.extend_from_slice(bytes);
                    let id = memory.own(buffer);
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
            self.announcements -= usize::from(is_announcement(&frame));
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
        while outgoing.owned.len() < MAX_PIECES - 1 && (bytes < self.drain_limit || bytes == 0) {
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

    /// Counts what has gone and keeps what has not.
    fn settle(
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
            mut segments,
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
        let gone = in_flight.traffic_bytes + in_flight.protocol_bytes;
        let mut left = sent.saturating_sub(gone as usize);
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
            let sources = std::mem::take(&mut self.sources);
            let mut origins = (sources.iter().chain([&self.source]))
                .flat_map(|&(port, frames)| std::iter::repeat_n(port, frames as usize))
                .collect::<Vec<_>>()
                .into_iter();
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
        // The vectors are worth keeping: the next turn fills them again.
        self.sources.clear();
        self.source.1 = 0;
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
