//! Parsing of addresses in text form.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::vec;

use crate::AddressError;

/// The default port of a node.
pub const DEFAULT_PORT: u16 = 65432;

/// The address of a peer to dial: `host:port`, `192.0.2.1:port` or `[2001:db8::1]:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddress {
    pub(crate) host: Host,
    pub(crate) port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Ip(IpAddr),
    /// A name to look up, or a link-local address with its zone.
    Name(String),
}

/// Parses a comma-separated list of static peers (protocol section 9). Skips empty and repeated items
/// and keeps the order.
///
/// # Errors
/// Returns the error of the first item that is not an address.
pub fn parse_static_peers(list: &str) -> Result<Vec<PeerAddress>, AddressError> {
    let mut peers = Vec::new();
    for item in list.split(',').map(str::trim).filter(|i| !i.is_empty()) {
        let peer = item.parse()?;
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }
    Ok(peers)
}

impl FromStr for PeerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(AddressError::Unsupported {
                address: text.to_owned(),
                scheme: format!("{scheme}://"),
            });
        }
        let (host, port) = split(text)?;
        let host = host.ok_or_else(|| AddressError::Host(text.to_owned()))?;
        if port == 0 {
            return Err(AddressError::Port(text.to_owned()));
        }
        Ok(Self { host, port })
    }
}

/// Looks up the host. Blocks if it is a name.
impl ToSocketAddrs for PeerAddress {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        match &self.host {
            Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, self.port)].into_iter()),
            Host::Name(name) => (name.as_str(), self.port).to_socket_addrs(),
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(ip) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Splits `host:port`. The host may be missing.
pub(crate) fn split(text: &str) -> Result<(Option<Host>, u16), AddressError> {
    let brackets = || AddressError::Brackets(text.to_owned());
    let (host, port) = text
        .rsplit_once(':')
        .ok_or_else(|| AddressError::Port(text.to_owned()))?;
    let host = if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or_else(brackets)?;
        Some(v6(inner).ok_or_else(brackets)?)
    } else if host.contains([':', '[', ']']) {
        return Err(brackets());
    } else if host.is_empty() {
        None
    } else if host.contains(|c: char| c.is_whitespace() || c == '/') {
        return Err(AddressError::Host(text.to_owned()));
    } else {
        Some(
            host.parse()
                .map_or_else(|_| Host::Name(host.to_owned()), Host::Ip),
        )
    };
    // `parse` would accept a sign.
    let port = Some(port)
        .filter(|p| p.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|p| p.parse().ok())
        .ok_or_else(|| AddressError::Port(text.to_owned()))?;
    Ok((host, port))
}

fn v6(text: &str) -> Option<Host> {
    match text.split_once('%') {
        None => Some(Host::Ip(IpAddr::V6(text.parse().ok()?))),
        Some((address, zone)) => {
            address.parse::<Ipv6Addr>().ok()?;
            (!zone.is_empty()).then(|| Host::Name(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in [
            "example.org:65432",
            "192.0.2.1:1",
            "[2001:db8::1]:65535",
            "[fe80::1%eth0]:9",
        ] {
            assert_eq!(text.parse::<PeerAddress>().unwrap().to_string(), text);
        }
        assert_eq!(
            "[fe80::1%eth0]:9".parse::<PeerAddress>().unwrap().host,
            Host::Name("fe80::1%eth0".into())
        );
    }

    #[test]
    fn malformed_addresses_say_what_to_write() {
        let error = |text: &str| text.parse::<PeerAddress>().unwrap_err();
        for text in [
            "",
            "host",
            "host:",
            "host:+1",
            "host:65536",
            "host:0",
            "host:-1",
        ] {
            assert_eq!(error(text), AddressError::Port(text.into()), "{text:?}");
        }
        for text in [":1", "a b:1", "a/b:1"] {
            assert_eq!(error(text), AddressError::Host(text.into()), "{text:?}");
        }
        for text in ["::1:65432", "[::1:65432", "[name]:1", "[::1%]:1", "::1]:1"] {
            assert_eq!(error(text), AddressError::Brackets(text.into()), "{text:?}");
        }
        for (text, scheme) in [("ws://a:1", "ws://"), ("wss://a/", "wss://")] {
            let e = error(text);
            assert!(e.to_string().contains("not supported yet"), "{e}");
            assert!(e.to_string().contains(scheme), "{e}");
        }
    }

    #[test]
    fn static_peer_lists_keep_order_and_drop_repeats() {
        let list = parse_static_peers(" b:1, a:2 ,,b:1,[::1]:3,").unwrap();
        let list: Vec<_> = list.iter().map(ToString::to_string).collect();
        assert_eq!(list, ["b:1", "a:2", "[::1]:3"]);
        assert_eq!(parse_static_peers("").unwrap(), []);
        assert!(parse_static_peers("a:1,wss://b").is_err());
    }
}
