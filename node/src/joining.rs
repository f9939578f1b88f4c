//! Callers that wait until the node has joined a network.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

/// The callers that wait. The control thread checks them after every change.
#[derive(Default)]
pub(crate) struct Joining {
    /// True if there may be waiting callers, so that the control thread need not lock to find out.
    waited_for: AtomicBool,
    waiting: Mutex<Vec<oneshot::Sender<()>>>,
}

impl Joining {
    /// Begins to wait.
    pub(crate) fn wait(&self) -> oneshot::Receiver<()> {
        let (joined, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|waiting| !waiting.is_closed());
        waiting.push(joined);
        self.waited_for.store(true, SeqCst);
        receiver
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        self.waited_for.load(SeqCst)
    }

    /// Tells all callers that the node has joined a network.
    pub(crate) fn joined(&self) {
        let waiting = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.waited_for.store(false, SeqCst);
            std::mem::take(&mut *waiting)
        };
        // Woken without the lock: an executor may poll a caller inside of this call.
        for waiting in waiting {
            // Fails if the caller has stopped waiting.
            let _ = waiting.send(());
        }
    }
}
