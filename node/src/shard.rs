//! A thread that drives the workers and the controls of several nodes.
//!
//! It waits in one `epoll_wait` for the descriptors of all workers, for its [`Bell`], and until the next timer of a
//! node. A node is iterated when its worker's descriptor is readable, when its waker was called (after a command), and
//! when its timer is due.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, TryRecvError, unbounded};
use crossbeam::queue::SegQueue;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::bell::Bell;
use crate::hosted::{HostedNode, Next};

/// Events taken from the kernel at a time.
const EVENTS: usize = 256;
/// The bell's number among those of the nodes.
const BELL: u64 = u64::MAX;

/// A function that creates a node on the thread that is going to drive it.
pub(crate) type MakeNode = Box<dyn FnOnce() -> Option<HostedNode> + Send>;

/// The thread. It ends when this is dropped and its nodes have closed.
pub(crate) struct Shard {
    /// The channel of nodes to start. None while this is being dropped.
    starts: Option<Sender<Start>>,
    shared: Arc<Shared>,
}

struct Shared {
    bell: Bell,
    /// Nodes whose waker was called.
    woken: SegQueue<u64>,
    /// The number of nodes that have been added and have not ended.
    nodes: AtomicUsize,
}

struct Start {
    id: u64,
    waker: Arc<NodeWaker>,
    make: MakeNode,
}

/// A place for a node on a shard.
pub(crate) struct Seat {
    id: u64,
    waker: Arc<NodeWaker>,
}

/// A waker that causes an iteration of a node.
struct NodeWaker {
    id: u64,
    called: AtomicBool,
    shared: Arc<Shared>,
}

impl Wake for NodeWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.called.swap(true, Ordering::AcqRel) {
            self.shared.woken.push(self.id);
            self.shared.bell.ring();
        }
    }
}

impl Shard {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system is out of threads, descriptors or memory.
    pub(crate) fn start(number: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            bell: Bell::new()?,
            woken: SegQueue::new(),
            nodes: AtomicUsize::new(0),
        });
        let (starts, receiver) = unbounded();
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let data = EventData::new_u64(BELL);
        epoll::add(&epoll, shared.bell.descriptor(), data, EventFlags::IN)?;
        let threads = Arc::clone(&shared);
        let run = move || {
            // Created here, as workers must not change their thread.
            let thread = Thread {
                epoll,
                shared: threads,
                starts: receiver,
                nodes: HashMap::new(),
                ready: VecDeque::new(),
                timers: BinaryHeap::new(),
            };
            thread.run();
        };
        std::thread::Builder::new()
            .name(format!("pinecone-host{number}"))
            .spawn(run)?;
        let starts = Some(starts);
        Ok(Self { starts, shared })
    }

    /// Returns the number of nodes on this thread.
    pub(crate) fn load(&self) -> usize {
        self.shared.nodes.load(Ordering::Relaxed)
    }

    /// Reserves a place for a node. `id` is unique among all nodes of the shard.
    pub(crate) fn seat(&self, id: u64) -> Seat {
        let (called, shared) = (AtomicBool::new(false), Arc::clone(&self.shared));
        let waker = Arc::new(NodeWaker { id, called, shared });
        Seat { id, waker }
    }

    /// Makes the thread create a node and drive it.
    pub(crate) fn add(&self, seat: Seat, make: MakeNode) {
        let Seat { id, waker } = seat;
        self.shared.nodes.fetch_add(1, Ordering::Relaxed);
        if let Some(starts) = &self.starts {
            // Fails if the thread has panicked. The starting thread notices, as `make` is dropped.
            let _ = starts.send(Start { id, waker, make });
        }
        self.shared.bell.ring();
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.starts = None;
        self.shared.bell.ring();
    }
}

impl Seat {
    /// Returns the waker that causes an iteration of the node.
    pub(crate) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.waker))
    }
}

/// The thread's state.
struct Thread {
    epoll: OwnedFd,
    shared: Arc<Shared>,
    starts: Receiver<Start>,
    nodes: HashMap<u64, Entry>,
    /// Nodes to iterate, each at most once.
    ready: VecDeque<u64>,
    /// The times at which to iterate nodes. An entry other than the node's [`Entry::timer`] is stale.
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
}

struct Entry {
    node: HostedNode,
    waker: Arc<NodeWaker>,
    /// Set if the node is in the list of those to iterate.
    is_ready: bool,
    /// The node's earliest entry among the timers.
    timer: Option<Instant>,
}

