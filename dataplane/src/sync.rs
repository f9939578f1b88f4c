//! Atomics and queues, which [loom](https://docs.rs/loom) replaces when it explores the orders in which threads may run
//! (`--cfg loom`).

#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

#[cfg(not(all(test, loom)))]
pub(crate) use crossbeam::queue::ArrayQueue;
#[cfg(all(test, loom))]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

/// A stand-in for crossbeam's queue, which loom does not see into.
#[cfg(all(test, loom))]
pub(crate) struct ArrayQueue<T> {
    capacity: usize,
    items: loom::sync::Mutex<std::collections::VecDeque<T>>,
}

#[cfg(all(test, loom))]
impl<T> ArrayQueue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            items: loom::sync::Mutex::default(),
        }
    }

    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut items = self.lock();
        if items.len() == self.capacity {
            return Err(item);
        }
        items.push_back(item);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.lock().pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> loom::sync::MutexGuard<'_, std::collections::VecDeque<T>> {
        self.items
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
