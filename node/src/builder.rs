use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pinecone_wire::SecretKey;
use tokio::sync::oneshot;

use crate::event::Subscribers;
use crate::{
    EngineChoice, Events, Host, Node, NodeOptions, PacketFilter, ReceiveFor, ReceiveQueue,
    StartError, TlsOptions, start,
};

/// Sets the options of a node and starts it.
///
/// A builder is made by [`Node::builder`] with the default options, or from [`NodeOptions`], which
/// have some that no method sets. Each method sets options that no other method sets, so their order
/// does not matter; [`listen`](Self::listen) and [`connect`](Self::connect) add to a list.
///
/// A clone has the same options and none of the [subscriptions](Self::events).
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    options: NodeOptions,
    subscribers: Arc<Subscribers>,
    host: Option<Host>,
}

impl From<NodeOptions> for Builder {
    fn from(options: NodeOptions) -> Self {
        Self {
            options,
            subscribers: Arc::default(),
            host: None,
        }
    }
}

impl Clone for Builder {
    fn clone(&self) -> Self {
        Self {
            host: self.host.clone(),
            ..Self::from(self.options.clone())
        }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        f.debug_struct("Builder").field("options", options).finish()
    }
}

impl Node {
    /// Returns a builder with the default options.
    pub fn builder() -> Builder {
        Builder::from(NodeOptions::default())
    }
}

impl Builder {
    /// Sets the node's key. Default: a [new one](crate::generate_key).
    pub fn secret_key(mut self, key: SecretKey) -> Self {
        self.options.secret_key = Some(key);
        self
    }

