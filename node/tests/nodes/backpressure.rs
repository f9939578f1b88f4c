//! Backpressure: senders notice that their first hop is full, and can wait for room.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use pinecone::{SendError, pipe};
use pinecone_wire::{FrameType, Split, split};

use crate::harness::{BarePeer, builder, counter, listening, node, payload, until, within};

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
