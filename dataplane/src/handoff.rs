//! Frames on their way from the worker that received them to the one that owns their egress port:
//! gathered into blocks, handed over whole.

use crate::counters::{DropReason, PortCounters, WorkerCounters};
use crate::mailbox::Mailbox;

/// Bytes at which a block is handed over before its turn ends.
const BLOCK_LEN: usize = 64 << 10;
/// Blocks kept for reuse.
const SPARES: usize = 16;

/// Frames for ports of one worker. Frames for the same port that follow each other also lie behind
/// each other, so they go out as one run.
#[derive(Default)]
pub(crate) struct Block {
    pub(crate) bytes: Vec<u8>,
    pub(crate) frames: Vec<HandedFrame>,
}

/// One frame of a block.
#[derive(Clone, Copy)]
pub(crate) struct HandedFrame {
    /// The slot of the egress port at its owner.
    pub(crate) slot: u32,
    /// The port that the slot had when the frame was routed: it may have changed hands.
    pub(crate) port: u32,
    pub(crate) at: u32,
    pub(crate) len: u32,
}

/// One worker's open blocks, one for each other worker.
pub(crate) struct Handoff {
    open: Vec<Block>,
    spares: Vec<Block>,
    me: usize,
}

impl Handoff {
    pub(crate) fn new(workers: usize, me: usize) -> Self {
        Self {
            open: (0..workers).map(|_| Block::default()).collect(),
            spares: Vec::new(),
            me,
        }
    }

    /// Adds a frame, given in two parts, for a port of `worker`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn push(
        &mut self,
        worker: usize,
        slot: u32,
        port: u32,
        parts: [&[u8]; 2],
        mailboxes: &[std::sync::Arc<Mailbox>],
        ingress: &PortCounters,
        counters: &WorkerCounters,
    ) {
        let len = parts[0].len() + parts[1].len();
        if self.open[worker].bytes.len() + len > BLOCK_LEN && !self.open[worker].frames.is_empty() {
            self.flush_one(worker, mailboxes, ingress, counters);
        }
        let block = &mut self.open[worker];
        let at = block.bytes.len() as u32;
        parts
            .iter()
            .for_each(|part| block.bytes.extend_from_slice(part));
        block.frames.push(HandedFrame {
            slot,
            port,
            at,
            len: len as u32,
        });
    }

    /// Hands over whatever is open.
    pub(crate) fn flush(
        &mut self,
        mailboxes: &[std::sync::Arc<Mailbox>],
        ingress: &PortCounters,
        counters: &WorkerCounters,
    ) {
        for worker in 0..self.open.len() {
            if !self.open[worker].frames.is_empty() {
                self.flush_one(worker, mailboxes, ingress, counters);
            }
        }
    }

    /// Takes back an emptied block.
    pub(crate) fn reuse(&mut self, mut block: Block) {
        if self.spares.len() < SPARES {
            block.bytes.clear();
            block.frames.clear();
            self.spares.push(block);
        }
    }

    /// Drops are counted on `ingress`, the port whose frame came when the block had to go; the
    /// block may hold other ports' frames too, but the sum over all ports is right.
    fn flush_one(
        &mut self,
        worker: usize,
        mailboxes: &[std::sync::Arc<Mailbox>],
        ingress: &PortCounters,
        counters: &WorkerCounters,
    ) {
        let block = std::mem::replace(
            &mut self.open[worker],
            self.spares.pop().unwrap_or_default(),
        );
        let frames = block.frames.len() as u64;
        match mailboxes[worker].blocks[self.me].push(block) {
            Ok(()) => {
                counters.handed_over.add(frames);
                mailboxes[worker].bell.ring();
            }
            Err(block) => {
                ingress.dropped(DropReason::HandoffFull, frames);
                self.reuse(block);
            }
        }
    }
}
