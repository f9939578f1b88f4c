//! The state that decides whether a worker must be woken.

use crate::sync::{AtomicBool, Ordering, fence};

/// The sleep state of a worker. True if it sleeps or is about to.
pub(super) struct Sleep(AtomicBool);

impl Sleep {
    pub(super) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Reports whether the worker sleeps and must be woken by the caller, who has queued something.
    pub(super) fn must_wake(&self) -> bool {
        // SeqCst on both sides: either this sees that the worker sleeps, or it sees what was queued.
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }

    /// Declares that the worker sleeps, unless it finds something in its queues after this.
    pub(super) fn about_to_sleep(&self) {
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Declares that the worker is awake.
    pub(super) fn awake(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[cfg(all(test, loom))]
mod model {
    use loom::sync::atomic::AtomicUsize;
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    use super::*;

    /// A mailbox: a queue that is only a number, and an eventfd.
    struct Mailbox {
        queued: AtomicUsize,
        sleep: Sleep,
        eventfd: Mutex<bool>,
        readable: Condvar,
    }

    /// A worker that takes something from each sender. loom reports a worker that would sleep for ever
    /// as a deadlock.
    fn a_worker_wakes_up(senders: usize) {
        let mailbox = Arc::new(Mailbox {
            queued: AtomicUsize::new(0),
            sleep: Sleep::new(),
            eventfd: Mutex::new(false),
            readable: Condvar::new(),
        });
        for _ in 0..senders {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                // The queue itself orders nothing.
                mailbox.queued.fetch_add(1, Ordering::Relaxed);
                if mailbox.sleep.must_wake() {
                    *mailbox.eventfd.lock().unwrap() = true;
                    mailbox.readable.notify_one();
                }
            });
        }
        let mut taken = 0;
        while taken < senders {
            mailbox.sleep.about_to_sleep();
            if mailbox.queued.load(Ordering::Relaxed) == taken {
                let mut is_readable = mailbox.eventfd.lock().unwrap();
                while !*is_readable {
                    is_readable = mailbox.readable.wait(is_readable).unwrap();
                }
                *is_readable = false;
            }
            mailbox.sleep.awake();
            taken = mailbox.queued.load(Ordering::Relaxed);
        }
    }

    #[test]
    fn no_worker_sleeps_over_what_is_queued() {
        loom::model(|| a_worker_wakes_up(1));
        // All orders of two senders would take too long.
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| a_worker_wakes_up(2));
    }
}
