//! Backpressure: senders notice that their first hop is full, and can wait for room.

use std::io::Write;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use pinecone::{Node, SendError, pipe};
use pinecone_wire::announcement::{push_frame, root_payload, sign};
use pinecone_wire::frame::{HEADER_LEN, KEEPALIVE};
use pinecone_wire::traffic::push_traffic;
use pinecone_wire::{FrameType, Split, TrafficFields, Watermark, split};

use crate::harness::{
    BarePeer, begin, builder, counter, key, listening, node, payload, peer, until, within,
};

#[tokio::test]
async fn a_sender_waits_for_a_peer_that_reads_nothing() {
    let (node, address) = listening(8).await;
    let mut peer = BarePeer::connect(address, 9);
    peer.announce(1);
    within("joining", node.joined()).await.unwrap();
    let to = peer.key.public_key();
    let mut sent = 0;
    loop {
        match node.send_to(payload(1200, 0), &to) {
            Ok(()) => sent += 1,
            Err(SendError::Full) => {
                // The worker may merely be behind.
                let ready = node.send_ready(&to);
                match tokio::time::timeout(Duration::from_millis(300), ready).await {
                    Ok(ready) => ready.unwrap(),
                    Err(_) => break,
                }
            }
            Err(error) => panic!("{error}"),
        }
        // This is more than any socket buffers.
        assert!(sent < 100_000, "the first hop is never full");
    }
    let received = Arc::new(AtomicU64::new(0));
    let mut ready = pin!(node.send_ready(&to));
    std::thread::spawn({
        let received = Arc::clone(&received);
        move || {
            while let Some(frame) = peer.frame() {
                if let Ok(Split::Frame(header)) = split(&frame)
                    && header.kind == FrameType::Traffic
                {
                    received.fetch_add(1, Relaxed);
                }
            }
        }
    });
    within("room", ready.as_mut()).await.unwrap();
    // All payloads have arrived, except for those that the node has counted as dropped for their delay.
    until("all is accounted for", || async {
        let dropped = counter(&node, "local_sends_dropped").await;
        (received.load(Relaxed) + dropped == sent).then_some(())
    })
    .await;
    node.close().await;
    let closed = node.send_ready(&to).await;
    assert!(closed.is_err());
}

#[tokio::test]
async fn nothing_is_dropped_in_the_queue_of_a_sender_that_waits() {
    let (a, b) = (
        node(8).await,
        builder(15).receive_queue(0, 0).start().await.unwrap(),
    );
    pipe(&a, &b).await.unwrap();
    within(
        "a route",
        a.reachable(&b.public_key(), Duration::from_secs(30)),
    )
    .await
    .unwrap();
    // A ping may have been dropped before the route existed.
    let dropped = counter(&a, "local_sends_dropped").await;
    let mut sent = 0;
    while sent < 50_000 {
        match a.send_to(payload(1200, 0), &b.public_key()) {
            Ok(()) => sent += 1,
            Err(SendError::Full) => a.send_ready(&b.public_key()).await.unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
    until("all have arrived", || async {
        (counter(&b, "receive_queue_full").await == sent).then_some(())
    })
    .await;
    assert_eq!(counter(&a, "local_sends_dropped").await, dropped);
}

/// Returns a node whose parent is the first peer. It has the second peer's key from a payload with `coordinates`, which
/// are under the parent.
async fn node_with_two_peers(coordinates: Vec<u64>) -> (Node, BarePeer, BarePeer) {
    let (node, address) = listening(8).await;
    let mut parent = BarePeer::connect(address, 9);
    parent.announce(1);
    within("joining", node.joined()).await.unwrap();
    let mut other = BarePeer::connect(address, 15);
    let (root, own) = (parent.key.public_key(), other.key.public_key());
    let payload = root_payload(&root, 1);
    let mut from_root = Vec::new();
    let signature = sign(&payload, &parent.key);
    push_frame(&mut from_root, &payload, 2, &root, &signature).unwrap();
    let payload = &from_root[HEADER_LEN + 2..];
    let mut frames = Vec::new();
    push_frame(&mut frames, payload, 1, &own, &sign(payload, &other.key)).unwrap();
    let fields = TrafficFields {
        extra: 0,
        hop_limit: 10,
        destination: &vec![1].into(),
        source: &coordinates.into(),
        destination_key: node.public_key(),
        source_key: own,
        watermark: Watermark::START,
        payload: b"hello",
    };
    push_traffic(&mut frames, &fields).unwrap();
    other.send(&frames);
    let (_, source) = within("a payload", node.recv_from()).await.unwrap();
    assert_eq!(source, own);
    (node, parent, other)
}

/// Sends payloads until the second peer's port takes no more, and checks that `send_ready` then waits.
async fn fills_up(node: &Node, to: &BarePeer, len: usize) {
    let to = to.key.public_key();
    let (mut sent, mut full_in_a_row) = (0, 0);
    loop {
        match node.send_to(payload(len, 0), &to) {
            Ok(()) => (sent, full_in_a_row) = (sent + 1, 0),
            Err(SendError::Full) => {
                full_in_a_row += 1;
                assert!(full_in_a_row < 100, "there is room at another port only");
                let ready = node.send_ready(&to);
                match tokio::time::timeout(Duration::from_millis(300), ready).await {
                    Ok(ready) => ready.unwrap(),
                    Err(_) => break,
                }
            }
            Err(error) => panic!("{error}"),
        }
        // This is more than any socket buffers.
        assert!(sent < 100_000, "the first hop is never full");
    }
    // Counters lag behind.
    until("the second peer is the first hop", || async {
        let sent = peer(node, to).await?.traffic.tx_traffic_frames;
        (sent > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn senders_of_payloads_that_do_not_fit_coordinates_wait_for_the_right_port() {
    let (node, _parent, other) = node_with_two_peers(vec![300; 300]).await;
    fills_up(&node, &other, node.max_payload()).await;
}

#[tokio::test]
async fn senders_to_a_peer_that_does_not_answer_wait_for_the_right_port() {
    let (node, parent, other) = node_with_two_peers(vec![3]).await;
    for peer in [&parent, &other] {
        let mut stream = peer.stream.try_clone().unwrap();
        std::thread::spawn(move || {
            while stream.write_all(&KEEPALIVE).is_ok() {
                std::thread::sleep(Duration::from_millis(500));
            }
        });
    }
    let to = other.key.public_key();
    until("a payload is not sent to the coordinates", || async {
        node.send_to(b"x", &to).unwrap();
        let sent = peer(&node, to).await?.traffic.tx_traffic_frames;
        (sent > 0).then_some(())
    })
    .await;
    fills_up(&node, &other, 1200).await;
}

#[tokio::test]
async fn waiting_for_room_yields() {
    let a = node(8).await;
    let nobody = key(2).public_key();
    let mut ready = pin!(a.send_ready(&nobody));
    begin(ready.as_mut()).await;
    within("room", ready).await.unwrap();
}
