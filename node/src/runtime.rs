//! The runtime thread: listens, dials, shakes hands, relays; and keeps time for those who have no
//! timer of their own.

use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Sender;
use pinecone_transports::{
    DialSchedule, Established, HandshakeFailed, Limits, Link, Listen, Listeners, PeerAddress,
    RelayTask, Runtime, StaticPeersHandle, Transports,
};
use pinecone_wire::{Extensions, Handshake, SecretKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};

use crate::command::{Command, NewPeering, PeeringReply};
use crate::pin::pin_to;
use crate::{ConnectError, LinkType, StartError, StreamOptions};

/// Handshaken streams that may wait for the control thread.
const ESTABLISHED: usize = 64;

/// Any byte stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// What the rest of the node asks of the runtime thread.
pub(crate) enum Request {
    Dial {
        address: PeerAddress,
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
    /// Tells `over` when the time is over.
    Sleep {
        time: Duration,
        over: oneshot::Sender<()>,
    },
}

/// What the thread starts from.
pub(crate) struct Setup {
    pub(crate) key: SecretKey,
    pub(crate) core: Option<usize>,
    pub(crate) limits: Limits,
    pub(crate) extensions: Extensions,
    pub(crate) listen: Vec<Listen>,
    pub(crate) static_peers: Vec<PeerAddress>,
    pub(crate) dial_schedule: DialSchedule,
    pub(crate) control: Sender<Command>,
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// What the thread hands out once it runs.
pub(crate) struct Ready {
    pub(crate) transports: Transports,
    pub(crate) static_peers: StaticPeersHandle,
    pub(crate) listeners: Listeners,
}

/// The thread. Says to `ready` how its start went.
pub(crate) fn run(setup: Setup, ready: std::sync::mpsc::SyncSender<Result<Ready, StartError>>) {
    let system = |what: &str, source| StartError::System {
        what: what.to_owned(),
        source,
    };
    // Only whoever starts the node listens, and waits until it hears.
    let runtime = match pin_to("runtime", setup.core).and_then(|()| {
        Runtime::detect().map_err(|source| system("start the runtime thread's executor", source))
    }) {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    runtime.block_on(async {
        let transports = Transports::offering(
            runtime.backend(),
            &setup.key,
            setup.limits.clone(),
            setup.extensions,
        );
        let (established, receiver) = mpsc::channel(ESTABLISHED);
        let listeners = match transports.keep_listening(setup.listen, &established) {
            Ok(listeners) => listeners,
            Err(source) => return drop(ready.send(Err(system("listen", source)))),
        };
        let static_peers =
            transports.keep_connected(setup.static_peers, setup.dial_schedule, established);
        let handed_out = Ready {
            transports: transports.clone(),
            static_peers,
            listeners: listeners.clone(),
        };
        if ready.send(Ok(handed_out)).is_err() {
            return;
        }
        let thread = Arc::new(Thread {
            transports,
            control: setup.control,
        });
        serve(&thread, receiver, setup.requests, setup.stop).await;
        listeners.end();
    });
}

async fn serve(
    thread: &Arc<Thread>,
    mut established: mpsc::Receiver<Established>,
    mut requests: mpsc::UnboundedReceiver<Request>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            // Told, or nobody is left who could tell.
            _ = stop.wait_for(|stop| *stop) => return,
            Some(stream) = established.recv() => thread.established(stream, None),
            Some(request) = requests.recv() => {
                let thread = Arc::clone(thread);
                tokio::task::spawn_local(async move { thread.request(request).await });
            }
        }
    }
}

struct Thread {
    transports: Transports,
    control: Sender<Command>,
}

impl Thread {
    async fn request(&self, request: Request) {
        match request {
            Request::Dial { address, mut reply } => {
                let dialled = tokio::select! {
                    dialled = self.transports.dial(&address) => dialled,
                    () = reply.closed() => return,
                };
                match dialled {
                    Ok(stream) => self.established(stream, Some(reply)),
                    Err(source) => {
                        let address = address.to_string();
                        let _ = reply.send(Err(ConnectError::Dial { address, source }));
                    }
                }
            }
            Request::Socket {
                socket,
                options,
                mut reply,
            } => {
                let done = tokio::select! {
                    done = self.transports.handshake_socket(socket) => done,
                    () = reply.closed() => return,
                };
                let done = done.map(|(socket, peer)| (socket, peer, None));
                self.shaken(done, options, reply);
            }
            Request::Relay {
                mut stream,
                options,
                mut reply,
            } => {
                let shaken = tokio::select! {
                    shaken = self.transports.handshake(&mut stream) => shaken,
                    () = reply.closed() => return,
                };
                let done = shaken.and_then(|peer| {
                    let (socket, relay) = RelayTask::spawn(stream, options.remote.clone())?;
                    Ok((socket, peer, Some(relay)))
                });
                self.shaken(done, options, reply);
            }
            Request::Sleep { time, mut over } => {
                tokio::select! {
                    () = tokio::time::sleep(time) => drop(over.send(())),
                    () = over.closed() => {}
                }
            }
        }
    }

    /// A handshake that an embedder asked for is done.
    fn shaken(
        &self,
        done: Result<(OwnedFd, Handshake, Option<RelayTask>), HandshakeFailed>,
        options: StreamOptions,
        reply: PeeringReply,
    ) {
        match done {
            Ok((stream, peer, relay)) => self.hand_over(
                NewPeering {
                    stream,
                    key: peer.public_key,
                    extensions: peer.extensions,
                    link: options.link,
                    remote: options.remote,
                    direction: options.direction,
                    keepalives: options.keepalives,
                    static_peer: None,
                    // Whoever asked for it waits for the reply.
                    place: None,
                    relay,
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
            direction: stream.direction,
            keepalives: true,
            static_peer: stream.static_peer,
            place: Some(stream.place),
            relay: None,
        };
        self.hand_over(peering, reply);
    }

    fn hand_over(&self, peering: NewPeering, reply: Option<PeeringReply>) {
        // Without a control thread the node is closing; who waits learns it from the lost reply.
        let _ = self.control.send(Command::Connect { peering, reply });
    }
}
