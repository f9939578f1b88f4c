//! Messages to the control thread.

use std::os::fd::OwnedFd;
use std::task::Waker;

use crossbeam::channel::Sender;
use pinecone_dataplane::{LinkType, PortId};
use pinecone_transports::{Direction, PeerUri, Place, RelayTask, Scheme, StaticPeerId};
use pinecone_wire::{Extensions, PublicKey};
use tokio::sync::oneshot;

use crate::{ConnectError, NodeError, Peer, StaticPeer, Status};

/// A message to the control thread. It discards replies whose receiver is gone.
pub(crate) enum Command {
    /// Makes a peering of a stream. If the receiver of the reply is gone, the stream is closed.
    Connect {
        peering: NewPeering,
        reply: Option<PeeringReply>,
    },
    /// Closes a peering whose [`Unclaimed`] was dropped.
    Abandon {
        port: PortId,
        serial: u64,
    },
    Disconnect {
        port: PortId,
        reply: oneshot::Sender<bool>,
    },
    Peers {
        reply: oneshot::Sender<Vec<Peer>>,
    },
    StaticPeers {
        reply: oneshot::Sender<Vec<StaticPeer>>,
    },
    /// Replies false if the address is that of a static peer already.
    AddStaticPeer {
        address: PeerUri,
        reply: oneshot::Sender<bool>,
    },
    /// Replies true when the peering with the peer is closed, and false if no static peer has the address.
    RemoveStaticPeer {
        address: PeerUri,
        reply: oneshot::Sender<bool>,
    },
    Status {
        reply: oneshot::Sender<Status>,
    },
    /// Closes the node because it cannot go on.
    Fail(NodeError),
    /// The node's transports have ended, with all their tasks.
    TransportsEnded,
    Close,
}

/// Sends commands, and wakes the thread that takes them if that does not wait for the channel.
#[derive(Clone)]
pub(crate) struct CommandSender {
    commands: Sender<Command>,
    waker: Option<Waker>,
}

impl CommandSender {
    pub(crate) const fn new(commands: Sender<Command>, waker: Option<Waker>) -> Self {
        Self { commands, waker }
    }

    /// Sends a command. Returns false if the node is closed.
    pub(crate) fn send(&self, command: Command) -> bool {
        let sent = self.commands.send(command).is_ok();
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
        sent
    }
}

/// The reply to a request for a peering.
pub(crate) type PeeringReply = oneshot::Sender<Result<Unclaimed, ConnectError>>;

/// A stream whose handshake is done.
pub(crate) struct NewPeering {
    pub(crate) stream: OwnedFd,
    pub(crate) key: PublicKey,
    pub(crate) extensions: Extensions,
    pub(crate) link: LinkType,
    pub(crate) remote: String,
    /// The scheme of its URI. None for a stream of the application.
    pub(crate) scheme: Option<Scheme>,
    pub(crate) direction: Direction,
    pub(crate) priority: u8,
    pub(crate) keepalives: bool,
    pub(crate) static_peer: Option<StaticPeerId>,
    /// A place among the streams that wait to become peerings, which bounds their number. Held until the stream is one.
    pub(crate) place: Option<Place>,
    /// The task that relays the stream, if there is one. Dropping it releases the embedder's stream.
    pub(crate) relay: Option<RelayTask>,
}

/// A peering that is up, on its way to the caller who asked for it. Dropping it closes the peering, so that a
/// caller who has stopped waiting leaves none behind.
#[must_use]
pub(crate) struct Unclaimed {
    port: PortId,
    /// Distinguishes the peering from later ones on the same port.
    serial: u64,
    /// The sender to abandon the peering with. None once claimed.
    control: Option<CommandSender>,
}

impl Unclaimed {
    pub(crate) const fn new(port: PortId, serial: u64, control: CommandSender) -> Self {
        let control = Some(control);
        Self {
            port,
            serial,
            control,
        }
    }

    /// Keeps the peering.
    pub(crate) fn claim(mut self) -> PortId {
        self.control = None;
        self.port
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(control) = self.control.take() {
            let (port, serial) = (self.port, self.serial);
            // Fails if the node is closed, and the peering with it.
            control.send(Command::Abandon { port, serial });
        }
    }
}
