//! Handing frames over from the worker that received them to the one that owns their egress port, in
//! blocks.

use std::sync::Arc;

use crate::block::{Block, HandedBurst, SCALE};
use crate::ingress::Burst;
use crate::mailbox::Mailbox;

/// Bytes at which a block is handed over before the iteration ends. Each block costs the other worker one send for each
/// port. With a quarter of this size, a burst of small frames took two sends.
const BLOCK_LEN: usize = (256 << 10) / SCALE;
/// Bytes that an open block may grow to while the other worker is behind, and the share of one port in them: a flood
/// for one port must not cost the others their frames.
const BEHIND_LEN: usize = (6 << 20) / SCALE;
const BEHIND_PORT: usize = (4 << 20) / SCALE;

/// The open blocks of a worker, one for each other worker.
pub(crate) struct Handoff {
    open: Vec<Block>,
    /// The bytes that each slot of another worker has been given since that worker fell behind.
    behind: Vec<Vec<u32>>,
    mailboxes: Vec<Arc<Mailbox>>,
    me: usize,
    /// The number of frames handed over so far.
    pub(crate) handed_over: u64,
    /// Workers that sleep and have been given frames.
    asleep: Vec<usize>,
    /// The number of frames dropped because their worker has failed.
    lost: u64,
}

impl Handoff {
    pub(crate) fn new(mailboxes: Vec<Arc<Mailbox>>, me: usize) -> Self {
        Self {
            open: mailboxes.iter().map(|_| Block::default()).collect(),
            behind: mailboxes.iter().map(|_| Vec::new()).collect(),
            mailboxes,
            me,
            handed_over: 0,
            asleep: Vec::new(),
            lost: 0,
        }
    }

    /// Adds frames for a port in `slot` of `worker`. Returns the number of frames dropped because that
    /// worker is too far behind.
    pub(crate) fn push(&mut self, worker: usize, slot: u32, burst: &Burst<'_>) -> u64 {
        let len = burst.head.len() + burst.bytes.len();
        let full = self.open[worker].bytes.len() + len > BLOCK_LEN;
        if full && !self.open[worker].bursts.is_empty() {
            match self.flush_one(worker) {
                // Many more frames follow, so the other worker need not wait for the end of this iteration.
                true => self.mailboxes[worker].bell.ring(),
                false if self.has_room(worker, slot, len) => {}
                false => return u64::from(burst.frames),
            }
        }
        let block = &mut self.open[worker];
        let at = block.bytes.len() as u32;
        block.bytes.extend_from_slice(burst.head);
        block.bytes.extend_from_slice(burst.bytes);
        block.bursts.push(HandedBurst {
            slot,
            port: burst.egress,
            ingress: burst.ingress,
            frames: burst.frames,
            at,
            len: len as u32,
        });
        block.frames += u64::from(burst.frames);
        0
    }

    /// Hands over all open blocks. Returns false if a worker could not take its block: try again soon.
    /// Wake the workers of [`Self::take_asleep`] afterwards.
    pub(crate) fn flush(&mut self) -> bool {
        let mut all = true;
        for worker in 0..self.open.len() {
            if self.open[worker].bursts.is_empty() {
                continue;
            }
            let taken = self.flush_one(worker);
            if taken && self.mailboxes[worker].bell.must_wake() {
                self.asleep.push(worker);
            }
            all &= taken;
        }
        all
    }

    /// Takes a worker that sleeps, with its mailbox. The caller must wake it.
    pub(crate) fn take_asleep(&mut self) -> Option<(usize, Arc<Mailbox>)> {
        let worker = self.asleep.pop()?;
        Some((worker, Arc::clone(&self.mailboxes[worker])))
    }

    /// Takes the number of frames dropped because their worker has failed.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Drops all open blocks. Returns the number of frames in them.
    pub(crate) fn give_up(&mut self) -> u64 {
        let open = self.open.iter_mut().map(std::mem::take);
        open.map(|block| block.frames).sum()
    }

