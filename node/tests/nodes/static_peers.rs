//! Static peers: kept, and found again.

use std::time::Duration;

use pinecone::{DialSchedule, Event, Node};

use crate::harness::{builder, event, key, listening, reaches, removed, until};

fn quick() -> DialSchedule {
    DialSchedule {
        look_every: Duration::from_millis(50),
        longest_wait: Duration::from_millis(100),
        settled_after: Duration::ZERO,
    }
}

async fn state(node: &Node) -> &'static str {
    node.status().await.unwrap().static_peers[0].state
}

#[tokio::test]
async fn one_that_restarts_is_dialled_again() {
    let (b, address) = listening(15).await;
    let a = (builder(8).connect(address.to_string()))
        .dial_schedule(quick())
        .start()
        .await
        .unwrap();
    let mut events = a.events();
    reaches(&a, &b).await;
    assert_eq!(state(&a).await, "connected");
    b.close().await;
    assert_eq!(removed(&mut events).await.0, b.public_key());
    until("it is known to be lost", || async {
        (state(&a).await != "connected").then_some(())
    })
    .await;
    let b = (builder(15).listen(address.to_string()).start().await).unwrap();
    event("it is back", &mut events, |event| match event {
        Event::PeerAdded { key, .. } => (*key == b.public_key()).then_some(()),
        _ => None,
    })
    .await;
    reaches(&a, &b).await;
    reaches(&b, &a).await;
    // Disconnecting is no more lasting.
    let port = a.peers().await[0].port;
    assert!(a.disconnect(port).await);
    event("it is back", &mut events, |event| {
        matches!(event, Event::PeerAdded { .. }).then_some(())
    })
    .await;
}

#[tokio::test]
async fn ourselves_we_dial_once() {
    // A free port that nobody else takes in between: ours, from a node that has gone.
    let (before, address) = listening(15).await;
    before.close().await;
    let a = (builder(8).listen(address.to_string()))
        .connect(address.to_string())
        .dial_schedule(quick())
        .start()
        .await
        .unwrap();
    assert_eq!(a.public_key(), key(8).public_key());
    until("it is recognised", || async {
        (state(&a).await == "ourselves").then_some(())
    })
    .await;
    assert!(a.peers().await.is_empty());
}
