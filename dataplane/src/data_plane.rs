//! The data plane's interface to its owner.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, unbounded};
use pinecone_fib::Fib;
use pinecone_wire::MAX_FRAME_LEN;

use crate::PortId;
use crate::backlog::BACKLOG_LIMIT;
use crate::counters::{CountersSnapshot, DropReason, PortCounters, WorkerCounters, WorkerStats};
use crate::delivery::Delivery;
use crate::driven::DrivenWorker;
use crate::engine::{EngineKind, SharedPoller};
use crate::filter::{GuardedFilter, PacketFilter};
use crate::local_frame::LocalFrame;
use crate::mailbox::{Command, Mailbox, NewPort};
use crate::options::{DataPlaneError, DataPlaneOptions, EngineChoice, EngineInfo, PortOptions};
use crate::port_map::PortMap;
use crate::registry::Registry;
use crate::report::{Budget, CloseReason, Report};
use crate::worker::{Shared, thread};

/// Running workers, which are shut down when this is dropped.
pub struct DataPlane {
    shared: Arc<Shared>,
    info: EngineInfo,
    threads: Mutex<Vec<JoinHandle<()>>>,
    next_worker: AtomicUsize,
}

impl DataPlane {
    /// Starts the workers. They report protocol frames and closed ports through the channel.
    ///
    /// # Errors
    /// An option is not valid, or the system does not allow what it asks for.
    pub fn start(
        options: DataPlaneOptions,
        fib: Fib,
        delivery: Arc<dyn Delivery>,
    ) -> Result<(Self, Receiver<Report>), DataPlaneError> {
        let start = |engine, why: &str| {
            Self::start_with(engine, why, options.clone(), fib.clone(), delivery.clone())
        };
        match options.engine {
            EngineChoice::Uring => start(EngineKind::Uring, "asked for"),
            EngineChoice::Epoll => start(EngineKind::Epoll, "asked for"),
            EngineChoice::Auto => {
                match start(EngineKind::Uring, "chosen because this kernel has it") {
                    Err(DataPlaneError::Uring { source }) => {
                        let why = format!("io_uring cannot be set up: {source}");
                        start(EngineKind::Epoll, &why)
                    }
                    started => started,
                }
            }
        }
    }

    /// Sets up a data plane of one worker without a thread: the caller drives it, on the thread that
    /// makes this call. It reports as with [`Self::start`]. [`Self::begin_shutdown`] ends the worker.
    ///
    /// The engine is epoll, since an io_uring costs each worker much more memory.
    ///
    /// # Errors
    /// An option is not valid, or the system does not allow what it asks for.
    pub fn driven(
        options: DataPlaneOptions,
        fib: Fib,
        delivery: Arc<dyn Delivery>,
    ) -> Result<(Self, Receiver<Report>, DrivenWorker), DataPlaneError> {
        if options.workers != 1 {
            return Err(DataPlaneError::Option {
                option: "workers",
                value: options.workers,
                allowed: "a data plane without threads has 1",
            });
        }
        let (mut this, receiver) = Self::prepare(EngineKind::Epoll, options, fib, delivery)?;
        let worker = DrivenWorker::new(&this.shared)?;
        this.info.cores.push(None);
        this.info.description = format!("chosen for a shared thread; {}", worker.features());
        this.shared.poller.release();
        Ok((this, receiver, worker))
    }

    /// Starts the workers with one engine.
    fn start_with(
        engine: EngineKind,
        why: &str,
        options: DataPlaneOptions,
        fib: Fib,
        delivery: Arc<dyn Delivery>,
    ) -> Result<(Self, Receiver<Report>), DataPlaneError> {
        let (mut this, receiver) = Self::prepare(engine, options, fib, delivery)?;
        for worker in 0..this.shared.options.workers {
            let (thread, features) = thread::start(worker, &this.shared)?;
            let threads = this.threads.get_mut();
            threads.unwrap_or_else(PoisonError::into_inner).push(thread);
            this.info
                .cores
                .push(this.shared.options.cores.get(worker).copied());
            this.info.description = features;
        }
        this.shared.poller.release();
        this.info.description = format!("{why}; {}", this.info.description);
        Ok((this, receiver))
    }

