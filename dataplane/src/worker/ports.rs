//! A worker's ports, and its handling of mail and events.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::output::WorkerOutput;
use super::shared::Shared;
use crate::PortId;
use crate::block::Block;
use crate::buffer::{IterationMemory, Place, ReceiveBuffers};
use crate::counters::{DropReason, WorkerCounters};
use crate::egress::Egress;
use crate::engine::{Engine, Event, Handling, Sending, Sent, Sockets};
use crate::handoff::Handoff;
use crate::ingress::{Burst, Ingress, Router, complete};
use crate::local_frame::{LocalFrame, Repr};
use crate::mailbox::{Command, Mailbox, NewPort};
use crate::port_map::Owner;
use crate::report::{CloseReason, Report};

/// The time that a worker that shuts down waits for its ports to close.
const SHUTDOWN: Duration = Duration::from_secs(3);
/// Frames of local origin taken in one iteration.
const INJECTED_PER_ITERATION: usize = 512;

/// The ports of a worker, and the frames on their way between them.
pub(super) struct Ports {
    me: usize,
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    router: Router,
    pub(super) egress: Egress,
    pub(super) handoff: Handoff,
    /// The time at which the worker started.
    start: Instant,
    /// Bytes of injected frames that this iteration has taken.
    injected: usize,
    /// The time at which shutting down began.
    shutdown: Option<Instant>,
}

