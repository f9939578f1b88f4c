//! Listening for peers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::address::{Host, split};
use crate::admission::Slot;
use crate::handshake::canonical;
use crate::{Direction, Established, Link, ListenError, Transports};

/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 4096;
/// How long to leave the kernel alone when it cannot give us a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that listens, not yet served. Needs no runtime: bind early, and report early what
/// cannot be bound.
#[derive(Debug)]
pub struct BoundListener {
    socket: Socket,
    address: SocketAddr,
}

impl BoundListener {
    /// Binds and listens on `host:port`, `[IPv6]:port`, or `:port` for all addresses, IPv4 and
    /// IPv6. Port 0 takes a free one. An address given in full listens for its own family only;
    /// of a name's addresses the first IPv4 one is taken, else the first.
    ///
    /// # Errors
    /// The address is malformed, does not resolve, is in use, or is refused by the system.
    pub fn bind(address: &str) -> Result<Self, ListenError> {
        match split(address.trim())? {
            (None, port) => bind_all(port),
            (Some(Host::Ip(ip)), port) => bind_one(SocketAddr::new(ip, port), true),
            (Some(Host::Name(host)), port) => bind_one(resolve(host, port)?, true),
        }
    }

    /// What it listens on, with the port that it was given.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

/// A listener at work. Dropped, it stops accepting, and the handshakes it still runs end.
#[derive(Debug)]
pub struct Listening {
    task: JoinHandle<()>,
    address: SocketAddr,
}

impl Listening {
    /// What it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Transports {
    /// Serves a listener with a task of this runtime: accepts, does handshakes side by side, sends
    /// what comes of them to `established`, and logs and counts the rest. Ends when the receiver
    /// is dropped.
    ///
    /// # Errors
    /// The runtime cannot poll the socket.
    pub fn listen(
        &self,
        listener: BoundListener,
        established: mpsc::Sender<Established>,
    ) -> io::Result<Listening> {
        let BoundListener { socket, address } = listener;
        let socket = TcpListener::from_std(socket.into())?;
        let transports = self.clone();
        let task = tokio::task::spawn_local(async move {
            tokio::select! {
                () = established.closed() => {}
                () = transports.accept_all(&socket, &established) => {}
            }
        });
        Ok(Listening { task, address })
    }

    async fn accept_all(&self, listener: &TcpListener, established: &mpsc::Sender<Established>) {
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
            match Slot::take(&self.shared, remote.ip()) {
                Some(slot) => {
                    let (transports, established) = (self.clone(), established.clone());
                    handshakes.spawn_local(async move {
                        transports.welcome(stream, remote, &established).await;
                        drop(slot);
                    });
                }
                None => {
                    self.shared.counters.over_cap.add();
                    refused(remote, &"too many handshakes are running");
                }
            }
        }
    }

    async fn welcome(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        established: &mpsc::Sender<Established>,
    ) {
        let adopt = async {
            let socket = prepare(stream).or_else(|error| self.count(Err(error.into())))?;
            let (link, direction) = (Link::Remote, Direction::Inbound);
            self.adopt_socket(socket, remote.to_string(), link, direction)
                .await
        };
        match adopt.await {
            // Fails only when the node is closing.
            Ok(peer) => drop(established.send(peer).await),
            Err(error) => refused(remote, &error),
        }
    }

    async fn accept_failed(&self, error: &io::Error) {
        let gone = [Errno::CONNABORTED, Errno::INTR, Errno::PERM, Errno::PROTO];
        if Errno::from_io_error(error).is_some_and(|errno| gone.contains(&errno)) {
            return;
        }
        self.shared.counters.accept_failed.add();
        tracing::warn!(%error, "cannot accept connections");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

fn refused(remote: SocketAddr, reason: &dyn std::fmt::Display) {
    tracing::info!(%remote, %reason, "connection refused");
}

fn prepare(stream: TcpStream) -> io::Result<OwnedFd> {
    stream.set_nodelay(true)?;
    Ok(stream.into_std()?.into())
}

fn resolve(host: String, port: u16) -> Result<SocketAddr, ListenError> {
    let resolved = (host.as_str(), port)
        .to_socket_addrs()
        .map(Iterator::collect::<Vec<_>>)
        .and_then(|addresses| {
            let v4 = addresses.iter().find(|a| a.is_ipv4());
            v4.or(addresses.first())
                .copied()
                .ok_or_else(|| io::Error::other("the name has no address"))
        });
    resolved.map_err(|source| ListenError::Resolve { host, source })
}

fn bind_all(port: u16) -> Result<BoundListener, ListenError> {
    match bind_one(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), false) {
        Err(ListenError::Io { source, .. }) if is_without_ipv6(&source) => bind_one(
            SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
            true,
        ),
        other => other,
    }
}

fn is_without_ipv6(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| {
        [
            Errno::AFNOSUPPORT,
            Errno::ADDRNOTAVAIL,
            Errno::PROTONOSUPPORT,
        ]
        .contains(&errno)
    })
}

fn bind_one(address: SocketAddr, one_family: bool) -> Result<BoundListener, ListenError> {
    let bound = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(one_family)?;
        }
        // Restarting must not wait for the connections of the process before.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?.as_socket();
        Ok(BoundListener {
            address: local.unwrap_or(address),
            socket,
        })
    };
    bound().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address },
        _ => ListenError::Io { address, source },
    })
}