    /// Sets up the state that workers share, but no worker.
    fn prepare(
        engine: EngineKind,
        options: DataPlaneOptions,
        fib: Fib,
        delivery: Arc<dyn Delivery>,
    ) -> Result<(Self, Receiver<Report>), DataPlaneError> {
        options.validate()?;
        let workers = options.workers;
        let (reports, receiver) = unbounded();
        let mailboxes = (0..workers)
            .map(|worker| {
                let mailbox = Mailbox::new(workers, options.local_frames);
                mailbox
                    .map(Arc::new)
                    .map_err(|source| DataPlaneError::Start { worker, source })
            })
            .collect::<Result<_, _>>()?;
        let core_of = |worker: usize| options.cores.get(worker).copied();
        let shared = Arc::new(Shared {
            fib,
            delivery,
            map: PortMap::new(options.max_ports),
            mailboxes,
            counters: (0..workers)
                .map(|w| WorkerCounters {
                    core: core_of(w),
                    ..Default::default()
                })
                .collect(),
            reports,
            pending: Budget::new(options.pending_bytes),
            registry: Registry::default(),
            poller: SharedPoller::default(),
            options,
            engine,
        });
        let this = Self {
            info: EngineInfo {
                name: engine.name(),
                description: String::new(),
                cores: Vec::new(),
            },
            threads: Mutex::default(),
            next_worker: AtomicUsize::new(0),
            shared,
        };
        Ok((this, receiver))
    }

    /// Hands a connected stream socket to a worker. Exactly one [`Report::Closed`] follows.
    pub fn add_port(
        &self,
        port: PortId,
        stream: OwnedFd,
        options: PortOptions,
    ) -> Arc<PortCounters> {
        let counters = Arc::new(PortCounters::default());
        if !self.shared.map.covers(port) {
            let reason = CloseReason::Requested(
                "no port number is left: raise the limit on open files".into(),
            );
            let _ = self.shared.reports.send(Report::Closed { port, reason });
            return counters;
        }
        let worker = self.next_worker.fetch_add(1, Ordering::Relaxed) % self.shared.mailboxes.len();
        let added = self
            .shared
            .registry
            .add(port, worker, &counters, self.shared.mailboxes.len());
        let worker = match added {
            Ok(worker) => worker,
            Err(error) => {
                let reason = error.into();
                let _ = self.shared.reports.send(Report::Closed { port, reason });
                return counters;
            }
        };
        let budget = Budget::new(self.shared.options.port_pending_bytes);
        let new = NewPort {
            port,
            stream,
            options,
            counters: Arc::clone(&counters),
            budget,
        };
        self.shared.mailboxes[worker].tell(Command::Add(new));
        counters
    }

    /// Closes a port, if it is open. [`Report::Closed`] follows when that is done.
    pub fn remove_port(&self, port: PortId, reason: CloseReason) {
        self.tell(port, Command::Remove { port, reason });
    }

    /// Sends a protocol frame, ahead of traffic. If too many wait for the port, the oldest is dropped.
    pub fn send(&self, port: PortId, frame: Vec<u8>) {
        self.tell(port, Command::Send { port, frame });
    }

    /// Routes a traffic frame of local origin. Returns false if too many wait: the frame is dropped.
    ///
    /// `egress` is the port that the frame will probably be sent on. If too many bytes of local origin wait for that
    /// port already, the frame is not taken. [`Self::poll_room`] waits for room.
    #[must_use]
    pub fn inject(&self, frame: impl Into<LocalFrame>, egress: Option<PortId>) -> bool {
        let frame = frame.into();
        let port = egress.and_then(|port| self.shared.registry.get(port));
        let worker = match &port {
            // The worker that has the port need not hand the frame over.
            Some((worker, _)) => *worker,
            // A flow stays with one worker, so that its frames stay in order.
            None => (frame.destination_key()).map_or(0, |key| {
                usize::from(key.0[31]) % self.shared.mailboxes.len()
            }),
        };
        let mailbox = &self.shared.mailboxes[worker];
        let backlog = self.backlog(mailbox, port.as_ref());
        let len = frame.len();
        if mailbox.is_closed() || (backlog > 0 && backlog + len > self.backlog_limit()) {
            return false;
        }
        mailbox.backlog.add(len);
        let taken = mailbox.injected.push(frame).is_ok();
        if !taken {
            mailbox.backlog.subtract(len);
        }
        mailbox.bell.ring();
        taken
    }

