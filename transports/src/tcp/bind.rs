//! Binding sockets to listen on.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::address::{Host, split};
use crate::{AddressError, ListenError};

/// Number of connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;

/// An address to listen on: `host:port`, `[IPv6]:port`, or `:port` for all IPv4 and IPv6 addresses of
/// the machine. Port 0 takes a free port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// The host. `None` means all addresses.
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

/// A listening socket that is not served yet. Binding needs no runtime, so that errors can be reported
/// early.
#[derive(Debug)]
pub struct BoundListener {
    socket: Socket,
    address: SocketAddr,
}

impl BoundListener {
    /// Listens on an address or, for a name, on all of its addresses that this machine has. An explicit
    /// address accepts its own family only. Looking up a name blocks.
    ///
    /// # Errors
    /// The name does not resolve, an address is in use, or no address can be bound.
    pub fn bind(address: &ListenAddress) -> Result<Vec<Self>, ListenError> {
        let port = address.port;
        match &address.host {
            None => Ok(vec![Self::bind_all(port)?]),
            Some(Host::Ip(ip)) => Ok(vec![Self::bind_one(SocketAddr::new(*ip, port))?]),
            Some(Host::Name(host)) => Self::bind_each(resolve(host, port)?),
        }
    }

    /// Returns the address that it listens on, with the actual port.
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

    /// Binds all addresses of a name that this machine has. A name may have others, such as the IPv6
    /// address of `localhost` if IPv6 is disabled.
    pub(crate) fn bind_each(addresses: Vec<SocketAddr>) -> Result<Vec<Self>, ListenError> {
        let mut bound = Vec::new();
        let mut failure = None;
        for address in addresses {
            match Self::bind_one(address) {
                Ok(listener) => bound.push(listener),
                Err(error @ ListenError::InUse { .. }) => return Err(error),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if bound.is_empty() => Err(error),
            Some(error) => {
                tracing::warn!(%error, "an address of a name is skipped");
                Ok(bound)
            }
            None => Ok(bound),
        }
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
        // A restart must not wait for the connections of the previous process to expire.
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