    /// Reports whether a frame for this slot fits although its worker is behind, and counts it if so.
    fn has_room(&mut self, worker: usize, slot: u32, len: usize) -> bool {
        let behind = &mut self.behind[worker];
        if behind.len() <= slot as usize {
            behind.resize(slot as usize + 1, 0);
        }
        let taken = &mut behind[slot as usize];
        let fits = *taken as usize + len <= BEHIND_PORT
            && self.open[worker].bytes.len() + len <= BEHIND_LEN;
        if fits {
            *taken += len as u32;
        }
        fits
    }

    /// Hands over one block, or keeps it open. Does not wake the other worker.
    fn flush_one(&mut self, worker: usize) -> bool {
        if self.mailboxes[worker].is_closed() {
            self.lost += std::mem::take(&mut self.open[worker]).frames;
            self.behind[worker].clear();
            return true;
        }
        let queue = &self.mailboxes[worker].blocks[self.me];
        let mut empty = queue.take_empty();
        // Without this, the buffer would be reallocated and copied while it is filled.
        empty.bytes.reserve(BLOCK_LEN);
        let block = std::mem::replace(&mut self.open[worker], empty);
        let frames = block.frames;
        match queue.push(block) {
            Ok(()) => {
                self.handed_over += frames;
                self.behind[worker].clear();
                true
            }
            Err(block) => {
                queue.put_empty(std::mem::replace(&mut self.open[worker], block));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PortId;
    use crate::block::BLOCK_BYTES;
    use crate::buffer::Place;

    const FRAME: [u8; 1000] = [0; 1000];

    fn handoff() -> (Handoff, Arc<Mailbox>) {
        let mailboxes: Vec<_> = (0..2)
            .map(|_| Arc::new(Mailbox::new(2, 16).expect("an eventfd")))
            .collect();
        let to = Arc::clone(&mailboxes[1]);
        (Handoff::new(mailboxes, 0), to)
    }

    /// Offers a frame. Returns whether it was taken.
    fn push(handoff: &mut Handoff, slot: u32) -> bool {
        let burst = Burst {
            ingress: PortId(1),
            egress: PortId(slot),
            frames: 1,
            head: &[],
            bytes: &FRAME,
            place: Place::Receive(0),
            at: 0,
        };
        handoff.push(1, slot, &burst) == 0
    }

    fn take_all(mailbox: &Mailbox) -> usize {
        let blocks = std::iter::from_fn(|| mailbox.blocks[0].pop());
        blocks.map(|block| block.bytes.len()).sum()
    }

    #[test]
    fn frames_that_wait_for_a_worker_are_bounded_in_bytes() {
        let (mut handoff, to) = handoff();
        let mut taken = 0;
        for _ in 0..3 {
            for slot in 0..30_000 / SCALE as u32 {
                taken += usize::from(push(&mut handoff, slot % 10)) * FRAME.len();
            }
            assert!(taken <= BLOCK_BYTES + BEHIND_LEN, "{taken}");
            // The worker takes one block, which makes room for another of bounded size.
            taken -= to.blocks[0].pop().expect("a block").bytes.len();
        }
        let mut came = take_all(&to);
        while !handoff.flush() {
            came += take_all(&to);
        }
        assert_eq!(came + take_all(&to), taken);
        assert_eq!(handoff.give_up(), 0);
    }

    #[test]
    fn frames_for_a_worker_that_has_failed_are_dropped_and_not_offered_again() {
        let (mut handoff, to) = handoff();
        let mut taken = 0;
        while push(&mut handoff, 7) {
            taken += 1;
        }
        assert!(!handoff.flush(), "it is behind");
        let waited = to.close();
        assert!(handoff.flush());
        assert_eq!(waited + handoff.take_lost(), taken);
        assert!(push(&mut handoff, 7) && handoff.flush());
        assert_eq!((handoff.take_lost(), handoff.give_up()), (1, 0));
    }

    #[test]
    fn a_flood_for_one_port_leaves_room_for_others() {
        let (mut handoff, to) = handoff();
        while push(&mut handoff, 7) {}
        assert!(push(&mut handoff, 8), "another port's");
        assert!(!push(&mut handoff, 7));
        while !handoff.flush() {
            take_all(&to);
        }
        assert!(push(&mut handoff, 7), "it is no longer behind");
    }
}
