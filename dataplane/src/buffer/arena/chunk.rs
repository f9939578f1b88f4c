//! The memory that slots lie in, which comes from the heap or is mapped.

use std::alloc::Layout;
use std::ptr::{self, NonNull};

/// What huge pages are sized and aligned to.
const HUGE: usize = 2 << 20;

/// Memory for slots.
pub(super) struct Chunk {
    memory: NonNull<u8>,
    kind: Memory,
    /// For how many slots there is room.
    pub(super) slots: usize,
}

enum Memory {
    /// A mapping of this length. Pages come from the kernel when they are first touched.
    Mapped(usize),
    Heap(Layout),
}

// SAFETY: a Chunk owns its memory; nothing in it is tied to a thread.
unsafe impl Send for Chunk {}
// SAFETY: it does nothing but keep the memory.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// Memory for so many slots of this layout, from the heap.
    pub(super) fn on_heap(slot: Layout, slots: usize) -> Self {
        let size = slot.size() * slots;
        let Ok(layout) = Layout::from_size_align(size, slot.align()) else {
            std::alloc::handle_alloc_error(slot)
        };
        // SAFETY: a slot has stamps, so the size is not 0.
        let memory = unsafe { std::alloc::alloc(layout) };
        match NonNull::new(memory) {
            Some(memory) => Self {
                memory,
                kind: Memory::Heap(layout),
                slots,
            },
            None => std::alloc::handle_alloc_error(layout),
        }
    }

    /// A mapping of `len` bytes, which is room for so many slots.
    pub(super) fn mapped(len: usize, slots: usize) -> Self {
        // Room to begin at a huge page.
        let len = len + HUGE;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new private mapping, at no address that is in use.
        let map = unsafe { libc::mmap(ptr::null_mut(), len, access, kind, -1, 0) };
        match NonNull::new(map) {
            Some(map) if map.as_ptr() != libc::MAP_FAILED => Self {
                memory: map.cast(),
                kind: Memory::Mapped(len),
                slots,
            },
            _ => std::alloc::handle_alloc_error(Layout::new::<Self>()),
        }
    }

    /// Where the slots begin.
    pub(super) fn base(&self) -> NonNull<u8> {
        match self.kind {
            Memory::Heap(_) => self.memory,
            Memory::Mapped(_) => {
                let skip = self.memory.align_offset(HUGE);
                // SAFETY: the mapping is longer by HUGE than what is used from `base` on.
                unsafe { self.memory.add(skip) }
            }
        }
    }

    /// Asks for a huge page before the first use of memory that begins a new one, but for an
    /// arena's first, which may stay nearly empty.
    pub(super) fn touch(&self, from: usize, len: usize, chunk: usize) {
        let Memory::Mapped(mapped) = self.kind else {
            return;
        };
        let page = (from + len - 1) / HUGE * HUGE;
        if page >= from && (page > 0 || chunk > 0) && page + HUGE <= mapped - HUGE {
            // SAFETY: the page is inside the mapping; the advice does not change what is in it.
            // If it is refused nothing is lost but speed.
            unsafe {
                libc::madvise(
                    self.base().add(page).as_ptr().cast(),
                    HUGE,
                    libc::MADV_HUGEPAGE,
                )
            };
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        match self.kind {
            // SAFETY: mapped in `mapped` with this length; who refers to it holds this Chunk by Arc.
            Memory::Mapped(len) => unsafe {
                libc::munmap(self.memory.as_ptr().cast(), len);
            },
            // SAFETY: allocated in `on_heap` with this layout; and as above.
            Memory::Heap(layout) => unsafe { std::alloc::dealloc(self.memory.as_ptr(), layout) },
        }
    }
}
