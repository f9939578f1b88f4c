//! Binding the sockets to listen on.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::address::{Host, split};
use crate::{AddressError, ListenError};

/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 4096;

/// Where to listen: `host:port`, `[IPv6]:port`, or `:port` for all addresses of the machine, IPv4
/// and IPv6. Port 0 takes a free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// None: all addresses.
    pub(crate) host: Option<Host>,
    pub(crate) port: u16,
    text: String,
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let (host, port) = split(text)?;
        Ok(Self {
            host,
            port,
            text: text.to_owned(),
        })
    }
}

impl ListenAddress {
    pub(crate) fn is_name(&self) -> bool {
        matches!(self.host, Some(Host::Name(_)))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A socket that listens, not yet served. Needs no runtime: bind early, and report early what
/// cannot be bound.
#[derive(Debug)]
pub struct BoundListener {
    socket: Socket,
    address: SocketAddr,
}

impl BoundListener {
    /// Binds and listens on an address, in a name's case on all of its addresses that this machine
    /// has. An address given in full listens for its own family only. Looking up a name blocks.
    ///
    /// # Errors
    /// The name does not resolve; an address is in use; no address can be had.
    pub fn bind(address: &ListenAddress) -> Result<Vec<Self>, ListenError> {
        let port = address.port;
        match &address.host {
            None => Ok(vec![Self::bind_all(port)?]),
            Some(Host::Ip(ip)) => Ok(vec![Self::bind_one(SocketAddr::new(*ip, port))?]),
            Some(Host::Name(host)) => bind_each(resolve(host, port)?),
        }
    }

    /// What it listens on, with the port that it was given.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn into_parts(self) -> (Socket, SocketAddr) {
        (self.socket, self.address)
    }

    /// Listens on all addresses of the machine.
    pub(crate) fn bind_all(port: u16) -> Result<Self, ListenError> {
        match bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), false) {
            Err(ListenError::Io { source, .. }) if is_without_ipv6(&source) => bind(
                SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
                true,
            ),
            other => other,
        }
    }

    /// Listens on one address, for its own family only.
    pub(crate) fn bind_one(address: SocketAddr) -> Result<Self, ListenError> {
        bind(address, true)
    }
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ListenError> {
    let failed = |source| ListenError::Resolve {
        host: host.to_owned(),
        source,
    };
    let mut addresses: Vec<_> = (host, port).to_socket_addrs().map_err(failed)?.collect();
    if addresses.is_empty() {
        return Err(failed(io::Error::other("the name has no address")));
    }
    let mut seen = Vec::new();
    addresses.retain(|address| {
        let new = !seen.contains(address);
        seen.push(*address);
        new
    });
    Ok(addresses)
}

/// A name may have addresses that this machine lacks, as `localhost` where IPv6 is switched off.
fn bind_each(addresses: Vec<SocketAddr>) -> Result<Vec<BoundListener>, ListenError> {
    let mut bound = Vec::new();
    let mut failure = None;
    for address in addresses {
        match BoundListener::bind_one(address) {
            Ok(listener) => bound.push(listener),
            Err(error @ ListenError::InUse { .. }) => return Err(error),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if bound.is_empty() => Err(error),
        Some(error) => {
            tracing::warn!(%error, "one address of a name is left out");
            Ok(bound)
        }
        None => Ok(bound),
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

fn bind(address: SocketAddr, one_family: bool) -> Result<BoundListener, ListenError> {
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
