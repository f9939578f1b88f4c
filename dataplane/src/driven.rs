//! Workers that share a thread.

use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::options::DataPlaneError;
use crate::report::WorkerError;
use crate::worker::{Shared, Waiting, Worker};

/// A worker that its owner drives, together with others on one thread. Made by
/// [`DataPlane::driven`](crate::DataPlane::driven).
///
/// The owner calls [`iterate`](Self::iterate) until it returns [`ControlFlow::Break`] or an error, and then
/// [`finish`](Self::finish). When [`prepare_wait`](Self::prepare_wait) returns anything but zero, the next
/// iteration is due when [`descriptor`](Self::descriptor) becomes readable or that time has passed.
pub struct DrivenWorker(Worker);

impl DrivenWorker {
    pub(crate) fn new(shared: &Arc<Shared>) -> Result<Self, DataPlaneError> {
        Worker::new(0, Arc::clone(shared)).map(Self)
    }

    pub(crate) fn features(&self) -> String {
        self.0.features()
    }

    /// Handles what has arrived, and polls the sockets once. Returns [`ControlFlow::Break`] when the worker has shut
    /// down.
    ///
    /// # Errors
    /// The worker cannot go on. A panic is such an error.
    pub fn iterate(&mut self) -> Result<ControlFlow<()>, WorkerError> {
        self.0.iterate(Waiting::Poll)
    }

    /// Handles what has arrived, like [`Self::iterate`], but does not poll the sockets, which saves a system call. A
    /// socket that is readable makes the descriptor readable.
    ///
    /// # Errors
    /// As [`Self::iterate`].
    pub fn iterate_without_poll(&mut self) -> Result<ControlFlow<()>, WorkerError> {
        self.0.iterate(Waiting::Skip)
    }

    /// Prepares for a wait. Returns the longest time that the wait may take: zero if there is something to do at once,
    /// and `None` if there is no limit.
    pub fn prepare_wait(&mut self) -> Option<Duration> {
        self.0.prepare_wait()
    }

    /// Returns a descriptor that polls as readable when the worker has something to do, once
    /// [`prepare_wait`](Self::prepare_wait) has been called.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.descriptor()
    }

    /// Ends the worker. After an error, closes its ports and its mailbox, so that no other thread waits for it.
    pub fn finish(self, outcome: Result<(), WorkerError>) {
        self.0.finish(outcome);
    }
}

impl std::fmt::Debug for DrivenWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DrivenWorker")
    }
}
