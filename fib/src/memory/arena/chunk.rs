//! The memory that slots lie in, which comes from the heap or is mapped.

use std::alloc::Layout;
use std::ptr::NonNull;

#[cfg(all(target_os = "linux", feature = "huge-pages"))]
mod mapping;

/// Memory for slots.
pub(super) struct Chunk {
    memory: Memory,
    /// For how many slots there is room.
    pub(super) slots: usize,
}

enum Memory {
    Heap(NonNull<u8>, Layout),
    #[cfg(all(target_os = "linux", feature = "huge-pages"))]
    Mapped(mapping::Mapping),
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
                memory: Memory::Heap(memory, layout),
                slots,
            },
            None => std::alloc::handle_alloc_error(layout),
        }
    }

    /// Memory for many slots, of which the system provides pages as they are first touched.
    #[cfg(all(target_os = "linux", feature = "huge-pages"))]
    pub(super) fn mapped(slot: Layout, slots: usize) -> Self {
        Self {
            memory: Memory::Mapped(mapping::Mapping::new(slot.size() * slots)),
            slots,
        }
    }

    /// Memory for many slots, from the heap: for a large block, it leaves pages untouched, too.
    #[cfg(not(all(target_os = "linux", feature = "huge-pages")))]
    pub(super) fn mapped(slot: Layout, slots: usize) -> Self {
        Self::on_heap(slot, slots)
    }

    /// Where the slots begin.
    pub(super) fn base(&self) -> NonNull<u8> {
        match &self.memory {
            Memory::Heap(memory, _) => *memory,
            #[cfg(all(target_os = "linux", feature = "huge-pages"))]
            Memory::Mapped(mapping) => mapping.base(),
        }
    }

    /// Prepares `len` bytes at `from` for their first use, in an arena's chunk of this number.
    pub(super) fn touch(&self, from: usize, len: usize, chunk: usize) {
        match &self.memory {
            Memory::Heap(..) => {
                let _ = (from, len, chunk);
            }
            // An arena's first page may stay nearly empty.
            #[cfg(all(target_os = "linux", feature = "huge-pages"))]
            Memory::Mapped(mapping) => mapping.ask_for_huge_page(from, len, chunk == 0),
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        match &self.memory {
            // SAFETY: allocated in `on_heap` with this layout. Every reference to it holds this Chunk
            // by Arc.
            Memory::Heap(memory, layout) => unsafe {
                std::alloc::dealloc(memory.as_ptr(), *layout);
            },
            #[cfg(all(target_os = "linux", feature = "huge-pages"))]
            Memory::Mapped(_) => {}
        }
    }
}
