//! Shared state of the tables, which [loom](https://docs.rs/loom) replaces when it explores the orders in which threads
//! may run (`--cfg loom`).

#[cfg(not(all(test, loom)))]
pub(super) use std::sync::{Arc, Mutex, atomic::AtomicU32};

#[cfg(all(test, loom))]
pub(super) use loom::{
    cell::UnsafeCell,
    sync::{Arc, Mutex, atomic::AtomicU32},
};

/// A cell with the interface of loom's, which checks that accesses do not race.
#[cfg(not(all(test, loom)))]
#[repr(transparent)]
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(all(test, loom)))]
impl<T> UnsafeCell<T> {
    #[inline(always)]
    pub(super) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Gives `access` a pointer for reads.
    #[inline(always)]
    pub(super) fn with<R>(&self, access: impl FnOnce(*const T) -> R) -> R {
        access(self.0.get())
    }

    /// Gives `access` a pointer for reads and writes.
    #[inline(always)]
    pub(super) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}
