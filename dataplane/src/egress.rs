//! Egress: the traffic that an iteration sends on each port, the queues for the frames that full sockets refuse, and
//! the sends made of both.

mod port;

use std::sync::Arc;

use pinecone_wire::frame::KEEPALIVE;

pub(crate) use self::port::Port;
use self::port::{Limits, Send, Socket};
use crate::PortId;
use crate::buffer::{IterationMemory, ReceiveBuffers};
use crate::counters::{DropReason, PortCounters};
use crate::engine::{Engine, Outbox, Readiness, SendMode, Sent, Sockets};
use crate::ingress::Burst;
use crate::options::{DataPlaneOptions, PortOptions};
use crate::report::{Budget, CloseReason};
use crate::timers::Wheel;

/// The ports of a worker, by slot.
pub(crate) struct Egress {
    ports: Vec<Option<Port>>,
    /// Slots with something to send.
    dirty: Vec<u32>,
    wheel: Wheel,
    fired: Vec<u32>,
    /// Milliseconds since the worker started, when the last wait returned.
    now: u64,
    /// The time of the last complete poll of the sockets: bytes that had arrived by then have been read, or are still
    /// in their socket.
    looked_at: u64,
    limits: Limits,
}

impl Egress {
    pub(crate) fn new(now: u64, options: &DataPlaneOptions) -> Self {
        Self {
            ports: Vec::new(),
            dirty: Vec::new(),
            wheel: Wheel::new(now),
            fired: Vec::new(),
            now,
            looked_at: now,
            limits: Limits::new(options),
        }
    }

