//! The handshake over real sockets, with each backend.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream as StdStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use common::{DEADLINE, Server, by_each_means, closed, key, limits, transports, until};
use pinecone_transports::{Direction, Limits, Link};
use pinecone_wire::handshake;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

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
    by_each_means(|means| {
        let cases = &vectors.cases;
        async move {
            for case in cases {
                let bytes = hex::decode(&case.hex).unwrap();
                // Only the case with a missing byte may time out.
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
                // The recorded keys are those of the seeds 1 to 16, and this node has another.
                let transports = transports(means, &key(99), limits);
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
                    // The server sends its handshake, then closes the stream.
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
    by_each_means(|means| async move {
        let mut server = Server::start(means, limits());
        let dialler = transports(means, &key(2), limits());
        let out = dialler.dial(&server.peer_uri()).await.unwrap();
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
            if !means.relay_tcp {
                assert!(socket2::SockRef::from(fd).tcp_nodelay().unwrap());
            }
        }
        let (mut out, mut inn) = (StdStream::from(out.stream), StdStream::from(inn.stream));
        let mut got = [0; 4];
        for _ in 0..2 {
            out.write_all(b"pine").unwrap();
            inn.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"pine");
            std::mem::swap(&mut out, &mut inn);
        }
        // No descriptor of the handshake is left open, so the end of the stream is seen.
        drop(out);
        assert_eq!(inn.read(&mut got).unwrap(), 0);
        assert_eq!(server.transports.counters().established, 1);
        assert_eq!(dialler.counters().dialled, 1);
    });
}

#[test]
fn bytes_right_behind_the_handshake_stay_in_the_socket() {
    by_each_means(|means| async move {
        let mut server = Server::start(means, limits());
        let mut client = TcpStream::connect(server.address()).await.unwrap();
        let mut bytes = handshake::encode(&key(2)).to_vec();
        bytes.extend_from_slice(b"pine and more");
        // In three pieces. The second contains the end of the handshake and the next bytes.
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
fn our_own_key_is_refused() {
    by_each_means(|means| async move {
        let mut server = Server::start(means, limits());
        let error = server.transports.dial(&server.peer_uri()).await;
        let error = error.unwrap_err();
        assert!(error.is_own_key(), "{error}");
        until(|| server.transports.counters().refused_own_key == 2).await;
        assert!(server.established.try_recv().is_err());
    });
}

#[test]
fn our_key_at_another_node_is_told_from_ourselves() {
    by_each_means(|means| async move {
        let server = Server::start(means, limits());
        // A connection of the node to itself.
        server
            .transports
            .dial(&server.peer_uri())
            .await
            .unwrap_err();
        until(|| server.transports.counters().refused_own_key == 2).await;
        // Another node with the same key, which dials this one and is dialled by it.
        let other = Server::start(means, limits());
        server.transports.dial(&other.peer_uri()).await.unwrap_err();
        until(|| server.transports.counters().own_key_elsewhere == 1).await;
        until(|| other.transports.counters().own_key_elsewhere == 1).await;
        assert_eq!(server.transports.counters().refused_own_key, 3);
    });
}

#[test]
fn a_runtime_ends_with_handshakes_under_way() {
    by_each_means(|means| async move {
        // In a separate runtime, which is dropped while the client is silent.
        let client = std::thread::spawn(move || {
            let runtime = pinecone_transports::Runtime::new(means.backend).unwrap();
            runtime.block_on(async {
                let server = Server::start(means, limits());
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