impl Thread {
    fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let more_may_come = self.take_starts();
            while let Some(id) = self.shared.woken.pop() {
                self.make_ready(id);
            }
            self.run_timers();
            for _ in 0..self.ready.len() {
                if let Some(id) = self.ready.pop_front() {
                    self.iterate(id);
                }
            }
            if !more_may_come && self.nodes.is_empty() {
                return;
            }
            self.wait(&mut events);
        }
    }

    /// Creates the nodes that are waiting to be started. Returns whether more may follow.
    fn take_starts(&mut self) -> bool {
        loop {
            match self.starts.try_recv() {
                Ok(start) => self.add(start),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn add(&mut self, start: Start) {
        let Start { id, waker, make } = start;
        let made = catch_unwind(AssertUnwindSafe(make)).unwrap_or_default();
        let polled = made.and_then(|node| {
            let descriptor = node.descriptor()?;
            let added = epoll::add(
                &self.epoll,
                descriptor,
                EventData::new_u64(id),
                EventFlags::IN,
            );
            match added {
                Ok(()) => Some(node),
                Err(errno) => {
                    let error = io::Error::from(errno);
                    tracing::error!(%error, "cannot poll a worker");
                    None
                }
            }
        });
        let Some(node) = polled else {
            self.shared.nodes.fetch_sub(1, Ordering::Relaxed);
            return;
        };
        let entry = Entry {
            node,
            waker,
            is_ready: false,
            timer: None,
        };
        self.nodes.insert(id, entry);
        self.make_ready(id);
    }

    fn make_ready(&mut self, id: u64) {
        if let Some(entry) = self.nodes.get_mut(&id)
            && !std::mem::replace(&mut entry.is_ready, true)
        {
            self.ready.push_back(id);
        }
    }

    fn run_timers(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(&Reverse((due, id))) = self.timers.peek()
            && due <= now
        {
            self.timers.pop();
            if let Some(entry) = self.nodes.get_mut(&id)
                && entry.timer == Some(due)
            {
                entry.timer = None;
                self.make_ready(id);
            }
        }
    }

    /// Iterates a node. If it panics, it ends, and the others go on.
    fn iterate(&mut self, id: u64) {
        let Some(entry) = self.nodes.get_mut(&id) else {
            return;
        };
        entry.is_ready = false;
        // The flag is reset before the node reads its commands: a later command calls the waker again.
        entry.waker.called.store(false, Ordering::Release);
        match catch_unwind(AssertUnwindSafe(|| entry.node.iterate())) {
            Ok(Next::Now) => self.make_ready(id),
            Ok(Next::After(wait)) => {
                if let Some(due) = Instant::now().checked_add(wait)
                    && entry.timer.is_none_or(|timer| due < timer)
                {
                    entry.timer = Some(due);
                    self.timers.push(Reverse((due, id)));
                }
            }
            Ok(Next::Never) => self.remove(id, HostedNode::finish),
            Err(_) => {
                tracing::error!("a node of a host panicked and is closed");
                // The other parts of the node end as their handles are dropped.
                self.remove(id, HostedNode::end_after_panic);
            }
        }
    }

    fn remove(&mut self, id: u64, end: impl FnOnce(HostedNode)) {
        if let Some(entry) = self.nodes.remove(&id) {
            let ended = catch_unwind(AssertUnwindSafe(|| end(entry.node)));
            if ended.is_err() {
                tracing::error!("a node of a host panicked when it ended");
            }
            self.shared.nodes.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Waits until a node has something to do, and lists the nodes whose workers have.
    fn wait(&mut self, events: &mut Vec<epoll::Event>) {
        self.shared.bell.about_to_wait();
        let is_busy =
            !self.ready.is_empty() || !self.shared.woken.is_empty() || !self.starts.is_empty();
        let timeout = match (is_busy, self.timers.peek()) {
            (true, _) => Some(Duration::ZERO),
            (false, Some(Reverse((due, _)))) => Some(due.saturating_duration_since(Instant::now())),
            (false, None) => None,
        };
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        events.clear();
        let buffer = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, buffer, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                // The documented errors cannot occur here. The pause keeps any other error from causing a busy loop.
                let error = io::Error::from(errno);
                tracing::error!(%error, "a host's thread cannot wait");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        self.shared.bell.awake();
        for event in events {
            match event.data.u64() {
                BELL => self.shared.bell.silence(),
                id => self.make_ready(id),
            }
        }
    }
}
