//! Threads that several nodes share.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pinecone_controlplane::VerifiedBodies;

use crate::runtime::RuntimeThread;
use crate::shard::{Seat, Shard};
use crate::{EngineChoice, NodeOptions, OptionError, StartError};

/// The most threads that a host may have for its nodes.
const MAX_THREADS: usize = 256;

/// Threads that run any number of nodes of one process, for tests, simulations and gateways.
///
/// A node on its own has a thread for each worker, one for its control and one that listens, dials and shakes
/// hands. The nodes of a host share the last of these, and each of them has its worker and its control on one
/// of the host's threads, which waits for all of its nodes at once. A node of a host uses the epoll engine. A
/// node that panics closes with an error, and the others go on.
///
/// [`Builder::on`](crate::Builder::on) puts a node on a host, and [`NodeOptions::small`] makes one that needs
/// little memory. The threads end when all handles to the host have been dropped and its nodes have closed.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pinecone::{Builder, Host, HostOptions, NodeOptions, pipe};
///
/// let host = Host::new(HostOptions::default())?;
/// let a = Builder::from(NodeOptions::small()).on(&host).start().await?;
/// let b = Builder::from(NodeOptions::small()).on(&host).start().await?;
/// pipe(&a, &b).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Host(Arc<Inner>);

/// The options of a [`Host`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostOptions {
    /// The number of threads that run nodes, from 1 to 256. Default: one for each core that the process may
    /// use, and at most 8.
    pub threads: usize,
    /// The number of threads that relay the streams of peerings that are not plain TCP sockets, for all nodes together,
    /// from 1 to 256. They start when they are needed. Default: 1.
    pub transport_threads: usize,
}

struct Inner {
    runtime: RuntimeThread,
    /// The first of the threads that run nodes, of which there is at least one.
    first: Shard,
    others: Vec<Shard>,
    next_id: AtomicU64,
    /// Signed bodies that nodes of this host have found valid. Each signature is checked once, and not at every hop:
    /// these checks took half of the time in an idle ring of 200 nodes.
    verified: Arc<Mutex<VerifiedBodies>>,
}

impl Default for HostOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism();
        Self {
            threads: cores.map_or(1, |cores| cores.get().min(8)),
            transport_threads: 1,
        }
    }
}

impl Host {
    /// Starts the threads of a host.
    ///
    /// # Errors
    /// [`StartError`] if the number of threads is out of range, or the system is out of threads, descriptors or memory.
    pub fn new(options: HostOptions) -> Result<Self, StartError> {
        let HostOptions {
            threads,
            transport_threads,
        } = options;
        for (option, number) in [
            ("threads", threads),
            ("transport_threads", transport_threads),
        ] {
            if !(1..=MAX_THREADS).contains(&number) {
                return Err(StartError::Option(OptionError {
                    option: option.to_owned(),
                    problem: format!("{number} is not from 1 to {MAX_THREADS}"),
                }));
            }
        }
        let start = |number| {
            Shard::start(number).map_err(|source| StartError::System {
                what: "start the threads of a host".to_owned(),
                source,
            })
        };
        Ok(Self(Arc::new(Inner {
            runtime: RuntimeThread::start(None, transport_threads)?,
            first: start(0)?,
            others: (1..threads).map(start).collect::<Result<_, _>>()?,
            next_id: AtomicU64::new(0),
            verified: Arc::default(),
        })))
    }

    /// Returns the thread that serves the transports of all nodes.
    pub(crate) fn runtime(&self) -> &RuntimeThread {
        &self.0.runtime
    }

    /// Signed bodies that nodes of this host have found valid.
    pub(crate) fn verified(&self) -> Arc<Mutex<VerifiedBodies>> {
        Arc::clone(&self.0.verified)
    }

    /// Reserves a place for a node on the thread that has the fewest nodes.
    pub(crate) fn seat(&self) -> (&Shard, Seat) {
        let Inner { first, others, .. } = &*self.0;
        let shard = others.iter().fold(first, |least, shard| {
            if shard.load() < least.load() {
                shard
            } else {
                least
            }
        });
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        (shard, shard.seat(id))
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({} threads)", 1 + self.0.others.len())
    }
}

/// Checks that a node has no option that requires threads of its own.
pub(crate) fn check(options: &NodeOptions) -> Result<(), OptionError> {
    let dataplane = &options.dataplane;
    let own_threads = [
        ("workers", dataplane.workers != 1),
        ("cores", !dataplane.cores.is_empty()),
        ("engine", dataplane.engine == EngineChoice::Uring),
        ("busy_poll", dataplane.busy_poll.is_some()),
        ("sqpoll", dataplane.sqpoll.is_some()),
        ("zero_copy", dataplane.zero_copy.is_some()),
        ("batch_wait", !dataplane.batch_wait.is_zero()),
        ("verify_threads", options.verify_threads != 0),
        ("transport_threads", options.transport_threads != 1),
        ("control_core", options.control_core.is_some()),
        ("runtime_core", options.runtime_core.is_some()),
    ];
    match own_threads.iter().find(|(_, is_set)| *is_set) {
        None => Ok(()),
        Some((option, _)) => Err(OptionError {
            option: (*option).to_owned(),
            problem: "a node on a host has one worker of the epoll engine and no threads of its own; leave the \
                      option at its default"
                .to_owned(),
        }),
    }
}
