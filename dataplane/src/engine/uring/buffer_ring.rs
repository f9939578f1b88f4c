//! The ring through which receive buffers are given to the kernel.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::buffer::{RECEIVE_LEN, ReceiveBuffers, Region};

/// The one buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// The kernel takes buffers from the head, we give them at the tail.
pub(super) struct BufferRing {
    memory: Region,
    mask: u16,
    tail: u16,
}

impl BufferRing {
    /// Registers a ring and gives it all buffers.
    pub(super) fn new(ring: &IoUring, receive: &ReceiveBuffers) -> io::Result<Self> {
        let count = receive.count();
        let memory = Region::new(usize::from(count) * size_of::<BufRingEntry>());
        // SAFETY: the region is page-aligned, holds `count` (a power of two) entries, and lives as
        // long as the ring: both belong to the engine, whose drop waits for the kernel.
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(memory.base() as u64, count, GROUP, 0)?
        };
        let mut this = Self {
            memory,
            mask: count - 1,
            tail: 0,
        };
        (0..count).for_each(|id| this.give(id, receive));
        this.publish();
        Ok(this)
    }

    /// Puts a buffer behind the tail; the kernel sees it after [`Self::publish`].
    pub(super) fn give(&mut self, id: u16, receive: &ReceiveBuffers) {
        let index = usize::from(self.tail & self.mask);
        // SAFETY: the index is below the number of entries that the region was made for, and the
        // kernel reads entries only between its head and the published tail: never this one, as no
        // more buffers than entries are ever out.
        let entry = unsafe { &mut *self.memory.base().cast::<BufRingEntry>().add(index) };
        entry.set_addr(receive.address(id));
        entry.set_len(RECEIVE_LEN as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see what was given.
    pub(super) fn publish(&self) {
        // SAFETY: the ring's base is that of a live registered ring; its tail lies in the unused
        // field of the first entry, is aligned, and is only ever accessed atomically.
        let tail = unsafe {
            AtomicU16::from_ptr(BufRingEntry::tail(self.memory.base().cast()).cast_mut())
        };
        tail.store(self.tail, Ordering::Release);
    }
}
