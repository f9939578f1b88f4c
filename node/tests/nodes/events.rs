//! Subscriptions to events.

use std::pin::Pin;
use std::task::Poll;

use futures_core::Stream;
use pinecone::{Event, Node, PublicKey, pipe};

use crate::harness::{builder, key, listening, node, until, within};

/// The first event of a node that dials at its start is the peering, however fast that comes up.
#[tokio::test]
async fn none_is_missed_of_a_node_that_dials_at_once() {
    let (peer, address) = listening(15).await;
    for n in 1..=5 {
        let builder = builder(n).connect(address.to_string());
        let mut events = builder.events();
        let node = builder.start().await.unwrap();
        until("the peering is up", || async {
            (!node.peers().await.unwrap().is_empty()).then_some(())
        })
        .await;
        let first = within("an event", events.next()).await;
        let added =
            matches!(&first, Some(Event::PeerAdded { key, .. }) if *key == peer.public_key());
        assert!(added, "{first:?}");
        node.close().await;
    }
}

#[tokio::test]
async fn a_subscriber_that_falls_behind_is_told_how_many_it_missed() {
    let builder = builder(8);
    let mut events = builder.events();
    let (a, b) = (builder.start().await.unwrap(), node(15).await);
    // Each brings at least two events.
    let mut sent = 0;
    while sent < 5000 {
        let (port, _) = pipe(&a, &b).await.unwrap();
        a.disconnect(port).await.unwrap();
        sent += 2;
    }
    let missed = match within("an event", events.next()).await {
        Some(Event::Missed { events }) => events,
        other => panic!("{other:?}"),
    };
    assert!(missed > 0);
    // The subscriber still gets as many events as the backlog holds.
    a.close().await;
    let mut left = 0;
    while within("an event", events.next()).await.is_some() {
        left += 1;
    }
    assert_eq!(left, 4096);
}

#[tokio::test]
async fn a_subscription_is_a_stream_that_ends_with_its_node() {
    let a = node(8).await;
    let mut events = a.events();
    let next = |events: &mut pinecone::Events| {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        Pin::new(events).poll_next(&mut context)
    };
    assert_eq!(next(&mut events), Poll::Pending);
    a.close().await;
    assert_eq!(next(&mut events), Poll::Ready(None));
    assert_eq!(next(&mut a.events()), Poll::Ready(None));
}

/// Subscriptions of a builder do not get the events of nodes that are started from its clones.
#[tokio::test]
async fn a_cloned_builder_has_no_subscriptions() {
    let builder = Node::builder();
    let mut events = builder.events();
    let clone = builder.clone().secret_key(key(8)).start().await.unwrap();
    let other = node(15).await;
    pipe(&clone, &other).await.unwrap();
    let node = builder.secret_key(key(2)).start().await.unwrap();
    pipe(&node, &other).await.unwrap();
    let own: PublicKey = other.public_key();
    let first = within("an event", events.next()).await;
    let expected = format!("pipe to {}", own.short());
    assert!(
        matches!(&first, Some(Event::PeerAdded { remote, .. }) if *remote == expected),
        "{first:?}"
    );
    clone.close().await;
    node.close().await;
    let mut added = 0;
    while let Some(event) = within("an event", events.next()).await {
        added += usize::from(matches!(event, Event::PeerAdded { .. }));
    }
    assert_eq!(added, 0);
}
