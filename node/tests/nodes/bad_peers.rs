//! Misbehaving peers, with real bytes on real sockets. In each test, a good peering of the same node is not affected.

use std::io::Write;
use std::time::Duration;

use pinecone::{Builder, Limits, Node, NodeOptions, PublicKey, pipe};
use pinecone_wire::frame::{push_bootstrap, push_broadcast};
use pinecone_wire::traffic::push_traffic;
use pinecone_wire::{Coordinates, SignedBody, TrafficFields, Watermark, handshake};

use crate::harness::{BarePeer, counter, key, node, peer, reaches, removed, until};

/// A node that listens, and a good peer of it.
async fn node_and_friend() -> (Node, std::net::SocketAddr, Node) {
    let options = NodeOptions {
        secret_key: Some(key(15)),
        listen: vec!["127.0.0.1:0".to_owned()],
        transport_limits: Limits {
            handshake_timeout: Duration::from_secs(2),
            ..Limits::default()
        },
        ..NodeOptions::default()
    };
    let node_under_test = Builder::from(options).start().await.unwrap();
    let address = node_under_test.local_addrs()[0];
    let friend = node(8).await;
    pipe(&node_under_test, &friend).await.unwrap();
    reaches(&friend, &node_under_test).await;
    (node_under_test, address, friend)
}

async fn unharmed(node: &Node, friend: &Node) {
    let key = node.public_key();
    let reply = friend.ping(&key, 100, Duration::from_secs(20)).await;
    reply.unwrap();
    assert!(peer(node, friend.public_key()).await.is_some());
}

/// Waits for a counter, which may lag behind the visible effect.
async fn counts(node: &Node, name: &str, value: u64) {
    let what = format!("{name} reaches {value}");
    until(&what, || async {
        (counter(node, name).await >= value).then_some(())
    })
    .await;
    assert_eq!(counter(node, name).await, value, "{name}");
}

/// Bytes that a handshaken peer must not send, with the reason that is reported.
fn offences() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let own = key(2).public_key();
    let mut too_long_payload = Vec::new();
    push_traffic(&mut too_long_payload, &fields(own, own, b"0123456789")).unwrap();
    too_long_payload[11] = 200;
    let mut left_over = too_long_payload.clone();
    left_over[11] = 1;
    let mut varint = b"pine\0\x02\0\0\0\0".to_vec();
    varint.extend_from_slice(&[0, 0]);
    varint.extend_from_slice(&[1; 64]);
    // A number of more than ten bytes.
    varint.extend_from_slice(&[0x80; 12]);
    varint[9] = varint.len() as u8;
    vec![
        ("magic", b"pint\0\0\0\0\0\x0a".to_vec(), "bad magic"),
        ("length 0", b"pine\0\0\0\0\0\0".to_vec(), "below"),
        ("length 9", b"pine\0\x03\0\0\0\x09".to_vec(), "below"),
        ("payload over the frame's end", too_long_payload, "fit"),
        ("bytes left over", left_over, "left over"),
        (
            "empty announcement",
            b"pine\0\x01\0\0\0\x0c\0\0".to_vec(),
            "malformed",
        ),
        (
            "cut announcement",
            b"pine\0\x01\0\0\0\x0c\0\x09".to_vec(),
            "fit",
        ),
        ("over-long number", varint, "number"),
    ]
}

fn fields<'a>(to: PublicKey, from: PublicKey, payload: &'a [u8]) -> TrafficFields<'a> {
    static NOWHERE: std::sync::LazyLock<Coordinates> = std::sync::LazyLock::new(Default::default);
    TrafficFields {
        extra: 0,
        hop_limit: 10,
        destination: &NOWHERE,
        source: &NOWHERE,
        destination_key: to,
        source_key: from,
        watermark: Watermark::START,
        payload,
    }
}

#[tokio::test]
async fn malformed_frames_close_their_peering_alone() {
    let (node, address, friend) = node_and_friend().await;
    let mut events = node.events();
    for (what, bytes, reason) in offences() {
        let mut bad = BarePeer::connect(address, 2);
        bad.announce(1);
        bad.frame().expect("the node's announcement");
        bad.send(&bytes);
        let (key, told) = removed(&mut events).await;
        assert_eq!(key, bad.key.public_key(), "{what}");
        assert!(told.to_string().contains(reason), "{what}: {told}");
        bad.closed();
        unharmed(&node, &friend).await;
    }
}

#[tokio::test]
async fn bad_announcements_close_their_peering_alone() {
    let (node, address, friend) = node_and_friend().await;
    let mut events = node.events();
    let mut bad = BarePeer::connect(address, 2);
    // Port 0.
    bad.announce(0);
    assert!(removed(&mut events).await.1.to_string().contains("port 0"));
    bad.closed();
    // A replayed announcement of another node.
    let mut bad = BarePeer::connect(address, 2);
    bad.key = key(3);
    bad.announce(1);
    assert!(
        removed(&mut events)
            .await
            .1
            .to_string()
            .contains("not the peer")
    );
    bad.closed();
    // An invalid signature.
    let mut bad = BarePeer::connect(address, 2);
    let mut frame = Vec::new();
    let own = bad.key.public_key();
    let payload = pinecone_wire::announcement::root_payload(&own, 1);
    let signature = pinecone_wire::announcement::sign(b"something else", &bad.key);
    pinecone_wire::announcement::push_frame(&mut frame, &payload, 1, &own, &signature).unwrap();
    bad.send(&frame);
    assert!(
        removed(&mut events)
            .await
            .1
            .to_string()
            .contains("does not verify")
    );
    bad.closed();
    unharmed(&node, &friend).await;
    counts(&node, "announcements_refused", 3).await;
}

