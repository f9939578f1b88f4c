//! A worker's mailbox: queues that it empties once an iteration, and a bell that wakes it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam::queue::{ArrayQueue, SegQueue};

use crate::backlog::Backlog;
use crate::block::BlockQueue;
use crate::closing::Closing;
use crate::counters::PortCounters;
use crate::doorbell::Doorbell;
use crate::filter::GuardedFilter;
use crate::local_frame::LocalFrame;
use crate::report::{Budget, CloseReason};
use crate::{PortId, PortOptions};

/// A command for a worker.
pub(crate) enum Command {
    Add(NewPort),
    Remove {
        port: PortId,
        reason: CloseReason,
    },
    Send {
        port: PortId,
        frame: Vec<u8>,
    },
    Filter(Option<Arc<GuardedFilter>>),
    /// Removes the filter if it has panicked.
    RemovePanickedFilter,
    Shutdown,
}

/// A port for a worker to take over.
pub(crate) struct NewPort {
    pub(crate) port: PortId,
    pub(crate) stream: OwnedFd,
    pub(crate) options: PortOptions,
    pub(crate) counters: Arc<PortCounters>,
    pub(crate) budget: Arc<Budget>,
}

/// The queues of a worker.
pub(crate) struct Mailbox {
    pub(crate) commands: SegQueue<Command>,
    pub(crate) injected: ArrayQueue<LocalFrame>,
    /// Bytes of injected frames that the worker has not sent on.
    pub(crate) backlog: Backlog,
    /// Blocks from each worker, in a queue of its own so that each queue has one writer.
    pub(crate) blocks: Box<[BlockQueue]>,
    pub(crate) bell: Doorbell,
    /// True if the worker has failed and no longer empties its queues.
    closing: Closing,
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
            closing: Closing::new(),
        })
    }

    /// Gives the worker a command. A command for a worker that has failed is dropped.
    pub(crate) fn tell(&self, command: Command) {
        self.commands.push(command);
        if self.is_closed() {
            self.drop_commands();
        } else {
            self.bell.ring();
        }
    }

    /// Closes the queues of a worker that has failed. Returns the number of frames in them.
    pub(crate) fn close(&self) -> u64 {
        self.closing.close();
        self.bell.awake();
        self.drop_commands();
        while self.injected.pop().is_some() {}
        self.backlog.set(0);
        self.drop_blocks()
    }

    /// Reports whether the worker has failed. Call this after putting something into a queue.
    pub(crate) fn is_closed(&self) -> bool {
        self.closing.is_closed()
    }

    /// Drops the commands that wait, and the sockets in them.
    fn drop_commands(&self) {
        while self.commands.pop().is_some() {}
    }

    /// Drops the blocks that wait. Returns the number of frames in them.
    pub(crate) fn drop_blocks(&self) -> u64 {
        let waiting = self
            .blocks
            .iter()
            .flat_map(|queue| std::iter::from_fn(|| queue.pop()));
        waiting.map(|block| block.frames).sum()
    }

    /// Reports whether all queues are empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
            && self.injected.is_empty()
            && self.blocks.iter().all(BlockQueue::is_empty)
    }
}
