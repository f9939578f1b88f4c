//! How a data plane is set up, and what came of it.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use crate::{LinkType, MemoryLimit};

/// How to start the workers.
#[derive(Clone, Debug)]
pub struct DataPlaneOptions {
    /// How many worker threads, at least 1.
    pub workers: usize,
    /// The core that each worker is pinned to, in order. Empty: none is pinned.
    pub cores: Vec<usize>,
    /// Which engine moves the bytes.
    pub engine: EngineChoice,
    /// Whether traffic with a hop limit of 1 or less is dropped, and other traffic's lowered.
    pub hop_limiting: bool,
    /// Most bytes of traffic that wait for one port that does not take them, 4 MiB by default. What
    /// comes on top pushes out the oldest of the flow that has most.
    pub port_queue_bytes: usize,
    /// The same for all ports together, shared out between the workers. By default an eighth of the
    /// memory that there is, and at most 256 MiB ([`MemoryLimit`]). Where it is used up, a port's new frames push out its own old ones.
    pub queue_bytes: usize,
    /// The delay that a flow's traffic may keep having in a port's queue, 100 ms by default. Above it
    /// frames are dropped from the flow's head, ever more of them (CoDel), and at four times as much
    /// all of them as long as a newer one waits. `None` is as long as the queue's bounds allow.
    pub queue_delay: Option<Duration>,
    /// Most bytes of protocol frames that wait for one port, 1 MiB by default.
    pub port_protocol_bytes: usize,
    /// Most bytes of one port's protocol frames that wait for the control plane, 256 KiB by default.
    pub port_pending_bytes: usize,
    /// The same for all ports together, 64 MiB by default.
    pub pending_bytes: usize,
    /// The highest port number. By default what the limit on file descriptors allows.
    pub max_ports: usize,
    /// Receive buffers of 256 KiB a worker, a power of two, 16 by default.
    pub receive_buffers: u16,
    /// How long a worker goes on looking for something to do before it sleeps: saves the time to
    /// wake it, at the price of its core. By default it sleeps at once.
    pub busy_poll: Option<Duration>,
    /// The core of a kernel thread that takes io_uring's requests from memory, for all workers, so
    /// that these need not enter the kernel. Where it cannot be had, [`EngineInfo`] says so.
    pub sqpoll: Option<usize>,
    /// Bytes from which on a send of what has waited for a full TCP socket is made without copying
    /// them to the kernel. Where that cannot be had, [`EngineInfo`] says so. By default never.
    pub zero_copy: Option<usize>,
    /// How long a worker may wait for several small frames together when many come, from several
    /// ports that do not wait for each other's; zero, the default, is never. Only io_uring can wait
    /// so, and who spins or has a kernel thread does not.
    pub batch_wait: Duration,
    /// Use nothing of the kernel that Linux 6.1 does not have. For ruling newer features out.
    pub baseline: bool,
}

impl Default for DataPlaneOptions {
    fn default() -> Self {
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self {
            workers: 1,
            cores: Vec::new(),
            engine: EngineChoice::Auto,
            hop_limiting: false,
            port_queue_bytes: 4 << 20,
            queue_bytes: MemoryLimit::default_queue_bytes(MemoryLimit::read()),
            queue_delay: Some(Duration::from_millis(100)),
            port_protocol_bytes: 1 << 20,
            port_pending_bytes: 256 << 10,
            pending_bytes: 64 << 20,
            max_ports: descriptors.map_or(1 << 20, |n| n.clamp(64, 1 << 20) as usize),
            receive_buffers: 16,
            busy_poll: None,
            sqpoll: None,
            zero_copy: None,
            batch_wait: Duration::ZERO,
            baseline: false,
        }
    }
}

/// Which engine moves the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// The best that this kernel and its rules allow.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// Readiness polling with epoll, which every kernel has.
    Epoll,
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        })
    }
}

impl FromStr for EngineChoice {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Uring),
            "epoll" => Ok(Self::Epoll),
            other => Err(format!(
                "no engine is called '{other}': use auto, uring or epoll"
            )),
        }
    }
}

/// The engine that runs, and on what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its name.
    pub name: &'static str,
    /// What of the kernel it uses, and why it was chosen: one line for an operator.
    pub description: String,
    /// The core of each worker, where pinned.
    pub cores: Vec<Option<usize>>,
}

/// What a new port is like.
#[derive(Clone, Copy, Debug)]
pub struct PortOptions {
    /// What it runs over.
    pub link: LinkType,
    /// Whether keepalives are sent and expected. In-process peerings may do without.
    pub keepalives: bool,
}

/// Why a data plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DataPlaneError {
    /// No workers asked for, or more than can be numbered.
    #[error("{0} workers asked for: use 1 to 250")]
    Workers(usize),
    /// More cores than workers, or fewer.
    #[error("{cores} worker cores given for {workers} workers: give one core a worker")]
    Cores {
        /// Cores given.
        cores: usize,
        /// Workers asked for.
        workers: usize,
    },
    /// A thread cannot run on that core.
    #[error(
        "cannot pin worker {worker} to core {core}: {source}; choose one of the cores that this process may use"
    )]
    Pin {
        /// Which worker.
        worker: usize,
        /// Which core.
        core: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// io_uring cannot be set up.
    #[error(
        "io_uring cannot be set up: {source}; it needs Linux 6.1 or later and must not be forbidden (sysctl kernel.io_uring_disabled, container seccomp profile, memlock limit); the engines auto and epoll do without"
    )]
    Uring {
        /// What the kernel said.
        source: io::Error,
    },
    /// Something else went wrong at start.
    #[error("cannot start worker {worker}: {source}")]
    Start {
        /// Which worker.
        worker: usize,
        /// What the kernel said.
        source: io::Error,
    },
}