#[tokio::test]
async fn bad_handshakes_disturb_nobody() {
    let (node, address, friend) = node_and_friend().await;
    // A hundred silent connections are opened before all others.
    let silent: Vec<_> = (0..100).map(|_| BarePeer::silent(address, 2)).collect();
    let mut good = BarePeer::connect(address, 3);
    good.announce(1);
    until("a good peer gets in beside them", || async {
        peer(&node, good.key.public_key()).await
    })
    .await;
    let right = handshake::encode(&key(2));
    let refused = [
        ("handshakes_refused_version", 0),
        ("handshakes_refused_capabilities", 7),
        ("handshakes_refused_signature", 103),
    ];
    for (name, at) in refused {
        let before = counter(&node, name).await;
        let mut wrong = right;
        wrong[at] ^= 1;
        let mut bad = BarePeer::silent(address, 2);
        bad.send(&wrong);
        bad.closed();
        counts(&node, name, before + 1).await;
    }
    // The node's own handshake, sent back.
    let mut mirror = BarePeer::silent(address, 2);
    mirror.send(&handshake::encode(&key(15)));
    mirror.closed();
    counts(&node, "handshakes_refused_own_key", 1).await;
    // Garbage, and an incomplete handshake.
    let mut garbage = BarePeer::silent(address, 2);
    garbage.send(b"GET / HTTP/1.1\r\nHost: pinecone.example.org\r\nAccept: */*\r\nConnection: close\r\nUser-Agent: somebody/1.0\r\n\r\n");
    garbage.closed();
    let mut short = BarePeer::silent(address, 2);
    short.send(&right[..103]);
    short.stream.shutdown(std::net::Shutdown::Write).unwrap();
    short.closed();
    counts(&node, "handshakes_closed_early", 1).await;
    silent.into_iter().for_each(BarePeer::closed);
    counts(&node, "handshakes_timed_out", 100).await;
    unharmed(&node, &friend).await;
}

#[tokio::test]
async fn unknown_types_and_trailing_bytes_are_no_offence() {
    let (node, address, _friend) = node_and_friend().await;
    let mut peer_of_bytes = BarePeer::connect(address, 2);
    peer_of_bytes.announce(1);
    peer_of_bytes.send(b"pine\0\x63\0\0\0\x0dabc");
    peer_of_bytes.send(b"pine\0\0\0\0\0\x0exxxx");
    // Later frames are still parsed, however they are split.
    let own = peer_of_bytes.key.public_key();
    let mut frame = Vec::new();
    push_traffic(&mut frame, &fields(node.public_key(), own, b"still here")).unwrap();
    for byte in frame {
        peer_of_bytes.stream.write_all(&[byte]).unwrap();
    }
    let (received, source) = node.recv_from().await.unwrap();
    assert_eq!((source, &received[..]), (own, &b"still here"[..]));
    assert!(peer(&node, own).await.is_some());
}

#[tokio::test]
async fn badly_signed_bodies_are_dropped() {
    let (node, address, friend) = node_and_friend().await;
    let mut bad = BarePeer::connect(address, 2);
    bad.announce(1);
    let status = node.status().await.unwrap();
    let somebody = key(4).public_key();
    let body = |signer, sequence| {
        SignedBody::sign(&key(signer), sequence, status.root, status.root_sequence).encode()
    };
    let mut frames = Vec::new();
    let start = Watermark::START;
    push_bootstrap(&mut frames, (0, 0), &somebody, &start, &body(5, 1)).unwrap();
    push_broadcast(&mut frames, (0, 5), &somebody, &body(5, 1)).unwrap();
    bad.send(&frames);
    counts(&node, "bootstraps_bad_signature", 1).await;
    counts(&node, "broadcasts_bad_signature", 1).await;
    assert!(peer(&node, bad.key.public_key()).await.is_some());
    unharmed(&node, &friend).await;
}

#[tokio::test]
async fn a_silent_peer_and_one_that_vanishes_mid_frame() {
    let (node, address, friend) = node_and_friend().await;
    let mut events = node.events();
    let mut vanishing = BarePeer::connect(address, 2);
    vanishing.announce(1);
    vanishing.send(b"pine\0\x03\0\0\x40\0half of a frame");
    drop(vanishing);
    assert_eq!(removed(&mut events).await.0, key(2).public_key());
    let silent = BarePeer::connect(address, 3);
    let (gone, reason) = removed(&mut events).await;
    assert_eq!(gone, silent.key.public_key());
    assert!(reason.to_string().contains("silent for 5 s"), "{reason}");
    silent.closed();
    unharmed(&node, &friend).await;
}
