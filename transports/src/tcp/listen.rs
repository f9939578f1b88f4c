//! Accepting connections from peers.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::admission::{Place, Slot};
use crate::descriptors::{self, Purpose};
use crate::handshake::canonical;
use crate::layers::Role;
use crate::relayed::Shaken;
use crate::{Direction, Established, HandshakeFailed, Link, ListenUri, Scheme, Transports};

use super::bind::BoundListener;

/// Pause after the kernel could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A running listener. Dropping it stops it and ends its handshakes.
#[derive(Debug)]
pub struct Listening {
    task: JoinHandle<()>,
    address: SocketAddr,
    scheme: Scheme,
}

impl Listening {
    /// Returns the address that it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the scheme of its URI.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Transports {
    /// Serves a listener with a task of this runtime.
    ///
    /// Performs handshakes concurrently, sends the streams to `established`, and counts and logs
    /// failures. Ends when the receiver is dropped.
    ///
    /// # Errors
    /// The runtime cannot poll the socket.
    pub fn listen(
        &self,
        listener: BoundListener,
        established: mpsc::Sender<Established>,
    ) -> io::Result<Listening> {
        let (socket, address, uri) = listener.into_parts();
        if let Some(bytes) = self.shared.limits.max_segment {
            // Accepted connections inherit it.
            socket.set_tcp_mss(bytes)?;
        }
        let socket = TcpListener::from_std(socket.into())?;
        let transports = self.clone();
        let scheme = uri.scheme;
        let task = tokio::task::spawn_local(async move {
            tokio::select! {
                () = established.closed() => {}
                () = transports.accept_all(&socket, &uri, &established) => {}
            }
        });
        Ok(Listening {
            task,
            address,
            scheme,
        })
    }

    async fn accept_all(
        &self,
        listener: &TcpListener,
        uri: &Arc<ListenUri>,
        established: &mpsc::Sender<Established>,
    ) {
        let mut handshakes = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                Some(_) = handshakes.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let (stream, remote) = match accepted {
                Ok((stream, remote)) => (stream, canonical(remote)),
                Err(error) => {
                    self.accept_failed(&error).await;
                    continue;
                }
            };
            self.shared.counters.accepted.add();
            if let Err(error) = descriptors::check(&stream, Purpose::Inbound) {
                self.shared.counters.short_of_descriptors.add();
                refused(&remote.into(), &error);
                continue;
            }
            match Slot::take(&self.shared.admission, remote.ip()) {
                Some(slot) => {
                    let (transports, uri) = (self.clone(), Arc::clone(uri));
                    let established = established.clone();
                    handshakes.spawn_local(async move {
                        let welcome = transports.welcome(stream, remote, &uri, slot, &established);
                        welcome.await;
                    });
                }
                None => self.over_cap(&remote.into()),
            }
        }
    }

    async fn welcome(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        uri: &Arc<ListenUri>,
        mut slot: Slot,
        established: &mpsc::Sender<Established>,
    ) {
        let (named, mut client) = oneshot::channel();
        let mut shaking = pin!(self.shake_accepted(stream, remote, uri, named));
        let mut peer = Remote::from(remote);
        let shaken = loop {
            tokio::select! {
                // The address comes before the end of the handshake.
                biased;
                Ok(client) = &mut client, if !client.is_terminated() => {
                    peer.client = Some(client);
                    if !slot.move_to(client) {
                        return self.over_cap(&peer);
                    }
                }
                shaken = &mut shaking => break shaken,
                () = slot.given_away() => return self.over_cap(&peer),
            }
        };
        match shaken {
            Ok(shaken) => {
                let Some(slot) = slot.keep() else {
                    return self.over_cap(&peer);
                };
                let peer = Established {
                    remote: peer.name(uri.scheme),
                    stream: shaken.stream,
                    key: shaken.peer.public_key,
                    extensions: shaken.peer.extensions,
                    scheme: Some(uri.scheme),
                    link: Link::Remote,
                    direction: Direction::Inbound,
                    priority: uri.options.priority,
                    static_peer: None,
                    place: Place::inbound(slot),
                    relay: shaken.relay,
                };
                // Fails only when the node is closing.
                drop(established.send(peer).await);
            }
            Err(error) => {
                if matches!(error, HandshakeFailed::OwnKey) {
                    self.saw_own_key(Direction::Inbound, remote);
                }
                refused(&peer, &error);
            }
        }
    }

    /// Performs the handshake over an accepted connection: here for plain TCP, and on a relay thread for all else. `client`
    /// gets the address of the client, if a trusted reverse proxy names it.
    async fn shake_accepted(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        uri: &Arc<ListenUri>,
        client: oneshot::Sender<IpAddr>,
    ) -> Result<Shaken, HandshakeFailed> {
        let socket = prepare(stream).or_else(|error| self.count(Err(error.into())))?;
        let expected = uri.options.key;
        if !self.is_relayed(uri.scheme) {
            let (stream, peer) = self.shake_socket(socket, expected).await?;
            return Ok(Shaken::direct(stream, peer));
        }
        let listener = Arc::clone(uri);
        let name = Remote::from(remote).name(uri.scheme);
        let role = Role::Listener {
            listener,
            remote,
            client,
        };
        self.shake_relayed(socket, role, expected, name).await
    }

    fn over_cap(&self, remote: &Remote) {
        self.shared.counters.over_cap.add();
        refused(
            remote,
            &"too many connections are handshaking or waiting to become peerings",
        );
    }

    async fn accept_failed(&self, error: &io::Error) {
        let peer_is_gone = [Errno::CONNABORTED, Errno::INTR, Errno::PERM, Errno::PROTO];
        if Errno::from_io_error(error).is_some_and(|errno| peer_is_gone.contains(&errno)) {
            return;
        }
        self.shared.counters.accept_failed.add();
        tracing::warn!(%error, "cannot accept connections");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// The remote end of an accepted connection.
struct Remote {
    address: SocketAddr,
    /// The address behind a trusted reverse proxy, which `address` is then the one of.
    client: Option<IpAddr>,
}

impl Remote {
    /// Returns the address of the peer for display.
    fn name(&self, scheme: Scheme) -> String {
        match scheme {
            Scheme::Tcp => self.to_string(),
            other => format!("{other}://{self}"),
        }
    }
}

impl From<SocketAddr> for Remote {
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            client: None,
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client {
            Some(client) => write!(f, "{client} by way of {}", self.address),
            None => self.address.fmt(f),
        }
    }
}

fn refused(remote: &Remote, reason: &dyn fmt::Display) {
    tracing::info!(%remote, %reason, "connection refused");
}

fn prepare(stream: TcpStream) -> io::Result<OwnedFd> {
    stream.set_nodelay(true)?;
    Ok(stream.into_std()?.into())
}
