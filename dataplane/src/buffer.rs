//! The memory that frames lie in: receive buffers that the kernel fills, and a turn's own memory.
//!
//! A worker's loop runs in turns. Frames received in one turn are sent in the same turn from where
//! they lie, and everything is free again in the next; so nothing here counts references. What
//! must live longer is copied to an egress queue.
#![allow(unsafe_code)]

pub(crate) mod simd;

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Size of a receive buffer.
pub(crate) const RECEIVE_LEN: usize = 256 << 10;
/// Size of a gather block.
pub(crate) const BLOCK_LEN: usize = 16 << 10;
/// Gather blocks in use at which a turn is flushed early. Each port that is sent to has one of its
/// own, so they bound how many ports can share a turn.
pub(crate) const BLOCKS_HIGH: usize = 512;
/// Owned buffers that are kept for reuse, and the largest that is worth keeping.
const SPARES: usize = 32;
const SPARE_LEN: usize = 128 << 10;

const PAGE: usize = 4096;

/// Page-aligned zeroed memory of fixed size, shared with the kernel.
pub(crate) struct Region {
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a Region owns its allocation like a Box<[u8]> does; nothing in it is tied to a thread.
unsafe impl Send for Region {}

impl Region {
    pub(crate) fn new(len: usize) -> Self {
        let layout = Layout::from_size_align(len.max(1), PAGE)
            .unwrap_or_else(|_| handle_alloc_error(Layout::new::<u8>()));
        // SAFETY: the layout's size is not 0, as `alloc_zeroed` demands.
        let base = unsafe { alloc_zeroed(layout) };
        match NonNull::new(base) {
            Some(base) => Self { base, layout },
            None => handle_alloc_error(layout),
        }
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout, and freed only here.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

/// Receive buffers. The kernel picks one and fills it; from the completion that names it until
/// [`ReceiveBuffers::release`] it is ours ("held"), else the kernel's.
pub(crate) struct ReceiveBuffers {
    region: Region,
    held: Box<[bool]>,
}

impl ReceiveBuffers {
    pub(crate) fn new(count: u16) -> Self {
        let count = usize::from(count);
        Self {
            region: Region::new(count * RECEIVE_LEN),
            held: vec![false; count].into(),
        }
    }

    pub(crate) fn count(&self) -> u16 {
        self.held.len() as u16
    }

    /// Where a buffer begins, for telling the kernel.
    pub(crate) fn address(&self, id: u16) -> u64 {
        assert!(usize::from(id) < self.held.len());
        self.region.base() as u64 + (usize::from(id) * RECEIVE_LEN) as u64
    }

    /// Marks a buffer as filled by the kernel and now ours.
    pub(crate) fn hold(&mut self, id: u16) {
        let held = &mut self.held[usize::from(id)];
        debug_assert!(!*held, "the kernel used a buffer that it did not have");
        *held = true;
    }

    /// Marks a buffer as the kernel's again; whoever calls this gives it to the kernel next.
    pub(crate) fn release(&mut self, id: u16) {
        self.held[usize::from(id)] = false;
    }

    /// The first `len` bytes of a held buffer.
    pub(crate) fn bytes_mut(&mut self, id: u16, len: usize) -> &mut [u8] {
        assert!(self.held[usize::from(id)] && len <= RECEIVE_LEN);
        // SAFETY: the assertion shows that the buffer is held, so the kernel does not touch it, and
        // that the range lies inside it; `&mut self` excludes any other slice of it.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.region.base().add(usize::from(id) * RECEIVE_LEN),
                len,
            )
        }
    }

    /// A range of a held buffer.
    pub(crate) fn bytes(&self, id: u16, at: usize, len: usize) -> &[u8] {
        assert!(self.held[usize::from(id)] && at + len <= RECEIVE_LEN);
        // SAFETY: as in `bytes_mut`; `&self` allows other shared slices only.
        unsafe {
            std::slice::from_raw_parts(
                self.region.base().add(usize::from(id) * RECEIVE_LEN + at),
                len,
            )
        }
    }
}

/// Where a segment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a held receive buffer.
    Receive(u16),
    /// In a gather block of this turn.
    Block(u16),
    /// In a buffer that this turn owns.
    Owned(u32),
}

/// A stretch of bytes to send: whole frames, or a frame's head, or its payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) place: Place,
    pub(crate) at: u32,
    pub(crate) len: u32,
}

impl Segment {
    pub(crate) fn new(place: Place, at: usize, len: usize) -> Self {
        // Nothing that a segment points into is longer than a few hundred KiB.
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

/// Memory that lives for one turn: gather blocks, and buffers taken over whole.
#[derive(Default)]
pub(crate) struct IterationMemory {
    blocks: Vec<Box<[u8]>>,
    /// How many blocks are in use this turn: the first.
    used: usize,
    owned: Vec<Vec<u8>>,
    spares: Vec<Vec<u8>>,
}

impl IterationMemory {
    /// Whether the turn should be flushed before more is received.
    pub(crate) fn is_high(&self) -> bool {
        self.used >= BLOCKS_HIGH
    }

    /// A fresh block.
    pub(crate) fn new_block(&mut self) -> u16 {
        let id = self.used;
        if id == self.blocks.len() {
            self.blocks.push(vec![0; BLOCK_LEN].into());
        }
        self.used += 1;
        id as u16
    }

    /// Copies bytes to `at` of a block; false if they do not fit.
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

    /// An empty buffer to fill and hand to [`Self::own`].
    pub(crate) fn spare(&mut self) -> Vec<u8> {
        self.spares.pop().unwrap_or_default()
    }

    /// Gives back a buffer that was not needed.
    pub(crate) fn give_back(&mut self, mut buffer: Vec<u8>) {
        if self.spares.len() < SPARES && (1..=SPARE_LEN).contains(&buffer.capacity()) {
            buffer.clear();
            self.spares.push(buffer);
        }
    }

    /// Takes a buffer over until the turn ends.
    pub(crate) fn own(&mut self, buffer: Vec<u8>) -> u32 {
        self.owned.push(buffer);
        (self.owned.len() - 1) as u32
    }

    /// Fills a place that [`Self::own`] gave out for an empty buffer.
    pub(crate) fn put_owned(&mut self, id: u32, buffer: Vec<u8>) {
        self.owned[id as usize] = buffer;
    }

    /// The bytes of a segment.
    pub(crate) fn bytes<'a>(&'a self, segment: &Segment, receive: &'a ReceiveBuffers) -> &'a [u8] {
        let range = segment.at as usize..segment.end();
        match segment.place {
            Place::Receive(id) => receive.bytes(id, range.start, range.len()),
            Place::Block(id) => &self.blocks[usize::from(id)][range],
            Place::Owned(id) => &self.owned[id as usize][range],
        }
    }

    /// Ends the turn: every segment of it is void. Called by the engine alone, when no send that
    /// points here is under way.
    pub(crate) fn clear(&mut self) {
        self.used = 0;
        while let Some(buffer) = self.owned.pop() {
            self.give_back(buffer);
        }
    }
}
