//! A worker: one thread, one engine, its own ports. See the crate's documentation for what it does;
//! this is the loop that does it.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;

use crate::batching::Batching;
use crate::buffer::{Place, TurnMemory};
use crate::counters::{DropReason, WorkerCounters};
use crate::egress::Egress;
use crate::engine::{Engine, EngineKind, Event, SharedPoller};
use crate::handoff::{Block, Handoff};
use crate::ingress::{Ingress, Output, Router, Run, complete};
use crate::mailbox::{Command, Mailbox, NewPort};
use crate::plane::Registry;
use crate::port_map::{Owner, PortMap};
use crate::report::{Budget, CloseReason, ProtocolFrame, Report};
use crate::{DataPlaneOptions, Delivery, PortId};
use pinecone_fib::Fib;

/// How long a worker that shuts down waits for its ports to close.
const SHUTDOWN: Duration = Duration::from_secs(3);
/// How soon a block is offered again to a worker that was too far behind to take it.
const HANDOVER_RETRY: Duration = Duration::from_micros(200);
/// Frames of local origin taken in one turn.
const INJECTED_PER_TURN: usize = 512;

/// What workers share.
pub(crate) struct Shared {
    pub(crate) options: DataPlaneOptions,
    pub(crate) engine: EngineKind,
    pub(crate) fib: Fib,
    pub(crate) delivery: Arc<dyn Delivery>,
    pub(crate) map: PortMap,
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    pub(crate) counters: Vec<WorkerCounters>,
    pub(crate) reports: Sender<Report>,
    pub(crate) pending: Arc<Budget>,
    pub(crate) registry: Registry,
    /// For starting workers.
    pub(crate) poller: SharedPoller,
}

/// One worker's state. Made and run on its own thread.
pub(crate) struct Worker {
    me: usize,
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    engine: Engine,
    router: Router,
    egress: Egress,
    handoff: Handoff,
    batching: Batching,
    start: Instant,
    /// When the last turn's events came.
    now: Duration,
    shutdown: Option<Instant>,
}

impl Worker {
    /// Sets up the engine on the calling thread.
    pub(crate) fn new(me: usize, shared: Arc<Shared>) -> io::Result<Self> {
        let mailbox = Arc::clone(&shared.mailboxes[me]);
        let options = &shared.options;
        let engine = Engine::new(shared.engine, Arc::clone(&mailbox), &shared.poller, options)?;
        let router = Router::new(
            shared.fib.reader(),
            Arc::clone(&shared.delivery),
            options.hop_limiting,
        );
        let egress = Egress::new(0, options);
        let handoff = Handoff::new(shared.mailboxes.clone(), me);
        // Epoll has no such wait, and the others are there for low latency.
        let batches = shared.engine == EngineKind::Uring
            && options.busy_poll.is_none()
            && options.sqpoll.is_none();
        let batching = Batching::new(if batches {
            options.batch_wait
        } else {
            Duration::ZERO
        });
        Ok(Self {
            me,
            mailbox,
            engine,
            router,
            egress,
            handoff,
            batching,
            start: Instant::now(),
            now: Duration::ZERO,
            shutdown: None,
            shared,
        })
    }

    /// What the engine found.
    pub(crate) fn features(&self) -> String {
        self.engine.features(&self.shared.options)
    }

    /// Runs until told to shut down.
    ///
    /// # Errors
    /// The engine cannot go on. What waits at ports is in their counters.
    pub(crate) fn run(mut self) -> io::Result<()> {
        self.turns().inspect_err(|_| {
            self.egress.update_gauges();
            let left = self.handoff.give_up();
            self.counters().local.dropped(DropReason::PortClosed, left);
        })
    }

    fn turns(&mut self) -> io::Result<()> {
        let mut events = Vec::new();
        let mut late = Vec::new();
        loop {
            self.take_mail(&mut events);
            self.handle(&mut events, &mut late)?;
            self.engine.all_handled();
            for (slot, reason) in self.egress.run_timers(&self.engine) {
                self.close(slot, reason, &mut events);
            }
            let handed_over = self.handoff.flush();
            while let Some((worker, mailbox)) = self.handoff.take_asleep() {
                self.engine.wake(worker, &mailbox);
            }
            self.counters().handed_over.set(self.handoff.handed_over);
            let lost = self.handoff.take_lost();
            if lost > 0 {
                self.counters().local.dropped(DropReason::PortClosed, lost);
            }
            self.flush();
            if self.engine.take_done(&mut events)? {
                self.settle(&mut events);
                // What a full socket refused begins to drain before we wait.
                self.egress.flush(&mut self.engine);
            }
            if self.is_over() {
                // What the others can no longer be given.
                let left = self.handoff.give_up();
                self.counters().local.dropped(DropReason::PortClosed, left);
                return Ok(());
            }
            let timeout = match (events.is_empty(), handed_over) {
                (false, _) => Some(Duration::ZERO),
                (true, false) => Some(HANDOVER_RETRY),
                (true, true) => self.timeout(),
            };
            self.wait(timeout, &mut events)?;
            self.settle(&mut events);
            self.engine.end_turn();
        }
    }