impl Ports {
    pub(super) fn new(me: usize, shared: Arc<Shared>) -> Self {
        let options = &shared.options;
        Self {
            me,
            mailbox: Arc::clone(&shared.mailboxes[me]),
            router: Router::new(
                shared.fib.reader(),
                Arc::clone(&shared.delivery),
                options.hop_limiting,
            ),
            egress: Egress::new(0, options),
            handoff: Handoff::new(shared.mailboxes.clone(), me),
            start: Instant::now(),
            injected: 0,
            shutdown: None,
            shared,
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    pub(super) fn counters(&self) -> &WorkerCounters {
        &self.shared.counters[self.me]
    }

    /// Makes room for as many injected frames as the iteration has sent on.
    pub(super) fn release_injected(&mut self) {
        if self.injected > 0 {
            self.mailbox
                .backlog
                .subtract(std::mem::take(&mut self.injected));
        }
    }

    /// Returns the time since the worker started.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) const fn is_shutting_down(&self) -> bool {
        self.shutdown.is_some()
    }

    /// Reports whether shutting down is complete, or has taken too long.
    pub(super) fn is_over(&self) -> bool {
        self.shutdown
            .is_some_and(|since| self.egress.slots().next().is_none() || since.elapsed() > SHUTDOWN)
    }

    /// Removes the filter from all workers if it has panicked on this one.
    pub(super) fn remove_panicked_filter(&mut self) {
        if self.router.remove_panicked_filter() {
            let mailboxes = self.shared.mailboxes.iter().enumerate();
            mailboxes
                .filter(|&(worker, _)| worker != self.me)
                .for_each(|(_, mailbox)| mailbox.tell(Command::RemovePanickedFilter));
        }
    }

    /// Carries out commands, and takes frames from other workers and of local origin.
    pub(super) fn take_mail<E: Engine>(
        &mut self,
        iteration: &mut Handling<'_, E>,
        events: &mut Vec<Event>,
    ) {
        let mailbox = Arc::clone(&self.mailbox);
        while let Some(command) = mailbox.commands.pop() {
            match command {
                Command::Add(new) => self.add(iteration, new),
                Command::Remove { port, reason } => {
                    if let Some(owner) = self.shared.map.get(port) {
                        self.close(iteration, owner.slot, reason, events);
                    }
                }
                Command::Send { port, frame } => {
                    if let Some(owner) = self.shared.map.get(port) {
                        self.egress.push_protocol(owner.slot, frame.into());
                    }
                }
                Command::Filter(filter) => self.router.set_filter(filter),
                Command::RemovePanickedFilter => {
                    self.router.remove_panicked_filter();
                }
                Command::Shutdown => {
                    self.shutdown = Some(Instant::now());
                    for slot in self.egress.slots().collect::<Vec<_>>() {
                        self.close(iteration, slot, CloseReason::Shutdown, events);
                    }
                }
            }
        }
        for queue in &mailbox.blocks {
            // Blocks that arrive meanwhile wait for the next iteration: the memory of one is bounded.
            for _ in 0..queue.len() {
                if let Some(block) = queue.pop() {
                    queue.put_empty(self.take_block(iteration, block));
                }
            }
        }
        for _ in 0..INJECTED_PER_ITERATION {
            let Some(frame) = mailbox.injected.pop() else {
                break;
            };
            self.injected += frame.len();
            self.inject(iteration, frame);
        }
    }

    /// Handles the events of the last wait.
    ///
    /// # Errors
    /// The engine cannot go on.
    pub(super) fn handle<E: Engine>(
        &mut self,
        iteration: &mut Handling<'_, E>,
        events: &mut Vec<Event>,
        late: &mut Vec<Event>,
    ) -> io::Result<()> {
        // Closing a port may append further events to `events`; those wait for the next iteration.
        let mut due = VecDeque::from(std::mem::take(events));
        while let Some(event) = due.pop_front() {
            match event {
                Event::Received {
                    slot,
                    buffer,
                    at,
                    len,
                } => self.received(iteration, slot, buffer, at..at + len, events),
                Event::Ended {
                    slot,
                    error: 0 | libc::ECONNRESET,
                } => self.close(iteration, slot, CloseReason::PeerClosed, events),
                Event::Ended { slot, error } => {
                    self.close(iteration, slot, CloseReason::Io(error), events);
                }
                Event::Closed { slot } => self.closed(iteration, slot),
                Event::Sent(_) => debug_assert!(false, "sends are accounted for first"),
            }
            if iteration.is_full() {
                self.egress.flush(&mut iteration.outbox());
                let mut failed = Vec::new();
                iteration.flush_gathered(late, account(&mut self.egress, &mut failed))?;
                self.close_failed(iteration, failed, late);
                // These events are handled in this iteration, as the buffers that they name are recycled at its end.
                due.extend(late.drain(..));
            }
        }
        Ok(())
    }

    /// Runs the timers that are due.
    pub(super) fn run_timers<E: Engine>(
        &mut self,
        sockets: &mut Sockets<E>,
        events: &mut Vec<Event>,
    ) {
        for (slot, reason) in self.egress.run_timers(sockets) {
            self.close(sockets, slot, reason, events);
        }
    }

    /// Hands frames over to other workers. Returns false if one could not take them.
    pub(super) fn hand_over<E: Engine>(&mut self, sockets: &mut Sockets<E>) -> bool {
        let handed_over = self.handoff.flush();
        while let Some((worker, mailbox)) = self.handoff.take_asleep() {
            sockets.wake(worker, &mailbox);
        }
        self.counters().handed_over.set(self.handoff.handed_over);
        let lost = self.handoff.take_lost();
        if lost > 0 {
            self.counters().local.dropped(DropReason::PortClosed, lost);
        }
        handed_over
    }

    /// Makes the sends that are due.
    pub(super) fn flush<E: Engine>(&mut self, iteration: &mut Sending<'_, E>) {
        let frame_len = self.router.take_mean_len();
        iteration.set_load(self.egress.width(), frame_len);
        self.egress.flush(&mut iteration.outbox());
    }

    /// Closes the ports whose sends have failed.
    pub(super) fn close_failed<E: Engine>(
        &mut self,
        sockets: &mut Sockets<E>,
        failed: Vec<(u32, CloseReason)>,
        events: &mut Vec<Event>,
    ) {
        for (slot, reason) in failed {
            self.close(sockets, slot, reason, events);
        }
    }

    /// Drops the frames that can no longer be handed over.
    pub(super) fn give_up(&mut self) {
        let left = self.handoff.give_up();
        self.counters().local.dropped(DropReason::PortClosed, left);
    }

    fn received<E: Engine>(
        &mut self,
        iteration: &mut Handling<'_, E>,
        slot: u32,
        buffer: u16,
        range: Range<usize>,
        events: &mut Vec<Event>,
    ) {
        let Some(port) = self.egress.get_mut(slot).filter(|p| p.closing.is_none()) else {
            return;
        };
        let (id, counters, budget) = (
            port.id,
            Arc::clone(&port.counters),
            Arc::clone(&port.budget),
        );
        let mut partial = std::mem::take(&mut port.partial);
        let mut continues = false;
        let ingress = Ingress {
            port: id,
            counters: &counters,
        };
        let Range { start: mut at, end } = range;
        let mut result = Ok(());
        let (memory, receive) = iteration.memory_mut();
        let mut output = WorkerOutput {
            me: self.me,
            shared: &self.shared,
            egress: &mut self.egress,
            handoff: &mut self.handoff,
            memory,
            source: Some((id, &budget)),
        };
        if !partial.is_empty() {
            match complete(&mut partial, receive.bytes(buffer, at, end - at)) {
                Ok((taken, false)) => {
                    at += taken;
                    continues = true;
                }
                Ok((taken, true)) => {
                    at += taken;
                    let owned = output.memory.own(Vec::new());
                    let place = Place::Owned(owned);
                    (_, result) =
                        (self.router).ingest(&ingress, &mut partial, 0, place, &mut output);
                    output.memory.put_owned(owned, std::mem::take(&mut partial));
                }
                Err(e) => result = Err(e),
            }
        }
        if result.is_ok() && partial.is_empty() {
            let bytes = receive.bytes_mut(buffer, end);
            let place = Place::Receive(buffer);
            let (rest, ended) = (self.router).ingest(&ingress, bytes, at, place, &mut output);
            result = ended;
            if result.is_ok() && rest < end {
                partial = output.memory.spare();
                partial.extend_from_slice(receive.bytes(buffer, rest, end - rest));
            }
        }
        let now = self.start.elapsed().as_millis() as u64;
        if let Some(port) = self.egress.get_mut(slot) {
            port.received(partial, continues, now);
        }
        if let Err(e) = result {
            self.close(iteration, slot, CloseReason::Frame(e), events);
        }
    }

    /// Takes the frames out of a block. Returns the block with an empty buffer.
    fn take_block<E: Engine>(
        &mut self,
        iteration: &mut Handling<'_, E>,
        mut block: Block,
    ) -> Block {
        let memory = iteration.memory_mut().0;
        // The place of the buffer is needed first; the buffer itself is put there at the end.
        let (bytes, owned) = (std::mem::take(&mut block.bytes), memory.own(Vec::new()));
        for handed in block.bursts.drain(..) {
            let (at, len) = (handed.at as usize, handed.len as usize);
            let burst = Burst {
                ingress: handed.ingress,
                egress: handed.port,
                frames: handed.frames,
                head: &[],
                bytes: bytes.get(at..at + len).unwrap_or_default(),
                place: Place::Owned(owned),
                at,
            };
            if let Err(reason) = self.egress.emit(handed.slot, &burst, memory) {
                let counters = &self.shared.counters[self.me];
                counters.local.dropped(reason, u64::from(burst.frames));
            }
        }
        memory.put_owned(owned, bytes);
        block.bytes = memory.spare();
        block
    }

    /// Routes a frame of local origin.
    fn inject<E: Engine>(&mut self, iteration: &mut Handling<'_, E>, frame: LocalFrame) {
        let ingress = Ingress {
            port: PortId::LOCAL,
            counters: &self.shared.counters[self.me].local,
        };
        let mut output = WorkerOutput {
            me: self.me,
            shared: &self.shared,
            egress: &mut self.egress,
            handoff: &mut self.handoff,
            memory: iteration.memory_mut().0,
            source: None,
        };
        let mut whole = match frame.into_repr() {
            Repr::Whole(frame) => frame,
            // Filters see whole frames.
            Repr::Split(frame) if self.router.has_filter() => frame.join(),
            Repr::Split(mut frame) => {
                let shared = output.memory.share(Bytes::new());
                let place = Place::Shared(shared);
                (self.router).route_split(&ingress, &mut frame, place, &mut output);
                return output.memory.put_shared(shared, frame.payload);
            }
        };
        let owned = output.memory.own(Vec::new());
        // A frame of local origin is whole and well-formed. Any other is ignored.
        let _ = (self.router).ingest(&ingress, &mut whole, 0, Place::Owned(owned), &mut output);
        output.memory.put_owned(owned, whole);
    }

    fn add<E: Engine>(&mut self, sockets: &mut Sockets<E>, new: NewPort) {
        let NewPort {
            port,
            stream,
            options,
            counters,
            budget,
        } = new;
        match sockets.add(stream) {
            Ok(slot) => {
                self.egress.add(slot, port, options, counters, budget);
                let owner = Owner {
                    worker: self.me,
                    slot,
                };
                self.shared.map.set(port, Some(owner));
                self.counters().ports.add(1);
            }
            Err(e) => {
                self.shared.registry.remove(port);
                let reason = CloseReason::Io(e.raw_os_error().unwrap_or(0));
                let _ = self.shared.reports.send(Report::Closed { port, reason });
            }
        }
        if self.shutdown.is_some() {
            let mut events = Vec::new();
            if let Some(owner) = self.shared.map.get(port) {
                self.close(sockets, owner.slot, CloseReason::Shutdown, &mut events);
            }
            for event in events {
                if let Event::Closed { slot } = event {
                    self.closed(sockets, slot);
                }
            }
        }
    }

    /// Begins to close a port. [`Self::closed`] ends it when none of its requests is under way.
    fn close<E: Engine>(
        &mut self,
        sockets: &mut Sockets<E>,
        slot: u32,
        reason: CloseReason,
        events: &mut Vec<Event>,
    ) {
        let Some(port) = self.egress.get_mut(slot).filter(|p| p.closing.is_none()) else {
            return;
        };
        self.shared.map.set(port.id, None);
        let reset = reason.is_silence();
        self.egress.abandon(slot, reason);
        sockets.close(slot, reset, events);
    }

    fn closed<E: Engine>(&mut self, sockets: &mut Sockets<E>, slot: u32) {
        sockets.release(slot);
        let Some(port) = self.egress.remove(slot) else {
            return;
        };
        let counters = self.counters();
        counters.ports.set(counters.ports.get().saturating_sub(1));
        let closed = counters.closed.lock();
        closed
            .unwrap_or_else(PoisonError::into_inner)
            .add(&port.counters.snapshot());
        self.shared.registry.remove(port.id);
        let reason = port.closing.unwrap_or(CloseReason::PeerClosed);
        // The receiver is gone if the node is being dropped.
        let _ = self.shared.reports.send(Report::Closed {
            port: port.id,
            reason,
        });
    }
}

/// Accounts for sends that have completed, and collects the ports whose sends have failed.
pub(super) fn account(
    egress: &mut Egress,
    failed: &mut Vec<(u32, CloseReason)>,
) -> impl FnMut(Sent, &IterationMemory, &ReceiveBuffers) {
    |sent, memory, receive| {
        let slot = sent.slot;
        if let Err(reason) = egress.sent(sent, memory, receive) {
            failed.push((slot, reason));
        }
    }
}
