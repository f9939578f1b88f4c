//! Internals of this crate that the benches measure. This is not a stable interface: anything here may change at any
//! time, and only `benches/` may use it.

use std::io;
use std::sync::Arc;

use crate::PortId;
use crate::buffer::Place;
use crate::handoff::Handoff;
use crate::ingress::Burst;
use crate::mailbox::Mailbox;
use crate::queue::{FlowQueue, QueueLimits};

/// An egress port's queue.
pub struct EgressQueue(FlowQueue);

impl EgressQueue {
    /// Creates a queue of at most `bytes`, with a target delay in milliseconds if there is one.
    #[must_use]
    pub fn new(bytes: usize, delay: Option<u64>) -> Self {
        let limits = QueueLimits {
            bytes,
            frames: usize::MAX,
            delay,
        };
        Self(FlowQueue::new(limits))
    }

    /// Queues a frame of a flow, from an ingress port, at a time in milliseconds. Returns the number of
    /// frames dropped.
    pub fn push(&mut self, port: u32, flow: u64, frame: Box<[u8]>, now: u64) -> u64 {
        self.0.push(PortId(port), flow, frame, usize::MAX, now)
    }

    /// Takes the next frame.
    pub fn pop(&mut self, now: u64) -> Option<Box<[u8]>> {
        self.0.pop(now)
    }
}

/// The hand-over of one of two workers.
pub struct HandoffEnd {
    handoff: Handoff,
    mailbox: Arc<Mailbox>,
    me: usize,
}

impl HandoffEnd {
    /// Creates the hand-overs of two workers.
    ///
    /// # Errors
    /// Their bells cannot be created.
    pub fn pair() -> io::Result<[Self; 2]> {
        let mailboxes = [
            Arc::new(Mailbox::new(2, 16)?),
            Arc::new(Mailbox::new(2, 16)?),
        ];
        Ok([0, 1].map(|me| Self {
            handoff: Handoff::new(mailboxes.to_vec(), me),
            mailbox: Arc::clone(&mailboxes[me]),
            me,
        }))
    }

    /// Adds a frame for the other worker. Returns false if that one is too far behind.
    pub fn push(&mut self, frame: &[u8]) -> bool {
        let burst = Burst {
            ingress: PortId(2),
            egress: PortId(1),
            head: &[],
            bytes: frame,
            frames: 1,
            place: Place::Receive(0),
            at: 0,
        };
        self.handoff.push(1 - self.me, 0, &burst) == 0
    }

    /// Ends an iteration. Returns false if the other worker is too far behind.
    pub fn flush(&mut self) -> bool {
        self.handoff.flush()
    }

    /// Takes the blocks that the other worker has handed over, and passes each burst to `take`.
    pub fn take(&mut self, mut take: impl FnMut(&[u8])) {
        let queue = &self.mailbox.blocks[1 - self.me];
        while let Some(block) = queue.pop() {
            for burst in &block.bursts {
                let at = burst.at as usize;
                take(&block.bytes[at..at + burst.len as usize]);
            }
            queue.put_empty(block);
        }
    }
}
