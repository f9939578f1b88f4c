//! Listening, dialling and the handshake, over real sockets and with each backend.

#![allow(clippy::unwrap_used)]

mod common;

use pinecone_testing::{Need, skip};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream as StdStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use common::{DEADLINE, Server, bind, key, on_each_backend, refused_address, until};
use pinecone_transports::{
    DialError, Direction, Limits, Link, ListenError, PeerAddress, Transports,
};
use pinecone_wire::{HANDSHAKE_LEN, handshake};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

fn limits() -> Limits {
    Limits {
        handshake_timeout: DEADLINE,
        ..Limits::default()
    }
}

/// Reads until the other side closes; a reset is a close.
async fn closed(mut stream: TcpStream) -> usize {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    bytes.len()
}

fn is_blocking(fd: &OwnedFd) -> bool {
    !rustix::fs::fcntl_getfl(fd)
        .unwrap()
        .contains(rustix::fs::OFlags::NONBLOCK)
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    hex: String,
    go: String,
}

#[derive(serde::Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[test]
fn recorded_handshakes_are_taken_and_refused_as_by_go() {
    let vectors: Vectors =
        serde_json::from_str(include_str!("../../wire/vectors/handshake.json")).unwrap();
    assert_eq!(vectors.cases.len(), 12);
    on_each_backend(|backend| {
        let cases = &vectors.cases;
        async move {
            for case in cases {
                let bytes = hex::decode(&case.hex).unwrap();
                // Only the case that waits for a byte that never comes is to run out of time.
                let waits = case.go.starts_with("waits");
                let handshake_timeout = if waits {
                    Duration::from_millis(100)
                } else {
                    DEADLINE
                };
                let limits = Limits {
                    handshake_timeout,
                    ..Limits::default()
                };
                // The recorded keys are those of the seeds 1 to 16: not ours.
                let transports = Transports::new(backend, &key(99), limits);
                let mut server = Server::listen(transports, "127.0.0.1:0");
                let mut client = TcpStream::connect(server.address()).await.unwrap();
                client.write_all(&bytes).await.unwrap();
                let counted = |c: pinecone_transports::TransportCounters| {
                    [
                        c.established,
                        c.refused_version,
                        c.refused_capabilities,
                        c.refused_signature,
                        c.timed_out,
                    ]
                };
                let expected = if case.go.starts_with("accepted") {
                    let peer = server.established.recv().await.unwrap();
                    assert_eq!(peer.key.as_bytes()[..], bytes[8..40], "{}", case.name);
                    [1, 0, 0, 0, 0]
                } else {
                    // We are sent the server's half, then the end.
                    assert_eq!(closed(client).await, 104, "{}", case.name);
                    assert!(server.established.try_recv().is_err(), "{}", case.name);
                    match case.go.as_str() {
                        go if go.contains("version") => [0, 1, 0, 0, 0],
                        go if go.contains("capabilities") => [0, 0, 1, 0, 0],
                        go if go.contains("signature") => [0, 0, 0, 1, 0],
                        _ => {
                            assert!(waits, "{}", case.go);
                            [0, 0, 0, 0, 1]
                        }
                    }
                };
                let counters = server.transports.counters();
                assert_eq!(counted(counters), expected, "{}", case.name);
                assert_eq!(counters.accepted, 1);
            }
        }
    });
}

#[test]
fn both_sides_get_each_other_s_key_and_a_socket_fit_for_workers() {
    on_each_backend(|backend| async move {
        let mut server = Server::start(backend, limits());
        let dialler = Transports::new(backend, &key(2), limits());
        let out = dialler.dial(&server.peer_address()).await.unwrap();
        let inn = server.established.recv().await.unwrap();
        assert_eq!(out.key, key(1).public_key());
        assert_eq!(inn.key, key(2).public_key());
        assert_eq!(
            (out.direction, inn.direction),
            (Direction::Outbound, Direction::Inbound)
        );
        assert_eq!((out.link, inn.link), (Link::Remote, Link::Remote));
        assert_eq!(out.remote, server.address().to_string());
        for fd in [&out.stream, &inn.stream] {
            assert!(is_blocking(fd));
            assert!(socket2::SockRef::from(fd).tcp_nodelay().unwrap());
        }
        let (mut out, mut inn) = (StdStream::from(out.stream), StdStream::from(inn.stream));
        let mut got = [0; 4];
        for _ in 0..2 {
            out.write_all(b"pine").unwrap();
            inn.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"pine");
            std::mem::swap(&mut out, &mut inn);
        }
        // No descriptor of the handshake is left open: the end is seen.
        drop(out);
        assert_eq!(inn.read(&mut got).unwrap(), 0);
        assert_eq!(server.transports.counters().established, 1);
        assert_eq!(dialler.counters().dialled, 1);
    });
}

