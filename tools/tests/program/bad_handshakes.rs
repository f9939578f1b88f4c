//! Handshakes that are wrong, replayed or never finished: each is refused, and no other peer is harmed.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use pinecone_wire::{HANDSHAKE_LEN, handshake};
use socket2::{Domain, Socket, Type};

use crate::daemon::{PATIENCE, Start, key, wait_until};
use crate::raw_peer::{RawPeer, chain, connect, read_handshake, read_to_end};
use crate::watched::Watched;

#[test]
fn wrong_handshakes_are_refused() {
    let start = Start {
        // Deployed nodes have this switch to turn verification off. This node does not.
        environment: &[("PINECONE_DISABLE_SIGNATURES", "1")],
        ..Start::default()
    };
    let watched = Watched::of(start.run());
    let good = handshake::encode(&key(1));
    let changed = |at: usize, byte: u8| {
        let mut bytes = good;
        bytes[at] = byte;
        bytes.to_vec()
    };
    for (bytes, counter, reason) in [
        (
            changed(0, 2),
            "handshakes_refused_version",
            "protocol version 2",
        ),
        (
            changed(7, 0x3f),
            "handshakes_refused_capabilities",
            "0x0000003f",
        ),
        (
            changed(8, good[8] ^ 1),
            "handshakes_refused_signature",
            "does not verify",
        ),
        (
            changed(103, good[103] ^ 1),
            "handshakes_refused_signature",
            "does not verify",
        ),
        (
            changed(1, 1),
            "handshakes_refused_signature",
            "does not verify",
        ),
        (
            good[..103].to_vec(),
            "handshakes_closed_early",
            "103 of 104 bytes",
        ),
        // A browser that connects learns nothing but the public key.
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\n\r\n{:90}", "").into_bytes(),
            "handshakes_refused_version",
            "protocol version 71",
        ),
    ] {
        let before = watched.daemon.counter(counter);
        let mut stream = connect(watched.address());
        stream.write_all(&bytes).unwrap();
        if let Err(e) = stream.shutdown(std::net::Shutdown::Write) {
            // Unread bytes reset the connection when the daemon closes it.
            assert_eq!(e.kind(), ErrorKind::NotConnected);
        }
        let answer = read_to_end(&mut stream);
        assert!(answer.len() <= HANDSHAKE_LEN, "{} bytes", answer.len());
        watched.wait_for_counter(counter, before + 1);
        watched.daemon.wait_for_log(reason);
    }
    assert_eq!(watched.daemon.peer(&key(1).public_key()), None);
    watched.assert_unharmed();
}

#[test]
fn our_own_handshake_sent_back_is_refused() {
    let watched = Watched::start();
    let mut stream = connect(watched.address());
    let own = read_handshake(&mut stream);
    stream.write_all(&own).unwrap();
    read_to_end(&mut stream);
    watched.wait_for_counter("handshakes_refused_own_key", 1);
    watched.daemon.wait_for_log("this node's own key");
    watched.assert_unharmed();
}

#[test]
fn a_replayed_handshake_alone_is_not_believed() {
    let watched = Watched::start();
    // Every node that the owner of the key has ever connected to has these bytes.
    let mut thief = RawPeer::connect(watched.address(), key(1));
    let mut liar = watched.peer(key(2));
    // An announcement signed by another key does not help.
    let mut frame = chain(&[&key(3)], 1);
    liar.send(&frame);
    watched.assert_closed(&mut liar, "last signer of the announcement is not the peer");
    // Nor does a signature that does not verify.
    let mut liar = watched.peer(key(2));
    frame = chain(&[&key(2)], 2);
    *frame.last_mut().unwrap() ^= 1;
    liar.send(&frame);
    watched.assert_closed(&mut liar, "does not verify");
    watched.wait_for_counter("announcements_refused", 2);
    // Without an announcement, the peering ends.
    assert!(thief.idle(Duration::from_secs(45)), "it is let go in time");
    watched.assert_closed(&mut thief, "no announcement within 30 s");
    watched.wait_for_counter("peers_unannounced", 1);
    watched.assert_unharmed();
}

#[test]
fn silent_connections_delay_nobody() {
    let watched = Watched::start();
    let mut silent: Vec<TcpStream> = (0..50).map(|_| connect(watched.address())).collect();
    watched.wait_for_counter("connections_accepted", 51);
    let mut peer = watched.peer(key(1));
    peer.next_announcement();
    // The good handshake was completed while all others were still pending.
    assert_eq!(watched.daemon.counter("handshakes_timed_out"), 0);
    for stream in &mut silent {
        read_to_end(stream);
    }
    watched.wait_for_counter("handshakes_timed_out", 50);
    watched
        .daemon
        .wait_for_log("handshake not finished within 10 s");
    watched.assert_unharmed();
}

#[test]
fn handshakes_are_bounded_for_each_address() {
    let watched = Watched::start();
    let silent: Vec<TcpStream> = (0..600).map(|_| connect(watched.address())).collect();
    watched.wait_for_counter("connections_over_cap", 88);
    watched.daemon.wait_for_log("too many connections");
    // Another address is accepted.
    let mut peer = RawPeer::over(connect_from(2, watched.address()), key(1));
    peer.next_announcement();
    assert_eq!(watched.daemon.counter("handshakes_timed_out"), 0);
    drop(silent);
    watched.assert_unharmed();
}

/// Connections from two silent hosts leave descriptors for a third.
#[test]
fn silent_hosts_leave_descriptors_to_others() {
    let daemon = Start {
        files: Some(256),
        ..Start::default()
    }
    .run();
    let address = daemon.address();
    let from = |host: u8| (0..150).map(move |_| connect_from(host, address));
    let silent: Vec<_> = from(2).chain(from(3)).collect();
    wait_until("the last of them", || {
        match daemon.counter("connections_accepted") {
            300 => Ok(()),
            accepted => Err(accepted),
        }
    });
    let mut peer = RawPeer::over(connect_from(4, address), key(1));
    peer.next_announcement();
    assert_eq!(daemon.counter("connections_short_of_descriptors"), 0);
    drop(silent);
}

/// Connects from this address of the loopback interface.
fn connect_from(host: u8, to: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from = std::net::SocketAddr::from(([127, 0, 0, host], 0));
    socket.bind(&from.into()).unwrap();
    let to: std::net::SocketAddr = to.parse().unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}
