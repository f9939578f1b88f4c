//! Dialling a peer.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::admission::Place;
use crate::descriptors::{self, Purpose};
use crate::layers::Role;
use crate::relayed::Shaken;
use crate::uri::Host;
use crate::{DialError, Direction, Established, HandshakeFailed, Link, PeerUri, Transports};

use super::options::{address_towards, bind_to_interface};

/// Delay before the next address is tried in parallel, so that an address that drops packets does not
/// use up the time of the others (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Number of addresses of a name that are connected to in parallel.
const AT_ONCE: usize = 4;
/// Number of addresses of a name that are tried.
const MOST_ADDRESSES: usize = 16;

impl Transports {
    /// Connects to a peer, adds the layers of its scheme, and performs the handshake. The addresses of a name are tried in
    /// the resolver's order until a handshake succeeds.
    ///
    /// Both backends connect with readiness polling, as tokio-uring cannot cancel a connect.
    ///
    /// # Errors
    /// The name does not resolve, or no address could be connected and handshaken with.
    pub async fn dial(&self, peer: &PeerUri) -> Result<Established, DialError> {
        let addresses = self.resolve(peer).await?;
        let permit = self.dial_permit().await;
        let limit = self.shared.limits.connect_timeout;
        self.dial_any(peer, addresses, limit, permit).await
    }

    /// Looks up the addresses of a peer.
    pub(crate) async fn resolve(&self, peer: &PeerUri) -> Result<Vec<SocketAddr>, DialError> {
        let shared = &self.shared;
        let limit = shared.limits.lookup_timeout;
        let found = shared.resolver.resolve(&peer.host, peer.port, limit).await;
        found.inspect_err(|_| {
            shared.counters.dialled.add();
            shared.counters.dial_failed.add();
        })
    }

    /// Waits for a permit to dial.
    pub(crate) async fn dial_permit(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.shared.dials).acquire_owned().await.ok()
    }

    /// Dials the addresses of `peer` until a handshake succeeds. `limit` is the time to connect to each.
    pub(crate) async fn dial_any(
        &self,
        peer: &PeerUri,
        addresses: Vec<SocketAddr>,
        limit: Duration,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Established, DialError> {
        let counters = &self.shared.counters;
        counters.dialled.add();
        let peer = Arc::new(peer.clone());
        let how = How {
            limit,
            max_segment: self.shared.limits.max_segment,
            interface: peer.options.interface.clone(),
        };
        let how = Arc::new(how);
        let mut untried: VecDeque<_> = addresses.into_iter().take(MOST_ADDRESSES).collect();
        let mut failure = None;
        while !untried.is_empty() {
            let Some((socket, address)) = connect_first(&mut untried, &how, &mut failure).await
            else {
                break;
            };
            let name = peer.without_options();
            let remote = match peer.host {
                Host::Ip(_) => name.to_string(),
                Host::Name(_) => format!("{name} ({address})"),
            };
            match self.shake_dialled(socket, &peer, &remote).await {
                Ok(shaken) => {
                    return Ok(Established {
                        stream: shaken.stream,
                        key: shaken.peer.public_key,
                        extensions: shaken.peer.extensions,
                        remote,
                        scheme: Some(peer.scheme),
                        link: Link::Remote,
                        direction: Direction::Outbound,
                        priority: peer.options.priority,
                        static_peer: None,
                        place: permit.map_or(Place::unlimited(), Place::dial),
                        relay: shaken.relay,
                    });
                }
                Err(source) => {
                    if matches!(source, HandshakeFailed::OwnKey) {
                        self.saw_own_key(Direction::Outbound, address);
                    }
                    let error = DialError::Handshake { address, source };
                    failure = Some(more_useful(failure, error));
                }
            }
        }
        counters.dial_failed.add();
        Err(failure
            .unwrap_or_else(|| DialError::Resolve(io::Error::other("the name has no address"))))
    }

    /// Performs the handshake over a connected socket: here for plain TCP, and on a relay thread for all else.
    async fn shake_dialled(
        &self,
        socket: OwnedFd,
        peer: &Arc<PeerUri>,
        remote: &str,
    ) -> Result<Shaken, HandshakeFailed> {
        let expected = peer.options.key;
        if !self.is_relayed(peer.scheme) {
            let (stream, peer) = self.shake_socket(socket, expected).await?;
            return Ok(Shaken::direct(stream, peer));
        }
        let peer = Arc::clone(peer);
        let role = Role::Dialler { peer };
        self.shake_relayed(socket, role, expected, remote.to_owned())
            .await
    }
}

/// The way to connect.
#[derive(Debug)]
struct How {
    /// The time for each address.
    limit: Duration,
    max_segment: Option<u32>,
    interface: Option<String>,
}

/// Returns the later of two failures, unless it is only that one address is this node itself.
fn more_useful(before: Option<DialError>, error: DialError) -> DialError {
    match before {
        Some(before) if error.is_own_key() => before,
        _ => error,
    }
}

/// Connects to the first address that answers. Addresses that have not failed by then stay untried.
async fn connect_first(
    untried: &mut VecDeque<SocketAddr>,
    how: &Arc<How>,
    failure: &mut Option<DialError>,
) -> Option<(OwnedFd, SocketAddr)> {
    let mut attempts = JoinSet::new();
    let mut under_way = Vec::new();
    loop {
        if attempts.len() < AT_ONCE
            && let Some(address) = untried.pop_front()
        {
            under_way.push(address);
            let how = Arc::clone(how);
            attempts.spawn_local(async move { (address, connect(address, &how).await) });
        }
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok((address, ended))) => {
                    under_way.retain(|other| *other != address);
                    match ended {
                        Ok(socket) => {
                            under_way.into_iter().rev().for_each(|a| untried.push_front(a));
                            return Some((socket, address));
                        }
                        Err(error) => *failure = Some(error),
                    }
                }
                Some(Err(_)) => {}
                None => return None,
            },
            () = sleep(STAGGER), if !untried.is_empty() && attempts.len() < AT_ONCE => {}
        }
    }
}

async fn connect(address: SocketAddr, how: &How) -> Result<OwnedFd, DialError> {
    let limit = how.limit;
    match timeout(limit, connect_socket(address, how)).await {
        Ok(connected) => connected,
        Err(_) => Err(DialError::Timeout { address, limit }),
    }
}

async fn connect_socket(address: SocketAddr, how: &How) -> Result<OwnedFd, DialError> {
    let failed = |source| DialError::Connect { address, source };
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(failed)?;
    prepare(&socket, how.max_segment).map_err(failed)?;
    if let Some(interface) = &how.interface {
        use_interface(&socket, interface, address).map_err(|source| DialError::Interface {
            interface: interface.clone(),
            source,
        })?;
    }
    let stream: TcpStream = socket.connect(address).await.map_err(failed)?;
    Ok(stream.into_std().map_err(failed)?.into())
}

fn prepare(socket: &TcpSocket, max_segment: Option<u32>) -> io::Result<()> {
    descriptors::check(socket, Purpose::Dial)?;
    socket.set_nodelay(true)?;
    if let Some(bytes) = max_segment {
        // The TCP handshake announces it to the other side.
        SockRef::from(socket).set_tcp_mss(bytes)?;
    }
    Ok(())
}

fn use_interface(socket: &TcpSocket, interface: &str, remote: SocketAddr) -> io::Result<()> {
    if !bind_to_interface(&SockRef::from(socket), interface)? {
        socket.bind(address_towards(interface, remote)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
