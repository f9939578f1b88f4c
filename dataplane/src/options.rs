//! Options of a data plane, and errors at its start.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use crate::LinkType;
use crate::memory_limit::MemoryLimit;
use crate::port_map::{MAX_PORTS, MAX_WORKERS};

/// The least limit on protocol frames that wait: a lower one would keep a long frame out for good.
const LEAST_PENDING: usize = 64 << 10;
/// The most bytes of address space of one worker's receive buffers.
const MAX_RECEIVE_BYTES: usize = 1 << 30;

/// Options of a data plane.
#[derive(Clone, Debug)]
pub struct DataPlaneOptions {
    /// Number of worker threads, from 1 to 250, 1 by default.
    pub workers: usize,
    /// The core that each worker is pinned to, in order. If empty, no worker is pinned.
    pub cores: Vec<usize>,
    /// The engine that moves the bytes.
    pub engine: EngineChoice,
    /// True if traffic with a hop limit of 1 or less is dropped, and the hop limit of other traffic
    /// lowered.
    pub hop_limiting: bool,
    /// Maximum number of bytes of traffic that wait for one port whose socket is full, 4 MiB by
    /// default. Beyond it, the oldest frames of the longest flow are dropped.
    pub port_queue_bytes: usize,
    /// Maximum number of bytes of traffic that wait for all ports together, shared out between the workers. By default
    /// an eighth of the memory, and at most 256 MiB ([`MemoryLimit`]). When it is used up, new frames of a port
    /// displace older ones of the same port.
    pub queue_bytes: usize,
    /// The delay that a flow's traffic may keep having in a port's queue, 100 ms by default. Above it,
    /// frames are dropped from the head of the flow, more and more often (CoDel). At four times the
    /// delay, all frames are dropped that have a newer one behind them. `None` is no limit on the
    /// delay.
    pub queue_delay: Option<Duration>,
    /// Maximum number of bytes of protocol frames that wait for one port, 1 MiB by default.
    pub port_protocol_bytes: usize,
    /// Maximum number of bytes of one port's protocol frames that wait for the control plane, at least
    /// 65,536 (the longest frame), 256 KiB by default.
    pub port_pending_bytes: usize,
    /// Maximum number of bytes of all ports' protocol frames that wait for the control plane, at least
    /// 65,536 (the longest frame), 64 MiB by default.
    pub pending_bytes: usize,
    /// The highest port number, from 1 to 16,777,215. By default, the limit on open files.
    pub max_ports: usize,
    /// Number of receive buffers of each worker: a power of two from 2 to 32,768, 16 by default. A
    /// buffer takes no memory until bytes are received into it.
    pub receive_buffers: u16,
    /// Size of a receive buffer in bytes, from 4 KiB to 16 MiB, 256 KiB by default. The buffers of a
    /// worker may have 1 GiB of address space together.
    pub receive_buffer_bytes: usize,
    /// Number of requests that a worker queues for io_uring at a time: a power of two from 16 to
    /// 4,096, 1,024 by default. The kernel's memory for each is about 200 bytes.
    pub ring_entries: u32,
    /// Maximum number of frames of local origin that wait for one worker, from 1 to 1,048,576,
    /// 4,096 by default.
    pub local_frames: usize,
    /// The time for which a worker spins for something to do before it sleeps, which saves the time to wake it at
    /// the price of its core. By default it sleeps at once.
    pub busy_poll: Option<Duration>,
    /// The core of a kernel thread that takes io_uring requests from memory for all workers, so that they need not
    /// enter the kernel. [`EngineInfo`] tells if that is not available.
    pub sqpoll: Option<usize>,
    /// Size in bytes from which sends of queued frames to TCP sockets are made without copying them to the kernel;
    /// never by default. [`EngineInfo`] tells if that is not available.
    pub zero_copy: Option<usize>,
    /// The time that a worker may wait for several small frames together, when many arrive from several ports that do
    /// not wait for each other. Zero, the default, is never. Only io_uring can wait for a batch, and a worker that
    /// spins or has a kernel thread does not.
    pub batch_wait: Duration,
    /// True to use only features that Linux 6.1 has. This rules out newer features as a cause of trouble.
    pub baseline: bool,
}

impl Default for DataPlaneOptions {
    fn default() -> Self {
        // Miri has no such call.
        let descriptors = match cfg!(miri) {
            true => None,
            false => getrlimit(Resource::Nofile).current,
        };
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
            receive_buffer_bytes: 256 << 10,
            ring_entries: 1024,
            local_frames: 4096,
            busy_poll: None,
            sqpoll: None,
            zero_copy: None,
            batch_wait: Duration::ZERO,
            baseline: false,
        }
    }
}

