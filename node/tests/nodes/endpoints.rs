//! Listening on further addresses, and adding and removing static peers, while a node runs.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pinecone::{
    AddListenerError, AddressError, Builder, Closed, Event, Events, Host, HostOptions, Limits,
    ListenError, Node, NodeOptions, PublicKey, StaticPeerError, StaticPeerState, TrafficFrame,
    pipe,
};
use pinecone_wire::{HANDSHAKE_LEN, handshake};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{
    BarePeer, LIMIT, begin, builder, counter, event, key, listening, peer, quick, quick_options,
    reaches, removed, until, within,
};

/// No host, for nodes with threads of their own, and a host that they share.
fn with_and_without_host() -> [Option<Host>; 2] {
    [
        None,
        Some(
            Host::new(HostOptions {
                threads: 1,
                ..HostOptions::default()
            })
            .expect("threads start"),
        ),
    ]
}

async fn start(builder: Builder, host: Option<&Host>) -> Node {
    let builder = match host {
        Some(host) => builder.on(host),
        None => builder,
    };
    builder.start().await.unwrap()
}

async fn added(events: &mut Events, key: PublicKey) {
    event("a peering comes up", events, |event| match event {
        Event::PeerAdded { key: added, .. } => (*added == key).then_some(()),
        _ => None,
    })
    .await;
}

async fn addresses(node: &Node) -> Vec<String> {
    let peers = node.static_peers().await.unwrap().into_iter();
    peers.map(|peer| peer.address).collect()
}

async fn state(node: &Node, address: &str) -> Option<StaticPeerState> {
    let mut peers = node.static_peers().await.unwrap().into_iter();
    let peer = peers.find(|peer| peer.address == address);
    peer.map(|peer| peer.state)
}

/// Returns an address where nothing listens: the port of a node that has closed.
async fn unused_address() -> SocketAddr {
    let (before, address) = listening(16).await;
    before.close().await;
    address
}

