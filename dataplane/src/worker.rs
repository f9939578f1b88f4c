//! Workers. Each has an engine, ports and buffers of its own, and forwards frames between its ports
//! and to other workers.
//!
//! A [`Worker`] is driven from outside, by calls of [`Worker::iterate`] on one thread. [`thread`] does
//! so on a thread of the worker's own.

mod event_loop;
mod output;
mod ports;
mod shared;
pub(crate) mod thread;

use std::io;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use self::event_loop::EventLoop;
pub(crate) use self::event_loop::Waiting;
pub(crate) use self::shared::Shared;
use crate::counters::DropReason;
use crate::engine::{EngineKind, Epoll, Uring};
use crate::options::DataPlaneError;
use crate::report::{Report, WorkerError};

/// A worker, to be created, driven and dropped by one thread.
///
/// A driver calls [`iterate`](Self::iterate) until it returns [`ControlFlow::Break`] or an error, and
/// then [`finish`](Self::finish). A driver of one worker passes [`Waiting::Block`]. A driver of several
/// passes [`Waiting::Poll`], and waits for them itself: it calls [`prepare_wait`](Self::prepare_wait)
/// on each, waits until a [`descriptor`](Self::descriptor) is readable or the shortest of the returned
/// times has passed, and then iterates those workers that are ready or due.
pub(crate) struct Worker {
    me: usize,
    shared: Arc<Shared>,
    engine: AnyLoop,
}

enum AnyLoop {
    Uring(Box<EventLoop<Uring>>),
    Epoll(Box<EventLoop<Epoll>>),
}

/// Evaluates an expression with the loop of a worker, whatever its engine.
macro_rules! with_loop {
    ($worker:expr, $inner:ident => $expression:expr) => {
        match $worker {
            AnyLoop::Uring($inner) => $expression,
            AnyLoop::Epoll($inner) => $expression,
        }
    };
}

impl Worker {
    /// Sets up worker number `me` on the calling thread, which alone may use it.
    ///
    /// # Errors
    /// The engine cannot be set up.
    pub(crate) fn new(me: usize, shared: Arc<Shared>) -> Result<Self, DataPlaneError> {
        let made = match shared.engine {
            EngineKind::Uring => EventLoop::new(me, Arc::clone(&shared))
                .map(|made| AnyLoop::Uring(Box::new(made)))
                .map_err(|source| DataPlaneError::Uring { source }),
            EngineKind::Epoll => EventLoop::new(me, Arc::clone(&shared))
                .map(|made| AnyLoop::Epoll(Box::new(made)))
                .map_err(|source| DataPlaneError::Start { worker: me, source }),
        };
        Ok(Self {
            me,
            shared,
            engine: made?,
        })
    }

    /// Describes which parts of the kernel are in use.
    pub(crate) fn features(&self) -> String {
        with_loop!(&self.engine, inner => inner.features())
    }

    /// Runs one iteration. Returns [`ControlFlow::Break`] when the worker has shut down.
    ///
    /// # Errors
    /// The worker cannot go on. A panic is such an error.
    pub(crate) fn iterate(&mut self, waiting: Waiting) -> Result<ControlFlow<()>, WorkerError> {
        let engine = AssertUnwindSafe(&mut self.engine);
        let iterate = || {
            let AssertUnwindSafe(engine) = { engine };
            with_loop!(engine, inner => inner.iterate(waiting))
        };
        match catch_unwind(iterate) {
            Ok(result) => result.map_err(|e| self.system_error(&e)),
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().copied();
                let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
                Err(WorkerError::Panicked {
                    worker: self.me,
                    message: text.unwrap_or("without a message").into(),
                })
            }
        }
    }

    /// Prepares for a wait outside of the worker. From now on the descriptor becomes readable when something is put
    /// into the worker's mailbox. Returns the longest time that the wait may take: zero if there is something to do at
    /// once, and `None` if there is no limit.
    pub(crate) fn prepare_wait(&mut self) -> Option<Duration> {
        with_loop!(&mut self.engine, inner => inner.prepare_wait())
    }

    /// Returns a descriptor that polls as readable when the worker has something to do, once
    /// [`prepare_wait`](Self::prepare_wait) has been called.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        with_loop!(&self.engine, inner => inner.descriptor())
    }

    /// Ends the worker. After an error, closes its ports and its mailbox, so that no other thread waits for it.
    pub(crate) fn finish(mut self, outcome: Result<(), WorkerError>) {
        if !matches!(outcome, Err(WorkerError::Panicked { .. })) {
            with_loop!(&mut self.engine, inner => inner.finish());
        }
        let Self { me, shared, engine } = self;
        // The sockets close before the failure is reported.
        drop(engine);
        if let Err(error) = outcome {
            close_failed(&shared, me, &error);
        }
    }

    fn system_error(&self, error: &io::Error) -> WorkerError {
        WorkerError::System {
            worker: self.me,
            call: self.shared.engine.call(),
            error: error.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}

/// Closes the ports and the mailbox of a worker that has failed.
fn close_failed(shared: &Shared, worker: usize, error: &WorkerError) {
    // The receiver is gone if the node is being dropped.
    let _ = shared.reports.send(Report::WorkerFailed(error.clone()));
    let counters = &shared.counters[worker];
    for (port, registered) in shared.registry.fail(worker, error.clone()) {
        shared.map.set(port, None);
        let waiting = registered.counters.queued_frames.get();
        registered.counters.dropped(DropReason::PortClosed, waiting);
        registered.counters.queued_frames.set(0);
        let closed = counters.closed.lock();
        closed
            .unwrap_or_else(PoisonError::into_inner)
            .add(&registered.counters.snapshot());
        let reason = error.clone().into();
        let _ = shared.reports.send(Report::Closed { port, reason });
    }
    counters.ports.set(0);
    let frames = shared.mailboxes[worker].close();
    counters.local.dropped(DropReason::PortClosed, frames);
}

#[cfg(test)]
mod tests;
