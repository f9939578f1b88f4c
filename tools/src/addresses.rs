//! Checks of addresses on the command line.
//!
//! They are checked before anything starts, so that a mistake ends in one line and exit code 2.

use std::net::ToSocketAddrs;
use std::time::Duration;

use pinecone_transports::{AddressError, ListenUri, PeerUri, parse_static_peers};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::failure::Failure;

/// Checks the addresses given with `--listen` and `--listen-ws`. Returns all of them as those of `--listen`.
pub(crate) fn listen(listen: Vec<String>, listen_ws: &[String]) -> Result<Vec<String>, Failure> {
    let web_sockets = listen_ws.iter().map(|address| format!("ws://{address}"));
    let all = listen.into_iter().map(|address| ("--listen", address));
    let all = all.chain(web_sockets.map(|address| ("--listen-ws", address)));
    all.map(|(flag, address)| match address.parse::<ListenUri>() {
        Ok(_) => Ok(address),
        Err(error) => Err(malformed(flag, &error)),
    })
    .collect()
}

/// Parses the lists given with `--connect`.
pub(crate) fn static_peers(lists: &[String]) -> Result<Vec<PeerUri>, Failure> {
    let mut peers = Vec::new();
    for list in lists {
        let parsed = parse_static_peers(list).map_err(|error| malformed("--connect", &error))?;
        if parsed.is_empty() {
            return Err(Failure::usage(format!(
                "--connect: {list:?} contains no address: write host:port"
            )));
        }
        peers.extend(parsed);
    }
    Ok(peers)
}

/// Fails if no name of `peers` resolves, for commands that do not wait for that. Names that have not
/// been looked up within `limit` may resolve later.
pub(crate) async fn check_any_resolves(
    peers: Vec<PeerUri>,
    limit: Duration,
) -> Result<(), Failure> {
    let mut lookups = JoinSet::new();
    for peer in peers {
        lookups.spawn_blocking(move || resolve(&peer, "--connect"));
    }
    let check = async {
        let mut failure = None;
        while let Some(lookup) = lookups.join_next().await {
            match lookup {
                Ok(Err(error)) => failure = Some(error),
                Ok(Ok(())) | Err(_) => return Ok(()),
            }
        }
        failure.map_or(Ok(()), Err)
    };
    timeout(limit, check).await.unwrap_or(Ok(()))
}

/// Fails if the host of an address that was given with `flag` does not resolve. Blocks.
pub(crate) fn resolve(peer: &PeerUri, flag: &str) -> Result<(), Failure> {
    let why = match peer.to_socket_addrs().map(|mut addresses| addresses.next()) {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => "the name has no address".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Failure::runtime(format!(
        "{flag}: {peer} does not resolve ({why}): check the name, and the DNS of this machine"
    )))
}

fn malformed(flag: &str, error: &AddressError) -> Failure {
    Failure::usage(format!("{flag}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_addresses_are_usage_errors() {
        let listen = |s: &str| {
            let checked = super::listen(vec![s.to_owned()], &[]);
            checked.map(drop).map_err(|f| f.code)
        };
        let connect = |s: &str| static_peers(&[s.to_owned()]).map(drop).map_err(|f| f.code);
        for good in ["127.0.0.1:1", "[::1]:65432", "a:1", "tcp://a:1?priority=1"] {
            assert_eq!((listen(good), connect(good)), (Ok(()), Ok(())), "{good}");
        }
        for wrong in [
            "",
            "65432",
            "a",
            "::1:80",
            "1.2.3.4:70000",
            "a:b",
            "http://a:1",
            "a:1?x=1",
            "a:1?key=1",
            "a:1?sni=a",
        ] {
            assert_eq!((listen(wrong), connect(wrong)), (Err(2), Err(2)), "{wrong}");
        }
        assert_eq!((listen(":0"), connect(":1")), (Ok(()), Err(2)));
        assert_eq!(connect("127.0.0.1:1, [::1]:2,"), Ok(()));
        assert_eq!((connect("127.0.0.1:1,x"), connect(" ,")), (Err(2), Err(2)));
        assert_eq!(
            (listen(":1?maxbackoff=1s"), connect("a:1?maxbackoff=1s")),
            (Err(2), Ok(()))
        );
    }

    #[tokio::test]
    async fn one_name_that_resolves_is_enough() {
        // A label that is too long for any resolver.
        let name = format!("{}.invalid:1", "a".repeat(64));
        let check = async |list: &str| {
            let peers = static_peers(&[list.to_owned()]).unwrap();
            check_any_resolves(peers, Duration::from_secs(60)).await
        };
        let failure = check(&name).await.unwrap_err();
        assert_eq!(failure.code, 1);
        assert!(failure.to_string().contains(&name), "{failure}");
        check(&format!("{name},127.0.0.1:1")).await.unwrap();
    }
}