/// Waits until a static peer that does not answer has been dialled `times` more times.
async fn dials(node: &Node, address: &str, times: u32) {
    let failures = async || {
        let mut peers = node.static_peers().await.unwrap().into_iter();
        let peer = peers.find(|peer| peer.address == address).unwrap();
        peer.failures
    };
    let before = failures().await;
    until("it is dialled", async || {
        (failures().await >= before + times).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_added_static_peer_is_dialled_now_and_whenever_it_is_lost() {
    for host in with_and_without_host() {
        let (b, address) = listening(15).await;
        let text = address.to_string();
        let a = start(quick(8), host.as_ref()).await;
        let mut events = a.events();
        a.add_static_peer(&text).await.unwrap();
        added(&mut events, b.public_key()).await;
        reaches(&a, &b).await;
        assert_eq!(state(&a, &text).await, Some(StaticPeerState::Connected));
        let again = a.add_static_peer(&format!(" {text} ")).await;
        assert!(
            matches!(&again, Err(StaticPeerError::Exists(address)) if address.contains(&text)),
            "{again:?}"
        );
        assert_eq!(addresses(&a).await, std::slice::from_ref(&text));
        b.close().await;
        removed(&mut events).await;
        let b = builder(15).listen(text).start().await.unwrap();
        added(&mut events, b.public_key()).await;
        reaches(&b, &a).await;
        a.close().await;
        b.close().await;
    }
}

#[tokio::test]
async fn a_removed_static_peer_is_closed_and_not_dialled_again() {
    for host in with_and_without_host() {
        let (b, address) = listening(15).await;
        let text = address.to_string();
        let nowhere = unused_address().await.to_string();
        let quick = quick(8).connect(format!("{text},{nowhere}"));
        let a = start(quick, host.as_ref()).await;
        until("it is connected", async || {
            peer(&a, b.public_key()).await.map(drop)
        })
        .await;

        a.remove_static_peer(&text).await.unwrap();
        assert!(a.peers().await.unwrap().is_empty());
        assert_eq!(addresses(&a).await, std::slice::from_ref(&nowhere));
        until("the other end closes", async || {
            b.peers().await.unwrap().is_empty().then_some(())
        })
        .await;
        let accepted = counter(&b, "connections_accepted").await;
        // It would have been dialled within 100 ms.
        dials(&a, &nowhere, 5).await;
        assert_eq!(counter(&b, "connections_accepted").await, accepted);
        b.close().await;
        let b = builder(15).listen(&text).start().await.unwrap();
        dials(&a, &nowhere, 5).await;
        assert_eq!(counter(&b, "connections_accepted").await, 0);

        let again = a.remove_static_peer(&text).await;
        assert_eq!(again, Err(StaticPeerError::NotFound(text.clone())));
        // Added again, it comes last.
        a.add_static_peer(&text).await.unwrap();
        assert_eq!(addresses(&a).await, [nowhere, text]);
        reaches(&a, &b).await;
        a.close().await;
        b.close().await;
    }
}

#[tokio::test]
async fn peerings_that_were_not_dialled_for_a_removed_static_peer_stay() {
    let (b, address) = listening(15).await;
    let (c, to_c) = listening(9).await;
    let nowhere = unused_address().await.to_string();
    let a = quick(8).connect(&nowhere).start().await.unwrap();
    a.connect(&address.to_string()).await.unwrap();
    a.add_static_peer(&to_c.to_string()).await.unwrap();
    reaches(&a, &c).await;
    a.remove_static_peer(&nowhere).await.unwrap();
    assert_eq!(a.peers().await.unwrap().len(), 2);
    let outcome = a.remove_static_peer(&address.to_string()).await;
    assert_eq!(outcome, Err(StaticPeerError::NotFound(address.to_string())));
    assert_eq!(a.peers().await.unwrap().len(), 2);
    for node in [a, b, c] {
        node.close().await;
    }
}

/// The limit on dials holds for peers that are added, and a removed peer gives its dial back.
#[tokio::test]
async fn removing_a_static_peer_ends_its_dial() {
    for host in with_and_without_host() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to_silent = silent.local_addr().unwrap().to_string();
        let (b, address) = listening(15).await;
        let text = address.to_string();
        let options = NodeOptions {
            transport_limits: Limits {
                max_dials: 1,
                handshake_timeout: Duration::from_secs(3600),
                ..Limits::default()
            },
            ..quick_options(8)
        };
        let a = start(Builder::from(options), host.as_ref()).await;
        a.add_static_peer(&to_silent).await.unwrap();
        let (mut far, _) = within("it is dialled", silent.accept()).await.unwrap();
        a.add_static_peer(&text).await.unwrap();
        until("it queues", async || {
            (state(&a, &text).await == Some(StaticPeerState::Queued)).then_some(())
        })
        .await;
        assert_eq!(state(&a, &to_silent).await, Some(StaticPeerState::Dialling));
        a.remove_static_peer(&to_silent).await.unwrap();
        reaches(&a, &b).await;
        let mut handshake = Vec::new();
        let read = within("its end", far.read_to_end(&mut handshake)).await;
        assert!(read.is_ok() || read.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
        assert_eq!(addresses(&a).await, [text]);
        a.close().await;
        b.close().await;
    }
}

/// A dial that ends when its peer is about to be removed does not make a peering.
#[tokio::test]
async fn a_stream_that_arrives_after_the_removal_is_closed() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to_silent = silent.local_addr().unwrap().to_string();
    let host = Host::new(HostOptions {
        threads: 1,
        ..HostOptions::default()
    })
    .unwrap();
    let a = start(quick(8), Some(&host)).await;
    let (c, d) = (
        start(builder(9), Some(&host)).await,
        start(builder(10), Some(&host)).await,
    );
    pipe(&c, &d).await.unwrap();
    reaches(&c, &d).await;
    let mut events = a.events();
    a.add_static_peer(&to_silent).await.unwrap();
    let (mut far, _) = within("it is dialled", silent.accept()).await.unwrap();

    // Another node's filter stops the thread on which the control of `a` runs.
    let (stops, stopped) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    c.set_packet_filter(Some(Arc::new(move |_: &TrafficFrame<'_>| {
        let _ = stops.send(());
        let _ = released.lock().unwrap().recv_timeout(LIMIT);
        true
    })));
    c.send_to(b"payload", &d.public_key()).unwrap();
    stopped.recv_timeout(LIMIT).unwrap();
    let mut removing = pin!(a.remove_static_peer(&to_silent));
    begin(removing.as_mut()).await;
    // The handshake is done behind it, on the runtime thread, which answers twice after that.
    far.write_all(&handshake::encode(&key(15))).await.unwrap();
    far.read_exact(&mut [0; HANDSHAKE_LEN]).await.unwrap();
    for n in [16, 17] {
        let address = a.listen("127.0.0.1:0").await.unwrap()[0];
        BarePeer::connect(address, n);
    }
    drop(release);
    within("the removal", removing).await.unwrap();
    let mut rest = Vec::new();
    let read = within("its end", far.read_to_end(&mut rest)).await;
    assert!(read.is_ok() || read.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
    assert!(addresses(&a).await.is_empty());
    for node in [&a, &c, &d] {
        node.close().await;
    }
    while let Some(event) = within("the last event", events.next()).await {
        let removed = key(15).public_key();
        assert!(
            !matches!(&event, Event::PeerAdded { key, .. } if *key == removed),
            "{event:?}"
        );
    }
}

#[tokio::test]
async fn addresses_can_be_listened_on_later() {
    for host in with_and_without_host() {
        let a = start(builder(8).listen("127.0.0.1:0"), host.as_ref()).await;
        let first = a.local_addrs()[0];
        let more = a.listen("127.0.0.1:0").await.unwrap();
        assert_eq!(a.local_addrs(), [first, more[0]]);
        let listeners = a.status().await.unwrap().listeners;
        let listeners: Vec<_> = listeners.iter().map(|l| l.address).collect();
        assert_eq!(listeners, [first, more[0]]);
        let b = start(builder(15), host.as_ref()).await;
        b.connect(&more[0].to_string()).await.unwrap();
        reaches(&b, &a).await;
        // A name stands for all its addresses.
        let named = a.listen("localhost:0").await.unwrap();
        assert_eq!(a.local_addrs()[2..], named);
        let c = start(builder(9), host.as_ref()).await;
        c.connect(&named[0].to_string()).await.unwrap();
        reaches(&c, &b).await;
        for node in [a, b, c] {
            node.close().await;
        }
        // The listeners end with the node.
        TcpListener::bind(more[0]).unwrap();
    }
}

#[tokio::test]
async fn failures_to_listen_are_typed_errors() {
    let (a, address) = listening(8).await;
    let error = a.listen(&address.to_string()).await.unwrap_err();
    assert!(
        matches!(error, AddListenerError::Listen(ListenError::InUse { address: used }) if used == address),
        "{error}"
    );
    let error = a.listen("127.0.0.1").await.unwrap_err();
    let malformed = AddressError::Port("127.0.0.1".to_owned());
    assert!(
        matches!(&error, AddListenerError::Listen(ListenError::Address(told)) if *told == malformed),
        "{error}"
    );
    let error = a.listen("192.0.2.1:0").await.unwrap_err();
    assert!(
        matches!(error, AddListenerError::Listen(ListenError::Io { .. })),
        "{error}"
    );
    let error = a.listen("nowhere.invalid:0").await.unwrap_err();
    assert!(
        matches!(&error, AddListenerError::Listen(ListenError::Resolve { host, .. }) if host == "nowhere.invalid"),
        "{error}"
    );
    assert_eq!(a.local_addrs(), [address]);
    assert!(a.status().await.unwrap().missing_listeners.is_empty());
    for malformed in ["127.0.0.1", "a:1,b:1", "ftp://a:1"] {
        for outcome in [
            a.add_static_peer(malformed).await,
            a.remove_static_peer(malformed).await,
        ] {
            assert!(
                matches!(&outcome, Err(StaticPeerError::Address(_))),
                "{outcome:?}"
            );
        }
    }
    assert!(addresses(&a).await.is_empty());
    a.close().await;
}

#[tokio::test]
async fn a_closed_node_says_so() {
    for host in with_and_without_host() {
        let a = start(builder(8), host.as_ref()).await;
        a.close().await;
        let closed = Closed::default();
        assert_eq!(
            a.add_static_peer("127.0.0.1:1").await,
            Err(StaticPeerError::Closed(closed.clone()))
        );
        assert_eq!(
            a.remove_static_peer("127.0.0.1:1").await,
            Err(StaticPeerError::Closed(closed.clone()))
        );
        let error = a.listen("127.0.0.1:0").await.unwrap_err();
        assert!(matches!(error, AddListenerError::Closed(told) if told == closed));
        assert!(a.local_addrs().is_empty());
    }
}