impl DataPlaneOptions {
    /// Returns options for a node with little traffic that shares its process with many others. Such a
    /// data plane takes little memory.
    #[must_use]
    pub fn small() -> Self {
        Self {
            port_queue_bytes: 256 << 10,
            queue_bytes: 1 << 20,
            port_protocol_bytes: 256 << 10,
            pending_bytes: 1 << 20,
            max_ports: 255,
            receive_buffers: 4,
            receive_buffer_bytes: 16 << 10,
            ring_entries: 32,
            local_frames: 64,
            ..Self::default()
        }
    }

    /// Checks the values that have a range.
    pub(crate) fn validate(&self) -> Result<(), DataPlaneError> {
        let check = |option, value, is_allowed, allowed| match is_allowed {
            true => Ok(()),
            false => Err(DataPlaneError::Option {
                option,
                value,
                allowed,
            }),
        };
        let Self {
            workers,
            port_pending_bytes,
            pending_bytes,
            max_ports,
            receive_buffer_bytes,
            local_frames,
            ..
        } = *self;
        let buffers = usize::from(self.receive_buffers);
        let entries = self.ring_entries as usize;
        check(
            "workers",
            workers,
            (1..=MAX_WORKERS).contains(&workers),
            "use 1 to 250",
        )?;
        check(
            "max_ports",
            max_ports,
            (1..=MAX_PORTS).contains(&max_ports),
            "use 1 to 16,777,215",
        )?;
        check(
            "receive_buffers",
            buffers,
            buffers.is_power_of_two() && buffers >= 2,
            "use a power of two from 2 to 32,768",
        )?;
        check(
            "receive_buffer_bytes",
            receive_buffer_bytes,
            (4 << 10..=16 << 20).contains(&receive_buffer_bytes),
            "use 4,096 to 16,777,216",
        )?;
        check(
            "receive_buffer_bytes",
            receive_buffer_bytes,
            buffers * receive_buffer_bytes <= MAX_RECEIVE_BYTES,
            "use at most 1 GiB for all receive_buffers of a worker together",
        )?;
        check(
            "port_pending_bytes",
            port_pending_bytes,
            port_pending_bytes >= LEAST_PENDING,
            "use at least 65,536",
        )?;
        check(
            "pending_bytes",
            pending_bytes,
            pending_bytes >= LEAST_PENDING,
            "use at least 65,536",
        )?;
        check(
            "ring_entries",
            entries,
            entries.is_power_of_two() && (16..=4096).contains(&entries),
            "use a power of two from 16 to 4,096",
        )?;
        check(
            "local_frames",
            local_frames,
            (1..=1 << 20).contains(&local_frames),
            "use 1 to 1,048,576",
        )?;
        let cores = self.cores.len();
        match cores == 0 || cores == workers {
            true => Ok(()),
            false => Err(DataPlaneError::Cores { cores, workers }),
        }
    }
}

/// The choice of an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// The best engine that this kernel and its rules allow.
    #[default]
    Auto,
    /// io_uring; an error where it is not available.
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

/// The engine in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its name.
    pub name: &'static str,
    /// The reason for its choice, and the parts of the kernel in use: one line for an operator.
    pub description: String,
    /// The core of each worker, if it is pinned.
    pub cores: Vec<Option<usize>>,
}

/// Options of a port.
#[derive(Clone, Copy, Debug)]
pub struct PortOptions {
    /// The kind of link.
    pub link: LinkType,
    /// True if keepalives are sent and expected. Peerings within a process may do without them.
    pub keepalives: bool,
}

/// The reason why a data plane cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataPlaneError {
    /// An option has a value that is not allowed.
    #[error("option {option} is {value}: {allowed}")]
    Option {
        /// The field of [`DataPlaneOptions`].
        option: &'static str,
        /// Its value.
        value: usize,
        /// The values that are allowed.
        allowed: &'static str,
    },
    /// [`DataPlaneOptions::cores`] does not have one core for each worker.
    #[error("option cores has {cores} cores for {workers} workers: use one core for each worker")]
    Cores {
        /// The number of cores.
        cores: usize,
        /// The number of workers.
        workers: usize,
    },
    /// A worker's thread cannot run on its core.
    #[error(
        "cannot pin worker {worker} to core {core}: {source}; choose one of the cores that this process may use"
    )]
    Pin {
        /// The number of the worker.
        worker: usize,
        /// The core.
        core: usize,
        /// The error of the system call.
        source: io::Error,
    },
    /// io_uring cannot be set up.
    #[error(
        "io_uring cannot be set up: {source}; it needs Linux 6.1 or later and must not be forbidden (sysctl kernel.io_uring_disabled, container seccomp profile, memlock limit); the engines auto and epoll do without"
    )]
    Uring {
        /// The error of the system call.
        source: io::Error,
    },
    /// A worker cannot be started for another reason.
    #[error("cannot start worker {worker}: {source}")]
    Start {
        /// The number of the worker.
        worker: usize,
        /// The error of the system call.
        source: io::Error,
    },
}
