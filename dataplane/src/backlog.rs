//! Frames of local origin that wait to be sent, and the tasks that wait for room.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The most bytes of frames of local origin that may wait for one port. Above it, their sender is told
/// to wait: a queue that is longer than this adds delay, not throughput.
pub(crate) const BACKLOG_LIMIT: usize = 256 << 10;

/// Bytes of frames of local origin that wait in one place, and the tasks that wait for room there. The tasks are woken
/// when the backlog is dropped.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    bytes: AtomicUsize,
    /// True if there may be tasks, so that workers need not lock.
    waited_for: AtomicBool,
    tasks: Mutex<Vec<Waker>>,
}

impl Backlog {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(SeqCst)
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, SeqCst);
    }

    pub(crate) fn subtract(&self, bytes: usize) {
        let left = self.bytes.fetch_sub(bytes, SeqCst) - bytes;
        self.wake_if_low(left);
    }

    pub(crate) fn set(&self, bytes: usize) {
        self.bytes.store(bytes, SeqCst);
        self.wake_if_low(bytes);
    }

    /// Wakes a task when there is room. The task must check for room once more after this call: either it finds room,
    /// or the thread that makes room finds the task.
    pub(crate) fn wake_later(&self, task: &Waker) {
        let mut tasks = self.tasks();
        if !tasks.iter().any(|other| other.will_wake(task)) {
            tasks.push(task.clone());
        }
        self.waited_for.store(true, SeqCst);
    }

    fn wake_if_low(&self, bytes: usize) {
        if bytes <= BACKLOG_LIMIT / 2 && self.waited_for.load(SeqCst) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        let tasks = {
            let mut tasks = self.tasks();
            self.waited_for.store(false, SeqCst);
            std::mem::take(&mut *tasks)
        };
        // Woken without the lock: an executor may poll a task inside of this call.
        tasks.into_iter().for_each(Waker::wake);
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn tasks_are_woken_once_when_few_bytes_are_left() {
        let (backlog, task) = (Backlog::default(), Arc::new(Task::default()));
        let waker = Waker::from(Arc::clone(&task));
        backlog.add(BACKLOG_LIMIT);
        backlog.wake_later(&waker);
        backlog.wake_later(&waker);
        backlog.subtract(1);
        assert_eq!(task.0.load(SeqCst), 0);
        backlog.subtract(BACKLOG_LIMIT / 2);
        assert_eq!(task.0.load(SeqCst), 1);
        backlog.set(0);
        assert_eq!(task.0.load(SeqCst), 1, "nobody waits any more");
    }

    /// A waker that checks for room again when it is woken, as an executor does that polls inside of the call.
    struct WaitsAgain(Arc<Backlog>, AtomicUsize);

    impl Wake for WaitsAgain {
        fn wake(self: Arc<Self>) {
            self.1.fetch_add(1, SeqCst);
            assert!(self.0.tasks.try_lock().is_ok(), "woken under the lock");
            self.0.wake_later(&Waker::from(Arc::clone(&self)));
        }
    }

    #[test]
    fn tasks_may_wait_again_inside_of_the_call_that_wakes_them() {
        let backlog = Arc::new(Backlog::default());
        let task = Arc::new(WaitsAgain(Arc::clone(&backlog), AtomicUsize::new(0)));
        backlog.wake_later(&Waker::from(Arc::clone(&task)));
        backlog.set(0);
        backlog.set(0);
        assert_eq!(task.1.load(SeqCst), 2);
        backlog.tasks().clear();
    }

    #[test]
    fn tasks_are_woken_when_the_place_is_gone() {
        let (backlog, task) = (Backlog::default(), Arc::new(Task::default()));
        backlog.wake_later(&Waker::from(Arc::clone(&task)));
        drop(backlog);
        assert_eq!(task.0.load(SeqCst), 1);
    }
}
