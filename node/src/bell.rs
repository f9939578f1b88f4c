//! Waking a thread that waits in `epoll_wait`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rustix::event::{EventfdFlags, eventfd};

/// Wakes a thread, with a system call only if it waits.
pub(crate) struct Bell {
    event: OwnedFd,
    waiting: AtomicBool,
}

impl Bell {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            waiting: AtomicBool::new(false),
        })
    }

    /// Wakes the thread. Call this after putting something into one of its queues.
    pub(crate) fn ring(&self) {
        // SeqCst on both sides: either this sees that the thread waits, or the thread sees what was queued.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) && self.waiting.swap(false, Ordering::Relaxed) {
            // A full counter, the only failure, wakes the thread as well.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// Announces a wait. The thread must check its queues once more after this.
    pub(crate) fn about_to_wait(&self) {
        self.waiting.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Ends a wait.
    pub(crate) fn awake(&self) {
        self.waiting.store(false, Ordering::Relaxed);
    }

    /// Makes the descriptor wait for the next ring.
    pub(crate) fn silence(&self) {
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
    }

    /// Returns the descriptor that becomes readable.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
