//! The bell that wakes a worker.

mod sleep;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::event::{EventfdFlags, eventfd};

use self::sleep::Sleep;

/// Wakes a worker, with a system call only if it sleeps.
pub(crate) struct Doorbell {
    event: OwnedFd,
    /// The worker's io_uring, if it has one, to which other rings can send messages.
    ring: OnceLock<OwnedFd>,
    sleep: Sleep,
}

impl Doorbell {
    pub(crate) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            event,
            ring: OnceLock::new(),
            sleep: Sleep::new(),
        })
    }

    /// Wakes the worker if it sleeps. Call this after putting something into a queue.
    pub(crate) fn ring(&self) {
        if self.must_wake() {
            self.wake();
        }
    }

    /// Reports whether the worker sleeps and must be woken. If this returns true, the caller must wake the worker, as
    /// no other thread will.
    #[must_use]
    pub(crate) fn must_wake(&self) -> bool {
        self.sleep.must_wake()
    }

    /// Wakes the worker through its descriptor.
    pub(crate) fn wake(&self) {
        // This fails only if the counter is full, which wakes the worker as well.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    /// Sets the ring through which the worker can also be woken.
    pub(crate) fn set_io_uring(&self, ring: OwnedFd) {
        let _ = self.ring.set(ring);
    }

    /// Returns the ring through which the worker can also be woken.
    pub(crate) fn io_uring(&self) -> Option<BorrowedFd<'_>> {
        self.ring.get().map(AsFd::as_fd)
    }

    /// Declares that the worker is about to sleep. The worker must check its queues once more after this.
    pub(crate) fn about_to_sleep(&self) {
        self.sleep.about_to_sleep();
    }

    /// Declares that the worker is awake.
    pub(crate) fn awake(&self) {
        self.sleep.awake();
    }

    /// Resets the descriptor, so that it can be polled again.
    pub(crate) fn silence(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.event, &mut count);
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
