//! What the benches measure of this crate's inside. No interface: anything here may change at any
//! time, and nothing but `benches/` may use it.

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
    /// Of at most so many bytes, with a target delay if one is given in milliseconds.
    #[must_use]
    pub fn new(bytes: usize, delay: Option<u64>) -> Self {
        let limits = QueueLimits {
            bytes,
            frames: usize::MAX,
            delay,
        };
        Self(FlowQueue::new(limits))
    }

    /// Queues a frame of a flow, from an ingress port, at a time in milliseconds; returns how many
    /// were dropped for it.
    pub fn push(&mut self, port: u32, flow: u64, frame: Box<[u8]>, now: u64) -> u64 {
        self.0.push(PortId(port), flow, frame, usize::MAX, now)
    }

    /// Takes the next frame.
    pub fn pop(&mut self, now: u64) -> Option<Box<[u8]>> {
        self.0.pop(now)
    }
}

/// One of two workers, as far as handing over goes.
pub struct HandoffEnd {
    handoff: Handoff,
    mailbox: Arc<Mailbox>,
    me: usize,
}

impl HandoffEnd {
    /// Two workers' ends.
    ///
    /// # Errors
    /// If their bells cannot be had.
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

    /// Adds a frame for the other worker; false if that one is too far behind.
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

    /// Ends a turn; false if the other is too far behind.
    pub fn flush(&mut self) -> bool {
        self.handoff.flush()
    }

    /// Takes what the other worker has handed over, and gives each piece of it to `take`.
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
