//! Looks at addresses before the node does, so that a mistake ends in one line and the right code.

use std::net::ToSocketAddrs;

use crate::failure::Failure;

/// Checks how the addresses to listen on are written: `host:port`, or `:port` for all addresses.
pub(crate) fn check_listen(addresses: &[String]) -> Result<(), Failure> {
    for address in addresses {
        split(address, "--listen")?;
    }
    Ok(())
}

/// Checks how lists of static peers are written.
pub(crate) fn check_syntax(lists: &[String]) -> Result<(), Failure> {
    entries(lists).try_for_each(|entry| split_peer(entry, "--connect").map(drop))
}

/// Checks lists of static peers, and that their names resolve now: for commands that end if not.
pub(crate) fn check_static_peers(lists: &[String]) -> Result<(), Failure> {
    entries(lists).try_for_each(|entry| check_peer(entry, "--connect"))
}

/// Checks an address to connect to, as it was given to `flag`, and that its name resolves now.
pub(crate) fn check_peer(address: &str, flag: &str) -> Result<(), Failure> {
    let (host, port) = split_peer(address, flag)?;
    resolve(host, port, flag)
}

fn entries(lists: &[String]) -> impl Iterator<Item = &str> {
    let entries = lists.iter().flat_map(|list| list.split(','));
    entries.map(str::trim).filter(|entry| !entry.is_empty())
}

fn split_peer<'a>(address: &'a str, flag: &str) -> Result<(&'a str, u16), Failure> {
    if let Some((scheme, _)) = address.split_once("://") {
        return Err(Failure::usage(format!(
            "{flag}: {address:?}: {scheme}:// is not supported yet: write host:port for plain TCP"
        )));
    }
    let (host, port) = split(address, flag)?;
    if host.is_empty() || port == 0 {
        return Err(malformed(address, flag));
    }
    Ok((host, port))
}

fn split<'a>(address: &'a str, flag: &str) -> Result<(&'a str, u16), Failure> {
    let (host, port) = address
        .rsplit_once(':')
        .filter(|(host, _)| !host.contains(':') || (host.starts_with('[') && host.ends_with(']')))
        .ok_or_else(|| malformed(address, flag))?;
    if port.parse::<u64>().is_ok_and(|port| port > 65_535) {
        return Err(Failure::usage(format!(
            "{flag}: {address:?}: ports go up to 65535"
        )));
    }
    let port = port.parse().map_err(|_| malformed(address, flag))?;
    Ok((host, port))
}

fn malformed(address: &str, flag: &str) -> Failure {
    Failure::usage(format!(
        "{flag}: {address:?} is no address: write host:port, an IPv6 address as [::1]:65432"
    ))
}

fn resolve(host: &str, port: u16, flag: &str) -> Result<(), Failure> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = (bare, port).to_socket_addrs().map(|mut all| all.next());
    match found {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Failure::runtime(format!(
            "{flag}: the host {host} has no address: check the name"
        ))),
        Err(e) => Err(Failure::runtime(format!(
            "{flag}: the host {host} does not resolve ({e}): check the name and this machine's DNS"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_that_are_to_come_are_named() {
        let failure = check_static_peers(&["wss://a.example/".to_owned()]).unwrap_err();
        assert_eq!(failure.code, 2);
        assert!(failure.to_string().contains("wss:// is not supported yet"));
    }

    #[test]
    fn a_running_node_asks_for_no_name_at_its_start() {
        // A label that is too long for any resolver.
        let name = format!("{}.invalid:1", "a".repeat(64));
        assert!(check_syntax(std::slice::from_ref(&name)).is_ok());
        assert!(check_listen(std::slice::from_ref(&name)).is_ok());
        assert_eq!(check_static_peers(&[name]).unwrap_err().code, 1);
        for wrong in ["a", "a:0", ":1", "ws://a:1", "::1:80", "a:1,b"] {
            assert_eq!(
                check_syntax(&[wrong.to_owned()]).unwrap_err().code,
                2,
                "{wrong}"
            );
        }
    }

    #[test]
    fn addresses_are_told_apart() {
        let listen = |s: &str| check_listen(&[s.to_owned()]).map_err(|f| f.code);
        let connect = |s: &str| check_static_peers(&[s.to_owned()]).map_err(|f| f.code);
        for good in ["127.0.0.1:1", "[::1]:65432", "localhost:80"] {
            assert_eq!((listen(good), connect(good)), (Ok(()), Ok(())), "{good}");
        }
        for wrong in [
            "65432",
            "localhost",
            "::1",
            "::1:80",
            "1.2.3.4:70000",
            "a:b",
            "a:-1",
        ] {
            assert_eq!((listen(wrong), connect(wrong)), (Err(2), Err(2)), "{wrong}");
        }
        assert_eq!(
            (listen(":0"), connect(":1"), connect("a:0")),
            (Ok(()), Err(2), Err(2))
        );
        assert_eq!(connect("127.0.0.1:1, [::1]:2,"), Ok(()));
        assert_eq!(connect("127.0.0.1:1,x"), Err(2));
    }
}
