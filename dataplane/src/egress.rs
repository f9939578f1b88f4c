//! The way out: each port's list for this turn, its queues for what a full socket refused, and
//! the sends made of them.

use std::collections::VecDeque;
use std::sync::Arc;

use pinecone_wire::frame::{HEADER_LEN, KEEPALIVE};

use crate::buffer::{BLOCK_LEN, Place, ReceiveBuffers, Segment, TurnMemory};
use crate::counters::{DropReason, PortCounters};
use crate::engine::uring::Uring;
use crate::engine::{MAX_PIECES, Outgoing};
use crate::queue::FlowQueue;
use crate::report::{Budget, CloseReason};
use crate::timers::Wheel;
use crate::{PortId, PortOptions};

/// A lone frame shorter than this is copied next to others; longer ones are sent from where they
/// lie. See `docs/performance.md`.
const GATHER_BELOW: usize = 2048;
/// Segments of a port and turn; what comes on top waits in the queue.
const MAX_SEGMENTS: usize = 960;
/// Protocol frames in one send.
const MAX_PROTOCOL: usize = MAX_PIECES - MAX_SEGMENTS;
/// Bytes of a drain, at the least and at the most. It adapts to what the peer takes.
const DRAIN_MIN: usize = 16 << 10;
const DRAIN_MAX: usize = 512 << 10;
/// A drain faster than this may grow, one slower than that must shrink, in milliseconds.
const DRAIN_FAST_MS: u64 = 250;
const DRAIN_SLOW_MS: u64 = 1000;
/// Protocol section 3, in milliseconds.
const KEEPALIVE_MS: u64 = 3000;
const DEAD_MS: u64 = 5000;
const WRITE_MS: u64 = 3000;

/// A port as its worker keeps it.
pub(crate) struct Port {
    pub(crate) id: PortId,
    pub(crate) options: PortOptions,
    pub(crate) counters: Arc<PortCounters>,
    pub(crate) budget: Arc<Budget>,
    /// The beginning of a frame whose rest has not come.
    pub(crate) carry: Vec<u8>,
    pub(crate) last_rx: u64,
    /// Why the port is closing, if it is.
    pub(crate) closing: Option<CloseReason>,
    last_tx: u64,
    timer_due: u64,
    segments: Vec<Segment>,
    segment_frames: u64,
    segment_bytes: usize,
    block: Option<u16>,
    protocol: VecDeque<Box<[u8]>>,
    protocol_bytes: usize,
    protocol_limit: usize,
    /// What a send left over, to go first; of the first frame, `skip` bytes have gone.
    rest: Vec<Box<[u8]>>,
    skip: usize,
    queue: FlowQueue,
    sending: bool,
    drain_since: Option<u64>,
    drain_limit: usize,
    /// Traffic frames taken on and neither sent nor dropped.
    waiting: u64,
    dirty: bool,
}

/// All ports of a worker, by slot.
pub(crate) struct Egress {
    ports: Vec<Option<Port>>,
    dirty: Vec<u32>,
    wheel: Wheel,
    fired: Vec<u32>,
    now: u64,
    queue_limit: usize,
    protocol_limit: usize,
}

impl Egress {
    pub(crate) fn new(now: u64, queue_limit: usize, protocol_limit: usize) -> Self {
        Self {
            ports: Vec::new(),
            dirty: Vec::new(),
            wheel: Wheel::new(now),
            fired: Vec::new(),
            now,
            queue_limit,
            protocol_limit,
        }
    }

