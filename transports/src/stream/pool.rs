//! The threads that relay streams.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;

/// Threads that relay streams, for one node or for several. Clones share them.
///
/// The first stream starts the first thread. Each stream goes to the thread that has the fewest.
#[derive(Clone)]
pub struct RelayPool(Arc<Pool>);

struct Pool {
    threads: Mutex<Threads>,
}

struct Threads {
    slots: Vec<Slot>,
    joined: bool,
}

#[derive(Default)]
struct Slot {
    load: Arc<AtomicUsize>,
    thread: Option<Thread>,
}

struct Thread {
    jobs: mpsc::UnboundedSender<Job>,
    handle: JoinHandle<()>,
}

/// Spawns a task on the thread that runs it.
type Job = Box<dyn FnOnce() + Send>;

/// A place on a thread, held by the task that takes it.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for RelayPool {
    /// Creates a pool of one thread.
    fn default() -> Self {
        Self::new(1)
    }
}

impl fmt::Debug for RelayPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RelayPool").field(&self.loads()).finish()
    }
}

impl RelayPool {
    /// Creates a pool of at most this many threads, and at least one. Starts none.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let slots = std::iter::repeat_with(Slot::default);
        Self(Arc::new(Pool {
            threads: Mutex::new(Threads {
                slots: slots.take(threads.max(1)).collect(),
                joined: false,
            }),
        }))
    }

    /// Returns the number of streams on each thread.
    #[must_use]
    pub fn loads(&self) -> Vec<usize> {
        let threads = self.lock();
        let loads = threads.slots.iter().map(Slot::load);
        loads.collect()
    }

    /// Ends the threads and the streams on them, and waits until they have ended. No stream is relayed from then
    /// on. Must not be called on one of the threads.
    pub fn join(&self) {
        let threads: Vec<_> = {
            let mut threads = self.lock();
            threads.joined = true;
            let slots = threads.slots.iter_mut();
            slots.filter_map(|slot| slot.thread.take()).collect()
        };
        // Each ends when its channel has no sender.
        let handles: Vec<_> = threads.into_iter().map(|thread| thread.handle).collect();
        for handle in handles {
            if handle.join().is_err() {
                tracing::error!("a relay thread panicked");
            }
        }
    }

    /// Hands a job to the thread with the fewest streams.
    fn submit(&self, job: impl FnOnce(Seat) -> Job) -> io::Result<()> {
        let mut threads = self.lock();
        if threads.joined {
            return Err(io::Error::other("the relay threads have ended"));
        }
        let slots = threads.slots.iter_mut().enumerate();
        let Some((index, slot)) = slots.min_by_key(|(_, slot)| slot.load()) else {
            return Err(io::Error::other("there are no relay threads"));
        };
        let thread = match &mut slot.thread {
            Some(thread) if !thread.jobs.is_closed() => thread,
            thread => thread.insert(Thread::start(index)?),
        };
        let job = job(Seat::take(&slot.load));
        (thread.jobs.send(job)).map_err(|_| io::Error::other("a relay thread has ended"))
    }

    fn lock(&self) -> MutexGuard<'_, Threads> {
        (self.0.threads)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }
}

impl Thread {
    fn start(index: usize) -> io::Result<Self> {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let run = move || {
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, async {
                while let Some(job) = queue.recv().await {
                    job();
                }
            });
            // The tasks are dropped before the runtime.
            drop(tasks);
        };
        let handle = thread::Builder::new()
            .name(format!("relay-{index}"))
            .spawn(run)?;
        Ok(Self { jobs, handle })
    }
}

/// The relays of one node on the threads of a [`RelayPool`]. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Relays {
    pool: RelayPool,
    end: watch::Sender<bool>,
}

impl Relays {
    pub(crate) fn new(pool: RelayPool) -> Self {
        let end = watch::Sender::new(false);
        Self { pool, end }
    }

    /// Runs the future that `make` returns on the relay thread with the fewest streams. It gets the sender of the
    /// reply, and may go on after it has sent that. If it panics, the reply's sender is dropped.
    ///
    /// # Errors
    /// The system is out of threads or memory, or the threads have ended.
    pub(crate) fn run<T, F, R>(&self, make: F) -> io::Result<(oneshot::Receiver<T>, RelayTask)>
    where
        T: Send + 'static,
        F: FnOnce(oneshot::Sender<T>) -> R + Send + 'static,
        R: Future<Output = ()> + 'static,
    {
        let (reply, result) = oneshot::channel();
        let (held, release) = oneshot::channel();
        let mut end = self.end.subscribe();
        self.pool.submit(|seat| {
            Box::new(move || {
                let task = async move {
                    // Dropped last.
                    let _seat = seat;
                    let cancelled = async {
                        if let Ok(Detached) = release.await {
                            std::future::pending().await
                        }
                    };
                    tokio::select! {
                        biased;
                        () = cancelled => {}
                        // Fails if all handles to the node's transports are gone.
                        _ = end.wait_for(|ended| *ended) => {}
                        () = async { make(reply).await } => {}
                    }
                };
                drop(tokio::task::spawn_local(task));
            })
        })?;
        Ok((result, RelayTask { held: Some(held) }))
    }

    /// Ends all relays, and those that follow at once. Waits until they have ended.
    pub(crate) async fn end(&self) {
        self.end.send_replace(true);
        self.end.closed().await;
    }
}

/// Tells a task that it has no handle any more.
#[derive(Debug)]
struct Detached;

/// The task that relays a stream on a relay thread. Dropping it closes the stream.
#[derive(Debug)]
pub struct RelayTask {
    held: Option<oneshot::Sender<Detached>>,
}

impl RelayTask {
    /// Lets the task run until the stream has ended or the node has closed.
    pub fn detach(mut self) {
        if let Some(held) = self.held.take() {
            // Fails if the task has ended.
            let _ = held.send(Detached);
        }
    }
}

#[cfg(test)]
mod tests;
