//! Limits on connections that are not peerings yet.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Server, by_each_means, closed, key, limits, transports, until};
use pinecone_transports::Limits;
use pinecone_wire::{HANDSHAKE_LEN, handshake};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

#[test]
fn silent_clients_delay_nobody() {
    by_each_means(|means| async move {
        let mut server = Server::start(means, limits());
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(TcpStream::connect(server.address()).await.unwrap());
        }
        until(|| server.transports.counters().accepted == 200).await;
        let dialler = transports(means, &key(2), limits());
        dialler.dial(&server.peer_uri()).await.unwrap();
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
    by_each_means(|means| {
        let (in_all, for_one_address) = (in_all.clone(), for_one_address.clone());
        async move {
            for limits in [in_all, for_one_address] {
                let mut server = Server::start(means, limits.clone());
                let silent = TcpStream::connect(server.address()).await.unwrap();
                let other = TcpStream::connect(server.address()).await.unwrap();
                until(|| server.transports.counters().accepted == 2).await;
                let third = TcpStream::connect(server.address()).await.unwrap();
                assert_eq!(closed(third).await, 0);
                assert_eq!(server.transports.counters().over_cap, 1);
                // One disconnects, which makes room.
                drop(silent);
                until(|| server.transports.counters().closed_early == 1).await;
                let dialler = transports(means, &key(2), limits);
                dialler.dial(&server.peer_uri()).await.unwrap();
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
    by_each_means(|means| {
        let limits = limits.clone();
        async move {
            let mut server = Server::start(means, limits);
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
            // The hosts that hold all places get no more.
            assert_eq!(closed(connect("127.0.0.3:0").await).await, 0);
            // Another host gets one: it replaces the oldest connection of one of them.
            let mut others = Vec::new();
            for n in 4..6 {
                let mut stream = connect(&format!("127.0.0.{n}:0")).await;
                stream.write_all(&handshake::encode(&key(n))).await.unwrap();
                others.push((stream, server.established.recv().await.unwrap()));
            }
            assert_eq!(server.transports.counters().over_cap, 3);
            for stream in silent.drain(..2) {
                let len = closed(stream).await;
                // On a relay thread it may not have begun yet.
                assert!(len == HANDSHAKE_LEN || means.relay_tcp && len == 0, "{len}");
            }
            // The other connections can still finish their handshakes.
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
    by_each_means(|means| {
        let limits = limits.clone();
        async move {
            let mut server = Server::start(means, limits.clone());
            let dialler = transports(means, &key(2), limits);
            let mut waiting = Vec::new();
            for _ in 0..3 {
                let out = dialler.dial(&server.peer_uri()).await.unwrap();
                let inn = server.established.recv().await.unwrap();
                waiting.push((out, inn));
            }
            // All handshakes are done, but no stream is a peering yet.
            let fourth = TcpStream::connect(server.address()).await.unwrap();
            assert_eq!(closed(fourth).await, 0);
            assert_eq!(server.transports.counters().over_cap, 1);
            let (_out, inn) = waiting.pop().unwrap();
            drop(inn.place);
            dialler.dial(&server.peer_uri()).await.unwrap();
            server.established.recv().await.unwrap();
        }
    });
}

#[test]
fn no_more_dials_run_at_a_time_than_allowed() {
    by_each_means(|means| async move {
        let mut server = Server::start(means, limits());
        let limits = Limits {
            max_dials: 1,
            ..limits()
        };
        let dialler = transports(means, &key(2), limits);
        let first = dialler.dial(&server.peer_uri()).await.unwrap();
        server.established.recv().await.unwrap();
        let address = server.peer_uri();
        let mut second = Box::pin(dialler.dial(&address));
        // The first stream has not been taken, so the second dial waits.
        let early = tokio::time::timeout(Duration::from_millis(100), &mut second).await;
        assert!(early.is_err());
        assert_eq!(server.transports.counters().accepted, 1);
        drop(first.place);
        second.await.unwrap();
    });
}