#[test]
fn bytes_right_behind_the_handshake_stay_in_the_socket() {
    on_each_backend(|backend| async move {
        let mut server = Server::start(backend, limits());
        let mut client = TcpStream::connect(server.address()).await.unwrap();
        let mut bytes = handshake::encode(&key(2)).to_vec();
        bytes.extend_from_slice(b"pine and more");
        // In three pieces, the second with both in it.
        for piece in [&bytes[..50], &bytes[50..108], &bytes[108..]] {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        let peer = server.established.recv().await.unwrap();
        let mut stream = StdStream::from(peer.stream);
        let mut got = [0; 13];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"pine and more");
    });
}

#[test]
fn silent_clients_delay_nobody() {
    on_each_backend(|backend| async move {
        let mut server = Server::start(backend, limits());
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(TcpStream::connect(server.address()).await.unwrap());
        }
        until(|| server.transports.counters().accepted == 200).await;
        let dialler = Transports::new(backend, &key(2), limits());
        dialler.dial(&server.peer_address()).await.unwrap();
        server.established.recv().await.unwrap();
        let counters = server.transports.counters();
        assert_eq!((counters.established, counters.timed_out), (1, 0));
        drop(silent);
        until(|| server.transports.counters().closed_early == 200).await;
    });
}

#[test]
fn connections_above_the_cap_are_closed_at_once_and_counted() {
    let in_all = Limits {
        inbound_handshakes: 2,
        ..limits()
    };
    let for_one_address = Limits {
        inbound_handshakes_per_address: 2,
        ..limits()
    };
    on_each_backend(|backend| {
        let (in_all, for_one_address) = (in_all.clone(), for_one_address.clone());
        async move {
            for limits in [in_all, for_one_address] {
                let mut server = Server::start(backend, limits.clone());
                let silent = TcpStream::connect(server.address()).await.unwrap();
                let other = TcpStream::connect(server.address()).await.unwrap();
                until(|| server.transports.counters().accepted == 2).await;
                let third = TcpStream::connect(server.address()).await.unwrap();
                assert_eq!(closed(third).await, 0);
                assert_eq!(server.transports.counters().over_cap, 1);
                // One gives up: there is room again.
                drop(silent);
                until(|| server.transports.counters().closed_early == 1).await;
                let dialler = Transports::new(backend, &key(2), limits);
                dialler.dial(&server.peer_address()).await.unwrap();
                server.established.recv().await.unwrap();
                drop(other);
            }
        }
    });
}

#[test]
fn silent_hosts_give_way_to_others() {
    let limits = Limits {
        inbound_handshakes: 6,
        inbound_handshakes_per_address: 3,
        ..limits()
    };
    on_each_backend(|backend| {
        let limits = limits.clone();
        async move {
            let mut server = Server::start(backend, limits);
            let address = server.address();
            let connect = async |from: &str| {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(from.parse().unwrap()).unwrap();
                socket.connect(address).await.unwrap()
            };
            let mut silent = Vec::new();
            for _ in 0..3 {
                silent.push(connect("127.0.0.2:0").await);
                silent.push(connect("127.0.0.3:0").await);
            }
            until(|| server.transports.counters().accepted == 6).await;
            // The hosts that hold all places get no more of them,
            assert_eq!(closed(connect("127.0.0.3:0").await).await, 0);
            // others do: the oldest of one host's connections makes room.
            let mut others = Vec::new();
            for n in 4..6 {
                let mut stream = connect(&format!("127.0.0.{n}:0")).await;
                stream.write_all(&handshake::encode(&key(n))).await.unwrap();
                others.push((stream, server.established.recv().await.unwrap()));
            }
            assert_eq!(server.transports.counters().over_cap, 3);
            assert_eq!(closed(silent.remove(0)).await, HANDSHAKE_LEN);
            assert_eq!(closed(silent.remove(0)).await, HANDSHAKE_LEN);
            // Their other connections may still finish their handshakes.
            let (_, peer) = others.pop().unwrap();
            assert_eq!(peer.key, key(5).public_key());
            let mut late = silent.pop().unwrap();
            late.write_all(&handshake::encode(&key(3))).await.unwrap();
            server.established.recv().await.unwrap();
        }
    });
}

#[test]
fn streams_that_nobody_has_taken_count_against_the_cap() {
    let limits = Limits {
        inbound_handshakes: 3,
        ..limits()
    };
    on_each_backend(|backend| {
        let limits = limits.clone();
        async move {
            let mut server = Server::start(backend, limits.clone());
            let dialler = Transports::new(backend, &key(2), limits);
            let mut waiting = Vec::new();
            for _ in 0..3 {
                let out = dialler.dial(&server.peer_address()).await.unwrap();
                let inn = server.established.recv().await.unwrap();
                waiting.push((out, inn));
            }
            // All handshakes are done, and no stream is a peering yet.
            let fourth = TcpStream::connect(server.address()).await.unwrap();
            assert_eq!(closed(fourth).await, 0);
            assert_eq!(server.transports.counters().over_cap, 1);
            let (_out, inn) = waiting.pop().unwrap();
            drop(inn.place);
            dialler.dial(&server.peer_address()).await.unwrap();
            server.established.recv().await.unwrap();
        }
    });
}

