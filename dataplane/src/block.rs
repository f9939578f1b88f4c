//! Blocks of frames on their way from one worker to another.

use crate::PortId;
use crate::sync::{ArrayQueue, AtomicUsize, Ordering};

/// The factor by which blocks are smaller under Miri, which is a thousand times slower.
pub(crate) const SCALE: usize = if cfg!(miri) { 256 } else { 1 };
/// Maximum number of blocks that wait between two workers, and of bytes in them; a single block may
/// be larger. loom's model fills blocks very often.
const BLOCKS: usize = 64;
pub(crate) const BLOCK_BYTES: usize = if cfg!(loom) { 4 } else { (4 << 20) / SCALE };
/// Maximum number of emptied blocks that are kept between two workers, and the largest capacity worth
/// keeping.
const EMPTY_BLOCKS: usize = 4;
const EMPTY_CAPACITY: usize = 512 << 10;

/// Frames for ports of one worker. Consecutive frames for the same port are adjacent, so that they are sent as one
/// burst.
#[derive(Default)]
pub(crate) struct Block {
    pub(crate) bytes: Vec<u8>,
    pub(crate) bursts: Vec<HandedBurst>,
    /// The number of frames in all bursts.
    pub(crate) frames: u64,
}

/// Adjacent frames of a block that are sent on one port.
#[derive(Clone, Copy)]
pub(crate) struct HandedBurst {
    /// The slot of the egress port at its owner.
    pub(crate) slot: u32,
    /// The port that was in the slot when the frames were routed. Another port may be in it by now.
    pub(crate) port: PortId,
    /// The port that the frames arrived at.
    pub(crate) ingress: PortId,
    pub(crate) frames: u32,
    pub(crate) at: u32,
    pub(crate) len: u32,
}

/// Blocks of frames from one worker to another, bounded in number and bytes.
pub(crate) struct BlockQueue {
    queue: ArrayQueue<Block>,
    bytes: AtomicUsize,
    /// Emptied blocks on their way back to the worker that fills them.
    empty: ArrayQueue<Block>,
}

impl BlockQueue {
    pub(crate) fn new() -> Self {
        Self {
            queue: ArrayQueue::new(BLOCKS),
            bytes: AtomicUsize::new(0),
            empty: ArrayQueue::new(EMPTY_BLOCKS),
        }
    }

    /// Adds a block, or returns it if the queue is full. Only one worker may call this.
    pub(crate) fn push(&self, block: Block) -> Result<(), Block> {
        let len = block.bytes.len();
        let waiting = self.bytes.load(Ordering::Relaxed);
        if waiting > 0 && waiting + len > BLOCK_BYTES {
            return Err(block);
        }
        self.bytes.fetch_add(len, Ordering::Relaxed);
        self.queue.push(block).inspect_err(|block| {
            self.bytes.fetch_sub(block.bytes.len(), Ordering::Relaxed);
        })
    }

    /// Takes the oldest block.
    pub(crate) fn pop(&self) -> Option<Block> {
        self.queue.pop().inspect(|block| {
            self.bytes.fetch_sub(block.bytes.len(), Ordering::Relaxed);
        })
    }

    /// Returns a block to the worker that fills them, unless it has enough of them or the block is too
    /// large to keep.
    pub(crate) fn put_empty(&self, mut block: Block) {
        if block.bytes.capacity() <= EMPTY_CAPACITY {
            block.bytes.clear();
            block.bursts.clear();
            block.frames = 0;
            let _ = self.empty.push(block);
        }
    }

    /// Takes an empty block.
    pub(crate) fn take_empty(&self) -> Block {
        self.empty.pop().unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(all(test, loom))]
mod model {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// Blocks are handed over in order and whole, none is lost, and the bytes that wait are counted
    /// whatever the order of the two workers' steps.
    #[test]
    fn blocks_are_handed_over_in_order_and_counted() {
        loom::model(|| {
            let queue = Arc::new(BlockQueue::new());
            let giver = thread::spawn({
                let queue = Arc::clone(&queue);
                move || {
                    let mut refused = Vec::new();
                    for number in 0..3u8 {
                        // The queue is too small for three of them.
                        let mut block = queue.take_empty();
                        assert!(block.bytes.is_empty());
                        block.bytes = vec![number; BLOCK_BYTES / 2];
                        block.frames = 1;
                        refused.extend(queue.push(block).err());
                    }
                    refused
                }
            });
            let take = || {
                let block = queue.pop()?;
                queue.put_empty(Block::default());
                Some(block)
            };
            let mut taken: Vec<_> = (0..2).filter_map(|_| take()).collect();
            let refused = giver.join().unwrap();
            taken.extend(std::iter::from_fn(take));
            let number = |block: &Block| block.bytes[0];
            assert!(taken.iter().map(number).is_sorted());
            assert_eq!(taken.len() + refused.len(), 3);
            assert_eq!(queue.bytes.load(Ordering::Relaxed), 0);
        });
    }
}
