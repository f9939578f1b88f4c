//! The runtime thread: listens, dials and shakes hands, for one node or for several; and runs timers for callers on any
//! executor. With it go the threads that relay streams.

use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use pinecone_transports::tls::WATCH_INTERVAL;
use pinecone_transports::{
    Backend, DialSchedule, Established, HandshakeFailed, Link, Listen, ListenError, ListenUri,
    Listeners, PeerUri, RelayPool, Runtime, StartedListeners, StaticPeersHandle, TransportOptions,
    Transports,
};
use pinecone_wire::SecretKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinSet, LocalSet};

use crate::command::{Command, CommandSender, NewPeering, PeeringReply};
use crate::pin::pin_to;
use crate::{ConnectError, LinkType, NodeError, StartError, StreamOptions};

/// Handshaken streams that may wait for the control thread.
const ESTABLISHED: usize = 64;

/// Any byte stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// A request from a node's handles.
pub(crate) enum Request {
    Dial {
        peer: PeerUri,
        reply: PeeringReply,
    },
    Socket {
        socket: OwnedFd,
        options: StreamOptions,
        reply: PeeringReply,
    },
    Relay {
        stream: Pin<Box<dyn Stream>>,
        options: StreamOptions,
        reply: PeeringReply,
    },
    Listen {
        address: ListenUri,
        reply: oneshot::Sender<Result<StartedListeners, ListenError>>,
    },
    /// Sends to `over` after some time.
    Sleep {
        time: Duration,
        over: oneshot::Sender<()>,
    },
}

/// The thread. It ends when this is dropped and its nodes have closed.
pub(crate) struct RuntimeThread {
    nodes: mpsc::UnboundedSender<Serving>,
    thread: JoinHandle<()>,
    /// The threads that relay streams of the nodes.
    relays: RelayPool,
}

/// The options of a node's transports.
pub(crate) struct Setup {
    pub(crate) key: SecretKey,
    /// All but the relay threads, which are those of the runtime thread.
    pub(crate) options: TransportOptions,
    pub(crate) listen: Vec<Listen>,
    pub(crate) static_peers: Vec<PeerUri>,
    pub(crate) dial_schedule: DialSchedule,
    pub(crate) control: CommandSender,
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
}

/// The transports of one node. They end when this is dropped.
pub(crate) struct NodeTransports {
    pub(crate) transports: Transports,
    pub(crate) static_peers: StaticPeersHandle,
    pub(crate) listeners: Listeners,
    stop: watch::Sender<bool>,
    /// The thread, if it serves this node alone.
    thread: Option<RuntimeThread>,
}

/// A node's transports on their way to the thread.
struct Serving {
    setup: Setup,
    stopped: watch::Receiver<bool>,
    ready: std::sync::mpsc::SyncSender<Result<Ready, StartError>>,
}

struct Ready {
    transports: Transports,
    static_peers: StaticPeersHandle,
    listeners: Listeners,
}

impl NodeTransports {
    /// Tells them to end. [`Command::TransportsEnded`] follows.
    pub(crate) fn stop(&self) {
        // Fails if they have ended already.
        let _ = self.stop.send(true);
    }

    /// Gives them a thread of their own to end with.
    pub(crate) fn with_thread(mut self, thread: RuntimeThread) -> Self {
        self.thread = Some(thread);
        self
    }

    /// Waits for the end of the thread, if it serves this node alone. The transports must have ended.
    pub(crate) fn join(self) {
        if let Some(thread) = self.thread {
            thread.join();
        }
    }
}