#[test]
fn no_more_dials_run_at_a_time_than_allowed() {
    on_each_backend(|backend| async move {
        let mut server = Server::start(backend, limits());
        let limits = Limits {
            max_dials: 1,
            ..limits()
        };
        let dialler = Transports::new(backend, &key(2), limits);
        let first = dialler.dial(&server.peer_address()).await.unwrap();
        server.established.recv().await.unwrap();
        let address = server.peer_address();
        let mut second = Box::pin(dialler.dial(&address));
        // Nobody has taken the first: the second waits.
        let early = tokio::time::timeout(Duration::from_millis(100), &mut second).await;
        assert!(early.is_err());
        assert_eq!(server.transports.counters().accepted, 1);
        drop(first.place);
        second.await.unwrap();
    });
}

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
fn our_key_at_another_node_is_told_from_ourselves() {
    on_each_backend(|backend| async move {
        let server = Server::start(backend, limits());
        // Ourselves: both ends are here.
        server
            .transports
            .dial(&server.peer_address())
            .await
            .unwrap_err();
        until(|| server.transports.counters().refused_own_key == 2).await;
        // Another node with our key, dialled, and dialling us.
        let other = Server::start(backend, limits());
        server
            .transports
            .dial(&other.peer_address())
            .await
            .unwrap_err();
        until(|| server.transports.counters().own_key_elsewhere == 1).await;
        until(|| other.transports.counters().own_key_elsewhere == 1).await;
        assert_eq!(server.transports.counters().refused_own_key, 3);
    });
}

#[test]
fn a_listener_that_is_dropped_ends_its_handshakes() {
    on_each_backend(|backend| async move {
        let server = Server::start(backend, limits());
        let silent = TcpStream::connect(server.address()).await.unwrap();
        until(|| server.transports.counters().accepted == 1).await;
        let address = server.address();
        drop(server.listening);
        closed(silent).await;
        TcpStream::connect(address).await.unwrap_err();
    });
}

#[test]
fn a_runtime_ends_with_handshakes_under_way() {
    on_each_backend(|backend| async move {
        // In a runtime of its own, which is dropped while the client still says nothing.
        let client = std::thread::spawn(move || {
            let runtime = pinecone_transports::Runtime::new(backend).unwrap();
            runtime.block_on(async {
                let server = Server::start(backend, limits());
                let client = StdStream::connect(server.address()).unwrap();
                until(|| server.transports.counters().accepted == 1).await;
                tokio::task::yield_now().await;
                std::mem::forget(server.listening);
                client
            })
        });
        until(|| client.is_finished()).await;
        let mut bytes = Vec::new();
        let _ = client.join().unwrap().read_to_end(&mut bytes);
    });
}

#[test]
fn our_own_key_is_refused() {
    on_each_backend(|backend| async move {
        let mut server = Server::start(backend, limits());
        let error = server.transports.dial(&server.peer_address()).await;
        let error = error.unwrap_err();
        assert!(error.is_own_key(), "{error}");
        until(|| server.transports.counters().refused_own_key == 2).await;
        assert!(server.established.try_recv().is_err());
    });
}

#[test]
fn names_and_both_families_are_dialled() {
    on_each_backend(|backend| async move {
        let transports = Transports::new(backend, &key(1), limits());
        // All addresses: IPv4 peers too, shown as such.
        let mut server = Server::listen(transports, ":0");
        let port = server.address().port();
        let dialler = Transports::new(backend, &key(2), limits());
        let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            assert!(server.address().is_ipv6());
            hosts.push("[::1]".to_owned());
        } else {
            skip(Need::Ipv6, "::1 is not tried");
        }
        for host in hosts {
            let address: PeerAddress = format!("{host}:{port}").parse().unwrap();
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
fn what_cannot_be_dialled_says_why() {
    on_each_backend(|backend| async move {
        let dialler = Transports::new(backend, &key(2), limits());
        let error = dialler.dial(&refused_address()).await.unwrap_err();
        assert!(error.to_string().contains("Connection refused"), "{error}");
        // A label too long for any resolver to ask for: fails without a network.
        let address: PeerAddress = format!("{}.invalid:1", "a".repeat(64)).parse().unwrap();
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
    on_each_backend(|backend| async move {
        // A listener whose queue is full swallows what is sent to it.
        let full =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap().as_socket().unwrap();
        let _queued = StdStream::connect(address).unwrap();
        let dialler = Transports::new(
            backend,
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
    on_each_backend(|backend| async move {
        let mut server = Server::start(backend, limits());
        let dialler = Transports::new(backend, &key(2), limits());
        let out = dialler.dial(&server.peer_address()).await.unwrap();
        // Our side closes first: the connection lingers in TIME-WAIT on our port.
        drop(server.established.recv().await.unwrap());
        drop(out);
        let address = server.address();
        drop(server.listening);
        until(|| bind(&address.to_string()).is_ok()).await;
    });
}
