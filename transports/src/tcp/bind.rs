//! Binding sockets to listen on.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::options::{addresses_of, bind_to_interface};
use crate::uri::Host;
use crate::{ListenError, ListenUri, Scheme};

/// Number of connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;

/// A listening socket that is not served yet. Binding needs no runtime, so that errors can be reported
/// early.
#[derive(Debug)]
pub struct BoundListener {
    socket: Socket,
    address: SocketAddr,
    uri: Arc<ListenUri>,
}

impl BoundListener {
    /// Listens on an address or, for a name, on all of its addresses that this machine has. An explicit
    /// address accepts its own family only. Looking up a name blocks.
    ///
    /// # Errors
    /// The name does not resolve, an address is in use, or no address can be bound.
    pub fn bind(uri: &Arc<ListenUri>) -> Result<Vec<Self>, ListenError> {
        let port = uri.port;
        match &uri.host {
            None => Self::bind_all(uri),
            Some(Host::Ip(ip)) => Ok(vec![Self::bind_one(uri, SocketAddr::new(*ip, port))?]),
            Some(Host::Name(host)) => Self::bind_each(uri, resolve(host, port)?),
        }
    }

    /// Returns the address that it listens on, with the actual port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the scheme of its URI.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.uri.scheme
    }

    pub(super) fn into_parts(self) -> (Socket, SocketAddr, Arc<ListenUri>) {
        (self.socket, self.address, self.uri)
    }

    /// Listens on all addresses of the machine, or of the interface that the URI names.
    pub(crate) fn bind_all(uri: &Arc<ListenUri>) -> Result<Vec<Self>, ListenError> {
        let every = |ip: IpAddr| SocketAddr::new(ip, uri.port);
        let bound = match bind(uri, every(Ipv6Addr::UNSPECIFIED.into()), false) {
            Err(ListenError::Io { source, .. }) if is_without_ipv6(&source) => {
                bind(uri, every(Ipv4Addr::UNSPECIFIED.into()), true)
            }
            other => other,
        };
        match (bound?, &uri.options.interface) {
            (Some(listener), _) => Ok(vec![listener]),
            (None, interface) => {
                let interface = interface.as_deref().unwrap_or_default();
                let addresses = addresses_of(interface, uri.port);
                Self::bind_each(uri, addresses.map_err(|e| no_interface(interface, e))?)
            }
        }
    }

    /// Listens on one address, for its own family only.
    pub(crate) fn bind_one(uri: &Arc<ListenUri>, address: SocketAddr) -> Result<Self, ListenError> {
        let bound = bind(uri, address, true)?;
        bound.ok_or_else(|| ListenError::Io {
            address,
            source: Errno::PERM.into(),
        })
    }

    /// Binds all addresses of a name that this machine has. A name may have others, such as the IPv6
    /// address of `localhost` if IPv6 is disabled.
    pub(crate) fn bind_each(
        uri: &Arc<ListenUri>,
        addresses: Vec<SocketAddr>,
    ) -> Result<Vec<Self>, ListenError> {
        let mut bound = Vec::new();
        let mut failure = None;
        for address in addresses {
            match Self::bind_one(uri, address) {
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

/// Binds a socket. Returns `None` if it must be restricted to an interface and the process lacks the privilege, unless
/// the address is one of that interface.
fn bind(
    uri: &Arc<ListenUri>,
    address: SocketAddr,
    one_family: bool,
) -> Result<Option<BoundListener>, ListenError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address },
        _ => ListenError::Io { address, source },
    };
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    );
    let socket = socket.map_err(failed)?;
    if let Some(interface) = &uri.options.interface {
        let of_it = || addresses_of(interface, address.port());
        let is_restricted = bind_to_interface(&SockRef::from(&socket), interface);
        if !is_restricted.map_err(|e| no_interface(interface, e))?
            && !of_it().is_ok_and(|of_it| of_it.contains(&address))
        {
            return Ok(None);
        }
    }
    let bound = || {
        if address.is_ipv6() {
            socket.set_only_v6(one_family)?;
        }
        // A restart must not wait for the connections of the previous process to expire.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        socket.local_addr()
    };
    let local = bound().map_err(failed)?.as_socket();
    Ok(Some(BoundListener {
        address: local.unwrap_or(address),
        socket,
        uri: Arc::clone(uri),
    }))
}

fn no_interface(interface: &str, source: io::Error) -> ListenError {
    ListenError::Interface {
        interface: interface.to_owned(),
        source,
    }
}