    /// Adds an address to listen on: `host:port`, or `:port` for all addresses of the machine. A
    /// name stands for all its addresses. Port 0 takes a free port, which [`Node::local_addrs`]
    /// returns. Default: none.
    ///
    /// A URI names another transport, `tls://`, `ws://` or `wss://` (which needs [`Self::tls`]), or has options, as in
    /// `tcp://:65432?priority=1`: `key=` with the only key
    /// that is accepted, `priority=` of the peerings (see [`connect`](Self::connect)), and `interface=` with the name
    /// of a network interface.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.options.listen.push(address.into());
        self
    }

    /// Sets whether to wait in the background for addresses to listen on that this machine does not
    /// have yet, and for names that do not resolve yet. Default: no, the start fails.
    pub fn listen_retry(mut self, on: bool) -> Self {
        self.options.listen_retry = on;
        self
    }

    /// Adds static peers, which are dialled again whenever they are lost: `host:port`, several
    /// separated by commas (protocol section 9).
    ///
    /// A URI names another transport, `tls://`, `ws://` or `wss://`, or has options, as in
    /// `tcp://host:65432?maxbackoff=30s&priority=1`:
    /// - `key=` with the public key that the peer must have;
    /// - `maxbackoff=` with the longest wait between two dials, such as `30s` or `5m`, in place of
    ///   [`max_backoff`](Self::max_backoff);
    /// - `priority=`, from 0 to 255: of several peerings with the same key, only those with the highest are used, and
    ///   the others are on standby. Default: 0;
    /// - `interface=` with the name of the network interface to dial through.
    pub fn connect(mut self, list: impl Into<String>) -> Self {
        self.options.static_peers.push(list.into());
        self
    }

    /// Sets the number of worker threads, which move frames. Default: 1.
    pub fn workers(mut self, workers: usize) -> Self {
        self.options.dataplane.workers = workers;
        self
    }

    /// Sets the cores to pin the workers to, one for each worker. Default: not pinned.
    pub fn worker_cores(mut self, cores: impl Into<Vec<usize>>) -> Self {
        self.options.dataplane.cores = cores.into();
        self
    }

    /// Sets the core to pin the control thread to. Default: not pinned.
    pub fn control_core(mut self, core: usize) -> Self {
        self.options.control_core = Some(core);
        self
    }

    /// Sets the number of threads that check the signatures of protocol frames, at most 256. Default:
    /// 0, the control thread checks them.
    pub fn verify_threads(mut self, threads: usize) -> Self {
        self.options.verify_threads = threads;
        self
    }

    /// Sets the number of threads that relay the streams of peerings that are not plain TCP sockets, from 1 to 256.
    /// Default: 1.
    pub fn transport_threads(mut self, threads: usize) -> Self {
        self.options.transport_threads = threads;
        self
    }

    /// Sets the files with certificates and keys for TLS. Default: none, which suffices for `tls://` between nodes.
    pub fn tls(mut self, files: TlsOptions) -> Self {
        self.options.tls = files;
        self
    }

    /// Sets the core to pin the runtime thread to, which listens, dials and shakes hands. Default:
    /// not pinned.
    pub fn runtime_core(mut self, core: usize) -> Self {
        self.options.runtime_core = Some(core);
        self
    }

    /// Sets the engine that moves frames. Default: io_uring if it can be set up, else epoll.
    pub fn engine(mut self, engine: EngineChoice) -> Self {
        self.options.dataplane.engine = engine;
        self
    }

    /// Sets the time for which a worker polls for work before it sleeps. This lowers latency and keeps the worker's
    /// core busy. Default: it sleeps at once.
    pub fn busy_poll(mut self, limit: Duration) -> Self {
        self.options.dataplane.busy_poll = Some(limit);
        self
    }

    /// Sets the core of a kernel thread that takes the workers' io_uring requests, so that they need
    /// not enter the kernel. Default: no such thread.
    pub fn sqpoll(mut self, core: usize) -> Self {
        self.options.dataplane.sqpoll = Some(core);
        self
    }

    /// Sets the size in bytes from which a send of queued traffic to a TCP socket is not copied to the
    /// kernel. This pays on real network interfaces only. Default: all sends are copied.
    pub fn zero_copy(mut self, bytes: usize) -> Self {
        self.options.dataplane.zero_copy = Some(bytes);
        self
    }

    /// Sets the time that a worker may wait for several small frames together when many arrive. Default: zero, it does
    /// not wait.
    pub fn batch_wait(mut self, limit: Duration) -> Self {
        self.options.dataplane.batch_wait = limit;
        self
    }

    /// Sets whether the hop limit of forwarded traffic is lowered and enforced. Default: no.
    pub fn hop_limiting(mut self, on: bool) -> Self {
        self.options.dataplane.hop_limiting = on;
        self
    }

    /// Sets whether the node sends wakeup broadcasts of its own. It always forwards those of others.
    /// Default: yes.
    pub fn wakeup_broadcasts(mut self, on: bool) -> Self {
        self.options.control.wakeup_broadcasts = on;
        self
    }

    /// Sets the hop limit of the node's own wakeup broadcasts, from 1 to 5. With 1 they reach the
    /// node's peers only, with 2 also peers' peers that are next to them in the tree, with 5, as in
    /// deployed nodes, the whole neighbourhood. Default: 2. The program `pinecone` sends 1.
    pub fn wakeup_hops(mut self, hops: u8) -> Self {
        self.options.control.wakeup_hops = hops;
        self
    }

    /// Sets whether the node also corrects the old path when a path changes, and tells others of broken paths. This
    /// costs more protocol frames. Only peers that offer this extension get these frames; deployed nodes do not.
    /// Default: yes.
    pub fn correct_paths(mut self, on: bool) -> Self {
        self.options.control.correct_paths = on;
        self
    }

    /// Sets a packet filter, which is called from the first traffic frame on: see [`Node::set_packet_filter`].
    pub fn packet_filter(mut self, filter: Arc<dyn PacketFilter>) -> Self {
        self.options.packet_filter = Some(filter);
        self
    }

    /// Sets the bounds on the payloads that wait for [`Node::recv_from`]: their number, and their
    /// bytes in all. A payload that exceeds one of them is dropped and counted. Default: 4,096 and
    /// 16 MiB. With 0 payloads all are dropped, for a node that only forwards.
    pub fn receive_queue(mut self, payloads: usize, bytes: usize) -> Self {
        self.options.receive_queue = ReceiveQueue { payloads, bytes };
        self
    }

    /// Sets the interval of [`Event::Bandwidth`](crate::Event::Bandwidth), from 10 ms to one year.
    /// Default: one minute.
    pub fn bandwidth_interval(mut self, interval: Duration) -> Self {
        self.options.bandwidth_interval = interval;
        self
    }

    /// Sets the bounds on traffic that waits to be sent: bytes for one peering, bytes for all peerings
    /// together, and the delay that a flow may keep having (`None`: no bound). Default: 4 MiB, an
    /// eighth of the memory but at most 256 MiB ([`MemoryLimit`](crate::MemoryLimit)), and 100 ms.
    pub fn queues(mut self, port: usize, total: usize, delay: Option<Duration>) -> Self {
        self.options.dataplane.port_queue_bytes = port;
        self.options.dataplane.queue_bytes = total;
        self.options.dataplane.queue_delay = delay;
        self
    }

    /// Sets the number of dials that may run at a time, from 1 to 65,536. Default: 64.
    pub fn max_dials(mut self, dials: usize) -> Self {
        self.options.transport_limits.max_dials = dials;
        self
    }

    /// Sets the longest wait until a static peer that cannot be connected is dialled again, from 10 ms
    /// to one year. Default: 5 min.
    pub fn max_backoff(mut self, wait: Duration) -> Self {
        self.options.dial_schedule.longest_wait = wait;
        self
    }

    /// Sets the kind of payloads that the application receives. Default: those for the node's own key.
    pub fn receive_for(mut self, keys: ReceiveFor) -> Self {
        self.options.receive_for = keys;
        self
    }

    /// Subscribes to the events of the node, from its very first one. [`Node::events`] subscribes to a
    /// running node, which may have had events before.
    pub fn events(&self) -> Events {
        self.subscribers.subscribe()
    }

    /// Puts the node on the threads of a host, which it shares with others. Such a node has one worker, with the
    /// epoll engine, and no threads of its own: see [`Host`].
    pub fn on(mut self, host: &Host) -> Self {
        self.host = Some(host.clone());
        self
    }

    /// Starts the node, and returns when it listens.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    ///
    /// # Cancel safety
    /// If the future is dropped, the node is closed as soon as it has started.
    pub async fn start(self) -> Result<Node, StartError> {
        let (reply, started) = oneshot::channel();
        // Starting blocks for some milliseconds, so it runs on a thread of its own, and any executor will do.
        std::thread::Builder::new()
            .name("pinecone-start".to_owned())
            // If the caller has stopped waiting, the channel returns the node, which is then dropped.
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

    /// Starts the node like [`Self::start`], for callers outside async code.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_blocking(self) -> Result<Node, StartError> {
        start::start(self.options, self.subscribers, self.host.as_ref()).map(Node::from)
    }
}
