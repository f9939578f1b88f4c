//! Static peers, which are dialled again when they are lost.

use pinecone::{Event, Node, StaticPeerState};

use crate::harness::{builder, event, key, listening, quick, reaches, removed, until};

async fn state(node: &Node) -> StaticPeerState {
    node.status().await.unwrap().static_peers[0].state
}

#[tokio::test]
async fn one_that_restarts_is_dialled_again() {
    let (b, address) = listening(15).await;
    let a = (quick(8).connect(address.to_string()))
        .start()
        .await
        .unwrap();
    let mut events = a.events();
    reaches(&a, &b).await;
    assert_eq!(state(&a).await, StaticPeerState::Connected);
    b.close().await;
    assert_eq!(removed(&mut events).await.0, b.public_key());
    until("it is known to be lost", || async {
        (state(&a).await != StaticPeerState::Connected).then_some(())
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
    // A peering that is disconnected is dialled again as well.
    let port = a.peers().await.unwrap()[0].port;
    a.disconnect(port).await.unwrap();
    event("it is back", &mut events, |event| {
        matches!(event, Event::PeerAdded { .. }).then_some(())
    })
    .await;
}

#[tokio::test]
async fn ourselves_is_told_and_tried_again() {
    // The port of an earlier node, which is free and not likely to be taken meanwhile.
    let (before, address) = listening(15).await;
    before.close().await;
    let a = (quick(8).listen(address.to_string()))
        .connect(address.to_string())
        .start()
        .await
        .unwrap();
    assert_eq!(a.public_key(), key(8).public_key());
    until("it is recognised, again and again", || async {
        let peer = a.static_peers().await.unwrap().remove(0);
        let error = peer.last_error.unwrap_or_default();
        (error.contains("own key") && peer.failures >= 3).then_some(())
    })
    .await;
    assert!(a.peers().await.unwrap().is_empty());
    assert_eq!(a.status().await.unwrap().own_key_elsewhere.handshakes, 0);
}

#[tokio::test]
async fn an_address_that_is_not_there_is_waited_for() {
    let builder = || builder(8).listen("192.0.2.1:0").listen("127.0.0.1:0");
    let error = builder().start().await.unwrap_err().to_string();
    assert!(error.contains("192.0.2.1:0"), "{error}");
    let a = builder().listen_retry(true).start().await.unwrap();
    assert_eq!(a.local_addrs().len(), 1);
    let missing = a.status().await.unwrap().missing_listeners;
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].address, "192.0.2.1:0");
    // A name is looked up in the background.
    let b = (super::harness::builder(9).listen("localhost:0"))
        .listen_retry(true)
        .start()
        .await
        .unwrap();
    until("it listens", || async {
        (!b.local_addrs().is_empty()).then_some(())
    })
    .await;
    // Malformed addresses and those in use are not waited for.
    for (address, told) in [
        ("127.0.0.1", "port"),
        (b.local_addrs()[0].to_string().as_str(), "in use"),
    ] {
        let builder = super::harness::builder(10).listen(address);
        let error = builder.listen_retry(true).start().await.unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    }
}
