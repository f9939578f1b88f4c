//! Payloads: sizes, order, destinations, filters and bounds.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use pinecone::{
    Builder, Event, FrameClass, Node, NodeOptions, PingError, PortId, PublicKey, ReceiveFor,
    SendError, TrafficFrame, TryRecvError, pipe,
};

use crate::harness::{
    LIMIT, begin, builder, counter, event, key, node, payload, peer, reaches, until, within,
};

/// Returns a line of three nodes, ready for traffic. The middle one is the static peer of the others.
async fn line() -> [Node; 3] {
    // With two workers, the middle node hands frames over.
    let middle = builder(15).workers(2).listen("127.0.0.1:0").start().await;
    let middle = middle.unwrap();
    let address = middle.local_addrs()[0];
    let (a, c) = (node(8).await, node(2).await);
    for end in [&a, &c] {
        end.connect(&address.to_string()).await.unwrap();
    }
    assert_eq!(reaches(&a, &c).await, 1);
    assert_eq!(reaches(&c, &a).await, 1);
    assert_eq!(reaches(&a, &middle).await, 0);
    [a, middle, c]
}

#[tokio::test]
async fn all_sizes_pass_a_third_node() {
    let [a, _middle, c] = line().await;
    let max = a.max_payload();
    assert!(max > 65_000, "{max}");
    let sizes = [
        0,
        1,
        2,
        63,
        64,
        1200,
        4095,
        4096,
        8192,
        32_768,
        60_000,
        max - 1,
        max,
    ];
    for (from, to) in [(&a, &c), (&c, &a)] {
        for (salt, size) in sizes.into_iter().enumerate() {
            let sent = payload(size, salt as u8);
            from.send_to(&sent, &to.public_key()).unwrap();
            let (received, source) = within("a payload", to.recv_from()).await.unwrap();
            assert_eq!(source, from.public_key());
            assert_eq!(received.len(), size);
            assert!(received == sent[..], "{size} bytes, changed on the way");
        }
        let error = from.send_to(payload(max + 1, 0), &to.public_key());
        assert_eq!(error, Err(SendError::TooLong { len: max + 1, max }));
    }
    // Pings of all sizes pass, too, and one that is too long is an error.
    for size in [0, 8, 9, 1000, 60_000] {
        let reply = a.ping(&c.public_key(), size, Duration::from_secs(20)).await;
        assert_eq!(reply.unwrap().hops, 1);
    }
    let error = a.ping(&c.public_key(), max, Duration::from_secs(1)).await;
    assert!(matches!(
        error,
        Err(PingError::Send(SendError::TooLong { .. }))
    ));
}

#[tokio::test]
async fn payloads_keep_their_order() {
    let [a, _middle, c] = line().await;
    for n in 0..500_u32 {
        a.send_to(n.to_be_bytes(), &c.public_key()).unwrap();
    }
    for n in 0..500_u32 {
        let (received, _) = within("a payload", c.recv_from()).await.unwrap();
        assert_eq!(received[..], n.to_be_bytes());
    }
}

#[tokio::test]
async fn to_ourselves() {
    let a = node(8).await;
    a.send_to(b"note to self", &a.public_key()).unwrap();
    let (received, source) = within("a payload", a.recv_from()).await.unwrap();
    assert_eq!(
        (source, &received[..]),
        (a.public_key(), &b"note to self"[..])
    );
    let sent = Bytes::from(payload(3000, 1));
    a.send_to(&sent, &a.public_key()).unwrap();
    let (received, _) = within("a payload", a.recv_from()).await.unwrap();
    assert_eq!(received.as_ptr_range(), sent.as_ptr_range(), "not a copy");
    let reply = a.ping(&a.public_key(), 0, Duration::from_secs(20)).await;
    assert_eq!(reply.unwrap().hops, 0);
}