    /// Returns ready when [`Self::inject`] takes a frame of any length for `egress`. Otherwise the task is woken when
    /// there may be room.
    pub fn poll_room(&self, egress: Option<PortId>, context: &mut Context<'_>) -> Poll<()> {
        let port = egress.and_then(|port| self.shared.registry.get(port));
        let mailboxes = match &port {
            Some((worker, _)) => std::slice::from_ref(&self.shared.mailboxes[*worker]),
            None => &self.shared.mailboxes[..],
        };
        let has_room = |mailbox: &Mailbox| {
            let backlog = self.backlog(mailbox, port.as_ref());
            let room = backlog == 0 || backlog + MAX_FRAME_LEN <= self.backlog_limit();
            room && !mailbox.injected.is_full()
        };
        if mailboxes.iter().all(|mailbox| has_room(mailbox)) {
            return Poll::Ready(());
        }
        for mailbox in mailboxes {
            mailbox.backlog.wake_later(context.waker());
        }
        if let Some((_, counters)) = &port {
            counters.backlog.wake_later(context.waker());
        }
        // Check once more: a frame that has left meanwhile wakes no task.
        match mailboxes.iter().all(|mailbox| has_room(mailbox)) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Returns the number of frames of local origin that were dropped in this node, apart from those
    /// that were lost with a peering.
    #[must_use]
    pub fn local_drops(&self) -> u64 {
        let stats = self.worker_stats();
        let workers = stats
            .iter()
            .map(|s| s.local.total_dropped() + s.closed.local_drops);
        self.shared.registry.local_drops() + workers.sum::<u64>()
    }

    fn backlog(&self, mailbox: &Mailbox, port: Option<&(usize, Arc<PortCounters>)>) -> usize {
        mailbox.backlog.bytes() + port.map_or(0, |(_, counters)| counters.backlog.bytes())
    }

    fn backlog_limit(&self) -> usize {
        BACKLOG_LIMIT.min(self.shared.options.port_queue_bytes)
    }

    /// Sets or removes the packet filter. Frames that are already being routed may not pass through it.
    pub fn set_filter(&self, filter: Option<Arc<dyn PacketFilter>>) {
        let filter = filter.map(|filter| Arc::new(GuardedFilter::new(filter)));
        self.shared
            .mailboxes
            .iter()
            .for_each(|m| m.tell(Command::Filter(filter.clone())));
    }

    /// Returns the counters of an open port.
    #[must_use]
    pub fn port_counters(&self, port: PortId) -> Option<CountersSnapshot> {
        self.shared.registry.counters_of(port)
    }

    /// Returns the engine in use.
    #[must_use]
    pub const fn info(&self) -> &EngineInfo {
        &self.info
    }

    /// Returns the counters of each worker.
    #[must_use]
    pub fn worker_stats(&self) -> Vec<WorkerStats> {
        self.shared
            .counters
            .iter()
            .map(WorkerCounters::snapshot)
            .collect()
    }

    /// Tells the workers to close all ports and to end.
    pub fn begin_shutdown(&self) {
        self.shared
            .mailboxes
            .iter()
            .for_each(|m| m.tell(Command::Shutdown));
    }

    /// Closes all ports and ends the workers. Returns when those that have threads have ended.
    pub fn shutdown(&self) {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        self.begin_shutdown();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
        // Frames that were handed over to a worker that had ended.
        for (mailbox, counters) in self.shared.mailboxes.iter().zip(&self.shared.counters) {
            let frames = mailbox.drop_blocks();
            counters.local.dropped(DropReason::PortClosed, frames);
        }
    }

    fn tell(&self, port: PortId, command: Command) {
        if let Some(worker) = self.shared.registry.worker_of(port) {
            self.shared.mailboxes[worker].tell(command);
        }
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl std::fmt::Debug for DataPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataPlane")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}
