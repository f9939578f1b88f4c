//! The memory that frames lie in: receive buffers that the kernel fills, and the memory of an
//! iteration.
//!
//! Frames received in one iteration of a worker's loop are sent in the same iteration without being copied, and all
//! memory is recycled in the next. So no references are counted here. Frames that must live longer are copied to an
//! egress queue.
#![allow(unsafe_code)]

pub(crate) mod simd;

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use bytes::Bytes;

/// Size of a gather block.
pub(crate) const BLOCK_LEN: usize = 16 << 10;
/// A burst shorter than this is copied next to others. A longer one is sent without being copied. A copy of 2 KiB costs
/// about as much as the kernel takes for another piece.
pub(crate) const GATHER_BELOW: usize = 2048;
/// Number of gather blocks in use at which an iteration sends before it handles more. Each port that is sent to has its
/// own, so this bounds the number of ports that can share an iteration.
pub(crate) const BLOCKS_HIGH: usize = 512;
/// Maximum number of spare buffers kept for reuse, and the largest capacity worth keeping.
const SPARES: usize = 32;
const SPARE_LEN: usize = 128 << 10;

const PAGE: usize = 4096;

/// Page-aligned zeroed memory of fixed size, shared with the kernel. Pages cost no memory before they
/// are written to.
pub(crate) struct Region {
    allocation: NonNull<u8>,
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a Region owns its allocation like a Box<[u8]> does; nothing in it is tied to a thread.
unsafe impl Send for Region {}

impl Region {
    pub(crate) fn new(len: usize) -> Self {
        // With a larger alignment than the allocator's own, `alloc_zeroed` writes to all pages.
        let layout = Layout::from_size_align(len.max(1).saturating_add(PAGE), 1)
            .unwrap_or_else(|_| handle_alloc_error(Layout::new::<u8>()));
        // SAFETY: the layout's size is not 0, as `alloc_zeroed` demands.
        let allocation = unsafe { alloc_zeroed(layout) };
        let Some(allocation) = NonNull::new(allocation) else {
            handle_alloc_error(layout)
        };
        let offset = allocation.align_offset(PAGE);
        assert!(offset < PAGE);
        Self {
            allocation,
            // SAFETY: the offset is less than a page, which the allocation has on top of `len` bytes.
            base: unsafe { allocation.add(offset) },
            layout,
        }
    }

    /// Returns the address of the first of the region's `len` bytes.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout, and freed only here.
        unsafe { dealloc(self.allocation.as_ptr(), self.layout) };
    }
}

/// Receive buffers. The kernel picks one and fills it. From the completion that names a buffer until
/// [`ReceiveBuffers::release`] it is held by the worker; otherwise it is the kernel's.
pub(crate) struct ReceiveBuffers {
    region: Region,
    buffer_len: usize,
    held: Box<[bool]>,
}

impl ReceiveBuffers {
    pub(crate) fn new(count: u16, buffer_len: usize) -> Self {
        Self {
            region: Region::new(usize::from(count) * buffer_len),
            buffer_len,
            held: vec![false; count.into()].into(),
        }
    }

    /// Returns the number of buffers.
    pub(crate) fn count(&self) -> u16 {
        self.held.len() as u16
    }

    /// Returns the size of a buffer.
    pub(crate) fn buffer_len(&self) -> usize {
        self.buffer_len
    }

    /// Returns the address of a buffer, for the kernel.
    pub(crate) fn address(&self, id: u16) -> u64 {
        assert!(usize::from(id) < self.held.len());
        self.region.base() as u64 + (usize::from(id) * self.buffer_len) as u64
    }

    /// Marks a buffer as filled by the kernel and held from now on.
    pub(crate) fn hold(&mut self, id: u16) {
        let held = &mut self.held[usize::from(id)];
        debug_assert!(!*held, "the kernel used a buffer that it did not have");
        *held = true;
    }

    /// Marks a buffer as the kernel's again. The caller gives it to the kernel next.
    pub(crate) fn release(&mut self, id: u16) {
        self.held[usize::from(id)] = false;
    }

    /// Returns the first `len` bytes of a held buffer.
    pub(crate) fn bytes_mut(&mut self, id: u16, len: usize) -> &mut [u8] {
        assert!(self.held[usize::from(id)] && len <= self.buffer_len);
        // SAFETY: the assertion shows that the buffer is held, so the kernel does not touch it, and
        // that the range lies inside it; `&mut self` excludes any other slice of it.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.region.base().add(usize::from(id) * self.buffer_len),
                len,
            )
        }
    }

    /// Returns a range of a held buffer.
    pub(crate) fn bytes(&self, id: u16, at: usize, len: usize) -> &[u8] {
        assert!(self.held[usize::from(id)] && at + len <= self.buffer_len);
        // SAFETY: as in `bytes_mut`; `&self` allows other shared slices only.
        unsafe {
            std::slice::from_raw_parts(
                self.region
                    .base()
                    .add(usize::from(id) * self.buffer_len + at),
                len,
            )
        }
    }
}

/// The memory that a segment lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A held receive buffer.
    Receive(u16),
    /// A gather block of this iteration.
    Block(u16),
    /// A buffer that this iteration owns.
    Owned(u32),
    /// A payload of local origin, which this iteration shares with its sender.
    Shared(u32),
}

/// A range of bytes to send: whole frames, a frame's head, or its payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) place: Place,
    pub(crate) at: u32,
    pub(crate) len: u32,
}