    /// Sends what the turn has brought.
    fn flush(&mut self) {
        let frame_len = self.router.take_mean_len();
        self.engine.set_load(self.egress.width(), frame_len);
        self.egress.flush(&mut self.engine);
    }

    fn counters(&self) -> &WorkerCounters {
        &self.shared.counters[self.me]
    }

    fn is_over(&self) -> bool {
        self.shutdown
            .is_some_and(|since| self.egress.slots().next().is_none() || since.elapsed() > SHUTDOWN)
    }

    /// How long nothing needs to be done.
    fn timeout(&self) -> Option<Duration> {
        if self.shutdown.is_some() {
            return Some(Duration::from_millis(10));
        }
        let now = self.start.elapsed().as_millis() as u64;
        self.egress
            .next_due()
            .map(|due| Duration::from_millis(due.saturating_sub(now)))
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let mut timeout = timeout;
        if let Some(limit) = self.shared.options.busy_poll
            && timeout != Some(Duration::ZERO)
        {
            let limit = timeout.map_or(limit, |timeout| timeout.min(limit));
            let start = Instant::now();
            if self.spin(start, limit, events)? {
                self.count_turn(events, false);
                return Ok(());
            }
            timeout = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
        }
        let sleeps = timeout != Some(Duration::ZERO);
        if sleeps {
            self.mailbox.bell.about_to_sleep();
            if !self.mailbox.is_empty() {
                timeout = Some(Duration::ZERO);
            }
        }
        let batch = match timeout {
            Some(Duration::ZERO) => None,
            _ => self.batching.wait(),
        };
        let result = self.engine.wait(timeout, batch, events);
        if sleeps {
            self.mailbox.bell.awake();
            self.counters().sleeps.add(1);
        }
        self.count_turn(events, batch.is_some());
        result
    }

    /// Looks for something to do again and again, without sleeping: nobody need ring the bell.
    /// False if there was nothing until `limit` after `start`.
    fn spin(
        &mut self,
        start: Instant,
        limit: Duration,
        events: &mut Vec<Event>,
    ) -> io::Result<bool> {
        // This submits what is queued; from then on memory shows whether the kernel is worth a call.
        self.engine.wait(Some(Duration::ZERO), None, events)?;
        loop {
            if !events.is_empty() || !self.mailbox.is_empty() {
                return Ok(true);
            }
            if start.elapsed() >= limit {
                return Ok(false);
            }
            std::hint::spin_loop();
            if self.engine.may_have_news() {
                self.engine.wait(Some(Duration::ZERO), None, events)?;
            }
        }
    }

    fn count_turn(&mut self, events: &[Event], waited: bool) {
        let now = self.start.elapsed();
        let elapsed = now.saturating_sub(std::mem::replace(&mut self.now, now));
        let arrivals = events.iter().filter_map(|event| match *event {
            Event::Received { slot, len, .. } => Some((slot, len)),
            _ => None,
        });
        self.batching.turn(elapsed, arrivals, waited);
        self.egress.set_now(now.as_millis() as u64);
        self.counters().turns.add(1);
        let out_of_buffers = self.engine.out_of_buffers();
        self.counters().out_of_buffers.set(out_of_buffers);
        let zero_copy_sends = self.engine.zero_copy_sends();
        self.counters().zero_copy_sends.set(zero_copy_sends);
    }

    /// Deals with sends that are over, before their memory is given back.
    fn settle(&mut self, events: &mut Vec<Event>) {
        let mut failed = Vec::new();
        let (turn, receive) = self.engine.memory();
        for event in events.extract_if(.., |e| matches!(e, Event::Sent { .. })) {
            if let Event::Sent {
                slot,
                outgoing,
                result,
            } = event
                && let Err(reason) = self.egress.sent(slot, outgoing, result, turn, receive)
            {
                failed.push((slot, reason));
            }
        }
        for (slot, reason) in failed {
            self.close(slot, reason, events);
        }
    }

