//! Private anonymous mappings with huge pages.

use std::alloc::Layout;
use std::ptr::{self, NonNull};

/// The size and alignment of a huge page, in bytes.
const HUGE: usize = 2 << 20;

/// A mapping. Pages come from the kernel when they are first touched.
pub(super) struct Mapping {
    memory: NonNull<u8>,
    len: usize,
}

impl Mapping {
    /// Maps room for `len` bytes.
    pub(super) fn new(len: usize) -> Self {
        // Room to begin at a huge page.
        let len = len + HUGE;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new private mapping, at no address that is in use.
        let map = unsafe { libc::mmap(ptr::null_mut(), len, access, kind, -1, 0) };
        match NonNull::new(map) {
            Some(map) if map.as_ptr() != libc::MAP_FAILED => Self {
                memory: map.cast(),
                len,
            },
            _ => std::alloc::handle_alloc_error(Layout::new::<Self>()),
        }
    }

    /// The first address of the mapping that begins a huge page.
    pub(super) fn base(&self) -> NonNull<u8> {
        let skip = self.memory.align_offset(HUGE);
        // SAFETY: the mapping is longer by HUGE than the room that was asked for.
        unsafe { self.memory.add(skip) }
    }

    /// Asks for a huge page if the `len` bytes at `from` are the first use of one. Leaves out the page
    /// at the start if `spare_first` is set.
    pub(super) fn ask_for_huge_page(&self, from: usize, len: usize, spare_first: bool) {
        let page = (from + len - 1) / HUGE * HUGE;
        if page >= from && (page > 0 || !spare_first) && page + HUGE <= self.len - HUGE {
            // SAFETY: the page is inside the mapping; the advice does not change what is in it.
            // If it is refused, only speed is lost.
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

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length. Whoever refers to it holds the chunk by Arc.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.len) };
    }
}
