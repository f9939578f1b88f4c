//! The URIs by which peers and listeners are named.
//!
//! `scheme://host:port/path?option=value&option=value`; `host:port` alone is TCP. A comma separates the URIs of
//! a list and is part of none.

mod error;
mod host;
mod options;
mod scheme;
mod split;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;
use std::vec;

use pinecone_wire::PublicKey;

use crate::ListenError;

pub use self::error::AddressError;
pub(crate) use self::host::Host;
pub use self::scheme::Scheme;

use self::options::Options;
use self::split::Parts;

/// The default port of a node.
pub const DEFAULT_PORT: u16 = 65432;

/// The path of a URI that names none.
const ROOT: &str = "/";

/// A peer to dial, such as `example.org:65432` or `wss://example.org/public?key=HEX&maxbackoff=30s`.
///
/// Two URIs are equal if they name the same host in the same spelling and have the same options.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerUri {
    pub(crate) scheme: Scheme,
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// The path that a WebSocket asks for. `/` for other schemes.
    pub(crate) path: String,
    pub(crate) options: Options,
}

/// An address to listen on, such as `:65432` or `ws://127.0.0.1:8080?priority=1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenUri {
    pub(crate) scheme: Scheme,
    /// The host. `None` means all addresses of the machine.
    pub(crate) host: Option<Host>,
    /// The port. 0 takes a free one.
    pub(crate) port: u16,
    pub(crate) options: Options,
}

/// Parses a comma-separated list of static peers (protocol section 9). Skips empty and repeated items
/// and keeps the order.
///
/// # Errors
/// Returns the error of the first item that is not the URI of a peer.
pub fn parse_static_peers(list: &str) -> Result<Vec<PeerUri>, AddressError> {
    let mut peers = Vec::new();
    for item in list.split(',').map(str::trim).filter(|i| !i.is_empty()) {
        let peer = item.parse()?;
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }
    Ok(peers)
}

impl PeerUri {
    /// Returns the scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the key that the peer must have, if the URI names one (`?key=`).
    #[must_use]
    pub fn key(&self) -> Option<PublicKey> {
        self.options.key
    }

    /// Returns the longest wait between two dials of this peer, if the URI names one (`?maxbackoff=`).
    #[must_use]
    pub fn max_backoff(&self) -> Option<Duration> {
        self.options.max_backoff
    }

    /// Returns the priority of the peering (`?priority=`): of several with the same key, the one with the
    /// highest is used. Default: 0.
    #[must_use]
    pub fn priority(&self) -> u8 {
        self.options.priority
    }

    /// Returns the name that TLS asks for and that the certificate must have, if it is another than the host's
    /// (`?sni=`).
    #[must_use]
    pub fn sni(&self) -> Option<&str> {
        self.options.sni.as_deref()
    }

    /// Returns the network interface to dial through, if the URI names one (`?interface=`).
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        self.options.interface.as_deref()
    }

    /// Returns the path that a WebSocket asks for.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the host and, unless it is the default, the port, as the header `Host` of HTTP has them.
    pub(crate) fn authority(&self) -> String {
        let host = match &self.host {
            // Without the zone, which means nothing to the peer.
            Host::Name(name) if name.contains(':') => {
                format!("[{}]", name.split('%').next().unwrap_or(name))
            }
            Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
            host => host.to_string(),
        };
        match self.scheme.default_port() {
            Some(default) if default == self.port => host,
            _ => format!("{host}:{}", self.port),
        }
    }

    /// Returns the URI without its options, for display.
    pub(crate) fn without_options(&self) -> impl fmt::Display + '_ {
        Place {
            scheme: self.scheme,
            host: Some(&self.host),
            port: self.port,
            path: &self.path,
            is_explicit: false,
        }
    }

    fn read(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let parts = Parts::split(text)?;
        let (host, port) = host::split(parts.authority, parts.scheme.default_port(), text)?;
        let host = host.ok_or_else(|| AddressError::Host(text.to_owned()))?;
        if port == 0 {
            return Err(AddressError::Port(text.to_owned()));
        }
        Ok(Self {
            scheme: parts.scheme,
            host,
            port,
            path: match parts.path {
                "" => ROOT.to_owned(),
                ROOT => ROOT.to_owned(),
                path if parts.scheme.has_path() => path.to_owned(),
                _ => {
                    return Err(AddressError::path(
                        text,
                        "only ws:// and wss:// have a path",
                    ));
                }
            },
            options: Options::of_peer(parts.query, parts.scheme, text)?,
        })
    }
}