    pub(crate) fn add(
        &mut self,
        slot: u32,
        id: PortId,
        options: PortOptions,
        counters: Arc<PortCounters>,
        budget: Arc<Budget>,
    ) {
        if self.ports.len() <= slot as usize {
            self.ports.resize_with(slot as usize + 1, || None);
        }
        let due = self.now + KEEPALIVE_MS;
        self.ports[slot as usize] = Some(Port {
            id,
            options,
            counters,
            budget,
            carry: Vec::new(),
            last_rx: self.now,
            closing: None,
            last_tx: self.now,
            timer_due: due,
            segments: Vec::new(),
            segment_frames: 0,
            segment_bytes: 0,
            block: None,
            protocol: VecDeque::new(),
            protocol_bytes: 0,
            protocol_limit: self.protocol_limit,
            rest: Vec::new(),
            skip: 0,
            queue: FlowQueue::new(self.queue_limit),
            sending: false,
            drain_since: None,
            drain_limit: 4 * DRAIN_MIN,
            waiting: 0,
            dirty: false,
        });
        if options.keepalives {
            self.wheel.set(slot, due);
        }
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Port> {
        self.ports.get_mut(slot as usize)?.as_mut()
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<Port> {
        self.ports.get_mut(slot as usize)?.take()
    }

    /// Slots in use.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..)
            .zip(&self.ports)
            .filter(|(_, p)| p.is_some())
            .map(|(slot, _)| slot)
    }

    pub(crate) fn set_now(&mut self, now: u64) {
        self.now = now;
    }

    /// Queues a protocol frame: it goes before all traffic.
    pub(crate) fn push_protocol(&mut self, slot: u32, frame: Box<[u8]>) {
        let Some(port) = self.ports.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        if port.closing.is_some() {
            return;
        }
        port.protocol_bytes += frame.len();
        port.protocol.push_back(frame);
        // The oldest go: a newer announcement or bootstrap makes them stale.
        while port.protocol_bytes > port.protocol_limit {
            let Some(old) = port.protocol.pop_front() else {
                break;
            };
            port.protocol_bytes -= old.len();
            port.counters.dropped(DropReason::ProtocolQueueFull, 1);
        }
        mark(port, slot, &mut self.dirty);
    }

    /// Takes a traffic frame on: a head of its own (perhaps empty), then the frame or its payload
    /// where it lies.
    #[inline]
    pub(crate) fn emit(
        &mut self,
        slot: u32,
        id: PortId,
        head: &[u8],
        body: Segment,
        turn: &mut TurnMemory,
        receive: &ReceiveBuffers,
    ) -> Result<(), DropReason> {
        let port = self.ports.get_mut(slot as usize).and_then(Option::as_mut);
        let Some(port) = port.filter(|p| p.id == id && p.closing.is_none()) else {
            return Err(DropReason::PortClosed);
        };
        port.waiting += 1;
        mark(port, slot, &mut self.dirty);
        if port.is_blocked() || port.segments.len() >= MAX_SEGMENTS {
            let frame = [head, turn.bytes(&body, receive)].concat();
            port.enqueue(frame.into());
            return Ok(());
        }
        port.segment_frames += 1;
        port.segment_bytes += head.len() + body.len as usize;
        if head.is_empty() {
            match port.segments.last_mut() {
                Some(last) if last.place == body.place && last.end() == body.at as usize => {
                    last.len += body.len
                }
                _ => {
                    port.gather_tail(turn, receive);
                    port.segments.push(body);
                }
            }
        } else {
            port.gather_tail(turn, receive);
            port.push_head(head, turn);
            port.segments.push(body);
            port.gather_tail(turn, receive);
        }
        Ok(())
    }

    /// Sends what the turn has brought.
    pub(crate) fn flush(&mut self, engine: &mut Uring) {
        for slot in std::mem::take(&mut self.dirty) {
            let Some(port) = self.ports.get_mut(slot as usize).and_then(Option::as_mut) else {
                continue;
            };
            port.dirty = false;
            port.block = None;
            port.update_gauges();
            if port.sending || port.closing.is_some() {
                continue;
            }
            if !port.segments.is_empty() || (port.rest.is_empty() && port.queue.is_empty()) {
                let outgoing = port.inline_send();
                if !outgoing.is_empty() {
                    port.sending = true;
                    engine.send(slot, outgoing, false);
                }
            } else {
                let outgoing = port.drain_send();
                port.sending = true;
                port.drain_since = Some(self.now);
                engine.send(slot, outgoing, true);
                let due = self.now + WRITE_MS;
                if due < port.timer_due || !port.options.keepalives {
                    port.timer_due = due;
                    self.wheel.set(slot, due);
                }
            }
        }
    }

    /// Accounts for a send that is over. What the socket refused is copied to the queue.
    pub(crate) fn sent(
        &mut self,
        slot: u32,
        outgoing: Outgoing,
        result: Result<usize, i32>,
        turn: &TurnMemory,
        receive: &ReceiveBuffers,
    ) -> Result<(), CloseReason> {
        let Some(port) = self.ports.get_mut(slot as usize).and_then(Option::as_mut) else {
            return Ok(());
        };
        port.sending = false;
        let (sent, error) = match result {
            Ok(sent) => (sent, None),
            Err(libc::EAGAIN | libc::EINTR | libc::ENOBUFS) => (0, None),
            Err(error) => (0, Some(error)),
        };
        if sent > 0 {
            port.last_tx = self.now;
        }
        if let Some(since) = port.drain_since.take() {
            match self.now.saturating_sub(since) {
                0..=DRAIN_FAST_MS => port.drain_limit = (port.drain_limit * 2).min(DRAIN_MAX),
                DRAIN_SLOW_MS.. => port.drain_limit = (port.drain_limit / 2).max(DRAIN_MIN),
                _ => {}
            }
        }
        port.settle(outgoing, sent, turn, receive);
        if !port.rest.is_empty() || !port.queue.is_empty() || !port.protocol.is_empty() {
            mark(port, slot, &mut self.dirty);
        } else {
            port.queue.shrink();
        }
        port.update_gauges();
        match error {
            None => Ok(()),
            Some(libc::EPIPE | libc::ECONNRESET) => Err(CloseReason::PeerClosed),
            Some(error) => Err(CloseReason::Io(error)),
        }
    }

    /// Gives up everything that waits for a port that is closing.
    pub(crate) fn abandon(&mut self, slot: u32, reason: CloseReason) {
        let Some(port) = self.ports.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        port.closing = Some(reason);
        port.carry = Vec::new();
        let rest = port.rest.iter().filter(|f| is_traffic(f)).count() as u64;
        let gone = port.segment_frames + port.queue.frames() as u64 + rest;
        port.counters.dropped(DropReason::PortClosed, gone);
        port.waiting -= gone;
        port.segments.clear();
        port.segment_frames = 0;
        port.segment_bytes = 0;
        port.rest.clear();
        port.protocol.clear();
        port.queue = FlowQueue::new(0);
        port.update_gauges();
    }

    /// When a timer is due next, in milliseconds.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.wheel.next_due()
    }