impl RuntimeThread {
    /// Starts the thread, pinned to a core if one is given. `relay_threads` threads relay streams, once there are any.
    ///
    /// # Errors
    /// The thread, or its executor, cannot be started or pinned.
    pub(crate) fn start(core: Option<usize>, relay_threads: usize) -> Result<Self, StartError> {
        let (nodes, receiver) = mpsc::unbounded_channel();
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let run = move || {
            let runtime = pin_to("runtime", core).and_then(|()| {
                Runtime::detect()
                    .map_err(|source| system("start the runtime thread's executor", source))
            });
            // The starting thread waits for this.
            match runtime {
                Ok(runtime) => {
                    let _ = ready.send(Ok(()));
                    runtime.block_on(run(receiver, runtime.backend()));
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        };
        let thread = std::thread::Builder::new()
            .name("pinecone-runtime".to_owned())
            .spawn(run)
            .map_err(|source| system("start the runtime thread", source))?;
        let this = Self {
            nodes,
            thread,
            relays: RelayPool::new(relay_threads),
        };
        match started.recv().unwrap_or_else(|_| Err(ended_early())) {
            Ok(()) => Ok(this),
            Err(error) => {
                this.join();
                Err(error)
            }
        }
    }

    /// Waits until the thread has ended. Its nodes must have closed.
    pub(crate) fn join(self) {
        drop(self.nodes);
        if self.thread.join().is_err() {
            tracing::error!("the runtime thread panicked");
        }
        self.relays.join();
    }

    /// Starts a node's transports, and returns when they listen.
    ///
    /// # Errors
    /// The executor cannot poll a listening socket.
    pub(crate) fn serve(&self, mut setup: Setup) -> Result<NodeTransports, StartError> {
        setup.options.relays = self.relays.clone();
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let (stop, stopped) = watch::channel(false);
        let serving = Serving {
            setup,
            stopped,
            ready,
        };
        // If the thread has ended, `started` has lost its sender.
        let _ = self.nodes.send(serving);
        let ready = started.recv().unwrap_or_else(|_| Err(ended_early()))?;
        Ok(NodeTransports {
            transports: ready.transports,
            static_peers: ready.static_peers,
            listeners: ready.listeners,
            stop,
            thread: None,
        })
    }
}

/// Tells a node's control, when dropped, that its transports have ended or panicked.
struct EndNotice(CommandSender);

impl Drop for EndNotice {
    fn drop(&mut self) {
        // Both fail if the node is closed already.
        if std::thread::panicking() {
            let error = NodeError::Panicked { thread: "runtime" };
            self.0.send(Command::Fail(error));
        }
        self.0.send(Command::TransportsEnded);
    }
}

/// Serves nodes until no more can be added and all have closed.
async fn run(mut nodes: mpsc::UnboundedReceiver<Serving>, backend: Backend) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            node = nodes.recv() => match node {
                Some(node) => drop(running.spawn_local(serve_node(node, backend))),
                None => break,
            },
            Some(_) = running.join_next() => {}
        }
    }
    while running.join_next().await.is_some() {}
}

/// Serves one node. All its tasks end with it.
async fn serve_node(node: Serving, backend: Backend) {
    let Serving {
        setup,
        stopped,
        ready,
    } = node;
    // Dropped last, after the tasks.
    let _notice = EndNotice(setup.control.clone());
    let tasks = LocalSet::new();
    let served = tasks.run_until(async {
        if let Some(tls) = setup.options.tls.clone() {
            tokio::task::spawn_local(async move { tls.watch(WATCH_INTERVAL).await });
        }
        let transports = Transports::with_options(backend, &setup.key, setup.options);
        let (established, receiver) = mpsc::channel(ESTABLISHED);
        let listeners = match transports.keep_listening(setup.listen, &established) {
            Ok(listeners) => listeners,
            Err(source) => return drop(ready.send(Err(system("listen", source)))),
        };
        let static_peers =
            transports.keep_connected(setup.static_peers, setup.dial_schedule, established.clone());
        let handed_out = Ready {
            transports: transports.clone(),
            static_peers,
            listeners: listeners.clone(),
        };
        if ready.send(Ok(handed_out)).is_err() {
            return;
        }
        let node = Arc::new(Node {
            transports,
            established,
            control: setup.control,
        });
        serve(&node, receiver, setup.requests, stopped).await;
        listeners.end();
        node.transports.end_relays().await;
    });
    served.await;
}

