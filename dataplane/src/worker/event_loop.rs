//! A worker's loop over its engine.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ports::{Ports, account};
use super::shared::Shared;
use crate::batching::Batching;
use crate::engine::{Driver, Ending, Engine, EngineKind, Event, Sending};

/// The time after which a block is offered again to a worker that was too far behind to take it.
const HANDOVER_RETRY: Duration = Duration::from_micros(200);
/// The time between two checks of a worker that shuts down whether it is done.
const SHUTDOWN_CHECK: Duration = Duration::from_millis(10);

/// The way in which an iteration waits for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The iteration spins or sleeps until there is something to do, as the options say.
    Block,
    /// The iteration polls its sockets once. For drivers that wait for several workers at once.
    Poll,
    /// The iteration does not poll its sockets, as its driver is about to wait for the descriptor. Only the epoll
    /// engine makes a difference between this and [`Self::Poll`].
    Skip,
}

/// A worker with one kind of engine.
pub(super) struct EventLoop<E> {
    driver: Driver<E>,
    ports: Ports,
    batching: Batching,
    /// Events that have not been handled.
    events: Vec<Event>,
    /// Kept for its allocation.
    late: Vec<Event>,
    /// The time at which the last wait returned, since the worker started.
    now: Duration,
    /// True if all frames for other workers have been handed over.
    handed_over: bool,
    /// True if others have been told that the worker sleeps.
    asleep: bool,
}

impl<E: Engine> EventLoop<E> {
    /// Sets up the engine on the calling thread.
    pub(super) fn new(me: usize, shared: Arc<Shared>) -> io::Result<Self> {
        let (mailbox, options) = (Arc::clone(&shared.mailboxes[me]), &shared.options);
        let driver = Driver::new(mailbox, &shared.poller, options)?;
        // Epoll cannot wait for a batch, and the other options are for low latency.
        let batches =
            E::KIND == EngineKind::Uring && options.busy_poll.is_none() && options.sqpoll.is_none();
        let batching = Batching::new(if batches {
            options.batch_wait
        } else {
            Duration::ZERO
        });
        Ok(Self {
            driver,
            ports: Ports::new(me, shared),
            batching,
            events: Vec::new(),
            late: Vec::new(),
            now: Duration::ZERO,
            handed_over: true,
            asleep: false,
        })
    }

    pub(super) fn features(&self) -> String {
        self.driver.features(&self.ports.shared().options)
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.driver.descriptor()
    }

    /// Handles the events of the last wait, sends the frames that are due, and waits.
    pub(super) fn iterate(&mut self, waiting: Waiting) -> io::Result<ControlFlow<()>> {
        if std::mem::take(&mut self.asleep) {
            self.ports.mailbox().bell.awake();
        }
        let (ports, events) = (&mut self.ports, &mut self.events);
        let mut iteration = self.driver.begin();
        ports.take_mail(&mut iteration, events);
        ports.handle(&mut iteration, events, &mut self.late)?;
        ports.remove_panicked_filter();
        let mut iteration = iteration.handled();
        ports.run_timers(&mut iteration, events);
        self.handed_over = ports.hand_over(&mut iteration);
        ports.flush(&mut iteration);
        let mut failed = Vec::new();
        if iteration.take_completed(events, account(&mut ports.egress, &mut failed))? {
            ports.close_failed(&mut iteration, std::mem::take(&mut failed), events);
            // Bytes that a full socket refused begin to drain before the wait.
            ports.egress.flush(&mut iteration.outbox());
        }
        ports.release_injected();
        if ports.is_over() {
            return Ok(ControlFlow::Break(()));
        }
        let timeout = match (waiting, events.is_empty()) {
            (Waiting::Block, true) => timeout(ports, self.handed_over),
            _ => Some(Duration::ZERO),
        };
        let mut waiter = Waiter {
            ports,
            batching: &mut self.batching,
            now: &mut self.now,
        };
        let iteration = match waiting {
            Waiting::Block | Waiting::Poll => waiter.wait(iteration, timeout, events)?,
            Waiting::Skip => waiter.skip(iteration, events)?,
        };
        iteration.end(events, account(&mut ports.egress, &mut failed));
        ports.close_failed(self.driver.sockets(), failed, events);
        Ok(ControlFlow::Continue(()))
    }

    /// Prepares for a wait for the descriptor outside of the worker. Returns the longest that it may
    /// take until the next iteration, which is zero if there is something to do at once.
    pub(super) fn prepare_wait(&mut self) -> Option<Duration> {
        self.asleep = true;
        let mailbox = self.ports.mailbox();
        mailbox.bell.about_to_sleep();
        let is_busy = !mailbox.is_empty()
            || !self.events.is_empty()
            || self.ports.egress.width() > 0
            || self.driver.has_work();
        match is_busy {
            true => Some(Duration::ZERO),
            false => timeout(&self.ports, self.handed_over),
        }
    }