    /// Adds a port in a free slot.
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
        let mut port = Port::new(id, options, counters, budget, &self.limits, self.now);
        if let Some(due) = port.first_timer() {
            self.wheel.set(slot, due);
        }
        self.ports[slot as usize] = Some(port);
    }

    /// Returns the port in a slot.
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Port> {
        self.ports.get_mut(slot as usize)?.as_mut()
    }

    /// Removes the port in a slot.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<Port> {
        self.ports.get_mut(slot as usize)?.take()
    }

    /// Returns the slots in use.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..)
            .zip(&self.ports)
            .filter(|(_, p)| p.is_some())
            .map(|(slot, _)| slot)
    }

    /// Sets the time at which a wait has returned. The poll of the sockets that it made began after the last wait had
    /// returned, and may have been interrupted or held up since.
    pub(crate) fn set_now(&mut self, now: u64) {
        self.looked_at = std::mem::replace(&mut self.now, now);
    }

    /// Queues a protocol frame, which is sent before all traffic.
    pub(crate) fn push_protocol(&mut self, slot: u32, frame: Box<[u8]>) {
        if let Some(port) = open(&mut self.ports, slot) {
            port.push_protocol(frame);
            mark(port, slot, &mut self.dirty);
        }
    }

    /// Adds traffic to the port in `slot`, which had `burst.egress` when the burst was routed.
    #[inline]
    pub(crate) fn emit(
        &mut self,
        slot: u32,
        burst: &Burst<'_>,
        memory: &mut IterationMemory,
    ) -> Result<(), DropReason> {
        let port = open(&mut self.ports, slot).filter(|p| p.id == burst.egress);
        let port = port.ok_or(DropReason::PortClosed)?;
        mark(port, slot, &mut self.dirty);
        port.push_traffic(burst, memory, self.now);
        Ok(())
    }

    /// Returns the number of ports that have something to send.
    pub(crate) fn width(&self) -> usize {
        self.dirty.len()
    }

    /// Makes the sends that are due.
    pub(crate) fn flush<E: Engine>(&mut self, outbox: &mut Outbox<'_, E>) {
        for slot in std::mem::take(&mut self.dirty) {
            let Some(port) = self.ports.get_mut(slot as usize).and_then(Option::as_mut) else {
                continue;
            };
            port.dirty = false;
            if port.needs_keepalive_first(self.now) {
                let sent = outbox.send_at_once(slot, &KEEPALIVE);
                port.keepalive_sent_first(sent, self.now);
            }
            match port.next_send(self.now) {
                None => {}
                Some(Send::Inline(outgoing)) => outbox.send(slot, outgoing, SendMode::Inline),
                Some(Send::Drain(outgoing)) => {
                    if let Some(limit) = port.take_unsent_limit() {
                        outbox.limit_unsent(slot, limit);
                    }
                    outbox.send(slot, outgoing, SendMode::Drain);
                    if let Some(due) = port.drain_timer(self.now) {
                        self.wheel.set(slot, due);
                    }
                }
            }
        }
    }

    /// Accounts for a send that has completed, and copies the bytes that the socket refused to the queue.
    pub(crate) fn sent(
        &mut self,
        sent: Sent,
        memory: &IterationMemory,
        receive: &ReceiveBuffers,
    ) -> Result<(), CloseReason> {
        let Sent {
            slot,
            outgoing,
            result,
        } = sent;
        let Some(port) = self.ports.get_mut(slot as usize).and_then(Option::as_mut) else {
            return Ok(());
        };
        let (sent, error) = match result {
            Ok(sent) => (sent, None),
            Err(libc::EAGAIN | libc::EINTR | libc::ENOBUFS) => (0, None),
            Err(error) => (0, Some(error)),
        };
        if port.sent(outgoing, sent, self.now, memory, receive) {
            mark(port, slot, &mut self.dirty);
        }
        match error {
            None => Ok(()),
            Some(libc::EPIPE | libc::ECONNRESET) => Err(CloseReason::PeerClosed),
            Some(error) => Err(CloseReason::Io(error)),
        }
    }

    /// Drops all frames that wait for a port, which is closing.
    pub(crate) fn abandon(&mut self, slot: u32, reason: CloseReason) {
        if let Some(port) = open(&mut self.ports, slot) {
            port.abandon(reason);
        }
    }

    /// Updates the counters of waiting frames of each port.
    pub(crate) fn update_gauges(&self) {
        self.ports.iter().flatten().for_each(Port::update_gauges);
    }

    /// Returns the time at which the next timer is due, in milliseconds since the worker started.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.wheel.next_due()
    }

    /// Runs the timers that are due: queues keepalives. Returns the ports that must close, and the reasons.
    pub(crate) fn run_timers<E: Engine>(
        &mut self,
        sockets: &Sockets<E>,
    ) -> Vec<(u32, CloseReason)> {
        let mut over = Vec::new();
        self.wheel.run(self.now, &mut self.fired);
        for slot in std::mem::take(&mut self.fired) {
            // A timer that was set again has another entry in the wheel, and this one is stale.
            let port = open(&mut self.ports, slot).filter(|p| p.is_due(self.now));
            let Some(port) = port else { continue };
            match port.run_timers(self.now, self.looked_at, &Slot { sockets, slot }) {
                Err(reason) => over.push((slot, reason)),
                Ok(next) => {
                    if let Some(due) = next {
                        self.wheel.set(slot, due);
                    }
                    mark(port, slot, &mut self.dirty);
                }
            }
        }
        over
    }
}

/// A port's socket, as the engine knows it.
struct Slot<'a, E> {
    sockets: &'a Sockets<E>,
    slot: u32,
}

impl<E: Engine> Socket for Slot<'_, E> {
    fn progress(&self) -> Option<u64> {
        self.sockets.progress(self.slot)
    }

    fn readiness(&self) -> Readiness {
        self.sockets.readiness(self.slot)
    }
}

/// Returns the port in a slot, unless it is closing.
fn open(ports: &mut [Option<Port>], slot: u32) -> Option<&mut Port> {
    ports
        .get_mut(slot as usize)?
        .as_mut()
        .filter(|p| p.closing.is_none())
}

#[inline(always)]
fn mark(port: &mut Port, slot: u32, dirty: &mut Vec<u32>) {
    if !port.dirty {
        port.dirty = true;
        dirty.push(slot);
    }
}
