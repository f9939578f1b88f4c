//! The ring through which the kernel is given receive buffers.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::buffer::{ReceiveBuffers, Region};

/// The only buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// A ring of buffers. The kernel takes them from the head; the worker gives them at the tail.
pub(super) struct BufferRing {
    memory: Region,
    mask: u16,
    tail: u16,
    /// The number of buffers that the kernel has.
    out: usize,
    /// The buffers that neither the kernel nor the worker has in use. The last one returned is the
    /// first to be given again, while caches still have it.
    spare: Vec<u16>,
}

impl BufferRing {
    /// Registers a ring for the buffers and gives all of them to the kernel.
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
            out: 0,
            spare: (0..count).rev().collect(),
        };
        this.offer(count.into(), receive);
        Ok(this)
    }

    /// Leaks the memory of the ring, which the kernel still uses. No buffer may be given afterwards.
    pub(super) fn leak(&mut self) {
        self.spare.clear();
        std::mem::forget(std::mem::replace(&mut self.memory, Region::new(0)));
    }

    /// The number of buffers that the kernel has.
    pub(super) const fn out(&self) -> usize {
        self.out
    }

    /// Records that the kernel has filled a buffer.
    pub(super) fn taken(&mut self) {
        self.out = self.out.saturating_sub(1);
    }

    /// Takes back a buffer that is no longer held.
    pub(super) fn take_back(&mut self, id: u16) {
        self.spare.push(id);
    }

    /// Gives buffers until the kernel has `count` of them, or all.
    pub(super) fn offer(&mut self, count: usize, receive: &ReceiveBuffers) {
        let missing = count.saturating_sub(self.out).min(self.spare.len());
        for id in self
            .spare
            .split_off(self.spare.len() - missing)
            .into_iter()
            .rev()
        {
            self.give(id, receive);
        }
        if missing > 0 {
            self.publish();
        }
    }

    /// Puts a buffer at the tail. The kernel sees it after [`Self::publish`].
    fn give(&mut self, id: u16, receive: &ReceiveBuffers) {
        let index = usize::from(self.tail & self.mask);
        // SAFETY: the index is below the number of entries that the region was made for, and the
        // kernel reads entries only between its head and the published tail: never this one, as no
        // more buffers than entries are ever out.
        let entry = unsafe { &mut *self.memory.base().cast::<BufRingEntry>().add(index) };
        entry.set_addr(receive.address(id));
        entry.set_len(receive.buffer_len() as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        self.out += 1;
    }

    /// Makes the buffers that were given visible to the kernel.
    fn publish(&self) {
        // SAFETY: the ring's base is that of a live registered ring; its tail lies in the unused
        // field of the first entry, is aligned, and is only ever accessed atomically.
        let tail = unsafe {
            AtomicU16::from_ptr(BufRingEntry::tail(self.memory.base().cast()).cast_mut())
        };
        tail.store(self.tail, Ordering::Release);
    }
}