    /// Runs timers: sends keepalives, and returns the ports that are dead or stuck.
    pub(crate) fn run_timers(&mut self) -> Vec<(u32, CloseReason)> {
        let mut over = Vec::new();
        self.wheel.run(self.now, &mut self.fired);
        for slot in std::mem::take(&mut self.fired) {
            let Some(port) = self.ports.get_mut(slot as usize).and_then(Option::as_mut) else {
                continue;
            };
            // One that was set again has another entry in the wheel; this one is stale.
            if port.closing.is_some() || self.now < port.timer_due {
                continue;
            }
            if let Some(since) = port
                .drain_since
                .filter(|since| self.now >= since + WRITE_MS)
            {
                tracing::debug!(port = %port.id, for_ms = self.now - since, "write is stuck");
                over.push((slot, CloseReason::WriteTimeout));
                continue;
            }
            let mut due = port.drain_since.map(|since| since + WRITE_MS);
            if port.options.keepalives {
                if self.now >= port.last_rx + DEAD_MS {
                    over.push((slot, CloseReason::Dead));
                    continue;
                }
                if self.now >= port.last_tx + KEEPALIVE_MS
                    && !port.sending
                    && port.protocol.is_empty()
                {
                    port.last_tx = self.now;
                    port.protocol_bytes += KEEPALIVE.len();
                    port.protocol.push_back(Box::new(KEEPALIVE));
                    mark(port, slot, &mut self.dirty);
                }
                let next = (port.last_tx + KEEPALIVE_MS)
                    .max(self.now + 1)
                    .min(port.last_rx + DEAD_MS);
                due = Some(due.map_or(next, |due| due.min(next)));
            }
            if let Some(due) = due {
                port.timer_due = due;
                self.wheel.set(slot, due);
            }
        }
        over
    }
}

impl Port {
    const fn is_blocked(&self) -> bool {
        self.sending || !self.rest.is_empty() || !self.queue.is_empty()
    }

    fn enqueue(&mut self, frame: Box<[u8]>) {
        let dropped = self.queue.push(flow_hash(&frame), frame);
        self.waiting -= dropped;
        self.counters.dropped(DropReason::QueueFull, dropped);
    }

    /// Moves the last segment next to the bytes before it, if it is a short one in a receive
    /// buffer and the copy costs less than another piece.
    fn gather_tail(&mut self, turn: &mut TurnMemory, receive: &ReceiveBuffers) {
        let Some(&last) = self.segments.last() else {
            return;
        };
        if last.len as usize >= GATHER_BELOW || matches!(last.place, Place::Block(_)) {
            return;
        }
        let block = self.block_with_room(last.len as usize, turn);
        let moved = turn.append_segment(block, last, receive);
        self.segments.pop();
        self.push_moved(moved);
    }

    fn push_head(&mut self, head: &[u8], turn: &mut TurnMemory) {
        if head.len() > BLOCK_LEN {
            let mut buffer = turn.spare();
            buffer.extend_from_slice(head);
            let id = turn.own(buffer);
            self.segments
                .push(Segment::new(Place::Owned(id), 0, head.len()));
            return;
        }
        let block = self.block_with_room(head.len(), turn);
        let moved = turn.append(block, head);
        self.push_moved(moved);
    }

    fn block_with_room(&mut self, len: usize, turn: &mut TurnMemory) -> u16 {
        match self.block.filter(|&b| turn.room(b) >= len) {
            Some(block) => block,
            None => *self.block.insert(turn.new_block()),
        }
    }

