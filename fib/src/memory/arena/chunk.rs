//! Memory for slots, from the heap or from a mapping.

use std::alloc::Layout;
use std::ptr::NonNull;

#[cfg(all(target_os = "linux", feature = "huge-pages"))]
mod mapping;

/// Memory for slots.
pub(super) struct Chunk {
    memory: Memory,
    /// The number of slots that fit.
    pub(super) slots: usize,
}

enum Memory {
    Heap(NonNull<u8>, Layout),
    #[cfg(all(target_os = "linux", feature = "huge-pages"))]
    Mapped(mapping::Mapping),
}

// SAFETY: a Chunk owns its memory, and nothing in it is tied to a thread.
unsafe impl Send for Chunk {}
// SAFETY: a shared Chunk only gives out its address.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// Allocates room for `slots` slots from the heap.
    pub(super) fn on_heap(slot: Layout, slots: usize) -> Self {
        let size = slot.size() * slots;
        let Ok(layout) = Layout::from_size_align(size, slot.align()) else {
            std::alloc::handle_alloc_error(slot)
        };
        // SAFETY: a slot has version stamps, so the size is not 0.
        let memory = unsafe { std::alloc::alloc(layout) };
        match NonNull::new(memory) {
            Some(memory) => Self {
                memory: Memory::Heap(memory, layout),
                slots,
            },
            None => std::alloc::handle_alloc_error(layout),
        }
    }

    /// Maps room for many slots. The system provides the pages when they are first touched.
    #[cfg(all(target_os = "linux", feature = "huge-pages"))]
    pub(super) fn mapped(slot: Layout, slots: usize) -> Self {
        Self {
            memory: Memory::Mapped(mapping::Mapping::new(slot.size() * slots)),
            slots,
        }
    }

    /// Allocates room for many slots from the heap, which also leaves the pages of a large block untouched.
    #[cfg(not(all(target_os = "linux", feature = "huge-pages")))]
    pub(super) fn mapped(slot: Layout, slots: usize) -> Self {
        Self::on_heap(slot, slots)
    }

    /// Returns the address of the first slot.
    pub(super) fn base(&self) -> NonNull<u8> {
        match &self.memory {
            Memory::Heap(memory, _) => *memory,
            #[cfg(all(target_os = "linux", feature = "huge-pages"))]
            Memory::Mapped(mapping) => mapping.base(),
        }
    }

    /// Prepares `len` bytes at `from` for their first use. `chunk` is the number of this chunk in its arena.
    pub(super) fn touch(&self, from: usize, len: usize, chunk: usize) {
        match &self.memory {
            Memory::Heap(..) => {
                let _ = (from, len, chunk);
            }
            // The first page of an arena may stay nearly empty.
            #[cfg(all(target_os = "linux", feature = "huge-pages"))]
            Memory::Mapped(mapping) => mapping.ask_for_huge_page(from, len, chunk == 0),
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        match &self.memory {
            // SAFETY: `on_heap` allocated it with this layout. All references into it keep this Chunk
            // alive through an Arc.
            Memory::Heap(memory, layout) => unsafe {
                std::alloc::dealloc(memory.as_ptr(), *layout);
            },
            #[cfg(all(target_os = "linux", feature = "huge-pages"))]
            Memory::Mapped(_) => {}
        }
    }
}
