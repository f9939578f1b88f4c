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
        // The extra room allows for a start at a huge page.
        let len = len + HUGE;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new private mapping at an address that the kernel chooses.
        let map = unsafe { libc::mmap(ptr::null_mut(), len, access, kind, -1, 0) };
        match NonNull::new(map) {
            Some(map) if map.as_ptr() != libc::MAP_FAILED => Self {
                memory: map.cast(),
                len,
            },
            _ => std::alloc::handle_alloc_error(Layout::new::<Self>()),
        }
    }

    /// Returns the first address in the mapping at which a huge page can begin.
    pub(super) fn base(&self) -> NonNull<u8> {
        let skip = self.memory.align_offset(HUGE);
        // SAFETY: the mapping is HUGE bytes longer than the requested room, and `skip` is less than that.
        unsafe { self.memory.add(skip) }
    }

    /// Asks for a huge page if one begins in the `len` bytes at `from`. Skips the first page of the mapping if
    /// `spare_first` is set.
    pub(super) fn ask_for_huge_page(&self, from: usize, len: usize, spare_first: bool) {
        let page = (from + len - 1) / HUGE * HUGE;
        if page >= from && (page > 0 || !spare_first) && page + HUGE <= self.len - HUGE {
            // A refusal costs only speed.
            // SAFETY: the page is inside the mapping, and the advice does not change its contents.
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
        // SAFETY: `new` mapped it with this length. All references into it keep its chunk alive through an
        // Arc.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.len) };
    }
}