impl Segment {
    pub(crate) fn new(place: Place, at: usize, len: usize) -> Self {
        // A segment points into buffers of at most 16 MiB.
        Self {
            place,
            at: at as u32,
            len: len as u32,
        }
    }

    pub(crate) fn end(&self) -> usize {
        self.at as usize + self.len as usize
    }
}

/// Memory that lives for one iteration: gather blocks, whole buffers, and references to shared ones.
#[derive(Default)]
pub(crate) struct IterationMemory {
    blocks: Vec<Box<[u8]>>,
    /// The number of blocks in use. They are the first ones.
    used: usize,
    owned: Vec<Vec<u8>>,
    shared: Vec<Bytes>,
    spares: Vec<Vec<u8>>,
}

impl IterationMemory {
    /// Reports whether the iteration should send before it handles more.
    pub(crate) fn is_high(&self) -> bool {
        self.used >= BLOCKS_HIGH
    }

    /// Takes a block into use.
    pub(crate) fn new_block(&mut self) -> u16 {
        let id = self.used;
        if id == self.blocks.len() {
            self.blocks.push(vec![0; BLOCK_LEN].into());
        }
        self.used += 1;
        id as u16
    }

    /// Copies bytes to the offset `at` of a block. Returns false if they do not fit.
    #[inline(always)]
    pub(crate) fn put(&mut self, block: u16, at: usize, bytes: &[u8]) -> bool {
        let block = self.blocks.get_mut(usize::from(block));
        match block.and_then(|b| b.get_mut(at..at + bytes.len())) {
            Some(room) => {
                room.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// Returns an empty buffer to fill and pass to [`Self::own`].
    pub(crate) fn spare(&mut self) -> Vec<u8> {
        self.spares.pop().unwrap_or_default()
    }

    /// Keeps a buffer for reuse, unless there are enough or it is too large.
    fn keep_spare(&mut self, mut buffer: Vec<u8>) {
        if self.spares.len() < SPARES && (1..=SPARE_LEN).contains(&buffer.capacity()) {
            buffer.clear();
            self.spares.push(buffer);
        }
    }

    /// Takes a buffer over until the iteration ends. Returns its number.
    pub(crate) fn own(&mut self, buffer: Vec<u8>) -> u32 {
        self.owned.push(buffer);
        (self.owned.len() - 1) as u32
    }

    /// Puts a buffer in the place of one that [`Self::own`] has numbered.
    pub(crate) fn put_owned(&mut self, id: u32, buffer: Vec<u8>) {
        self.owned[id as usize] = buffer;
    }

    /// Keeps a reference to a buffer until the iteration ends. Returns its number.
    pub(crate) fn share(&mut self, buffer: Bytes) -> u32 {
        self.shared.push(buffer);
        (self.shared.len() - 1) as u32
    }

    /// Puts a buffer in the place of one that [`Self::share`] has numbered.
    pub(crate) fn put_shared(&mut self, id: u32, buffer: Bytes) {
        self.shared[id as usize] = buffer;
    }

    /// Returns the bytes of a segment.
    pub(crate) fn bytes<'a>(&'a self, segment: &Segment, receive: &'a ReceiveBuffers) -> &'a [u8] {
        let range = segment.at as usize..segment.end();
        match segment.place {
            Place::Receive(id) => receive.bytes(id, range.start, range.len()),
            Place::Block(id) => &self.blocks[usize::from(id)][range],
            Place::Owned(id) => &self.owned[id as usize][range],
            Place::Shared(id) => &self.shared[id as usize][range],
        }
    }

    /// Makes all segments of the iteration invalid. Only the engine calls this, when no send that uses this memory is
    /// under way.
    pub(crate) fn clear(&mut self) {
        self.used = 0;
        self.shared.clear();
        while let Some(buffer) = self.owned.pop() {
            self.keep_spare(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel writes to the address that it was given, and segments name what it wrote.
    #[test]
    fn segments_name_bytes_in_all_kinds_of_memory() {
        let mut receive = ReceiveBuffers::new(3, 100);
        let mut memory = IterationMemory::default();
        for id in [2, 0] {
            let address = std::ptr::with_exposed_provenance_mut::<u8>(receive.address(id) as usize);
            // SAFETY: the worker does not hold the buffer, so that it is the kernel's, whose part this test plays.
            unsafe { address.write_bytes(id as u8 + 1, 100) };
            receive.hold(id);
        }
        receive.bytes_mut(2, 10).fill(9);
        let block = memory.new_block();
        assert!(memory.put(block, BLOCK_LEN - 4, &[4; 4]));
        assert!(!memory.put(block, BLOCK_LEN - 3, &[4; 4]), "it has no room");
        let owned = memory.own(vec![5; 7]);
        let bytes = |place, at, len| memory.bytes(&Segment::new(place, at, len), &receive);
        assert_eq!(bytes(Place::Receive(2), 8, 4), [9, 9, 3, 3]);
        assert_eq!(bytes(Place::Receive(0), 98, 2), [1, 1]);
        assert_eq!(bytes(Place::Block(block), BLOCK_LEN - 4, 4), [4; 4]);
        assert_eq!(bytes(Place::Owned(owned), 0, 7), [5; 7]);
        memory.clear();
        assert_eq!((memory.new_block(), memory.spare().capacity()), (block, 7));
        receive.release(2);
        receive.hold(2);
        assert_eq!(receive.bytes(2, 99, 1), [3]);
    }
}
