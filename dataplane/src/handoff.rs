//! Frames on their way from the worker that received them to the one that owns their egress port:
//! gathered into blocks, handed over whole.

use std::sync::Arc;

use crate::PortId;
use crate::ingress::Run;
use crate::mailbox::Mailbox;

/// Bytes at which a block is handed over before its turn ends.
const BLOCK_LEN: usize = 64 << 10;
/// Bytes that an open block may grow to while the other worker is behind.
const BEHIND_LEN: usize = 4 << 20;
/// Blocks kept for reuse.
const SPARES: usize = 16;

/// Frames for ports of one worker. Frames for the same port that follow each other also lie behind
/// each other, so they go out as one run.
#[derive(Default)]
pub(crate) struct Block {
    pub(crate) bytes: Vec<u8>,
    pub(crate) runs: Vec<HandedRun>,
    /// How many frames there are in these runs.
    pub(crate) frames: u64,
}

/// Frames of a block that go out of one port.
#[derive(Clone, Copy)]
pub(crate) struct HandedRun {
    /// The slot of the egress port at its owner.
    pub(crate) slot: u32,
    /// The port that the slot had when the frame was routed: it may have changed hands.
    pub(crate) port: PortId,
    pub(crate) frames: u32,
    pub(crate) at: u32,
    pub(crate) len: u32,
}

/// One worker's open blocks, one for each other worker.
pub(crate) struct Handoff {
    open: Vec<Block>,
    spares: Vec<Block>,
    mailboxes: Vec<Arc<Mailbox>>,
    me: usize,
    /// Frames handed over so far.
    pub(crate) handed_over: u64,
}

impl Handoff {
    pub(crate) fn new(mailboxes: Vec<Arc<Mailbox>>, me: usize) -> Self {
        let open = mailboxes.iter().map(|_| Block::default()).collect();
        Self {
            open,
            spares: Vec::new(),
            mailboxes,
            me,
            handed_over: 0,
        }
    }

    /// Adds frames for a port in `slot` of `worker`. Returns how many that worker is too far behind
    /// to take.
    pub(crate) fn push(&mut self, worker: usize, slot: u32, run: &Run<'_>) -> u64 {
        let len = run.head.len() + run.bytes.len();
        let full = self.open[worker].bytes.len() + len > BLOCK_LEN;
        if full
            && !self.open[worker].runs.is_empty()
            && !self.flush_one(worker)
            && self.open[worker].bytes.len() + len > BEHIND_LEN
        {
            return u64::from(run.frames);
        }
        let block = &mut self.open[worker];
        let at = block.bytes.len() as u32;
        block.bytes.extend_from_slice(run.head);
        block.bytes.extend_from_slice(run.bytes);
        block.runs.push(HandedRun {
            slot,
            port: run.egress,
            frames: run.frames,
            at,
            len: len as u32,
        });
        block.frames += u64::from(run.frames);
        0
    }

    /// Hands over whatever is open. False if some worker could not take it: to be tried again soon.
    pub(crate) fn flush(&mut self) -> bool {
        let mut all = true;
        for worker in 0..self.open.len() {
            all &= self.open[worker].runs.is_empty() || self.flush_one(worker);
        }
        all
    }

    /// Drops what is open, and says how many frames that were.
    pub(crate) fn give_up(&mut self) -> u64 {
        let open = self.open.iter_mut().map(std::mem::take);
        open.map(|block| block.frames).sum()
    }

    /// Takes back an emptied block.
    pub(crate) fn reuse(&mut self, mut block: Block) {
        if self.spares.len() < SPARES && block.bytes.capacity() <= 2 * BLOCK_LEN {
            block.bytes.clear();
            block.runs.clear();
            block.frames = 0;
            self.spares.push(block);
        }
    }

    /// Hands over one block, or keeps it open.
    fn flush_one(&mut self, worker: usize) -> bool {
        let block = std::mem::replace(
            &mut self.open[worker],
            self.spares.pop().unwrap_or_default(),
        );
        let frames = block.frames;
        match self.mailboxes[worker].blocks[self.me].push(block) {
            Ok(()) => {
                self.handed_over += frames;
                self.mailboxes[worker].bell.ring();
                true
            }
            Err(block) => {
                let empty = std::mem::replace(&mut self.open[worker], block);
                self.reuse(empty);
                false
            }
        }
    }
}
