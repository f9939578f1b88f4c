//! The kernel thread that the rings of all workers share.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The ring whose kernel thread the other workers' rings share. Present while rings are being set up.
#[derive(Debug, Default)]
pub(crate) struct SharedPoller(Mutex<Option<OwnedFd>>);

impl SharedPoller {
    /// Closes the descriptor once all rings are set up.
    pub(crate) fn release(&self) {
        drop(self.lock().take());
    }

    /// Returns the first ring, if there is one.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
