//! The data plane as its owner sees it: workers started, ports handed to them, reports received.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, unbounded};
use pinecone_wire::TrafficLayout;

use crate::counters::{CountersSnapshot, DropReason, PortCounters, WorkerCounters, WorkerStats};
use crate::engine::{EngineKind, SharedPoller};
use crate::filter::{GuardedFilter, PacketFilter};
use crate::mailbox::{Command, Mailbox, NewPort};
use crate::port_map::{MAX_WORKERS, PortMap};
use crate::report::{Budget, CloseReason, Report, WorkerError};
use crate::worker::{Shared, Worker};
use crate::{DataPlaneError, DataPlaneOptions, EngineChoice, EngineInfo, PortId, PortOptions};
use pinecone_fib::Fib;

/// Who takes traffic for this node. Called on worker threads: it must be quick, and never block.
pub trait Delivery: Send + Sync {
    /// A whole traffic frame has arrived at `ingress`; false if it could not be taken.
    fn deliver(&self, ingress: PortId, frame: &[u8], layout: &TrafficLayout) -> bool;
}

/// Running workers. Dropping it shuts them down.
pub struct DataPlane {
    shared: Arc<Shared>,
    info: EngineInfo,
    threads: Mutex<Vec<JoinHandle<()>>>,
    next_worker: AtomicUsize,
}

/// Which ports there are, and who has them.
#[derive(Default)]
pub(crate) struct Registry(Mutex<Ports>);

#[derive(Default)]
struct Ports {
    open: BTreeMap<PortId, Registered>,
    /// The workers that have failed, and why.
    failed: BTreeMap<usize, WorkerError>,
}

struct Registered {
    worker: usize,
    counters: Arc<PortCounters>,
}

impl DataPlane {
    /// Starts the workers. Protocol frames and closed ports come out of the channel.
    ///
    /// # Errors
    /// [`DataPlaneError`], with what to do about it.
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