async fn serve(
    node: &Arc<Node>,
    mut established: mpsc::Receiver<Established>,
    mut requests: mpsc::UnboundedReceiver<Request>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            // The node told its transports to stop, or has been dropped.
            _ = stopped.wait_for(|stopped| *stopped) => return,
            Some(stream) = established.recv() => node.established(stream, None),
            Some(request) = requests.recv() => {
                let node = Arc::clone(node);
                tokio::task::spawn_local(async move { node.request(request).await });
            }
        }
    }
}

struct Node {
    transports: Transports,
    /// For listeners that are added.
    established: mpsc::Sender<Established>,
    control: CommandSender,
}

impl Node {
    async fn request(&self, request: Request) {
        match request {
            Request::Dial { peer, mut reply } => {
                let dialled = tokio::select! {
                    dialled = self.transports.dial(&peer) => dialled,
                    () = reply.closed() => return,
                };
                match dialled {
                    Ok(stream) => self.established(stream, Some(reply)),
                    Err(source) => {
                        let address = peer.to_string();
                        let _ = reply.send(Err(ConnectError::Dial { address, source }));
                    }
                }
            }
            Request::Socket {
                socket,
                options,
                mut reply,
            } => {
                let (remote, direction) = (options.remote.clone(), options.direction);
                let adopt = self
                    .transports
                    .adopt_socket(socket, remote, Link::Remote, direction);
                tokio::select! {
                    adopted = adopt => self.adopted(adopted, options, reply),
                    () = reply.closed() => {}
                }
            }
            Request::Relay {
                stream,
                options,
                mut reply,
            } => {
                let (remote, direction) = (options.remote.clone(), options.direction);
                let adopt = self
                    .transports
                    .adopt_stream(stream, remote, Link::Remote, direction);
                tokio::select! {
                    adopted = adopt => self.adopted(adopted, options, reply),
                    () = reply.closed() => {}
                }
            }
            Request::Listen { address, mut reply } => {
                tokio::select! {
                    // If nobody waits for them any more, they end with the reply.
                    started = self.transports.listen_on(address, &self.established) => {
                        drop(reply.send(started));
                    }
                    () = reply.closed() => {}
                }
            }
            Request::Sleep { time, mut over } => {
                tokio::select! {
                    () = tokio::time::sleep(time) => drop(over.send(())),
                    () = over.closed() => {}
                }
            }
        }
    }

    /// Hands over the result of a handshake that the application asked for.
    fn adopted(
        &self,
        adopted: Result<Established, HandshakeFailed>,
        options: StreamOptions,
        reply: PeeringReply,
    ) {
        match adopted {
            Ok(stream) => self.hand_over(
                NewPeering {
                    stream: stream.stream,
                    key: stream.key,
                    extensions: stream.extensions,
                    link: options.link,
                    remote: options.remote,
                    scheme: None,
                    direction: options.direction,
                    priority: options.priority,
                    keepalives: options.keepalives,
                    static_peer: None,
                    // The caller that asked for it waits for the reply, which limits the number of such streams.
                    place: None,
                    relay: stream.relay,
                },
                Some(reply),
            ),
            Err(error) => drop(reply.send(Err(error.into()))),
        }
    }

    fn established(&self, stream: Established, reply: Option<PeeringReply>) {
        let link = match stream.link {
            Link::Pipe => LinkType::Pipe,
            Link::Remote => LinkType::Remote,
        };
        let peering = NewPeering {
            stream: stream.stream,
            key: stream.key,
            extensions: stream.extensions,
            link,
            remote: stream.remote,
            scheme: stream.scheme,
            direction: stream.direction,
            priority: stream.priority,
            keepalives: true,
            static_peer: stream.static_peer,
            place: Some(stream.place),
            relay: stream.relay,
        };
        self.hand_over(peering, reply);
    }

    fn hand_over(&self, peering: NewPeering, reply: Option<PeeringReply>) {
        // If the node is closed, the caller sees that the reply's sender is dropped.
        self.control.send(Command::Connect { peering, reply });
    }
}

fn system(what: &str, source: std::io::Error) -> StartError {
    StartError::System {
        what: what.to_owned(),
        source,
    }
}

fn ended_early() -> StartError {
    system(
        "start the runtime thread",
        std::io::Error::other("it ended at once"),
    )
}
