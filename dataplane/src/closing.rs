//! The state that decides which side drops the items put into the queues of a worker that fails.

use crate::sync::{AtomicBool, Ordering, fence};

/// The state of the queues of a worker: open or closed.
///
/// The worker's side closes them and then empties them. A sender puts an item into a queue, and empties the queue if it
/// is closed by then. So no item stays in a queue.
pub(crate) struct Closing(AtomicBool);

impl Closing {
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Closes the queues, which must be emptied after this.
    pub(crate) fn close(&self) {
        // SeqCst on both sides: either the sender sees the flag, or this side sees what was queued.
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Reports whether the queues are closed, after something was put into one.
    pub(crate) fn is_closed(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, loom))]
mod model {
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    use super::*;

    /// An item that is queued while the queues are being closed is dropped, by one side or the other.
    #[test]
    fn nothing_stays_in_a_queue_that_is_closed() {
        loom::model(|| {
            let shared = Arc::new((AtomicUsize::new(0), Closing::new()));
            let empty = |queue: &AtomicUsize| while queue.swap(0, Ordering::Relaxed) > 0 {};
            let senders: Vec<_> = (0..2)
                .map(|_| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        shared.0.fetch_add(1, Ordering::Relaxed);
                        if shared.1.is_closed() {
                            empty(&shared.0);
                        }
                    })
                })
                .collect();
            shared.1.close();
            empty(&shared.0);
            senders.into_iter().for_each(|s| s.join().unwrap());
            assert_eq!(shared.0.load(Ordering::Relaxed), 0);
        });
    }
}