    /// Starts the workers with one engine.
    fn start_with(
        engine: EngineKind,
        why: &str,
        options: DataPlaneOptions,
        fib: Fib,
        delivery: Arc<dyn Delivery>,
    ) -> Result<(Self, Receiver<Report>), DataPlaneError> {
        let workers = options.workers;
        if workers == 0 || workers > MAX_WORKERS {
            return Err(DataPlaneError::Workers(workers));
        }
        if !options.cores.is_empty() && options.cores.len() != workers {
            return Err(DataPlaneError::Cores {
                cores: options.cores.len(),
                workers,
            });
        }
        let (reports, receiver) = unbounded();
        let mailboxes = (0..workers)
            .map(|worker| {
                let mailbox = Mailbox::new(workers);
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
        let mut this = Self {
            info: EngineInfo {
                name: engine.name(),
                description: String::new(),
                cores: Vec::new(),
            },
            threads: Mutex::default(),
            next_worker: AtomicUsize::new(0),
            shared,
        };
        for worker in 0..workers {
            let features = this.spawn(worker)?;
            this.info
                .cores
                .push(this.shared.options.cores.get(worker).copied());
            this.info.description = features;
        }
        this.shared.poller.release();
        this.info.description = format!("{why}; {}", this.info.description);
        Ok((this, receiver))
    }

    /// Hands a connected stream socket to a worker. From now on one [`Report::Closed`] is due.
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

    /// Closes a port, if there is such a port. [`Report::Closed`] says when it is done.
    pub fn remove_port(&self, port: PortId, reason: CloseReason) {
        self.tell(port, Command::Remove { port, reason });
    }

    /// Sends a protocol frame, ahead of traffic. If too many wait for the port, the oldest goes.
    pub fn send(&self, port: PortId, frame: Vec<u8>) {
        self.tell(port, Command::Send { port, frame });
    }

    /// Routes a whole traffic frame of local origin. False if too many wait: the frame is dropped.
    #[must_use]
    pub fn inject(&self, frame: Vec<u8>) -> bool {
        // One flow keeps to one worker, so that it keeps its order.
        let worker = TrafficLayout::parse(&frame).map_or(0, |layout| {
            let key = layout.destination_key(&frame);
            usize::from(key.0[31]) % self.shared.mailboxes.len()
        });
        let mailbox = &self.shared.mailboxes[worker];
        let taken = !mailbox.is_closed() && mailbox.injected.push(frame).is_ok();
        mailbox.bell.ring();
        taken
    }

    /// Sets or removes the filter. Frames already being routed may not see it.
    pub fn set_filter(&self, filter: Option<Arc<dyn PacketFilter>>) {
        let filter = filter.map(|filter| Arc::new(GuardedFilter::new(filter)));
        self.shared
            .mailboxes
            .iter()
            .for_each(|m| m.tell(Command::Filter(filter.clone())));
    }

    /// The counters of a port that is open.
    #[must_use]
    pub fn port_counters(&self, port: PortId) -> Option<CountersSnapshot> {
        self.shared
            .registry
            .lock()
            .open
            .get(&port)
            .map(|r| r.counters.snapshot())
    }

    /// Which engine runs, and how.
    #[must_use]
    pub const fn info(&self) -> &EngineInfo {
        &self.info
    }

    /// What each worker has done.
    #[must_use]
    pub fn worker_stats(&self) -> Vec<WorkerStats> {
        self.shared
            .counters
            .iter()
            .map(WorkerCounters::snapshot)
            .collect()
    }

    /// Closes every port and ends the workers. Returns when they have ended.
    pub fn shutdown(&self) {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared
            .mailboxes
            .iter()
            .for_each(|m| m.tell(Command::Shutdown));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
        // What was handed over to a worker that had ended.
        for (mailbox, counters) in self.shared.mailboxes.iter().zip(&self.shared.counters) {
            let frames = mailbox.drop_blocks();
            counters.local.dropped(DropReason::PortClosed, frames);
        }
    }

    fn tell(&self, port: PortId, command: Command) {
        let worker = self
            .shared
            .registry
            .lock()
            .open
            .get(&port)
            .map(|r| r.worker);
        if let Some(worker) = worker {
            self.shared.mailboxes[worker].tell(command);
        }
    }

    /// Starts one worker and waits until it runs, or says why it cannot.
    fn spawn(&self, worker: usize) -> Result<String, DataPlaneError> {
        let shared = Arc::clone(&self.shared);
        let core = shared.options.cores.get(worker).copied();
        let (ready, started) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("worker-{worker}"))
            .spawn(move || {
                let made = pin(worker, core).and_then(|()| {
                    let engine = shared.engine;
                    Worker::new(worker, Arc::clone(&shared)).map_err(|source| match engine {
                        EngineKind::Uring => DataPlaneError::Uring { source },
                        EngineKind::Epoll => DataPlaneError::Start { worker, source },
                    })
                });
                match made {
                    Err(e) => drop(ready.send(Err(e))),
                    Ok(made) => {
                        let _ = ready.send(Ok(made.features()));
                        if let Err(error) = run(worker, shared.engine, made) {
                            fail(&shared, worker, error);
                        }
                    }
                }
            })
            .map_err(|source| DataPlaneError::Start { worker, source })?;
        self.threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread);
        let gone = |_| DataPlaneError::Start {
            worker,
            source: io::Error::other("thread ended at once"),
        };
        started.recv().map_err(gone)?
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

impl Registry {
    /// Adds a port to the worker that has fewest, `hint` and after if several have.
    fn add(
        &self,
        port: PortId,
        hint: usize,
        counters: &Arc<PortCounters>,
        workers: usize,
    ) -> Result<usize, WorkerError> {
        let mut ports = self.lock();
        let mut load = vec![0usize; workers];
        ports.open.values().for_each(|r| load[r.worker] += 1);
        let least = (0..workers)
            .map(|i| (hint + i) % workers)
            .filter(|worker| !ports.failed.contains_key(worker))
            .min_by_key(|&w| load[w]);
        let worker = match (least, ports.failed.values().next()) {
            (Some(worker), _) => worker,
            (None, Some(error)) => return Err(error.clone()),
            (None, None) => hint,
        };
        ports.open.insert(
            port,
            Registered {
                worker,
                counters: Arc::clone(counters),
            },
        );
        Ok(worker)
    }

    pub(crate) fn remove(&self, port: PortId) {
        self.lock().open.remove(&port);
    }

    /// Takes all ports from a worker that has failed. It gets no more.
    fn fail(&self, worker: usize, error: WorkerError) -> BTreeMap<PortId, Registered> {
        let mut ports = self.lock();
        ports.failed.insert(worker, error);
        let (its, others) = std::mem::take(&mut ports.open)
            .into_iter()
            .partition(|(_, r)| r.worker == worker);
        ports.open = others;
        its
    }

    fn lock(&self) -> MutexGuard<'_, Ports> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a worker to its end. Where panics unwind, one is an error like others.
fn run(worker: usize, engine: EngineKind, made: Worker) -> Result<(), WorkerError> {
    match catch_unwind(AssertUnwindSafe(|| made.run())) {
        Ok(ended) => ended.map_err(|e| WorkerError::System {
            worker,
            call: engine.call(),
            error: e.raw_os_error().unwrap_or(libc::EIO),
        }),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            let message = text.unwrap_or("without a message").into();
            Err(WorkerError::Panicked { worker, message })
        }
    }
}

/// Does what a worker that has failed cannot do itself: closes its ports and its mailbox, so that
/// nobody waits for it.
fn fail(shared: &Shared, worker: usize, error: WorkerError) {
    // Nobody listens any more if the node is being dropped.
    let _ = shared.reports.send(Report::WorkerFailed(error.clone()));
    let counters = &shared.counters[worker];
    for (port, registered) in shared.registry.fail(worker, error.clone()) {
        shared.map.set(port, None);
        let waiting = registered.counters.queued_frames.get();
        registered.counters.dropped(DropReason::PortClosed, waiting);
        registered.counters.queued_frames.set(0);
        let mut sum = counters
            .closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        sum.add(&registered.counters.snapshot());
        drop(sum);
        let reason = error.clone().into();
        let _ = shared.reports.send(Report::Closed { port, reason });
    }
    counters.ports.set(0);
    let frames = shared.mailboxes[worker].close();
    counters.local.dropped(DropReason::PortClosed, frames);
}

fn pin(worker: usize, core: Option<usize>) -> Result<(), DataPlaneError> {
    let Some(core) = core else { return Ok(()) };
    let fail = |source| DataPlaneError::Pin {
        worker,
        core,
        source,
    };
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return Err(fail(io::Error::from_raw_os_error(libc::EINVAL)));
    }
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).map_err(|e| fail(e.into()))
}
