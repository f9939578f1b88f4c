//! Dialling a peer.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::address::Host;
use crate::{DialError, Direction, Established, Link, PeerAddress, Transports};

/// How long an address may take before the next one is tried beside it: one that swallows
/// packets must not use up the time of those behind it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

impl Transports {
    /// Connects to `address` over TCP and does the handshake. A name is resolved and its addresses
    /// tried in the resolver's order.
    ///
    /// The connection itself is made by readiness polling on both backends: tokio-uring cannot
    /// take back a connect that is under way.
    ///
    /// # Errors
    /// No connection within the limit, or the handshake failed.
    pub async fn dial(&self, address: &PeerAddress) -> Result<Established, DialError> {
        let shared = &self.shared;
        shared.counters.dialled.add();
        let limit = shared.limits.connect_timeout;
        let connected = timeout(limit, connect(address))
            .await
            .unwrap_or(Err(DialError::Timeout(limit)));
        let (socket, remote) = connected.inspect_err(|_| shared.counters.dial_failed.add())?;
        let remote = match address.host {
            Host::Ip(_) => address.to_string(),
            Host::Name(_) => format!("{address} ({remote})"),
        };
        let (stream, peer) = self.handshake_socket(socket).await?;
        Ok(Established {
            stream,
            key: peer.public_key,
            extensions: peer.extensions,
            remote,
            link: Link::Remote,
            direction: Direction::Outbound,
            static_peer: None,
        })
    }
}

async fn connect(address: &PeerAddress) -> Result<(OwnedFd, SocketAddr), DialError> {
    let mut untried = resolve(address)
        .await
        .map_err(DialError::Resolve)?
        .into_iter()
        .peekable();
    let mut attempts = JoinSet::new();
    let mut last_failure = DialError::Resolve(io::Error::other("the name has no address"));
    loop {
        if let Some(address) = untried.next() {
            attempts.spawn_local(async move { (address, connect_one(address).await) });
        }
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok((remote, Ok(socket)))) => return Ok((socket, remote)),
                Some(Ok((address, Err(source)))) => {
                    last_failure = DialError::Connect { address, source };
                }
                Some(Err(_)) => {}
                None => return Err(last_failure),
            },
            () = sleep(STAGGER), if untried.peek().is_some() => {}
        }
    }
}

async fn connect_one(address: SocketAddr) -> io::Result<OwnedFd> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream.into_std()?.into())
}

/// Resolves on a thread of its own: a resolver cannot be interrupted, and the runtime's own
/// threads would hold up its end.
async fn resolve(address: &PeerAddress) -> io::Result<Vec<SocketAddr>> {
    let port = address.port;
    let name = match &address.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, port)]),
        Host::Name(name) => name.clone(),
    };
    let (answer, answered) = oneshot::channel();
    std::thread::Builder::new()
        .name("resolver".into())
        .spawn(move || {
            let addresses = (name.as_str(), port).to_socket_addrs();
            // Nobody waits any more if it took too long.
            let _ = answer.send(addresses.map(Iterator::collect));
        })?;
    answered
        .await
        .map_err(|_| io::Error::other("the resolver ended"))?
}
