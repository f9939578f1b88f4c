//! Options of URIs, and connections that a relay thread serves.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use common::{Server, by_each_means, closed, key, limits, transports, until};
use pinecone_transports::{
    Backend, DialError, HandshakeFailed, Listen, ListenError, PeerUri, RelayPool, Runtime, Scheme,
    TransportOptions, Transports,
};
use pinecone_wire::handshake;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

fn with(server: &Server, options: &str) -> PeerUri {
    format!("tcp://{}?{options}", server.address())
        .parse()
        .unwrap()
}

#[test]
fn a_peer_with_another_key_is_refused() {
    by_each_means(|means| async move {
        let server = Server::start(means, limits());
        let ours = transports(means, &key(2), limits());
        let (right, wrong) = (key(1).public_key(), key(7).public_key());
        let error = ours.dial(&with(&server, &format!("key={wrong}"))).await;
        let error = error.unwrap_err();
        let DialError::Handshake {
            source: HandshakeFailed::Key(keys),
            ..
        } = error
        else {
            panic!("{error}")
        };
        assert_eq!((keys.expected, keys.found), (wrong, right));
        let counters = ours.counters();
        assert_eq!((counters.refused_key, counters.established), (1, 0));
        let peer = ours
            .dial(&with(&server, &format!("key={right}")))
            .await
            .unwrap();
        assert_eq!((peer.key, peer.priority), (right, 0));
    });
}

#[test]
fn a_listener_refuses_other_keys_and_sets_the_priority() {
    by_each_means(|means| async move {
        let wanted = key(2).public_key();
        let address = format!("tcp://127.0.0.1:0?key={wanted}&priority=7");
        let mut server = Server::listen(transports(means, &key(1), limits()), &address);
        let stranger = transports(means, &key(3), limits());
        // The stranger has all bytes of the handshake before the listener has read any of its own.
        let dialled = stranger.dial(&server.peer_uri()).await.unwrap();
        until(|| server.transports.counters().refused_key == 1).await;
        let mut stream = UnixStream::from(dialled.stream);
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
        let ours = transports(means, &key(2), limits());
        let dialled = ours.dial(&with(&server, "priority=3")).await.unwrap();
        assert_eq!((dialled.priority, dialled.scheme), (3, Some(Scheme::Tcp)));
        let accepted = server.established.recv().await.unwrap();
        assert_eq!((accepted.key, accepted.priority), (wanted, 7));
    });
}

#[test]
fn connections_use_the_interface() {
    by_each_means(|means| async move {
        let address = "tcp://127.0.0.1:0?interface=lo";
        let server = Server::listen(transports(means, &key(1), limits()), address);
        let ours = transports(means, &key(2), limits());
        ours.dial(&with(&server, "interface=lo")).await.unwrap();
        let error = ours.dial(&with(&server, "interface=no-such-if")).await;
        let error = error.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("the interface no-such-if: No such device"),
            "{error}"
        );
        let (sender, _receiver) = mpsc::channel(1);
        let all: Vec<_> = [":0?interface=lo"]
            .iter()
            .map(|a| Listen::now(a).unwrap())
            .collect();
        let listeners = ours.keep_listening(all, &sender).unwrap();
        assert_eq!(listeners.local_addrs().len(), 1);
        let error = Listen::now(":0?interface=no-such-if").unwrap_err();
        assert!(matches!(error, ListenError::Interface { .. }), "{error}");
        // This one is waited for.
        Listen::when_possible(":0?interface=no-such-if").unwrap();
    });
}

/// Runs a test with relay threads. Ends the threads afterwards.
fn relayed<F: Future>(test: impl Fn(Transports, RelayPool) -> F) {
    let relays = RelayPool::new(2);
    let options = TransportOptions {
        limits: limits(),
        relays: relays.clone(),
        relay_tcp: true,
        ..TransportOptions::default()
    };
    let transports = Transports::with_options(Backend::Tokio, &key(1), options);
    let runtime = Runtime::new(Backend::Tokio).unwrap();
    runtime.block_on(async {
        tokio::time::timeout(common::DEADLINE, test(transports, relays.clone()))
            .await
            .unwrap();
    });
    relays.join();
}

/// Shakes hands with a server by hand.
async fn peer(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(&handshake::encode(&key(2))).await.unwrap();
    stream.read_exact(&mut [0; 104]).await.unwrap();
    stream
}

#[test]
fn a_relayed_connection_lasts_as_long_as_its_task() {
    relayed(|transports, relays| async move {
        let mut server = Server::listen(transports, "127.0.0.1:0");
        let mut far = peer(&server).await;
        let near = server.established.recv().await.unwrap();
        assert_eq!(relays.loads().iter().sum::<usize>(), 1);
        let mut socket = UnixStream::from(near.stream);
        far.write_all(b"down").await.unwrap();
        let mut bytes = [0; 4];
        tokio::task::spawn_blocking(move || {
            socket.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"down");
            socket.write_all(b"up").unwrap();
        })
        .await
        .unwrap();
        far.read_exact(&mut bytes[..2]).await.unwrap();
        assert_eq!(&bytes[..2], b"up");

        let _far = peer(&server).await;
        let near = server.established.recv().await.unwrap();
        drop(near.relay);
        let mut socket = UnixStream::from(near.stream);
        let ended = tokio::task::spawn_blocking(move || socket.read(&mut [0]).unwrap());
        assert_eq!(ended.await.unwrap(), 0);
        // The first one goes on.
        until(|| relays.loads().iter().sum::<usize>() == 1).await;
    });
}

#[test]
fn all_relays_of_a_node_end_with_it() {
    relayed(|transports, relays| async move {
        let mut server = Server::listen(transports, "127.0.0.1:0");
        let (first, second) = (peer(&server).await, peer(&server).await);
        let silent = TcpStream::connect(server.address()).await.unwrap();
        let mut near = Vec::new();
        for _ in 0..2 {
            near.push(server.established.recv().await.unwrap());
        }
        until(|| relays.loads().iter().sum::<usize>() == 3).await;
        server.transports.end_relays().await;
        assert_eq!(relays.loads(), [0, 0]);
        for stream in [first, second, silent] {
            closed(stream).await;
        }
    });
}
