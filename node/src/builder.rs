use std::sync::Arc;
use std::time::Duration;

use pinecone_transports::{DialSchedule, Limits};
use pinecone_wire::SecretKey;
use tokio::sync::oneshot;

use crate::{ControlConfig, DataPlaneOptions, EngineChoice, Node, PacketFilter, StartError};

/// How a node is to be: made by [`Node::builder`](crate::Node::builder).
#[derive(Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder(pub(crate) Options);

/// What a [`Builder`] gathers.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) secret_key: Option<SecretKey>,
    pub(crate) listen: Vec<String>,
    pub(crate) listen_retry: bool,
    pub(crate) static_peers: Vec<String>,
    pub(crate) dataplane: DataPlaneOptions,
    pub(crate) control: ControlConfig,
    pub(crate) control_core: Option<usize>,
    pub(crate) verify_threads: usize,
    pub(crate) runtime_core: Option<usize>,
    pub(crate) packet_filter: Option<Arc<dyn PacketFilter>>,
    pub(crate) receive_frames: usize,
    pub(crate) receive_bytes: usize,
    pub(crate) bandwidth_interval: Duration,
    pub(crate) limits: Limits,
    pub(crate) dial_schedule: DialSchedule,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self(Options {
            secret_key: None,
            listen: Vec::new(),
            listen_retry: false,
            static_peers: Vec::new(),
            dataplane: DataPlaneOptions::default(),
            control: ControlConfig::default(),
            control_core: None,
            verify_threads: 0,
            runtime_core: None,
            packet_filter: None,
            receive_frames: 4096,
            receive_bytes: 16 << 20,
            bandwidth_interval: Duration::from_secs(60),
            limits: Limits::default(),
            dial_schedule: DialSchedule::default(),
        })
    }

    /// The key that the node is. Without one it takes a [new key](crate::generate_key).
    pub fn secret_key(mut self, key: SecretKey) -> Self {
        self.0.secret_key = Some(key);
        self
    }

    /// Listens on one more TCP address: `host:port`, or `:port` for all addresses of the machine; of a
    /// name, on all of its addresses. Port 0 takes a free one, which
    /// [`Node::local_addrs`](crate::Node::local_addrs) tells. Without any, the node listens on nothing.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.0.listen.push(address.into());
        self
    }

    /// Whether to wait in the background for addresses to listen on that this machine does not have
    /// yet, and for names that do not resolve yet. Default: no, the start fails.
    pub fn listen_retry(mut self, on: bool) -> Self {
        self.0.listen_retry = on;
        self
    }

    /// Static peers to dial and to dial again whenever they are lost: `host:port`, several
    /// separated by commas (protocol section 9).
    pub fn connect(mut self, list: impl Into<String>) -> Self {
        self.0.static_peers.push(list.into());
        self
    }

    /// Worker threads that move frames. Default 1.
    pub fn workers(mut self, workers: usize) -> Self {
        self.0.dataplane.workers = workers;
        self
    }

    /// The cores to pin the workers to, first worker first. Default: not pinned.
    pub fn worker_cores(mut self, cores: impl Into<Vec<usize>>) -> Self {
        self.0.dataplane.cores = cores.into();
        self
    }

    /// The core to pin the control thread to. Default: not pinned.
    pub fn control_core(mut self, core: usize) -> Self {
        self.0.control_core = Some(core);
        self
    }

    /// Threads that check the signatures of protocol frames. Default 0: the control thread does.
    pub fn verify_threads(mut self, threads: usize) -> Self {
        self.0.verify_threads = threads;
        self
    }

    /// The core to pin the runtime thread (listening, dialling, handshakes) to. Default: not pinned.
    pub fn runtime_core(mut self, core: usize) -> Self {
        self.0.runtime_core = Some(core);
        self
    }

    /// What moves the frames. Default: the best that works here.
    pub fn engine(mut self, engine: EngineChoice) -> Self {
        self.0.dataplane.engine = engine;
        self
    }

    /// How long a worker goes on looking for something to do before it sleeps: lower latency, at the
    /// price of its core. Default: it sleeps at once.
    pub fn busy_poll(mut self, limit: Duration) -> Self {
        self.0.dataplane.busy_poll = Some(limit);
        self
    }

    /// The core for a kernel thread that takes the workers' io_uring requests, so that they need not
    /// enter the kernel. Default: there is none.
    pub fn sqpoll(mut self, core: usize) -> Self {
        self.0.dataplane.sqpoll = Some(core);
        self
    }

    /// Sends of so many bytes and more, of what has waited for a full TCP socket, are not copied to
    /// the kernel; pays on real network interfaces only. Default: all are.
    pub fn zero_copy(mut self, bytes: usize) -> Self {
        self.0.dataplane.zero_copy = Some(bytes);
        self
    }

    /// How long a worker may wait for several small frames together when many come; zero is never.
    pub fn batch_wait(mut self, limit: Duration) -> Self {
        self.0.dataplane.batch_wait = limit;
        self
    }

    /// Whether the hop limit of forwarded traffic is lowered and looked at. Default: off.
    pub fn hop_limiting(mut self, on: bool) -> Self {
        self.0.dataplane.hop_limiting = on;
        self
    }

    /// Whether the node sends wakeup broadcasts of its own; those of others it always passes on.
    /// Default: on.
    pub fn wakeup_broadcasts(mut self, on: bool) -> Self {
        self.0.control.wakeup_broadcasts = on;
        self
    }

    /// The hop limit of our own wakeup broadcasts, from 1 to 5: at 1 they reach our peers alone, at
    /// 2 those of our peers who are next to them in the tree, at 5 all near us, as with deployed nodes.
    /// Default: 2.
    pub fn wakeup_hops(mut self, hops: u8) -> Self {
        self.0.control.wakeup_hops = hops;
        self
    }

    /// Whether what is left of old paths is led the new way when a path changes, and others are told
    /// of broken ones, at the price of more protocol frames. Only peers that offer the same get these
    /// frames; deployed nodes do not. Default: on.
    pub fn correct_paths(mut self, on: bool) -> Self {
        self.0.control.correct_paths = on;
        self
    }

    /// A packet filter from the first frame on: see
    /// [`Node::set_packet_filter`](crate::Node::set_packet_filter).
    pub fn packet_filter(mut self, filter: Arc<dyn PacketFilter>) -> Self {
        self.0.packet_filter = Some(filter);
        self
    }

    /// How much may wait for [`Node::recv_from`](crate::Node::recv_from): payloads, and bytes of
    /// payload. What comes when it is full is dropped and counted. Default: 4,096 and 16 MiB; 0
    /// drops everything, for a node that only forwards.
    pub fn receive_queue(mut self, frames: usize, bytes: usize) -> Self {
        self.0.receive_frames = frames;
        self.0.receive_bytes = bytes;
        self
    }

    /// How often [`Event::Bandwidth`](crate::Event::Bandwidth) is told. Default: once a minute.
    pub fn bandwidth_interval(mut self, interval: Duration) -> Self {
        self.0.bandwidth_interval = interval;
        self
    }

    /// Every bound of the data plane: queues, buffers, ports. Overrides what
    /// [`Self::workers`], [`Self::worker_cores`], [`Self::engine`], [`Self::busy_poll`],
    /// [`Self::sqpoll`], [`Self::zero_copy`], [`Self::batch_wait`] and [`Self::hop_limiting`] have
    /// set before.
    pub fn dataplane(mut self, options: DataPlaneOptions) -> Self {
        self.0.dataplane = options;
        self
    }

    /// Every bound of the control plane: routes, broadcasts, peerings. Overrides what
    /// [`Self::wakeup_broadcasts`], [`Self::wakeup_hops`] and [`Self::correct_paths`] have set before.
    /// Where [`ControlConfig::wakeup_phase`] is none, the node draws a random one.
    pub fn control(mut self, config: ControlConfig) -> Self {
        self.0.control = config;
        self
    }

    /// Traffic that may wait: bytes for one peering that does not take it, bytes for all together,
    /// and the delay that a flow may keep having; `None` is as long as the bytes allow. Default:
    /// 4 MiB, an eighth of the memory but at most 256 MiB ([`MemoryLimit`](crate::MemoryLimit)), and
    /// 100 ms.
    pub fn queues(mut self, port: usize, total: usize, delay: Option<Duration>) -> Self {
        self.0.dataplane.port_queue_bytes = port;
        self.0.dataplane.queue_bytes = total;
        self.0.dataplane.queue_delay = delay;
        self
    }

    /// Bounds on connecting and handshakes. Overrides what [`Self::max_dials`] has set before.
    pub fn transport_limits(mut self, limits: Limits) -> Self {
        self.0.limits = limits;
        self
    }

    /// Dials that may run at a time; more wait for their turn. Default: 64.
    pub fn max_dials(mut self, dials: usize) -> Self {
        self.0.limits.max_dials = dials;
        self
    }

    /// The longest wait until a static peer that cannot be connected is dialled again. Default: 5 min.
    pub fn max_backoff(mut self, wait: Duration) -> Self {
        self.0.dial_schedule.longest_wait = wait;
        self
    }

    /// When static peers are dialled again. Overrides what [`Self::max_backoff`] has set before.
    pub fn dial_schedule(mut self, schedule: DialSchedule) -> Self {
        self.0.dial_schedule = schedule;
        self
    }

    /// Starts the node, and returns when it listens.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(self) -> Result<Node, StartError> {
        let (reply, started) = oneshot::channel();
        // Starting blocks for some milliseconds: on a thread of its own, any executor will do.
        std::thread::Builder::new()
            .name("pinecone-start".to_owned())
            .spawn(move || reply.send(self.start_blocking()))
            .map_err(|source| StartError::System {
                what: "start a thread".to_owned(),
                source,
            })?;
        started.await.unwrap_or_else(|_| {
            Err(StartError::System {
                what: "start the node".to_owned(),
                source: std::io::Error::other("its thread panicked"),
            })
        })
    }

    /// As [`Self::start`], for callers outside async code.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_blocking(self) -> Result<Node, StartError> {
        Node::start(self.0)
    }
}