    /// Brings the counters to their final state.
    pub(super) fn finish(&mut self) {
        self.ports.egress.update_gauges();
        self.ports.give_up();
    }
}

/// Returns the time for which a wait needs no timeout of its own: until the next timer or retry.
fn timeout(ports: &Ports, handed_over: bool) -> Option<Duration> {
    if !handed_over {
        return Some(HANDOVER_RETRY);
    }
    if ports.is_shutting_down() {
        return Some(SHUTDOWN_CHECK);
    }
    let due = ports.egress.next_due()?;
    let now = ports.elapsed().as_millis() as u64;
    Some(Duration::from_millis(due.saturating_sub(now)))
}

/// The parts of a worker that a wait changes.
struct Waiter<'a> {
    ports: &'a mut Ports,
    batching: &'a mut Batching,
    now: &'a mut Duration,
}

impl Waiter<'_> {
    fn wait<'e, E: Engine>(
        &mut self,
        iteration: Sending<'e, E>,
        timeout: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> io::Result<Ending<'e, E>> {
        let spins = self.ports.shared().options.busy_poll;
        let Some(limit) = spins.filter(|_| timeout != Some(Duration::ZERO)) else {
            let (sleeps, timeout, batch) = self.fall_asleep(timeout);
            let iteration = iteration.wait(timeout, batch, events)?;
            self.wake_up(sleeps);
            self.count(&iteration, events, batch.is_some());
            return Ok(iteration);
        };
        let limit = timeout.map_or(limit, |timeout| timeout.min(limit));
        let start = Instant::now();
        // This submits the queued requests. From then on, memory shows whether there is a reason to enter the kernel.
        let mut iteration = iteration.wait(Some(Duration::ZERO), None, events)?;
        if !self.spin(&mut iteration, start, limit, events)? {
            let timeout = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
            let (sleeps, timeout, batch) = self.fall_asleep(timeout);
            iteration.wait_again(timeout, batch, events)?;
            self.wake_up(sleeps);
        }
        self.count(&iteration, events, false);
        Ok(iteration)
    }

    /// Ends an iteration without a poll.
    fn skip<'e, E: Engine>(
        &mut self,
        iteration: Sending<'e, E>,
        events: &mut Vec<Event>,
    ) -> io::Result<Ending<'e, E>> {
        let iteration = iteration.skip_wait(events)?;
        self.count(&iteration, events, false);
        Ok(iteration)
    }

    /// Polls for something to do without sleeping, so that no other thread needs to ring the bell. Returns false if
    /// there was nothing until `limit` after `start`.
    fn spin<E: Engine>(
        &self,
        iteration: &mut Ending<'_, E>,
        start: Instant,
        limit: Duration,
        events: &mut Vec<Event>,
    ) -> io::Result<bool> {
        loop {
            if !events.is_empty() || !self.ports.mailbox().is_empty() {
                return Ok(true);
            }
            if start.elapsed() >= limit {
                return Ok(false);
            }
            std::hint::spin_loop();
            if iteration.may_have_news() {
                iteration.wait_again(Some(Duration::ZERO), None, events)?;
            }
        }
    }

    /// Prepares for a wait. Returns whether it is a sleep, its timeout, and whether to wait for a
    /// batch.
    fn fall_asleep(
        &mut self,
        timeout: Option<Duration>,
    ) -> (bool, Option<Duration>, Option<Duration>) {
        let sleeps = timeout != Some(Duration::ZERO);
        let mut timeout = timeout;
        if sleeps {
            let mailbox = self.ports.mailbox();
            mailbox.bell.about_to_sleep();
            if !mailbox.is_empty() {
                timeout = Some(Duration::ZERO);
            }
        }
        let batch = match timeout {
            Some(Duration::ZERO) => None,
            _ => self.batching.wait(),
        };
        (sleeps, timeout, batch)
    }

    fn wake_up(&self, slept: bool) {
        if slept {
            self.ports.mailbox().bell.awake();
            self.ports.counters().sleeps.add(1);
        }
    }

    /// Counts an iteration, and records the time.
    fn count<E: Engine>(
        &mut self,
        iteration: &Ending<'_, E>,
        events: &[Event],
        waited_for_batch: bool,
    ) {
        let now = self.ports.elapsed();
        let elapsed = now.saturating_sub(std::mem::replace(self.now, now));
        let arrivals = events.iter().filter_map(|event| match *event {
            Event::Received { slot, len, .. } => Some((slot, len)),
            _ => None,
        });
        self.batching.iteration(elapsed, arrivals, waited_for_batch);
        self.ports.egress.set_now(now.as_millis() as u64);
        let (counters, stats) = (self.ports.counters(), iteration.stats());
        counters.iterations.add(1);
        counters.out_of_buffers.set(stats.out_of_buffers);
        counters.zero_copy_sends.set(stats.zero_copy_sends);
    }
}
