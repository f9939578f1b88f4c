//! How others reach a worker: queues that it empties once a turn, and a bell for when it sleeps.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam::queue::{ArrayQueue, SegQueue};
use rustix::event::{EventfdFlags, eventfd};

use crate::backlog::Backlog;
use crate::block::BlockQueue;
use crate::counters::PortCounters;
use crate::filter::GuardedFilter;

use crate::report::{Budget, CloseReason};
use crate::{PortId, PortOptions};

/// What a worker is told.
pub(crate) enum Command {
    Add(NewPort),
    Remove { port: PortId, reason: CloseReason },
    Send { port: PortId, frame: Vec<u8> },
    Filter(Option<Arc<GuardedFilter>>),
    Shutdown,
}

/// A port to take over.
pub(crate) struct NewPort {
    pub(crate) port: PortId,
    pub(crate) stream: OwnedFd,
    pub(crate) options: PortOptions,
    pub(crate) counters: Arc<PortCounters>,
    pub(crate) budget: Arc<Budget>,
}

/// One worker's queues.
pub(crate) struct Mailbox {
    pub(crate) commands: SegQueue<Command>,
    pub(crate) injected: ArrayQueue<Vec<u8>>,
    /// Bytes of injected frames that the worker has not sent on.
    pub(crate) backlog: Backlog,
    /// One from each worker, so that each has one writer.
    pub(crate) blocks: Box<[BlockQueue]>,
    pub(crate) bell: Doorbell,
    /// Whether the worker has failed and empties its queues no more.
    closed: AtomicBool,
}

impl Mailbox {
    /// Creates a mailbox with a queue from each of `workers`, in which up to `local_frames` frames of
    /// local origin may wait.
    pub(crate) fn new(workers: usize, local_frames: usize) -> io::Result<Self> {
        Ok(Self {
            commands: SegQueue::new(),
            injected: ArrayQueue::new(local_frames),
            backlog: Backlog::default(),
            blocks: (0..workers).map(|_| BlockQueue::new()).collect(),
            bell: Doorbell::new()?,
            closed: AtomicBool::new(false),
        })
    }

    pub(crate) fn tell(&self, command: Command) {
        self.commands.push(command);
        if self.is_closed() {
            self.drop_commands();
        } else {
            self.bell.ring();
        }
    }

    /// Closes the queues of a worker that has failed, and says how many frames were in them.
    pub(crate) fn close(&self) -> u64 {
        // SeqCst here and in `tell`: either that one sees it, or we see its command.
        self.closed.store(true, Ordering::SeqCst);
        self.bell.awake();
        self.drop_commands();
        while self.injected.pop().is_some() {}
        self.backlog.set(0);
        self.drop_blocks()
    }

    pub(crate) fn is_closed(&self) -> bool {
        std::sync::atomic::fence(Ordering::SeqCst);
        self.closed.load(Ordering::SeqCst)
    }

    /// Drops the commands that wait, and the sockets of ports in them.
    fn drop_commands(&self) {
        while self.commands.pop().is_some() {}
    }

    /// Drops the blocks that wait, and says how many frames were in them.
    pub(crate) fn drop_blocks(&self) -> u64 {
        let waiting = self
            .blocks
            .iter()
            .flat_map(|queue| std::iter::from_fn(|| queue.pop()));
        waiting.map(|block| block.frames).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
            && self.injected.is_empty()
            && self.blocks.iter().all(BlockQueue::is_empty)
    }
}

/// Wakes a worker, at the price of a system call only if it sleeps.
pub(crate) struct Doorbell {
    event: OwnedFd,
    /// The worker's io_uring, if it has one: other rings can send it a message.
    ring: OnceLock<OwnedFd>,
    asleep: AtomicBool,
}

impl Doorbell {
    fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            event,
            ring: OnceLock::new(),
            asleep: AtomicBool::new(false),
        })
    }

    /// To be called after something was put into a queue.
    pub(crate) fn ring(&self) {
        if self.must_wake() {
            self.wake();
        }
    }

    /// The same without the waking: whether the worker sleeps. Who is told so must wake it, as nobody
    /// else will.
    #[must_use]
    pub(crate) fn must_wake(&self) -> bool {
        // SeqCst on both sides: either we see that it sleeps, or it sees what we queued.
        std::sync::atomic::fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }

    /// Wakes it by its descriptor.
    pub(crate) fn wake(&self) {
        // A full counter (the only failure) wakes as well as one more would.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    /// Says by which ring the worker can be woken too.
    pub(crate) fn set_io_uring(&self, ring: OwnedFd) {
        let _ = self.ring.set(ring);
    }

    /// That ring.
    pub(crate) fn io_uring(&self) -> Option<BorrowedFd<'_>> {
        self.ring.get().map(AsFd::as_fd)
    }

    /// Says that the worker is about to sleep; it must look at its queues once more after this.
    pub(crate) fn about_to_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Says that the worker is awake.
    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Takes the ring off the descriptor, so that it can be polled again.
    pub(crate) fn silence(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.event, &mut count);
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
