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

use crate::address::Host;
use crate::admission::Place;
use crate::descriptors::{self, Purpose};
use crate::{DialError, Direction, Established, HandshakeFailed, Link, PeerAddress, Transports};

/// Delay before the next address is tried in parallel, so that an address that drops packets does not
/// use up the time of the others (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Number of addresses of a name that are connected to in parallel.
const AT_ONCE: usize = 4;
/// Number of addresses of a name that are tried.
const MOST_ADDRESSES: usize = 16;

impl Transports {
    /// Connects to `address` over TCP and performs the handshake. The addresses of a name are tried in
    /// the resolver's order until a handshake succeeds.
    ///
    /// Both backends connect with readiness polling, as tokio-uring cannot cancel a connect.
    ///
    /// # Errors
    /// The name does not resolve, or no address could be connected and handshaken with.
    pub async fn dial(&self, address: &PeerAddress) -> Result<Established, DialError> {
        let addresses = self.resolve(address).await?;
        let permit = self.dial_permit().await;
        let limit = self.shared.limits.connect_timeout;
        self.dial_any(address, addresses, limit, permit).await
    }

    /// Looks up the addresses of a peer.
    pub(crate) async fn resolve(&self, peer: &PeerAddress) -> Result<Vec<SocketAddr>, DialError> {
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
        peer: &PeerAddress,
        addresses: Vec<SocketAddr>,
        limit: Duration,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Established, DialError> {
        let counters = &self.shared.counters;
        let max_segment = self.shared.limits.max_segment;
        counters.dialled.add();
        let mut untried: VecDeque<_> = addresses.into_iter().take(MOST_ADDRESSES).collect();
        let mut failure = None;
        while !untried.is_empty() {
            let Some((socket, remote)) =
                connect_first(&mut untried, limit, max_segment, &mut failure).await
            else {
                break;
            };
            match self.handshake_socket(socket).await {
                Ok((stream, shaken)) => {
                    return Ok(Established {
                        stream,
                        key: shaken.public_key,
                        extensions: shaken.extensions,
                        remote: match peer.host {
                            Host::Ip(_) => peer.to_string(),
                            Host::Name(_) => format!("{peer} ({remote})"),
                        },
                        link: Link::Remote,
                        direction: Direction::Outbound,
                        static_peer: None,
                        place: permit.map_or(Place::unlimited(), Place::dial),
                    });
                }
                Err(source) => {
                    if matches!(source, HandshakeFailed::OwnKey) {
                        self.saw_own_key(Direction::Outbound, remote);
                    }
                    let error = DialError::Handshake {
                        address: remote,
                        source,
                    };
                    failure = Some(more_useful(failure, error));
                }
            }
        }
        counters.dial_failed.add();
        Err(failure
            .unwrap_or_else(|| DialError::Resolve(io::Error::other("the name has no address"))))
    }
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
    limit: Duration,
    max_segment: Option<u32>,
    failure: &mut Option<DialError>,
) -> Option<(OwnedFd, SocketAddr)> {
    let mut attempts = JoinSet::new();
    let mut under_way = Vec::new();
    loop {
        if attempts.len() < AT_ONCE
            && let Some(address) = untried.pop_front()
        {
            under_way.push(address);
            attempts
                .spawn_local(async move { (address, connect(address, limit, max_segment).await) });
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

async fn connect(
    address: SocketAddr,
    limit: Duration,
    max_segment: Option<u32>,
) -> Result<OwnedFd, DialError> {
    match timeout(limit, connect_socket(address, max_segment)).await {
        Ok(connected) => connected.map_err(|source| DialError::Connect { address, source }),
        Err(_) => Err(DialError::Timeout { address, limit }),
    }
}

async fn connect_socket(address: SocketAddr, max_segment: Option<u32>) -> io::Result<OwnedFd> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    descriptors::check(&socket, Purpose::Dial)?;
    socket.set_nodelay(true)?;
    if let Some(bytes) = max_segment {
        // The TCP handshake announces it to the other side.
        SockRef::from(&socket).set_tcp_mss(bytes)?;
    }
    let stream: TcpStream = socket.connect(address).await?;
    Ok(stream.into_std()?.into())
}

#[cfg(test)]
mod tests;