    fn handle(&mut self, events: &mut Vec<Event>, late: &mut Vec<Event>) -> io::Result<()> {
        // Closing a port may append further events to `events`; those wait for the next turn.
        let mut due = VecDeque::from(std::mem::take(events));
        while let Some(event) = due.pop_front() {
            match event {
                Event::Received {
                    slot,
                    buffer,
                    at,
                    len,
                } => self.received(slot, buffer, at..at + len, events),
                Event::Ended { slot, error: 0 } => {
                    self.close(slot, CloseReason::PeerClosed, events)
                }
                Event::Ended {
                    slot,
                    error: libc::ECONNRESET,
                } => self.close(slot, CloseReason::PeerClosed, events),
                Event::Ended { slot, error } => self.close(slot, CloseReason::Io(error), events),
                Event::Closed { slot } => self.closed(slot),
                Event::Sent { .. } => debug_assert!(false, "sends are settled first"),
            }
            if self.engine.memory().0.is_high() {
                self.flush();
                self.engine.finish_inline(late)?;
                self.settle(late);
                self.engine.clear_gathered();
                // In this turn: with its end, the buffers that these name are void.
                due.extend(late.drain(..));
            }
        }
        Ok(())
    }

    fn received(&mut self, slot: u32, buffer: u16, range: Range<usize>, events: &mut Vec<Event>) {
        let Some(port) = self.egress.get_mut(slot).filter(|p| p.closing.is_none()) else {
            return;
        };
        let (id, counters, budget) = (
            port.id,
            Arc::clone(&port.counters),
            Arc::clone(&port.budget),
        );
        let mut carry = std::mem::take(&mut port.carry);
        let mut goes_on = false;
        let ingress = Ingress {
            port: id,
            counters: &counters,
        };
        let Range { start: mut at, end } = range;
        let mut result = Ok(());
        let (turn, receive) = self.engine.memory_mut();
        let mut egress = WorkerOutput {
            me: self.me,
            shared: &self.shared,
            egress: &mut self.egress,
            handoff: &mut self.handoff,
            turn,
            source: Some((id, &budget)),
        };
        if !carry.is_empty() {
            match complete(&mut carry, receive.bytes(buffer, at, end - at)) {
                Ok((taken, false)) => {
                    at += taken;
                    goes_on = true;
                }
                Ok((taken, true)) => {
                    at += taken;
                    let owned = egress.turn.own(Vec::new());
                    let place = Place::Owned(owned);
                    (_, result) = (self.router).ingest(&ingress, &mut carry, 0, place, &mut egress);
                    egress.turn.put_owned(owned, std::mem::take(&mut carry));
                }
                Err(e) => result = Err(e),
            }
        }
        if result.is_ok() && carry.is_empty() {
            let bytes = receive.bytes_mut(buffer, end);
            let place = Place::Receive(buffer);
            let (rest, ended) = (self.router).ingest(&ingress, bytes, at, place, &mut egress);
            result = ended;
            if result.is_ok() && rest < end {
                carry = egress.turn.spare();
                carry.extend_from_slice(receive.bytes(buffer, rest, end - rest));
            }
        }
        let now = self.start.elapsed().as_millis() as u64;
        if let Some(port) = self.egress.get_mut(slot) {
            port.received(carry, goes_on, now);
        }
        if let Err(e) = result {
            self.close(slot, CloseReason::Frame(e), events);
        }
    }

    fn take_mail(&mut self, events: &mut Vec<Event>) {
        let mailbox = Arc::clone(&self.mailbox);
        while let Some(command) = mailbox.commands.pop() {
            match command {
                Command::Add(new) => self.add(new),
                Command::Remove { port, reason } => {
                    if let Some(owner) = self.shared.map.get(port) {
                        self.close(owner.slot, reason, events);
                    }
                }
                Command::Send { port, frame } => {
                    if let Some(owner) = self.shared.map.get(port) {
                        self.egress.push_protocol(owner.slot, frame.into());
                    }
                }
                Command::Filter(filter) => self.router.set_filter(filter),
                Command::Shutdown => {
                    self.shutdown = Some(Instant::now());
                    for slot in self.egress.slots().collect::<Vec<_>>() {
                        self.close(slot, CloseReason::Shutdown, events);
                    }
                }
            }
        }
        for queue in &mailbox.blocks {
            // What comes meanwhile waits for the next turn: this one's memory is bounded.
            for _ in 0..queue.len() {
                if let Some(block) = queue.pop() {
                    queue.put_empty(self.take_block(block));
                }
            }
        }
        for _ in 0..INJECTED_PER_TURN {
            let Some(frame) = mailbox.injected.pop() else {
                break;
            };
            self.inject(frame);
        }
    }

