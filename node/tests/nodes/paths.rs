//! Broken paths, as noticed by the nodes whose paths they are.

use std::net::SocketAddr;

use pinecone::Node;
use pinecone_wire::frame::push_bootstrap;
use pinecone_wire::{Extensions, Frame, Signature, SignedBody, Watermark};

use crate::harness::{BarePeer, builder, counter, removed, until};

/// A Unix time in milliseconds that no clock is behind.
const SEQUENCE: u64 = 1_700_000_000_000;

/// Returns a node, a root above it, and a peer whose bootstraps are forwarded to the root.
async fn path() -> (Node, BarePeer, BarePeer) {
    let builder = builder(8).listen("127.0.0.1:0").correct_paths(true);
    let node = builder.start().await.unwrap();
    let address: SocketAddr = node.local_addrs()[0];
    let notices = Extensions::BREAK_NOTICES;
    let (mut root, offered) = BarePeer::connect_offering(address, 9, notices);
    assert_eq!(offered, notices);
    root.announce(1);
    let top = root.key.public_key();
    until("the node follows its root", || async {
        (node.status().await.unwrap().root == top).then_some(())
    })
    .await;
    let (mut low, _) = BarePeer::connect_offering(address, 2, notices);
    low.announce(2);
    let body = SignedBody::sign(&low.key, SEQUENCE, top, 1);
    let key = low.key.public_key();
    let mut frame = Vec::new();
    push_bootstrap(&mut frame, (0, 0), &key, &Watermark::START, &body.encode()).unwrap();
    low.send(&frame);
    until("the bootstrap goes on", || async {
        (counter(&node, "bootstraps_forwarded").await == 1).then_some(())
    })
    .await;
    (node, root, low)
}

/// Reads until the notice about the path of `low` arrives.
async fn reads_notice(mut peer: BarePeer, low: [u8; 32]) -> BarePeer {
    let read = move || {
        loop {
            let frame = peer.frame().expect("the node goes on");
            let Ok((
                _,
                Frame::Bootstrap {
                    key,
                    watermark,
                    payload,
                },
            )) = Frame::parse(&frame)
            else {
                continue;
            };
            let (body, _) = SignedBody::decode(payload).unwrap();
            if key.as_bytes() == &low && body.signature == Signature([0; 64]) {
                assert_eq!((watermark.key, watermark.sequence), (key, SEQUENCE));
                assert_eq!(body.sequence, SEQUENCE);
                return peer;
            }
        }
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

/// The loss of the peering with the root is reported to the nodes below.
#[tokio::test]
async fn keys_whose_path_breaks_are_notified() {
    let (node, root, low) = path().await;
    let mut events = node.events();
    let key = *low.key.public_key().as_bytes();
    drop(root);
    removed(&mut events).await;
    reads_notice(low, key).await;
    assert_eq!(counter(&node, "break_notices_sent").await, 1);
}