/// The node drops `Bytes` when they are sent, and not only with the peering.
#[tokio::test]
async fn payloads_are_released() {
    let (a, b) = (node(8).await, node(2).await);
    pipe(&a, &b).await.unwrap();
    reaches(&a, &b).await;
    for size in [100, 60_000] {
        let sent = Bytes::from(payload(size, 1));
        a.send_to(&sent, &b.public_key()).unwrap();
        let (received, _) = within("a payload", b.recv_from()).await.unwrap();
        assert_eq!(received, sent);
        until("the payload is released", async || {
            sent.is_unique().then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn unreachable_payloads_are_counted_and_not_delivered_here() {
    let a = node(8).await;
    let nobody = PublicKey([0xaa; 32]);
    let unanswered = a.ping(&nobody, 0, Duration::from_millis(50)).await;
    assert_eq!(unanswered, Err(PingError::Timeout));
    until("it is counted", || async {
        (counter(&a, "unreachable").await == 1).then_some(())
    })
    .await;
    a.close().await;
    let closed = a.recv_from().await.unwrap_err();
    assert_eq!(closed.cause(), None);
    assert_eq!(a.send_to(b"x", &nobody), Err(closed.clone().into()));
    let closed = a.ping(&nobody, 0, Duration::from_secs(9)).await;
    assert!(matches!(closed, Err(PingError::Send(SendError::Closed(_)))));
}

#[tokio::test]
async fn a_partial_key_reaches_the_next_higher_node() {
    let options = NodeOptions {
        secret_key: Some(key(2)),
        receive_for: ReceiveFor::AnyKey,
        ..NodeOptions::default()
    };
    let c = Builder::from(options).start().await.unwrap();
    let (a, b) = (node(8).await, node(15).await);
    pipe(&a, &b).await.unwrap();
    pipe(&b, &c).await.unwrap();
    assert_eq!(reaches(&a, &c).await, 1);
    let mut partial = c.public_key().0;
    partial[15..].fill(0);
    let partial = PublicKey(partial);
    // No node answers, and the ping does not reach the application.
    let unanswered = a.ping(&partial, 0, Duration::from_millis(200)).await;
    assert_eq!(unanswered, Err(PingError::Timeout));
    a.send_to(b"to whom it may concern", &partial).unwrap();
    let received = within("a payload", c.recv()).await.unwrap();
    assert_eq!(received.source, a.public_key());
    assert_eq!(received.destination, partial);
    assert_eq!(received.payload[..], b"to whom it may concern"[..]);
}

#[tokio::test]
async fn payloads_for_other_keys_and_pings_do_not_reach_the_application() {
    let [a, _middle, c] = line().await;
    let mut partial = c.public_key().0;
    partial[15..].fill(0);
    let partial = PublicKey(partial);
    let unanswered = a.ping(&partial, 0, Duration::from_millis(200)).await;
    assert_eq!(unanswered, Err(PingError::Timeout));
    a.send_to(b"to whom it may concern", &partial).unwrap();
    until("the payload is counted", || async {
        (counter(&c, "payloads_for_other_keys").await == 1).then_some(())
    })
    .await;
    assert_eq!(c.try_recv(), Err(TryRecvError::Empty));
    a.send_to(b"to you", &c.public_key()).unwrap();
    let received = within("a payload", c.recv()).await.unwrap();
    assert_eq!(received.destination, c.public_key());
    assert_eq!(received.payload[..], b"to you"[..]);
}

#[tokio::test]
async fn the_network_can_be_waited_for() {
    let (a, b) = (node(8).await, node(15).await);
    let mut joined = pin!(a.joined());
    let early = tokio::time::timeout(Duration::from_millis(50), joined.as_mut());
    assert!(early.await.is_err(), "a lone node has joined nothing");
    pipe(&a, &b).await.unwrap();
    within("joining", joined).await.unwrap();
    within("joining", b.joined()).await.unwrap();
    // A later caller need not wait.
    within("joining", a.joined()).await.unwrap();
    let reply = a.reachable(&b.public_key(), LIMIT).await;
    assert_eq!(reply.unwrap().hops, 0);
    let lost = a.reachable(&PublicKey([0xaa; 32]), Duration::from_millis(100));
    assert_eq!(lost.await, Err(PingError::Timeout));
}

#[test]
fn payloads_are_received_without_async_code() {
    let a = builder(8).start_blocking().unwrap();
    assert_eq!(a.try_recv(), Err(TryRecvError::Empty));
    for text in ["one", "two"] {
        a.send_to(text, &a.public_key()).unwrap();
    }
    assert_eq!(a.try_recv().unwrap().payload, "one");
    assert_eq!(a.recv_blocking().unwrap().payload, "two");
    let waiting = std::thread::spawn({
        let a = a.clone();
        move || a.recv_blocking()
    });
    a.close_blocking();
    assert!(waiting.join().unwrap().is_err());
    assert!(matches!(a.try_recv(), Err(TryRecvError::Closed(_))));
}

#[tokio::test]
async fn a_receiver_that_is_not_polled_holds_up_no_others() {
    let a = node(8).await;
    let mut stalled = pin!(a.recv());
    begin(stalled.as_mut()).await;
    // One receiver takes a payload that is there already, and another one waits for it.
    a.send_to("one", &a.public_key()).unwrap();
    let received = within("a payload", a.recv()).await.unwrap();
    assert_eq!(received.payload, "one");
    begin(stalled.as_mut()).await;
    let mut waiting = pin!(a.recv());
    begin(waiting.as_mut()).await;
    a.send_to("two", &a.public_key()).unwrap();
    let received = within("a payload", waiting).await.unwrap();
    assert_eq!(received.payload, "two");
    // Payloads that arrived before the end can be received after it.
    begin(stalled.as_mut()).await;
    a.send_to("three", &a.public_key()).unwrap();
    within("the end", a.close()).await;
    assert_eq!(a.try_recv().unwrap().payload, "three");
    assert!(matches!(a.try_recv(), Err(TryRecvError::Closed(_))));
    assert!(within("the end", stalled).await.is_err());
}

#[tokio::test]
async fn the_receive_queue_is_bounded_in_frames_and_bytes() {
    let a = node(8).await;
    let b = builder(15).receive_queue(8, 1000).start().await.unwrap();
    pipe(&a, &b).await.unwrap();
    reaches(&a, &b).await;
    for _ in 0..20 {
        a.send_to([1], &b.public_key()).unwrap();
    }
    let dropped = |n| {
        let b = b.clone();
        move || {
            let b = b.clone();
            async move { (counter(&b, "receive_queue_full").await == n).then_some(()) }
        }
    };
    until("frames over the bound are counted", dropped(12)).await;
    for _ in 0..8 {
        within("a payload", b.recv_from()).await.unwrap();
    }
    for _ in 0..4 {
        a.send_to(payload(400, 0), &b.public_key()).unwrap();
    }
    until("bytes over the bound are counted", dropped(14)).await;
    for _ in 0..2 {
        let (received, _) = within("a payload", b.recv_from()).await.unwrap();
        assert_eq!(received.len(), 400);
    }
    let deaf = builder(2).receive_queue(0, 0).start().await.unwrap();
    deaf.send_to(b"x", &deaf.public_key()).unwrap();
    assert_eq!(counter(&deaf, "receive_queue_full").await, 1);
}

#[tokio::test]
async fn a_filter_drops_what_it_refuses_and_nothing_else() {
    let [a, middle, c] = line().await;
    let seen = Arc::new(AtomicUsize::new(0));
    let (count, refused) = (Arc::clone(&seen), a.public_key());
    let keys = [a.public_key(), c.public_key()];
    middle.set_packet_filter(Some(Arc::new(move |frame: &TrafficFrame<'_>| {
        count.fetch_add(1, Relaxed);
        // The middle node sends and receives nothing.
        assert_ne!(frame.ingress(), PortId::LOCAL);
        assert_eq!(frame.class(), FrameClass::Transit);
        assert!(keys.contains(&frame.source()) && keys.contains(&frame.destination()));
        assert!(frame.payload().len() < frame.bytes().len());
        frame.source() != refused
    })));
    // Workers use the filter a little later.
    until("the filter is on", || async {
        c.send_to(b"ping", &a.public_key()).unwrap();
        (seen.load(Relaxed) > 0).then_some(())
    })
    .await;
    a.send_to(b"refused", &c.public_key()).unwrap();
    until("the drop is counted", || async {
        let peer = peer(&middle, a.public_key()).await?;
        let dropped = peer.drops.iter().find(|d| d.name == "filter")?;
        (dropped.value == 1).then_some(())
    })
    .await;
    within("what the filter passes", a.recv_from())
        .await
        .unwrap();
    middle.set_packet_filter(None);
    until("the filter is off", || async {
        a.send_to(b"passes", &c.public_key()).unwrap();
        let received = tokio::time::timeout(Duration::from_millis(200), c.recv_from()).await;
        received.ok()?.ok()
    })
    .await;
}

#[tokio::test]
async fn bandwidth_is_told_regularly() {
    let interval = Duration::from_millis(200);
    let a = (builder(8).bandwidth_interval(interval).start().await).unwrap();
    let b = node(15).await;
    let mut events = a.events();
    pipe(&a, &b).await.unwrap();
    reaches(&a, &b).await;
    let mut bytes = 0;
    event("bandwidth", &mut events, |event| match event {
        Event::Bandwidth { peers } => {
            for peer in peers {
                assert_eq!(peer.key, b.public_key());
                bytes += peer.traffic.tx_traffic_bytes;
            }
            // The sum is that of all traffic that was sent: pings.
            (bytes >= 100).then_some(())
        }
        _ => None,
    })
    .await;
    event("a minute with nothing", &mut events, |event| match event {
        Event::Bandwidth { peers } => (peers[0].traffic.tx_traffic_bytes == 0).then_some(()),
        _ => None,
    })
    .await;
}

#[tokio::test]
async fn hop_limiting_drops_what_used_up_its_hops() {
    // A line of thirteen has one more hop than a frame may take.
    let mut nodes = Vec::new();
    for n in 1..=13 {
        nodes.push(builder(n).hop_limiting(true).start().await.unwrap());
    }
    for pair in nodes.windows(2) {
        pipe(&pair[0], &pair[1]).await.unwrap();
    }
    assert_eq!(reaches(&nodes[0], &nodes[9]).await, 8);
    let far = nodes[12].public_key();
    until("a frame dies of age", || async {
        nodes[0].send_to(b"too far", &far).unwrap();
        for node in &nodes {
            for peer in node.peers().await.unwrap() {
                if peer.drops.iter().any(|d| d.name == "hop_limit") {
                    return Some(());
                }
            }
        }
        None
    })
    .await;
}
