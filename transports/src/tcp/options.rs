//! Options of TCP sockets.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use rustix::io::Errno;
use socket2::SockRef;

/// Restricts a socket to a network interface. Returns false if the process lacks the privilege, as before Linux
/// 5.7: bind the socket to one of the [addresses](addresses_of) of the interface then.
pub(super) fn bind_to_interface(socket: &SockRef<'_>, interface: &str) -> io::Result<bool> {
    match socket.bind_device(Some(interface.as_bytes())) {
        Ok(()) => Ok(true),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::PERM) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the addresses of a network interface, with this port. Those of IPv4 and global ones come first.
pub(super) fn addresses_of(interface: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let all = if_addrs::get_if_addrs()?;
    let of_it = all.into_iter().filter(|found| found.name == interface);
    let mut addresses: Vec<_> = of_it
        .map(|found| match (found.ip(), found.index) {
            (IpAddr::V6(ip), Some(index)) if ip.is_unicast_link_local() => {
                SocketAddrV6::new(ip, port, 0, index).into()
            }
            (ip, _) => SocketAddr::new(ip, port),
        })
        .collect();
    if addresses.is_empty() {
        return Err(Errno::NODEV.into());
    }
    addresses.sort_by_key(|address| match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) if address.scope_id() == 0 => 1,
        SocketAddr::V6(_) => 2,
    });
    Ok(addresses)
}

/// Returns the first address of a network interface that has the family of `remote`, with a free port.
pub(super) fn address_towards(interface: &str, remote: SocketAddr) -> io::Result<SocketAddr> {
    let mut addresses = addresses_of(interface, 0)?.into_iter();
    let found = addresses.find(|address| address.is_ipv4() == remote.is_ipv4());
    found.ok_or_else(|| Errno::ADDRNOTAVAIL.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_its_address_and_others_have_none() {
        let all = addresses_of("lo", 7).unwrap();
        assert_eq!(all[0], "127.0.0.1:7".parse().unwrap());
        let towards = address_towards("lo", "127.9.9.9:1".parse().unwrap()).unwrap();
        assert_eq!(towards, "127.0.0.1:0".parse().unwrap());
        let error = addresses_of("no-such-if", 7).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NODEV));
    }
}
