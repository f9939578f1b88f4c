//! A node that shares its thread with others.

use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use pinecone_dataplane::DrivenWorker;
use tokio::sync::watch;

use crate::control::{Control, Progress};

/// Iterations of a node before the other nodes are iterated.
const ROUNDS: usize = 16;

/// The worker and the control of one node.
pub(crate) struct HostedNode {
    control: Control,
    /// The time at which the control has something to do without a report or a command. None: at once.
    control_due: Option<Instant>,
    /// The worker. None once it has ended.
    worker: Option<DrivenWorker>,
    closing: bool,
    /// Dropped last, when all other parts of the node have ended.
    _end: End,
}

/// Held while a node runs. Dropping it wakes the callers that wait for the node's end.
pub(crate) struct End {
    _end: watch::Sender<()>,
    _end_blocking: Sender<()>,
}

impl End {
    /// Creates it, with the receivers on which asynchronous and blocking callers wait.
    pub(crate) fn new() -> (Self, watch::Receiver<()>, Receiver<()>) {
        let (_end, ended) = watch::channel(());
        let (_end_blocking, ended_blocking) = bounded(0);
        let end = Self {
            _end,
            _end_blocking,
        };
        (end, ended, ended_blocking)
    }
}

/// The time at which a node must be iterated again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// At once, after the other nodes.
    Now,
    /// After this time, or when it is woken or its descriptor becomes readable.
    After(Duration),
    /// Never: the node has closed.
    Never,
}

impl HostedNode {
    pub(crate) fn new(control: Control, worker: DrivenWorker, end: End) -> Self {
        Self {
            control,
            control_due: None,
            worker: Some(worker),
            closing: false,
            _end: end,
        }
    }

    /// Returns the descriptor that becomes readable when the worker has something to do.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.worker.as_ref().map(DrivenWorker::descriptor)
    }

    /// Iterates the worker and the control.
    pub(crate) fn iterate(&mut self) -> Next {
        for round in 0..ROUNDS {
            // One poll is enough: sockets that become readable later make the descriptor readable.
            self.iterate_worker(round == 0);
            if self.closing {
                if self.worker.is_none() && self.control.have_transports_ended() {
                    return Next::Never;
                }
            } else if self.control.has_input() || self.is_control_due() {
                self.iterate_control();
            }
            match self.wait() {
                Some(Duration::ZERO) => {}
                Some(wait) => return Next::After(wait),
                None => return Next::After(Duration::MAX),
            }
        }
        Next::Now
    }

    /// Ends the node after a panic: tells the subscribers, and drops all handles.
    pub(crate) fn end_after_panic(self) {
        let Self {
            control,
            worker,
            _end,
            ..
        } = self;
        control.end_after_panic();
        drop(worker);
    }

    /// Ends the node, which has closed.
    pub(crate) fn finish(self) {
        self.control.finish();
    }

    fn iterate_worker(&mut self, polls: bool) {
        let Some(mut worker) = self.worker.take() else {
            return;
        };
        let outcome = match polls {
            true => worker.iterate(),
            false => worker.iterate_without_poll(),
        };
        let outcome = match outcome {
            Ok(ControlFlow::Continue(())) => {
                self.worker = Some(worker);
                return;
            }
            Ok(ControlFlow::Break(())) => Ok(()),
            Err(error) => Err(error),
        };
        worker.finish(outcome);
        if self.closing {
            self.control.workers_ended();
        }
    }

    fn iterate_control(&mut self) {
        self.control_due = match self.control.iterate() {
            Progress::More => None,
            Progress::Idle(wait) => Instant::now().checked_add(wait),
            Progress::Closing => {
                self.closing = true;
                self.control.begin_close();
                match self.worker {
                    Some(_) => self.control.shut_workers_down(),
                    None => self.control.workers_ended(),
                }
                None
            }
        };
    }

    fn is_control_due(&self) -> bool {
        self.control_due.is_none_or(|due| due <= Instant::now())
    }

    /// Returns the time until the node must be iterated without an event; `None` if there is no limit.
    fn wait(&mut self) -> Option<Duration> {
        let worker = match &mut self.worker {
            Some(worker) => worker.prepare_wait(),
            None => None,
        };
        // While it closes, the control waits for the worker and for commands.
        let control = match (self.closing, self.control_due) {
            (true, _) => None,
            (false, Some(due)) => Some(due.saturating_duration_since(Instant::now())),
            (false, None) => Some(Duration::ZERO),
        };
        match (worker, control) {
            (Some(worker), Some(control)) => Some(worker.min(control)),
            (wait, None) | (None, wait) => wait,
        }
    }
}
