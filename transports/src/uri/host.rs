//! Parsing of hosts and ports.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::error::AddressError;

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Ip(IpAddr),
    /// A name to look up, or a link-local address with its zone.
    Name(String),
}

/// Without brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Splits `host:port`. The host may be missing, and so may the port if there is a default. `address` is the
/// whole URI, for errors.
pub(super) fn split(
    authority: &str,
    default_port: Option<u16>,
    address: &str,
) -> Result<(Option<Host>, u16), AddressError> {
    let brackets = || AddressError::Brackets(address.to_owned());
    let no_port = || AddressError::Port(address.to_owned());
    let has_port = match authority.rfind(']') {
        Some(end) => end + 1 < authority.len(),
        None => authority.contains(':'),
    };
    let (host, port) = match (default_port, has_port) {
        (Some(default), false) if !authority.is_empty() => (authority, Ok(default)),
        _ => {
            let (host, port) = authority.rsplit_once(':').ok_or_else(no_port)?;
            (host, read_port(port).ok_or_else(no_port))
        }
    };
    let host = if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or_else(brackets)?;
        Some(v6(inner).ok_or_else(brackets)?)
    } else if host.contains([':', '[', ']']) {
        return Err(brackets());
    } else if host.is_empty() {
        None
    } else if !host.chars().all(is_of_name) || host.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number is no name: it was meant as a port.
        return Err(AddressError::Host(address.to_owned()));
    } else {
        Some(
            host.parse()
                .map_or_else(|_| Host::Name(host.to_owned()), Host::Ip),
        )
    };
    Ok((host, port?))
}

fn read_port(text: &str) -> Option<u16> {
    // `parse` would accept a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn v6(text: &str) -> Option<Host> {
    match text.split_once('%') {
        None => Some(Host::Ip(IpAddr::V6(text.parse().ok()?))),
        Some((address, zone)) => {
            address.parse::<Ipv6Addr>().ok()?;
            let is_zone = !zone.is_empty() && zone.chars().all(is_of_name);
            is_zone.then(|| Host::Name(text.to_owned()))
        }
    }
}

/// Reports whether a character may be part of a name: all but those that separate the parts of a URI or of a
/// list.
fn is_of_name(c: char) -> bool {
    !(c.is_whitespace() || c.is_control() || "/?#@,&=%\\[]:".contains(c))
}