    fn push_moved(&mut self, moved: Segment) {
        match self.segments.last_mut() {
            Some(last) if last.place == moved.place && last.end() == moved.at as usize => {
                last.len += moved.len
            }
            _ => self.segments.push(moved),
        }
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

    fn inline_send(&mut self) -> Outgoing {
        let mut outgoing = Outgoing::default();
        self.take_protocol(&mut outgoing.owned);
        outgoing.segments = std::mem::take(&mut self.segments);
        outgoing.segment_frames = std::mem::take(&mut self.segment_frames);
        outgoing.segment_bytes = std::mem::take(&mut self.segment_bytes);
        outgoing
    }

    fn drain_send(&mut self) -> Outgoing {
        let mut outgoing = Outgoing {
            skip: std::mem::take(&mut self.skip),
            ..Outgoing::default()
        };
        outgoing.owned = std::mem::take(&mut self.rest);
        self.take_protocol(&mut outgoing.owned);
        let mut bytes: usize = outgoing.owned.iter().map(|f| f.len()).sum();
        while outgoing.owned.len() < MAX_PIECES
            && (bytes < self.drain_limit || outgoing.owned.is_empty())
        {
            let Some(frame) = self.queue.pop() else { break };
            bytes += frame.len();
            outgoing.owned.push(frame);
        }
        outgoing
    }

    /// Counts what has gone and keeps what has not.
    fn settle(
        &mut self,
        outgoing: Outgoing,
        sent: usize,
        turn: &TurnMemory,
        receive: &ReceiveBuffers,
    ) {
        let Outgoing {
            owned,
            mut skip,
            mut segments,
            segment_frames,
            segment_bytes,
        } = outgoing;
        let mut left = sent;
        for frame in owned {
            let rest = frame.len() - skip;
            if self.rest.is_empty() && left >= rest {
                left -= rest;
                skip = 0;
                self.count_sent(&frame);
                continue;
            }
            self.keep(frame, skip + left);
            (skip, left) = (0, 0);
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
                    self.enqueue(frame.concat().into());
                }
            }
        }
        // The vector is worth keeping: the next turn fills it again.
        segments.clear();
        if self.segments.capacity() == 0 {
            self.segments = segments;
        }
    }

    /// Keeps an unsent frame for the next send, or gives it up if there will be none.
    fn keep(&mut self, frame: Box<[u8]>, gone: usize) {
        if self.closing.is_none() {
            if self.rest.is_empty() {
                self.skip = gone;
            }
            self.rest.push(frame);
        } else if is_traffic(&frame) {
            self.waiting -= 1;
            self.counters.dropped(DropReason::PortClosed, 1);
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

    fn update_gauges(&self) {
        self.counters.queued_frames.set(self.waiting);
        self.counters
            .queued_bytes
            .set((self.queue.bytes() + self.segment_bytes) as u64);
    }
}

fn mark(port: &mut Port, slot: u32, dirty: &mut Vec<u32>) {
    if !port.dirty {
        port.dirty = true;
        dirty.push(slot);
    }
}

fn is_traffic(frame: &[u8]) -> bool {
    frame.get(5) == Some(&3)
}

/// What tells flows apart: both keys.
fn flow_hash(frame: &[u8]) -> u64 {
    let number = |at: usize| {
        frame
            .get(at..at + 8)
            .and_then(|b| b.first_chunk())
            .map_or(0, |b| u64::from_ne_bytes(*b))
    };
    let length = |at: usize| {
        frame
            .get(at..at + 2)
            .map_or(0, |b| usize::from(u16::from_be_bytes([b[0], b[1]])))
    };
    let destination = HEADER_LEN + 4 + length(HEADER_LEN + 2);
    let keys = destination + 2 + length(destination);
    let mixed = number(keys) ^ number(keys + 32).rotate_left(32);
    mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// The frames that a list of segments holds, each as the pieces it lies in.
fn frames_of<'a>(
    segments: &'a [Segment],
    turn: &'a TurnMemory,
    receive: &'a ReceiveBuffers,
) -> impl Iterator<Item = Vec<&'a [u8]>> {
    let mut pieces = segments.iter().map(|s| turn.bytes(s, receive));
    let mut rest: &[u8] = &[];
    std::iter::from_fn(move || {
        if rest.is_empty() {
            rest = pieces.next()?;
        }
        let length = rest.get(8..HEADER_LEN)?;
        let mut missing = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let mut frame = Vec::with_capacity(2);
        loop {
            let (piece, behind) = rest.split_at(missing.min(rest.len()));
            frame.push(piece);
            rest = behind;
            missing -= piece.len();
            if missing == 0 {
                return Some(frame);
            }
            rest = pieces.next()?;
        }
    })
}
