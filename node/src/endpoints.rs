//! Listening on further addresses, and changing the static peers, of a running node.

use std::net::SocketAddr;

use tokio::sync::oneshot;

use crate::command::Command;
use crate::runtime::Request;
use crate::{AddListenerError, ListenError, Node, StaticPeerError};

impl Node {
    /// Listens on a further address until the node closes. Returns the new addresses of
    /// [`Self::local_addrs`]: one, or for a name all that it has on this machine.
    ///
    /// The address is written like those of [`Builder::listen`](crate::Builder::listen), and port 0 takes a
    /// free port. [`Builder::listen_retry`](crate::Builder::listen_retry) does not apply: the address must
    /// exist now.
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt: the node does not listen on the address.
    ///
    /// # Errors
    /// [`AddListenerError`] if the address is malformed, in use or not one of this machine, the name does
    /// not resolve, or the node is closed.
    pub async fn listen(&self, address: &str) -> Result<Vec<SocketAddr>, AddListenerError> {
        let address = address.parse().map_err(ListenError::from)?;
        let (reply, answer) = oneshot::channel();
        let sent = self.0.runtime.send(Request::Listen { address, reply });
        sent.map_err(|_| self.closed_error())?;
        let started = answer.await.map_err(|_| self.closed_error())??;
        Ok(self.0.listeners.add(started))
    }

    /// Adds a static peer, `host:port` or a URI, which the node dials now and whenever it is lost, like those of
    /// [`Builder::connect`](crate::Builder::connect). Returns before the peer is connected:
    /// [`Self::static_peers`] lists its state.
    ///
    /// # Cancel safety
    /// If the future is dropped after it was polled, the peer is added all the same.
    ///
    /// # Errors
    /// [`StaticPeerError`] if the address is malformed or is that of a static peer already, or the node is
    /// closed.
    pub async fn add_static_peer(&self, address: &str) -> Result<(), StaticPeerError> {
        let parsed = address.parse()?;
        let command = |reply| Command::AddStaticPeer {
            address: parsed,
            reply,
        };
        match self.ask(command).await? {
            true => Ok(()),
            false => Err(StaticPeerError::Exists(address.to_owned())),
        }
    }

    /// Removes a static peer: no longer dials it, closes the peering that was dialled for it, and waits until
    /// that is closed. Peerings that the other node has opened, or that [`Self::connect`] has dialled, stay.
    ///
    /// The address must be written as it was given, with all options: names are not looked up.
    ///
    /// # Cancel safety
    /// If the future is dropped after it was polled, the peer is removed all the same.
    ///
    /// # Errors
    /// [`StaticPeerError`] if the address is malformed or no static peer has it, or the node is closed.
    pub async fn remove_static_peer(&self, address: &str) -> Result<(), StaticPeerError> {
        let parsed = address.parse()?;
        let command = |reply| Command::RemoveStaticPeer {
            address: parsed,
            reply,
        };
        match self.ask(command).await? {
            true => Ok(()),
            false => Err(StaticPeerError::NotFound(address.to_owned())),
        }
    }
}
