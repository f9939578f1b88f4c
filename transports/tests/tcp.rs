//! Listening and dialling over TCP, with each backend.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::{Ipv4Addr, Ipv6Addr, TcpStream as StdStream};
use std::time::Duration;

use common::{
    Server, bind, by_each_means, closed, key, limits, refused_address, transports, until,
};
use pinecone_testing::{Need, skip};
use pinecone_transports::{DialError, Limits, Listen, ListenError, PeerUri};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

#[test]
fn a_name_is_listened_on_at_all_its_addresses() {
    let found = std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 0)).unwrap();
    let mut expected: Vec<_> = found.map(|a| a.ip()).collect();
    expected.sort();
    expected.dedup();
    expected.retain(|ip| std::net::TcpListener::bind((*ip, 0)).is_ok());
    if expected.len() < 2 {
        skip(Need::Ipv6, "localhost has one address");
    }
    let mut bound: Vec<_> = (bind("localhost:0").unwrap().iter())
        .map(|listener| listener.local_addr().ip())
        .collect();
    bound.sort();
    assert_eq!(bound, expected);
}

#[test]
fn listeners_are_added_and_end_with_the_others() {
    by_each_means(|means| async move {
        let ours = transports(means, &key(1), limits());
        let (sender, mut established) = mpsc::channel(4);
        let first = Listen::now("127.0.0.1:0").unwrap();
        let listeners = ours.keep_listening(vec![first], &sender).unwrap();
        let listen = async |address: &str| ours.listen_on(address.parse().unwrap(), &sender).await;
        let added = listeners.add(listen("localhost:0").await.unwrap());
        assert_eq!(listeners.local_addrs()[1..], added);
        let theirs = transports(means, &key(2), limits());
        for address in listeners.local_addrs() {
            let address = address.to_string().parse().unwrap();
            let _far = theirs.dial(&address).await.unwrap();
            let peer = established.recv().await.unwrap();
            assert_eq!(peer.key, key(2).public_key());
        }

        let taken = listeners.local_addrs()[0];
        let error = listen(&taken.to_string()).await.unwrap_err();
        assert!(matches!(error, ListenError::InUse { address } if address == taken));
        // What is dropped, and not added, ends.
        let unused = refused_address().to_string();
        drop(listen(&unused).await.unwrap());
        while TcpStream::connect(&unused).await.is_ok() {}
        assert_eq!(listeners.local_addrs().len(), 1 + added.len());
        listeners.end();
        for address in listeners.local_addrs() {
            while TcpStream::connect(address).await.is_ok() {}
        }
    });
}

#[test]
fn a_listener_that_is_dropped_ends_its_handshakes() {
    by_each_means(|means| async move {
        let server = Server::start(means, limits());
        let silent = TcpStream::connect(server.address()).await.unwrap();
        until(|| server.transports.counters().accepted == 1).await;
        let address = server.address();
        drop(server.listening);
        closed(silent).await;
        TcpStream::connect(address).await.unwrap_err();
    });
}

#[test]
fn names_and_both_families_are_dialled() {
    by_each_means(|means| async move {
        let ours = transports(means, &key(1), limits());
        // All addresses, including IPv4 peers, which are shown as such.
        let mut server = Server::listen(ours, ":0");
        let port = server.address().port();
        let dialler = transports(means, &key(2), limits());
        let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            assert!(server.address().is_ipv6());
            hosts.push("[::1]".to_owned());
        } else {
            skip(Need::Ipv6, "::1 is not tried");
        }
        for host in hosts {
            let address: PeerUri = format!("{host}:{port}").parse().unwrap();
            let peer = dialler.dial(&address).await.unwrap();
            assert_eq!(peer.key, key(1).public_key(), "{host}");
            assert!(peer.remote.starts_with(&host), "{}", peer.remote);
            let inbound = server.established.recv().await.unwrap();
            if host == "127.0.0.1" {
                assert!(
                    inbound.remote.starts_with("127.0.0.1:"),
                    "{}",
                    inbound.remote
                );
            }
        }
    });
}

#[test]
fn failed_dials_report_the_reason() {
    by_each_means(|means| async move {
        let dialler = transports(means, &key(2), limits());
        let error = dialler.dial(&refused_address()).await.unwrap_err();
        assert!(error.to_string().contains("Connection refused"), "{error}");
        // A label that is too long for any resolver, so the lookup fails without a network.
        let address: PeerUri = format!("{}.invalid:1", "a".repeat(64)).parse().unwrap();
        let error = dialler.dial(&address).await.unwrap_err();
        assert!(matches!(error, DialError::Resolve(_)), "{error}");
        assert!(
            error.to_string().starts_with("host does not resolve"),
            "{error}"
        );
        assert_eq!(dialler.counters().dial_failed, 2);
    });
}

#[test]
fn a_connect_that_takes_too_long_is_given_up() {
    by_each_means(|means| async move {
        // A listener with a full queue drops packets.
        let full =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap().as_socket().unwrap();
        let _queued = StdStream::connect(address).unwrap();
        let dialler = transports(
            means,
            &key(2),
            Limits {
                connect_timeout: Duration::from_millis(200),
                ..limits()
            },
        );
        let error = dialler.dial(&address.to_string().parse().unwrap()).await;
        assert!(matches!(error, Err(DialError::Timeout { .. })), "{error:?}");
    });
}

#[test]
fn a_port_in_use_is_named() {
    let first = bind("127.0.0.1:0").unwrap().remove(0);
    let address = first.local_addr();
    let error = bind(&address.to_string()).unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with(&format!("{address} is in use")),
        "{error}"
    );
    let error = bind("192.0.2.1:0").unwrap_err();
    assert!(error.to_string().contains("192.0.2.1:0"), "{error}");
    for bad in ["", "65432", "127.0.0.1", "[::1", "127.0.0.1:70000"] {
        let error = bind(bad).unwrap_err();
        assert!(matches!(error, ListenError::Address(_)), "{bad:?}: {error}");
    }
}

#[test]
fn a_port_can_be_listened_on_again_at_once() {
    by_each_means(|means| async move {
        let mut server = Server::start(means, limits());
        let dialler = transports(means, &key(2), limits());
        let out = dialler.dial(&server.peer_uri()).await.unwrap();
        // The listening side closes first, so the connection stays in TIME-WAIT on its port.
        drop(server.established.recv().await.unwrap());
        drop(out);
        let address = server.address();
        drop(server.listening);
        until(|| bind(&address.to_string()).is_ok()).await;
    });
}
