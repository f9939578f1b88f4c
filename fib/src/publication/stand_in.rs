//! Stand-ins for the types of arc-swap, which loom does not see into.

use std::sync::{Mutex, PoisonError};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};

/// The latest value. It orders accesses only as arc-swap promises to: a load acquires what was done before the swap.
#[derive(Debug)]
pub(crate) struct ArcSwap<T> {
    /// The number of swaps.
    swaps: AtomicUsize,
    /// No step of the model happens while this is locked. The outer reference keeps the value alive until
    /// [`Self::load`] has cloned it.
    latest: Mutex<std::sync::Arc<Arc<T>>>,
}

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self {
            swaps: AtomicUsize::new(0),
            latest: Mutex::new(std::sync::Arc::new(Arc::new(value))),
        }
    }

    pub(crate) fn swap(&self, new: Arc<T>) -> Arc<T> {
        let new = std::sync::Arc::new(new);
        // The next line belongs to this step, as loom changes to another thread only before a step.
        self.swaps.fetch_add(1, Ordering::AcqRel);
        let old = std::mem::replace(&mut *self.lock(), new);
        Arc::clone(&old)
    }

    fn load(&self) -> (usize, Arc<T>) {
        let swaps = self.swaps.fetch_add(0, Ordering::Acquire);
        let latest = std::sync::Arc::clone(&self.lock());
        (swaps, Arc::clone(&latest))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, std::sync::Arc<Arc<T>>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader's copy of the latest value. As in arc-swap, the check for a later one orders nothing.
#[derive(Debug)]
pub(crate) struct Cache<A, T> {
    shared: A,
    swaps: usize,
    cached: T,
}

impl<T> Cache<Arc<ArcSwap<T>>, Arc<T>> {
    pub(crate) fn new(shared: Arc<ArcSwap<T>>) -> Self {
        let (swaps, cached) = shared.load();
        Self {
            shared,
            swaps,
            cached,
        }
    }

    pub(crate) fn load(&mut self) -> &T {
        if self.shared.swaps.load(Ordering::Relaxed) != self.swaps {
            (self.swaps, self.cached) = self.shared.load();
        }
        &self.cached
    }
}

impl<A: Clone, T: Clone> Clone for Cache<A, T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            swaps: self.swaps,
            cached: self.cached.clone(),
        }
    }
}