impl ListenUri {
    /// Returns the scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the key that all peers must have, if the URI names one (`?key=`).
    #[must_use]
    pub fn key(&self) -> Option<PublicKey> {
        self.options.key
    }

    /// Returns the priority of the peerings that this listener accepts (`?priority=`). Default: 0.
    #[must_use]
    pub fn priority(&self) -> u8 {
        self.options.priority
    }

    /// Returns the network interface to listen on, if the URI names one (`?interface=`).
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        self.options.interface.as_deref()
    }

    /// Refuses `wss://` without certificate files: no client accepts the certificate of a node key there.
    pub(crate) fn check_certificate(&self, has_files: bool) -> Result<(), ListenError> {
        match self.scheme {
            Scheme::Wss if !has_files => Err(ListenError::NoCertificate {
                address: self.to_string(),
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn is_name(&self) -> bool {
        matches!(self.host, Some(Host::Name(_)))
    }

    fn read(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let parts = Parts::split(text)?;
        if !matches!(parts.path, "" | ROOT) {
            let problem = match parts.scheme.has_path() {
                true => {
                    "a listener takes its paths from --ws-path: write the address without a path"
                }
                false => "only ws:// and wss:// have a path",
            };
            return Err(AddressError::path(text, problem));
        }
        let (host, port) = host::split(parts.authority, parts.scheme.default_port(), text)?;
        Ok(Self {
            scheme: parts.scheme,
            host,
            port,
            options: Options::of_listener(parts.query, parts.scheme, text)?,
        })
    }
}

impl FromStr for PeerUri {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::read(text)
    }
}

impl FromStr for ListenUri {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::read(text)
    }
}

/// Looks up the host. Blocks if it is a name.
impl ToSocketAddrs for PeerUri {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        match &self.host {
            Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, self.port)].into_iter()),
            Host::Name(name) => (name.as_str(), self.port).to_socket_addrs(),
        }
    }
}

/// Plain TCP without options is displayed as `host:port`.
impl fmt::Display for PeerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = Place {
            scheme: self.scheme,
            host: Some(&self.host),
            port: self.port,
            path: &self.path,
            is_explicit: !self.options.is_empty(),
        };
        write!(f, "{place}{}", self.options)
    }
}

/// Plain TCP without options is displayed as `host:port`.
impl fmt::Display for ListenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = Place {
            scheme: self.scheme,
            host: self.host.as_ref(),
            port: self.port,
            path: ROOT,
            is_explicit: !self.options.is_empty(),
        };
        write!(f, "{place}{}", self.options)
    }
}

/// The part of a URI before its options.
struct Place<'a> {
    scheme: Scheme,
    host: Option<&'a Host>,
    port: u16,
    path: &'a str,
    /// Set if `tcp://` is written out.
    is_explicit: bool,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_explicit || self.scheme != Scheme::Tcp {
            write!(f, "{}://", self.scheme)?;
        }
        match self.host {
            Some(Host::Ip(IpAddr::V6(ip))) => write!(f, "[{ip}]")?,
            Some(Host::Ip(ip)) => write!(f, "{ip}")?,
            Some(Host::Name(name)) if name.contains(':') => write!(f, "[{name}]")?,
            Some(Host::Name(name)) => f.write_str(name)?,
            None => {}
        }
        if self.host.is_none() || self.scheme.default_port() != Some(self.port) {
            write!(f, ":{}", self.port)?;
        }
        if self.path != ROOT {
            f.write_str(self.path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
