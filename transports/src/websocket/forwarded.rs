//! The client's address as reverse proxies report it.

use std::net::{IpAddr, SocketAddr};

use tungstenite::http::HeaderMap;
use tungstenite::http::header::FORWARDED;

use super::error::Refusal;
use super::options::TrustedProxies;

/// Returns the address of the client behind the socket's peer. That is the peer unless it is a trusted proxy, else
/// the rightmost address of the header that is not a trusted proxy: addresses to its left come from the client.
pub(super) fn client_address(
    headers: &HeaderMap,
    peer: IpAddr,
    trusted: &TrustedProxies,
) -> Result<IpAddr, Refusal> {
    let peer = peer.to_canonical();
    if !trusted.contains(peer) {
        return Ok(peer);
    }
    let standard = elements(headers, FORWARDED.as_str())?;
    let common = elements(headers, "x-forwarded-for")?;
    let standard = standard.iter().map(|element| forwarded_for(element));
    let common = common.iter().map(|element| address(element));
    let has_standard = standard.len() > 0;
    let has_common = common.len() > 0;
    let by_standard = client_in_chain(standard, peer, trusted);
    let by_common = client_in_chain(common, peer, trusted);
    match (has_standard, has_common) {
        // A proxy that writes one of them may pass on what the client wrote into the other.
        (true, true) if by_standard != by_common => Err(Refusal::Forwarded),
        (true, _) => Ok(by_standard),
        (false, _) => Ok(by_common),
    }
}

/// Goes from the peer to the left through the addresses, until one is not a trusted proxy. Ends at the last known one
/// if an element has no address.
fn client_in_chain(
    chain: impl DoubleEndedIterator<Item = Option<IpAddr>>,
    peer: IpAddr,
    trusted: &TrustedProxies,
) -> IpAddr {
    let mut client = peer;
    for element in chain.rev() {
        match element {
            Some(address) if trusted.contains(client) => client = address,
            _ => break,
        }
    }
    client
}

/// Returns the elements of all headers of this name.
fn elements<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Vec<&'a str>, Refusal> {
    let mut elements = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| Refusal::Header(name))?;
        let mut is_quoted = false;
        elements.extend(text.split(|c| {
            is_quoted ^= c == '"';
            c == ',' && !is_quoted
        }));
    }
    Ok(elements)
}

/// Returns the address in the parameter `for` of an element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_for = name.trim().eq_ignore_ascii_case("for");
        is_for.then(|| address(value.trim().trim_matches('"')))?
    })
}

/// Returns an address, which may have a port, and brackets if it is IPv6.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse()
        .or_else(|_| text.parse().map(|address: SocketAddr| address.ip()))
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}