    /// Takes a block's frames on; the block with an empty buffer in place of its own.
    fn take_block(&mut self, mut block: Block) -> Block {
        let turn = self.engine.memory_mut().0;
        // Emptied first, for what is referred to; it is put where the segments say in the end.
        let (bytes, owned) = (std::mem::take(&mut block.bytes), turn.own(Vec::new()));
        for handed in block.runs.drain(..) {
            let (at, len) = (handed.at as usize, handed.len as usize);
            let run = Run {
                ingress: handed.ingress,
                egress: handed.port,
                frames: handed.frames,
                head: &[],
                bytes: bytes.get(at..at + len).unwrap_or_default(),
                place: Place::Owned(owned),
                at,
            };
            if let Err(reason) = self.egress.emit(handed.slot, &run, turn) {
                let counters = &self.shared.counters[self.me];
                counters.local.dropped(reason, u64::from(run.frames));
            }
        }
        turn.put_owned(owned, bytes);
        block.bytes = turn.spare();
        block
    }

    /// Routes a frame of local origin.
    fn inject(&mut self, mut frame: Vec<u8>) {
        let ingress = Ingress {
            port: PortId::LOCAL,
            counters: &self.shared.counters[self.me].local,
        };
        let turn = self.engine.memory_mut().0;
        let owned = turn.own(Vec::new());
        let mut egress = WorkerOutput {
            me: self.me,
            shared: &self.shared,
            egress: &mut self.egress,
            handoff: &mut self.handoff,
            turn,
            source: None,
        };
        // A frame of our own making is whole and well-formed; if not, it goes nowhere.
        let _ = (self.router).ingest(&ingress, &mut frame, 0, Place::Owned(owned), &mut egress);
        egress.turn.put_owned(owned, frame);
    }

    fn add(&mut self, new: NewPort) {
        let NewPort {
            port,
            stream,
            options,
            counters,
            budget,
        } = new;
        match self.engine.add(stream) {
            Ok(slot) => {
                self.egress.add(slot, port, options, counters, budget);
                self.shared.map.set(
                    port,
                    Some(Owner {
                        worker: self.me,
                        slot,
                    }),
                );
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
                self.close(owner.slot, CloseReason::Shutdown, &mut events);
            }
            events.into_iter().for_each(|e| {
                if let Event::Closed { slot } = e {
                    self.closed(slot);
                }
            });
        }
    }

    /// Begins to close a port; the rest follows when the kernel has let go of it.
    fn close(&mut self, slot: u32, reason: CloseReason, events: &mut Vec<Event>) {
        let Some(port) = self.egress.get_mut(slot).filter(|p| p.closing.is_none()) else {
            return;
        };
        self.shared.map.set(port.id, None);
        let reset = reason.is_silence();
        self.egress.abandon(slot, reason);
        self.engine.close(slot, reset, events);
    }

    fn closed(&mut self, slot: u32) {
        self.engine.release(slot);
        let Some(port) = self.egress.remove(slot) else {
            return;
        };
        let counters = self.counters();
        counters.ports.set(counters.ports.get().saturating_sub(1));
        let mut sum = counters
            .closed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        sum.add(&port.counters.snapshot());
        drop(sum);
        self.shared.registry.remove(port.id);
        let reason = port.closing.unwrap_or(CloseReason::PeerClosed);
        // Nobody listens any more if the node is being dropped.
        let _ = self.shared.reports.send(Report::Closed {
            port: port.id,
            reason,
        });
    }
}

/// Where a worker's frames go: to its own ports, to other workers, to the control side.
struct WorkerOutput<'a> {
    me: usize,
    shared: &'a Shared,
    egress: &'a mut Egress,
    handoff: &'a mut Handoff,
    turn: &'a mut TurnMemory,
    /// The port that frames come from, and what it may have waiting at the control side.
    source: Option<(PortId, &'a Arc<Budget>)>,
}

impl Output for WorkerOutput<'_> {
    fn protocol(&mut self, frame: &[u8]) -> bool {
        let report = self
            .source
            .and_then(|(port, budget)| {
                ProtocolFrame::new(port, frame, budget, &self.shared.pending)
            })
            .map(Report::Frame);
        report.is_some_and(|r| self.shared.reports.send(r).is_ok())
    }

    #[inline(always)]
    fn forward(&mut self, run: Run<'_>) -> Result<(), (DropReason, u64)> {
        let frames = u64::from(run.frames);
        match self.shared.map.get(run.egress) {
            None => Err((DropReason::PortClosed, frames)),
            Some(Owner { worker, slot }) if worker == self.me => {
                let outcome = self.egress.emit(slot, &run, self.turn);
                outcome.map_err(|reason| (reason, frames))
            }
            Some(Owner { worker, slot }) => {
                let lost = self.handoff.push(worker, slot, &run);
                match lost {
                    0 => Ok(()),
                    lost => Err((DropReason::HandoffFull, lost)),
                }
            }
        }
    }
}
